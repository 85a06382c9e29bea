//! Routes of the server.

/// Plain answer, 200.
pub const ROOT: &str = "/";
/// Delayed answer: `/delay/{milliseconds}`.
pub const DELAY: &str = "/delay/";
/// Streamed answer: `/stream/{chunks}/{milliseconds between them}`.
pub const STREAM: &str = "/stream/";
/// Echo of a POST body.
pub const ECHO: &str = "/echo";
/// Answer with a given status: `/status/{code}`.
pub const STATUS: &str = "/status/";
/// Liveness probe: 200 as long as the process runs.
pub const LIVEZ: &str = "/livez";
/// Readiness probe: 503 while draining if the server was told to fail readiness.
pub const READYZ: &str = "/readyz";
/// HTTP preStop hook: `/hooks/pre-stop/{milliseconds}`, or `…/{status}` behind it; answers when the time is over.
pub const PRE_STOP_HOOK: &str = "/hooks/pre-stop/";
/// The two clocks of the pod's node, as JSON: [`crate::clock::Reading`].
pub const CLOCK: &str = "/clock";
