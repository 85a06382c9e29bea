//! Renders [`trial::report::Report`] for people and for machines.
//!
//! Every renderer is a pure function: no I/O, no clock, no randomness. The same report gives the same bytes, so a
//! recording made last year can be rendered again and compared.
//!
//! * [`json()`], [`parse`]: `report.json`, and how it is read back
//! * [`text()`]: one to two screens for a terminal
//! * [`comparison`]: what `compare` and `--baseline` say
//! * [`markdown()`], [`junit()`], [`annotations()`], [`html()`]: for pull requests, CI and browsers
//! * `facts`: what several of them say in the same words
//! * `style`, `table`, `units`, `wrap`: what a terminal page is made of
//!
//! Invariants: whatever a report leaves out (null) is said to be "not observed", never drawn or counted as zero;
//! control characters from outside (pod names, notes) never reach the terminal.

mod annotations;
mod document;
mod facts;
mod html;
mod junit;
mod markdown;
mod style;
mod table;
mod text;
mod units;
mod wrap;

pub use annotations::{annotations, complaint};
pub use document::{ParseError, json, parse};
pub use html::html;
pub use junit::junit;
pub use markdown::markdown;
pub use style::Color;
pub use text::{TextOptions, text};

/// Renders [`trial::compare::Comparison`].
pub mod comparison {
    pub use crate::annotations::comparison as annotations;
    pub use crate::document::comparison as json;
    pub use crate::junit::comparison as junit;
    pub use crate::markdown::comparison as markdown;
    pub use crate::text::comparison as text;
}

/// The JSON Schema (draft 2020-12) of `report.json`, schema 1.x.
pub const SCHEMA: &str = include_str!("../schema/report.schema.json");

/// JSON Schema (2020-12) of `comparison.json`.
pub const COMPARISON_SCHEMA: &str = include_str!("../schema/comparison.schema.json");
