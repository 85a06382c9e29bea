//! A recording: the header, the events and the parts. Encoded here, written and read by the shells.
//!
//! * [`part`]: records to bytes and back
//! * [`events`]: lines of `events.ndjson` back to events

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::plan::Plan;

pub mod events;
pub mod part;

pub use events::parse_events;

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

impl Header {
    /// Whether this version of the tool can read the recording.
    ///
    /// # Errors
    /// Another major version of the format.
    pub const fn check_readable(&self) -> Result<(), UnreadableFormat> {
        if self.format_major == FORMAT_MAJOR {
            Ok(())
        } else {
            Err(UnreadableFormat { major: self.format_major, minor: self.format_minor })
        }
    }
}

/// Another major version of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("read a recording of format {major}.{minor}: this version reads {FORMAT_MAJOR}.x")]
pub struct UnreadableFormat {
    /// Major version that was found.
    pub major: u32,
    /// Minor version that was found.
    pub minor: u32,
}
