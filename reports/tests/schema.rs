//! The published schema says what is written: no field without a description, no description without a field. It is read
//! by a validator that is not ours.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use trial::analysis::Cause;
use trial::report::{PodPhase, Verdict};
use trial::routing::Routing;

use crate::samples;
use crate::strict::{for_each_object, problems};

fn document(report: &trial::report::Report) -> Value {
    serde_json::from_str(&reports::json(report)).unwrap()
}

/// Objects of the schema whose fields are not all required. Readers rely on every field being there: what was not
/// observed is null.
fn with_optional_fields(schema: &str) -> Vec<String> {
    let mut schema: Value = serde_json::from_str(schema).unwrap();
    let mut found = Vec::new();
    for_each_object(&mut schema, &mut |object| {
        let described: BTreeSet<&str> =
            object["properties"].as_object().into_iter().flat_map(Map::keys).map(String::as_str).collect();
        let required: BTreeSet<&str> = object
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if described != required {
            found.push(format!("described {described:?}, required {required:?}"));
        }
    });
    found
}

#[test]
fn every_sample_is_as_the_schema_says() {
    for report in samples::all() {
        assert_eq!(problems(&document(&report)), Vec::<String>::new());
    }
}

#[test]
fn every_field_is_always_there() {
    for schema in [reports::SCHEMA, reports::COMPARISON_SCHEMA] {
        assert_eq!(with_optional_fields(schema), Vec::<String>::new());
    }
}

#[test]
fn a_report_of_a_later_minor_version_is_still_one_for_readers_of_this_schema() {
    let mut later = document(&samples::fail());
    later["schema_version"] = "1.99".into();
    later["arms"][0]["pods"][0]["new_in_1_99"] = 1.into();
    let schema: Value = serde_json::from_str(reports::SCHEMA).unwrap();
    assert!(jsonschema::is_valid(&schema, &later));
    later["schema_version"] = "2.0".into();
    assert!(!jsonschema::is_valid(&schema, &later));
}

#[test]
fn the_schema_knows_every_name() {
    let schema: Value = serde_json::from_str(reports::SCHEMA).unwrap();
    let listed = |pointer: &str| schema.pointer(pointer).unwrap().as_array().unwrap().clone();
    let phases = [
        PodPhase::Starting,
        PodPhase::Serving,
        PodPhase::PreStop,
        PodPhase::Draining,
        PodPhase::ListenerClosed,
        PodPhase::Exited,
        PodPhase::IpGone,
        PodPhase::Unknown,
    ];
    assert_eq!(listed("/$defs/pod_phase/enum"), phases.map(|phase| Value::from(phase.as_str())));
    let verdicts = [Verdict::Pass, Verdict::Fail, Verdict::Inconclusive];
    assert_eq!(listed("/$defs/verdict/enum"), verdicts.map(|verdict| Value::from(verdict.as_str())));
    let mut classes: Vec<Value> =
        trial::record::Class::ALL.iter().skip(1).map(|class| Value::from(class.as_str())).collect();
    classes.push("late".into());
    assert_eq!(listed("/$defs/class/enum"), classes);
    let causes = Cause::ALL.map(|cause| Value::from(cause.as_str()));
    assert_eq!(listed("/$defs/cause/enum"), causes);
    let routings = [Routing::Programmed, Routing::Removed, Routing::Fallback, Routing::Unknown];
    assert_eq!(listed("/$defs/routing/enum"), routings.map(|routing| Value::from(routing.as_str())));
}

#[test]
fn a_wrong_document_is_found_out() {
    let mut wrong = document(&samples::fail());
    wrong["verdict"] = "fine".into();
    wrong["arms"][0]["pods"][0]["timeline"]["t0_ns"] = (-1).into();
    wrong["run"].as_object_mut().unwrap().shift_remove("seed");
    wrong["arms"][0]["failures"][0]["class"] = "gremlin".into();
    wrong["arms"][0]["outages"][0]["nobody_described_me"] = 1.into();
    wrong["claims"] = Value::Null;
    let found = problems(&wrong);
    let paths = [
        "/verdict:",
        "/arms/0/pods/0/timeline/t0_ns:",
        "/run:",
        "/arms/0/failures/0/class:",
        "/arms/0/outages/0:",
        "/claims:",
    ];
    for path in paths {
        assert!(found.iter().any(|problem| problem.starts_with(path)), "{path} {found:?}");
    }
}
