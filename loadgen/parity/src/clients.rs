//! What clients see of a pod that ends, looked for in the requests' records.

use std::collections::BTreeSet;

use contract::lifecycle::Event as Report;
use trial::event::Event;
use trial::record::Class;
use trial::settings::LaneKind;

use crate::expect::Seen;
use crate::facts::{Edge, Facts, Request};

/// By then every node has left the pod out: kube-proxy's minSyncPeriod, its own work, and the way there.
const RULES_FOLLOWED: f64 = 2.5;

fn of_lane(facts: &Facts, lane: LaneKind) -> impl Iterator<Item = &Request> {
    facts.requests.iter().filter(move |request| request.lane == lane)
}

fn count(facts: &Facts, lane: LaneKind, from: f64, to: f64, class: &[Class]) -> usize {
    of_lane(facts, lane)
        .filter(|request| (from..=to).contains(&request.end) && class.contains(&request.record.class))
        .count()
}

fn classes(facts: &Facts, lane: LaneKind) -> String {
    let mut all: Vec<&str> = of_lane(facts, lane)
        .filter(|request| !request.is_ok())
        .map(|request| request.record.class.as_str())
        .collect();
    all.sort_unstable();
    all.dedup();
    if all.is_empty() { "no failure".to_owned() } else { all.join(", ") }
}

/// #36
pub(crate) fn served_by_the_terminating(facts: &Facts) -> Seen {
    let (Some(victim), Some(deleted)) = (facts.victim, facts.at(Edge::Deleted)) else {
        return Seen::nothing("no pod was deleted");
    };
    let served = of_lane(facts, LaneKind::New)
        .filter(|request| request.is_ok() && request.record.pod == victim && request.start > deleted + 0.2)
        .count();
    Seen::that(served > 0, format!("{served} answers"))
}

/// When the victim's entry said for the first time, while terminating, that it does not serve.
fn stopped_serving(facts: &Facts) -> Option<f64> {
    facts.of_victim().find_map(|(at, event)| {
        matches!(event, Event::SliceChanged { serving: false, terminating: true, .. }).then_some(at)
    })
}

/// #36
pub(crate) fn refused_while_none_serves(facts: &Facts) -> Seen {
    let Some(from) = stopped_serving(facts) else { return Seen::nothing("it went on serving") };
    let ready = facts.all().find_map(|(at, event)| match event {
        Event::SliceChanged { pod, ready: true, .. } if Some(*pod) != facts.victim && at > from => Some(at),
        _ => None,
    });
    let Some(ready) = ready else { return Seen::nothing("no other became ready") };
    let within: Vec<_> = of_lane(facts, LaneKind::New)
        .filter(|request| (from + 1.5..ready - 0.2).contains(&request.start))
        .collect();
    rejected(&within, ready)
}

/// Rules that reject say so by ICMP, of which the kernel sends one client one a second: the others hear nothing, until a SYN
/// that TCP sends again meets other rules, or their time is over.
fn rejected(requests: &[&Request], until: f64) -> Seen {
    let is_refused = |request: &Request| request.record.class == Class::ConnectRefused;
    let waited = |request: &Request| request.record.class == Class::ConnectTimeout || request.end > until;
    let refused = requests.iter().filter(|request| is_refused(request)).count();
    let unanswered = requests.iter().filter(|request| !is_refused(request) && waited(request)).count();
    match requests.len() {
        0 => Seen::nothing("no time between"),
        all => Seen::that(
            refused > 0 && refused + unanswered == all,
            format!("{refused} refused, {unanswered} unanswered of {all}"),
        ),
    }
}

fn by_victim_later(facts: &Facts, lane: LaneKind) -> Option<(usize, usize)> {
    let (victim, deleted) = (facts.victim?, facts.at(Edge::Deleted)?);
    let exited = facts.at(Edge::Exited)?;
    let later: Vec<_> = of_lane(facts, lane)
        .filter(|request| (deleted + RULES_FOLLOWED..exited).contains(&request.start))
        .collect();
    let by_victim = later.iter().filter(|request| request.record.pod == victim).count();
    Some((by_victim, later.len()))
}

