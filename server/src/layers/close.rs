//! After SIGTERM every answer announces that its connection ends, and hyper ends it after the answer: so the client
//! never writes a request into a connection that is about to close. HTTP/2 has a frame for that, sent by the connection.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderValue, Request, Version, header::CONNECTION};
use tower::Service;

use crate::{
    pod::Pod,
    routes::{Answer, Reply},
};

#[derive(Debug, Clone)]
pub(crate) struct Close<S> {
    pod: Arc<Pod>,
    inner: S,
}

impl<S> Close<S> {
    pub(crate) fn new(pod: Arc<Pod>, inner: S) -> Self {
        Self { pod, inner }
    }
}

impl<S, B> Service<Request<B>> for Close<S>
where
    S: Service<Request<B>, Response = Answer, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Reply;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Reply {
        let pod = Arc::clone(&self.pod);
        let has_header = request.version() < Version::HTTP_2;
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut answer = answer.await?;
            // Asked now, not when the request came: SIGTERM may have arrived while the answer was being made.
            if has_header && pod.closes_connections() {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(answer)
        })
    }
}
