//! A raw TCP server, a thread a connection, that does to each request what its plan says, and logs it.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clock::Clock;
use socket2::{Domain, Socket, Type};
use tokio::sync::Notify;

use crate::fault::{Fault, Wire};
use crate::log::{Log, hold};
use crate::plan::Plan;
use crate::{http1, http2};

/// Bursts of connections must find room, or the kernel would add faults of its own.
const BACKLOG: i32 = 4096;
/// So small that the kernel cannot take a large body off the client's hands. On a fresh connection, that is: the more a
/// connection has carried, the more its sender's kernel will hold.
const SMALL_BUFFER: usize = 16 * 1024;
const SMALL_SEGMENT: u32 = 4 * 1024;
/// Bytes of a body that the sockets of such a listener do not hold: a quarter of a megabyte is what they do.
pub const LARGE_BODY: usize = 1024 * 1024;

/// What a server is to do.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// What it speaks.
    pub wire: Wire,
    /// What is done to which slot.
    pub plan: Plan,
    /// A late answer is so late.
    pub late_by: Duration,
    /// A connection that is no longer read is held so long: longer than the client's timeout.
    pub hold_for: Duration,
    /// From one request to the next on a kept connection: where [`crate::Fault::GoodCloseRace`] aims.
    pub interval: Duration,
    /// A second listener, whose sockets hold less than [`LARGE_BODY`], and which does this to every request.
    pub straw: Option<Fault>,
}

/// What the connections of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) behaviour: Behaviour,
    pub(crate) log: Arc<Log>,
    pub(crate) clock: Clock,
}

/// A running server. Dropped, it accepts no more.
#[derive(Debug)]
pub struct FaultServer {
    listeners: Vec<Listener>,
    log: Arc<Log>,
    busy: Busy,
    stopping: Arc<Stopping>,
}

#[derive(Debug, Default)]
struct Stopping {
    told: AtomicBool,
    notify: Notify,
}

#[derive(Debug)]
struct Listener {
    address: SocketAddr,
    acceptor: JoinHandle<()>,
}

impl FaultServer {
    /// Serves on a port of 127.0.0.1.
    ///
    /// # Errors
    /// No socket or thread.
    pub fn start(behaviour: &Behaviour) -> io::Result<Self> {
        let (log, busy) = (Arc::new(Log::default()), Busy::default());
        let (stopping, clock) = (Arc::<Stopping>::default(), Clock::start().0);
        let straw = behaviour.straw.map(|fault| Plan::new(0, vec![fault], 1000, Vec::new()));
        let mut server = Self { listeners: Vec::new(), log, busy, stopping };
        for (small, plan) in [(false, Some(behaviour.plan.clone())), (true, straw)] {
            let Some(plan) = plan else { continue };
            let listener = listen(small)?;
            let address = listener.local_addr()?;
            let behaviour = Behaviour { plan, ..behaviour.clone() };
            let shared = Arc::new(Shared { behaviour, log: Arc::clone(&server.log), clock });
            let (stop, busy) = (Arc::clone(&server.stopping), server.busy.clone());
            let acceptor = thread::spawn(move || match shared.behaviour.wire {
                Wire::Http1 => accept(&listener, &shared, &busy, &stop),
                Wire::Http2 => {
                    if let Err(error) = http2::serve(listener, Arc::clone(&shared), busy, &stop.notify) {
                        shared.log.failed(format!("the server ended: {error}"));
                    }
                }
            });
            server.listeners.push(Listener { address, acceptor });
        }
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listeners[0].address
    }

    /// Where the sockets are small, if there is such a listener.
    #[must_use]
    pub fn straw(&self) -> Option<SocketAddr> {
        self.listeners.get(1).map(|listener| listener.address)
    }

    /// Its log, which grows.
    #[must_use]
    pub fn log(&self) -> Arc<Log> {
        Arc::clone(&self.log)
    }

    /// What is under way at this server; a route that plants faults for it counts its own work there.
    #[must_use]
    pub fn busy(&self) -> Busy {
        self.busy.clone()
    }

    /// Waits until every connection has ended, so that the log is whole. The clients must have gone.
    ///
    /// # Errors
    /// Not within half a minute.
    pub fn settle(&self) -> io::Result<()> {
        self.busy.wait(Duration::from_secs(30))
    }
}

impl Drop for FaultServer {
    fn drop(&mut self) {
        self.stopping.told.store(true, Ordering::SeqCst);
        self.stopping.notify.notify_one();
        for listener in self.listeners.drain(..) {
            // Wakes the acceptor, which looks first of all whether it is to stop.
            let _woken = TcpStream::connect(listener.address);
            let _ended = listener.acceptor.join();
        }
    }
}

fn listen(small: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    if small {
        socket.set_recv_buffer_size(SMALL_BUFFER)?;
        socket.set_tcp_mss(SMALL_SEGMENT)?;
    }
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from(socket))
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, busy: &Busy, stopping: &Stopping) {
    let mut connection = 0;
    for stream in listener.incoming() {
        if stopping.told.load(Ordering::SeqCst) {
            return;
        }
        let started = stream.and_then(|stream| {
            stream.set_nodelay(true)?;
            connection += 1;
            let (shared, busy) = (Arc::clone(shared), busy.begin());
            let serve = move || {
                http1::serve(stream, connection, &shared);
                drop(busy);
            };
            thread::Builder::new().stack_size(128 * 1024).spawn(serve)
        });
        if let Err(error) = started {
            shared.log.failed(format!("a connection was not served: {error}"));
        }
    }
}

/// Counts what is under way.
#[derive(Debug, Clone, Default)]
pub struct Busy(Arc<(Mutex<usize>, Condvar)>);

/// Something under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct Work(Busy);

impl Busy {
    pub(crate) fn begin(&self) -> Work {
        *hold(&self.0.0) += 1;
        Work(self.clone())
    }

    fn wait(&self, longest: Duration) -> io::Result<()> {
        let count = hold(&self.0.0);
        let (count, _) = self
            .0
            .1
            .wait_timeout_while(count, longest, |count| *count > 0)
            .unwrap_or_else(PoisonError::into_inner);
        match *count {
            0 => Ok(()),
            left => Err(io::Error::new(io::ErrorKind::TimedOut, format!("{left} connections did not end"))),
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        *hold(&self.0.0.0) -= 1;
        self.0.0.1.notify_all();
    }
}
