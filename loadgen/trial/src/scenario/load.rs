//! Checks `load`, `disruption` and `settle`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::check::{duration, http_or_https_url, http_path, is_token, whole};
use super::error::{Problem, quoted};
use super::raw::{
    RawAgain, RawDeletePods, RawDisruption, RawLane, RawLanes, RawLoad, RawRequest, RawSettle, RawTls,
};
use crate::settings::{
    Again, Arrivals, Disruption, Lane, LaneKind, Load, Request, Settle, StatusRange, Target, Tls, human,
};

/// Requests a second over all lanes.
pub(super) const MOST_RATE: f64 = 1_000_000.0;
/// Later deletes of one pod.
const MOST_AGAIN: usize = 10;
/// Beyond this no client is on this planet.
const MOST_RTT: Duration = Duration::from_secs(1);
/// A request is waited for so long, its lane's delay included.
const MOST_PATIENCE: Duration = Duration::from_mins(6);
const MILLISECOND: Duration = Duration::from_millis(1);
const TEN_MINUTES: Duration = Duration::from_mins(10);
const FIVE_MINUTES: Duration = Duration::from_mins(5);
const DAY: Duration = Duration::from_hours(24);

/// `load`.
pub(super) fn load(raw: RawLoad) -> Result<Load, Problem> {
    let target = match raw.target.as_deref() {
        None | Some("service") => Target::Service,
        Some(url) => {
            http_or_https_url("load.target", url).map_err(|problem| problem.also_allowed("service"))?;
            let behind_host = url.splitn(4, '/').nth(3).unwrap_or_default();
            if !behind_host.is_empty() || url.contains(['?', '#']) {
                let allowed = "a URL of scheme, host and port; what is asked for is load.request.path";
                return Err(Problem::value("load.target", "the URL has a path", allowed));
            }
            Target::Url(lower_scheme(url))
        }
    };
    let tls = raw.tls.map(|raw| tls(raw, &target)).transpose()?;
    let load = Load {
        target,
        tls,
        request: request(raw.request)?,
        lanes: lanes(raw.lanes)?,
        timeout: duration(
            "load.timeout",
            raw.timeout.as_deref(),
            Duration::from_secs(5),
            MILLISECOND..=TEN_MINUTES,
        )?,
        late_over: duration(
            "load.lateOver",
            raw.late_over.as_deref(),
            Duration::from_secs(1),
            Duration::ZERO..=TEN_MINUTES,
        )?,
        rtt: duration("load.rtt", raw.rtt.as_deref(), Duration::ZERO, Duration::ZERO..=MOST_RTT)?,
    };
    pooled_is_plain(&load)?;
    pooled_is_near(&load)?;
    ends_within_a_record(&load)?;
    Ok(load)
}

/// What a record can tell of: it ends 7 minutes after its slot was due, and a slot may be sent late.
pub(super) fn ends_within_a_record(load: &Load) -> Result<(), Problem> {
    let longest = load.lanes.iter().map(|lane| lane.delay).max().unwrap_or_default();
    if load.timeout + longest <= MOST_PATIENCE {
        return Ok(());
    }
    let (mut problem, mut allowed) = (human::format(load.timeout), human::format(MOST_PATIENCE));
    if !longest.is_zero() {
        problem = format!("{problem} beyond a delay of {}", human::format(longest));
        allowed.push_str(", the delay of the slowest lane included");
    }
    Err(Problem::value("load.timeout", problem, format!("up to {allowed}")))
}

/// Lane `pooled` has a client of its own, whose connections are not held up.
fn pooled_is_near(load: &Load) -> Result<(), Problem> {
    if !load.rtt.is_zero() && load.lanes.iter().any(|lane| lane.kind == LaneKind::Pooled) {
        let problem = format!("this lane's client cannot be put {} away", human::format(load.rtt));
        return Err(Problem::value("load.lanes.pooled", problem, "leaving out load.rtt or the lane"));
    }
    Ok(())
}

