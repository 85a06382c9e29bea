//! HTTP/1.1 as a client speaks it: one request, its answer, and nothing sent twice.
//!
//! It works in the task of the slot, on the connection's socket, without a task or a channel between: what a request costs
//! here is what it costs the kernel, nearly.
//!
//! * here: bytes out, bytes in
//! * [`body`]: where its body ends

pub(crate) mod body;
#[cfg(test)]
mod tests;

use std::mem::{self, MaybeUninit};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderValue;
use httparse::ParserConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::head::Head;
use crate::request::Template;
use body::Body;

/// So much of an answer is read at once.
pub(crate) const ROOM: usize = 64 << 10;
/// A head that is longer is none.
const HEAD_MAX: usize = 256 << 10;
/// As many fields as a head may have.
const FIELDS_MAX: usize = 100;
/// A buffer that a large request or head has stretched is let go.
const BUFFER_MAX: usize = 16 << 10;

/// Whoever wants to know of an answer.
pub(crate) trait Reader {
    /// Its head; `until_close`: its body is over when the connection is.
    fn head(&mut self, head: &Head<'_>, until_close: bool);
    /// A part of its body.
    fn data(&mut self, data: &[u8]);
}

/// No answer, or half of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// What came is not HTTP/1.
    Unparsable,
    /// The connection ended. The stream's notes say how.
    Cut,
}

