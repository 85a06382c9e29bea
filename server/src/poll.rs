//! `pollWhileDraining`: can a terminating pod still reach something? One plain GET a second, never repeated.

use std::time::Duration;

use bytes::Bytes;
use contract::lifecycle::Event;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use http::{Request, header::HOST};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::config::PollTarget;

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
    #[error("no answer within {TIMEOUT:?}")]
    Timeout,
}

/// The results of polling, for as long as they are asked for; the first poll starts at once.
pub(crate) fn results(target: PollTarget) -> BoxStream<'static, Event> {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    stream::unfold((ticks, target), |(mut ticks, target)| async move {
        ticks.tick().await;
        let result = timeout(TIMEOUT, get(&target)).await.unwrap_or(Err(PollError::Timeout));
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

async fn get(target: &PollTarget) -> Result<u16, PollError> {
    let stream = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(PollError::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends by itself when the sender is dropped.
    tokio::spawn(connection);
    let request = Request::get(&target.path).header(HOST, &target.authority).body(Empty::<Bytes>::new())?;
    Ok(sender.send_request(request).await?.status().as_u16())
}
