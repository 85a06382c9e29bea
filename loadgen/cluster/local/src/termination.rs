//! How kubelet stops a pod: a pure machine. The shell feeds it what happened and does what it says.
//!
//! The grace starts when the stop starts (T0), not at the signal; a hook that overruns it is left running; what the
//! hook used is subtracted in whole seconds; two seconds are always left (kubelet `killContainer`, ≤ 1.21 and
//! ≥ 1.28). Kubelets 1.22 to 1.27 gave the whole grace again after the hook (kubernetes #115817, fixed by #115835).

use std::time::Duration;

use trial::settings::KubeletVersion;
use trial::time::Stamp;

/// What a container always gets between signal and kill (kubelet `minimumGracePeriodInSeconds`).
const MINIMUM: Duration = Duration::from_secs(2);

/// A termination under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Termination {
    kubelet: KubeletVersion,
    grace: Duration,
    began: Stamp,
    state: State,
    exited: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Hook { until: Stamp },
    Stopping { kill_at: Stamp },
    Killed,
    Over,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The preStop hook ended, in whatever way.
    HookEnded,
    /// The main process ended.
    Exited,
    /// The time that [`Termination::wake_at`] named has come.
    Timer,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Start the preStop hook.
    RunHook,
    /// The hook used its whole grace: leave it running.
    AbandonHook,
    /// Send the stop signal to process 1.
    Signal,
    /// Send SIGKILL to process 1.
    Kill,
    /// The container is stopped, and nothing waits for it any more.
    Over,
}

impl Termination {
    /// The stop begins. `grace_seconds` is what the API server accepted; kubelet never takes less than one second.
    #[must_use]
    pub fn begin(now: Stamp, grace_seconds: u64, hook: bool, kubelet: KubeletVersion) -> (Self, Step) {
        let grace = Duration::from_secs(grace_seconds.max(1));
        let mut this =
            Self { kubelet, grace, began: now, state: State::Hook { until: now + grace }, exited: false };
        if hook {
            return (this, Step::RunHook);
        }
        this.state = State::Stopping { kill_at: now + this.grace_after(Duration::ZERO) };
        (this, Step::Signal)
    }

    /// When the shell must call with [`Input::Timer`].
    #[must_use]
    pub const fn wake_at(&self) -> Option<Stamp> {
        match self.state {
            State::Hook { until } => Some(until),
            State::Stopping { kill_at } => Some(kill_at),
            State::Killed | State::Over => None,
        }
    }

    /// Takes what happened, says what to do.
    pub fn next(&mut self, now: Stamp, input: Input) -> Vec<Step> {
        match (self.state, input) {
            (State::Hook { .. }, Input::HookEnded) => self.after_hook(now),
            (State::Hook { until }, Input::Timer) if now >= until => {
                let mut steps = vec![Step::AbandonHook];
                steps.extend(self.after_hook(now));
                steps
            }
            // A `sleep` hook runs in the kubelet and goes on although the container ended; an exec hook dies with
            // the container and reports its own end.
            (State::Hook { .. }, Input::Exited) => {
                self.exited = true;
                Vec::new()
            }
            (State::Stopping { .. } | State::Killed, Input::Exited) => {
                self.exited = true;
                self.state = State::Over;
                vec![Step::Over]
            }
            (State::Stopping { kill_at }, Input::Timer) if now >= kill_at => {
                self.state = State::Killed;
                vec![Step::Kill]
            }
            _ => Vec::new(),
        }
    }

    fn after_hook(&mut self, now: Stamp) -> Vec<Step> {
        if self.exited {
            self.state = State::Over;
            return vec![Step::Over];
        }
        let used = now.saturating_since(self.began).min(self.grace);
        self.state = State::Stopping { kill_at: now + self.grace_after(used) };
        vec![Step::Signal]
    }

