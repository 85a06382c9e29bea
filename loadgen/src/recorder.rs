//! Writes a recording while it happens.
//!
//! Events are written line by line as they come; failed and late requests likewise; every record goes into a part
//! that is renamed into place every few seconds. So a killed run keeps all but its open part. One thread writes
//! events, one thread an arm writes records; both are fed by bounded channels.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::Serialize;
use trial::event::TimedEvent;
use trial::id::ArmId;
use trial::record::{Class, Record};
use trial::recording::{Header, part};
use trial::settings::Load;

/// Events that may wait for the writer.
const EVENT_QUEUE: usize = 65_536;
/// Chunks of records that may wait for the writer: a quarter of a million rows.
const CHUNK_QUEUE: usize = 256;
/// How long the writer of events waits before it looks whether the run is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A part is closed after this …
const PART_EVERY: Duration = Duration::from_secs(2);
/// … or with so many rows (64 B each in memory).
const PART_ROWS: usize = 262_144;

/// Others are let go first only within so long from when a part begins to be encoded: a small part of [`PART_EVERY`].
const POLITE_FOR: Duration = Duration::from_millis(100);

/// Why a recording could not be written.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// Something called `recording` stands there already.
    #[error("{} already holds a recording, or something of that name; name another directory with --out", path.display())]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// The file system's answer.
    #[error("failed to write {}: {source}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A part could not be encoded.
    #[error("failed to encode a part of the recording: {0}")]
    Encode(#[from] part::PartError),
}

/// Sees every event when it has been written.
pub type Observer = Box<dyn FnMut(&TimedEvent) + Send>;

/// A recording under way.
#[derive(Debug)]
pub struct Recorder {
    directory: PathBuf,
    events: SyncSender<TimedEvent>,
    /// The run is over: what comes after this is nobody's.
    over: Arc<AtomicBool>,
    writer: JoinHandle<Result<(), RecorderError>>,
    failures: Arc<Mutex<File>>,
}

/// The records of one arm on their way to disk.
#[derive(Debug)]
pub struct Rows {
    /// Where the engine puts its chunks.
    pub sender: SyncSender<Vec<Record>>,
    writer: JoinHandle<Result<u64, RecorderError>>,
}

impl Recorder {
    /// Makes `out/recording` with its header.
    ///
    /// # Errors
    /// The directory cannot be made or written, or holds a recording.
    pub fn create(out: &Path, header: &Header, observer: Observer) -> Result<Self, RecorderError> {
        let directory = out.join("recording");
        fs::create_dir_all(out).map_err(|source| RecorderError::Write { path: out.to_owned(), source })?;
        // Made, not found: whatever stands there already is somebody's.
        fs::create_dir(&directory).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => RecorderError::Exists { path: out.to_owned() },
            _ => RecorderError::Write { path: directory.clone(), source },
        })?;
        let text = serde_json::to_vec_pretty(header).map_err(|error| RecorderError::Write {
            path: directory.join("header.json"),
            source: error.into(),
        })?;
        replace(&directory.join("header.json"), &text)?;
        let failures = Arc::new(Mutex::new(append(&directory.join("failures.ndjson"))?));
        let path = directory.join("events.ndjson");
        let file = append(&path)?;
        let (events, inbox) = sync_channel(EVENT_QUEUE);
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let writer = spawn("events", move || write_events(file, &path, &inbox, &seen, observer))?;
        Ok(Self { directory, events, over, writer, failures })
    }

    /// Where events go.
    #[must_use]
    pub fn events(&self) -> SyncSender<TimedEvent> {
        self.events.clone()
    }

    /// Opens the rows of an arm.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn rows(&self, arm: ArmId, load: &Load) -> Result<Rows, RecorderError> {
        let (sender, inbox) = sync_channel(CHUNK_QUEUE);
        let mut writer = RowWriter {
            directory: self.directory.clone(),
            arm,
            load: load.clone(),
            failures: Arc::clone(&self.failures),
            open: Vec::new(),
            parts: 0,
            rows: 0,
        };
        let writer = spawn("rows", move || writer.run(&inbox))?;
        Ok(Rows { sender, writer })
    }

    /// Waits until every event so far is on disk. Who still holds a sender (a hook that was left running) is not
    /// waited for.
    ///
    /// # Errors
    /// Something could not be written.
    pub fn finish(self) -> Result<(), RecorderError> {
        self.over.store(true, Ordering::Release);
        joined(self.writer)
    }
}

