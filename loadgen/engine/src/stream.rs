//! A TCP stream that notes what the kernel said, for whoever must judge the request later.

use std::cell::Cell;
use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use clock::Clock;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use trial::time::Stamp;

/// What was seen on a connection, since the request in progress began.
///
/// Shared by the stream, which writes, and the request's task, which reads; both live on the engine's thread.
#[derive(Debug)]
pub(crate) struct Notes {
    clock: Clock,
    /// The next write is the first of a request on a kept connection: look before writing.
    look_first: Cell<bool>,
    /// The peer may send unasked (HTTP/2, TLS): only its end makes the connection stale.
    unasked_is_fine: Cell<bool>,
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
    pub(crate) fn new(clock: Clock) -> Rc<Self> {
        Rc::new(Self {
            clock,
            look_first: Cell::new(false),
            unasked_is_fine: Cell::new(false),
            let_peer_close: Cell::new(false),
            stale: Cell::new(false),
            written: Cell::new(0),
            write_blocked: Cell::new(false),
            last_write: Cell::new(None),
            first_read: Cell::new(None),
            last_read: Cell::new(None),
            eof: Cell::new(false),
            eof_at: Cell::new(None),
            read_errno: Cell::new(0),
            write_errno: Cell::new(0),
            closed_before_write: Cell::new(false),
        })
    }

