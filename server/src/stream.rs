//! The byte stream under a connection: adds the two things that hyper leaves to us.
//!
//! * A deadline for a request's head that begins with its first byte. Hyper's own also ends *idle* connections,
//!   which is the race between server and client that this server is to be free of.
//! * A lingering close. Hyper half-closes and drops the socket; if bytes of the client are unread then (the rest
//!   of a refused body), the kernel resets the connection and may take the answer with it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// How long the client has to end its side after we ended ours.
const LINGER: Duration = Duration::from_secs(2);

/// What the connection tells its stream.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    /// A request is being answered: bytes are not the start of a head.
    busy: AtomicBool,
    /// Close as hyper does, without lingering.
    abrupt: AtomicBool,
}

/// Marks the connection as busy until it is dropped.
#[must_use]
#[derive(Debug)]
pub(crate) struct Busy(Arc<Hints>);

/// A stream with a head deadline and a lingering close.
#[derive(Debug)]
pub(crate) struct Stream<T> {
    inner: T,
    hints: Arc<Hints>,
    head_timeout: Duration,
    head: Option<Pin<Box<Sleep>>>,
    linger: Option<Pin<Box<Sleep>>>,
}

// === impl Hints ===

impl Hints {
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.busy.store(true, Relaxed);
        Busy(Arc::clone(self))
    }

    pub(crate) fn close_abruptly(&self) {
        self.abrupt.store(true, Relaxed);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.store(false, Relaxed);
    }
}

// === impl Stream ===

impl<T> Stream<T> {
    pub(crate) fn new(inner: T, hints: Arc<Hints>, head_timeout: Duration) -> Self {
        Self { inner, hints, head_timeout, head: None, linger: None }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Stream<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.inner).poll_read(context, buffer);
        if this.hints.busy.load(Relaxed) {
            this.head = None;
            return polled;
        }
        if polled.is_ready() {
            if buffer.filled().len() > before && this.head.is_none() {
                this.head = Some(Box::pin(sleep(this.head_timeout)));
            }
            return polled;
        }
        match &mut this.head {
            Some(deadline) => deadline.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into())),
            None => Poll::Pending,
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    /// Half-closes, then reads to the client's end.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.inner).poll_shutdown(context))?;
            this.linger = Some(Box::pin(sleep(LINGER)));
        }
        if this.hints.abrupt.load(Relaxed) {
            return Poll::Ready(Ok(()));
        }
        // The deadline comes first, so that a client who never stops sending cannot outlast it.
        if let Some(deadline) = &mut this.linger
            && deadline.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Ok(()));
        }
        let mut scratch = [0; 8 * 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut this.inner).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                Ok(()) | Err(_) => return Poll::Ready(Ok(())),
            }
        }
    }
}
