//! Reads a recording and makes its report: the same one whenever it is read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use trial::analysis::Analysis;
use trial::id::ArmId;
use trial::recording::{Header, parse_events, part};
use trial::report::Report;

/// A header is at most this long; anything longer is not ours.
const HEADER_MAX: u64 = 16 << 20;

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PlaybackError {
    /// There is none.
    #[error("{} holds no recording: {source} (a run's directory has recording/header.json)", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file was named where a directory is meant.
    #[error("{} is a file: name the run's directory, {}, which is what a report is made from", path.display(), run.display())]
    File {
        /// What was named.
        path: PathBuf,
        /// The directory that it lies in.
        run: PathBuf,
    },
    /// The file system's answer.
    #[error("failed to read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The header is not one of ours.
    #[error("{} is not the header of a recording that this version reads: {reason}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Makes the report of a recording. `directory` is the run's directory, or the recording within it.
///
/// What of the recording is damaged makes the report inconclusive rather than unreadable.
///
/// # Errors
/// There is no recording, or none that this version reads.
pub fn report(directory: &Path) -> Result<Report, PlaybackError> {
    if directory.is_file() {
        let run = directory.parent().filter(|run| !run.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return Err(PlaybackError::File { path: directory.to_owned(), run: run.to_owned() });
    }
    let nested = directory.join("recording");
    let directory = if nested.is_dir() { nested } else { directory.to_owned() };
    let header = header(&directory.join("header.json"))?;
    let events_path = directory.join("events.ndjson");
    let text = match fs::read(&events_path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(source) => return Err(PlaybackError::Read { path: events_path, source }),
    };
    let (events, complaints) = parse_events(&text);
    let mut analysis = Analysis::new(&header, &events, complaints);
    let mut whole = Vec::new();
    // Where only all parts together tell some edges, each is read twice, one after the other: first for these, then to be
    // counted. So memory holds one part at a time.
    for (arm, path) in parts(&directory)? {
        match read_part(&path) {
            Ok(records) if analysis.is_surveyed(arm) => {
                analysis.survey(arm, &records);
                whole.push((arm, path));
            }
            Ok(records) => analysis.add(arm, &records),
            Err(reason) => analysis.complain(format!("{}: {reason}", file_name(&path))),
        }
    }
    analysis.surveyed();
    for (arm, path) in whole {
        if let Ok(records) = read_part(&path) {
            analysis.add(arm, &records);
        }
    }
    Ok(analysis.finish())
}

fn header(path: &Path) -> Result<Header, PlaybackError> {
    let missing = |source| PlaybackError::Missing { path: path.to_owned(), source };
    let length = fs::metadata(path).map_err(missing)?.len();
    let refused = |reason: String| PlaybackError::Header { path: path.to_owned(), reason };
    if length > HEADER_MAX {
        return Err(refused(format!("{length} bytes are too many")));
    }
    let bytes = fs::read(path).map_err(missing)?;
    let header: Header = serde_json::from_slice(&bytes).map_err(|error| refused(error.to_string()))?;
    header.check_readable().map_err(|error| refused(error.to_string()))?;
    Ok(header)
}

/// Parts in the order in which they were written.
fn parts(directory: &Path) -> Result<Vec<(ArmId, PathBuf)>, PlaybackError> {
    let failed = |source| PlaybackError::Read { path: directory.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = file_name(&path);
        let number = name
            .strip_prefix("records-")
            .and_then(|rest| rest.strip_suffix(part::EXTENSION)?.strip_suffix('.')?.split_once('-'))
            .and_then(|(arm, part)| Some((arm.parse().ok()?, part.parse::<u32>().ok()?)));
        if let Some((arm, part)) = number {
            found.push((ArmId(arm), part, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(arm, _, path)| (arm, path)).collect())
}

fn read_part(path: &Path) -> Result<Vec<trial::record::Record>, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    part::decode(Bytes::from(bytes)).map_err(|error| format!("failed to {error}"))
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
