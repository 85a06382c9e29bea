//! What an answer carries.

use bytes::Bytes;

/// How much of an answer's body is what was sent.
pub(super) struct BodyEcho<'a> {
    sent: &'a Bytes,
    bytes_in: usize,
    /// So much of it so far; `None` once something was not.
    matching: Option<usize>,
}

impl<'a> BodyEcho<'a> {
    pub(super) fn of(sent: &'a Bytes) -> Self {
        Self { sent, bytes_in: 0, matching: Some(0) }
    }

    pub(super) fn add(&mut self, data: &[u8]) {
        self.bytes_in = self.bytes_in.saturating_add(data.len());
        let same = self.matching.filter(|&at| self.sent[at..].starts_with(data));
        self.matching = same.map(|at| at + data.len());
    }

    pub(super) fn bytes_in(&self) -> u32 {
        u32::try_from(self.bytes_in).unwrap_or(u32::MAX)
    }

    pub(super) fn is_same(&self) -> bool {
        self.matching == Some(self.sent.len())
    }
}
