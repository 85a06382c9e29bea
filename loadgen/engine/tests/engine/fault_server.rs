//! A raw TCP server, a thread a connection, that does to each slot what it was told to, and logs it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

/// What to do to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    None,
    ResetBeforeAnswer,
    CloseBeforeAnswer,
    CutHeadFin,
    CutBodyFin,
    CutBodyRst,
    CutChunkFin,
    BadChunk,
    StallHeader,
    StallBody,
    NotFound,
    Unavailable,
    Redirect,
    /// Wrong status and cut.
    UnavailableCutFin,
    Garbage,
    WrongSlot,
    WrongBody,
    AnnounceClose,
    Http10,
    /// Neither a length nor chunks: the close, 20 ms after the last byte, ends the body.
    CloseDelimited,
    /// The same without saying that it will close.
    CloseDelimitedSilently,
    /// Says that it closes, and has no body to end.
    NoContent,
    /// Answers, then closes without a word.
    IdleClose,
    /// Answers, then resets.
    IdleReset,
    /// Answers 413 before the body has arrived, and closes.
    EarlyRefusal,
    /// Never echoes the slot, nor the body: somebody else's server.
    Foreign,
}

/// A request as the server saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) slot: u64,
    pub(crate) fault: Fault,
    pub(crate) method: String,
    /// Number of the connection, from 0, in order of acceptance.
    pub(crate) connection: usize,
    pub(crate) head: String,
}

#[derive(Default)]
struct Log {
    seen: Mutex<Vec<Seen>>,
    accepted: AtomicUsize,
    streams: Mutex<Vec<Weak<TcpStream>>>,
}

pub(crate) struct FaultServer {
    pub(crate) address: SocketAddr,
    log: Arc<Log>,
}

impl FaultServer {
    /// Serves until the process ends.
    pub(crate) fn start(plan: impl Fn(u64) -> Fault + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // A burst of connections must find room, or the kernel would add faults of its own.
        SockRef::from(&listener).listen(4096).unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Log::default());
        let (plan, shared) = (Arc::new(plan), Arc::clone(&log));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = shared.accepted.fetch_add(1, Ordering::SeqCst);
                let (plan, log) = (Arc::clone(&plan), Arc::clone(&shared));
                let stream = Arc::new(stream.unwrap());
                log.streams.lock().unwrap().push(Arc::downgrade(&stream));
                let serve = move || {
                    stream.set_nodelay(true).unwrap();
                    let mut peer = Peer { stream, pending: Vec::new(), connection };
                    while peer.serve(plan.as_ref(), &log).is_some() {}
                };
                thread::Builder::new().stack_size(128 * 1024).spawn(serve).unwrap();
            }
        });
        Self { address, log }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.log.seen.lock().unwrap().clone()
    }

    /// Ends a connection from outside; the client's kernel knows when this returns.
    pub(crate) fn hang_up(&self, connection: usize) {
        let stream = self.log.streams.lock().unwrap()[connection].upgrade().unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    }

    pub(crate) fn accepted(&self) -> usize {
        self.log.accepted.load(Ordering::SeqCst)
    }
}

struct Peer {
    stream: Arc<TcpStream>,
    pending: Vec<u8>,
    connection: usize,
}

struct Request {
    slot: u64,
    method: String,
    head: String,
    body: Vec<u8>,
}

impl Peer {
    /// One request; `None` when the connection is over.
    fn serve(&mut self, plan: &dyn Fn(u64) -> Fault, log: &Log) -> Option<()> {
        let request = self.read_request(plan)?;
        let fault = plan(request.slot);
        log.seen.lock().unwrap().push(Seen {
            slot: request.slot,
            fault,
            method: request.method.clone(),
            connection: self.connection,
            head: request.head.clone(),
        });
        if let Some(delay) = header(&request.head, "drainproof-delay-ms") {
            thread::sleep(Duration::from_millis(delay.parse().unwrap()));
        }
        let closes = header(&request.head, "connection").is_some_and(|value| value == "close");
        self.answer(&request, fault)?;
        (!closes).then_some(())
    }

