//! Arms beside each other, and the requests of one.

use trial::plan::Role;
use trial::report::{Agent, Arm, Lane, Requests, Terminations, Verdict};

use super::page::Page;
use crate::facts::{Names, bad_of_exposed, dash, lanes_of, troubles_in, verdict_of};
use crate::style::Style;
use crate::table::{Cell, Table};
use crate::units::{count, counted, duration, percent_at_most};
use crate::wrap::columns;

/// Names of arms take this part of the page at most, in per cent.
pub(super) const NAME_SHARE: usize = 40;

/// One row an arm. Names that do not fit are told below, by number: cut off they would be the same.
pub(super) fn table(page: &mut Page, arms: &[Arm]) {
    page.heading(
        "Arms",
        "bad / exposed: pods with a failed or late request, of those terminated under load (95 % bound)",
    );
    let names = Names::of(arms, page.width() * NAME_SHARE / 100);
    let lanes = lanes_of(arms);
    let mut header = ["arm", "verdict", "sent", "failed", "late", "unsent"].map(str::to_owned).to_vec();
    header.extend(lanes.iter().map(|lane| format!("in {lane}")));
    header.extend(["bad / exposed", "rollout"].map(str::to_owned));
    let rows = arms.iter().enumerate().map(|(number, arm)| {
        let mut row = vec![Cell::new(names.short(number)), verdict(arm), Cell::new(count(arm.requests.sent))];
        row.extend(troubles(&arm.requests));
        row.extend(lanes.iter().map(|lane| Cell::new(troubles_in(arm, lane))));
        row.push(Cell::new(bad_of_exposed(arm)));
        row.push(Cell::new(arm.rollouts.duration_ns.map_or_else(dash, duration)));
        row
    });
    page.table(&Table { header, left: 2, rows: rows.collect() });
    for (index, (short, name)) in names.explained().enumerate() {
        if index == 0 {
            page.blank();
        }
        let first = format!("  {short} ");
        page.sentence(Style::Plain, &first, &" ".repeat(columns(&first)), name);
    }
}

/// Lanes, and what the terminations of a trial arm prove.
pub(super) fn requests(page: &mut Page, arm: &Arm) {
    page.heading(
        "Requests",
        "latency counts from when each request was due; lag is how late the client was with it",
    );
    if arm.lanes.is_empty() {
        page.sentence(Style::Warn, "  ", "  ", "No lane was recorded.");
    } else {
        page.table(&lanes(&arm.lanes));
    }
    if arm.agents.len() > 1 {
        page.blank();
        page.table(&agents(&arm.agents));
    }
    let proof = proof(arm);
    if !proof.is_empty() {
        page.blank();
        page.sentence(Style::Plain, "  ", "  ", &proof);
    }
}

/// One line for each control arm.
pub(super) fn controls(page: &mut Page, arms: &[Arm]) {
    let controls: Vec<&Arm> = arms.iter().filter(|arm| arm.role != Role::Trial).collect();
    if controls.is_empty() {
        return;
    }
    page.heading("Controls", "");
    for arm in controls {
        let purpose = match arm.role {
            Role::NegativeControl => "a server that exits at once on SIGTERM, to show that failures are seen",
            _ => "the same load without disruption, to show that the measurement is clean",
        };
        let requests = &arm.requests;
        let found = format!(
            "{}: {purpose}: {} sent, {} failed, {} late, {} unsent.",
            arm.name,
            count(requests.sent),
            count(requests.failed),
            count(requests.late),
            count(requests.unsent)
        );
        page.sentence(Style::Plain, "  • ", "    ", &found);
    }
}

fn verdict(arm: &Arm) -> Cell {
    let failed = arm.requests.failed > 0;
    let style = match (arm.role, arm.verdict) {
        (Role::NegativeControl, _) if failed => Style::Good,
        (Role::NegativeControl, _) => Style::WarnBanner,
        (Role::Control, _) if failed => Style::WarnBanner,
        (Role::Control, Verdict::Pass) => Style::Good,
        (_, Verdict::Pass) => Style::GoodBanner,
        (_, Verdict::Fail) => Style::BadBanner,
        (_, Verdict::Inconclusive) => Style::WarnBanner,
    };
    Cell::new(verdict_of(arm)).style(style)
}

