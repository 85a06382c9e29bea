//! Lifecycle lines: written whole, in one `write(2)`, so that lines of several processes never mix on one pipe.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::fd::AsFd,
    path::Path,
};

use contract::lifecycle::{Event, Line, VERSION};

use crate::stamp;

/// Writes the lifecycle lines of one process.
#[derive(Debug)]
pub struct Announcer {
    pod: String,
    out: File,
}

// === impl Announcer ===

impl Announcer {
    /// Lines go to this process's standard output, past the standard library's buffer.
    ///
    /// # Errors
    /// If standard output is closed.
    pub fn stdout(pod: String) -> io::Result<Self> {
        Ok(Self { pod, out: File::from(io::stdout().as_fd().try_clone_to_owned()?) })
    }

    /// Lines are appended to a file (or pipe).
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn append(pod: String, path: &Path) -> io::Result<Self> {
        Ok(Self { pod, out: OpenOptions::new().append(true).create(true).open(path)? })
    }

    /// Writes one line. A reader that went away is logged and otherwise ignored: it must not end the pod.
    pub fn emit(&self, event: Event) {
        let line = Line {
            lifecycle: VERSION,
            pod: self.pod.clone(),
            pid: std::process::id(),
            wall_ns: stamp::wall_ns(),
            mono_ns: stamp::mono_ns(),
            event,
        };
        let written = serde_json::to_vec(&line).map_err(io::Error::from).and_then(|mut text| {
            text.push(b'\n');
            (&self.out).write_all(&text)
        });
        if let Err(error) = written {
            tracing::debug!(%error, "a lifecycle line was lost");
        }
    }

    /// The pod's name.
    #[must_use]
    pub fn pod(&self) -> &str {
        &self.pod
    }
}
