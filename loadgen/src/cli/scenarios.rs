//! `loadgen scenarios`.

use crate::builtin;
use crate::exit_code::ExitCode;

/// Flags of `loadgen scenarios`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print this one as YAML, to start from
    name: Option<String>,
}

pub(super) fn main(arguments: &Args) -> ExitCode {
    let Some(name) = &arguments.name else {
        let lines = builtin::ALL.iter().map(|builtin| {
            let default = if builtin.name == builtin::DEFAULT { " (the default)" } else { "" };
            format!("{:<28} {}{default}\n", builtin.name, description(builtin.yaml))
        });
        return super::print(&lines.collect::<String>());
    };
    match builtin::find(name) {
        Some(builtin) => super::print(builtin.yaml),
        None => super::misuse(&unknown(name)),
    }
}

pub(super) fn unknown(name: &str) -> String {
    let names: Vec<&str> = builtin::ALL.iter().map(|builtin| builtin.name).collect();
    format!("scenario `{name}` is neither built in nor a file; built in: {}", names.join(", "))
}

fn description(yaml: &str) -> String {
    let scenario = trial::scenario::Scenario::parse("builtin", yaml.as_bytes());
    let plan = scenario.and_then(|scenario| scenario.plan(&trial::scenario::Overrides::default(), 0));
    plan.map(|plan| plan.description).unwrap_or_default()
}
