//! Control traffic to a port of a pod, over the API server. Load never goes this way.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// An answer of an agent is a part of the recording at most.
const ANSWER_MAX: usize = 256 << 20;

/// Why a pod could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The API server's answer, or the connection's.
    #[error("{0}")]
    Broken(String),
    /// Another status than expected, and what the pod said.
    #[error("{status}: {message}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// The body.
        message: String,
    },
}

fn broken(error: impl std::fmt::Display) -> ForwardError {
    ForwardError::Broken(error.to_string())
}

/// A connection to one port of one pod, opened when it is needed and again when it broke.
pub(crate) struct Forward {
    pods: Api<Pod>,
    pod: String,
    port: u16,
    limit: Duration,
    open: Option<Open>,
}

struct Open {
    sender: SendRequest<Full<Bytes>>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Open {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Forward {
    pub(crate) fn new(pods: Api<Pod>, pod: &str, port: u16, limit: Duration) -> Self {
        Self { pods, pod: pod.to_owned(), port, limit, open: None }
    }

    /// One exchange, within the limit. After a failure the connection is opened anew for the next.
    pub(crate) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), ForwardError> {
        let limit = self.limit;
        let answer = timeout(limit, self.exchange(method, path, body)).await;
        let answer = answer.unwrap_or_else(|_| Err(broken(format_args!("no answer within {limit:?}"))));
        if answer.is_err() {
            self.open = None;
        }
        answer
    }

    async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), ForwardError> {
        let mut open = match self.open.take().filter(|open| !open.sender.is_closed()) {
            Some(open) => open,
            None => self.connect().await?,
        };
        open.sender.ready().await.map_err(broken)?;
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let request = request.body(Full::new(body)).map_err(broken)?;
        let answer = open.sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await.map_err(broken)?;
        self.open = Some(open);
        Ok((status, body.to_bytes()))
    }

    async fn connect(&self) -> Result<Open, ForwardError> {
        let mut forwarder = self
            .pods
            .portforward(&self.pod, &[self.port])
            .await
            .map_err(|error| ForwardError::Broken(crate::connect::line(&error)))?;
        let stream = forwarder.take_stream(self.port).ok_or_else(|| broken("the port has no stream"))?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let driver = tokio::spawn(async move {
            let _closed = connection.await;
        });
        let messages = tokio::spawn(async move {
            let _closed = forwarder.join().await;
        });
        Ok(Open { sender, tasks: [driver, messages] })
    }
}
