//! A TCP stream that notes what the kernel said, for whoever must judge the request later.

mod link;

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use clock::Clock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use trial::time::Stamp;

use link::Link;

/// No answer is dated longer before it was read. The kernel stamps each segment as it comes, and what came behind one that was
/// lost can be read only when that was sent again: then the stamp is too early, and by more than this it must not be. It
/// is what the engine, which sleeps up to a millisecond on purpose, may well be late by.
const STAMP_REACH: Duration = Duration::from_millis(2);

/// What was seen on a connection, since the request in progress began.
///
/// Shared by the stream, which writes, and the request's task, which reads; both live on the engine's thread.
#[derive(Debug)]
pub(crate) struct Notes {
    clock: Clock,
    /// The next write is the first of a request on a kept connection: look before writing.
    look_first: Cell<bool>,
    /// The peer may send unasked (HTTP/2): only its end makes the connection stale.
    unasked_is_fine: Cell<bool>,
    /// TLS lies between: what belongs to a request or an answer is noted above it.
    under_tls: bool,
    /// What came was not TLS, or not what it should have been.
    pub(crate) not_tls: Cell<bool>,
    /// On shutdown, wait for the peer's FIN, so that the peer holds `TIME_WAIT`.
    let_peer_close: Cell<bool>,
    /// The kept connection was found closed before a byte of the request was written.
    pub(crate) stale: Cell<bool>,
    /// Bytes of the request that the kernel took.
    pub(crate) written: Cell<u64>,
    /// The kernel took less than it was given.
    pub(crate) write_blocked: Cell<bool>,
    /// The last successful write.
    pub(crate) last_write: Cell<Option<Stamp>>,
    /// When the last of what was read last had arrived, as the kernel says: at most [`STAMP_REACH`] before it was read.
    arrival: Cell<Option<Stamp>>,
    /// The first byte of the answer.
    pub(crate) first_read: Cell<Option<Stamp>>,
    /// The last byte read so far.
    pub(crate) last_read: Cell<Option<Stamp>>,
    /// The peer's FIN.
    pub(crate) eof: Cell<bool>,
    /// When that was first read.
    pub(crate) eof_at: Cell<Option<Stamp>>,
    /// Error number of a read, 0 if none.
    pub(crate) read_errno: Cell<i32>,
    /// Error number of a write, 0 if none.
    pub(crate) write_errno: Cell<i32>,
    /// A FIN or RST was there before the first byte was written.
    pub(crate) closed_before_write: Cell<bool>,
}

impl Notes {
    pub(crate) fn new(clock: Clock, under_tls: bool) -> Rc<Self> {
        Rc::new(Self {
            clock,
            under_tls,
            not_tls: Cell::new(false),
            look_first: Cell::new(false),
            unasked_is_fine: Cell::new(false),
            let_peer_close: Cell::new(false),
            stale: Cell::new(false),
            written: Cell::new(0),
            write_blocked: Cell::new(false),
            last_write: Cell::new(None),
            arrival: Cell::new(None),
            first_read: Cell::new(None),
            last_read: Cell::new(None),
            eof: Cell::new(false),
            eof_at: Cell::new(None),
            read_errno: Cell::new(0),
            write_errno: Cell::new(0),
            closed_before_write: Cell::new(false),
        })
    }

    /// A new request begins, before which the peer's end is looked for or not. FIN and errors stay: they belong to the
    /// connection.
    pub(crate) fn begin(&self, kept: Kept, looks: bool) {
        self.look_first.set(kept == Kept::Yes && looks);
        self.written.set(0);
        self.write_blocked.set(false);
        self.last_write.set(None);
        self.first_read.set(None);
        self.last_read.set(None);
    }

    /// Looks before the next write, and writes nothing if the peer has ended the connection. What it sent is fine.
    pub(crate) fn look_for_the_end(&self) {
        self.look_first.set(true);
        self.unasked_is_fine.set(true);
    }

    /// From now on the connection's end is left to the peer.
    pub(crate) fn let_peer_close(&self) {
        self.let_peer_close.set(true);
    }

    /// True once after a request began on a kept connection, which is to be looked at first.
    pub(crate) fn takes_a_look(&self) -> bool {
        self.look_first.replace(false)
    }

    /// The peer may send unasked.
    pub(crate) fn takes_unasked(&self) -> bool {
        self.unasked_is_fine.get()
    }

    fn note_read(&self, bytes: usize) {
        if bytes == 0 {
            self.note_end();
        } else if !self.under_tls {
            self.note_answer(bytes);
        }
    }

    /// The peer's FIN, or what stands for it under TLS.
    pub(crate) fn note_end(&self) {
        if !self.eof.replace(true) {
            self.eof_at.set(Some(self.clock.now()));
        }
        self.note_closed();
    }

    /// So many bytes of an answer were read.
    pub(crate) fn note_answer(&self, bytes: usize) {
        debug_assert!(bytes > 0, "an end is no answer");
        // The answer may be here before the call returns that sent the request.
        let before = self.last_write.get().max(self.last_read.get());
        let at = self.arrival().max(before.unwrap_or(Stamp::ZERO));
        // What arrives before the request is no part of its answer.
        if self.written.get() > 0 && self.first_read.get().is_none() {
            self.first_read.set(Some(at));
        }
        self.last_read.set(Some(at));
    }

    /// So many bytes of a request were taken.
    pub(crate) fn note_taken(&self, bytes: usize) {
        self.written.set(self.written.get() + bytes as u64);
    }

    fn note_read_error(&self, error: &io::Error) {
        self.read_errno.set(error.raw_os_error().unwrap_or(0));
        self.note_closed();
    }

