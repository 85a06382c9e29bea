//! Counts a request as in flight from its head until its answer's last frame, or until the client has gone.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use http::Request;
use http_body_util::BodyExt;
use tower::Service;

use crate::{
    pod::{Kind, Pod},
    routes::{Answer, Guarded, Reply, kind},
};

#[derive(Debug, Clone)]
pub(crate) struct Track<S> {
    pod: Arc<Pod>,
    inner: S,
}

impl<S> Track<S> {
    pub(crate) fn new(pod: Arc<Pod>, inner: S) -> Self {
        Self { pod, inner }
    }
}

impl<S, B> Service<Request<B>> for Track<S>
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
        let held = (kind(request.uri().path()) == Kind::Traffic).then(|| self.pod.hold_request());
        let answer = self.inner.call(request);
        Box::pin(async move { Ok(answer.await?.map(|body| Guarded::new(body, held).boxed_unsync())) })
    }
}
