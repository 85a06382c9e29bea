//! The frames of an HTTP/2 connection, read along: which of them came and went when, by stream.
//!
//! What `h2` tells of a failed stream does not do: once a GOAWAY was read, it gives that as the reason of every later
//! failure, also of streams that the GOAWAY spared and the end of the connection cut. The frames themselves are exact.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use clock::Clock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use trial::time::Stamp;

use crate::stream::Notes;

/// What a client sends first (RFC 9113, 3.4).
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
const HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;

/// The error code of a stream that the server did not begin to process (RFC 9113, 7).
pub(crate) const REFUSED_STREAM: u32 = 7;

/// What was seen of one stream.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StreamNotes {
    /// The kernel took a byte of the request.
    pub(crate) begun: bool,
    /// When it took the last.
    pub(crate) written: Option<Stamp>,
    /// The first frame of the answer.
    pub(crate) first_read: Option<Stamp>,
    /// The last so far.
    pub(crate) last_read: Option<Stamp>,
    /// The error code that the peer reset the stream with.
    pub(crate) reset: Option<u32>,
    /// The peer's FIN or RST was there before the request.
    pub(crate) closed_before_write: bool,
}

/// The peer's GOAWAY. Of several the last counts, as none may spare more streams than the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GoAway {
    /// Requests on streams above this one were not processed, and never will be.
    pub(crate) last_stream: u32,
    /// Its error code; 0 for an orderly end.
    pub(crate) code: u32,
}

/// What was seen of the streams of a connection that are under way. Shared like [`Notes`].
#[derive(Debug)]
pub(crate) struct Frames {
    clock: Clock,
    streams: RefCell<BTreeMap<u32, StreamNotes>>,
    goaway: Cell<Option<GoAway>>,
}

impl Frames {
    pub(crate) fn new(clock: Clock) -> Rc<Self> {
        Rc::new(Self { clock, streams: RefCell::default(), goaway: Cell::new(None) })
    }

    /// A request will go out on this stream.
    pub(crate) fn watch(&self, stream: u32) {
        self.streams.borrow_mut().insert(stream, StreamNotes::default());
    }

    /// The stream's request is over.
    pub(crate) fn forget(&self, stream: u32) {
        self.streams.borrow_mut().remove(&stream);
    }

    /// What was seen of a stream under way.
    pub(crate) fn of(&self, stream: u32) -> StreamNotes {
        self.streams.borrow().get(&stream).copied().unwrap_or_default()
    }

    pub(crate) fn goaway(&self) -> Option<GoAway> {
        self.goaway.get()
    }

    fn change(&self, stream: u32, change: impl FnOnce(&mut StreamNotes)) {
        if let Some(notes) = self.streams.borrow_mut().get_mut(&stream) {
            change(notes);
        }
    }

    fn wrote(&self, frame: &Frame, moment: Moment, closed: bool) {
        match (moment, frame.kind) {
            (Moment::Begun, HEADERS) => self.change(frame.stream, |notes| {
                (notes.begun, notes.closed_before_write) = (true, closed);
            }),
            (Moment::Over, HEADERS | DATA) if frame.flags & END_STREAM != 0 => {
                self.change(frame.stream, |notes| notes.written = Some(self.clock.now()));
            }
            _ => {}
        }
    }

    /// `at`: when it arrived.
    fn read(&self, frame: &Frame, moment: Moment, at: Stamp) {
        // The answer may be here before the call returns that sent the request.
        let at_least =
            |notes: &StreamNotes| at.max(notes.written.max(notes.last_read).unwrap_or(Stamp::ZERO));
        match (moment, frame.kind) {
            (Moment::Begun, HEADERS | DATA) => self.change(frame.stream, |notes| {
                notes.first_read.get_or_insert(at_least(notes));
            }),
            (Moment::Over, HEADERS | DATA | CONTINUATION) => {
                self.change(frame.stream, |notes| notes.last_read = Some(at_least(notes)));
            }
            (Moment::Over, RST_STREAM) => {
                self.change(frame.stream, |notes| notes.reset = Some(frame.word(0)));
            }
            (Moment::Over, GOAWAY) => {
                let last_stream = frame.word(0) & 0x7fff_ffff;
                self.goaway.set(Some(GoAway { last_stream, code: frame.word(4) }));
            }
            _ => {}
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Its head is whole.
    Begun,
    /// Its last byte.
    Over,
}

/// A frame's head, and the first bytes of its payload.
#[derive(Debug, Default)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: [u8; 8],
}

impl Frame {
    fn word(&self, at: usize) -> u32 {
        self.payload[at..at + 4].iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
    }
}

/// Cuts one direction of a connection into frames, whatever the pieces are that it comes in.
#[derive(Debug, Default)]
struct Scanner {
    /// Bytes to come before the first frame.
    before: usize,
    head: [u8; HEAD],
    /// Of the head, so many are here.
    have: usize,
    frame: Frame,
    length: usize,
    /// Of the payload, so many are here.
    seen: usize,
}

impl Scanner {
    fn after(before: usize) -> Self {
        Self { before, ..Self::default() }
    }

