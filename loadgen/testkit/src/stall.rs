//! A server that stands still for a while, and a client that goes on sending when requests are due.
//!
//! What must be recorded is known: with R slots a second and a stall of T, R·(T − lateOver) slots are late, and latency
//! falls linearly from T to nothing, since all that was due meanwhile is answered at once at the end. A client that waits
//! for an answer before it sends the next request hides nearly all of that.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use clock::Clock;
use engine::{Direct, Engine, EngineConfig};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use trial::record::Record;
use trial::settings::{Lane, LaneKind, Load};
use trial::time::Stamp;

use crate::fault::{Fault, Wire};
use crate::plan::Plan;
use crate::row::RowError;
use crate::server::{Behaviour, FaultServer};

/// How a stall is measured.
#[derive(Debug, Clone, Copy)]
pub struct Stall {
    /// Slots a second, of each lane.
    pub rate: f64,
    /// How long the server stands still.
    pub lasts: Duration,
    /// From when on an answer is late.
    pub late_over: Duration,
    /// The load before and after.
    pub around: Duration,
}

/// What was recorded, and when the server really stood still.
#[derive(Debug)]
pub struct Stalled {
    /// By lane.
    pub lanes: Vec<(LaneKind, Vec<Record>)>,
    /// The server was running until here at least, and stood still from the second stamp on at the latest.
    pub stopped: (Stamp, Stamp),
    /// It stood still until here at least, and was told to go on before the second stamp.
    pub continued: (Stamp, Stamp),
}

/// Lanes whose requests can all be under way at once.
const KINDS: [LaneKind; 2] = [LaneKind::New, LaneKind::Reused];

/// A server process that ends with its owner.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    address: SocketAddr,
}

impl ServerProcess {
    /// Starts `program serve`, which prints its address and ends with its standard input.
    ///
    /// # Errors
    /// It does not start, or prints no address.
    pub fn start(program: &Path) -> io::Result<Self> {
        let mut child =
            Command::new(program).arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let address = line.trim().parse().map_err(io::Error::other)?;
        Ok(Self { child, address })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).map_err(io::Error::other)?);
        kill(pid, signal)?;
        // The kernel tells when it has happened to every thread.
        let (flags, happened): (_, fn(&WaitStatus) -> bool) = match signal {
            Signal::SIGSTOP => (WaitPidFlag::WUNTRACED, |status| matches!(status, WaitStatus::Stopped(..))),
            _ => (WaitPidFlag::WCONTINUED, |status| matches!(status, WaitStatus::Continued(_))),
        };
        match waitpid(pid, Some(flags))? {
            status if happened(&status) => Ok(()),
            other => Err(io::Error::other(format!("the server did something else: {other:?}"))),
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Serves until standard input ends; `told` is given the address.
///
/// # Errors
/// No socket.
pub fn serve(told: impl FnOnce(SocketAddr) -> io::Result<()>) -> io::Result<()> {
    let plan = Plan::new(0, Vec::new(), 0, vec![Fault::Good]);
    let zero = Duration::ZERO;
    let server = FaultServer::start(&Behaviour {
        wire: Wire::Http1,
        plan,
        late_by: zero,
        hold_for: zero,
        interval: zero,
        straw: None,
    })?;
    told(server.address())?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

impl Stall {
    /// Runs the load, and lets the server stand still in the middle of it.
    ///
    /// # Errors
    /// No server, no engine, or records that overflowed.
    pub fn measure(&self, server: &ServerProcess) -> Result<Stalled, RowError> {
        let (clock, _anchor) = Clock::start();
        let start = clock.now() + Duration::from_millis(50);
        let route = Arc::new(Direct(server.address()));
        let config = EngineConfig::new(clock, self.load(), 1, start, route);
        let (sender, receiver) = sync_channel(4096);
        let engine = Engine::spawn(config, sender)?;
        engine.stop_at(start + self.around + self.lasts + self.around);
        let sleep_until = |at: Stamp| thread::sleep(at.saturating_since(clock.now()));
        sleep_until(start + self.around);
        let before = clock.now();
        server.signal(Signal::SIGSTOP)?;
        let stopped = (before, clock.now());
        sleep_until(stopped.1 + self.lasts);
        let before = clock.now();
        server.signal(Signal::SIGCONT)?;
        let continued = (before, clock.now());
        let mut records: Vec<Record> = receiver.iter().flatten().collect();
        let summary = engine.join()?;
        let overflowed: u64 = summary.lanes.iter().map(|lane| lane.overflowed).sum();
        if overflowed > 0 {
            return Err(RowError::Overflow(overflowed));
        }
        records.sort_by_key(|record| record.slot);
        let of =
            |index: usize| records.iter().filter(move |record| usize::from(record.lane.0) == index).copied();
        let lanes = KINDS.iter().enumerate().map(|(index, kind)| (*kind, of(index).collect())).collect();
        Ok(Stalled { lanes, stopped, continued })
    }

    fn load(&self) -> Load {
        let lane = |kind| Lane { connections: 20, ..Lane::new(kind, self.rate) };
        let load = Load::new(KINDS.into_iter().map(lane).collect());
        Load { timeout: self.lasts * 3, late_over: self.late_over, ..load }
    }
}
