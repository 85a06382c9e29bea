//! Lane `pooled`: an ordinary client does the work, and tells what it chooses to.

use std::{error, io};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Body as _;
use nix::errno::Errno;
use reqwest::{Body, Request, Url};
use trial::record::Class;

use super::Attempt;
use super::answer::BodyEcho;
use crate::classify::{Ending, Seen};
use crate::head::Head;
use crate::pooled::{ORIGIN, Pooled, chain, errno, is_rejected};
use crate::worker::Worker;

impl Attempt {
    /// Does the work of a slot of lane `pooled`.
    pub(super) async fn exchange_pooled(&self, pool: &Pooled, worker: &Worker) -> Ending {
        // The client does not tell when it has connected, or written: until it tells of an answer, the answer is waited for.
        let mut seen = Seen { connected: true, written: true, ..Seen::default() };
        self.told.set(Some(seen));
        let slot = self.record.get().slot;
        let host = http::HeaderValue::from_static("service");
        let (request, sent) = self.lane.plan.template.build(slot, &host);
        let Some(request) = translate(&request, &sent) else { return Ending::Unparsable };
        let response = match pool.client.execute(request).await {
            Ok(response) => response,
            Err(error) if error.is_connect() => {
                self.told.set(None);
                if is_rejected(&error) {
                    self.was_rejected();
                }
                return Ending::NotConnected(errno(&error).unwrap_or(Errno::EIO as i32));
            }
            Err(error) => return self.failed(seen, &error),
        };
        (seen.first_byte, seen.head) = (true, true);
        self.told.set(Some(seen));
        self.update(|record| record.first_byte = record.offset(worker.clock.now()));
        match self.receive(http::Response::<Body>::from(response), &sent, worker).await {
            Ok(class) => Ending::Answered(class),
            Err(error) => self.failed(seen, &error),
        }
    }

    /// Reads the answer to its end and judges it.
    async fn receive(
        &self,
        response: http::Response<Body>,
        sent: &Bytes,
        worker: &Worker,
    ) -> Result<Class, reqwest::Error> {
        let (parts, mut body) = response.into_parts();
        let head = Head::of(&parts);
        // The client knows of answers that have no body at all (HEAD, 204, 304): these are over at once.
        let until_close = !body.is_end_stream() && !head.says_its_end();
        let said = self.note_head(&head, worker);
        self.note_framing(&head, until_close);
        let mut echo = BodyEcho::of(sent);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            self.note_data(&mut echo, &data);
        }
        Ok(self.judge_answer(said, &echo))
    }

    fn failed(&self, mut seen: Seen, error: &reqwest::Error) -> Ending {
        seen.read_errno = errno(error).unwrap_or(0);
        seen.eof = seen.read_errno == 0;
        self.told.set(Some(seen));
        let unparsable = chain(error).any(|error| error.downcast_ref().is_some_and(is_unparsable));
        if unparsable { Ending::Unparsable } else { Ending::Cut }
    }
}

fn translate(request: &http::Request<Full<Bytes>>, sent: &Bytes) -> Option<Request> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let url = Url::parse(&format!("{ORIGIN}{path}")).ok()?;
    let mut translated = Request::new(request.method().clone(), url);
    translated.headers_mut().clone_from(request.headers());
    if !sent.is_empty() {
        *translated.body_mut() = Some(Body::from(sent.clone()));
    }
    Some(translated)
}

/// True if the bytes were no HTTP: a bad head, or a bad chunk of the body.
fn is_unparsable(failure: &hyper::Error) -> bool {
    let cause = error::Error::source(failure).and_then(|cause| cause.downcast_ref::<io::Error>());
    let bad_chunk =
        cause.is_some_and(|io| matches!(io.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput));
    failure.is_parse() || bad_chunk
}
