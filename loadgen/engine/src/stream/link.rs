//! What lies between the client and the peer's host: nothing, or a distance.

mod far;
mod near;

use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use clock::Clock;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use trial::time::Stamp;

use far::Far;
use near::Near;

/// A TCP connection as its client sees it.
#[derive(Debug)]
pub(super) enum Link {
    /// What the kernel has, the client has.
    Near(Near),
    /// What either side sends is under way for a while.
    Far(Box<Far>),
}

impl Link {
    /// `stamps`: whether the kernel is to say when it got what is read.
    pub(super) fn new(tcp: TcpStream, one_way: Duration, clock: Clock, stamps: bool) -> Self {
        if one_way.is_zero() {
            Self::Near(Near::new(tcp, clock, stamps))
        } else {
            Self::Far(Box::new(Far::new(tcp, one_way)))
        }
    }

    /// Reads what has come, and says when the segment came that ends it, if that is known.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Option<Stamp>>> {
        match self {
            Self::Near(near) => near.poll_read(cx, buf),
            Self::Far(far) => far.poll_read(cx, buf).map_ok(|()| None),
        }
    }

    /// What has come, without waiting and without taking it: `None` if nothing has, 0 for the peer's FIN.
    pub(super) fn peek(&mut self, cx: &mut Context<'_>) -> Option<io::Result<usize>> {
        match self {
            Self::Near(near) => at_once(&near.tcp, &mut [0], MsgFlags::MSG_PEEK),
            Self::Far(far) => far.arrived(cx).map(|arrived| arrived.map(<[u8]>::len)),
        }
    }

    /// The same, and takes it.
    pub(super) fn read_now(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Option<io::Result<usize>> {
        match self {
            Self::Near(near) => at_once(&near.tcp, room, MsgFlags::empty()),
            Self::Far(far) => {
                let mut buf = ReadBuf::new(room);
                far.arrived(cx)?.err().map_or_else(
                    || {
                        far.take(&mut buf);
                        Some(Ok(buf.filled().len()))
                    },
                    |error| Some(Err(error)),
                )
            }
        }
    }
}

/// The kernel's word: the runtime learns of what comes only between two tasks.
fn at_once(tcp: &TcpStream, room: &mut [u8], how: MsgFlags) -> Option<io::Result<usize>> {
    match recv(tcp.as_raw_fd(), room, how | MsgFlags::MSG_DONTWAIT) {
        Err(Errno::EAGAIN | Errno::EINTR) => None,
        told => Some(told.map_err(|errno| io::Error::from_raw_os_error(errno as i32))),
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Near(near) => Pin::new(&mut near.tcp).poll_write(cx, buf),
            Self::Far(far) => far.poll_write(cx, &[io::IoSlice::new(buf)]),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Near(near) => Pin::new(&mut near.tcp).poll_write_vectored(cx, bufs),
            Self::Far(far) => far.poll_write(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Near(near) => near.tcp.is_write_vectored(),
            Self::Far(_) => true,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Near(near) => Pin::new(&mut near.tcp).poll_flush(cx),
            // Like a kernel's: what was taken is on its way.
            Self::Far(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Near(near) => Pin::new(&mut near.tcp).poll_shutdown(cx),
            Self::Far(far) => far.poll_shutdown(cx),
        }
    }
}
