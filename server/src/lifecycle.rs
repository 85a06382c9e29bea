//! The pod's life as a pure state machine: no clock, no sockets, no runtime. A shell feeds it what happened and
//! does what it answers.
//!
//! ```text
//! Starting ─► Serving ─SIGTERM─► LameDuck ─► Closing ─► Draining ─► Drained ─► Finished
//! ```
//! `exit` goes from `Serving` straight to `Finished`; `ignore` stays in `Serving`.

use std::time::Duration;

/// Where the process stands in its life; the order is the order of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Not listening yet.
    Starting,
    /// No SIGTERM so far, or it is ignored.
    Serving,
    /// SIGTERM received, still accepting.
    LameDuck,
    /// The accept queue is being emptied and the listener closed.
    Closing,
    /// The listener is closed; what is held is being finished.
    Draining,
    /// Nothing is left, or the drain timed out and what was left is cut; the rest of `shutdownTakes` passes.
    Drained,
    /// The process is to exit.
    Finished,
}

/// What SIGTERM does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OnSigterm {
    /// Finish what is held, then exit.
    Drain,
    /// Exit at once, whatever is in flight.
    Exit,
    /// Go on serving: a handler that does nothing.
    Ignore,
    /// No handler: process 1 of a container never sees the signal, and any other process dies of it.
    Unhandled,
}

/// The settings that the machine decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What SIGTERM does.
    pub on_sigterm: OnSigterm,
    /// How long to go on accepting after SIGTERM.
    pub lame_duck: Duration,
    /// How long draining may take, from the listener's end.
    pub drain_timeout: Duration,
    /// How long a shutdown takes even when idle, from SIGTERM.
    pub shutdown_takes: Duration,
}

/// A timer that the machine asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// `lameDuck`
    LameDuck,
    /// `drainTimeout`
    Drain,
    /// `shutdownTakes`
    Shutdown,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The listener is open.
    Listening,
    /// SIGTERM arrived.
    Sigterm,
    /// A timer that was asked for is over.
    Elapsed(Timer),
    /// The accept queue was emptied and the listener closed.
    ListenerClosed,
    /// No request is in flight and no connection open.
    Idle,
}

/// What the shell is to do, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Write the `main-started` line.
    AnnounceStarted,
    /// Write the `sigterm` line.
    AnnounceSigterm,
    /// Write the `listener-closed` line.
    AnnounceListenerClosed,
    /// Write the `drained` line.
    AnnounceDrained {
        /// Whether the timeout ended it.
        timed_out: bool,
    },
    /// Write the `finished` line; nothing is written after it.
    AnnounceFinished,
    /// Begin `pollWhileDraining`, if it was asked for.
    StartPolling,
    /// Feed [`Input::Elapsed`] after this time.
    Arm(Timer, Duration),
    /// Empty the accept queue, close the listener, feed [`Input::ListenerClosed`].
    CloseListener,
}

/// An input that cannot happen in this phase: a defect of the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{input:?} cannot happen while {phase:?}")]
pub struct InvalidTransition {
    /// Where the machine stood, and stays.
    pub phase: Phase,
    /// What it was fed.
    pub input: Input,
}

/// The machine.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    policy: Policy,
    phase: Phase,
    signalled: bool,
    shutdown_over: bool,
}

// === impl Lifecycle ===

impl Lifecycle {
    /// A process that does not listen yet.
    #[must_use]
    pub const fn new(policy: Policy) -> Self {
        Self {
            policy,
            phase: Phase::Starting,
            signalled: false,
            shutdown_over: policy.shutdown_takes.is_zero(),
        }
    }

    /// Where the process stands.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Takes one input and says what is to be done.
    ///
    /// # Errors
    /// [`InvalidTransition`] if the input cannot happen now; the machine is then unchanged.
    pub fn next(&mut self, input: Input) -> Result<Vec<Action>, InvalidTransition> {
        use Phase::{Closing, Drained, Draining, Finished, LameDuck, Serving, Starting};
        match (self.phase, input) {
            (Starting, Input::Listening) => {
                self.phase = Serving;
                Ok(vec![Action::AnnounceStarted])
            }
            (Starting | Serving, Input::Sigterm) if !self.signalled => Ok(self.terminate()),
            (LameDuck, Input::Elapsed(Timer::LameDuck)) => {
                self.phase = Closing;
                Ok(vec![Action::CloseListener])
            }
            (Closing, Input::ListenerClosed) => {
                self.phase = Draining;
                Ok(vec![Action::AnnounceListenerClosed, Action::Arm(Timer::Drain, self.policy.drain_timeout)])
            }
            (Draining, Input::Idle) => Ok(self.drained(false)),
            (Draining, Input::Elapsed(Timer::Drain)) => Ok(self.drained(true)),
            (LameDuck | Closing | Draining, Input::Elapsed(Timer::Shutdown)) => {
                self.shutdown_over = true;
                Ok(vec![])
            }
            (Drained, Input::Elapsed(Timer::Shutdown)) => {
                self.phase = Finished;
                Ok(vec![Action::AnnounceFinished])
            }
            // A second SIGTERM changes nothing: kubelet sends one, a person at a keyboard may send more.
            // Timers are not taken back when what they guard is over.
            (_, Input::Sigterm) | (Drained | Finished, Input::Elapsed(_)) => Ok(vec![]),
            (phase, input) => Err(InvalidTransition { phase, input }),
        }
    }

