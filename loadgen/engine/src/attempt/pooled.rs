//! Lane `pooled`: an ordinary client does the work, and tells what it chooses to.

use bytes::Bytes;
use http_body_util::Full;
use nix::errno::Errno;
use reqwest::{Body, Request, Url};

use super::Attempt;
use super::answer::is_unparsable;
use crate::classify::{Ending, Seen};
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
