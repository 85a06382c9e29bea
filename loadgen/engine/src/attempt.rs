//! Work on one slot: from the moment it is due to its one record.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use std::{error, io};

use bytes::Bytes;
use contract::headers;
use contract::lifecycle::ServingState;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Response, Version};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use nix::errno::Errno;
use tokio::time::sleep;
use trial::record::{Class, Flags, Record};
use trial::settings::LaneKind;

use crate::classify::{self, Echo, Ending, Seen};
use crate::connection::{Connection, Destination};
use crate::lane::{Lane, Seat};
use crate::route::Pick;
use crate::stream::{Kept, Notes};
use crate::worker::Worker;

/// After the first, so many more SYNs follow a second apart, of which the last doubles the pause.
const SYNS_EACH_SECOND: u32 = 5;

/// The state of a slot's work. It outlives the work itself, which a timeout or an interrupt may cancel anywhere.
pub(crate) struct Attempt {
    lane: Rc<Lane>,
    record: Cell<Record>,
    /// Of the connection in use; `None` while there is none.
    notes: RefCell<Option<Rc<Notes>>>,
    /// The connection after a complete answer.
    left: RefCell<Option<Left>>,
}

/// A connection that carried a complete answer, and what it is still good for.
pub(crate) struct Left {
    pub(crate) connection: Connection,
    pub(crate) seat: Seat,
    pub(crate) reusable: bool,
}

enum Sent {
    Ended(Ending),
    /// The kept connection was closed before a byte of the request was written.
    Stale(Seat),
}

impl Attempt {
    pub(crate) fn new(lane: Rc<Lane>, record: Record) -> Self {
        Self { lane, record: Cell::new(record), notes: RefCell::new(None), left: RefCell::new(None) }
    }

    /// Does the work. Cancel-safe: see [`Attempt::finish`].
    pub(crate) async fn exchange(&self, worker: &Worker) -> Ending {
        let (kept, mut seat) = self.lane.take(self.record.get().slot);
        if let Some(connection) = kept {
            match self.send(connection, seat, worker).await {
                Sent::Ended(ending) => return ending,
                Sent::Stale(free) => seat = free,
            }
            self.lane.count_idle_close();
            self.update(|record| {
                record.flags = Flags(Flags::AFTER_IDLE_CLOSE);
                (record.conn, record.nth) = (0, 0);
            });
            self.notes.replace(None);
        }
        let connection = match self.open(worker, &seat).await {
            Ok(connection) => connection,
            Err(ending) => return ending,
        };
        match self.send(connection, seat, worker).await {
            Sent::Ended(ending) => ending,
            // Only kept connections can be stale.
            Sent::Stale(_) => Ending::Cut,
        }
    }

    /// The slot's record, and the connection if it is left in order.
    pub(crate) fn finish(&self, ending: Ending, worker: &Worker) -> (Record, Option<Left>) {
        let now = worker.clock.now();
        let mut record = self.record.get();
        let mut seen = Seen { head: record.status != 0, ..Seen::default() };
        let mut end = now;
        if let Some(notes) = self.notes.borrow().as_deref() {
            seen.connected = true;
            seen.written = notes.written.get() > 0 && !notes.write_blocked.get();
            seen.first_byte = notes.first_read.get().is_some();
            seen.eof = notes.eof.get();
            (seen.read_errno, seen.write_errno) = (notes.read_errno.get(), notes.write_errno.get());
            if let (Some(at), true, 0) = (notes.last_write.get(), seen.written, seen.write_errno) {
                record.write_done = record.offset(at);
            }
            if let Some(at) = notes.first_read.get() {
                record.first_byte = record.offset(at);
            }
            if let (Some(at), Ending::Answered(_)) = (notes.last_read.get(), ending) {
                // The kernel had it then; that our task ran later is not the service's doing.
                end = at;
                if record.flags.has(Flags::CLOSE_DELIMITED) {
                    // Not the last byte but the close made it whole: the analysis asks what else happened then.
                    end = notes.eof_at.get().unwrap_or(now);
                }
            }
            if notes.closed_before_write.get() {
                record.flags.set(Flags::CLOSE_SEEN);
            }
        }
        let judgement = classify::judge(ending, &seen);
        record.end = record.offset(end);
        (record.class, record.stage, record.os_code) = (judgement.class, judgement.stage, judgement.os_code);
        if judgement.truncated {
            record.flags.set(Flags::TRUNCATED);
        }
        (record, self.left.take())
    }

    fn update(&self, change: impl FnOnce(&mut Record)) {
        let mut record = self.record.get();
        change(&mut record);
        self.record.set(record);
    }

    async fn open(&self, worker: &Worker, seat: &Seat) -> Result<Connection, Ending> {
        let destination = self.destination(worker).await?;
        self.routed_to(destination);
        Connection::open(&self.lane, seat.home, destination, worker.clock, || worker.next_connection())
            .await
            .map_err(Ending::NotConnected)
    }

