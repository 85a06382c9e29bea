//! The agents of an arm at work: told when to stop, asked how far they are, their rows fetched and accounted for.

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cluster::Emitter;
use cluster_kube::agent::{self, Agent, AgentError};
use cluster_kube::backend::PodNames;
use cluster_kube::clocks::Clocks;
use engine::{LaneSummary, Progress, Summary};
use tokio::sync::watch;
use tokio::task::JoinSet;
use trial::event::Event;
use trial::id::{LaneId, PodId};
use trial::record::Record;
use trial::recording::part;
use trial::settings::Target;
use trial::time::Stamp;

use crate::progress::Watched;

/// How often an agent is asked how far it is; also what tells it that its controller lives.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// The same once the load is over and only rows are missing.
const ASK_AT_THE_END: Duration = Duration::from_millis(50);
/// What was in flight ends within the requests' own timeout; the last part follows.
const LAST_PART_WITHIN: Duration = Duration::from_secs(30);
/// A pod that answers was Ready, and the news of that is under way at least.
const NEWS_WITHIN: Duration = Duration::from_secs(5);
/// As many rows as the engine hands over at once.
const CHUNK_ROWS: usize = 1_024;
/// A pod that no watch has seen. The analysis counts its records, and the run is not whole.
const STRANGER: PodId = PodId(PodId::NONE.0 - 1);

/// What the agents are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    GoOn,
    StopAt(Stamp),
    Interrupt,
}

type Totals = Arc<Mutex<Vec<agent::Progress>>>;

/// The agents of an arm at work.
pub(in crate::conductor) struct Fleet {
    order: watch::Sender<Order>,
    totals: Totals,
    tasks: JoinSet<Result<Summary, String>>,
    /// True once one of them could not go on.
    broken: watch::Receiver<bool>,
}

impl Fleet {
    pub(super) fn new(
        agents: Vec<Agent>,
        load: &trial::settings::Load,
        (names, clocks): (&PodNames, &Clocks),
        rows: &SyncSender<Vec<Record>>,
        emitter: &Emitter,
    ) -> Self {
        let own_pods_only = load.target == Target::Service;
        let (breaks, broken) = watch::channel(false);
        let longest = load.lanes.iter().map(|lane| lane.delay).max().unwrap_or_default();
        let patience = load.timeout + longest;
        let (order, orders) = watch::channel(Order::GoOn);
        let totals: Totals = Arc::new(Mutex::new(vec![agent::Progress::default(); agents.len()]));
        let mut tasks = JoinSet::new();
        for (index, agent) in agents.into_iter().enumerate() {
            let pump = Pump {
                agent,
                index,
                orders: orders.clone(),
                totals: Arc::clone(&totals),
                names: names.clone(),
                clocks: clocks.clone(),
                own_pods_only,
                known: Vec::new(),
                rows: rows.clone(),
                next: 0,
                fetched: 0,
                emitter: emitter.clone(),
                patience,
            };
            let breaks = breaks.clone();
            tasks.spawn(async move {
                let result = pump.run().await.map_err(|error| error.to_string());
                if result.is_err() {
                    breaks.send_replace(true);
                }
                result
            });
        }
        Self { order, totals, tasks, broken }
    }

    /// Ends only if an agent could not go on: what comes after is not measured any more.
    pub(in crate::conductor) async fn broken(&self) {
        let mut broken = self.broken.clone();
        if broken.wait_for(|broken| *broken).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(in crate::conductor) fn stop_at(&self, last: Stamp) {
        self.order.send_replace(Order::StopAt(last));
    }

    pub(in crate::conductor) fn interrupt(&self) {
        self.order.send_replace(Order::Interrupt);
    }

    pub(in crate::conductor) fn watched(&self) -> Watched {
        let totals = Arc::clone(&self.totals);
        Arc::new(move || {
            let totals = totals.lock().map(|all| all.clone()).unwrap_or_default();
            totals.iter().fold(Progress::default(), |sum, one| Progress {
                sent: sum.sent + one.sent,
                failed: sum.failed + one.failed,
                in_flight: sum.in_flight + one.in_flight,
                unsent: sum.unsent + one.unsent,
                ..sum
            })
        })
    }

    pub(in crate::conductor) async fn finish(mut self) -> Result<Vec<Summary>, String> {
        let mut summaries = Vec::new();
        let mut lost = Vec::new();
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                Ok(Ok(summary)) => summaries.push(summary),
                Ok(Err(error)) => lost.push(error),
                Err(error) => lost.push(format!("an agent's task failed: {error}")),
            }
        }
        if lost.is_empty() { Ok(summaries) } else { Err(lost.join("; ")) }
    }
}

/// Brings the rows of one agent here.
struct Pump {
    agent: Agent,
    index: usize,
    orders: watch::Receiver<Order>,
    totals: Totals,
    names: PodNames,
    clocks: Clocks,
    /// Whatever answers is a pod of this arm: the load goes to its Service.
    own_pods_only: bool,
    /// The agent's names of pods, by its own numbers.
    known: Vec<String>,
    rows: SyncSender<Vec<Record>>,
    next: u32,
    /// Rows that came here so far.
    fetched: u64,
    emitter: Emitter,
    /// Requests under way when the load ended may take so long.
    patience: Duration,
}

#[derive(Debug, thiserror::Error)]
enum PumpError {
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error("agent {agent}: failed to {source}")]
    Part { agent: String, source: part::PartError },
    #[error("agent {0} could not go on: {1}")]
    Ended(String, String),
    #[error("agent {0} did not hand over its last rows in time")]
    Late(String),
    #[error("agent {agent} recorded {recorded} rows, and {fetched} came here")]
    Missing { agent: String, recorded: u64, fetched: u64 },
    #[error("agent {agent} had {scheduled} slots, of which {rows} became rows and {lost} were lost")]
    Unaccounted { agent: String, scheduled: u64, rows: u64, lost: u64 },
    #[error("the rows of agent {0} could not be written")]
    Unwritten(String),
}