/// #37
pub(crate) fn no_new_connections(facts: &Facts) -> Seen {
    match by_victim_later(facts, LaneKind::New) {
        Some((by_victim, all)) if all > 0 => Seen::that(by_victim == 0, format!("{by_victim} of {all}")),
        _ => Seen::nothing("no time between"),
    }
}

/// #38: each connection that the victim answered on shortly before its delete is answered on by it long after, and on no other.
pub(crate) fn kept_alive_served(facts: &Facts) -> Seen {
    let (Some(victim), Some(deleted), Some(exited)) =
        (facts.victim, facts.at(Edge::Deleted), facts.at(Edge::Exited))
    else {
        return Seen::nothing("no end");
    };
    let used = |from: f64, to: f64| -> BTreeSet<u32> {
        of_lane(facts, LaneKind::Reused)
            .filter(|request| request.record.pod == victim && (from..to).contains(&request.start))
            .map(|request| request.record.conn)
            .collect()
    };
    let (before, after) = (used(deleted - 1.0, deleted), used(deleted + RULES_FOLLOWED, exited));
    match before.len() {
        0 => Seen::nothing("none was open"),
        open => Seen::that(before == after, format!("{} of {open}", before.intersection(&after).count())),
    }
}

/// #39: between the close of a victim's listener and the last refusal before the next one's, the rules still name it
/// beside others; the longest such time is looked at.
pub(crate) fn refused_share(facts: &Facts) -> Seen {
    let mut closed: Vec<f64> = facts
        .all()
        .filter(|(_, event)| matches!(event, Event::Lifecycle { report: Report::ListenerClosed(_), .. }))
        .map(|(at, _)| at)
        .collect();
    closed.sort_by(f64::total_cmp);
    if closed.is_empty() {
        return Seen::nothing("no listener closed");
    }
    let ends = closed.iter().skip(1).copied().chain([f64::MAX]);
    let share = |(from, to): (f64, f64)| {
        let refused = |request: &&Request| request.record.class == Class::ConnectRefused;
        let within =
            || of_lane(facts, LaneKind::New).filter(move |request| (from..to).contains(&request.start));
        let last = within().filter(refused).map(|request| request.start).reduce(f64::max)?;
        let all = || within().filter(|request| request.start <= last);
        Some((all().filter(refused).count(), all().count()))
    };
    let longest = closed.iter().copied().zip(ends).filter_map(share).max_by_key(|(_, all)| *all);
    match longest {
        Some((refused, all)) if all >= 20 => {
            Seen::that(is_share(refused, all), format!("{refused} of {all}"))
        }
        Some((refused, all)) => Seen::nothing(format!("{refused} of {all}: too few to tell a share")),
        None => Seen::nothing("none refused"),
    }
}

/// Whether so many of so many may be one's share of two to four: chance alone leaves these bounds once in a thousand times.
fn is_share(part: usize, all: usize) -> bool {
    let (Ok(part), Ok(all)) = (u32::try_from(part), u32::try_from(all)) else { return false };
    let (part, all) = (f64::from(part), f64::from(all));
    let spread = |share: f64| 3.3 * (all * share * (1.0 - share)).sqrt();
    (all / 4.0 - spread(0.25)..=all / 2.0 + spread(0.5)).contains(&part)
}

/// #41
pub(crate) fn refused_at_once(facts: &Facts) -> Seen {
    let (Some(t0), Some(exited)) = (facts.at(Edge::T0), facts.at(Edge::Exited)) else {
        return Seen::nothing("no end");
    };
    // The end is known to a second, and the hook holds the address for 15.
    let within = of_lane(facts, LaneKind::New)
        .filter(|request| (exited + 1.0..t0 + 14.5).contains(&request.start) && !request.is_ok());
    let (refused, other): (Vec<_>, Vec<_>) =
        within.partition(|request| request.record.class == Class::ConnectRefused);
    let mut took: Vec<f64> = refused.into_iter().map(Request::took).collect();
    took.sort_by(f64::total_cmp);
    match took.get(took.len() / 2) {
        Some(median) => Seen::that(
            *median < 0.05 && other.is_empty(),
            format!("{} refused, median {:.1} ms, {} otherwise", took.len(), median * 1e3, other.len()),
        ),
        None => Seen::nothing("none refused"),
    }
}

