//! A peer at a distance. On one machine what is written is read at once, so that a server's close and a client's next
//! request hardly ever cross; over a network they do during a whole round trip. Both directions are delayed here, at
//! the client's end of the connection: what the peer's host sees, and when, is as if the client were that far away.
//!
//! Order and the end of the stream are kept; bandwidth and loss are not imitated, and what is under way when the client gives
//! a request up is lost with the connection. To a millisecond, the runtime's timer.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// As much is under way in each direction; a sender waits for room, as it does for TCP's window.
const WINDOW: usize = 1 << 20;
const READ: usize = 16 << 10;

#[derive(Debug)]
pub(in crate::stream) struct Far {
    tcp: TcpStream,
    one_way: Duration,
    leaving: Way,
    coming: Way,
    /// How the peer ended the stream, and when the client learns of it.
    end: Option<(Instant, End)>,
    timer: Pin<Box<Sleep>>,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Fin,
    /// Error number.
    Error(i32),
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    /// With the time at which each arrives.
    pieces: VecDeque<(Instant, Vec<u8>)>,
    /// So much of the first has been taken.
    taken: usize,
    bytes: usize,
}

impl Way {
    fn push(&mut self, arrives: Instant, piece: Vec<u8>) {
        self.bytes += piece.len();
        self.pieces.push_back((arrives, piece));
    }

    fn next(&self) -> Option<Instant> {
        self.pieces.front().map(|(arrives, _)| *arrives)
    }

    fn arrived(&self, now: Instant) -> Option<&[u8]> {
        let (arrives, piece) = self.pieces.front()?;
        (*arrives <= now).then(|| &piece[self.taken..])
    }

    fn take(&mut self, count: usize) {
        self.taken += count;
        self.bytes -= count;
        if self.pieces.front().is_some_and(|(_, piece)| piece.len() == self.taken) {
            self.pieces.pop_front();
            self.taken = 0;
        }
    }
}

impl Far {
    pub(super) fn new(tcp: TcpStream, one_way: Duration) -> Self {
        let timer = Box::pin(sleep_until(Instant::now()));
        Self { tcp, one_way, leaving: Way::default(), coming: Way::default(), end: None, timer }
    }

    /// What has come: empty for the peer's FIN, `None` if nothing has.
    pub(super) fn arrived(&mut self, cx: &mut Context<'_>) -> Option<io::Result<&[u8]>> {
        self.carry(cx);
        let now = Instant::now();
        if self.coming.pieces.is_empty()
            && let Some((_, end)) = self.end.filter(|(arrives, _)| *arrives <= now)
        {
            return Some(match end {
                End::Fin => Ok(&[]),
                End::Error(errno) => Err(io::Error::from_raw_os_error(errno)),
            });
        }
        self.coming.arrived(now).map(Ok)
    }

    /// Takes of what has come as much as there is room for.
    pub(super) fn take(&mut self, buf: &mut ReadBuf<'_>) {
        if let Some(piece) = self.coming.arrived(Instant::now()) {
            let count = piece.len().min(buf.remaining());
            buf.put_slice(&piece[..count]);
            self.coming.take(count);
        }
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.arrived(cx) {
                Some(Err(error)) => return Poll::Ready(Err(error)),
                Some(Ok(_)) => {
                    self.take(buf);
                    return Poll::Ready(Ok(()));
                }
                None => ready!(self.poll_next(cx)),
            }
        }
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.carry(cx);
        while self.leaving.bytes >= WINDOW {
            ready!(self.poll_next(cx));
            self.carry(cx);
        }
        let piece: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        let count = piece.len();
        if count > 0 {
            self.leaving.push(Instant::now() + self.one_way, piece);
        }
        // Whoever wrote need not read before the piece arrives.
        while self.poll_next(cx).is_ready() {
            self.carry(cx);
        }
        Poll::Ready(Ok(count))
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.carry(cx);
        while !self.leaving.pieces.is_empty() {
            ready!(self.poll_next(cx));
            self.carry(cx);
        }
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    /// Ready once something arrives at either end; `cx` is woken then, or when the kernel has something new.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        // What arrived and could not be handed over waits for the kernel or the reader, not for the time.
        let ahead = |arrives: &Instant| *arrives > now;
        let end = self.end.map(|(arrives, _)| arrives);
        let next = [self.leaving.next(), self.coming.next(), end].into_iter().flatten().filter(ahead).min();
        let Some(next) = next else { return Poll::Pending };
        if self.timer.deadline() != next {
            self.timer.as_mut().reset(next);
        }
        self.timer.as_mut().poll(cx)
    }

    /// Between the ends of the way and the kernel.
    fn carry(&mut self, cx: &mut Context<'_>) {
        // First what the peer says: once a write has met its RST, the kernel tells of no FIN before it.
        self.collect(cx);
        let now = Instant::now();
        while let Some(piece) = self.leaving.arrived(now) {
            match Pin::new(&mut self.tcp).poll_write(cx, piece) {
                Poll::Ready(Ok(count)) => self.leaving.take(count),
                Poll::Ready(Err(error)) => {
                    self.leaving = Way::default();
                    self.ended(End::Error(error.raw_os_error().unwrap_or(0)));
                }
                Poll::Pending => break,
            }
        }
    }

    fn collect(&mut self, cx: &mut Context<'_>) {
        let mut room = [0; READ];
        while self.end.is_none() && self.coming.bytes < WINDOW {
            let mut buf = ReadBuf::new(&mut room);
            match Pin::new(&mut self.tcp).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if buf.filled().is_empty() => self.ended(End::Fin),
                Poll::Ready(Ok(())) => self.coming.push(Instant::now() + self.one_way, buf.filled().to_vec()),
                Poll::Ready(Err(error)) => self.ended(End::Error(error.raw_os_error().unwrap_or(0))),
                Poll::Pending => return,
            }
        }
    }

    /// The first word about the end counts.
    fn ended(&mut self, end: End) {
        self.end.get_or_insert((Instant::now() + self.one_way, end));
    }
}
