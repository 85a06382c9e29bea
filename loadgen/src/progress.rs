//! What a person sees while a run goes on: on stderr, a line of figures that moves and a line for each thing that
//! happens to a pod. Without a terminal, only the latter.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use trial::event::{Event, HookOutcome, TimedEvent};
use trial::id::{ArmId, PodId};
use trial::plan::{Arm, Role};

/// How often the figures move.
const REFRESH: Duration = Duration::from_millis(200);

/// Whether there is a display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Display {
    /// None.
    Off,
    /// Lines only.
    Lines,
    /// Lines and figures.
    Live,
}

impl Display {
    /// Live where stderr is a terminal, lines elsewhere.
    #[must_use]
    pub fn detect() -> Self {
        if std::io::stderr().is_terminal() { Self::Live } else { Self::Lines }
    }
}

/// The live display of a run. Clones show the same one.
#[derive(Clone)]
pub struct Progress {
    display: Display,
    bar: ProgressBar,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    arms: BTreeMap<ArmId, ArmState>,
    /// More than one trial arm: lines name theirs.
    named: bool,
}

/// Says how far a load is.
pub type Watched = Arc<dyn Fn() -> engine::Progress + Send + Sync>;

struct ArmState {
    name: String,
    role: Role,
    load: Option<Watched>,
    pods: BTreeMap<PodId, String>,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").field("display", &self.display).finish_non_exhaustive()
    }
}

impl Progress {
    /// A display for a run with so many trial arms.
    #[must_use]
    pub fn new(display: Display, trial_arms: usize) -> Self {
        let bar = match display {
            Display::Live => ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()),
            Display::Off | Display::Lines => ProgressBar::hidden(),
        };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} {msg}") {
            bar.set_style(style);
        }
        let state = State { arms: BTreeMap::new(), named: trial_arms > 1 };
        Self { display, bar, state: Arc::new(Mutex::new(state)) }
    }

    /// Keeps the figures moving until the run ends; to be spawned.
    pub async fn refresh(self) {
        if self.display != Display::Live {
            return;
        }
        let mut ticks = tokio::time::interval(REFRESH);
        loop {
            ticks.tick().await;
            self.bar.set_message(self.figures());
            self.bar.tick();
        }
    }

    /// An arm begins.
    pub fn arm_started(&self, id: ArmId, arm: &Arm) {
        let state = ArmState { name: arm.name.clone(), role: arm.role, load: None, pods: BTreeMap::new() };
        self.with(|all| all.arms.insert(id, state));
    }

    /// Its load begins.
    pub fn load_started(&self, id: ArmId, load: Watched) {
        self.with(|all| all.arms.get_mut(&id).map(|arm| arm.load.replace(load)));
    }

    /// Its load has ended: what sent it is let go.
    pub fn load_ended(&self, id: ArmId) {
        self.with(|all| all.arms.get_mut(&id).and_then(|arm| arm.load.take()));
    }

    /// The run is over.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Shows an event, if it is one that a person wants to see. Called for every event that was written.
    pub fn on_event(&self, event: &TimedEvent) {
        if self.display == Display::Off {
            return;
        }
        if let Some(line) = self.with(|state| state.line(event)).flatten() {
            match self.display {
                Display::Live => self.bar.println(line),
                Display::Lines | Display::Off => say(&line),
            }
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> Option<T> {
        self.state.lock().ok().map(|mut state| work(&mut state))
    }

    fn figures(&self) -> String {
        let engines: Vec<(String, engine::Progress)> = self
            .with(|state| {
                state.arms.values().filter_map(|arm| Some((arm.name.clone(), arm.load.as_ref()?()))).collect()
            })
            .unwrap_or_default();
        if engines.is_empty() {
            return "starting pods".to_owned();
        }
        let figures = engines.iter().map(|(name, now)| {
            let unsent = if now.unsent > 0 { format!(", {} UNSENT", now.unsent) } else { String::new() };
            format!("{name}: {} sent, {} failed, {} in flight{unsent}", now.sent, now.failed, now.in_flight)
        });
        figures.collect::<Vec<_>>().join(" · ")
    }
}

#[expect(clippy::print_stderr, reason = "the progress of a run belongs to stderr, whatever the log level")]
fn say(line: &str) {
    eprintln!("{line}");
}

impl State {
    fn line(&mut self, timed: &TimedEvent) -> Option<String> {
        let arm = self.arms.get_mut(&timed.arm)?;
        if let Event::PodCreated { pod, name, .. } = &timed.event {
            arm.pods.insert(*pod, name.clone());
        }
        if arm.role != Role::Trial {
            return None;
        }
        let text = describe(&timed.event, &arm.pods)?;
        let name = if self.named { format!("[{}] ", arm.name) } else { String::new() };
        Some(format!("{:>9.3} s  {name}{text}", timed.at_ns.as_secs_f64()))
    }
}

fn describe(event: &Event, pods: &BTreeMap<PodId, String>) -> Option<String> {
    let of = |pod: &PodId| pods.get(pod).cloned().unwrap_or_else(|| format!("pod {}", pod.0));
    Some(match event {
        Event::PodCreated { name, node, address, .. } => format!("{name} created on {node} at {address}"),
        Event::PodReady { pod } => format!("{} ready", of(pod)),
        Event::LoadStarted => "load starts".to_owned(),
        Event::LoadEnded => "load ends".to_owned(),
        Event::DisruptionStarted { kind } => format!("disruption starts: {kind}"),
        Event::Terminating { pod, grace_seconds } => format!("{} deleted, grace {grace_seconds} s", of(pod)),
        Event::PreStopStarted { pod, .. } => format!("{} preStop starts", of(pod)),
        Event::PreStopEnded { pod, outcome: HookOutcome::Overran, .. } => {
            format!("{} preStop overran the grace", of(pod))
        }
        Event::PreStopEnded { pod, outcome: HookOutcome::Failed { message }, .. } => {
            format!("{} preStop failed: {message}", of(pod))
        }
        Event::EndpointRemoved { pod, node } => format!("{} out of the rules of {node}", of(pod)),
        Event::StopSignal { pod, signal, handled } => {
            let deaf = if *handled == Some(false) { ", for which it has no handler" } else { "" };
            format!("{} gets {signal}{deaf}", of(pod))
        }
        Event::KillSignal { pod } => format!("{} killed: its grace is over", of(pod)),
        Event::Exited { pod, code: Some(code), .. } => format!("{} exited with {code}", of(pod)),
        Event::Exited { pod, signal: Some(signal), .. } => format!("{} ended by signal {signal}", of(pod)),
        Event::Warning { reason, message, .. } => format!("{reason}: {message}"),
        Event::Aborted { message } => format!("aborted: {message}"),
        Event::Interrupted { signal } => format!("interrupted by {signal}"),
        _ => return None,
    })
}
