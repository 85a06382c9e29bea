//! Numbers for people, and the sentence of a failure.

use super::attribution::Attribution;
use super::cause::Cause;
use super::timeline::PodFacts;
use crate::record::{Class, Flags, Record, Stage, tls};

/// `2 ms`, `1.5 ms`, `3.004 s`.
pub(crate) fn duration(nanos: u64) -> String {
    let trim = |text: String| text.trim_end_matches('0').trim_end_matches('.').to_owned();
    let whole = |unit: u64| (nanos + unit / 2) / unit;
    match nanos {
        0..1_000_000 => format!("{} µs", whole(1_000)),
        1_000_000..10_000_000 => {
            let tenths = whole(100_000);
            format!("{} ms", trim(format!("{}.{}", tenths / 10, tenths % 10)))
        }
        10_000_000..999_500_000 => format!("{} ms", whole(1_000_000)),
        _ => format!("{} s", seconds(nanos)),
    }
}

/// `3.004`, to the millisecond.
pub(crate) fn seconds(nanos: u64) -> String {
    let millis = nanos.saturating_add(500_000) / 1_000_000;
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

/// `12,345`.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 request`, `12,345 requests`.
pub(crate) fn counted(value: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(value), if value == 1 { "" } else { "s" })
}

/// `1st`, `2nd`, `57th`.
fn ordinal(value: u32) -> String {
    let suffix = match (value % 10, value % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{value}{suffix}")
}

/// What a failed or late request met, when, and why.
pub(super) fn sentence(
    record: &Record,
    lane: &str,
    agents: u32,
    found: &Attribution<'_>,
    cause: Cause,
) -> String {
    let agent = if agents > 1 { format!("agent {}, ", record.agent) } else { String::new() };
    let connection = match (record.conn, record.nth) {
        (0, _) | (_, 0) => "no connection yet".to_owned(),
        (_, 1) => "new connection".to_owned(),
        (_, nth) => format!("{} on its connection", ordinal(nth)),
    };
    format!(
        "request {} ({agent}lane {lane}, {connection}), {}: {}{}. Because {}; {}.",
        record.slot,
        when(found),
        symptom(record),
        beside(found),
        cause.text(),
        cause.remedy(),
    )
}

/// Relative to the edge that readers think in: SIGTERM, else what came before it.
fn when(found: &Attribution<'_>) -> String {
    let absolute = || format!("at {} s", seconds(found.moment));
    let Some(pod) = found.pod else {
        return format!("{} of the run{}", absolute(), meanwhile(found));
    };
    let timeline = &pod.timeline;
    let edges = [
        (timeline.sigterm_ns, "SIGTERM of"),
        (timeline.pre_stop_started_ns, "the start of preStop in"),
        (timeline.t0_ns, "the start of the stop of"),
        (pod.deleted_at(), "the delete of"),
        (pod.ready, "the readiness of"),
    ];
    edges
        .into_iter()
        .find_map(|(edge, name)| edge.filter(|edge| *edge <= found.moment).map(|edge| (edge, name)))
        .map_or_else(
            || format!("{} on pod {}", absolute(), pod.name),
            |(edge, name)| format!("{} after {name} pod {}", duration(found.moment - edge), pod.name),
        )
}

/// Who may have done it, where that explains it.
fn meanwhile(found: &Attribution<'_>) -> String {
    const NAMED: usize = 3;
    let names: Vec<&str> = found.candidates.iter().map(|(_, pod)| pod.name.as_str()).collect();
    match names.as_slice() {
        [] => String::new(),
        _ if !found.by_any => String::new(),
        [one] => format!(", while {one} was stopping"),
        [others @ .., last] if others.len() < NAMED => {
            format!(", while {} and {last} were stopping", others.join(", "))
        }
        [first @ .., _] => format!(
            ", while {} and {} more were stopping",
            first.get(..NAMED).unwrap_or(first).join(", "),
            names.len() - NAMED
        ),
    }
}

/// The nearest edge, in words.
fn beside(found: &Attribution<'_>) -> String {
    let Some((edge, margin)) = found.nearest else {
        return String::new();
    };
    let what = match edge {
        "delete_requested" => "its delete was requested",
        "terminating" => "it became terminating",
        "t0" => "kubelet began to stop it",
        "pre_stop_started" => "its preStop began",
        "pre_stop_ended" => "its preStop ended",
        "sigterm" => "it was sent SIGTERM",
        "listener_closed" => "its listener was closed",
        "drained" => "it had drained",
        "killed" => "it was killed",
        "exited" => "the pod exited",
        "ip_gone" => "its address went away",
        "gone" => "it was gone",
        "ready" => "it became Ready",
        "main_started" => "its main process started",
        _ => "new connections began to avoid it",
    };
    // Seen before the edge means that the edge came after.
    let order = if margin < 0 { "after" } else { "before" };
    let pod = found.pod.filter(|pod| pod.clock_uncertainty.is_some());
    if edge == "exited" && pod.is_some_and(PodFacts::ends_vaguely) {
        return format!("; {what} within about a second of it");
    }
    // What two clocks cannot order is not ordered.
    if let Some(uncertain) = pod.and_then(|pod| pod.clock_uncertainty)
        && margin.unsigned_abs() < uncertain
    {
        return format!("; {what} at the same time (± {})", duration(uncertain));
    }
    format!("; {what} {} {order}", duration(margin.unsigned_abs()))
}

fn symptom(record: &Record) -> String {
    let waited = || duration(u64::from(record.end.saturating_sub(record.start.min(record.end))) * 100);
    match record.class {
        Class::None => {
            format!("answered {} after it was due", duration(record.latency_ns().unwrap_or_default()))
        }
        Class::Dns => "the name did not resolve".to_owned(),
        Class::ConnectRefused => "connection refused".to_owned(),
        Class::ConnectTimeout => format!("no connection after {}", waited()),
        Class::ConnectUnreachable => "address unreachable".to_owned(),
        Class::Tls => secure_symptom(record),
        Class::WriteBrokenPipe => "broken pipe while writing the request".to_owned(),
        Class::WriteReset => "reset while writing the request".to_owned(),
        Class::WaitReset => "reset while waiting for the answer".to_owned(),
        Class::WaitClosed => "closed while waiting for the answer".to_owned(),
        Class::WaitTimeout => format!("no answer after {}", waited()),
        Class::BodyReset => "reset in the middle of the answer".to_owned(),
        Class::BodyClosed if record.flags.has(Flags::CLOSE_DELIMITED) => {
            "the connection was closed as the process ended, and nothing but that close ended the answer (no length, \
             no chunks): its end cannot be told from a cut"
                .to_owned()
        }
        Class::BodyClosed => "closed in the middle of the answer".to_owned(),
        Class::BodyTimeout => format!("the answer was not complete after {}", waited()),
        Class::BodyCorrupt => "the answer was complete but wrong".to_owned(),
        Class::H2Goaway => "taken down by GOAWAY".to_owned(),
        Class::H2StreamReset => "its stream was reset".to_owned(),
        Class::Http4xx | Class::Http5xx | Class::StatusUnexpected => format!("status {}", record.status),
        Class::ClientPorts | Class::ClientFiles | Class::Interrupted => "the client's own fault".to_owned(),
    }
}

/// What the error number of class `tls` stands for.
fn secure_symptom(record: &Record) -> String {
    let what = match record.os_code {
        tls::CLOSED => "closed",
        tls::NOT_TLS => "what came was not TLS, or an alert",
        tls::NO_HTTP2 => "the server does not offer HTTP/2",
        tls::RESET | tls::BROKEN_PIPE => "reset",
        tls::TIMED_OUT => "not complete when the time was over",
        tls::NOT_ACCEPTED => "the server's certificate was not accepted",
        code => return format!("TLS failed (error number {code})"),
    };
    let when = if record.stage == Stage::Tls { "TLS handshake failed" } else { "TLS failed" };
    format!("{when}: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(duration(2_000_000), "2 ms");
        assert_eq!(duration(1_540_000), "1.5 ms");
        assert_eq!(duration(3_004_000_000), "3.004 s");
        assert_eq!(duration(999_900_000), "1.000 s");
        assert_eq!(duration(480), "0 µs");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(999), "999");
        assert_eq!([1, 2, 3, 11, 57, 112].map(ordinal), ["1st", "2nd", "3rd", "11th", "57th", "112th"]);
    }
}
