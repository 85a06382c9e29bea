//! Limits of this process.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// A connection is a file: as many as are permitted, not as many as a shell thinks usual.
pub(crate) fn open_files() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Where that is refused the engine meets the limit and says so.
        let _refused = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
