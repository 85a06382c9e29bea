//! Says in every answer who gave it, in which state, as which request, and to which slot.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use contract::headers;
use http::{HeaderValue, Request};
use tower::Service;

use crate::{
    pod::Pod,
    routes::{Answer, Reply, kind},
};

#[derive(Debug, Clone)]
pub(crate) struct Identify<S> {
    pod: Arc<Pod>,
    inner: S,
}

impl<S> Identify<S> {
    pub(crate) fn new(pod: Arc<Pod>, inner: S) -> Self {
        Self { pod, inner }
    }
}

impl<S, B> Service<Request<B>> for Identify<S>
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
        let slot = request.headers().get(headers::SLOT).cloned();
        let sequence = pod.sequence(kind(request.uri().path()));
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut answer = answer.await?;
            let head = answer.headers_mut();
            head.insert(headers::POD, pod.config.pod().clone());
            head.insert(headers::STATE, HeaderValue::from_static(pod.state().as_str()));
            head.insert(headers::SEQUENCE, sequence.into());
            if let Some(slot) = slot {
                head.insert(headers::SLOT, slot);
            }
            Ok(answer)
        })
    }
}
