//! The scenarios that come with the tool.

/// A scenario that comes with the tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Builtin {
    /// Its name.
    pub name: &'static str,
    /// Its YAML.
    pub yaml: &'static str,
}

/// All of them, the default first.
pub const ALL: &[Builtin] = &[
    Builtin { name: "rolling-restart", yaml: include_str!("../scenarios/rolling-restart.yaml") },
    Builtin { name: "delete-pod", yaml: include_str!("../scenarios/delete-pod.yaml") },
    Builtin { name: "scale-down", yaml: include_str!("../scenarios/scale-down.yaml") },
    Builtin { name: "evict", yaml: include_str!("../scenarios/evict.yaml") },
    Builtin { name: "sole-replica", yaml: include_str!("../scenarios/sole-replica.yaml") },
    Builtin { name: "force-delete", yaml: include_str!("../scenarios/force-delete.yaml") },
    Builtin { name: "grace-matrix", yaml: include_str!("../scenarios/grace-matrix.yaml") },
    Builtin { name: "hook-timing", yaml: include_str!("../scenarios/hook-timing.yaml") },
    Builtin {
        name: "grace-shorter-than-pre-stop",
        yaml: include_str!("../scenarios/grace-shorter-than-pre-stop.yaml"),
    },
    Builtin {
        name: "grace-shorter-than-drain",
        yaml: include_str!("../scenarios/grace-shorter-than-drain.yaml"),
    },
    Builtin { name: "api-during-shutdown", yaml: include_str!("../scenarios/api-during-shutdown.yaml") },
];

/// What runs when nothing is named.
pub const DEFAULT: &str = "rolling-restart";

/// Finds one by name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Builtin> {
    ALL.iter().find(|builtin| builtin.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trial::scenario::{Overrides, Scenario};

    #[test]
    fn every_builtin_parses_and_plans_under_its_own_name() {
        for builtin in ALL {
            let plan = Scenario::parse(builtin.name, builtin.yaml.as_bytes())
                .and_then(|scenario| scenario.plan(&Overrides::default(), 1))
                .unwrap();
            assert_eq!(plan.scenario, builtin.name);
            assert!(!plan.description.is_empty(), "{} says what it shows", builtin.name);
        }
        assert!(find(DEFAULT).is_some());
    }
}
