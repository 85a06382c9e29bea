//! A scenario before it has types: every value with the place where it was stated, so that layers can be put on top
//! of each other and an error still names its own.

use std::fmt;

use super::error::{Place, Problem, one_line, quoted};

/// A value and where it was stated.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// As YAML's core schema sees it, except that scalars keep their text: `kubelet: 1.30` is not 1.3.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Scalar { text: String, plain: bool },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a map; its place is what an unknown key is reported at.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

/// Keys that exclude each other: `preStop.sleep` takes the place of `preStop.exec`.
const ALTERNATIVES: [(&str, &[&str]); 4] = [
    ("workload.lifecycle.preStop", &["sleep", "exec", "httpGet"]),
    ("workload.lifecycle.postStart", &["sleep", "exec", "httpGet"]),
    ("workload.readinessProbe", &["httpGet", "tcpSocket", "exec"]),
    ("disruption", &["rolloutRestart", "deletePods", "evict", "scale", "drainNode", "none"]),
];

impl Node {
    /// An empty map.
    pub(super) const fn map(place: Place) -> Self {
        Self { place, value: Value::Map(Vec::new()) }
    }

    /// The value under a key of this map.
    pub(super) fn child(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node),
            Value::List(items) => items.get(key.parse::<usize>().ok()?),
            Value::Null | Value::Scalar { .. } => None,
        }
    }

    /// The value at a dotted path.
    pub(super) fn at(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |node, key| node.child(key))
    }

    /// Removes and returns the value under a key of this map.
    pub(super) fn take(&mut self, key: &str) -> Option<Self> {
        let Value::Map(entries) = &mut self.value else { return None };
        let index = entries.iter().position(|entry| entry.key == key)?;
        Some(entries.remove(index).node)
    }

    /// Where the setting at a path was stated, or else the nearest one above it that was.
    pub(super) fn place_of(&self, path: &[String]) -> Place {
        let mut node = self;
        let mut place = Place::Default;
        for key in path {
            let Some(child) = node.child(key) else { break };
            node = child;
            place = node.place.clone();
        }
        place
    }

    /// Puts a value at a dotted path, making maps on the way and removing what the path excludes.
    ///
    /// # Errors
    /// The path leads into a list, beyond its end.
    pub(super) fn set(&mut self, path: &str, value: Self) -> Result<(), Problem> {
        let mut node = self;
        let mut done = 0;
        for key in path.split('.') {
            let above = path.get(..done).unwrap_or_default().trim_end_matches('.');
            done += key.len() + 1;
            node = node.enter(above, key, &value.place).map_err(|problem| problem.at(&value.place))?;
        }
        *node = value;
        Ok(())
    }

    /// The value under `key`, made if need be; `above` is the path of this node.
    fn enter(&mut self, above: &str, key: &str, place: &Place) -> Result<&mut Self, Problem> {
        if !matches!(self.value, Value::Map(_) | Value::List(_)) {
            *self = Self::map(place.clone());
        }
        let child = match &mut self.value {
            Value::List(items) => key.parse::<usize>().ok().and_then(|index| items.get_mut(index)),
            Value::Map(entries) => Some(entry_of(entries, above, key, place)),
            Value::Null | Value::Scalar { .. } => None,
        };
        child.ok_or_else(|| Problem::of(above, format!("{} is no position in this list", quoted(key))))
    }
}

/// The value under a key, made if need be, without what the key excludes.
fn entry_of<'a>(entries: &'a mut Vec<Entry>, above: &str, key: &str, place: &Place) -> &'a mut Node {
    if let Some((_, group)) = ALTERNATIVES.iter().find(|(path, group)| *path == above && group.contains(&key))
    {
        entries.retain(|entry| entry.key == key || !group.contains(&entry.key.as_str()));
    }
    let index = entries.iter().position(|entry| entry.key == key).unwrap_or(entries.len());
    if index == entries.len() {
        let node = Node { place: place.clone(), value: Value::Null };
        entries.push(Entry { key: key.to_owned(), place: place.clone(), node });
    }
    &mut entries[index].node
}

/// As in YAML's flow style, on one line.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Null => f.write_str("null"),
            Value::Scalar { text, .. } => f.write_str(&one_line(text)),
            Value::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Value::Map(entries) => {
                f.write_str("{")?;
                for (index, entry) in entries.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(f, "{separator}{}: {}", one_line(&entry.key), entry.node)?;
                }
                f.write_str("}")
            }
        }
    }
}