/// A connection's side that speaks HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Http1<S> {
    stream: S,
    /// The request under way.
    out: Vec<u8>,
    sent: usize,
    flushed: bool,
    /// The request is to `HEAD`: its answer has no body, whatever its head says.
    head_only: bool,
    /// What was read and is not understood yet.
    rest: Vec<u8>,
    /// So much of a head was looked at in vain.
    seen: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    Head,
    Body(Body),
    /// The answer is complete; or none is waited for.
    Done,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Http1<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            out: Vec::new(),
            sent: 0,
            flushed: true,
            head_only: false,
            rest: Vec::new(),
            seen: 0,
            state: State::Done,
        }
    }

    /// A request is to be sent; the body that it carries. The one before must be over.
    pub(crate) fn begin(&mut self, template: &Template, slot: u64, host: &HeaderValue) -> Bytes {
        self.out.clear();
        let body = template.write(slot, host, &mut self.out);
        (self.sent, self.flushed, self.seen, self.state) = (0, false, 0, State::Head);
        self.head_only = template.is_head();
        body
    }

    /// What comes before anything was asked: ready with the peer's end, or with what nobody asked for. As cheap as it can
    /// be: the kernel is asked only if it has told the runtime of something.
    pub(crate) fn poll_unasked(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut room = [0; 256];
        Pin::new(&mut self.stream).poll_read(cx, &mut ReadBuf::new(&mut room)).map(drop)
    }

    /// Sends the request and reads its answer, as far as both go. Ready when the answer is complete, be the request sent to
    /// its end or not: see [`Http1::poll_sent`].
    pub(crate) fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut [u8],
        reader: &mut impl Reader,
    ) -> Poll<Result<(), Failure>> {
        if let Poll::Ready(Err(failure)) = self.poll_sent(cx) {
            return Poll::Ready(Err(failure));
        }
        loop {
            let mut buf = ReadBuf::new(room);
            if ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf)).is_err() {
                return Poll::Ready(Err(Failure::Cut));
            }
            let ended = match buf.filled() {
                [] => self.ended(),
                read => self.understand(read, reader),
            };
            match ended {
                Ok(()) if matches!(self.state, State::Done) => return Poll::Ready(Ok(())),
                Ok(()) => {}
                Err(failure) => return Poll::Ready(Err(failure)),
            }
        }
    }

    /// Sends what is left of the request.
    pub(crate) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        while let rest @ [_, ..] = &self.out[self.sent..] {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest)) {
                Ok(0) | Err(_) => return Poll::Ready(Err(Failure::Cut)),
                Ok(taken) => self.sent += taken,
            }
        }
        if !self.flushed {
            if ready!(Pin::new(&mut self.stream).poll_flush(cx)).is_err() {
                return Poll::Ready(Err(Failure::Cut));
            }
            self.flushed = true;
            self.out.clear();
            self.out.shrink_to(BUFFER_MAX);
            self.sent = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes leave.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.stream).poll_shutdown(cx).map(drop)
    }

    /// True if the request was sent to its end.
    pub(crate) fn is_sent(&self) -> bool {
        self.flushed
    }

    /// True if nothing came after the answer's end: where something did, order is lost.
    pub(crate) fn is_in_order(&self) -> bool {
        matches!(self.state, State::Done) && self.rest.is_empty()
    }

    /// The peer's FIN.
    fn ended(&mut self) -> Result<(), Failure> {
        match self.state {
            State::Body(Body::UntilClose) => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(Failure::Cut),
        }
    }

    fn understand(&mut self, read: &[u8], reader: &mut impl Reader) -> Result<(), Failure> {
        if self.rest.is_empty() {
            let used = self.digest(read, reader)?;
            self.rest.extend_from_slice(&read[used..]);
            return Ok(());
        }
        let mut rest = mem::take(&mut self.rest);
        rest.extend_from_slice(read);
        let used = self.digest(&rest, reader)?;
        rest.drain(..used);
        rest.shrink_to(BUFFER_MAX);
        self.rest = rest;
        Ok(())
    }

    /// Understands as much as it can; how much that was.
    fn digest(&mut self, bytes: &[u8], reader: &mut impl Reader) -> Result<usize, Failure> {
        let mut at = 0;
        loop {
            match &mut self.state {
                State::Done => return Ok(at),
                State::Head => {
                    let bytes = &bytes[at..];
                    // A long head that drips in is not read anew with every drop.
                    if bytes.len() < self.seen.saturating_mul(2) && !has_end(bytes, self.seen) {
                        return if bytes.len() > HEAD_MAX { Err(Failure::Unparsable) } else { Ok(at) };
                    }
                    let Some((length, head)) = parse(bytes)? else {
                        self.seen = bytes.len();
                        return if bytes.len() > HEAD_MAX { Err(Failure::Unparsable) } else { Ok(at) };
                    };
                    self.seen = 0;
                    at += length;
                    // What else is to come: the answer itself comes later.
                    if head.is_informational() {
                        continue;
                    }
                    let body = Body::of(&head, self.head_only)?;
                    reader.head(&head, matches!(body, Body::UntilClose));
                    self.state = if body.is_over() { State::Done } else { State::Body(body) };
                }
                State::Body(body) => {
                    let used = body.feed(&bytes[at..], |data| reader.data(data))?;
                    at += used;
                    if body.is_over() {
                        self.state = State::Done;
                    } else if used == 0 || at == bytes.len() {
                        return Ok(at);
                    }
                }
            }
        }
    }
}

/// The head that stands at the beginning, and how long it is; `None` as long as it is not complete.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(usize, Head<'_>)>, Failure> {
    // Not filled before it is used: that would take longer than to read a usual head.
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parsed = ParserConfig::default()
        .parse_response_with_uninit_headers(&mut response, bytes, &mut fields)
        .map_err(|_| Failure::Unparsable)?;
    let (httparse::Status::Complete(length), Some(status)) = (parsed, response.code) else { return Ok(None) };
    if status < 100 {
        return Err(Failure::Unparsable);
    }
    let fields = response.headers.iter().map(|field| (field.name, field.value));
    Ok(Some((length, Head::new(status, response.version == Some(0), fields))))
}

/// True if an empty line, which ends a head, stands behind what was seen before.
fn has_end(bytes: &[u8], seen: usize) -> bool {
    let new = &bytes[seen.saturating_sub(3).min(bytes.len())..];
    new.windows(2).any(|two| two == b"\n\n") || new.windows(3).any(|three| three == b"\n\r\n")
}
