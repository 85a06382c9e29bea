//! The command line, and the only crate that sees everything.
//!
//! A scenario becomes a plan; the plan drives a cluster and an engine at once; what happens is recorded; the recording
//! is analysed; the analysis becomes a report and an exit code.
//!
//! * [`cli`]: flags, and what each subcommand does
//! * [`conductor`]: runs the arms of a plan
//! * [`recorder`]: writes a recording while it happens
//! * [`playback`]: reads one, and makes its report
//! * [`progress`]: what a person sees meanwhile
//! * [`builtin`]: the scenarios that come with the tool
//! * [`agent`]: the program that sends load from inside a cluster
//! * [`heartbeat`]: notices when this process stood still
//! * [`hidden`]: the programs that a run re-executes this binary as
//! * [`exit_code`]: exit codes are an interface
//! * `limits`: limits of this process
//! * `target`: from a URL to an address

#[cfg(feature = "kube")]
pub mod agent;
pub mod builtin;
pub mod cli;
pub mod conductor;
pub mod exit_code;
pub mod heartbeat;
pub mod hidden;
mod limits;
pub mod playback;
pub mod progress;
pub mod recorder;
mod target;

/// A hash of the sources that this was built from: an agent of another build than its controller would measure with
/// another engine than the report says.
pub const SOURCE: &str = env!("DRAINPROOF_SOURCE");