    fn terminate(&mut self) -> Vec<Action> {
        self.signalled = true;
        let mut actions = vec![Action::AnnounceSigterm];
        match (self.policy.on_sigterm, self.phase) {
            // Without a handler nobody tells of the signal.
            (OnSigterm::Ignore | OnSigterm::Unhandled, _) => actions.push(Action::StartPolling),
            (OnSigterm::Exit, _) | (OnSigterm::Drain, Phase::Starting) => {
                self.phase = Phase::Finished;
                actions.push(Action::AnnounceFinished);
            }
            (OnSigterm::Drain, _) => {
                actions.push(Action::StartPolling);
                if !self.shutdown_over {
                    actions.push(Action::Arm(Timer::Shutdown, self.policy.shutdown_takes));
                }
                if self.policy.lame_duck.is_zero() {
                    self.phase = Phase::Closing;
                    actions.push(Action::CloseListener);
                } else {
                    self.phase = Phase::LameDuck;
                    actions.push(Action::Arm(Timer::LameDuck, self.policy.lame_duck));
                }
            }
        }
        actions
    }

    fn drained(&mut self, timed_out: bool) -> Vec<Action> {
        let mut actions = vec![Action::AnnounceDrained { timed_out }];
        self.phase = if self.shutdown_over {
            actions.push(Action::AnnounceFinished);
            Phase::Finished
        } else {
            Phase::Drained
        };
        actions
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy(on_sigterm: OnSigterm) -> Policy {
        Policy {
            on_sigterm,
            lame_duck: Duration::ZERO,
            drain_timeout: 20 * SECOND,
            shutdown_takes: Duration::ZERO,
        }
    }

    fn serving(policy: Policy) -> Lifecycle {
        let mut machine = Lifecycle::new(policy);
        assert_eq!(machine.next(Input::Listening), Ok(vec![Action::AnnounceStarted]));
        machine
    }

    #[test]
    fn an_idle_pod_walks_from_sigterm_to_its_end() {
        let mut machine = serving(policy(OnSigterm::Drain));
        assert_eq!(
            machine.next(Input::Sigterm),
            Ok(vec![Action::AnnounceSigterm, Action::StartPolling, Action::CloseListener])
        );
        assert_eq!(
            machine.next(Input::ListenerClosed),
            Ok(vec![Action::AnnounceListenerClosed, Action::Arm(Timer::Drain, 20 * SECOND)])
        );
        assert_eq!(
            machine.next(Input::Idle),
            Ok(vec![Action::AnnounceDrained { timed_out: false }, Action::AnnounceFinished])
        );
        assert_eq!(machine.phase(), Phase::Finished);
    }

    #[test]
    fn a_lame_duck_keeps_its_listener_until_its_time_is_over() {
        let mut machine = serving(Policy { lame_duck: SECOND, ..policy(OnSigterm::Drain) });
        let actions = machine.next(Input::Sigterm).unwrap();
        assert_eq!(actions.last(), Some(&Action::Arm(Timer::LameDuck, SECOND)));
        assert_eq!(machine.phase(), Phase::LameDuck);
        assert_eq!(machine.next(Input::Elapsed(Timer::LameDuck)), Ok(vec![Action::CloseListener]));
    }

    #[test]
    fn a_drained_pod_waits_for_the_rest_of_its_shutdown() {
        let mut machine = serving(Policy { shutdown_takes: SECOND, ..policy(OnSigterm::Drain) });
        machine.next(Input::Sigterm).unwrap();
        machine.next(Input::ListenerClosed).unwrap();
        assert_eq!(machine.next(Input::Idle), Ok(vec![Action::AnnounceDrained { timed_out: false }]));
        assert_eq!(machine.phase(), Phase::Drained);
        assert_eq!(machine.next(Input::Elapsed(Timer::Drain)), Ok(vec![]), "a stale timer");
        assert_eq!(machine.next(Input::Elapsed(Timer::Shutdown)), Ok(vec![Action::AnnounceFinished]));
    }

    #[test]
    fn a_shutdown_that_is_over_first_waits_for_the_drain() {
        let mut machine = serving(Policy { shutdown_takes: SECOND, ..policy(OnSigterm::Drain) });
        machine.next(Input::Sigterm).unwrap();
        machine.next(Input::ListenerClosed).unwrap();
        assert_eq!(machine.next(Input::Elapsed(Timer::Shutdown)), Ok(vec![]));
        assert_eq!(
            machine.next(Input::Elapsed(Timer::Drain)),
            Ok(vec![Action::AnnounceDrained { timed_out: true }, Action::AnnounceFinished])
        );
    }

    #[test]
    fn exit_ends_at_once_and_ignore_never_ends() {
        let mut machine = serving(policy(OnSigterm::Exit));
        assert_eq!(machine.next(Input::Sigterm), Ok(vec![Action::AnnounceSigterm, Action::AnnounceFinished]));
        let mut machine = serving(policy(OnSigterm::Ignore));
        assert_eq!(machine.next(Input::Sigterm), Ok(vec![Action::AnnounceSigterm, Action::StartPolling]));
        assert_eq!(machine.next(Input::Sigterm), Ok(vec![]));
        assert_eq!(machine.phase(), Phase::Serving);
    }

    #[test]
    fn what_cannot_happen_is_an_error_and_changes_nothing() {
        let mut machine = serving(policy(OnSigterm::Drain));
        for input in [
            Input::Listening,
            Input::Idle,
            Input::ListenerClosed,
            Input::Elapsed(Timer::LameDuck),
            Input::Elapsed(Timer::Drain),
            Input::Elapsed(Timer::Shutdown),
        ] {
            assert_eq!(
                machine.next(input),
                Err(InvalidTransition { phase: Phase::Serving, input }),
                "{input:?}"
            );
            assert_eq!(machine.phase(), Phase::Serving);
        }
    }

    fn inputs() -> impl Strategy<Value = Vec<Input>> {
        let input = prop::sample::select(vec![
            Input::Listening,
            Input::Sigterm,
            Input::Elapsed(Timer::LameDuck),
            Input::Elapsed(Timer::Drain),
            Input::Elapsed(Timer::Shutdown),
            Input::ListenerClosed,
            Input::Idle,
        ]);
        prop::collection::vec(input, 0..40)
    }

    fn durations() -> impl Strategy<Value = Duration> {
        prop::sample::select(vec![Duration::ZERO, SECOND])
    }

    proptest! {
        #[test]
        fn no_order_of_inputs_ends_a_draining_pod_early(
            inputs in inputs(), lame_duck in durations(), shutdown_takes in durations()
        ) {
            let mut machine = serving(Policy { lame_duck, shutdown_takes, ..policy(OnSigterm::Drain) });
            let (mut taken, mut done) = (vec![], vec![]);
            for input in inputs {
                let before = machine.phase();
                match machine.next(input) {
                    Ok(actions) => { taken.push(input); done.extend(actions); }
                    Err(error) => prop_assert_eq!(error, InvalidTransition { phase: before, input }),
                }
                prop_assert!(machine.phase() >= before, "life goes one way");
            }
            let count = |action: Action| done.iter().filter(|did| **did == action).count();
            prop_assert!(count(Action::AnnounceSigterm) <= 1);
            prop_assert!(count(Action::AnnounceFinished) <= 1);
            prop_assert_eq!(count(Action::AnnounceFinished) == 1, machine.phase() == Phase::Finished);
            if machine.phase() == Phase::Finished {
                prop_assert!(taken.contains(&Input::Sigterm));
                prop_assert!(taken.contains(&Input::ListenerClosed), "the listener is closed first");
                prop_assert!(taken.contains(&Input::Idle) || taken.contains(&Input::Elapsed(Timer::Drain)));
                prop_assert!(lame_duck.is_zero() || taken.contains(&Input::Elapsed(Timer::LameDuck)));
                prop_assert!(shutdown_takes.is_zero() || taken.contains(&Input::Elapsed(Timer::Shutdown)));
                prop_assert_eq!(done.last(), Some(&Action::AnnounceFinished));
            }
        }
    }
}
