//! Names of the edges of a termination, as people say them.

use trial::report::{Arm, Pod};

use crate::facts::closed;
use crate::units::duration;

/// The edge that a timeline starts with.
pub(super) const DELETE: &str = "delete requested";

/// `pre_stop_started` as `preStop started`. With or without `_ns`; what is not known stays as it is.
pub(super) fn name(edge: &str) -> &str {
    match edge.strip_suffix("_ns").unwrap_or(edge) {
        "delete_requested" => DELETE,
        "terminating" => "deletionTimestamp set",
        "t0" => "grace starts (T0)",
        "pre_stop_started" => "preStop started",
        "pre_stop_ended" => "preStop ended",
        "sigterm" => "SIGTERM",
        "listener_closed" => "listener closed",
        "drained" => "drained",
        "killed" => "SIGKILL",
        "exited" => "exited",
        "ip_gone" => "address gone",
        "gone" => "pod object gone",
        "endpoint_removed" => "endpoint removed",
        other => other,
    }
}

/// An edge with its time.
pub(super) struct Edge {
    pub(super) at_ns: u64,
    pub(super) text: String,
}

/// Edges with a time, in the order of time, and the names of those without.
pub(super) fn of(arm: &Arm, pod: &Pod) -> (Vec<Edge>, Vec<String>) {
    let mut seen = Vec::new();
    let mut unseen = Vec::new();
    for (edge, at_ns) in pod.timeline.edges() {
        let Some(at_ns) = at_ns else {
            if is_due(arm, pod, edge) {
                unseen.push(name(edge).to_owned());
            }
            continue;
        };
        let how = if edge == "exited" { how_it_ended(pod) } else { String::new() };
        let inferred =
            pod.inferred.iter().any(|inferred| inferred.strip_suffix("_ns").unwrap_or(inferred) == edge);
        let text = format!("{}{how}{}", name(edge), if inferred { " (inferred)" } else { "" });
        seen.push(Edge { at_ns, text });
    }
    for removal in removals(pod) {
        match removal.at_ns {
            Some(at_ns) => seen.push(Edge { at_ns, text: format!("endpoint removed on {}", removal.nodes) }),
            None => unseen.push(format!("endpoint removed on {}", removal.nodes)),
        }
    }
    seen.sort_by_key(|edge| edge.at_ns);
    (seen, unseen)
}

fn how_it_ended(pod: &Pod) -> String {
    match pod.exit.map(|exit| (exit.code, exit.signal)) {
        Some((_, Some(signal))) => format!(" by signal {signal}"),
        Some((Some(code), None)) => format!(" with code {code}"),
        _ => String::new(),
    }
}

/// False for edges that a termination need not have: then null is no gap in what was observed.
fn is_due(arm: &Arm, pod: &Pod, edge: &str) -> bool {
    match edge {
        "killed" => pod.timeline.exited_ns.is_none(),
        "pre_stop_started" | "pre_stop_ended" => {
            arm.settings.pointer("/lifecycle/preStop").is_none_or(|hook| !hook.is_null())
        }
        _ => true,
    }
}

/// When rules stopped naming a pod.
pub(super) struct Removal {
    /// `node-1`, or `first of 40 nodes`.
    pub(super) nodes: String,
    pub(super) at_ns: Option<u64>,
}

/// Each node, or of many nodes the first and the last: these two decide.
pub(super) fn removals(pod: &Pod) -> Vec<Removal> {
    const EACH: usize = 4;
    if pod.endpoint.len() <= EACH {
        return pod
            .endpoint
            .iter()
            .map(|of| Removal { nodes: of.node.clone(), at_ns: of.removed_ns })
            .collect();
    }
    let all = pod.endpoint.len();
    let times = || pod.endpoint.iter().filter_map(|of| of.removed_ns);
    let mut removals = vec![
        Removal { nodes: format!("first of {all} nodes"), at_ns: times().min() },
        Removal { nodes: format!("last of {all} nodes"), at_ns: times().max() },
    ];
    let missing = all - times().count();
    if missing > 0 {
        removals.push(Removal { nodes: format!("{missing} of {all} nodes"), at_ns: None });
    }
    removals
}

/// The race of the two flows, in a number for each node: so long were new connections still sent to a pod that took none, or so
/// early had they ceased.
pub(super) fn races(pod: &Pod) -> Vec<String> {
    let Some((closed, what)) = closed(pod) else { return Vec::new() };
    let told = |removal: &Removal| {
        let removed = removal.at_ns?;
        let order = if removed < closed { "before" } else { "after" };
        Some(format!(
            "endpoint gone on {} {} {order} {what}",
            removal.nodes,
            duration(removed.abs_diff(closed))
        ))
    };
    removals(pod).iter().filter_map(told).collect()
}
