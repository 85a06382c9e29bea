//! The statements, as data. What each rests on is said in the design's page on terminations, under the same numbers.

// size: one table, whose rows are read side by side.

use contract::lifecycle::Probe;
use trial::settings::LaneKind;

use crate::clients;
use crate::expect::Expect::{
    self, Answered, Exit, GraceStays, GraceTold, Never, Phase, Probes, Shows, Slice, StaysReady, Told, Untold,
};
use crate::facts::Edge::{
    Exited, Gone, MainStarted, PostStartStarted, PreStopLast, PreStopStarted, Requested, Sigterm, T0,
    Terminal,
};
use crate::pods;

/// Where a statement can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    /// On both backends.
    Both,
    /// The local backend alone: no kubelet of that version is at hand.
    Local,
    /// The cluster alone: the local backend does not model it.
    Kube,
}

/// One numbered statement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Check {
    /// Its number.
    pub(crate) number: u16,
    /// What it says.
    pub(crate) says: &'static str,
    /// The run that shows it.
    pub(crate) experiment: &'static str,
    /// Where.
    pub(crate) on: On,
    /// What is to be seen.
    pub(crate) expect: &'static [Expect],
}

const fn check(
    number: u16,
    says: &'static str,
    experiment: &'static str,
    expect: &'static [Expect],
) -> Check {
    Check { number, says, experiment, on: On::Both, expect }
}

const fn several(
    number: u16,
    says: &'static str,
    experiment: &'static str,
    expect: &'static [Expect],
) -> Check {
    Check { on: On::Kube, ..check(number, says, experiment, expect) }
}

/// Edges within a pod: two processes of a machine, and on a cluster two clocks of one node.
const fn about(of: crate::facts::Edge, after: crate::facts::Edge, seconds: f64) -> Expect {
    Expect::Edge { of, after, from: seconds - 0.15, to: seconds + 0.15, more_on_kube: 0.0 }
}

/// TERM after a hook of so long: between the two comes the hook's end, which on a cluster the runtime tells the kubelet, and that
/// takes a tenth of a second on an idle node and several on a busy one.
const fn after_hook(seconds: f64) -> Expect {
    let (from, to) = (seconds - 0.15, seconds + 0.15);
    Expect::Edge { of: Sigterm, after: PreStopStarted, from, to, more_on_kube: 0.45 }
}

/// Where a cluster is late with a hook, it has taken more whole seconds.
const LESS_WHOLE_SECONDS: Expect = Shows(
    "killed after 10 s less the hook's whole seconds, from T0 to TERM",
    pods::whole_seconds_are_subtracted,
);

/// Edges between a pod and the rest of the cluster.
const fn between(of: crate::facts::Edge, after: crate::facts::Edge, from: f64, to: f64) -> Expect {
    Expect::Edge { of, after, from, to, more_on_kube: 0.0 }
}

/// A watch, a status and the kubelet's final delete lie between the end of a container and the end of its object.
const TIDY_UP: f64 = 4.0;

