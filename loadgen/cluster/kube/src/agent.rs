//! The controller's side of the agents that send the load, and what both sides say to each other.
//!
//! | call | what it does |
//! | --- | --- |
//! | `GET /clock` | a reading of the agent's clocks |
//! | `POST /plan` | what to send, and where the run's epoch lies on the agent's clock |
//! | `POST /start` | begins at an instant on the agent's clock |
//! | `POST /stop` | no slot is due after an instant; or, at once, an interrupt |
//! | `GET /progress` | how far it is |
//! | `GET /recording/N` | the N-th part, once it is finished; parts before it are let go |
//! | `GET /pods` | names of the pods that the parts' numbers mean |
//! | `POST /release` | the agent ends |
//!
//! An agent that is not asked anything for a while stops its load and ends: a load without a controller is nobody's.

use std::time::Duration;

use bytes::Bytes;
use contract::clock::Reading;
use hyper::{Method, StatusCode};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use trial::settings::Load;
use trial::time::Stamp;

use crate::clocks::{Clocks, EXCHANGES, NodeClock};
use crate::forward::{Forward, ForwardError};
use crate::watch::read_clock;

/// Where an agent listens, on the loopback address of its own pod.
pub const PORT: u16 = 7440;
/// How long an agent goes on without hearing of its controller.
pub const ABANDONED_AFTER: Duration = Duration::from_secs(30);
/// No call may take longer; the answers are small, a part of the recording aside.
const CALL: Duration = Duration::from_secs(20);
/// Calls that fail are repeated so often: a broken forward must not lose a recording.
const TRIES: u32 = 4;
const TRY_AGAIN: Duration = Duration::from_millis(250);
/// So many agents are talked to side by side.
pub const AT_ONCE: usize = 16;

/// What an agent is to send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What the controller was built from. An agent that was built from anything else, which an image may well hold,
    /// refuses: its engine would measure something else.
    pub source: String,
    /// This agent's share of the load, credentials and all.
    pub load: Load,
    /// For its random choices.
    pub seed: u64,
    /// Its number.
    pub agent: u8,
    /// Its node's number.
    pub node: u8,
    /// Where connections go, as `host:port`: names are looked up where the load comes from.
    pub target: String,
    /// Whether a connection leads to one pod for as long as it lives.
    pub sticky: bool,
    /// The run's epoch on the agent's monotonic clock, nanoseconds: negative if its node is younger than the run.
    pub epoch_mono_ns: i64,
}

/// The part of a plan that every build understands.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Spoken {
    /// What the controller was built from; the first did not say.
    #[serde(default)]
    pub source: String,
}

/// An instant on the agent's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    /// Nanoseconds.
    pub mono_ns: u64,
}

/// How far an agent is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Slots that were worked on.
    pub sent: u64,
    /// Of those, failed.
    pub failed: u64,
    /// Under way.
    pub in_flight: u64,
    /// Slots that were not worked on.
    pub unsent: u64,
    /// Set once the load is over and its last part is there.
    pub summary: Option<Summary>,
    /// The agent could not go on.
    pub error: Option<String>,
}

/// Totals of an agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// By lane, in the order of the load's lanes.
    pub lanes: Vec<LaneSummary>,
    /// Parts that there are.
    pub parts: u32,
    /// Rows in them.
    pub rows: u64,
    /// When the agent's process stood still: its end on the agent's clock, and for how long.
    pub stalls: Vec<(At, u64)>,
}

/// Totals of a lane of an agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneSummary {
    /// Slots that came due: as many as rows and lost records together.
    pub scheduled: u64,
    /// Connections established.
    pub connections_opened: u64,
    /// Kept connections that the peer closed between two requests.
    pub idle_closes: u64,
    /// Records lost.
    pub overflowed: u64,
}

/// Why an agent could not be worked with.
#[derive(Debug, thiserror::Error)]
#[error("agent {pod} on {node}: failed to {what}: {source}")]
pub struct AgentError {
    /// Its pod.
    pub pod: String,
    /// Its node.
    pub node: String,
    /// What it was asked.
    pub what: &'static str,
    /// Its answer, or why there was none.
    pub source: ForwardError,
}

/// One agent.
pub struct Agent {
    /// Its pod.
    pub pod: String,
    /// Its node.
    pub node: String,
    /// Its number.
    pub number: u8,
    forward: Forward,
    clock: Option<NodeClock>,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("pod", &self.pod).field("node", &self.node).finish_non_exhaustive()
    }
}

impl Agent {
    pub(crate) fn new(pods: Api<Pod>, pod: &str, node: &str, number: u8) -> Self {
        let forward = Forward::new(pods, pod, PORT, CALL);
        Self { pod: pod.to_owned(), node: node.to_owned(), number, forward, clock: None }
    }

    /// Its clock, as [`Agent::learn`] found it.
    #[must_use]
    pub const fn clock(&self) -> Option<NodeClock> {
        self.clock
    }