impl Rows {
    /// Waits until every row is on disk, and says how many. The engine must have ended.
    ///
    /// # Errors
    /// Something could not be written: rows are missing.
    pub fn finish(self) -> Result<u64, RecorderError> {
        drop(self.sender);
        joined(self.writer)
    }
}

fn write_events(
    file: File,
    path: &Path,
    inbox: &Receiver<TimedEvent>,
    over: &AtomicBool,
    mut observer: Observer,
) -> Result<(), RecorderError> {
    let failed = |source| RecorderError::Write { path: path.to_owned(), source };
    let mut file = BufWriter::new(file);
    let mut result = Ok(());
    loop {
        // Read before the queue: what was sent before the run was declared over is then still found in it.
        let last = over.load(Ordering::Acquire);
        let event = match inbox.recv_timeout(LOOK_EVERY) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) if !last => continue,
            Err(_) => break,
        };
        observer(&event);
        if result.is_ok() {
            // After a failure the channel is still emptied, so that nobody waits for us; the run ends without its
            // closing event and is inconclusive.
            result = serde_json::to_writer(&mut file, &event)
                .map_err(io::Error::from)
                .and_then(|()| file.write_all(b"\n"))
                .and_then(|()| file.flush())
                .map_err(failed);
        }
    }
    result
}

struct RowWriter {
    directory: PathBuf,
    arm: ArmId,
    load: Load,
    failures: Arc<Mutex<File>>,
    open: Vec<Record>,
    parts: u32,
    rows: u64,
}

/// A line of `failures.ndjson`.
#[derive(Debug, Serialize)]
struct FailureLine<'a> {
    arm: ArmId,
    lane: &'a str,
    slot: u64,
    agent: u8,
    class: &'a str,
    stage: &'a str,
    intended_ns: u64,
    at_ns: u64,
    status: u16,
    os_code: u16,
    connection: u32,
    nth: u32,
    pod: Option<u16>,
}

