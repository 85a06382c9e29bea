//! Faults on HTTP/2 connections, by prior knowledge.
//!
//! `h2` speaks; frames that it would not send are written beside it. It writes whole frames, so what is written between
//! two of its turns is a whole one too.

use std::future::pending;
use std::io::{self, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use contract::headers;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{Request, Response, StatusCode};
use socket2::SockRef;
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use crate::fault::Fault;
use crate::log::Seen;
use crate::server::{Busy, Shared};

/// What was sent has this long to leave, and to be read, before what is to come after it.
const APART: Duration = Duration::from_millis(20);

/// Serves until told to stop; then lets the connections end.
pub(crate) fn serve(listener: TcpListener, shared: Arc<Shared>, busy: Busy, stop: &Notify) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async move {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let mut number = 0;
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => accepted?.0,
                () = stop.notified() => return Ok(()),
            };
            stream.set_nodelay(true)?;
            number += 1;
            let (shared, work) = (Arc::clone(&shared), busy.begin());
            spawn_local(async move {
                if let Err(error) = converse(stream, number, &shared).await {
                    shared.log.failed(format!("a connection was not served: {error}"));
                }
                drop(work);
            });
        }
    })
}

/// No stream is above it.
const LAST_OF_ALL: u32 = 0x7fff_ffff;

struct Peer<'a> {
    raw: TcpStream,
    number: u64,
    nth: u32,
    /// Streams from this one on are not processed.
    refused_from: Option<u32>,
    /// To be answered by nothing.
    silent: Vec<SendResponse<Bytes>>,
    shared: &'a Shared,
}

enum Next {
    Request,
    /// FIN, and whatever the client still says is read.
    Close,
    Reset,
}

async fn converse(stream: tokio::net::TcpStream, number: u64, shared: &Shared) -> io::Result<()> {
    let stream = stream.into_std()?;
    let raw = stream.try_clone()?;
    // A client that goes before it has said anything is no failure of ours.
    let Ok(mut connection) = h2::server::handshake(tokio::net::TcpStream::from_std(stream)?).await else {
        return Ok(());
    };
    let mut peer = Peer { raw, number, nth: 0, refused_from: None, silent: Vec::new(), shared };
    while let Some(Ok((request, respond))) = connection.accept().await {
        match peer.meet(request, respond, &mut connection).await? {
            Next::Request => {}
            Next::Close => {
                // With something unread, a close would be a reset.
                peer.raw.shutdown(Shutdown::Write)?;
                while let Some(Ok((request, _))) = connection.accept().await {
                    peer.log(&request, Some(Fault::Crossed));
                }
                return Ok(());
            }
            Next::Reset => return SockRef::from(&peer.raw).set_linger(Some(Duration::ZERO)),
        }
    }
    Ok(())
}