    /// A new request begins. FIN and errors stay: they belong to the connection.
    pub(crate) fn begin(&self, kept: Kept) {
        self.look_first.set(kept == Kept::Yes);
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

    fn note_read(&self, bytes: usize) {
        if bytes == 0 {
            if !self.eof.replace(true) {
                self.eof_at.set(Some(self.clock.now()));
            }
            self.note_closed();
        } else {
            let now = self.clock.now();
            // What arrives before the request is no part of its answer.
            if self.written.get() > 0 && self.first_read.get().is_none() {
                self.first_read.set(Some(now));
            }
            self.last_read.set(Some(now));
        }
    }

    fn note_read_error(&self, error: &io::Error) {
        self.read_errno.set(error.raw_os_error().unwrap_or(0));
        self.note_closed();
    }

    fn note_closed(&self) {
        if self.written.get() == 0 && self.write_errno.get() == 0 {
            self.closed_before_write.set(true);
        }
    }

    /// What was seen first is why the connection ended: hyper goes on writing after a read that told of the peer's RST
    /// or FIN, and that this fails (with EPIPE, whatever it was) says nothing new.
    fn note_write_error(&self, error: &io::Error) {
        self.write_blocked.set(true);
        if self.write_errno.get() == 0 && self.read_errno.get() == 0 && !self.eof.get() {
            self.write_errno.set(error.raw_os_error().unwrap_or(0));
        }
    }

    fn note_write(&self, taken: usize, given: usize) {
        self.written.set(self.written.get() + taken as u64);
        self.write_blocked.set(taken < given);
        self.last_write.set(Some(self.clock.now()));
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
    tcp: TcpStream,
    notes: Rc<Notes>,
}

impl NotingStream {
    pub(crate) fn new(tcp: TcpStream, notes: Rc<Notes>) -> Self {
        Self { tcp, notes }
    }

    /// Just before the first byte of a request is written on a kept connection: is the peer's FIN, RST, or an
    /// answer that nobody asked for already there? Then nothing is written, and the request can go elsewhere
    /// without being a retry. What closes after this look is a real race, and is recorded as such.
    fn look(&self) -> io::Result<()> {
        if !self.notes.look_first.replace(false) {
            return Ok(());
        }
        let waiting = recv(self.tcp.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
        match waiting {
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
            Ok(count) if count > 0 && self.notes.unasked_is_fine.get() => return Ok(()),
            // Noted for the requests that share the connection and were sent before.
            Ok(0) => self.notes.note_read(0),
            Ok(_) => {}
            Err(errno) => self.notes.note_read_error(&io::Error::from_raw_os_error(errno as i32)),
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
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut self.tcp).poll_read(cx, buf));
        match &result {
            Ok(()) => self.notes.note_read(buf.filled().len() - before),
            Err(error) => self.notes.note_read_error(error),
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for NotingStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.look()?;
        let result = Pin::new(&mut self.tcp).poll_write(cx, buf);
        self.wrote(result, buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.look()?;
        let result = Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs);
        self.wrote(result, bufs.iter().map(|buf| buf.len()).sum())
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.notes.let_peer_close.get() && !self.notes.eof.get() && self.notes.read_errno.get() == 0 {
            let mut scratch = [0; 512];
            ready!(self.as_mut().poll_read(cx, &mut ReadBuf::new(&mut scratch)))?;
        }
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream as Peer};
    use std::time::Duration;

    use socket2::SockRef;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn connected() -> (NotingStream, Rc<Notes>, Peer) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let notes = Notes::new(Clock::start().0);
        (NotingStream::new(tcp, Rc::clone(&notes)), notes, listener.accept().unwrap().0)
    }

    fn reset(peer: &Peer) {
        SockRef::from(peer).set_linger(Some(Duration::ZERO)).unwrap();
    }

    #[tokio::test]
    async fn a_kept_connection_that_was_closed_is_not_written_to() {
        type End = fn(Peer) -> Option<Peer>;
        let ends: [End; 3] = [
            |_fin| None,
            |peer| {
                reset(&peer);
                None
            },
            |mut peer| {
                peer.write_all(b"HTTP/1.1 408 Request Timeout").unwrap();
                Some(peer)
            },
        ];
        for end in ends {
            let (mut stream, notes, peer) = connected().await;
            let _open = end(peer);
            notes.begin(Kept::Yes);
            assert!(stream.write_all(b"GET").await.is_err());
            assert!(notes.stale.get());
            assert_eq!((notes.written.get(), notes.write_errno.get()), (0, 0));
        }
    }

    #[tokio::test]
    async fn a_kept_connection_that_is_open_carries_the_request() {
        let (mut stream, notes, mut peer) = connected().await;
        notes.begin(Kept::Yes);
        stream.write_all(b"GET").await.unwrap();
        assert!(!notes.stale.get() && notes.written.get() == 3);
        let mut got = [0; 3];
        peer.read_exact(&mut got).unwrap();
        peer.write_all(b"ok").unwrap();
        stream.read_exact(&mut got[..2]).await.unwrap();
        assert!(notes.last_write.get() <= notes.first_read.get() && notes.first_read.get().is_some());
    }

    #[tokio::test]
    async fn what_fails_after_the_end_was_read_says_nothing_new() {
        for linger in [Some(Duration::ZERO), None] {
            let (mut stream, notes, peer) = connected().await;
            notes.begin(Kept::No);
            stream.write_all(b"GET").await.unwrap();
            SockRef::from(&peer).set_linger(linger).unwrap();
            drop(peer);
            let mut got = Vec::new();
            let _reset = stream.read_to_end(&mut got).await;
            // A write after the peer's RST fails with EPIPE, which would pass for the cause.
            for _ in 0..3 {
                stream.write_all(b"more").await.expect("hidden");
            }
            assert_eq!(notes.write_errno.get(), 0);
            assert!(notes.read_errno.get() == Errno::ECONNRESET as i32 && notes.write_blocked.get());
        }
    }

    #[tokio::test]
    async fn a_failed_write_is_noted_and_what_had_arrived_is_still_read() {
        let (mut stream, notes, mut peer) = connected().await;
        peer.write_all(b"HTTP/1.1 413").unwrap();
        reset(&peer);
        drop(peer);
        notes.begin(Kept::No);
        stream.write_all(b"POST").await.expect("hidden");
        assert!([Errno::EPIPE as i32, Errno::ECONNRESET as i32].contains(&notes.write_errno.get()));
        assert_eq!((notes.written.get(), notes.closed_before_write.get()), (0, false));
        let mut got = Vec::new();
        let _end = stream.read_to_end(&mut got).await;
        assert_eq!(got, b"HTTP/1.1 413");
    }
}