    fn feed(&mut self, mut bytes: &[u8], mut tell: impl FnMut(&Frame, Moment)) {
        let skipped = self.before.min(bytes.len());
        self.before -= skipped;
        bytes = &bytes[skipped..];
        while !bytes.is_empty() {
            if self.have < HEAD {
                let taken = bytes.len().min(HEAD - self.have);
                self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
                self.have += taken;
                bytes = &bytes[taken..];
                if self.have < HEAD {
                    return;
                }
                self.begin();
                tell(&self.frame, Moment::Begun);
            }
            let taken = bytes.len().min(self.length - self.seen);
            if let Some(room) = self.frame.payload.get_mut(self.seen..) {
                let kept = room.len().min(taken);
                room[..kept].copy_from_slice(&bytes[..kept]);
            }
            self.seen += taken;
            bytes = &bytes[taken..];
            if self.seen == self.length {
                tell(&self.frame, Moment::Over);
                self.have = 0;
            }
        }
    }

    fn begin(&mut self) {
        let [a, b, c, kind, flags, stream @ ..] = self.head;
        self.length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.seen = 0;
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        self.frame = Frame { kind, flags, stream, payload: [0; 8] };
    }
}

/// The stream under `h2`.
#[derive(Debug)]
pub(crate) struct FrameStream<T> {
    inner: T,
    notes: Rc<Notes>,
    frames: Rc<Frames>,
    sent: Scanner,
    received: Scanner,
}

impl<T> FrameStream<T> {
    pub(crate) fn new(inner: T, notes: Rc<Notes>, frames: Rc<Frames>) -> Self {
        Self { inner, notes, frames, sent: Scanner::after(PREFACE), received: Scanner::default() }
    }

    fn wrote(&mut self, slices: &[io::IoSlice<'_>], taken: usize) {
        // A write that failed is hidden from whoever writes, but took nothing.
        if self.notes.write_errno.get() != 0 {
            return;
        }
        let closed = self.notes.eof.get() || self.notes.read_errno.get() != 0;
        let mut left = taken;
        for slice in slices {
            let part = slice.len().min(left);
            self.sent.feed(&slice[..part], |frame, moment| self.frames.wrote(frame, moment, closed));
            left -= part;
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for FrameStream<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        let at = this.notes.arrival();
        this.received.feed(&buf.filled()[before..], |frame, moment| this.frames.read(frame, moment, at));
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for FrameStream<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let taken = ready!(Pin::new(&mut this.inner).poll_write(cx, buf))?;
        this.wrote(&[io::IoSlice::new(buf)], taken);
        Poll::Ready(Ok(taken))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let taken = ready!(Pin::new(&mut this.inner).poll_write_vectored(cx, bufs))?;
        this.wrote(bufs, taken);
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    #[test]
    fn frames_are_found_in_whatever_pieces_they_come() {
        let bytes = [
            vec![b'x'; 3],
            frame(4, 0, 0, &[]),
            frame(HEADERS, 5, 3, b"head"),
            frame(DATA, END_STREAM, 0x8000_0003, &[7; 300]),
            frame(GOAWAY, 0, 0, &[0x80, 0, 0, 9, 0, 0, 0, 2, b'w', b'h', b'y']),
        ]
        .concat();
        for piece in [1, 2, 8, 9, 10, 300, bytes.len()] {
            let mut scanner = Scanner::after(3);
            let mut seen = Vec::new();
            for bytes in bytes.chunks(piece) {
                scanner.feed(bytes, |frame, moment| {
                    seen.push((frame.kind, frame.stream, moment, frame.word(0), frame.word(4)));
                });
            }
            let over: Vec<_> = seen.iter().filter(|seen| seen.2 == Moment::Over).collect();
            assert_eq!(seen.len(), 8, "{piece}: {seen:?}");
            assert_eq!(
                over.iter().map(|seen| (seen.0, seen.1)).collect::<Vec<_>>(),
                [(4, 0), (HEADERS, 3), (DATA, 3), (GOAWAY, 0)]
            );
            assert_eq!((over[3].3, over[3].4), (0x8000_0009, 2));
        }
    }

    #[test]
    fn a_stream_that_nobody_watches_leaves_no_notes() {
        let frames = Frames::new(Clock::start().0);
        frames.watch(1);
        let mut scanner = Scanner::default();
        let bytes =
            [frame(HEADERS, 4, 1, b"a"), frame(HEADERS, 4, 3, b"a"), frame(RST_STREAM, 0, 1, &[0, 0, 0, 7])];
        scanner.feed(&bytes.concat(), |frame, moment| frames.read(frame, moment, Stamp::ZERO));
        let notes = frames.of(1);
        assert!(notes.first_read.is_some() && notes.first_read <= notes.last_read);
        assert_eq!((notes.reset, frames.of(3).first_read), (Some(REFUSED_STREAM), None));
        frames.forget(1);
        assert!(frames.streams.borrow().is_empty());
    }
}