impl Peer<'_> {
    /// Gives the slot and what is to be done to it.
    fn log(&mut self, request: &Request<RecvStream>, other: Option<Fault>) -> (u64, Fault) {
        let slot = number_of(request, headers::SLOT).unwrap_or(u64::MAX);
        let fault = other.unwrap_or_else(|| self.shared.behaviour.plan.of(slot));
        self.nth += 1;
        self.shared.log.saw(Seen { slot, fault, connection: self.number, nth: self.nth });
        (slot, fault)
    }

    async fn meet(
        &mut self,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        connection: &mut Connection<tokio::net::TcpStream, Bytes>,
    ) -> io::Result<Next> {
        let id = respond.stream_id().as_u32();
        let refused = self.refused_from.is_some_and(|from| id >= from).then_some(Fault::GoAwayUnprocessed);
        let (slot, fault) = self.log(&request, refused);
        let delay = Duration::from_millis(number_of(&request, headers::DELAY_MS).unwrap_or(0));
        match fault {
            Fault::GoodGoAway => {
                answer(respond, StatusCode::OK, slot, delay);
                // The notice that an orderly end begins with (RFC 9113, 6.8). What crosses it is served; which requests
                // crossed the GOAWAY that ends the connection, `h2` would not tell.
                self.goaway(LAST_OF_ALL, 0)?;
            }
            Fault::Late => answer(respond, StatusCode::OK, slot, delay + self.shared.behaviour.late_by),
            Fault::WrongSlot => answer(respond, StatusCode::OK, slot.wrapping_add(1), delay),
            Fault::NotFound => answer(respond, StatusCode::NOT_FOUND, slot, delay),
            Fault::Unavailable => answer(respond, StatusCode::SERVICE_UNAVAILABLE, slot, delay),
            Fault::Redirect => answer(respond, StatusCode::FOUND, slot, delay),
            Fault::StreamRefused => respond.send_reset(Reason::REFUSED_STREAM),
            Fault::StreamCancelled => respond.send_reset(Reason::CANCEL),
            Fault::StreamError => respond.send_reset(Reason::INTERNAL_ERROR),
            Fault::StreamResetBody => part(respond, slot, End::Reset),
            Fault::StreamTooShort => part(respond, slot, End::TooShort),
            Fault::StallHeader => self.silent.push(respond),
            Fault::StallBody => part(respond, slot, End::Never),
            Fault::GoAwayUnprocessed => {
                if refused.is_none() {
                    self.refused_from = Some(id);
                    self.goaway(id.saturating_sub(2), 0)?;
                }
                self.silent.push(respond);
            }
            Fault::GoAwayError => {
                self.silent.push(respond);
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            }
            Fault::GoAwayCut => {
                self.goaway(id, 0)?;
                return Ok(Next::Close);
            }
            Fault::BadFrame => {
                self.raw.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")?;
                self.silent.push(respond);
            }
            Fault::CloseBeforeAnswer => return Ok(Next::Close),
            Fault::ResetBeforeAnswer => return Ok(Next::Reset),
            Fault::CutBody | Fault::ResetBody => {
                part(respond, slot, End::Never);
                // Writes what is to be written; a client that may not send more at once sends nothing meanwhile.
                if let Ok(Some(Ok((request, _)))) = timeout(APART, connection.accept()).await {
                    self.log(&request, Some(Fault::Crossed));
                }
                return Ok(if fault == Fault::CutBody { Next::Close } else { Next::Reset });
            }
            _ => answer(respond, StatusCode::OK, slot, delay),
        }
        Ok(Next::Request)
    }

    fn goaway(&mut self, last_stream: u32, code: u32) -> io::Result<()> {
        let head = [0, 0, 8, 7, 0, 0, 0, 0, 0];
        let frame = [&head[..], &last_stream.to_be_bytes(), &code.to_be_bytes()].concat();
        self.raw.write_all(&frame)
    }
}

fn answer(mut respond: SendResponse<Bytes>, status: StatusCode, slot: u64, delay: Duration) {
    spawn_local(async move {
        sleep(delay).await;
        // The client may be gone by now.
        if let Ok(mut body) = respond.send_response(head(status, slot, None), false) {
            let _gone = body.send_data(Bytes::from_static(b"ok\n"), true);
        }
    });
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Reset,
    /// The stream ends before the announced length.
    TooShort,
    Never,
}

/// The head and ten bytes of a hundred; then this.
fn part(mut respond: SendResponse<Bytes>, slot: u64, end: End) {
    spawn_local(async move {
        let announced = (end == End::TooShort).then_some(100);
        // The client may be gone by now.
        let Ok(mut body) = respond.send_response(head(StatusCode::OK, slot, announced), false) else {
            return;
        };
        let _gone = body.send_data(Bytes::from_static(b"0123456789"), end == End::TooShort);
        // Sent at once, the reset would take the data with it.
        sleep(APART).await;
        match end {
            End::Reset => body.send_reset(Reason::CANCEL),
            End::TooShort => {}
            End::Never => pending().await,
        }
    });
}

fn head(status: StatusCode, slot: u64, length: Option<u64>) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    response.headers_mut().insert(headers::SLOT, slot.into());
    if let Some(length) = length {
        response.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
    }
    response
}

fn number_of(request: &Request<RecvStream>, name: &str) -> Option<u64> {
    request.headers().get(name)?.to_str().ok()?.parse().ok()
}