    /// When what was read last had arrived; where that is not known, now.
    pub(crate) fn arrival(&self) -> Stamp {
        self.arrival.get().unwrap_or_else(|| self.clock.now())
    }

    /// The kernel says when it got what is read here.
    pub(crate) fn is_stamped(&self) -> bool {
        self.arrival.get().is_some()
    }

    fn note_closed(&self) {
        if self.written.get() == 0 && self.write_errno.get() == 0 {
            self.closed_before_write.set(true);
        }
    }

    /// What was seen first is why the connection ended: hyper goes on writing after a read that told of the peer's RST
    /// or FIN, and that this fails (with EPIPE, whatever it was) says nothing new.
    fn note_write_error(&self, error: &io::Error) {
        let over = self.is_over();
        // TLS takes leave of a peer that is gone: that is no part of a request.
        if !(self.under_tls && over) {
            self.write_blocked.set(true);
        }
        if self.write_errno.get() == 0 && !over {
            self.write_errno.set(error.raw_os_error().unwrap_or(0));
        }
    }

    /// The peer's FIN or RST was read.
    pub(crate) fn is_over(&self) -> bool {
        self.eof.get() || self.read_errno.get() != 0
    }

    fn note_write(&self, taken: usize, given: usize) {
        if !self.under_tls {
            self.note_taken(taken);
        }
        self.write_blocked.set(taken < given);
        // What TLS still writes once the answer begins (its own goodbye) is no part of the request.
        if !self.under_tls || self.first_read.get().is_none() {
            self.last_write.set(Some(self.clock.now()));
        }
    }
}

/// Whether a request goes out on a connection that carried one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    Yes,
    No,
}

/// The stream under hyper.
#[derive(Debug)]
pub(crate) struct NotingStream {
    link: Link,
    notes: Rc<Notes>,
    /// Under TLS: what was read before anybody asked for it.
    ahead: Vec<u8>,
}

impl NotingStream {
    /// `one_way`: how long what is sent, by either side, is under way besides.
    /// `stamps`: whether the kernel is asked when it got what is read.
    pub(crate) fn new(tcp: TcpStream, one_way: Duration, stamps: bool, notes: Rc<Notes>) -> Self {
        Self { link: Link::new(tcp, one_way, notes.clock, stamps), notes, ahead: Vec::new() }
    }

    /// Under TLS: reads what has come, at most so much, without waiting for anything. Whether anything has come is
    /// the kernel's to say: the runtime learns of it only between two tasks.
    pub(crate) fn read_ahead(&mut self, cx: &mut Context<'_>, most: usize) {
        let mut room = [0; 4096];
        while self.ahead.len() < most && !self.notes.is_over() {
            match self.link.read_now(cx, &mut room) {
                None => return,
                Some(Ok(0)) => self.notes.note_read(0),
                Some(Ok(count)) => {
                    self.notes.arrival.set(None);
                    self.ahead.extend_from_slice(&room[..count]);
                }
                Some(Err(error)) => self.notes.note_read_error(&error),
            }
        }
    }

    /// Just before the first byte of a request is written on a kept connection: is the peer's FIN, RST, or an
    /// answer that nobody asked for already there? Then nothing is written, and the request can go elsewhere
    /// without being a retry. What closes after this look is a real race, and is recorded as such.
    fn look(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        // Under TLS whoever is above has looked.
        if self.notes.under_tls || !self.notes.takes_a_look() {
            return Ok(());
        }
        match self.link.peek(cx) {
            None => return Ok(()),
            Some(Ok(count)) if count > 0 && self.notes.takes_unasked() => return Ok(()),
            // Noted for the requests that share the connection and were sent before.
            Some(Ok(0)) => self.notes.note_read(0),
            Some(Ok(_)) => {}
            Some(Err(error)) => self.notes.note_read_error(&error),
        }
        self.notes.stale.set(true);
        Err(io::ErrorKind::NotConnected.into())
    }

    /// A failed write is noted and hidden from hyper, which would give up at once: the answer may have arrived
    /// already (413, 503 and a close). If it has not, the next read tells hyper that the connection is gone.
    fn wrote(&self, result: Poll<io::Result<usize>>, given: usize) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Ok(taken)) => {
                self.notes.note_write(taken, given);
                Poll::Ready(Ok(taken))
            }
            Poll::Ready(Err(error)) => {
                self.notes.note_write_error(&error);
                Poll::Ready(Ok(given))
            }
            Poll::Pending => {
                self.notes.write_blocked.set(true);
                Poll::Pending
            }
        }
    }
}

impl AsyncRead for NotingStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let part = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..part]);
            self.ahead.drain(..part);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let result = ready!(self.link.poll_read(cx, buf));
        match &result {
            Ok(arrival) => {
                self.notes.arrival.set(*arrival);
                self.notes.note_read(buf.filled().len() - before);
            }
            Err(error) => self.notes.note_read_error(error),
        }
        Poll::Ready(result.map(drop))
    }
}

impl AsyncWrite for NotingStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.look(cx)?;
        let result = Pin::new(&mut self.link).poll_write(cx, buf);
        self.wrote(result, buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.look(cx)?;
        let result = Pin::new(&mut self.link).poll_write_vectored(cx, bufs);
        self.wrote(result, bufs.iter().map(|buf| buf.len()).sum())
    }

    fn is_write_vectored(&self) -> bool {
        self.link.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.notes.let_peer_close.get() && !self.notes.is_over() {
            let mut scratch = [0; 512];
            ready!(self.as_mut().poll_read(cx, &mut ReadBuf::new(&mut scratch)))?;
        }
        Pin::new(&mut self.link).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
