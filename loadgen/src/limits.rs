//! What this process asks of its machine.

use std::fs::File;
use std::io::{self, Write};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// A connection is a file: as many as are permitted, not as many as a shell thinks usual.
pub(crate) fn open_files() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Where that is refused the engine meets the limit and says so.
        let _refused = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Where Linux is told how soon a core has to wake, in µs, for as long as the file is open: the kernel's interface for power
/// management's quality of service.
const WAKE_WITHIN: &str = "/dev/cpu_dma_latency";

/// Cores with nothing to do poll instead of halting, all of this machine's, until this is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct AwakeCores {
    _held: File,
}

impl AwakeCores {
    /// # Errors
    /// Not Linux's, or not permitted: it takes root. Says what was not there.
    pub(crate) fn hold() -> Result<Self, String> {
        let held = || -> io::Result<File> {
            let mut file = File::options().write(true).open(WAKE_WITHIN)?;
            file.write_all(&0_i32.to_ne_bytes())?;
            Ok(file)
        };
        held().map(|held| Self { _held: held }).map_err(|error| format!("{WAKE_WITHIN}: {error}"))
    }
}
