//! The plan of load without a workload of ours: `loadgen load`. Flags take the place of a scenario's keys, and are held
//! to the same rules.

use std::collections::BTreeMap;
use std::time::Duration;

use super::check::{http_or_https_url, http_path, is_token};
use super::error::{Place, Problem, ScenarioError, quoted};
use super::load::{self, MOST_RATE};
use super::raw::{RawRequest, RawTls};
use crate::plan::{Arm, Plan, Role};
use crate::settings::{
    Allowed, Amount, ArmsExpected, Arrivals, Disruption, Expect, KubeletVersion, Lane, LaneKind, Lifecycle,
    Limits, Load, Local, Program, Propagation, Ramp, Settle, Strategy, Target, Workload,
};

/// A client that stood still for so long measured nothing meanwhile.
const STALL_LIMIT: Duration = Duration::from_millis(500);
/// As in a scenario.
const LAG_LIMIT: Duration = Duration::from_millis(50);

/// Load on a URL, as asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Alone {
    /// `http://host:port/path?query`, or `https://`.
    pub url: String,
    /// Requests a second over all lanes; `None` is a closed loop.
    pub rate: Option<f64>,
    /// Kept connections over all lanes; in a closed loop, requests under way at once.
    pub connections: u32,
    /// Lanes and their weights, which share rate and connections out.
    pub lanes: Vec<(LaneKind, f64)>,
    /// How slots are spaced, unless in a closed loop.
    pub arrivals: Arrivals,
    /// How the rate is come to: over all lanes.
    pub ramp: Option<Ramp>,
    /// The client polls instead of sleeping.
    pub exact: bool,
    /// A request fails after this.
    pub timeout: Duration,
    /// An answer is late after this.
    pub late_over: Duration,
    /// Whether late answers count against the service.
    pub late_fails: bool,
    /// How long the load lasts; `None` if something else ends it.
    pub duration: Option<Duration>,
    /// Method.
    pub method: String,
    /// Extra headers, `Name: value` each.
    pub headers: Vec<String>,
    /// Body.
    pub body: Option<String>,
    /// Certificates of the authorities that are trusted, in PEM form; those of the machine if none.
    pub ca: Option<String>,
    /// Statuses that count as answered; 200-299 if none.
    pub expect_status: Option<String>,
    /// Decides Poisson gaps.
    pub seed: u64,
}

impl Alone {
    /// The plan: one arm, no workload, no disruption.
    ///
    /// # Errors
    /// One line that names the flag, the value and what is allowed.
    pub fn plan(self) -> Result<Plan, ScenarioError> {
        let name = "load".to_owned();
        let mut notes = Vec::new();
        if self.rate.is_none() {
            notes.push(
                "a closed loop: a request is sent when the one before was answered, so what a stall held back was \
                 never sent and is in no quantile; --rate R measures what users would see"
                    .to_owned(),
            );
        }
        let limits = Limits { schedule_lag: LAG_LIMIT, detection_floor: STALL_LIMIT };
        let late = if self.late_fails { Allowed::AtMost(0) } else { Allowed::Any };
        let expect = Expect { failed: Allowed::AtMost(0), late, arms: ArmsExpected::All, timeline: vec![] };
        let (seed, settle) = (self.seed, self.duration.unwrap_or_default());
        let (load, url) = self.load()?;
        let arm = Arm {
            name: name.clone(),
            role: Role::Trial,
            workload: no_workload(),
            load,
            disruption: Disruption::None,
            settle: Settle { before: settle, after: Duration::ZERO },
            local: Local {
                propagation: Propagation::KubeProxy,
                nodes: 0,
                kubelet: KubeletVersion { minor: 34 },
            },
        };
        let description = format!("load on {url}");
        Ok(Plan { scenario: name, description, seed, arms: vec![arm], limits, expect, notes })
    }

    fn load(self) -> Result<(Load, String), ScenarioError> {
        let (origin, path) = target(&self.url).map_err(|problem| at("URL", problem))?;
        let lanes = self.lanes()?;
        let request = RawRequest {
            method: Some(self.method),
            path: Some(path),
            headers: headers(&self.headers).map_err(|problem| at("-H", problem))?,
            body: self.body,
            expect_status: self.expect_status,
        };
        let request = load::request(request).map_err(|problem| {
            let key = problem.to_string();
            let flag =
                [("method", "-X"), ("headers", "-H"), ("expectStatus", "--expect-status"), ("path", "URL")];
            let flag = flag.iter().find(|(part, _)| key.starts_with(&format!("load.request.{part}")));
            at(flag.map_or("load", |(_, flag)| flag), problem)
        })?;
        let target = Target::Url(origin.clone());
        let tls = self.ca.map(|ca| load::tls(RawTls { ca: Some(ca), server_name: None }, &target));
        let tls = tls.transpose().map_err(|problem| at("--cacert", problem))?;
        let (timeout, late_over) = (self.timeout, self.late_over);
        let load = Load { target, tls, request, timeout, late_over, ..Load::new(lanes) };
        load::pooled_is_plain(&load).map_err(|problem| at("--lanes", problem))?;
        load::ends_within_a_record(&load).map_err(|problem| at("--timeout", problem))?;
        Ok((load, origin))
    }

