//! Whose failure it was: the pod, what it was doing, how it was routed, and the edge nearest to it.

use std::collections::BTreeMap;

use super::timeline::PodFacts;
use crate::id::PodId;
use crate::record::{Class, Flags, Record, tls};
use crate::report::PodPhase;
use crate::routing::Routing;

/// Sockets close before the parent is told of the exit: a cut this long before the stamp is the exit's doing.
pub(super) const EXIT_SLACK_NS: u64 = 5_000_000;

/// What is known of one failed or late request.
#[derive(Debug)]
pub(super) struct Attribution<'a> {
    pub(super) pod: Option<&'a PodFacts>,
    /// Its number.
    pub(super) id: Option<PodId>,
    /// Where the pod is not known: those whose state fits.
    pub(super) candidates: Vec<(PodId, &'a PodFacts)>,
    /// Whichever of the candidates it was, its state explains the failure.
    pub(super) by_any: bool,
    /// Refused, not answered, or answered late, when no slice named a pod that takes connections: by the rules themselves,
    /// or by a pod that they still named.
    pub(super) nowhere_to_go: bool,
    pub(super) phase: PodPhase,
    pub(super) routing: Routing,
    /// When it was seen: when the answer was complete, or the failure reported.
    pub(super) seen: u64,
    /// The moment that the phase is taken at, as the pod's host saw it: for cuts and refusals when they were seen, less the way
    /// to the client; for what is reported only after waiting (timeouts, late answers) when the request had got there.
    pub(super) moment: u64,
    /// How long the way is: half of `load.rtt`, in nanoseconds.
    pub(super) away: u64,
    /// The edge nearest to that moment, and how long after it the moment was.
    pub(super) nearest: Option<(&'static str, i64)>,
}

/// The stamp behind an offset, in nanoseconds.
pub(super) fn stamp(record: &Record, offset: u32) -> Option<u64> {
    (offset != Record::UNSEEN).then(|| record.intended.as_nanos().saturating_add(u64::from(offset) * 100))
}

/// When a request began; the intended time if that was not seen.
pub(super) fn started(record: &Record) -> u64 {
    stamp(record, record.start).unwrap_or(record.intended.as_nanos())
}

/// When its outcome was seen.
pub(super) fn seen(record: &Record) -> u64 {
    stamp(record, record.end).unwrap_or_else(|| started(record))
}

/// The moment that a failure belongs to, as its client saw it: when it began for what shows only after waiting.
pub(super) fn felt(record: &Record) -> u64 {
    if shows_late(record.class) { started(record) } else { seen(record) }
}

/// True for what cuts a connection or refuses one, as opposed to answers and timeouts.
pub(super) const fn is_cut(record: &Record) -> bool {
    // The handshake of TLS follows that of TCP at once, and is cut by what cuts a first request.
    let in_tls = matches!(record.class, Class::Tls)
        && matches!(record.os_code, tls::CLOSED | tls::BROKEN_PIPE | tls::RESET);
    in_tls
        || matches!(
            record.class,
            Class::WriteBrokenPipe
                | Class::WriteReset
                | Class::WaitReset
                | Class::WaitClosed
                | Class::BodyReset
                | Class::BodyClosed
                | Class::H2Goaway
                | Class::H2StreamReset
        )
}

/// True for what shows only after waiting: late answers, timeouts, and the three seconds of an unanswered ARP.
const fn shows_late(class: Class) -> bool {
    matches!(
        class,
        Class::None
            | Class::Dns
            | Class::ConnectTimeout
            | Class::ConnectUnreachable
            | Class::WaitTimeout
            | Class::BodyTimeout
    )
}

/// Attributes a failed or late request. `node` is the name of the node that the load came from, and `away` how long what either
/// side sends is under way.
pub(super) fn attribute<'a>(
    pods: &'a BTreeMap<PodId, PodFacts>,
    node: Option<&str>,
    record: &Record,
    away: u64,
) -> Attribution<'a> {
    let (seen, began) = (seen(record), started(record).saturating_add(away));
    let moment = if shows_late(record.class) { began } else { seen.saturating_sub(away) };
    let rejected = met_no_endpoint(record);
    let known = record.pod.known().filter(|id| !rejected && pods.contains_key(id));
    let candidates = if known.is_some() { vec![] } else { candidates(pods, record, moment) };
    let at_fault = |of: fn(&Record, PodPhase) -> bool| {
        !candidates.is_empty() && candidates.iter().all(|(_, pod)| of(record, pod.phase(moment)))
    };
    let late_to_connect = record.class == Class::None && waited_to_connect(record, away);
    let nowhere_to_go = (late_to_connect || (known.is_none() && is_rejection(record.class)))
        && no_slice_names_any(pods, moment);
    let by_a_pod = !rejected && !nowhere_to_go;
    // Where only one pod can have done it, it did.
    let only = match candidates[..] {
        [(only, _)] if by_a_pod && at_fault(shows_its_pod) => Some(only),
        _ => None,
    };
    let by_any = by_a_pod && (at_fault(shows_its_pod) || at_fault(fits_its_pod));
    let id = known.or(only);
    let pod = id.and_then(|id| pods.get(&id));
    let Some(facts) = pod else {
        let routing = if rejected { Routing::Removed } else { Routing::Unknown };
        let phase = common_phase(candidates.iter().map(|(_, pod)| *pod), moment);
        return Attribution {
            pod,
            id,
            candidates,
            by_any,
            nowhere_to_go,
            phase,
            routing,
            seen,
            moment,
            away,
            nearest: None,
        };
    };
    let exit_is_behind = is_cut(record)
        && facts
            .timeline
            .exited_ns
            .is_some_and(|exited| (moment..=moment.saturating_add(EXIT_SLACK_NS)).contains(&exited));
    let nearest = edges(facts, node)
        .filter(|(name, _)| !exit_is_behind || *name == "exited")
        .min_by_key(|(_, at)| at.abs_diff(moment))
        .map(|(name, at)| (name, moment.wrapping_sub(at).cast_signed()));
    let routing = routing(facts, node, record, began);
    let (candidates, phase) = (vec![], facts.phase(moment));
    Attribution {
        pod,
        id,
        candidates,
        by_any: false,
        nowhere_to_go,
        phase,
        routing,
        seen,
        moment,
        away,
        nearest,
    }
}

