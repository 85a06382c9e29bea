//! The log of one pod, read to its end whatever comes between; and the clocks of its node, by which its lines are placed.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use contract::clock::Reading;
use futures_util::{AsyncBufReadExt, AsyncReadExt};
use hyper::{Method, StatusCode};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use tokio::sync::mpsc;
use tokio::time::sleep;
use trial::id::PodId;

use super::{Said, Settings};
use crate::clocks::{Clocks, EXCHANGES};
use crate::connect;
use crate::forward::{Forward, ForwardError};
use crate::objects;
use crate::observe::View;

/// A pod whose container has just started may not listen yet.
const ASK_AGAIN: Duration = Duration::from_millis(100);
const ASKS: u32 = 50;
/// One exchange of clocks.
const EXCHANGE: Duration = Duration::from_secs(3);
/// A longer line of a pod's log is not read.
const LINE_MAX: usize = 64 << 10;
/// Where a log's stream broke, it is opened again after pauses that grow up to this.
const REOPEN_AT_MOST: Duration = Duration::from_secs(2);

/// Whose log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// The container's that runs, or ran last.
    Running,
    /// That of the one before.
    Previous,
}

/// Reads one pod's log to its end.
pub(super) struct Follower {
    pub(super) settings: Settings,
    pub(super) said: mpsc::Sender<Said>,
    pub(super) id: PodId,
    pub(super) view: View,
}

impl Follower {
    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.settings.client.clone(), &self.settings.owner.namespace)
    }

    pub(super) async fn run(self) {
        // Its lines are placed by its node's clocks, so those come first.
        if self.settings.own_server && self.settings.clocks.of(&self.view.node).is_none() {
            self.ask_for_the_clocks().await;
        }
        let _over = self.said.send(Said::ClockKnown(self.id, self.view.node.clone())).await;
        // A container that ended before its pod was ever seen to run has left its log.
        if self.view.restarts > 0
            && let Err(error) = self.read(&mut None, Which::Previous).await
        {
            tracing::debug!("the log of {} before its restart: {error}", self.view.name);
        }
        let mut last = None;
        let mut pause = ASK_AGAIN;
        // Ends with the container, and with the watcher at the latest.
        loop {
            let before = last;
            match self.read(&mut last, Which::Running).await {
                // A log also ends when it is rotated, or when the API server goes away.
                Ok(()) if self.has_ended().await => break,
                Ok(()) => {}
                Err(error) => tracing::debug!("the log of {} broke off: {error}", self.view.name),
            }
            pause = if last == before { (pause * 2).min(REOPEN_AT_MOST) } else { ASK_AGAIN };
            sleep(pause).await;
        }
        let _over = self.said.send(Said::LogEnded(self.id, self.settings.emitter.clock().now())).await;
    }

    async fn ask_for_the_clocks(&self) {
        let mut forward = Forward::new(self.pods(), &self.view.name, objects::SERVER_PORT, EXCHANGE);
        for _ in 0..ASKS {
            match learn(&self.settings.clocks, &self.view.node, &mut forward).await {
                Ok(()) => return,
                Err(error) => tracing::debug!("the clocks of {}: {error}", self.view.name),
            }
            sleep(ASK_AGAIN).await;
        }
    }

    /// True only if it is known that no container of the pod runs, or is about to.
    async fn has_ended(&self) -> bool {
        let found = connect::call("look at a pod", self.pods().get_opt(&self.view.name)).await;
        let pod = match found {
            Ok(Some(pod)) => pod,
            Ok(None) => return true,
            Err(_) => return false,
        };
        let statuses = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
        let state = statuses.into_iter().next().and_then(|status| status.state).unwrap_or_default();
        state.terminated.is_some()
    }

    /// Reads to the end; what is not later than `last` had been read before it broke off.
    async fn read(&self, last: &mut Option<jiff::Timestamp>, which: Which) -> Result<(), String> {
        let previous = which == Which::Previous;
        let parameters = LogParams { follow: !previous, previous, timestamps: true, ..LogParams::default() };
        let log = self.pods().log_stream(&self.view.name, &parameters).await;
        let log = match log {
            Ok(log) => log,
            // The pod, or its container, is no more.
            Err(error) if connect::code(&error) == Some(404) => return Ok(()),
            Err(error) => return Err(connect::line(&error)),
        };
        let mut log = pin!(log);
        // Only what the last stream had shown already: clocks are set, and two streams of a container are not in order.
        let mut shown = *last;
        let mut line = Vec::new();
        loop {
            line.clear();
            let limit = u64::try_from(LINE_MAX).unwrap_or(u64::MAX);
            let mut rest = (&mut log).take(limit);
            let length = rest.read_until(b'\n', &mut line).await.map_err(|error| error.to_string())?;
            if length == 0 {
                return Ok(());
            }
            // Longer than any report of ours: what follows of it is no line of its own, and is no report either.
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches('\n');
            // The runtime's own stamp comes first: it tells what was read already, whatever became of the file.
            let (written, text) = line.split_once(' ').unwrap_or(("", line));
            let written = written.parse::<jiff::Timestamp>().ok();
            if written.is_some() && written <= shown {
                continue;
            }
            shown = None;
            *last = written.or(*last);
            let at = self.settings.emitter.clock().now();
            let said = Said::Line(self.id, self.view.node.clone(), at, text.to_owned(), which);
            if self.said.send(said).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Exchanges clocks with a pod on a node.
async fn learn(clocks: &Clocks, node: &str, forward: &mut Forward) -> Result<(), ForwardError> {
    for _ in 0..EXCHANGES {
        let ask = async {
            let (status, body) = forward.ask(Method::GET, objects::CLOCK_PATH, Bytes::new()).await?;
            read_clock(status, &body)
        };
        clocks.learn(node, clocks.exchange(ask).await?);
    }
    Ok(())
}

pub(crate) fn read_clock(status: StatusCode, body: &Bytes) -> Result<Reading, ForwardError> {
    let message = String::from_utf8_lossy(body).into_owned();
    match serde_json::from_slice(body) {
        Ok(reading) if status == StatusCode::OK => Ok(reading),
        _ => Err(ForwardError::Refused { status, message }),
    }
}
