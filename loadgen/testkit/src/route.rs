//! Faults of the way to the server, and of listeners: planted where a connection goes.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use engine::{Pick, Route};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::setsockopt;
use socket2::{Domain, Socket, Type};
use trial::id::{NodeId, PodId};

use crate::fault::Fault;
use crate::log::Log;
use crate::plan::Plan;
use crate::server::{Busy, FaultServer};

mod option {
    use super::libc;

    nix::setsockopt_impl!(
        DeferAccept,
        libc::IPPROTO_TCP,
        libc::TCP_DEFER_ACCEPT,
        i32,
        nix::sys::socket::sockopt::SetStruct<i32>
    );

    /// A connection joins the accept queue with its first byte.
    #[derive(Debug, Clone, Copy)]
    pub(super) struct DeferAccept;
}

/// A connection that does not come within this never comes.
const COMES_WITHIN_MS: u16 = 30_000;

/// Sends each connection to the server, or to what its plan says. Each has a pod of its own, so that its record can
/// be told; of those there are 65,535.
#[derive(Debug)]
pub struct FaultRoute {
    plan: Plan,
    server: SocketAddr,
    straw: SocketAddr,
    log: Arc<Log>,
    busy: Busy,
    next: AtomicU16,
    closed: Closed,
    full: Full,
}

/// A port that stays ours, and has no listener.
#[derive(Debug)]
struct Closed {
    address: SocketAddr,
    _bound: Socket,
}

/// A listener whose queue is full.
#[derive(Debug)]
struct Full {
    address: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl FaultRoute {
    /// A route to `server`.
    ///
    /// # Errors
    /// No sockets.
    pub fn new(plan: Plan, server: &FaultServer) -> io::Result<Self> {
        let (closed, full) = (Closed::new()?, Full::new()?);
        let (log, busy) = (server.log(), server.busy());
        let (server, straw) = (server.address(), server.straw().unwrap_or(server.address()));
        Ok(Self { plan, server, straw, log, busy, next: AtomicU16::new(0), closed, full })
    }

    fn plant(&self, fault: Fault, pod: PodId) -> io::Result<Pick> {
        let to = |address| Pick::To { pod, address, fallback: false };
        Ok(match fault {
            Fault::Refused => to(self.closed.address),
            Fault::Rejected => Pick::Rejected,
            Fault::QueueFull => to(self.full.address),
            Fault::Unreachable => Pick::Unreachable { pod, after: Duration::from_millis(1) },
            Fault::QueueDropped | Fault::QueueDroppedAtOnce => to(self.drop_queue(fault, pod)?),
            Fault::ResetReading | Fault::CloseReading | Fault::StallReading | Fault::EarlyRefusal => {
                to(self.straw)
            }
            _ => to(self.server),
        })
    }

    /// A listener that closes when something is in its queue.
    fn drop_queue(&self, fault: Fault, pod: PodId) -> io::Result<SocketAddr> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        if fault == Fault::QueueDropped {
            setsockopt(&socket, option::DeferAccept, &i32::from(COMES_WITHIN_MS / 1000))?;
        }
        socket.listen(8)?;
        let listener = TcpListener::from(socket);
        let address = listener.local_addr()?;
        let (log, busy) = (Arc::clone(&self.log), self.busy.begin());
        thread::Builder::new().stack_size(64 * 1024).spawn(move || {
            let mut waiting = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
            match poll(&mut waiting, PollTimeout::from(COMES_WITHIN_MS)) {
                Ok(1) => log.routed(pod, fault),
                // A connection that never came was not tampered with.
                other => log.failed(format!("nobody came to a queue that was to be dropped: {other:?}")),
            }
            drop(listener);
            drop(busy);
        })?;
        Ok(address)
    }
}

impl Route for FaultRoute {
    fn pick(&self, _from: NodeId, _random: u64) -> Pick {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        if number == u16::MAX {
            self.log.failed("more connections than there are pods to tell them by".to_owned());
        }
        let (pod, fault) = (PodId(number), self.plan.of(u64::from(number)));
        match self.plant(fault, pod) {
            Ok(pick) => {
                // Others are logged when they are done, or by the server.
                if matches!(fault, Fault::Refused | Fault::Rejected | Fault::QueueFull | Fault::Unreachable) {
                    self.log.routed(pod, fault);
                }
                pick
            }
            Err(error) => {
                self.log.failed(format!("{fault:?} could not be planted: {error}"));
                Pick::To { pod, address: self.server, fallback: false }
            }
        }
    }
}

impl Closed {
    fn new() -> io::Result<Self> {
        let bound = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        bound.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        let address = bound.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { address, _bound: bound })
    }
}

impl Full {
    fn new() -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        socket.listen(0)?;
        let listener = TcpListener::from(socket);
        let address = listener.local_addr()?;
        // A queue of n holds n + 1.
        let waiting = vec![TcpStream::connect(address)?];
        Ok(Self { address, _listener: listener, _waiting: waiting })
    }
}
