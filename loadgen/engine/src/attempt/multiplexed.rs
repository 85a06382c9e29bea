//! HTTP/2: a slot's request is a stream of a connection that it shares with others.

use std::rc::Rc;

use bytes::Bytes;
use h2::client::SendRequest;
use nix::errno::Errno;
use trial::record::{Flags, Record};
use trial::time::Stamp;

use super::Attempt;
use super::answer::BodyEcho;
use crate::classify::{Ending, Seen};
use crate::connection::Destination;
use crate::frames::StreamNotes;
use crate::head::Head;
use crate::lane::SharedSeat;
use crate::multiplexed::Multiplexed;
use crate::worker::Worker;

/// A slot that finds so many connections closed, one after the other, opens one of its own.
const STALE_AT_MOST: usize = 3;

/// A request's part of a shared connection.
pub(super) struct Stream {
    connection: Rc<Multiplexed>,
    /// Its number, once it has one.
    id: Option<u32>,
}

impl Stream {
    fn notes(&self) -> StreamNotes {
        self.id.map_or_else(StreamNotes::default, |id| self.connection.frames.of(id))
    }

    /// The kernel says when it got what is read.
    pub(super) fn is_stamped(&self) -> bool {
        self.connection.notes.is_stamped()
    }

    /// Notes what was seen, once the request is over.
    pub(super) fn observe(
        &self,
        record: &mut Record,
        seen: &mut Seen,
        end: &mut Option<Stamp>,
        ending: Ending,
    ) {
        let (stream, notes) = (self.notes(), &self.connection.notes);
        seen.connected = true;
        seen.written = stream.written.is_some();
        seen.first_byte = stream.first_read.is_some();
        seen.eof = notes.eof.get();
        (seen.read_errno, seen.write_errno) = (notes.read_errno.get(), notes.write_errno.get());
        seen.not_tls = notes.not_tls.get();
        if seen.written {
            // A write that failed later was another's. But the kernel tells of a RST once: where that write was told, reads find
            // an end of the stream that the peer never sent.
            if seen.write_errno == Errno::ECONNRESET as i32 && seen.read_errno == 0 {
                (seen.read_errno, seen.eof) = (seen.write_errno, false);
            }
            seen.write_errno = 0;
        }
        if let Some(at) = stream.written {
            record.write_done = record.offset(at);
        }
        if let Some(at) = stream.first_read {
            record.first_byte = record.offset(at);
        }
        if let (Some(at), Ending::Answered(_)) = (stream.last_read, ending) {
            *end = Some(at);
        }
        if stream.closed_before_write {
            record.flags.set(Flags::CLOSE_SEEN);
        }
        if self.connection.frames.goaway().is_some() {
            record.flags.set(Flags::GOAWAY_SEEN);
        }
    }

    /// Why the request failed; `None` if nothing of it was written, and it may go out on another connection.
    fn failure(&self, kept: bool) -> Option<Ending> {
        let (stream, notes) = (self.notes(), &self.connection.notes);
        if kept && !stream.begun && notes.write_errno.get() == 0 {
            return None;
        }
        if let Some(code) = stream.reset {
            return Some(Ending::StreamReset(code));
        }
        let over = notes.eof.get()
            || notes.read_errno.get() != 0
            || notes.write_errno.get() != 0
            || notes.not_tls.get();
        Some(match self.connection.frames.goaway() {
            Some(goaway) if self.id.is_none_or(|id| id > goaway.last_stream) => {
                Ending::GoneAway { code: goaway.code, unprocessed: true }
            }
            // It may have been processed; but the connection did not end in order, and the peer says why.
            Some(goaway) if goaway.code != 0 => Ending::GoneAway { code: goaway.code, unprocessed: false },
            _ if over => Ending::Cut,
            // `h2` gave up although the connection did not: what came was not HTTP/2.
            _ => Ending::Unparsable,
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.connection.frames.forget(id);
        }
        self.connection.end();
    }
}

impl Attempt {
    /// Does the work of a slot of lane `h2`.
    pub(super) async fn exchange_shared(&self, worker: &Worker) -> Ending {
        let slot = self.record.get().slot;
        for _ in 0..STALE_AT_MOST {
            let connection = match self.lane.share(slot) {
                Ok(connection) => connection,
                Err(seat) => return self.exchange_first(seat, worker).await,
            };
            if let Some(ending) = self.send_on(&connection, worker).await {
                return ending;
            }
            connection.was_closed();
            self.stream.take();
            self.begins_anew();
        }
        self.exchange_first(self.lane.extra_seat(), worker).await
    }

    /// Opens a connection, and sends its first request.
    async fn exchange_first(&self, mut seat: SharedSeat, worker: &Worker) -> Ending {
        let destination = match self.destination(worker).await {
            Ok(destination) => destination,
            Err(ending) => return ending,
        };
        self.routed_to(destination);
        let number = || worker.next_connection();
        let opened = Multiplexed::open(&self.lane, destination, worker.clock, &self.securing, number).await;
        let connection = match opened {
            Ok(connection) => connection,
            Err(ending) => return ending,
        };
        seat.fill(&connection);
        // Nothing is sent elsewhere that was first on its connection.
        self.send_on(&connection, worker).await.unwrap_or(Ending::Cut)
    }

    async fn send_on(&self, connection: &Rc<Multiplexed>, worker: &Worker) -> Option<Ending> {
        let (nth, sender) = connection.begin();
        self.stream.replace(Some(Stream { connection: Rc::clone(connection), id: None }));
        self.routed_to(Destination { pod: connection.pod.get(), ..connection.destination });
        self.update(|record| {
            (record.conn, record.nth) = (connection.number, nth);
            if nth > 1 {
                record.flags.set(Flags::REUSED);
            }
        });
        match self.converse(connection, sender, worker).await {
            Ok(ending) => {
                if connection.pod.get().known().is_none() && worker.route.is_sticky() {
                    connection.pod.set(self.record.get().pod);
                }
                Some(ending)
            }
            // The frames tell why, and exactly.
            Err(_) => self.stream.borrow().as_ref().and_then(|stream| stream.failure(nth > 1)),
        }
    }

    /// Sends the request and reads its answer to the end.
    async fn converse(
        &self,
        connection: &Multiplexed,
        sender: SendRequest<Bytes>,
        worker: &Worker,
    ) -> Result<Ending, h2::Error> {
        let mut sender = sender.ready().await?;
        let slot = self.record.get().slot;
        // Of what varies only the address is not validated before the run, and that is always an authority.
        let Ok((request, sent)) = self.lane.plan.template.build_h2(slot, &connection.host) else {
            return Ok(Ending::Unparsable);
        };
        let (response, mut upload) = sender.send_request(request, sent.is_empty())?;
        let id = response.stream_id().as_u32();
        connection.frames.watch(id);
        if let Some(stream) = self.stream.borrow_mut().as_mut() {
            stream.id = Some(id);
        }
        if !sent.is_empty() {
            upload.send_data(sent.clone(), true)?;
        }
        let (head, mut body) = response.await?.into_parts();
        let said = self.note_head(&Head::of(&head), worker);
        let mut echo = BodyEcho::of(&sent);
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            self.note_data(&mut echo, &data);
        }
        body.trailers().await?;
        Ok(Ending::Answered(self.judge_answer(said, &echo)))
    }
}