/// Lane `pooled` has a client of its own, which is not told of the authority.
pub(super) fn pooled_is_plain(load: &Load) -> Result<(), Problem> {
    if load.is_secure() && load.lanes.iter().any(|lane| lane.kind == LaneKind::Pooled) {
        let problem = "this lane does not speak TLS in this version";
        return Err(Problem::value("load.lanes.pooled", problem, "http://, or leaving it out"));
    }
    Ok(())
}

/// The URL with its scheme in lower case, as everything that looks at it expects.
pub(super) fn lower_scheme(url: &str) -> String {
    url.split_once("://")
        .map_or_else(|| url.to_owned(), |(scheme, rest)| format!("{}://{rest}", scheme.to_ascii_lowercase()))
}

/// `load.tls`, or the flags that stand for it.
pub(super) fn tls(raw: RawTls, target: &Target) -> Result<Tls, Problem> {
    if matches!(target, Target::Url(url) if !url.starts_with("https://")) {
        let problem = "the URL is http://, and so not secured";
        return Err(Problem::value("load.tls", problem, "an https:// URL, or leaving it out"));
    }
    if let Some(pem) = &raw.ca
        && !pem.contains("-----BEGIN CERTIFICATE-----")
    {
        let problem = "there is no certificate in it";
        return Err(Problem::value("load.tls.ca", problem, "certificates in PEM form (BEGIN CERTIFICATE)"));
    }
    if let Some(name) = &raw.server_name
        && (name.is_empty()
            || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte)))
    {
        let problem = format!("{} is not the name of a host", quoted(name));
        return Err(Problem::value(
            "load.tls.serverName",
            problem,
            "a name such as shop.example, or an address",
        ));
    }
    Ok(Tls { ca: raw.ca, server_name: raw.server_name })
}

pub(super) fn request(raw: RawRequest) -> Result<Request, Problem> {
    let method = raw.method.unwrap_or_else(|| "GET".to_owned());
    if !is_token(&method) {
        let problem = format!("{} is not a method", quoted(&method));
        return Err(Problem::value("load.request.method", problem, "a token such as GET or POST"));
    }
    headers(&raw.headers)?;
    Ok(Request {
        method,
        path: http_path("load.request.path", raw.path, "/")?,
        headers: raw.headers,
        body: raw.body,
        expect_status: raw
            .expect_status
            .as_deref()
            .map_or(Ok(StatusRange { first: 200, last: 299 }), status)?,
    })
}

/// Values are never repeated in an error: they may be credentials.
fn headers(headers: &BTreeMap<String, String>) -> Result<(), Problem> {
    for (name, value) in headers {
        let refuse = |problem: String, allowed| {
            Err(Problem::value("load.request.headers", problem, allowed).under_key(name))
        };
        if !is_token(name) {
            return refuse(
                format!("{} is not the name of a header", quoted(name)),
                "a token such as X-Tenant",
            );
        }
        if value.chars().any(|character| character != '\t' && character.is_control()) {
            return refuse(
                "the value holds a line break or a control character".to_owned(),
                "one line of text",
            );
        }
        if ["connection", "content-length", "transfer-encoding"].contains(&name.to_ascii_lowercase().as_str())
        {
            return refuse("is set by the lanes themselves".to_owned(), "every other header");
        }
    }
    Ok(())
}

fn status(text: &str) -> Result<StatusRange, Problem> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse(), last.trim().parse()) {
        (Ok(first), Ok(last)) if 100 <= first && first <= last && last <= 599 => {
            Ok(StatusRange { first, last })
        }
        _ => Err(Problem::value(
            "load.request.expectStatus",
            format_args!("{} is no range of statuses", quoted(text)),
            "100 to 599, as 200 or 200-299",
        )),
    }
}

fn lanes(raw: RawLanes) -> Result<Vec<Lane>, Problem> {
    let RawLanes { new, reused, idle, slow, post, h2, pooled } = raw;
    let lanes = LaneKind::ALL
        .into_iter()
        .zip([new, reused, idle, slow, post, h2, pooled])
        .filter_map(|(kind, raw)| raw.map(|raw| lane(kind, &raw)))
        .collect::<Result<Vec<_>, _>>()?;
    if lanes.is_empty() {
        let all = LaneKind::ALL.map(LaneKind::as_str).join(", ");
        return Err(Problem::value("load.lanes", "no lane is left", format_args!("at least one of {all}")));
    }
    let total: f64 = lanes.iter().map(|lane| lane.rate).sum();
    if total > MOST_RATE {
        return Err(Problem::value(
            "load.lanes",
            format_args!("{total} requests a second over all lanes are too many"),
            "up to 1000000",
        ));
    }
    Ok(lanes)
}

