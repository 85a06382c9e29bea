//! Makes every answer to a client take its time: the server's service time and what the request asks for beyond.

use std::{
    convert::Infallible,
    mem,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use contract::headers;
use http::Request;
use tokio::time::sleep;
use tower::Service;

use crate::{
    pod::Kind,
    routes::{self, Answer, Reply, kind, plain},
};

#[derive(Debug, Clone)]
pub(crate) struct Delay<S> {
    service_time: Duration,
    inner: S,
}

impl<S> Delay<S> {
    pub(crate) fn new(service_time: Duration, inner: S) -> Self {
        Self { service_time, inner }
    }
}

impl<S> Service<Request<Bytes>> for Delay<S>
where
    S: Service<Request<Bytes>, Response = Answer, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Reply;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Bytes>) -> Reply {
        let served = match kind(request.uri().path()) {
            Kind::Traffic => self.service_time,
            Kind::Control => Duration::ZERO,
        };
        let asked = request.headers().get(headers::DELAY_MS).map_or(Ok(Duration::ZERO), |value| {
            // What is no text is no number either.
            routes::delay(value.to_str().unwrap_or_default())
        });
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            let asked = match asked {
                Ok(asked) => asked,
                Err(status) => return Ok(plain(status, format!("{} is no delay\n", headers::DELAY_MS))),
            };
            let delay = served + asked;
            // A sleep of nothing would still cost a tick of the timer.
            if !delay.is_zero() {
                sleep(delay).await;
            }
            inner.call(request).await
        })
    }
}
