//! What a pod and its observer agree on, and nothing else.
//!
//! * [`headers`]: what a request asks and what every answer tells
//! * [`paths`]: the routes of the server
//! * [`mod@env`]: the names through which a pod is configured
//! * [`clock`]: a reading of a pod's clocks
//! * [`signal`]: the signals that ask a pod to stop
//! * [`lifecycle`]: the events that a pod writes to its standard output, one JSON object a line
//!
//! Invariants: a reader ignores fields it does not know; a writer never changes the meaning of a field.

pub mod clock;
pub mod env;
pub mod headers;
pub mod lifecycle;
pub mod paths;
pub mod signal;