impl RowWriter {
    fn run(&mut self, inbox: &Receiver<Vec<Record>>) -> Result<u64, RecorderError> {
        let mut result = Ok(());
        let mut opened = clock::monotonic_ns();
        loop {
            match inbox.recv_timeout(PART_EVERY) {
                Ok(chunk) if result.is_ok() => {
                    result = self.failures(&chunk);
                    self.open.extend_from_slice(&chunk);
                }
                // What cannot be written is not kept either; the count of rows will tell.
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let age = Duration::from_nanos(clock::monotonic_ns().saturating_sub(opened));
            if result.is_ok() && (age >= PART_EVERY || self.open.len() >= PART_ROWS) {
                result = self.close_part();
                opened = clock::monotonic_ns();
            }
        }
        result.and_then(|()| self.close_part()).map(|()| self.rows)
    }

    fn close_part(&mut self) -> Result<(), RecorderError> {
        if self.open.is_empty() {
            return Ok(());
        }
        let bytes = part::encode(&self.open, politeness(self.open.len() >= PART_ROWS))?;
        let name = format!("records-{:03}-{:06}.{}", self.arm.0, self.parts, part::EXTENSION);
        replace(&self.directory.join(name), &bytes)?;
        self.rows += self.open.len() as u64;
        self.parts += 1;
        self.open.clear();
        Ok(())
    }

    fn failures(&self, chunk: &[Record]) -> Result<(), RecorderError> {
        let mut lines = Vec::new();
        for record in chunk {
            if let Some(class) = self.class(record) {
                let line = self.line(record, class);
                serde_json::to_writer(&mut lines, &line).map_err(|error| self.failed(error.into()))?;
                lines.push(b'\n');
            }
        }
        if lines.is_empty() {
            return Ok(());
        }
        let mut file =
            self.failures.lock().map_err(|_| self.failed(io::Error::other("another writer failed")))?;
        file.write_all(&lines).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> RecorderError {
        RecorderError::Write { path: self.directory.join("failures.ndjson"), source }
    }

    /// `None` for what was answered in time, and for what was never sent.
    fn class(&self, record: &Record) -> Option<&'static str> {
        if record.is_unsent() {
            return None;
        }
        if record.class != Class::None {
            return Some(record.class.as_str());
        }
        let delay = self.load.lanes.get(usize::from(record.lane.0)).map_or(Duration::ZERO, |lane| lane.delay);
        let latency = Duration::from_nanos(record.latency_ns()?);
        (latency > delay + self.load.late_over).then_some("late")
    }

    fn line<'a>(&'a self, record: &Record, class: &'a str) -> FailureLine<'a> {
        FailureLine {
            arm: self.arm,
            lane: self.load.lanes.get(usize::from(record.lane.0)).map_or("?", |lane| lane.kind.as_str()),
            slot: record.slot,
            agent: record.agent,
            class,
            stage: record.stage.as_str(),
            intended_ns: record.intended.as_nanos(),
            at_ns: record.at(record.end).unwrap_or(record.intended).as_nanos(),
            status: record.status,
            os_code: record.os_code,
            connection: record.conn,
            nth: record.nth,
            pod: record.pod.known().map(|pod| pod.0),
        }
    }
}

/// For the pauses of [`part::encode`]: encoding takes several of the engine's passes, perhaps on the engine's core, so the engine goes
/// first. See [`is_polite`].
pub(crate) fn politeness(is_full: bool) -> impl FnMut() {
    let begun = clock::monotonic_ns();
    move || {
        if is_polite(is_full, Duration::from_nanos(clock::monotonic_ns().saturating_sub(begun))) {
            thread::yield_now();
        }
    }
}

/// An engine that wants its core all the time leaves none of it to who always lets it go first: rows would wait in vain, and be lost.
/// So not where they come fast enough to fill a part before its time, and not for long.
fn is_polite(is_full: bool, since: Duration) -> bool {
    !is_full && since < POLITE_FOR
}

/// Facts about the machine that a reader of a report may need; none of them names it.
#[must_use]
pub fn environment() -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    facts.insert("os".to_owned(), std::env::consts::OS.to_owned());
    facts.insert("arch".to_owned(), std::env::consts::ARCH.to_owned());
    if let Ok(cpus) = thread::available_parallelism() {
        facts.insert("cpus".to_owned(), cpus.to_string());
    }
    if let Ok(release) = fs::read_to_string("/proc/sys/kernel/osrelease") {
        facts.insert("kernel".to_owned(), release.trim().to_owned());
    }
    facts
}

fn append(path: &Path) -> Result<File, RecorderError> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|source| RecorderError::Write { path: path.to_owned(), source })
}

/// Writes a file beside its place, then renames it there: a reader sees all of it or nothing.
///
/// # Errors
/// The file system's.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), RecorderError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".tmp");
    let beside = PathBuf::from(beside);
    fs::write(&beside, bytes)
        .and_then(|()| fs::rename(&beside, path))
        .map_err(|source| RecorderError::Write { path: path.to_owned(), source })
}

fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, RecorderError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|source| RecorderError::Write { path: PathBuf::from(format!("thread {name}")), source })
}

fn joined<T>(handle: JoinHandle<Result<T, RecorderError>>) -> Result<T, RecorderError> {
    handle.join().unwrap_or_else(|_| {
        Err(RecorderError::Write {
            path: PathBuf::from("the recording"),
            source: io::Error::other("its writer died"),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_encodes_is_polite_for_a_while_and_not_where_rows_come_fast() {
        assert!(is_polite(false, Duration::ZERO) && is_polite(false, POLITE_FOR / 2));
        assert!(!is_polite(false, POLITE_FOR));
        assert!(!is_polite(true, Duration::ZERO));
    }
}