/// #42
pub(crate) fn address_gone(facts: &Facts) -> Seen {
    let ends: Vec<f64> =
        facts.all().filter(|(_, event)| matches!(event, Event::Exited { .. })).map(|(at, _)| at).collect();
    // Connections begun while some pod's address was gone and rules may still have named it.
    let lost = |request: &&Request| {
        ends.iter().any(|end| (-KNOWN_TO..RULES_FOLLOWED).contains(&(request.start - end)))
    };
    let of_class = |class: Class| -> Vec<&Request> {
        of_lane(facts, LaneKind::New).filter(|request| request.record.class == class).collect()
    };
    let (unreachable, timeouts) = (of_class(Class::ConnectUnreachable), of_class(Class::ConnectTimeout));
    let elsewhere = unreachable.iter().chain(&timeouts).filter(|request| !lost(request)).count();
    let (unreachable, timeouts): (Vec<f64>, usize) =
        (unreachable.into_iter().map(Request::took).collect(), timeouts.len());
    if unreachable.is_empty() && timeouts == 0 {
        return Seen::nothing(format!(
            "nobody was sent to the lost address: {}",
            classes(facts, LaneKind::New)
        ));
    }
    // Whoever comes while the kernel asks already waits only for the rest, but the first waits for the whole.
    let longest = unreachable.iter().copied().fold(0.0, f64::max);
    let in_time = unreachable.is_empty() || (2.0..4.5).contains(&longest);
    Seen::that(
        in_time && elsewhere == 0,
        format!(
            "{} unreachable, {timeouts} without answer, {elsewhere} of them elsewhere",
            unreachable.len()
        ),
    )
}

/// Requests that wait in the accept queue: begun before an edge, and not answered then. One that was begun as the edge came and
/// was refused had not got into the queue.
fn queued(facts: &Facts, edge: f64) -> Vec<&Request> {
    let waits = |request: &&Request| {
        request.start < edge && request.end > edge - 0.01 && request.record.class != Class::ConnectRefused
    };
    facts.requests.iter().filter(waits).collect()
}

/// #43
pub(crate) fn queue_is_reset(facts: &Facts) -> Seen {
    let Some(closed) = facts.at(Edge::ListenerClosed) else { return Seen::nothing("no listener closed") };
    let reset =
        count(facts, LaneKind::New, closed - 0.05, closed + 0.5, &[Class::WaitReset, Class::WriteReset]);
    if queued(facts, closed).is_empty() {
        return Seen::nothing("nobody was in the queue");
    }
    Seen::that(reset > 0, format!("{reset} reset"))
}

/// #43
pub(crate) fn queue_is_served(facts: &Facts) -> Seen {
    let Some(closed) = facts.at(Edge::ListenerClosed) else { return Seen::nothing("no listener closed") };
    let waiting: Vec<_> =
        queued(facts, closed).into_iter().filter(|request| request.lane == LaneKind::New).collect();
    let answered = waiting.iter().filter(|request| request.is_ok()).count();
    match waiting.len() {
        0 => Seen::nothing("nobody was in the queue"),
        all => Seen::that(answered == all, format!("{answered} of {all} answered")),
    }
}