fn lanes(lanes: &[Lane]) -> Table {
    // A column that is zero in every finished run appears only when it says something.
    let interrupted = lanes.iter().any(|lane| lane.requests.interrupted > 0);
    let mut header = vec!["lane", "sent", "ok", "failed", "late", "unsent"];
    if interrupted {
        header.push("cut short");
    }
    header.extend(["p50", "p99", "p99.9", "max", "lag p99", "conns", "idle closes"]);
    let rows = lanes.iter().map(|lane| {
        let requests = &lane.requests;
        let mut row =
            vec![Cell::new(&lane.name), Cell::new(count(requests.sent)), Cell::new(count(requests.ok))];
        row.extend(troubles(requests));
        if interrupted {
            row.push(Cell::new(count(requests.interrupted)));
        }
        let latency = lane.latency_ns;
        row.extend(
            [
                latency.map(|of| of.p50),
                latency.map(|of| of.p99),
                latency.map(|of| of.p999),
                latency.map(|of| of.max),
            ]
            .into_iter()
            .chain([lane.schedule_lag_ns.map(|of| of.p99)])
            .map(|value| Cell::new(value.map_or_else(dash, duration))),
        );
        row.push(Cell::new(count(lane.connections_opened)));
        row.push(Cell::new(lane.idle_closes.map_or_else(dash, count)));
        row
    });
    Table { header: header.into_iter().map(str::to_owned).collect(), left: 1, rows: rows.collect() }
}

/// One row an agent: failures are seen from a node, and another may not see them.
fn agents(agents: &[Agent]) -> Table {
    let header = ["agent", "node", "sent", "failed", "late", "first failure", "last failure", "clock ±"];
    let rows = agents.iter().map(|agent| {
        let at = |stamp: Option<u64>| Cell::new(stamp.map_or_else(dash, duration));
        vec![
            Cell::new(agent.agent.to_string()),
            Cell::new(&agent.node),
            Cell::new(count(agent.sent)),
            Cell::new(count(agent.failed)),
            Cell::new(count(agent.late)),
            at(agent.first_failure_ns),
            at(agent.last_failure_ns),
            Cell::new(duration(agent.clock_uncertainty_ns)),
        ]
    });
    Table { header: header.map(str::to_owned).to_vec(), left: 2, rows: rows.collect() }
}

/// Failed, late and unsent, which stand out when they are not zero.
fn troubles(requests: &Requests) -> [Cell; 3] {
    let cell = |number: u64, style: Style| {
        Cell::new(count(number)).style(if number == 0 { Style::Plain } else { style })
    };
    [
        cell(requests.failed, Style::BadBanner),
        cell(requests.late, Style::BadBanner),
        cell(requests.unsent, Style::WarnBanner),
    ]
}

/// What the terminations prove, in sentences.
fn proof(arm: &Arm) -> String {
    let mut sentences = Vec::new();
    sentences.extend(answered(arm));
    if arm.terminations.total > 0 {
        sentences.push(terminated(arm));
        sentences.extend(bound(arm));
    }
    sentences
        .extend(arm.rollouts.duration_ns.map(|nanos| format!("The disruption took {}.", duration(nanos))));
    sentences.extend(
        arm.detection_floor_ns
            .map(|nanos| format!("A gap shorter than {} on one pod may have gone unseen.", duration(nanos))),
    );
    if arm.failures_before_disruption > 0 {
        let failures = counted(arm.failures_before_disruption, "failure");
        sentences.push(format!("{failures} came before the disruption, which did not cause them."));
    }
    sentences.join(" ")
}

/// What a load without a workload of ours is about.
fn answered(arm: &Arm) -> Option<String> {
    let nanos = arm.load_duration_ns.filter(|nanos| arm.settings.is_null() && *nanos > 0)?;
    let answered = arm.requests.ok + arm.requests.late;
    let a_second =
        u64::try_from(u128::from(answered) * 1_000_000_000 / u128::from(nanos)).unwrap_or(u64::MAX);
    Some(format!(
        "{} answered in {}: {} a second.",
        counted(answered, "request"),
        duration(nanos),
        count(a_second)
    ))
}

fn terminated(arm: &Arm) -> String {
    let Terminations { total, exposed, bad, .. } = arm.terminations;
    let pods = counted(total, "pod");
    match (exposed, bad) {
        (0, _) => {
            format!("{pods} terminated, but no request was due to them meanwhile: that proves nothing.")
        }
        (_, 0) => {
            format!("{pods} terminated, {} under load, none with a failed or late request.", count(exposed))
        }
        _ => format!(
            "{pods} terminated, {} under load, {} with a failed or late request.",
            count(exposed),
            count(bad)
        ),
    }
}

/// `None` where nothing bounds it, or where all were bad: a bound of one says nothing.
fn bound(arm: &Arm) -> Option<String> {
    let (terminations, rollouts) = (&arm.terminations, &arm.rollouts);
    let rate = terminations.rate_upper_95.filter(|_| terminations.bad < terminations.exposed)?;
    let of_rollouts = rollouts.rate_upper_95.filter(|_| rollouts.bad < rollouts.total);
    let of_rollouts =
        of_rollouts.map_or_else(String::new, |rate| format!(", {} of rollouts", percent_at_most(rate)));
    let lower = if terminations.bad == 0 { "; more repeats lower it" } else { "" };
    Some(format!(
        "Upper 95 % bound of bad ones: {} of terminations{of_rollouts}{lower}.",
        percent_at_most(rate)
    ))
}
