//! YAML text to a tree of located values.
//!
//! serde-saphyr's parser is driven event by event instead of through its serde front end: layers need a tree, the
//! tree needs places, and scalars must keep their text. Everything is bounded, because a scenario may come from anyone.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, options};

use super::error::{Place, ScenarioError, one_line, quoted};
use super::tree::{Entry, Node, Value};

/// No scenario is near it.
const MOST_BYTES: usize = 1024 * 1024;
/// Values after aliases are expanded; the richest scenario has a few hundred.
const MOST_VALUES: usize = 4000;
/// Levels after aliases are expanded; the deepest key has seven.
const MOST_LEVELS: usize = 32;

/// Where the text came from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// A file: places are lines and columns.
    File(Arc<str>),
    /// A flag or the defaults: every value has the same place.
    Fixed(Place),
}

impl Source {
    fn place(&self, line: usize, column: usize) -> Place {
        match self {
            Self::File(file) => Place::File { file: Arc::clone(file), line, column },
            Self::Fixed(place) => place.clone(),
        }
    }
}

/// Reads a scenario's file.
pub(super) fn read_file(name: &str, bytes: &[u8]) -> Result<Node, ScenarioError> {
    let name = one_line(name);
    let refuse = |problem: String| ScenarioError::File { file: name.clone(), problem };
    if bytes.len() > MOST_BYTES {
        return Err(refuse(format!("{} bytes are too many for a scenario; allowed: 1 MiB", bytes.len())));
    }
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(refuse(format!("is a binary file (NUL at byte {at}); allowed: YAML text in UTF-8")));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        refuse(format!("is not UTF-8 (byte {}); allowed: YAML text in UTF-8", error.valid_up_to()))
    })?;
    let node = read(text, &Source::File(name.as_str().into()))?;
    match node.value {
        Value::Map(_) => Ok(node),
        Value::Null => Err(refuse("is empty; allowed: a map of a scenario's keys".to_owned())),
        Value::Scalar { .. } | Value::List(_) => Err(ScenarioError::Syntax {
            place: node.place,
            problem: "is not a scenario; allowed: a map of a scenario's keys".to_owned(),
        }),
    }
}

/// Reads one value; empty text is null.
pub(super) fn read(text: &str, source: &Source) -> Result<Node, ScenarioError> {
    let options = options! { emit_comments: false, disallow_directives: true };
    let mut builder = Builder::default();
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next.map_err(|error| ScenarioError::Syntax {
            place: source.place(error.marker().line(), error.marker().col() + 1),
            problem: format!("is not YAML: {}", one_line(&error.kind().to_string())),
        })?;
        let place = source.place(span.start.line(), span.start.col() + 1);
        builder
            .event(event, span, place.clone())
            .map_err(|problem| ScenarioError::Syntax { place, problem })?;
    }
    Ok(builder.root.unwrap_or_else(|| Node { place: source.place(1, 1), value: Value::Null }))
}

/// A collection whose end has not come.
enum Open {
    List(Place, Vec<Node>),
    /// With the key whose value comes next.
    Map(Place, Vec<Entry>, Option<(String, Place)>),
}