    /// Exchanges clocks with it, and keeps the best of several.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn learn(&mut self, clocks: &Clocks) -> Result<NodeClock, AgentError> {
        let best = self.exchanges(clocks).await?;
        clocks.learn(&self.node, best);
        self.clock = Some(best);
        Ok(best)
    }

    /// Exchanges clocks once more: how certain times are in nanoseconds, given how far it has drifted since it was
    /// [learnt](Agent::learn).
    ///
    /// # Errors
    /// It does not answer.
    pub async fn relearn(&mut self, clocks: &Clocks) -> Result<u64, AgentError> {
        let later = self.exchanges(clocks).await?;
        Ok(self.clock.map_or(later.uncertainty_ns, |clock| clock.uncertainty_by(&later)))
    }

    async fn exchanges(&mut self, clocks: &Clocks) -> Result<NodeClock, AgentError> {
        let mut best = clocks.exchange(self.reading()).await?;
        for _ in 1..EXCHANGES {
            best = clocks.exchange(self.reading()).await?.better(Some(best));
        }
        Ok(best)
    }

    async fn reading(&mut self) -> Result<Reading, AgentError> {
        let what = "tell its time";
        let answer = self.forward.ask(Method::GET, "/clock", Bytes::new()).await;
        let answer = answer.and_then(|(status, body)| read_clock(status, &body));
        answer.map_err(|source| self.error(what, source))
    }

    /// Tells it what to send.
    ///
    /// # Errors
    /// It does not answer, or cannot send that.
    pub async fn plan(&mut self, plan: &Plan) -> Result<(), AgentError> {
        self.post("take its plan", "/plan", plan).await
    }

    /// Tells it when to begin.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn start(&mut self, at: Stamp) -> Result<(), AgentError> {
        let at = self.at(at);
        self.post("start", "/start", &at).await
    }

    /// Tells it when the last slot may be due.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn stop(&mut self, at: Stamp) -> Result<(), AgentError> {
        let at = self.at(at);
        self.post("stop", "/stop", &at).await
    }

    /// Tells it to stop at once.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn interrupt(&mut self) -> Result<(), AgentError> {
        self.post("stop", "/stop", &None::<At>).await
    }

    /// Asks how far it is.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn progress(&mut self) -> Result<Progress, AgentError> {
        self.get("tell how far it is", "/progress").await
    }

    /// Names of the pods that its parts number.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn pods(&mut self) -> Result<Vec<String>, AgentError> {
        self.get("name the pods", "/pods").await
    }

    /// A part of its recording; `None` if it is not finished yet.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn part(&mut self, number: u32) -> Result<Option<Bytes>, AgentError> {
        let (status, body) = self
            .ask("hand over its recording", Method::GET, &format!("/recording/{number}"), &Bytes::new())
            .await?;
        Ok((status == StatusCode::OK).then_some(body))
    }

    /// Lets it go. That it is gone already is as good.
    pub async fn release(&mut self) {
        if let Err(error) = self.forward.ask(Method::POST, "/release", Bytes::new()).await {
            tracing::debug!("agent {}: {error}", self.pod);
        }
    }

    fn at(&self, stamp: Stamp) -> At {
        At { mono_ns: self.clock.map_or_else(|| stamp.as_nanos(), |clock| clock.to_mono(stamp)) }
    }

    async fn post(
        &mut self,
        what: &'static str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<(), AgentError> {
        let body = serde_json::to_vec(body)
            .map_err(|error| self.error(what, ForwardError::Broken(error.to_string())))?;
        self.ask(what, Method::POST, path, &Bytes::from(body)).await.map(|_| ())
    }

    async fn get<T: DeserializeOwned>(&mut self, what: &'static str, path: &str) -> Result<T, AgentError> {
        let (_, body) = self.ask(what, Method::GET, path, &Bytes::new()).await?;
        serde_json::from_slice(&body)
            .map_err(|error| self.error(what, ForwardError::Broken(error.to_string())))
    }

    /// Every call may be made twice: an agent takes the second as the first.
    async fn ask(
        &mut self,
        what: &'static str,
        method: Method,
        path: &str,
        body: &Bytes,
    ) -> Result<(StatusCode, Bytes), AgentError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let failure = match self.forward.ask(method.clone(), path, body.clone()).await {
                Ok((status, body)) if status.is_success() => return Ok((status, body)),
                Ok((status, body)) => {
                    let message = String::from_utf8_lossy(&body).trim().to_owned();
                    return Err(self.error(what, ForwardError::Refused { status, message }));
                }
                Err(failure) => failure,
            };
            if tries >= TRIES {
                return Err(self.error(what, failure));
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    fn error(&self, what: &'static str, source: ForwardError) -> AgentError {
        AgentError { pod: self.pod.clone(), node: self.node.clone(), what, source }
    }
}

/// An agent's share of a load: rates are divided, kept connections dealt out one by one.
#[must_use]
pub fn share(load: &Load, number: u32, agents: u32) -> Load {
    let agents = agents.max(1);
    let mut load = load.clone();
    for lane in &mut load.lanes {
        lane.rate /= f64::from(agents);
        let extra = u32::from(number < lane.connections % agents);
        lane.connections = (lane.connections / agents + extra).max(1);
    }
    load
}

#[cfg(test)]
mod tests {
    use trial::scenario::{Overrides, Scenario};

    use super::*;

    #[test]
    fn shares_add_up_to_the_load() {
        let yaml = b"load: {lanes: {new: {rate: 10}, reused: {rate: 3, connections: 20}}}";
        let plan = Scenario::parse("x", yaml).unwrap().plan(&Overrides::default(), 1).unwrap();
        let load = &plan.arms[0].load;
        let shares: Vec<Load> = (0..3).map(|number| share(load, number, 3)).collect();
        let sum: f64 = shares.iter().map(|share| share.lanes[0].rate).sum();
        assert!((sum - 10.0).abs() < 1e-9);
        let connections: Vec<u32> = shares.iter().map(|share| share.lanes[1].connections).collect();
        assert_eq!(connections, [7, 7, 6]);
        assert_eq!(share(load, 0, 1), *load);
    }
}