/// All of them.
pub(crate) const CHECKS: &[Check] = &[
    check(
        1,
        "grace 10, no hook, exits 1 s after TERM: gone soon after, not at 10",
        "exits",
        &[about(Exited, Sigterm, 1.0), between(Gone, Sigterm, 1.0, 1.0 + TIDY_UP)],
    ),
    check(
        2,
        "grace 10, ignores TERM: killed 10 s after it, exit 137",
        "ignores",
        &[about(Sigterm, T0, 0.0), about(Exited, Sigterm, 10.0), Exit(137)],
    ),
    check(
        3,
        "grace 10, preStop 3, ignores TERM: TERM at 3, killed 7 s later",
        "hook-3",
        &[after_hook(3.0), LESS_WHOLE_SECONDS],
    ),
    check(
        4,
        "grace 10, preStop 4.6: whole seconds are subtracted: killed 6 s after TERM, not 5.4",
        "hook-4.6",
        &[after_hook(4.6), LESS_WHOLE_SECONDS],
    ),
    check(
        4,
        "grace 10, preStop 8.5: TERM at 8.5, killed 2 s later",
        "hook-8.5",
        &[after_hook(8.5), about(Exited, Sigterm, 2.0)],
    ),
    check(
        5,
        "grace 10, preStop 9.2: two seconds are left at least: killed 2 s later",
        "hook-9.2",
        &[after_hook(9.2), about(Exited, Sigterm, 2.0)],
    ),
    check(
        6,
        "grace 10, preStop 15: TERM at 10 beside the hook, killed at 12",
        "hook-15",
        &[about(Sigterm, T0, 10.0), about(Exited, Sigterm, 2.0)],
    ),
    Check {
        on: On::Local,
        ..check(
            7,
            "the same with kubelet 1.24: killed at 20",
            "hook-15-1.24",
            &[about(Sigterm, T0, 10.0), about(Exited, Sigterm, 10.0)],
        )
    },
    check(
        8,
        "as 6, exits 1 s after TERM: the hook dies with it at 11",
        "hook-15-exits",
        &[about(Exited, Sigterm, 1.0), between(PreStopLast, Exited, -0.15, 0.1)],
    ),
    check(
        9,
        "grace 5, preStop 8, ignores TERM: TERM at 5, both dead at 7",
        "grace-5-hook-8",
        &[about(Sigterm, T0, 5.0), about(Exited, Sigterm, 2.0), between(PreStopLast, Exited, -0.15, 0.1)],
    ),
    check(
        10,
        "grace 1, preStop 5: TERM at 1, killed at 3",
        "grace-1-hook-5",
        &[about(Sigterm, T0, 1.0), about(Exited, Sigterm, 2.0)],
    ),
    check(11, "grace 1, no hook: killed at 2", "grace-1", &[about(Exited, T0, 2.0)]),
    check(
        12,
        "grace 30, deleted with 5: 5 counts",
        "delete-shorter",
        &[GraceTold(5), about(Exited, T0, 5.0)],
    ),
    check(
        13,
        "grace 5, deleted with 13: 13 counts",
        "delete-longer",
        &[GraceTold(13), about(Exited, T0, 13.0)],
    ),
    check(
        14,
        "a second, longer delete changes nothing",
        "again-longer",
        &[GraceStays(true), about(Exited, T0, 6.0)],
    ),
    check(
        15,
        "a second, shorter delete during preStop changes the object, not TERM",
        "again-shorter",
        &[GraceStays(false), after_hook(5.0)],
    ),
    check(
        15,
        "the same while the stop still waits for postStart: the shorter grace counts",
        "post-start-again",
        &[GraceStays(false), between(Requested, PostStartStarted, 0.5, 8.5), about(Exited, Sigterm, 3.0)],
    ),
    check(
        16,
        "forced: the object goes at once, the hook gets 1 s, the process is killed 2 s later",
        "force",
        &[
            between(Gone, Requested, 0.0, 0.5),
            between(PreStopStarted, Requested, 0.0, 1.2),
            between(Sigterm, Requested, 0.85, 1.8),
            about(Exited, Sigterm, 2.0),
        ],
    ),
    check(
        17,
        "a hook that fails at 0.2: FailedPreStopHook, TERM at 0.2",
        "hook-fails",
        &[Told("FailedPreStopHook"), after_hook(0.2)],
    ),
    check(
        18,
        "an httpGet hook answered with 500 has succeeded",
        "hook-http-500",
        &[Untold("FailedPreStopHook"), after_hook(0.3)],
    ),
    check(
        19,
        "an httpGet hook that hangs: TERM when the grace is over",
        "hook-http-hangs",
        &[about(Sigterm, T0, 4.0)],
    ),
    check(
        20,
        "a tcpSocket hook fails at once",
        "hook-tcp",
        &[Told("FailedPreStopHook"), about(Sigterm, T0, 0.0)],
    ),
    check(
        21,
        "a sleep hook goes on though the process died: terminal only when it is over",
        "dies-in-sleep",
        &[between(Exited, T0, 0.5, 14.0), between(Terminal, T0, 15.0, 15.0 + TIDY_UP)],
    ),
    check(
        22,
        "an exec hook dies with the process: FailedPreStopHook, over at once",
        "dies-in-exec",
        &[
            between(Exited, T0, 0.5, 14.0),
            between(PreStopLast, Exited, -0.15, 0.1),
            Told("FailedPreStopHook"),
            Never(Sigterm),
            between(Terminal, Exited, 0.0, TIDY_UP),
        ],
    ),
    check(23, "a sleep hook above the grace is refused when the pod is created", "", &[Expect::Refused]),
    check(
        24,
        "a child that holds the hook's output keeps the hook running",
        "hook-leaves-child",
        &[after_hook(3.0)],
    ),
    check(
        25,
        "process 1 without a handler: killed at the grace, TERM unseen",
        "unhandled",
        &[Never(Sigterm), about(Exited, T0, 6.0), Exit(137)],
    ),
    check(
        25,
        "the same beneath a wrapper that does not exec",
        "wrapped",
        &[Never(Sigterm), about(Exited, T0, 6.0), Exit(137)],
    ),
    check(
        26,
        "STOPSIGNAL SIGQUIT: that is delivered instead",
        // The server handles no other, so that what it tells of and how it ends show which one came.
        "sigquit",
        &[about(Sigterm, T0, 0.0), about(Exited, T0, 1.0), Exit(0)],
    ),
    several(
        27,
        "two containers, preStop of 2 and of 6: TERM at 2 and at 6",
        "two-containers",
        &[
            Expect::Shows("TERM of the one 2.0 s after its preStop's start", pods::first_of_two),
            Expect::Shows("TERM of the other 6.0 s after its preStop's start", pods::second_of_two),
        ],
    ),
    several(
        28,
        "a sidecar: preStop at T0, TERM once the main container ended",
        "sidecar",
        &[
            Expect::Shows("preStop's start 0 to 0.8 s after T0", pods::sidecar_hook),
            Expect::Shows("TERM after the main container's last word", pods::sidecar_after_main),
        ],
    ),
    several(
        29,
        "a sidecar, the main container overruns the grace of 5",
        "sidecar-overrun",
        &[
            Expect::Shows("the main container's last word 5.0 s after T0", pods::main_overruns),
            Expect::Shows("the sidecar's 7.0 s after T0", pods::sidecar_overruns),
        ],
    ),
    check(
        30,
        "postStart of 10 s, listening at once: Ready only after it",
        "post-start-10",
        &[
            between(MainStarted, PostStartStarted, -2.0, 2.0),
            Shows("Ready 10 to 12.5 s after postStart's start", pods::ready_after_post_start),
        ],
    ),
    check(
        31,
        "deleted within postStart: the stop waits for it, then the whole grace",
        "post-start-10",
        &[
            between(Requested, PostStartStarted, 0.5, 9.0),
            between(T0, PostStartStarted, 9.85, 11.2),
            about(Exited, Sigterm, 3.0),
            Shows("its entry says terminating, and is never ready", pods::terminating_before_ready),
        ],
    ),
    check(
        32,
        "postStart fails: preStop runs, the container is restarted",
        "post-start-fails",
        &[
            Told("FailedPostStartHook"),
            Shows("preStop ran, then the container began again", pods::restarted_after_pre_stop),
        ],
    ),
    check(
        33,
        "readiness is probed during preStop, liveness is not",
        "probes",
        &[
            Probes { which: Probe::Readiness, during_stop: true, from: 3, to: 7 },
            Probes { which: Probe::Liveness, during_stop: true, from: 0, to: 0 },
            Probes { which: Probe::Liveness, during_stop: false, from: 1, to: 1_000 },
        ],
    ),
    check(
        34,
        "on delete: not ready, serving, terminating; Ready stays True",
        "hook-3",
        &[Slice { ready: false, serving: true }, StaysReady],
    ),
    check(
        35,
        "publishNotReadyAddresses: ready stays true",
        "published",
        &[Slice { ready: true, serving: true }],
    ),
    check(
        36,
        "the only endpoint, terminating and serving: new connections succeed",
        "sole",
        &[
            Answered { lane: LaneKind::New },
            Shows("the terminating pod answers while it is the only one", clients::served_by_the_terminating),
        ],
    ),
    check(
        36,
        "the same with readiness failing: refused",
        "sole-not-ready",
        &[Shows(
            "none once it no longer serves: refused, or unanswered until another does",
            clients::refused_while_none_serves,
        )],
    ),
    check(
        37,
        "another endpoint is ready: no new connection to the terminating pod",
        "another-ready",
        &[
            Answered { lane: LaneKind::New },
            Shows("none from 2.5 s after the delete on", clients::no_new_connections),
        ],
    ),
    check(
        38,
        "a kept-alive connection goes on being served",
        "another-ready",
        &[
            Answered { lane: LaneKind::Reused },
            Shows(
                "from 2.5 s after the delete on, on each connection that the pod had",
                clients::kept_alive_served,
            ),
        ],
    ),
    check(
        39,
        "listener closed first: refused on about 1/n of new connections",
        "listener-first",
        &[Shows("a share as of two to four endpoints, one of them dead", clients::refused_share)],
    ),
    check(
        40,
        "exit 0: Succeeded, seen before the object goes",
        "exits",
        &[Phase { succeeded: true }, between(Gone, Terminal, 0.0, TIDY_UP)],
    ),
    check(
        40,
        "exit 143: Failed",
        "exits-143",
        &[Exit(143), Phase { succeeded: false }, between(Gone, Terminal, 0.0, TIDY_UP)],
    ),
    check(
        40,
        "exit 137: Failed",
        "ignores",
        &[Phase { succeeded: false }, between(Gone, Terminal, 0.0, TIDY_UP)],
    ),
    check(
        41,
        "process dead, address alive: refused at once",
        "dies-in-sleep",
        &[Shows("refused, half of them in less than 50 ms; no other failure", clients::refused_at_once)],
    ),
    check(
        42,
        "address gone: unreachable after about 3 s, or no answer",
        "exits-at-once",
        &[Shows("connect-unreachable after up to 2.0 to 4.5 s, or connect-timeout", clients::address_gone)],
    ),
    check(
        43,
        "a listener closed with connections in its queue: reset",
        "queue-dropped",
        &[Shows("wait-reset at the close", clients::queue_is_reset)],
    ),
    check(
        43,
        "… unless the server takes them up first",
        "queue-served",
        &[Shows("answered after the close, none reset", clients::queue_is_served)],
    ),
    check(
        44,
        "kept-alive connections of a process that ends: the idle ones closed, no failure; a request under way cut",
        "kept-alive-end",
        &[Shows(
            "closed while idle; wait-closed or wait-reset as a process ends",
            clients::idle_closes_are_no_failures,
        )],
    ),
    check(
        45,
        "a request unread in the socket when the process dies: reset",
        "killed-with-queue",
        &[Shows("wait-reset at the end", clients::unread_is_reset)],
    ),
    check(
        46,
        "killed in the middle of a body: body-reset or body-closed",
        "killed-in-body",
        &[Shows("body-reset or body-closed at the end", clients::cut_in_the_body)],
    ),
    check(
        47,
        "no endpoint at all: refused",
        "none-left",
        &[Shows("none in the last 2 s: refused, or unanswered", clients::refused_without_endpoints)],
    ),
    check(
        48,
        "a drain that closes idle connections at once: every kept-alive client is exposed",
        "no-linger",
        &[Shows("nine in ten of its connections closed, in use or idle", clients::all_are_closed)],
    ),
    check(
        48,
        "… and one that lingers: none is",
        "linger",
        &[Shows("none closed while idle", clients::no_idle_closes), Answered { lane: LaneKind::Reused }],
    ),
];

/// Edges that only tests name.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::EXPERIMENTS;
    use crate::run::Backend;

    #[test]
    fn every_check_has_its_experiment_and_every_experiment_a_check() {
        for check in CHECKS.iter().filter(|check| !check.experiment.is_empty()) {
            assert!(EXPERIMENTS.iter().any(|run| run.name == check.experiment), "{}", check.number);
        }
        for run in EXPERIMENTS {
            assert!(CHECKS.iter().any(|check| check.experiment == run.name), "{}", run.name);
        }
    }

    #[test]
    fn no_number_is_left_out() {
        let missing: Vec<u16> =
            (1..=48).filter(|number| !CHECKS.iter().any(|check| check.number == *number)).collect();
        assert_eq!(missing, Vec::<u16>::new());
    }

    #[test]
    fn nothing_holds_of_a_recording_that_shows_nothing() {
        let empty = crate::facts::Facts::default();
        for check in CHECKS {
            for expect in check.expect {
                for backend in [Backend::Local, Backend::Kube] {
                    assert_ne!(
                        expect.look(&empty, backend).holds,
                        Some(true),
                        "{}: {}",
                        check.number,
                        expect.text()
                    );
                }
            }
        }
    }
}
