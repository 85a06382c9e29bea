//! From single records to chunks, without ever waiting for whoever takes them.

use std::mem;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use trial::record::Record;

/// Rows in a full chunk: 64 KiB.
const CHUNK: usize = 1024;
/// Rows wait no longer than this for a chunk to fill.
pub(crate) const FLUSH_EVERY: Duration = Duration::from_millis(50);
/// Failures go out at once; several within this time go out together, so that an outage is not a chunk per row.
pub(crate) const FAILURE_FLUSH: Duration = Duration::from_millis(1);

/// Collects records and hands chunks over. Bounded by the channel and one chunk; what does not fit is counted.
#[derive(Debug)]
pub(crate) struct Sink {
    sender: SyncSender<Vec<Record>>,
    chunk: Vec<Record>,
    /// Rows lost, by lane.
    overflowed: Vec<u64>,
}

impl Sink {
    pub(crate) fn new(sender: SyncSender<Vec<Record>>, lanes: usize) -> Self {
        Self { sender, chunk: Vec::with_capacity(CHUNK), overflowed: vec![0; lanes] }
    }

    pub(crate) fn push(&mut self, record: Record) {
        self.chunk.push(record);
        if self.chunk.len() >= CHUNK && !self.offer() {
            self.lose();
        }
    }

    /// Offers what there is; false if the channel was full, and the rows are still here.
    pub(crate) fn offer(&mut self) -> bool {
        if self.chunk.is_empty() {
            return true;
        }
        match self.sender.try_send(mem::take(&mut self.chunk)) {
            Ok(()) => self.chunk.reserve(CHUNK),
            Err(TrySendError::Full(chunk)) => {
                self.chunk = chunk;
                return false;
            }
            Err(TrySendError::Disconnected(chunk)) => {
                self.chunk = chunk;
                self.lose();
            }
        }
        true
    }

    /// Gives up on the rows at hand.
    pub(crate) fn lose(&mut self) {
        for record in self.chunk.drain(..) {
            self.overflowed[usize::from(record.lane.0)] += 1;
        }
    }

    pub(crate) fn overflowed(&self, lane: usize) -> u64 {
        self.overflowed[lane]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use trial::id::LaneId;
    use trial::time::Stamp;

    use super::*;

    fn push(sink: &mut Sink, slots: std::ops::Range<u64>) {
        for slot in slots {
            sink.push(Record::due(slot, Stamp::ZERO, LaneId(u8::from(slot % 2 == 1))));
        }
    }

    #[test]
    fn full_chunks_go_out_by_themselves_and_rows_keep_their_order() {
        let (sender, receiver) = sync_channel(8);
        let mut sink = Sink::new(sender, 2);
        push(&mut sink, 0..2500);
        assert!(sink.offer());
        let chunks: Vec<_> = receiver.try_iter().collect();
        assert_eq!(chunks.iter().map(Vec::len).collect::<Vec<_>>(), [1024, 1024, 452]);
        assert!(chunks.concat().iter().map(|record| record.slot).eq(0..2500));
    }

    #[test]
    fn a_full_channel_loses_whole_chunks_and_counts_them_by_lane() {
        let (sender, receiver) = sync_channel(1);
        let mut sink = Sink::new(sender, 2);
        push(&mut sink, 0..2058);
        assert!(!sink.offer());
        assert_eq!((sink.overflowed(0), sink.overflowed(1)), (512, 512));
        assert_eq!(receiver.try_iter().map(|chunk| chunk.len()).sum::<usize>(), 1024);
        assert!(sink.offer(), "the rest fits once there is room");
        drop(receiver);
        push(&mut sink, 0..3);
        assert!(sink.offer());
        assert_eq!((sink.overflowed(0), sink.overflowed(1)), (514, 513));
    }
}