    /// Where the rules send the connection, once they send it anywhere.
    async fn destination(&self, worker: &Worker) -> Result<Destination, Ending> {
        // The kernel sends a SYN that nobody answered again: each second at first, then after twice as long each time
        // (`tcp_syn_linear_timeouts`, since Linux 6.5). Each meets the rules as they are by then.
        for sent in 1_u32.. {
            match worker.pick() {
                Pick::To { pod, address, fallback } => return Ok(Destination { pod, address, fallback }),
                Pick::Rejected => {
                    self.was_rejected();
                    return Err(Ending::NotConnected(Errno::ECONNREFUSED as i32));
                }
                Pick::Unanswered => {
                    self.was_rejected();
                    let pause = 1_u64 << sent.saturating_sub(SYNS_EACH_SECOND).min(6);
                    sleep(Duration::from_secs(pause)).await;
                }
                Pick::Unreachable { pod, after } => {
                    self.update(|record| record.pod = pod);
                    sleep(after).await;
                    return Err(Ending::NotConnected(Errno::EHOSTUNREACH as i32));
                }
            }
        }
        // Its own timeout ends a request long before.
        Err(Ending::NotConnected(Errno::ETIMEDOUT as i32))
    }

    fn was_rejected(&self) {
        self.update(|record| {
            record.pod = trial::id::PodId::NONE;
            record.flags.set(Flags::REJECTED);
        });
    }

    fn routed_to(&self, destination: Destination) {
        self.update(|record| {
            record.pod = destination.pod;
            if destination.fallback {
                record.flags.set(Flags::FALLBACK);
            }
        });
    }

    async fn send(&self, mut connection: Connection, seat: Seat, worker: &Worker) -> Sent {
        let kept = if connection.used == 0 { Kept::No } else { Kept::Yes };
        let notes = Rc::clone(&connection.notes);
        notes.begin(kept);
        self.notes.replace(Some(Rc::clone(&notes)));
        connection.used += 1;
        self.routed_to(connection.destination);
        self.update(|record| {
            (record.conn, record.nth) = (connection.number, connection.used);
            if kept == Kept::Yes {
                record.flags.set(Flags::REUSED);
            }
        });
        if !self.lane.keeps_connections() {
            notes.let_peer_close();
        }
        let (request, body) = self.lane.plan.template.build(self.record.get().slot, &connection.host);
        let failure = match connection.sender.send_request(request).await {
            Ok(response) => match self.receive(response, &body, worker).await {
                Ok(class) => {
                    if connection.destination.pod.known().is_none() && worker.route.is_sticky() {
                        connection.destination.pod = self.record.get().pod;
                    }
                    let reusable = self.is_reusable(&connection, class);
                    self.left.replace(Some(Left { connection, seat, reusable }));
                    return Sent::Ended(Ending::Answered(class));
                }
                Err(failure) => failure,
            },
            Err(failure) => failure,
        };
        let untouched = notes.written.get() == 0 && notes.write_errno.get() == 0;
        if kept == Kept::Yes && (notes.stale.get() || untouched) {
            return Sent::Stale(seat);
        }
        Sent::Ended(if is_unparsable(&failure) { Ending::Unparsable } else { Ending::Cut })
    }

    /// Reads the answer to its end and judges it.
    async fn receive(
        &self,
        response: Response<Incoming>,
        sent: &Bytes,
        worker: &Worker,
    ) -> Result<Class, hyper::Error> {
        let (head, mut body) = response.into_parts();
        // hyper knows of answers that have no body at all (HEAD, 204, 304): these are over at once.
        let close_delimited = !body.is_end_stream() && !says_its_end(&head.headers);
        self.update(|record| {
            record.status = head.status.as_u16();
            record.pod_state = head.headers.get(headers::STATE).map_or(0, pod_state);
            record.sequence = head.headers.get(headers::SEQUENCE).and_then(number).unwrap_or(0);
            if announces_close(head.version, &head.headers) {
                record.flags.set(Flags::CLOSE_ANNOUNCED);
            }
            if close_delimited {
                record.flags.set(Flags::CLOSE_DELIMITED);
            }
            if record.pod.known().is_none() {
                let name = head.headers.get(headers::POD).and_then(|name| name.to_str().ok());
                record.pod = name.and_then(|name| worker.pod_named(name)).unwrap_or(record.pod);
            }
        });
        let mut bytes_in = 0_usize;
        // How much of the body so far is what was sent; `None` once something was not.
        let mut matching = Some(0_usize);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            bytes_in = bytes_in.saturating_add(data.len());
            matching = matching.filter(|&at| sent[at..].starts_with(&data)).map(|at| at + data.len());
            self.update(|record| record.bytes_in = u32::try_from(bytes_in).unwrap_or(u32::MAX));
        }
        let slot = match head.headers.get(headers::SLOT) {
            None => Echo::Absent,
            Some(value) if number(value) == Some(self.record.get().slot) => Echo::Same,
            Some(_) => Echo::Other,
        };
        let body = match (self.lane.plan.settings.kind, matching) {
            (LaneKind::Post, Some(at)) if at == sent.len() => Echo::Same,
            (LaneKind::Post, _) => Echo::Other,
            _ => Echo::Absent,
        };
        Ok(classify::answer(head.status.as_u16(), self.lane.plan.expected, slot, body))
    }

    fn is_reusable(&self, connection: &Connection, class: Class) -> bool {
        // After an answer to another's request, the connection's order is lost.
        self.lane.keeps_connections()
            && class != Class::BodyCorrupt
            && !self.record.get().flags.has(Flags::CLOSE_ANNOUNCED)
            && self.lane.plan.settings.max_requests_per_connection.is_none_or(|most| connection.used < most)
    }
}