#[derive(Default)]
struct Builder {
    open: Vec<(Open, usize)>,
    anchors: BTreeMap<usize, Node>,
    values: usize,
    bytes: usize,
    root: Option<Node>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: Span, place: Place) -> Result<(), String> {
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                Err("a second document starts here; allowed: one scenario in a file".to_owned())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let text_tag = tag.as_ref().is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
                if tag.is_some() && !text_tag {
                    return Err("tags are not part of scenarios; allowed: plain YAML".to_owned());
                }
                self.charge(1, text.len(), 0)?;
                let plain = style == ScalarStyle::Plain && !text_tag;
                let value = if plain && is_null(&text) {
                    Value::Null
                } else {
                    Value::Scalar { text: text.into_owned(), plain }
                };
                // An empty value has no text of its own, and the parser's mark for it may lie on a later line.
                let place = if span.is_empty() { self.pending_place().unwrap_or(place) } else { place };
                self.finish(Node { place, value }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.start(Open::List(place, Vec::new()), anchor, tag.is_some())
            }
            Event::MappingStart(_, anchor, tag) => {
                self.start(Open::Map(place, Vec::new(), None), anchor, tag.is_some())
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some((Open::List(place, items), anchor)) => {
                    self.finish(Node { place, value: Value::List(items) }, anchor)
                }
                Some((Open::Map(place, entries, _), anchor)) => {
                    self.finish(Node { place, value: Value::Map(entries) }, anchor)
                }
                None => Err("a collection ends that never began".to_owned()),
            },
            Event::Alias(id) => {
                // Copied before it is charged: one anchor was itself within bounds.
                let node = self.anchors.get(&id).cloned().ok_or("an alias stands inside its own anchor")?;
                let (values, bytes, levels) = size(&node);
                self.charge(values, bytes, levels)?;
                self.finish(node, 0)
            }
            _ => Ok(()),
        }
    }

    fn pending_place(&self) -> Option<Place> {
        match self.open.last() {
            Some((Open::Map(_, _, Some((_, place))), _)) => Some(place.clone()),
            _ => None,
        }
    }

    fn start(&mut self, open: Open, anchor: usize, tagged: bool) -> Result<(), String> {
        if tagged {
            return Err("tags are not part of scenarios; allowed: plain YAML".to_owned());
        }
        self.charge(1, 0, 1)?;
        if matches!(self.open.last(), Some((Open::Map(_, _, None), _))) {
            return Err("a list or a map is used as a key; allowed: text".to_owned());
        }
        self.open.push((open, anchor));
        Ok(())
    }

    /// Counts what is about to be added, an alias with all that it brings along.
    fn charge(&mut self, values: usize, bytes: usize, levels: usize) -> Result<(), String> {
        self.values = self.values.saturating_add(values);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.open.len() + levels > MOST_LEVELS {
            return Err(format!("nests too deeply; allowed: {MOST_LEVELS} levels"));
        }
        if self.values > MOST_VALUES || self.bytes > MOST_BYTES {
            return Err(format!(
                "holds too much once aliases are expanded; allowed: {MOST_VALUES} values and 1 MiB of text"
            ));
        }
        Ok(())
    }

    /// Puts a finished value where it belongs: into the open collection, or as the root.
    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), String> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some((Open::List(_, items), _)) => items.push(node),
            Some((Open::Map(_, entries, pending), _)) => {
                if let Some((key, place)) = pending.take() {
                    entries.push(Entry { key, place, node });
                } else {
                    *pending = Some(new_key(node, entries)?);
                }
            }
        }
        Ok(())
    }
}

/// A key that the map does not have yet.
fn new_key(node: Node, entries: &[Entry]) -> Result<(String, Place), String> {
    let key = match node.value {
        Value::Scalar { text, .. } => text,
        Value::Null => "null".to_owned(),
        Value::List(_) | Value::Map(_) => {
            return Err("a list or a map is used as a key; allowed: text".to_owned());
        }
    };
    if entries.iter().any(|entry| entry.key == key) {
        return Err(format!("{} is stated twice in one map", quoted(&key)));
    }
    Ok((key, node.place))
}

/// Values, bytes of text and levels below a node; bounded, since the node was charged when it was read.
fn size(node: &Node) -> (usize, usize, usize) {
    let children: Vec<(usize, &Node)> = match &node.value {
        Value::Null => return (1, 0, 0),
        Value::Scalar { text, .. } => return (1, text.len(), 0),
        Value::List(items) => items.iter().map(|item| (0, item)).collect(),
        Value::Map(entries) => entries.iter().map(|entry| (entry.key.len(), &entry.node)).collect(),
    };
    children.into_iter().fold((1, 0, 1), |(values, bytes, levels), (key, child)| {
        let (more_values, more_bytes, more_levels) = size(child);
        (values + more_values, bytes + key + more_bytes, levels.max(1 + more_levels))
    })
}

/// YAML 1.2's core schema.
fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}