fn lane(kind: LaneKind, raw: &RawLane) -> Result<Lane, Problem> {
    let at = |key: &str| format!("load.lanes.{}.{key}", kind.as_str());
    let allowed = "above 0, up to 1000000 requests a second";
    let rate = raw.rate.ok_or_else(|| Problem::missing(&at("rate"), allowed))?;
    if !(rate > 0.0 && rate <= MOST_RATE) {
        return Err(Problem::value(&at("rate"), format_args!("{rate} is not a rate"), allowed));
    }
    contradictions(kind, raw)?;
    let mut lane = Lane::new(kind, rate);
    let least_delay = if kind == LaneKind::Slow { MILLISECOND } else { Duration::ZERO };
    lane.delay = duration(&at("delay"), raw.delay.as_deref(), lane.delay, least_delay..=FIVE_MINUTES)?;
    if kind == LaneKind::Idle {
        lane.idle = duration(&at("idle"), raw.idle.as_deref(), lane.idle, MILLISECOND..=FIVE_MINUTES)?;
    }
    if kind == LaneKind::H2 {
        let path = at("maxConcurrentStreams");
        lane.max_concurrent_streams =
            whole(&path, raw.max_concurrent_streams, lane.max_concurrent_streams, 1..=1000)?;
    }
    lane.arrivals = raw.arrivals.map(Arrivals::from).unwrap_or_default();
    let (usual, most) = (lane.usual_connections(), 1..=Lane::MOST_CONNECTIONS);
    lane.connections = whole(&at("connections"), raw.connections, usual, most)?;
    lane.max_requests_per_connection = raw
        .max_requests_per_connection
        .map(|stated| whole(&at("maxRequestsPerConnection"), Some(stated), 1, 1..=u32::MAX))
        .transpose()?;
    lane.max_connection_age = raw
        .max_connection_age
        .as_deref()
        .map(|stated| duration(&at("maxConnectionAge"), Some(stated), DAY, MILLISECOND..=DAY))
        .transpose()?;
    if let Some(age) = lane.max_connection_age.filter(|age| *age < lane.idle) {
        let (age, idle) = (human::format(age), human::format(lane.idle));
        let problem = format!("{age} is below idle ({idle}), so that no connection would be used again");
        return Err(Problem::value(&at("maxConnectionAge"), problem, format_args!("{idle} to 86400s")));
    }
    Ok(lane)
}

/// Keys that say nothing about a lane of this kind.
fn contradictions(kind: LaneKind, raw: &RawLane) -> Result<(), Problem> {
    let whole = |number: Option<i64>| number.map(|number| number.to_string());
    let new = "contradicts a lane that opens a connection for each request";
    let rests = "contradicts a lane whose connections do not rest";
    let one = "contradicts a lane whose connections carry one request at a time";
    let of_kept = "leaving it out, or another lane";
    let by_itself = "contradicts a lane whose client keeps its connections as it thinks fit";
    let pooled = kind == LaneKind::Pooled;
    let keeps = kind != LaneKind::New;
    let why = if pooled { by_itself } else { new };
    let table = [
        ("connections", whole(raw.connections), keeps, new, of_kept),
        ("maxRequestsPerConnection", whole(raw.max_requests_per_connection), keeps && !pooled, why, of_kept),
        ("maxConnectionAge", raw.max_connection_age.clone(), keeps && !pooled, why, of_kept),
        (
            "maxConcurrentStreams",
            whole(raw.max_concurrent_streams),
            kind == LaneKind::H2,
            one,
            "leaving it out, or lane h2",
        ),
        ("idle", raw.idle.clone(), kind == LaneKind::Idle, rests, "leaving it out, or lane idle"),
    ];
    for (key, stated, fits, problem, allowed) in table {
        if let (Some(stated), false) = (stated, fits) {
            let path = format!("load.lanes.{}.{key}", kind.as_str());
            return Err(Problem::value(&path, format_args!("{stated} {problem}"), allowed));
        }
    }
    Ok(())
}