/// Parses a decimal header; any integer that fits.
fn number<N: std::str::FromStr>(value: &HeaderValue) -> Option<N> {
    value.to_str().ok()?.trim().parse().ok()
}

fn pod_state(value: &HeaderValue) -> u16 {
    match value.to_str().ok().and_then(ServingState::parse) {
        None => 0,
        Some(ServingState::Serving) => 1,
        Some(ServingState::LameDuck) => 2,
        Some(ServingState::Draining) => 3,
    }
}

/// `Connection: close`, or HTTP/1.0 that does not offer to go on.
fn announces_close(version: Version, headers: &HeaderMap) -> bool {
    let says = |word: &str| {
        let values = headers.get_all(CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case(word))
    };
    says("close") || (version < Version::HTTP_11 && !says("keep-alive"))
}

/// True if the head says where the body ends: a length, or chunks, of which the last says so.
fn says_its_end(headers: &HeaderMap) -> bool {
    // As hyper reads them: with Transfer-Encoding, a length does not count, and chunked must come last.
    if headers.contains_key(TRANSFER_ENCODING) {
        let last = headers.get_all(TRANSFER_ENCODING).into_iter().next_back();
        let coding = last.and_then(|value| value.to_str().ok()).and_then(|value| value.rsplit(',').next());
        return coding.is_some_and(|coding| coding.trim().eq_ignore_ascii_case("chunked"));
    }
    headers.contains_key(CONTENT_LENGTH)
}

/// True if the bytes were no HTTP: a bad head, or a bad chunk of the body.
fn is_unparsable(failure: &hyper::Error) -> bool {
    let cause = error::Error::source(failure).and_then(|cause| cause.downcast_ref::<io::Error>());
    let bad_chunk =
        cause.is_some_and(|io| matches!(io.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput));
    failure.is_parse() || bad_chunk
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_is_announced_by_the_header_or_by_an_old_version() {
        let table = [
            (Version::HTTP_11, None, false),
            (Version::HTTP_11, Some("Close"), true),
            (Version::HTTP_11, Some("upgrade, close"), true),
            (Version::HTTP_11, Some("keep-alive"), false),
            (Version::HTTP_10, None, true),
            (Version::HTTP_10, Some("Keep-Alive"), false),
        ];
        for (version, connection, announced) in table {
            let mut map = HeaderMap::new();
            if let Some(value) = connection {
                map.insert(CONNECTION, HeaderValue::from_static(value));
            }
            assert_eq!(announces_close(version, &map), announced, "{version:?} {connection:?}");
        }
    }

    #[test]
    fn only_a_length_or_chunks_say_where_a_body_ends() {
        let table: [(&[(http::HeaderName, &str)], bool); 6] = [
            (&[], false),
            (&[(CONTENT_LENGTH, "3")], true),
            (&[(TRANSFER_ENCODING, "Chunked")], true),
            (&[(TRANSFER_ENCODING, "gzip, chunked")], true),
            (&[(TRANSFER_ENCODING, "gzip")], false),
            (&[(TRANSFER_ENCODING, "gzip"), (CONTENT_LENGTH, "3")], false),
        ];
        for (given, said) in table {
            let map = given.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
            assert_eq!(says_its_end(&map.collect()), said, "{given:?}");
        }
    }

    #[test]
    fn the_pods_own_word_is_read_and_a_strangers_is_not() {
        assert_eq!(pod_state(&HeaderValue::from_static("serving")), 1);
        assert_eq!(pod_state(&HeaderValue::from_static("lame-duck")), 2);
        assert_eq!(pod_state(&HeaderValue::from_static("draining")), 3);
        assert_eq!(pod_state(&HeaderValue::from_static("napping")), 0);
        assert_eq!(number::<u32>(&HeaderValue::from_static("17")), Some(17));
        assert_eq!(number::<u32>(&HeaderValue::from_static("-1")), None);
    }
}