    fn grace_after(&self, hook: Duration) -> Duration {
        if (22..=27).contains(&self.kubelet.minor) {
            return self.grace;
        }
        self.grace.saturating_sub(Duration::from_secs(hook.as_secs())).max(MINIMUM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prop_assert, proptest};

    const T0: Stamp = Stamp::from_nanos(1_000_000_000);

    fn at(seconds: f64) -> Stamp {
        T0 + Duration::from_secs_f64(seconds)
    }

    /// Seconds from T0 to the signal and to the kill of a process that ignores the signal.
    fn run(grace: u64, hook: Option<f64>, minor: u16) -> (f64, f64) {
        let (mut machine, first) = Termination::begin(T0, grace, hook.is_some(), KubeletVersion { minor });
        let mut signal = (first == Step::Signal).then_some(T0);
        let mut hook_end = hook.map(at);
        for _ in 0..5 {
            let wake = machine.wake_at().expect("an unkilled process has a next moment");
            let (now, input) = match hook_end.take_if(|end| *end <= wake) {
                Some(end) => (end, Input::HookEnded),
                None => (wake, Input::Timer),
            };
            for step in machine.next(now, input) {
                match step {
                    Step::Signal => signal = Some(now),
                    Step::Kill => {
                        let since = |stamp: Stamp| stamp.saturating_since(T0).as_secs_f64();
                        return (since(signal.unwrap()), since(now));
                    }
                    _ => {}
                }
            }
        }
        panic!("never killed");
    }

    #[test]
    fn signal_and_kill_come_when_kubelet_sends_them() {
        // grace, hook, kubelet minor → signal, kill: parity checks 2–7, 9–11.
        for (grace, hook, minor, signal, kill) in [
            (10, None, 34, 0.0, 10.0),
            (10, Some(3.0), 34, 3.0, 10.0),
            (10, Some(4.6), 34, 4.6, 10.6),
            (10, Some(8.5), 34, 8.5, 10.5),
            (10, Some(9.2), 34, 9.2, 11.2),
            (10, Some(15.0), 34, 10.0, 12.0),
            (10, Some(15.0), 24, 10.0, 20.0),
            (10, Some(15.0), 20, 10.0, 12.0),
            (5, Some(8.0), 34, 5.0, 7.0),
            (1, Some(5.0), 34, 1.0, 3.0),
            (1, None, 34, 0.0, 2.0),
            (0, None, 34, 0.0, 2.0),
        ] {
            let (got_signal, got_kill) = run(grace, hook, minor);
            assert!(
                (got_signal - signal).abs() < 1e-6,
                "grace {grace} hook {hook:?} 1.{minor}: signal {got_signal}"
            );
            assert!((got_kill - kill).abs() < 1e-6, "grace {grace} hook {hook:?} 1.{minor}: kill {got_kill}");
        }
    }

    #[test]
    fn a_container_that_ends_during_a_sleep_hook_is_over_when_the_hook_is() {
        let (mut machine, _) = Termination::begin(T0, 30, true, KubeletVersion { minor: 34 });
        assert_eq!(machine.next(at(1.0), Input::Exited), []);
        assert_eq!(machine.next(at(5.0), Input::HookEnded), [Step::Over]);
    }

    #[test]
    fn an_abandoned_hook_that_ends_later_changes_nothing() {
        let (mut machine, _) = Termination::begin(T0, 5, true, KubeletVersion { minor: 34 });
        assert_eq!(machine.next(at(5.0), Input::Timer), [Step::AbandonHook, Step::Signal]);
        assert_eq!(machine.next(at(6.0), Input::HookEnded), []);
        assert_eq!(machine.next(at(7.0), Input::Timer), [Step::Kill]);
        assert_eq!(machine.next(at(7.01), Input::Exited), [Step::Over]);
    }

    proptest! {
        #[test]
        fn a_process_always_gets_two_seconds_and_never_more_than_its_grace_and_two(
            grace in 0_u64..120, hook in proptest::option::of(0.0_f64..200.0),
        ) {
            let (signal, kill) = run(grace, hook, 34);
            prop_assert!(kill - signal >= 2.0 - 1e-6);
            let grace = Duration::from_secs(grace.max(1)).as_secs_f64();
            prop_assert!(kill <= grace + 2.0 + 1e-6);
        }
    }
}