/// `disruption`.
pub(super) fn disruption(raw: Option<RawDisruption>, replicas: u32) -> Result<Disruption, Problem> {
    Ok(match raw {
        None | Some(RawDisruption::RolloutRestart(_)) => Disruption::RolloutRestart,
        Some(RawDisruption::None(_)) => Disruption::None,
        Some(RawDisruption::DeletePods(raw)) => return delete_pods(&raw, replicas),
        Some(RawDisruption::Evict(raw)) => Disruption::Evict {
            count: whole("disruption.evict.count", raw.count, 1, 1..=replicas.saturating_mul(10))?,
        },
        Some(RawDisruption::Scale(raw)) => {
            let to = "disruption.scale.to";
            let wanted = whole(to, raw.to, replicas, 0..=50)?;
            if wanted == replicas {
                let problem = format!("{wanted} is what there is: nothing would happen");
                return Err(Problem::value(to, &problem, "another number than workload.replicas"));
            }
            Disruption::Scale { to: wanted }
        }
        Some(RawDisruption::DrainNode(_)) => Disruption::DrainNode,
    })
}

fn delete_pods(raw: &RawDeletePods, replicas: u32) -> Result<Disruption, Problem> {
    let grace = "disruption.deletePods.gracePeriodSeconds";
    let force = raw.force == Some(true);
    match raw.grace_period_seconds {
        // kubectl's own rule: without --force a grace of 0 is one of 1.
        Some(0) if !force => {
            return Err(Problem::value(
                grace,
                "0 deletes at once only with force: true",
                "1 to 3600, or force",
            ));
        }
        Some(1..) if force => {
            return Err(Problem::value(grace, "a forced delete has no grace", "0, or leaving it out"));
        }
        _ => {}
    }
    if force && !raw.again.is_empty() {
        let problem = "after a forced delete nothing is left to be deleted again";
        return Err(Problem::of(
            "disruption.deletePods.again",
            format!("{problem}; allowed: one of the two"),
        ));
    }
    if raw.again.len() > MOST_AGAIN {
        let problem = format!("{} deletes of one pod are too many; allowed: {MOST_AGAIN}", raw.again.len());
        return Err(Problem::of("disruption.deletePods.again", problem));
    }
    Ok(Disruption::DeletePods {
        count: whole("disruption.deletePods.count", raw.count, 1, 1..=replicas.saturating_mul(10))?,
        every: duration(
            "disruption.deletePods.every",
            raw.every.as_deref(),
            Duration::from_secs(1),
            Duration::ZERO..=TEN_MINUTES,
        )?,
        grace_period_seconds: raw
            .grace_period_seconds
            .filter(|_| !force)
            .map(|_| whole(grace, raw.grace_period_seconds, 1, 1..=3600))
            .transpose()?,
        force,
        which: raw.which.unwrap_or_default(),
        again: raw.again.iter().map(again).collect::<Result<_, _>>()?,
    })
}

/// A later delete of the same pod. A forced one takes the object at once, so that nothing is left to delete again.
fn again(raw: &RawAgain) -> Result<Again, Problem> {
    let grace = "disruption.deletePods.again.gracePeriodSeconds";
    Ok(Again {
        after: duration(
            "disruption.deletePods.again.after",
            raw.after.as_deref(),
            Duration::from_secs(1),
            Duration::ZERO..=TEN_MINUTES,
        )?,
        grace_period_seconds: raw
            .grace_period_seconds
            .map(|_| whole(grace, raw.grace_period_seconds, 1, 1..=3600))
            .transpose()?,
    })
}

/// `settle`.
pub(super) fn settle(raw: &RawSettle) -> Result<Settle, Problem> {
    let time = |path: &str, stated: Option<&str>| {
        duration(path, stated, Duration::from_secs(3), Duration::ZERO..=TEN_MINUTES)
    };
    Ok(Settle {
        before: time("settle.before", raw.before.as_deref())?,
        after: time("settle.after", raw.after.as_deref())?,
    })
}
