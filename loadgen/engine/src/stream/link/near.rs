//! A peer with nothing between: what the kernel has, the client has. And the kernel says when it got it: that this thread came
//! to read it later, or slept meanwhile on purpose, is not the service's doing.

use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use clock::{Clock, WallClock};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::TcpStream;
use trial::time::Stamp;

use crate::stream::STAMP_REACH;

#[derive(Debug)]
pub(in crate::stream) struct Near {
    pub(super) tcp: TcpStream,
    stamps: Option<Stamps>,
}

/// What it takes to read the kernel's stamps (`SO_TIMESTAMPNS`).
#[derive(Debug)]
struct Stamps {
    wall: WallClock,
    room: Vec<u8>,
}

impl Near {
    /// `stamps`: whether the kernel is to say when it got what is read. Where it cannot, it does not.
    pub(super) fn new(tcp: TcpStream, clock: Clock, stamps: bool) -> Self {
        let asked = stamps && setsockopt(&tcp, sockopt::ReceiveTimestampns, &true).is_ok();
        let stamps = asked.then(|| Stamps { wall: WallClock::new(clock), room: cmsg_space!(TimeSpec) });
        Self { tcp, stamps }
    }

    /// Reads what has come, and says when the segment came that ends it, if that is known. It can be read since then, unless one
    /// before it was lost and sent again.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Option<Stamp>>> {
        let Some(stamps) = &mut self.stamps else {
            return Pin::new(&mut self.tcp).poll_read(cx, buf).map_ok(|()| None);
        };
        let room = buf.initialize_unfilled();
        loop {
            ready!(self.tcp.poll_read_ready(cx))?;
            let (mut got, most) = (None, room.len());
            let tried = self.tcp.try_io(Interest::READABLE, || {
                let (count, at) = stamps.receive(self.tcp.as_raw_fd(), room)?;
                got = Some((count, at));
                // Less than there was room for: that was all, and there is nothing to come back for until the kernel says so.
                if (1..most).contains(&count) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match (got, tried) {
                (Some((count, at)), _) => {
                    buf.advance(count);
                    return Poll::Ready(Ok(at));
                }
                (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(error));
                }
                (None, _) => {}
            }
        }
    }
}

impl Stamps {
    fn receive(&mut self, fd: i32, room: &mut [u8]) -> io::Result<(usize, Option<Stamp>)> {
        let mut slices = [IoSliceMut::new(room)];
        let message = loop {
            match recvmsg::<()>(fd, &mut slices, Some(&mut self.room), MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EINTR) => {}
                told => break told?,
            }
        };
        // Whatever is wrong with these, what was read stands.
        let stamp = message.cmsgs().ok().and_then(|mut messages| {
            messages.find_map(|message| match message {
                ControlMessageOwned::ScmTimestampns(stamp) => Some(Duration::from(stamp)),
                _ => None,
            })
        });
        let at = stamp.and_then(|stamp| self.wall.stamp(u64::try_from(stamp.as_nanos()).ok()?, STAMP_REACH));
        Ok((message.bytes, at))
    }
}
