//! What is accepted, what it becomes, and every refusal word for word.

use super::*;

mod plans;
mod refusals;

const ROLLING_RESTART: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/rolling-restart.yaml"));
const DELETE_POD: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/delete-pod.yaml"));
const SEED: u64 = 7;

fn overrides(set: &[&str], vary: &[&str]) -> Overrides {
    Overrides {
        set: set.iter().map(|text| (*text).to_owned()).collect(),
        vary: vary.iter().map(|text| (*text).to_owned()).collect(),
        ..Overrides::default()
    }
}

fn command() -> Overrides {
    Overrides { command: Some(vec!["./my-app".to_owned()]), ..Overrides::default() }
}

fn planned_with(yaml: &str, overrides: &Overrides) -> Result<Plan, ScenarioError> {
    Scenario::parse("my.yaml", yaml.as_bytes())?.plan(overrides, SEED)
}

fn plan(yaml: &str, overrides: &Overrides) -> Plan {
    match planned_with(yaml, overrides) {
        Ok(plan) => plan,
        Err(error) => panic!("{error}"),
    }
}

/// The one line that a scenario is refused with.
fn refusal(yaml: &str, overrides: &Overrides) -> String {
    let text = planned_with(yaml, overrides).expect_err(yaml).to_string();
    assert!(!text.contains('\n'), "{text}");
    text
}