    fn lanes(&self) -> Result<Vec<Lane>, ScenarioError> {
        let refused =
            |flag: &str, text: String, allowed: &str| at(flag, Problem::value("load.lanes", text, allowed));
        if let Some(rate) = self.rate.filter(|rate| !(*rate > 0.0 && *rate <= MOST_RATE)) {
            let allowed = "above 0, up to 1000000 requests a second, or max";
            return Err(refused("--rate", format!("{rate} is not a rate"), allowed));
        }
        if !(1..=Lane::MOST_CONNECTIONS).contains(&self.connections) {
            let text = format!("{} is no number of connections", self.connections);
            return Err(refused("-c", text, "1 to 10000"));
        }
        if self.rate.is_none() && self.exact {
            let text = "a closed loop has no time at which a request is due".to_owned();
            return Err(refused("--exact", text, "with --rate R"));
        }
        if let (Some(ramp), None) = (self.ramp, self.rate) {
            let text = format!(
                "{} until the full rate: a closed loop has no rate",
                crate::settings::human::format(ramp.over)
            );
            return Err(refused("--ramp", text, "with --rate R"));
        }
        if let Some(ramp) = self.ramp.filter(|ramp| !(0.0..=MOST_RATE).contains(&ramp.from)) {
            return Err(refused(
                "--ramp-from",
                format!("{} is not a rate", ramp.from),
                "0 to 1000000 requests a second",
            ));
        }
        let mut kinds: Vec<LaneKind> = self.lanes.iter().map(|(kind, _)| *kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let total: f64 = self.lanes.iter().map(|(_, weight)| weight).sum();
        // Beyond these a share is no rate any more.
        let are_weights = self.lanes.iter().all(|(_, weight)| (1e-3..=1e6).contains(weight));
        if kinds.len() < self.lanes.len() || kinds.is_empty() || !are_weights {
            let all = LaneKind::ALL.map(LaneKind::as_str).join(", ");
            let allowed = format!("{all}, each at most once, with a weight of 0.001 to 1000000");
            return Err(refused("--lanes", "these are no lanes".to_owned(), &allowed));
        }
        Ok(self.lanes.iter().map(|(kind, weight)| self.lane(*kind, weight / total)).collect())
    }

    fn lane(&self, kind: LaneKind, share: f64) -> Lane {
        // Of many lanes on few connections each has one, or it could send nothing in a closed loop.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most the connections"
        )]
        let connections = ((f64::from(self.connections) * share).round() as u32).max(1);
        Lane {
            connections,
            arrivals: if self.rate.is_some() { self.arrivals } else { Arrivals::Closed },
            ramp: self.ramp.map(|ramp| Ramp { from: ramp.from * share, over: ramp.over }),
            ..Lane::new(kind, self.rate.map_or(0.0, |rate| rate * share))
        }
    }
}

/// Nothing of ours runs.
fn no_workload() -> Workload {
    let (max_surge, max_unavailable) = (Amount::Pods(0), Amount::Pods(0));
    Workload {
        replicas: 0,
        min_ready_seconds: 0,
        termination_grace_period_seconds: 0,
        lifecycle: Lifecycle::default(),
        readiness_probe: None,
        liveness_probe: None,
        publish_not_ready_addresses: false,
        strategy: Strategy { max_surge, max_unavailable },
        program: Program::Command(vec![]),
    }
}

fn at(flag: &str, problem: Problem) -> ScenarioError {
    problem.located(|_| Place::Flag(flag.into()))
}

/// Scheme, host and port apart from path and query.
fn target(url: &str) -> Result<(String, String), Problem> {
    http_or_https_url("load.target", url)?;
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let (authority, rest) = url[after_scheme..]
        .split_at(url[after_scheme..].find(['/', '?', '#']).unwrap_or(url.len() - after_scheme));
    if authority.contains('@') {
        let problem = "the URL names a user, and that would not be sent";
        return Err(Problem::value("load.target", problem, "the header Authorization, with -H"));
    }
    // A fragment is the client's own.
    let path = rest.split('#').next().unwrap_or_default();
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let origin = format!("{}{authority}", url[..after_scheme].to_ascii_lowercase());
    Ok((origin, http_path("load.request.path", Some(path), "/")?))
}

