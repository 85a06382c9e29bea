//! `pollWhileDraining`: can a terminating pod still reach something? One plain GET a second, never repeated.

use std::time::Duration;

use bytes::Bytes;
use contract::lifecycle::Event;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use http::{
    HeaderValue, Request,
    header::{AUTHORIZATION, HOST},
    request,
};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    api_server::{self, ApiServerError},
    config::{Poll, PollTarget},
};

const PERIOD: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(1);
/// Keeps a lifecycle line short enough to be written atomically.
const LONGEST_ERROR: usize = 200;

#[derive(Debug, thiserror::Error)]
enum PollError {
    #[error("failed to connect: {0}")]
    Connect(#[source] std::io::Error),
    #[error("failed to ask: {0}")]
    Ask(#[from] hyper::Error),
    #[error("failed to build the request: {0}")]
    Build(#[from] http::Error),
    #[error("the API server: {0}")]
    ApiServer(#[from] ApiServerError),
    #[error("no answer within {TIMEOUT:?}")]
    Timeout,
}

/// The results of polling, for as long as they are asked for; the first poll starts at once.
pub(crate) fn results(target: Poll) -> BoxStream<'static, Event> {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    stream::unfold((ticks, target), |(mut ticks, target)| async move {
        ticks.tick().await;
        let result = timeout(TIMEOUT, ask(&target)).await.unwrap_or(Err(PollError::Timeout));
        let event = match result {
            Ok(status) => Event::Poll { status: Some(status), error: None },
            Err(error) => Event::Poll {
                status: None,
                error: Some(error.to_string().chars().take(LONGEST_ERROR).collect()),
            },
        };
        Some((event, (ticks, target)))
    })
    .boxed()
}

async fn ask(target: &Poll) -> Result<u16, PollError> {
    match target {
        Poll::Url(PollTarget { host, port, authority, path }) => {
            let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(PollError::Connect)?;
            get(stream, Request::get(path).header(HOST, authority)).await
        }
        Poll::ApiServer => {
            let server = api_server::connect().await?;
            let mut credentials =
                HeaderValue::try_from(format!("Bearer {}", server.token)).map_err(http::Error::from)?;
            credentials.set_sensitive(true);
            let request = Request::get(server.path).header(HOST, server.authority);
            get(server.stream, request.header(AUTHORIZATION, credentials)).await
        }
    }
}

async fn get(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: request::Builder,
) -> Result<u16, PollError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends by itself when the sender is dropped.
    tokio::spawn(connection);
    Ok(sender.send_request(request.body(Empty::<Bytes>::new())?).await?.status().as_u16())
}
