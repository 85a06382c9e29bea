//! From a symptom to what lies behind it and what avoids it: the table of the design's page on measurement.

use super::attribution::{Attribution, is_cut, met_no_endpoint, waited_to_connect};
use super::timeline::PodFacts;
use crate::record::{Class, Flags, Record, Stage};
use crate::report::PodPhase;

/// So long before the exit's stamp, and after the kill, a cut is still the exit's doing.
const EXIT_NEAR_NS: u64 = 20_000_000;
/// The same where the end is known to a second only.
const EXIT_VAGUE_NS: u64 = 1_200_000_000;
/// A request that waited this long was being answered; a cut before that met it unread.
const IN_FLIGHT_NS: u64 = 100_000_000;
/// A pod that became Ready less than this ago is new, …
const YOUNG_NS: u64 = 10_000_000_000;
/// … one that was there before the disruption for so long only: runs begin soon after their pods are Ready.
const YOUNG_AT_FIRST_NS: u64 = 1_000_000_000;

/// What lies behind a failed or late request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Refused: the listener was closed while rules still named the pod.
    ListenerClosedEarly,
    /// Refused by the rules themselves: no endpoint was left.
    NoEndpoint,
    /// No answer, or unreachable: the address was gone while rules still named it.
    AddressGone,
    /// Reset on a fresh connection: it sat in the accept queue of a closing listener.
    AcceptQueueDropped,
    /// The server closed a kept connection while a request was on its way.
    IdleCloseRace,
    /// A kept connection stayed on the pod until its exit.
    PinnedKeepAlive,
    /// The process ended, or dropped connections, with an answer under way.
    DrainTooShort,
    /// SIGKILL: the grace was over.
    GraceUsedUp,
    /// Killed at the end of a grace that the delete made shorter than the spec's.
    GraceCut,
    /// SIGKILL: the stop signal had no effect.
    StopIgnored,
    /// A new pod was named before it could serve.
    ReadyTooEarly,
    /// An error answer from a pod that was stopping.
    ErrorsWhileStopping,
    /// Late on a pod that had just become Ready.
    LateColdPod,
    /// Late, or timed out, on a pod that was there.
    Backlog,
    /// Late by no more than the client itself was with it, and that was more than it may be.
    ClientLate,
    /// The pod ended by itself.
    Crashed,
    /// An error that no edge of a pod explains.
    ServiceError,
    /// What was observed does not tell.
    Unexplained,
}

impl Cause {
    /// Every one.
    pub const ALL: [Self; 18] = [
        Self::ListenerClosedEarly,
        Self::NoEndpoint,
        Self::AddressGone,
        Self::AcceptQueueDropped,
        Self::IdleCloseRace,
        Self::PinnedKeepAlive,
        Self::DrainTooShort,
        Self::GraceUsedUp,
        Self::GraceCut,
        Self::StopIgnored,
        Self::ReadyTooEarly,
        Self::ErrorsWhileStopping,
        Self::LateColdPod,
        Self::Backlog,
        Self::ClientLate,
        Self::Crashed,
        Self::ServiceError,
        Self::Unexplained,
    ];

