//! How a pod is stopped: does what [`crate::termination`] says.

use nix::sys::signal::Signal;
use trial::event::{Event, HookOutcome};
use trial::settings::{Handler, StopSignal};
use trial::time::Stamp;

use super::container::Restart;
use super::{Pod, listener};
use crate::hook::{self, Context};
use crate::process;
use crate::termination::{Input, Step, Termination};

/// As the kernel names it, and as people do.
const fn stop_signal(setting: StopSignal) -> (Signal, &'static str) {
    let signal = match setting {
        StopSignal::Sigterm => Signal::SIGTERM,
        StopSignal::Sigint => Signal::SIGINT,
        StopSignal::Sigquit => Signal::SIGQUIT,
        StopSignal::Sighup => Signal::SIGHUP,
        StopSignal::Sigusr1 => Signal::SIGUSR1,
        StopSignal::Sigusr2 => Signal::SIGUSR2,
    };
    (signal, setting.as_str())
}

impl Pod {
    pub(super) async fn on_timer(&mut self) -> bool {
        if self.termination.is_some() {
            return self.advance(Input::Timer).await;
        }
        let now = self.now();
        let due = self.deletion.filter(|(heard, _)| {
            *heard <= now && self.post_start.is_none() && (self.pid.is_some() || self.ended)
        });
        let Some((_, grace_seconds)) = due else {
            self.restart_if_due().await;
            return true;
        };
        self.leaving = true;
        self.liveness = None;
        let t0 = self.spec.emitter.emit(Event::Killing { pod: self.spec.id, inferred: false });
        let step = self.stop_container(t0, grace_seconds);
        // What ended by itself before has nothing left to stop.
        !self.ended && self.take(step).await
    }

    /// Begins to stop the container, because the pod is deleted or because the container is to be restarted.
    fn stop_container(&mut self, now: Stamp, grace_seconds: u64) -> Step {
        let hook = self.spec.workload.lifecycle.pre_stop.is_some();
        let (machine, step) = Termination::begin(now, grace_seconds, hook, self.spec.kubelet);
        self.termination = Some(machine);
        step
    }

    /// Stops a container that is to be restarted: with its hook and its grace, as if the pod were deleted.
    pub(super) async fn stop_for_restart(&mut self, why: &str, when: Restart) {
        if self.ended || self.termination.is_some() {
            return;
        }
        let pod = Some(self.spec.id);
        let text = format!("its container is stopped, to be restarted: {why}");
        let now = self.spec.emitter.emit(Event::Note { pod, text });
        self.stopped_because = Some((why.to_owned(), when));
        let step = self.stop_container(now, self.spec.workload.termination_grace_period_seconds);
        self.take(step).await;
    }

    pub(super) async fn advance(&mut self, input: Input) -> bool {
        let now = self.now();
        let steps = self.termination.as_mut().map(|machine| machine.next(now, input)).unwrap_or_default();
        for step in steps {
            if !self.take(step).await {
                return false;
            }
        }
        true
    }

    async fn take(&mut self, step: Step) -> bool {
        let pod = self.spec.id;
        match step {
            Step::RunHook => self.start_pre_stop(),
            Step::AbandonHook => {
                // Left running: dropping the handle detaches the task, and the hook ends with the container.
                self.pre_stop = None;
                let inferred = self.pre_stop_is_sleep();
                if self.leaving {
                    let outcome = HookOutcome::Overran;
                    self.spec.emitter.emit(Event::PreStopEnded { pod, inferred, outcome });
                }
            }
            Step::Signal => self.send_stop_signal(),
            Step::Kill => {
                if self.leaving {
                    self.spec.emitter.emit(Event::KillSignal { pod });
                }
                self.send(Signal::SIGKILL);
            }
            Step::Over if self.leaving => return false,
            // The container was stopped to be restarted.
            Step::Over => {
                self.termination = None;
                self.schedule_restart().await;
            }
        }
        true
    }

    fn start_pre_stop(&mut self) {
        let (Some(handler), Some(pid)) = (self.spec.workload.lifecycle.pre_stop.clone(), self.pid) else {
            return;
        };
        let inferred = self.pre_stop_is_sleep();
        if self.leaving {
            self.spec.emitter.emit(Event::PreStopStarted { pod: self.spec.id, inferred });
        }
        self.pre_stop = Some(tokio::spawn(hook::run(Context { spec: self.spec.clone(), pid }, handler)));
    }

    /// A `sleep` hook runs in the kubelet: no program in the pod could have seen it.
    fn pre_stop_is_sleep(&self) -> bool {
        matches!(self.spec.workload.lifecycle.pre_stop, Some(Handler::Sleep { .. }))
    }

    pub(super) fn on_pre_stop(&mut self, outcome: HookOutcome) {
        self.pre_stop = None;
        if let HookOutcome::Failed { message } = &outcome {
            self.warn("FailedPreStopHook", message);
        }
        let inferred = self.pre_stop_is_sleep();
        if self.leaving {
            self.spec.emitter.emit(Event::PreStopEnded { pod: self.spec.id, inferred, outcome });
        }
    }

    fn send_stop_signal(&mut self) {
        let Some(pid) = self.pid else { return };
        let (signal, name) = stop_signal(self.spec.workload.lifecycle.stop_signal);
        if process::is_ending(pid) {
            // The runtime finds the container stopped and has nothing to signal; its exit is about to be reported.
            return;
        }
        let handled = process::handles(pid, signal);
        // An ordinary process would die of a signal that process 1 of a container never sees.
        let dropped = !self.spec.isolation.is_namespaced() && handled == Some(false);
        if self.leaving {
            let signal = name.to_owned();
            self.spec.emitter.emit(Event::StopSignal { pod: self.spec.id, signal, handled });
        }
        if self.leaving && !self.spec.reports_lifecycle() {
            let (emitter, pod, address) = (self.spec.emitter.clone(), self.spec.id, self.spec.address);
            self.tasks.push(tokio::spawn(listener::watch(emitter, pod, pid, address)));
        }
        if !dropped {
            self.send(signal);
        }
    }

    pub(super) fn send(&self, signal: Signal) {
        if let (Some(pid), false) = (self.pid, self.ended)
            && let Err(error) = process::signal(pid, signal)
        {
            self.warn("FailedKillPod", &format!("{signal}: {error}"));
        }
    }
}