/// Pods that may have failed a request of which nobody knows where it went: those that were terminating; of these,
/// where a connection was not even made, those that no longer took any.
fn candidates<'a>(
    pods: &'a BTreeMap<PodId, PodFacts>,
    record: &Record,
    moment: u64,
) -> Vec<(PodId, &'a PodFacts)> {
    let terminating =
        || pods.iter().filter(|(_, pod)| pod.is_terminating(moment)).map(|(id, pod)| (*id, pod));
    let took_none: Vec<_> = terminating()
        .filter(|(_, pod)| is_no_connection(record.class) && takes_no_connection(pod.phase(moment)))
        .collect();
    if took_none.is_empty() { terminating().collect() } else { took_none }
}

/// True if the rules named no endpoint when the connection was tried, and what became of the request is no pod's doing:
/// one that found its way later may still fail there.
pub(super) const fn met_no_endpoint(record: &Record) -> bool {
    record.flags.has(Flags::REJECTED)
        && matches!(record.class, Class::None | Class::ConnectRefused | Class::ConnectTimeout)
}

/// True if the request's own connection took as long as a SYN that is sent again, or longer, besides the way there and back.
pub(super) fn waited_to_connect(record: &Record, away: u64) -> bool {
    /// A second, in nanoseconds, less what two clocks may differ by.
    const RETRANSMITTED: u64 = 900_000_000;
    let own = record.nth <= 1 && !record.flags.has(Flags::REUSED);
    let took = u64::from(record.write_done.saturating_sub(record.start)) * 100;
    own && took >= RETRANSMITTED.saturating_add(2 * away)
}

/// What a client sees of rules that reject: the kernel says so to few of those who ask at the same time
/// (`icmp_ratelimit`), and nothing to the others.
const fn is_rejection(class: Class) -> bool {
    matches!(class, Class::ConnectRefused | Class::ConnectTimeout)
}

/// True if slices were seen, and none named a pod that takes connections.
fn no_slice_names_any(pods: &BTreeMap<PodId, PodFacts>, moment: u64) -> bool {
    let mut seen = pods.values().filter_map(|pod| pod.is_usable(moment)).peekable();
    seen.peek().is_some() && seen.all(|usable| !usable)
}

const fn is_no_connection(class: Class) -> bool {
    matches!(class, Class::ConnectRefused | Class::ConnectTimeout | Class::ConnectUnreachable)
}

const fn takes_no_connection(phase: PodPhase) -> bool {
    matches!(phase, PodPhase::ListenerClosed | PodPhase::Exited | PodPhase::IpGone)
}

/// True for a failure that says by itself that a pod in this phase was behind it.
const fn shows_its_pod(record: &Record, phase: PodPhase) -> bool {
    (is_no_connection(record.class) || is_cut(record)) && takes_no_connection(phase)
}

/// True for a failure that a pod in this phase brings about, though another may have.
const fn fits_its_pod(record: &Record, phase: PodPhase) -> bool {
    is_cut(record) && (takes_no_connection(phase) || matches!(phase, PodPhase::Draining))
}

/// The phase that all share; unknown where they differ or there is none.
fn common_phase<'a>(mut pods: impl Iterator<Item = &'a PodFacts>, at: u64) -> PodPhase {
    let Some(phase) = pods.next().map(|pod| pod.phase(at)) else {
        return PodPhase::Unknown;
    };
    if pods.all(|pod| pod.phase(at) == phase) { phase } else { PodPhase::Unknown }
}

/// Every observed edge of the pod, and its removal from the rules of the load's node.
fn edges(pod: &PodFacts, node: Option<&str>) -> impl Iterator<Item = (&'static str, u64)> {
    let removed = node.and_then(|node| pod.removed_at(node));
    [("main_started", pod.main_started), ("ready", pod.ready)]
        .into_iter()
        .chain(pod.timeline.edges())
        .chain([("endpoint_removed", removed)])
        .filter_map(|(name, at)| at.map(|at| (name, at)))
}

fn routing(pod: &PodFacts, node: Option<&str>, record: &Record, began: u64) -> Routing {
    if record.flags.has(Flags::FALLBACK) {
        return Routing::Fallback;
    }
    let rule = node.map_or(Routing::Unknown, |node| pod.rule(node, began));
    let new = record.nth <= 1 && !record.flags.has(Flags::REUSED);
    match rule {
        // A new connection reached the pod, so the rules named it.
        Routing::Unknown if new => Routing::Programmed,
        rule => rule,
    }
}