    /// The name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ListenerClosedEarly => "listener-closed-early",
            Self::NoEndpoint => "no-endpoint",
            Self::AddressGone => "address-gone",
            Self::AcceptQueueDropped => "accept-queue-dropped",
            Self::IdleCloseRace => "idle-close-race",
            Self::PinnedKeepAlive => "pinned-keep-alive",
            Self::DrainTooShort => "drain-too-short",
            Self::GraceUsedUp => "grace-used-up",
            Self::GraceCut => "grace-cut",
            Self::StopIgnored => "stop-ignored",
            Self::ReadyTooEarly => "ready-too-early",
            Self::ErrorsWhileStopping => "errors-while-stopping",
            Self::LateColdPod => "late-cold-pod",
            Self::Backlog => "backlog",
            Self::ClientLate => "client-late",
            Self::Crashed => "crashed",
            Self::ServiceError => "service-error",
            Self::Unexplained => "unexplained",
        }
    }

    /// What happened, completing "because …".
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::ListenerClosedEarly => {
                "the listener was closed while new connections were still routed to the pod"
            }
            Self::NoEndpoint => "no endpoint was left that a connection could be routed to",
            Self::AddressGone => "the pod's address was gone while new connections were still routed to it",
            Self::AcceptQueueDropped => {
                "the connection was dropped from the accept queue when the listener closed"
            }
            Self::IdleCloseRace => {
                "the server closed a kept-alive connection while a request was being written to it"
            }
            Self::PinnedKeepAlive => "the kept-alive connection stayed on the pod until the process ended",
            Self::DrainTooShort => "the server stopped before the answers under way were complete",
            Self::GraceUsedUp => "the grace was used up and the pod was killed",
            Self::GraceCut => {
                "the delete itself gave the pod less grace than its settings, and it was killed"
            }
            Self::StopIgnored => {
                "the process did not react to the stop signal and was killed at the end of its grace"
            }
            Self::ReadyTooEarly => "a new pod received connections before it could serve them",
            Self::ErrorsWhileStopping => "the pod answered with errors while it was stopping",
            Self::LateColdPod => "a pod that had just become Ready answered late",
            Self::Backlog => {
                "the pod was there but did not answer in time: backlog, retransmitted SYN, or overload"
            }
            Self::ClientLate => {
                "the client was late itself with sending it or with seeing the answer; without that it would not be late"
            }
            Self::Crashed => "the pod ended by itself, without being asked to",
            Self::ServiceError => "the service failed the request; no edge of a termination explains it",
            Self::Unexplained => "what was observed does not tell why",
        }
    }

    /// What avoids it.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::ListenerClosedEarly => {
                "wait in preStop for longer than the endpoint change takes to reach every node, or go on accepting after SIGTERM"
            }
            Self::NoEndpoint => {
                "run more than one replica and let a new pod be Ready before an old one is deleted"
            }
            Self::AddressGone => "wait longer in preStop, and go on serving while terminating",
            Self::AcceptQueueDropped => "accept what is queued before closing the listener",
            Self::IdleCloseRace => {
                "announce `Connection: close` on the last answers, then linger until the client closes"
            }
            Self::PinnedKeepAlive => {
                "answer with `Connection: close` (HTTP/2: GOAWAY) while draining; preStop alone does not move kept-alive clients"
            }
            Self::DrainTooShort => "drain for at least as long as the longest request, within the grace",
            Self::GraceUsedUp => {
                "raise terminationGracePeriodSeconds above preStop, drain and a margin together"
            }
            Self::GraceCut => {
                "delete without force and without a grace of its own: terminationGracePeriodSeconds does not count there"
            }
            Self::StopIgnored => {
                "handle SIGTERM in process 1 (no shell wrapper without exec, or an init that forwards signals)"
            }
            Self::ReadyTooEarly => {
                "give the pod a readiness probe that fails until it serves, and minReadySeconds"
            }
            Self::ErrorsWhileStopping => "keep dependencies up until the last request is answered",
            Self::LateColdPod => "warm up before becoming Ready, and set minReadySeconds",
            Self::Backlog => {
                "leave more headroom while pods are replaced: more replicas, or a surge instead of unavailability"
            }
            Self::ClientLate => {
                "give the client a core of its own: fewer arms at once (--parallel 1), less other work, a lower rate, or more agents"
            }
            Self::Crashed => "look into the pod's log: this is no matter of rollouts",
            Self::ServiceError => "look into the service's log: this is no matter of rollouts",
            Self::Unexplained => "record the pod's own lifecycle, or its clock, to tell",
        }
    }

    /// Finds the cause of a failed or late request.
    pub(super) fn of(record: &Record, found: &Attribution<'_>) -> Self {
        if met_no_endpoint(record) || found.nowhere_to_go {
            return Self::NoEndpoint;
        }
        match found.pod {
            Some(pod) => Self::on(pod, found.phase, record, found),
            None => Self::on_any(record, found),
        }
    }

    /// Which pod it met is not known: only what all agree on that it can have been.
    fn on_any(record: &Record, found: &Attribution<'_>) -> Self {
        let each = found.candidates.iter().filter(|_| found.by_any);
        let mut causes = each.map(|(_, pod)| Self::on(pod, pod.phase(found.moment), record, found));
        match causes.next() {
            Some(cause) if causes.all(|other| other == cause) => cause,
            _ if record.class == Class::None => Self::Backlog,
            _ => Self::Unexplained,
        }
    }

    /// What a pod in this phase did to it.
    fn on(pod: &PodFacts, phase: PodPhase, record: &Record, found: &Attribution<'_>) -> Self {
        if pod.is_down_by_itself(found.moment, EXIT_NEAR_NS) {
            return Self::Crashed;
        }
        let stopping = !matches!(phase, PodPhase::Starting | PodPhase::Serving | PodPhase::Unknown);
        let young = if pod.is_newcomer { YOUNG_NS } else { YOUNG_AT_FIRST_NS };
        let new = phase == PodPhase::Starting
            || (phase == PodPhase::Serving
                && pod.ready.is_some_and(|ready| found.moment.saturating_sub(ready) < young));
        match record.class {
            // What was late before it was a pod's is nothing that a warm pod would have changed.
            Class::None if new && !waited_to_connect(record, found.away) => Self::LateColdPod,
            Class::None => Self::Backlog,
            Class::ConnectRefused | Class::Http4xx | Class::Http5xx | Class::StatusUnexpected if new => {
                Self::ReadyTooEarly
            }
            Class::ConnectRefused if phase == PodPhase::IpGone => Self::AddressGone,
            Class::ConnectRefused if stopping => Self::ListenerClosedEarly,
            Class::Http4xx | Class::Http5xx | Class::StatusUnexpected if stopping => {
                Self::ErrorsWhileStopping
            }
            Class::ConnectTimeout | Class::ConnectUnreachable | Class::WaitTimeout | Class::BodyTimeout => {
                Self::of_silence(found, pod, phase)
            }
            _ if is_cut(record) => Self::of_cut(record, found, pod, stopping),
            Class::Dns | Class::Tls => Self::Unexplained,
            _ => Self::ServiceError,
        }
    }

    /// Nothing came back.
    fn of_silence(found: &Attribution<'_>, pod: &PodFacts, phase: PodPhase) -> Self {
        let gone = matches!(phase, PodPhase::IpGone | PodPhase::Exited);
        // The address went away while the client waited.
        let went = pod.timeline.ip_gone_ns.is_some_and(|gone| (found.moment..=found.seen).contains(&gone));
        if gone || went { Self::AddressGone } else { Self::Backlog }
    }

    /// The connection was cut.
    fn of_cut(record: &Record, found: &Attribution<'_>, pod: &PodFacts, stopping: bool) -> Self {
        let timeline = &pod.timeline;
        let fresh = record.nth <= 1 && !record.flags.has(Flags::REUSED);
        // Less the way there and back.
        let waited =
            (u64::from(record.end.saturating_sub(record.write_done)) * 100).saturating_sub(2 * found.away);
        let in_flight = record.stage == Stage::Body
            || record.first_byte != Record::UNSEEN
            || (record.write_done != Record::UNSEEN
                && record.end != Record::UNSEEN
                && waited >= IN_FLIGHT_NS);
        let near = if pod.ends_vaguely() { EXIT_VAGUE_NS } else { EXIT_NEAR_NS };
        let distance = |edge: Option<u64>| edge.map(|edge| edge.abs_diff(found.moment));
        let at_exit = timeline.exited_ns.is_some_and(|exited| exited <= found.moment.saturating_add(near))
            || timeline.killed_ns.is_some_and(|killed| killed <= found.moment);
        let listener_is_nearer = distance(timeline.listener_closed_ns)
            .is_some_and(|near| distance(timeline.exited_ns).is_none_or(|exit| near < exit));
        if fresh && !in_flight && listener_is_nearer {
            return Self::AcceptQueueDropped;
        }
        if at_exit && pod.was_killed() {
            return match pod.grace_was_cut {
                _ if pod.ignored_stop() => Self::StopIgnored,
                true => Self::GraceCut,
                false => Self::GraceUsedUp,
            };
        }
        match (in_flight, at_exit, fresh) {
            (true, _, _) if at_exit || stopping => Self::DrainTooShort,
            (false, true, false) => Self::PinnedKeepAlive,
            (false, _, true) if at_exit || stopping => Self::AcceptQueueDropped,
            (false, false, false) => Self::IdleCloseRace,
            _ => Self::ServiceError,
        }
    }
}
