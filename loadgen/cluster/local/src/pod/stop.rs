//! How a pod is stopped: does what [`crate::termination`] says.

use nix::sys::signal::Signal;
use trial::event::{Event, HookOutcome};
use trial::settings::Handler;

use super::{Pod, listener};
use crate::hook::{self, Context};
use crate::process;
use crate::termination::{Input, Step, Termination};

impl Pod {
    pub(super) fn on_timer(&mut self) -> bool {
        if self.termination.is_some() {
            return self.advance(Input::Timer);
        }
        let Some((_, grace_seconds)) = self.deletion else { return true };
        let pod = self.spec.id;
        let t0 = self.spec.emitter.emit(Event::Killing { pod, inferred: false });
        let hook = self.spec.workload.lifecycle.pre_stop.is_some();
        let (machine, step) = Termination::begin(t0, grace_seconds, hook, self.spec.kubelet);
        self.termination = Some(machine);
        // What ended by itself before has nothing left to stop.
        !self.ended && self.take(step)
    }

    pub(super) fn advance(&mut self, input: Input) -> bool {
        let now = self.now();
        let steps = self.termination.as_mut().map(|machine| machine.next(now, input)).unwrap_or_default();
        steps.into_iter().all(|step| self.take(step))
    }

    fn take(&mut self, step: Step) -> bool {
        let pod = self.spec.id;
        match step {
            Step::RunHook => self.start_pre_stop(),
            Step::AbandonHook => {
                // Left running: dropping the handle detaches the task, and the hook ends with the container.
                self.pre_stop = None;
                let inferred = self.pre_stop_is_sleep();
                self.spec.emitter.emit(Event::PreStopEnded { pod, inferred, outcome: HookOutcome::Overran });
            }
            Step::Signal => self.send_stop_signal(),
            Step::Kill => {
                self.spec.emitter.emit(Event::KillSignal { pod });
                self.send(Signal::SIGKILL);
            }
            Step::Over => return false,
        }
        true
    }

    fn start_pre_stop(&mut self) {
        let (Some(handler), Some(pid)) = (self.spec.workload.lifecycle.pre_stop.clone(), self.pid) else {
            return;
        };
        let inferred = self.pre_stop_is_sleep();
        self.spec.emitter.emit(Event::PreStopStarted { pod: self.spec.id, inferred });
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
        self.spec.emitter.emit(Event::PreStopEnded { pod: self.spec.id, inferred, outcome });
    }

    fn send_stop_signal(&mut self) {
        let Some(pid) = self.pid else { return };
        if process::is_ending(pid) {
            // The runtime finds the container stopped and has nothing to signal; its exit is about to be reported.
            return;
        }
        let handled = process::handles(pid, Signal::SIGTERM);
        // An ordinary process would die of a signal that process 1 of a container never sees.
        let dropped = !self.spec.isolation.is_namespaced() && handled == Some(false);
        self.spec.emitter.emit(Event::StopSignal {
            pod: self.spec.id,
            signal: "SIGTERM".to_owned(),
            handled,
        });
        if !self.spec.reports_lifecycle() {
            let (emitter, pod, address) = (self.spec.emitter.clone(), self.spec.id, self.spec.address);
            self.tasks.push(tokio::spawn(listener::watch(emitter, pod, pid, address)));
        }
        if !dropped {
            self.send(Signal::SIGTERM);
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
