//! YAML in, a [`Plan`] out, or one line that names file, line, column, key, value, and what is allowed.
//!
//! Settings come in layers, each with the place of every value: defaults, the file, `--set` in order, and for each
//! arm one combination of `vary`. Text is parsed twice: into raw types that refuse unknown keys, and from those
//! into [`crate::settings`], which cannot hold what makes no sense.
//!
//! * `yaml`, `tree`: text to located values, within bounds; layers are merged here
//! * `layers`: what goes on top of the file (`--set`, `--vary`) and beneath it (default lanes and probe)
//! * `de`, `raw`: located values to raw types
//! * `check`, `workload`, `load`: raw types to settings
//! * [`alone`]: the flags of load without a scenario
//! * `arms`: combinations, repeats and controls
//! * [`redact`]: hides credentials in what is kept or printed

pub mod alone;
mod arms;
mod check;
mod de;
mod error;
mod layers;
mod load;
mod raw;
pub mod redact;
#[cfg(test)]
mod tests;
mod tree;
mod workload;
mod yaml;

pub use error::{Place, ScenarioError};

use crate::plan::Plan;
use tree::Node;

/// A scenario's file, read: every key in it exists. Whether values fit each other is decided by [`Scenario::plan`],
/// when flags and variations are on top.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    source: String,
    tree: Node,
}

/// What the command line puts on top of a scenario.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `KEY=VALUE` each, a dotted path and YAML; the later wins.
    pub set: Vec<String>,
    /// `KEY=V1,V2` each; replaces what the scenario varies under the same key.
    pub vary: Vec<String>,
    /// Runs this instead of our own server; already split.
    pub command: Option<Vec<String>>,
    /// Instead of the scenario's `repeat`.
    pub repeat: Option<u32>,
    /// Instead of the default seed.
    pub seed: Option<u64>,
}

impl Scenario {
    /// Reads a scenario; `source` is its name in errors, and where the scenario states none, of the scenario.
    ///
    /// # Errors
    /// Not one YAML map in UTF-8 of at most 1 MiB, or a key that is unknown or of the wrong type.
    pub fn parse(source: &str, yaml: &[u8]) -> Result<Self, ScenarioError> {
        let tree = yaml::read_file(source, yaml)?;
        de::decode::<raw::RawScenario>(&tree)
            .and_then(|_| layers::Vary::take_from(&mut tree.clone()))
            .map_err(|problem| problem.located(|path| tree.place_of(path)))?;
        Ok(Self { source: source.to_owned(), tree })
    }

    /// Resolves and checks every arm. The same input gives the same plan.
    ///
    /// # Errors
    /// A flag that is malformed; a setting out of range or contradicting another, in any arm; more than 64 trial
    /// arms.
    pub fn plan(&self, overrides: &Overrides, default_seed: u64) -> Result<Plan, ScenarioError> {
        arms::plan(&self.tree, &self.source, overrides, default_seed)
    }
}