    fn answer(&mut self, request: &Request, fault: Fault) -> Option<()> {
        let slot = request.slot;
        let ok = |extra: &str| answer("HTTP/1.1 200 OK", slot, extra, &request.body);
        match fault {
            Fault::None => self.write(&ok(
                "drainproof-pod: web-3\r\ndrainproof-state: serving\r\ndrainproof-sequence: 7\r\n",
            )),
            Fault::ResetBeforeAnswer => self.reset(),
            Fault::CloseBeforeAnswer => None,
            Fault::CutHeadFin => self.write(b"HTTP/1.1 200 O").and(None),
            Fault::CutBodyFin => self.write(&half(slot, "200 OK")).and(None),
            Fault::CutBodyRst => self.write(&half(slot, "200 OK")).and_then(|()| self.reset()),
            Fault::UnavailableCutFin => self.write(&half(slot, "503 Service Unavailable")).and(None),
            Fault::CutChunkFin => self.write(&chunked(slot, "5\r\nhello\r\n")).and(None),
            Fault::BadChunk => {
                self.write(&chunked(slot, "5\r\nhello\r\nxyz\r\n")).and_then(|()| self.stall())
            }
            Fault::StallHeader => self.stall(),
            Fault::StallBody => self.write(&half(slot, "200 OK")).and_then(|()| self.stall()),
            Fault::NotFound => self.write(&answer("HTTP/1.1 404 Not Found", slot, "", b"no")),
            Fault::Unavailable => self.write(&answer("HTTP/1.1 503 Service Unavailable", slot, "", b"no")),
            Fault::Redirect => self.write(&answer("HTTP/1.1 302 Found", slot, "location: /\r\n", b"")),
            Fault::Garbage => self.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").and_then(|()| self.stall()),
            Fault::WrongSlot => self.write(&answer("HTTP/1.1 200 OK", slot + 1, "", &request.body)),
            Fault::WrongBody => self.write(&answer("HTTP/1.1 200 OK", slot, "", b"another's")),
            Fault::AnnounceClose => self.write(&ok("connection: close\r\n")).and_then(|()| self.stall()),
            Fault::Http10 => self.write(&answer("HTTP/1.0 200 OK", slot, "", &request.body)).and(None),
            Fault::CloseDelimited => {
                self.write(&unbounded(request, "connection: close\r\n")).and_then(|()| late())
            }
            Fault::CloseDelimitedSilently => self.write(&unbounded(request, "")).and_then(|()| late()),
            Fault::NoContent => {
                let head = format!("HTTP/1.1 204 No Content\r\ndrainproof-slot: {slot}\r\n\r\n");
                self.write(head.as_bytes()).and(None)
            }
            Fault::IdleClose => self.write(&ok("")).and(None),
            Fault::IdleReset => self.write(&ok("")).and_then(|()| self.reset()),
            Fault::EarlyRefusal => self
                .write(&answer("HTTP/1.1 413 Content Too Large", slot, "connection: close\r\n", b"no"))
                .and(None),
            Fault::Foreign => self.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"),
        }
    }

    fn read_request(&mut self, plan: &dyn Fn(u64) -> Fault) -> Option<Request> {
        let end = loop {
            if let Some(at) = self.pending.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.fill()?;
        };
        let head = String::from_utf8(self.pending.drain(..end).collect()).unwrap();
        let slot = header(&head, "drainproof-slot").unwrap().parse().unwrap();
        let length = header(&head, "content-length").map_or(0, |value| value.parse().unwrap());
        let method = head.split(' ').next().unwrap().to_owned();
        if plan(slot) == Fault::EarlyRefusal {
            return Some(Request { slot, method, head, body: Vec::new() });
        }
        while self.pending.len() < length {
            self.fill()?;
        }
        let body = self.pending.drain(..length).collect();
        Some(Request { slot, method, head, body })
    }

    fn fill(&mut self) -> Option<()> {
        let mut buffer = [0; 4096];
        let count = self.stream.as_ref().read(&mut buffer).ok().filter(|count| *count > 0)?;
        self.pending.extend_from_slice(&buffer[..count]);
        Some(())
    }

    fn write(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.as_ref().write_all(bytes).ok()
    }

    /// RST instead of FIN.
    fn reset(&mut self) -> Option<()> {
        SockRef::from(self.stream.as_ref()).set_linger(Some(Duration::ZERO)).unwrap();
        None
    }

    /// Says nothing more, until the client goes.
    fn stall(&mut self) -> Option<()> {
        while self.fill().is_some() {}
        let _gone = self.stream.shutdown(Shutdown::Both);
        None
    }
}

fn answer(status: &str, slot: u64, extra: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut bytes = format!("{status}\r\ndrainproof-slot: {slot}\r\n{extra}content-length: {length}\r\n\r\n")
        .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Whole, as far as anyone can tell.
fn unbounded(request: &Request, extra: &str) -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 200 OK\r\ndrainproof-slot: {}\r\n{extra}\r\n", request.slot).into_bytes();
    bytes.extend_from_slice(&request.body);
    bytes
}

/// Closes after a while.
fn late() -> Option<()> {
    thread::sleep(Duration::from_millis(20));
    None
}

fn half(slot: u64, status: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ndrainproof-slot: {slot}\r\ncontent-length: 100\r\n\r\n0123456789")
        .into_bytes()
}

fn chunked(slot: u64, chunks: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ndrainproof-slot: {slot}\r\ntransfer-encoding: chunked\r\n\r\n{chunks}")
        .into_bytes()
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}
