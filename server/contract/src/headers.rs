//! Header names, lower case as HTTP/2 wants them.

/// Request and answer: the schedule slot of the request, decimal. The answer echoes it, so a client can tell
/// an answer to somebody else's request from its own.
pub const SLOT: &str = "drainproof-slot";
/// Request: how long the answer is to be delayed, in milliseconds, decimal; beyond the server's own service time.
pub const DELAY_MS: &str = "drainproof-delay-ms";
/// Answer: the name of the pod that answered.
pub const POD: &str = "drainproof-pod";
/// Answer: what the pod was doing when it answered: see [`crate::lifecycle::ServingState`].
pub const STATE: &str = "drainproof-state";
/// Answer: how many requests the pod had accepted before this one, plus one. 1 is the first.
pub const SEQUENCE: &str = "drainproof-sequence";
