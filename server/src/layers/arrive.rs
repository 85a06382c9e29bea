//! Waits until a request has arrived whole, and refuses one that is too long or too slow.
//!
//! A refused request's body is not read here; its connection ends after the answer, and the stream's lingering
//! close reads the rest, so that the client sees the answer and not a reset.

use std::{
    convert::Infallible,
    error::Error,
    mem,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header::CONNECTION};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;
use tower::Service;

use crate::{
    config::Limits,
    routes::{Answer, Reply, plain},
};

#[derive(Debug, Clone)]
pub(crate) struct Arrive<S> {
    limits: Limits,
    inner: S,
}

impl<S> Arrive<S> {
    pub(crate) fn new(limits: Limits, inner: S) -> Self {
        Self { limits, inner }
    }
}

impl<S, B> Service<Request<B>> for Arrive<S>
where
    S: Service<Request<Bytes>, Response = Answer, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Reply;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Reply {
        let limits = self.limits;
        // The one that was polled ready is the one to call.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            match arrived(body, limits).await {
                Ok(body) => inner.call(Request::from_parts(head, body)).await,
                Err(status) => {
                    let mut answer = plain(status, format!("{status}\n"));
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                    Ok(answer)
                }
            }
        })
    }
}

async fn arrived<B>(body: B, limits: Limits) -> Result<Bytes, StatusCode>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    // Refused by its Content-Length alone, before the client is told to go on (`Expect: 100-continue`).
    if body.size_hint().lower() > limits.body_bytes as u64 {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    // Boxed: a body that need not be `Unpin` has to be pinned somewhere.
    let body = Limited::new(Box::pin(body), limits.body_bytes);
    match timeout(limits.read_timeout, body.collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}