impl Pump {
    async fn run(mut self) -> Result<Summary, PumpError> {
        let mut deadline = None;
        loop {
            let pause = if deadline.is_some() { ASK_AT_THE_END } else { ASK_EVERY };
            tokio::select! {
                changed = self.orders.changed() => {
                    let order = *self.orders.borrow_and_update();
                    match order {
                        Order::StopAt(last) => self.agent.stop(last).await?,
                        Order::Interrupt => self.agent.interrupt().await?,
                        Order::GoOn => {}
                    }
                    if order != Order::GoOn || changed.is_err() {
                        deadline.get_or_insert_with(|| tokio::time::Instant::now() + LAST_PART_WITHIN);
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
            let progress = self.agent.progress().await?;
            if let Some(error) = progress.error {
                return Err(PumpError::Ended(self.agent.pod, error));
            }
            self.publish(&progress);
            self.fetch().await?;
            if let Some(summary) = progress.summary.filter(|summary| self.next >= summary.parts) {
                self.account(&summary)?;
                let agent = self.agent.number;
                match self.agent.relearn(&self.clocks).await {
                    Ok(clock_uncertainty_ns) => {
                        self.emitter.emit(Event::AgentClock { agent, clock_uncertainty_ns });
                    }
                    Err(error) => {
                        let text = format!("how far clocks had drifted by the end is not known: {error}");
                        self.emitter.emit(Event::Note { pod: None, text });
                    }
                }
                self.agent.release().await;
                return Ok(self.summary(&summary));
            }
            if deadline.is_some_and(|deadline| tokio::time::Instant::now() > deadline + self.patience) {
                return Err(PumpError::Late(self.agent.pod));
            }
        }
    }

    /// Every slot is a row that came here, or is known to be lost.
    fn account(&self, summary: &agent::Summary) -> Result<(), PumpError> {
        let agent = || self.agent.pod.clone();
        let (rows, fetched) = (summary.rows, self.fetched);
        if fetched != rows {
            return Err(PumpError::Missing { agent: agent(), recorded: rows, fetched });
        }
        let scheduled: u64 = summary.lanes.iter().map(|lane| lane.scheduled).sum();
        let lost: u64 = summary.lanes.iter().map(|lane| lane.overflowed).sum();
        if scheduled != rows + lost {
            return Err(PumpError::Unaccounted { agent: agent(), scheduled, rows, lost });
        }
        Ok(())
    }

    fn publish(&self, progress: &agent::Progress) {
        if let Ok(mut all) = self.totals.lock()
            && let Some(own) = all.get_mut(self.index)
        {
            own.clone_from(progress);
        }
    }

    async fn fetch(&mut self) -> Result<(), PumpError> {
        while let Some(bytes) = self.agent.part(self.next).await? {
            self.next += 1;
            let records = self.decode(bytes).await?;
            self.fetched += records.len() as u64;
            let rows = self.rows.clone();
            // The channel's bound, which counts chunks, holds the agent's rows back here, not the runtime.
            let handed = tokio::task::spawn_blocking(move || {
                records.chunks(CHUNK_ROWS).all(|chunk| rows.send(chunk.to_vec()).is_ok())
            });
            if !handed.await.unwrap_or(false) {
                return Err(PumpError::Unwritten(self.agent.pod.clone()));
            }
        }
        Ok(())
    }

    /// The agent numbers pods as it meets them; the run, as they were made.
    async fn decode(&mut self, bytes: Bytes) -> Result<Vec<Record>, PumpError> {
        let decoded = tokio::task::spawn_blocking(move || part::decode(bytes)).await;
        let mut records = decoded
            .unwrap_or(Err(part::PartError::Damaged))
            .map_err(|source| PumpError::Part { agent: self.agent.pod.clone(), source })?;
        let highest = records.iter().filter_map(|record| record.pod.known()).map(|pod| pod.0).max();
        if highest.is_some_and(|highest| usize::from(highest) >= self.known.len()) {
            self.known = self.agent.pods().await?;
            if self.own_pods_only {
                self.names.seen(&self.known, NEWS_WITHIN).await;
            }
        }
        for record in &mut records {
            let Some(number) = record.pod.known() else { continue };
            let id = self.known.get(usize::from(number.0)).and_then(|name| self.names.id(name));
            // Behind somebody else's address pods of anybody may answer; behind the Service, only ours.
            let stranger = if self.own_pods_only { STRANGER } else { PodId::NONE };
            record.pod = id.unwrap_or(stranger);
        }
        Ok(records)
    }

    fn summary(&self, summary: &agent::Summary) -> Summary {
        for (at, for_ns) in &summary.stalls {
            let at = self.agent.clock().map_or(Stamp::ZERO, |clock| clock.of_mono(at.mono_ns));
            let agent = Some(self.agent.number);
            self.emitter.emit_at(at, Event::Stalled { for_ns: *for_ns, agent });
        }
        let lane = |(index, lane): (usize, &agent::LaneSummary)| LaneSummary {
            lane: LaneId(u8::try_from(index).unwrap_or(u8::MAX)),
            scheduled: lane.scheduled,
            connections_opened: lane.connections_opened,
            idle_closes: lane.idle_closes,
            overflowed: lane.overflowed,
        };
        Summary { lanes: summary.lanes.iter().enumerate().map(lane).collect(), ..Summary::default() }
    }
}
