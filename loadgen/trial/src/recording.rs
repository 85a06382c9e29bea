//! A recording: the header, the events and the parts. Encoded here, written and read by the shells.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::plan::Plan;

/// Major version of the recording's format; another major is not read.
pub const FORMAT_MAJOR: u32 = 1;
/// Minor version: what a newer minor adds, an older reader ignores.
pub const FORMAT_MINOR: u32 = 0;

/// `header.json`: written before the first event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Format, major.
    pub format_major: u32,
    /// Format, minor.
    pub format_minor: u32,
    /// Id of the run.
    pub run_id: String,
    /// Version of the tool that recorded.
    pub tool_version: String,
    /// `local` or `kube`.
    pub backend: String,
    /// What the backend says of itself.
    pub backend_version: Option<String>,
    /// Names of the nodes, in the order of their ids.
    pub nodes: Vec<String>,
    /// Agents.
    pub agents: u32,
    /// RFC 3339, the wall time of the epoch.
    pub started_at: String,
    /// The same in nanoseconds since the Unix epoch.
    pub epoch_wall_ns: u64,
    /// The epoch on the raw monotonic clock, nanoseconds.
    pub epoch_mono_ns: u64,
    /// The command line, credentials redacted.
    pub argv: Vec<String>,
    /// The machine.
    pub environment: BTreeMap<String, String>,
    /// What was planned.
    pub plan: Plan,
}
