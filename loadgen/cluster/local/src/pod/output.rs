//! What comes out of a pod: the shim's status lines, and the container's log.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use cluster::Emitter;
use contract::lifecycle::Line;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use trial::event::Event;
use trial::id::PodId;

use crate::process::Status;

/// Lines of the log that an error message may quote.
const LAST_WORDS: usize = 3;
/// Bytes of a line that are kept; the rest of a longer one is read and dropped.
const MAX_LINE: usize = 8 * 1024;

/// Reads the shim's status lines until it ends.
pub(super) async fn statuses(pipe: pipe::Receiver, sender: mpsc::Sender<Status>) {
    let mut reader = BufReader::new(pipe);
    while let Some(line) = next_line(&mut reader).await {
        if let Ok(status) = serde_json::from_str(&line)
            && sender.send(status).await.is_err()
        {
            return;
        }
    }
}

/// Reads a container's log: lifecycle lines become events, of the others the last few are kept.
pub(super) async fn log(
    pipe: pipe::Receiver,
    emitter: Emitter,
    pod: PodId,
    last_words: Arc<Mutex<VecDeque<String>>>,
) {
    let mut reader = BufReader::with_capacity(64 * 1024, pipe);
    while let Some(line) = next_line(&mut reader).await {
        if let Some(report) = Line::parse(&line) {
            emitter.emit_at(
                emitter.clock().stamp(report.mono_ns),
                Event::Lifecycle { pod, report: report.event },
            );
        } else if let Ok(mut words) = last_words.lock()
            && !line.trim().is_empty()
        {
            words.push_back(line.trim().to_owned());
            if words.len() > LAST_WORDS {
                words.pop_front();
            }
        }
    }
}

/// The last words, as the end of a sentence.
pub(super) fn quote(last_words: &Mutex<VecDeque<String>>) -> String {
    let words: Vec<String> =
        last_words.lock().map(|words| words.iter().cloned().collect()).unwrap_or_default();
    if words.is_empty() {
        " without a word".to_owned()
    } else {
        format!("; its last words: {}", words.join(" | "))
    }
}

/// The next line, at most [`MAX_LINE`] bytes of it, whatever its length or encoding; `None` at the end.
async fn next_line(reader: &mut (impl AsyncBufRead + Unpin)) -> Option<String> {
    let mut line = Vec::new();
    loop {
        let buffer = reader.fill_buf().await.ok()?;
        if buffer.is_empty() {
            return (!line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned());
        }
        let (taken, complete) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (buffer.len(), false),
        };
        let room = MAX_LINE.saturating_sub(line.len()).min(taken);
        line.extend_from_slice(&buffer[..room]);
        reader.consume(taken);
        if complete {
            return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_without_end_does_not_grow_without_bound() {
        let mut text = vec![b'x'; 100_000];
        text.extend_from_slice(b"\nshort\nlast");
        let mut reader = BufReader::with_capacity(1000, text.as_slice());
        assert_eq!(next_line(&mut reader).await.map(|line| line.len()), Some(MAX_LINE));
        assert_eq!(next_line(&mut reader).await.as_deref(), Some("short"));
        assert_eq!(next_line(&mut reader).await.as_deref(), Some("last"));
        assert_eq!(next_line(&mut reader).await, None);
    }
}
