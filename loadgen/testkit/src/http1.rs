//! Faults on an HTTP/1 connection.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use contract::headers;
use socket2::SockRef;
use trial::time::Stamp;

use crate::fault::Fault;
use crate::log::Seen;
use crate::plan::mix;
use crate::server::Shared;

/// A head is no longer than this.
const HEAD_MAX: usize = 16 * 1024;
/// Read of a large body before it is left.
const PART: usize = 16 * 1024;
/// Larger bodies are not sent back: as a stranger answers, who does not name the slot, and so owes no body either.
const ECHO_MAX: usize = 64 * 1024;
/// How far from the expected moment a close may race with the next request.
const RACE_SPREAD_NS: u64 = 600_000;

/// Serves a connection to its end.
pub(crate) fn serve(stream: TcpStream, connection: u64, shared: &Shared) {
    let mut peer = Peer { stream, pending: Vec::new(), connection, nth: 0, closed: false, shared };
    while peer.exchange().is_some() {}
}

struct Peer<'a> {
    stream: TcpStream,
    pending: Vec<u8>,
    connection: u64,
    nth: u32,
    /// Our FIN is out.
    closed: bool,
    shared: &'a Shared,
}

struct Request {
    slot: u64,
    head: String,
    body: Vec<u8>,
}

impl Peer<'_> {
    /// One request; `None` when the connection is over.
    fn exchange(&mut self) -> Option<()> {
        let plan = &self.shared.behaviour.plan;
        if !self.closed && (plan.has(Fault::CloseUnread) || plan.has(Fault::CloseAtSight)) {
            let slot = self.peek_slot()?;
            let fault = plan.of(slot);
            if matches!(fault, Fault::CloseUnread | Fault::CloseAtSight) {
                self.log(slot, fault);
                if fault == Fault::CloseAtSight {
                    self.stream.shutdown(Shutdown::Write).ok()?;
                }
                // What the kernel closes with bytes unread, it resets.
                return None;
            }
        }
        let head = self.read_head()?;
        let arrived = self.shared.clock.now();
        // Other clients' requests have none.
        let slot = slot_of(&head).unwrap_or(u64::MAX);
        let fault = if self.closed { Fault::Crossed } else { plan.of(slot) };
        self.log(slot, fault);
        let length = header(&head, "content-length").map_or(Some(0), |value| value.parse().ok())?;
        let leaves = matches!(
            fault,
            Fault::ResetReading | Fault::StallReading | Fault::CloseReading | Fault::EarlyRefusal
        );
        let body = self.read_body(if leaves { PART.min(length) } else { length })?;
        if let Some(delay) = header(&head, headers::DELAY_MS) {
            thread::sleep(Duration::from_millis(delay.parse().ok()?));
        }
        // Lane `new` asks for it, and is the server's to hold TIME_WAIT.
        let closes = header(&head, "connection").is_some_and(|value| value == "close");
        self.answer(&Request { slot, head, body }, fault, arrived)?;
        (!closes).then_some(())
    }

    fn log(&mut self, slot: u64, fault: Fault) {
        self.nth += 1;
        self.shared.log.saw(Seen { slot, fault, connection: self.connection, nth: self.nth });
    }

    fn answer(&mut self, request: &Request, fault: Fault, arrived: Stamp) -> Option<()> {
        let slot = request.slot;
        match fault {
            Fault::Good => self.good(request, ""),
            Fault::GoodClose => self.good(request, "connection: close\r\n").and(None),
            Fault::GoodIdleClose => self.good(request, "").and_then(|()| self.close_and_look()),
            Fault::GoodCloseRace => self.good(request, "").and_then(|()| self.race(slot, arrived)),
            Fault::Late => {
                thread::sleep(self.shared.behaviour.late_by);
                self.good(request, "")
            }
            Fault::ResetBeforeAnswer | Fault::ResetReading => self.reset(),
            Fault::CutHead => self.write(b"HTTP/1.1 200 O").and(None),
            Fault::ResetHead => self.write(b"HTTP/1.1 200 O").and_then(|()| self.reset()),
            Fault::CutBody => self.write(&half(slot, "200 OK")).and(None),
            Fault::CutChunks => self.write(&chunked(slot, "5\r\nhello\r\n")).and(None),
            Fault::CutError => self.write(&half(slot, "503 Service Unavailable")).and(None),
            Fault::ResetBody => self.write(&half(slot, "200 OK")).and_then(|()| self.reset()),
            Fault::BadStatusLine => self.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").and_then(|()| self.stall()),
            Fault::BadChunk => {
                self.write(&chunked(slot, "5\r\nhello\r\nxyz\r\n")).and_then(|()| self.stall())
            }
            Fault::WrongSlot => self.write(&whole("200 OK", slot.wrapping_add(1), "", &request.body)),
            Fault::WrongBody => self.write(&whole("200 OK", slot, "", b"drainproof slot -1\n")),
            Fault::StallHeader => self.stall(),
            Fault::StallReading => self.hold_on(),
            Fault::CloseReading => {
                self.stream.shutdown(Shutdown::Write).ok()?;
                self.hold_on()
            }
            Fault::StallInHeader => self.write(b"HTTP/1.1 200 OK\r\nconte").and_then(|()| self.stall()),
            Fault::StallBody => self.write(&half(slot, "200 OK")).and_then(|()| self.stall()),
            Fault::NotFound => self.write(&whole("404 Not Found", slot, "", b"no")),
            Fault::Unavailable => self.write(&whole("503 Service Unavailable", slot, "", b"no")),
            Fault::Redirect => self.write(&whole("302 Found", slot, "location: /\r\n", b"")),
            Fault::EarlyRefusal => {
                let refusal = whole("413 Content Too Large", slot, "connection: close\r\n", b"no");
                // Reads on, or the reset for what is unread could overtake the answer.
                self.write(&refusal).and_then(|()| self.stall())
            }
            // FIN once the request was read; and whatever happens before a request could be.
            _ => None,
        }
    }

    fn good(&mut self, request: &Request, extra: &str) -> Option<()> {
        if request.body.len() > ECHO_MAX {
            let answer = format!("HTTP/1.1 200 OK\r\n{extra}content-length: 5\r\n\r\nhello");
            return self.write(answer.as_bytes());
        }
        let echo: &[u8] = if request.head.starts_with("POST ") { &request.body } else { b"hello" };
        self.write(&whole("200 OK", request.slot, extra, echo))
    }

    /// FIN; and whatever was on its way by then will be read, logged and not answered.
    fn close_and_look(&mut self) -> Option<()> {
        self.stream.shutdown(Shutdown::Write).ok()?;
        self.closed = true;
        Some(())
    }

    /// Closes at about the moment at which the next request is expected, without a look: as a server does whose idle
    /// timer fires. What had arrived by then, or was on its way, will be read, logged and not answered.
    fn race(&mut self, slot: u64, arrived: Stamp) -> Option<()> {
        let nanos = (arrived + self.shared.behaviour.interval).as_nanos() + mix(slot) % RACE_SPREAD_NS;
        let close_at = Stamp::from_nanos(nanos.saturating_sub(RACE_SPREAD_NS / 2));
        thread::sleep(close_at.saturating_since(self.shared.clock.now()));
        self.close_and_look()
    }

    /// The slot of the request that waits to be read.
    fn peek_slot(&mut self) -> Option<u64> {
        let mut buffer = vec![0; HEAD_MAX];
        loop {
            let count = self.stream.peek(&mut buffer).ok().filter(|count| *count > 0)?;
            if let Some(end) = end_of_head(&buffer[..count]) {
                return slot_of(std::str::from_utf8(&buffer[..end]).ok()?);
            }
            if count == HEAD_MAX {
                return None;
            }
            thread::yield_now();
        }
    }

    fn read_head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = end_of_head(&self.pending) {
                return String::from_utf8(self.pending.drain(..end).collect()).ok();
            }
            if self.pending.len() > HEAD_MAX {
                return None;
            }
            self.fill()?;
        }
    }

    fn read_body(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.pending.len() < length {
            self.fill()?;
        }
        Some(self.pending.drain(..length).collect())
    }

    fn fill(&mut self) -> Option<()> {
        let mut buffer = [0; 16 * 1024];
        let count = self.stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        self.pending.extend_from_slice(&buffer[..count]);
        Some(())
    }

    fn write(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.write_all(bytes).ok()
    }

    /// RST instead of FIN.
    fn reset(&mut self) -> Option<()> {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).ok()?;
        None
    }

    /// Says nothing more, until the client goes.
    fn stall(&mut self) -> Option<()> {
        while self.fill().is_some() {
            self.pending.clear();
        }
        None
    }

    /// Neither says anything nor reads, until the client must have gone: with the window shut, its FIN cannot tell.
    fn hold_on(&mut self) -> Option<()> {
        thread::sleep(self.shared.behaviour.hold_for);
        None
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

fn slot_of(head: &str) -> Option<u64> {
    header(head, headers::SLOT)?.parse().ok()
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

fn whole(status: &str, slot: u64, extra: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\n{}: {slot}\r\n{extra}content-length: {length}\r\n\r\n", headers::SLOT);
    [head.as_bytes(), body].concat()
}

/// Announces more than comes.
fn half(slot: u64, status: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{}: {slot}\r\ncontent-length: 100\r\n\r\n0123456789", headers::SLOT)
        .into_bytes()
}

fn chunked(slot: u64, chunks: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{}: {slot}\r\ntransfer-encoding: chunked\r\n\r\n{chunks}", headers::SLOT)
        .into_bytes()
}
