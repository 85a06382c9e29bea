//! What is put on top of a scenario's file, and beneath it.

use super::error::{Place, Problem, ScenarioError, one_line, quoted};
use super::redact;
use super::tree::{Node, Value};
use super::yaml::{self, Source};

/// Settings that arms may differ in.
const VARIABLE: [&str; 5] = ["workload", "load", "disruption", "settle", "local"];

/// Lanes where none are stated: against our own server, which knows how to be slow and to echo …
const OUR_LANES: &str = "{new: {rate: 300}, reused: {rate: 300, connections: 20}, \
                         slow: {rate: 20, delay: 2s}, post: {rate: 20}}";
/// … and against any server, which may have one thread and no idea of either.
const ANY_LANES: &str = "{new: {rate: 100}, reused: {rate: 100, connections: 20}}";
const OUR_PROBE: &str = "{httpGet: {path: /readyz}, periodSeconds: 1, failureThreshold: 1}";
const ANY_PROBE: &str = "{tcpSocket: {}, periodSeconds: 1, failureThreshold: 1}";

/// What runs in the pods decides some defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Runs {
    OurServer,
    Command,
}

/// Lanes and probe as they are by default, in the tree, so that `--set load.lanes.new.rate=50` changes one of them
/// and keeps the rest. A stated probe or set of lanes replaces the default whole.
pub(super) fn fill_defaults(tree: &mut Node, runs: Runs) -> Result<(), ScenarioError> {
    let (lanes, probe) = match runs {
        Runs::OurServer => (OUR_LANES, OUR_PROBE),
        Runs::Command => (ANY_LANES, ANY_PROBE),
    };
    if !lanes_stated(tree) {
        put_default(tree, "load.lanes", lanes)?;
    }
    // A probe of null is stated: none.
    if tree.at("workload.readinessProbe").is_none() {
        put_default(tree, "workload.readinessProbe", probe)?;
    }
    Ok(())
}

/// True if the file says which lanes there are.
pub(super) fn lanes_stated(tree: &Node) -> bool {
    tree.at("load.lanes").is_some_and(|lanes| lanes.value != Value::Null)
}

fn put_default(tree: &mut Node, path: &str, yaml: &str) -> Result<(), ScenarioError> {
    let value = yaml::read(yaml, &Source::Fixed(Place::Default))?;
    tree.set(path, value).map_err(|problem| problem.located(|_| Place::Default))
}

/// `KEY=VALUE` of a `--set`.
pub(super) fn parse_set(argument: &str) -> Result<(String, Node), ScenarioError> {
    let (key, value, place) = split("--set", argument)?;
    Ok((key, yaml::read(value, &Source::Fixed(place))?))
}

/// A key and the values it takes, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Vary {
    pub(super) key: String,
    pub(super) values: Vec<Node>,
    place: Place,
}

impl Vary {
    /// `KEY=V1,V2` of a `--vary`; between brackets and quotes a comma does not separate.
    pub(super) fn parse(argument: &str) -> Result<Self, ScenarioError> {
        let (key, values, place) = split("--vary", argument)?;
        let list = yaml::read(&format!("[{values}]"), &Source::Fixed(place.clone()))?;
        Self::new(key, place, &list).map_err(|problem| problem.located(|_| Place::Default))
    }

    /// The scenario's own, removed from its tree.
    pub(super) fn take_from(tree: &mut Node) -> Result<Vec<Self>, Problem> {
        let Some(vary) = tree.take("vary") else { return Ok(Vec::new()) };
        match vary.value {
            Value::Null => Ok(Vec::new()),
            Value::Map(entries) => {
                entries.into_iter().map(|entry| Self::new(entry.key, entry.place, &entry.node)).collect()
            }
            Value::Scalar { .. } | Value::List(_) => {
                let problem = "is not a map; allowed: a map of dotted paths to lists of values";
                Err(Problem::of("vary", problem).at(&vary.place))
            }
        }
    }

    fn new(key: String, place: Place, values: &Node) -> Result<Self, Problem> {
        let refuse = |at: &Place, problem: String| Err(Problem::of("vary", problem).under_key(&key).at(at));
        if !VARIABLE
            .iter()
            .any(|root| key.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
        {
            let allowed = VARIABLE.join(", ");
            return refuse(&place, format!("is the same for all arms; allowed: paths into {allowed}"));
        }
        if key.split('.').any(str::is_empty) {
            return refuse(&place, "is not a path; allowed: keys joined by single dots".to_owned());
        }
        let items = match &values.value {
            Value::List(items) if !items.is_empty() => items,
            Value::List(_) => {
                return refuse(&values.place, "has no values; allowed: at least one".to_owned());
            }
            _ => return refuse(&values.place, format!("{values} is not a list; allowed: a list of values")),
        };
        let mut seen = std::collections::BTreeSet::new();
        for item in items {
            if !seen.insert(item.to_string()) {
                let shown = if redact::is_sensitive(&key) { "a value".to_owned() } else { item.to_string() };
                return refuse(&item.place, format!("{shown} is stated twice; allowed: each value once"));
            }
        }
        Ok(Self { values: items.clone(), key, place })
    }

    /// Where the key was stated.
    pub(super) const fn place(&self) -> &Place {
        &self.place
    }

    /// That a flag also sets it to one value.
    pub(super) fn also_set(&self) -> ScenarioError {
        Problem::of("vary", "is both set and varied; allowed: one of the two")
            .under_key(&self.key)
            .at(&self.place)
            .located(|_| Place::Default)
    }

    /// `preStop.sleep.seconds=2`: the last segments say enough.
    pub(super) fn label(&self, index: usize, value: &Node) -> String {
        const SEGMENTS: usize = 3;
        let segments: Vec<&str> = self.key.split('.').collect();
        let last = segments.get(segments.len().saturating_sub(SEGMENTS)..).unwrap_or_default().join(".");
        if redact::is_sensitive(&self.key) || redact::is_sensitive(&value.to_string()) {
            return format!("{last}={} {}", redact::REDACTED, index + 1);
        }
        format!("{last}={value}")
    }
}

/// Key, value, and the flag as the place of both.
fn split<'a>(flag: &str, argument: &'a str) -> Result<(String, &'a str, Place), ScenarioError> {
    let wrong = |problem: String| ScenarioError::Syntax {
        place: Place::Flag(format!("{flag} {}", one_line(argument)).into()),
        problem,
    };
    let Some((key, value)) = argument.split_once('=') else {
        return Err(wrong("has no value; allowed: KEY=VALUE".to_owned()));
    };
    let key = key.trim();
    if key.split('.').any(str::is_empty) {
        return Err(wrong(format!("{} is not a key; allowed: keys joined by single dots", quoted(key))));
    }
    let shown = if redact::is_sensitive(argument) { "…".to_owned() } else { one_line(value) };
    Ok((key.to_owned(), value, Place::Flag(format!("{flag} {}={shown}", one_line(key)).into())))
}