/// Values may be credentials: an error names a header, never what it holds.
fn headers(given: &[String]) -> Result<BTreeMap<String, String>, Problem> {
    let mut headers = BTreeMap::new();
    for header in given {
        let refuse = |problem: String| {
            Err(Problem::value("load.request.headers", problem, "Name: value, each name once"))
        };
        let Some((name, value)) = header.split_once(':') else {
            return refuse("a header without a colon".to_owned());
        };
        let name = name.trim();
        if !is_token(name) {
            return refuse(format!("{} is not the name of a header", quoted(name)));
        }
        let is_known = headers.keys().any(|known: &String| known.eq_ignore_ascii_case(name));
        if is_known {
            return refuse(format!("{} is given twice", quoted(name)));
        }
        headers.insert(name.to_owned(), value.trim().to_owned());
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone() -> Alone {
        Alone {
            url: "http://shop.example:8080/a?b=c#d".to_owned(),
            rate: Some(1000.0),
            connections: 50,
            lanes: vec![(LaneKind::Reused, 3.0), (LaneKind::New, 1.0)],
            arrivals: Arrivals::Poisson,
            ramp: Some(Ramp { from: 100.0, over: Duration::from_secs(2) }),
            exact: false,
            timeout: Duration::from_secs(5),
            late_over: Duration::from_secs(1),
            late_fails: false,
            duration: Some(Duration::from_secs(10)),
            method: "GET".to_owned(),
            headers: vec!["X-Tenant: a: b".to_owned()],
            body: None,
            ca: None,
            expect_status: None,
            seed: 7,
        }
    }

    #[test]
    fn flags_become_one_arm_without_a_workload() {
        let plan = alone().plan().unwrap();
        let [arm] = &plan.arms[..] else { panic!("{:?}", plan.arms) };
        assert_eq!(arm.load.target, Target::Url("http://shop.example:8080".to_owned()));
        assert_eq!(arm.load.request.path, "/a?b=c");
        assert_eq!(arm.load.request.headers["X-Tenant"], "a: b");
        assert!(!arm.has_workload() && arm.disruption == Disruption::None);
        let shares: Vec<_> = arm.load.lanes.iter().map(|lane| (lane.rate, lane.connections)).collect();
        assert_eq!(shares, [(750.0, 38), (250.0, 13)]);
        let ramp = Ramp { from: 25.0, over: arm.load.lanes[1].ramp.unwrap().over };
        assert_eq!(arm.load.lanes[1].ramp, Some(ramp));
        assert_eq!(plan.seed, 7);
    }

    #[test]
    fn without_a_rate_it_is_a_closed_loop_that_says_so() {
        let plan = Alone { rate: None, ramp: None, ..alone() }.plan().unwrap();
        assert!(plan.arms[0].load.lanes.iter().all(|lane| lane.arrivals == Arrivals::Closed));
        assert!(plan.notes[0].contains("closed loop"));
    }

    #[test]
    fn a_url_may_be_no_more_than_a_host() {
        assert_eq!(target("HTTP://a").unwrap(), ("http://a".to_owned(), "/".to_owned()));
        assert_eq!(target("http://a?q").unwrap(), ("http://a".to_owned(), "/?q".to_owned()));
        assert_eq!(target("http://[::1]:80#x").unwrap(), ("http://[::1]:80".to_owned(), "/".to_owned()));
    }

    #[test]
    fn what_is_wrong_names_its_flag() {
        type Case = (fn(&mut Alone), &'static str, &'static str);

        let refused = |change: fn(&mut Alone)| {
            let mut flags = alone();
            change(&mut flags);
            flags.plan().unwrap_err().to_string()
        };
        let table: [Case; 13] = [
            (|f| f.url = "shop".into(), "URL", "not a URL"),
            (|f| f.url = "http://me:secret@shop/".into(), "URL", "names a user"),
            (|f| f.rate = Some(0.0), "--rate", "0 is not a rate"),
            (|f| f.rate = Some(f64::NAN), "--rate", "not a rate"),
            (|f| f.rate = None, "--ramp", "a closed loop has no rate"),
            (|f| (f.rate, f.ramp, f.exact) = (None, None, true), "--exact", "a closed loop has no time"),
            (|f| f.connections = 0, "-c", "1 to 10000"),
            (|f| f.lanes = vec![], "--lanes", "reused"),
            (|f| f.lanes = vec![(LaneKind::New, 1.0), (LaneKind::New, 1.0)], "--lanes", "at most once"),
            (|f| f.headers = vec!["a".into()], "-H", "without a colon"),
            (|f| f.headers = vec!["a: 1".into(), "A: 2".into()], "-H", "given twice"),
            (|f| f.method = "G T".into(), "-X", "not a method"),
            (|f| f.timeout = Duration::from_mins(7), "--timeout", "up to 360s"),
        ];
        for (change, flag, says) in table {
            let error = refused(change);
            assert!(error.starts_with(flag) && error.contains(says), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