/// #44
pub(crate) fn idle_closes_are_no_failures(facts: &Facts) -> Seen {
    let closes = facts.idle_closes(LaneKind::Reused);
    let cut_by_the_end = [Class::WaitClosed, Class::WaitReset];
    // What was written as the connection closed; and whoever has to connect anew meets what the others meet.
    let explained = [
        Class::None,
        Class::WriteReset,
        Class::WriteBrokenPipe,
        Class::ConnectRefused,
        Class::ConnectTimeout,
        Class::ConnectUnreachable,
    ];
    let ends: Vec<f64> =
        facts.all().filter(|(_, event)| matches!(event, Event::Exited { .. })).map(|(at, _)| at).collect();
    // Where an agent shares its core with others, it takes notice some tenths late.
    let near_an_end = |at: f64| ends.iter().any(|end| (-KNOWN_TO..3.0 * KNOWN_TO).contains(&(at - end)));
    let (cut, rest): (Vec<_>, Vec<_>) =
        of_lane(facts, LaneKind::Reused).partition(|request| cut_by_the_end.contains(&request.record.class));
    let odd = rest.iter().filter(|request: &&&Request| !explained.contains(&request.record.class)).count();
    match closes {
        0 => Seen::nothing("no connection was idle"),
        closes => Seen::that(
            odd == 0 && !cut.is_empty() && cut.iter().all(|request| near_an_end(request.end)),
            format!("{closes} idle closes, {} cut; {}", cut.len(), classes(facts, LaneKind::Reused)),
        ),
    }
}

/// A process that cannot tell of its end ends, as far as others know, at most so much before or after, s.
const KNOWN_TO: f64 = 0.5;

/// How many of the lane ended in one of these ways as the victim ended, and whether any was under way.
fn cut_at_the_end(facts: &Facts, classes: &[Class]) -> Option<(usize, bool)> {
    let exited = facts.at(Edge::Exited)?;
    let cut = count(facts, LaneKind::New, exited - KNOWN_TO, exited + KNOWN_TO, classes);
    Some((cut, !queued(facts, exited - KNOWN_TO).is_empty()))
}

/// #45
pub(crate) fn unread_is_reset(facts: &Facts) -> Seen {
    match cut_at_the_end(facts, &[Class::WaitReset]) {
        None => Seen::nothing("no end"),
        Some((_, false)) => Seen::nothing("nothing was unread"),
        Some((reset, true)) => Seen::that(reset > 0, format!("{reset} reset")),
    }
}

/// #46
pub(crate) fn cut_in_the_body(facts: &Facts) -> Seen {
    match cut_at_the_end(facts, &[Class::BodyReset, Class::BodyClosed]) {
        None => Seen::nothing("no end"),
        Some((_, false)) => Seen::nothing("no answer was under way"),
        Some((cut, true)) => Seen::that(cut > 0, format!("{cut} cut; {}", classes(facts, LaneKind::New))),
    }
}

/// #47
pub(crate) fn refused_without_endpoints(facts: &Facts) -> Seen {
    let Some(last) = of_lane(facts, LaneKind::New).map(|request| request.due).reduce(f64::max) else {
        return Seen::nothing("no request");
    };
    let late: Vec<_> = of_lane(facts, LaneKind::New).filter(|request| request.due > last - 2.0).collect();
    rejected(&late, f64::MAX)
}

/// #48
pub(crate) fn all_are_closed(facts: &Facts) -> Seen {
    let held = facts.of_victim().find_map(|(_, event)| match event {
        Event::Lifecycle { report: Report::Sigterm(load), .. } => Some(load.connections),
        _ => None,
    });
    let Some(held) = held.filter(|_| facts.at(Edge::Exited).is_some()) else {
        return Seen::nothing("no end");
    };
    let failed = of_lane(facts, LaneKind::Reused).filter(|request| !request.is_ok()).count();
    let closes = facts.idle_closes(LaneKind::Reused);
    let all = closes + u64::try_from(failed).unwrap_or(u64::MAX);
    Seen::that(
        held > 0 && all * 10 >= held * 9,
        format!("{closes} closed while idle, {failed} failed, of {held}"),
    )
}

/// #48
pub(crate) fn no_idle_closes(facts: &Facts) -> Seen {
    if facts.at(Edge::Exited).is_none() {
        return Seen::nothing("no end");
    }
    let closes = facts.idle_closes(LaneKind::Reused);
    Seen::that(closes == 0, format!("{closes} idle closes"))
}
