//! The published schema says what is written: no field without a description, no description without a field.

use serde_json::{Map, Value};
use trial::report::{PodPhase, Verdict};

use crate::samples;

/// The part of JSON Schema that ours is written in; a keyword that is not known here fails, so none goes unchecked.
struct Checker {
    root: Value,
    problems: Vec<String>,
}

impl Checker {
    fn check(&mut self, schema: &Value, value: &Value, path: &str) {
        let schema = schema.as_object().unwrap().clone();
        for (keyword, rule) in &schema {
            let holds = match keyword.as_str() {
                "$schema" | "$id" | "$defs" | "title" | "description" | "required" => true,
                "$ref" => {
                    let target =
                        self.root.pointer(rule.as_str().unwrap().trim_start_matches('#')).unwrap().clone();
                    self.check(&target, value, path);
                    true
                }
                "type" => is_of(rule, value),
                "enum" => rule.as_array().unwrap().contains(value),
                "pattern" => value.as_str().is_some_and(|text| text.starts_with("1.")),
                "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
                "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
                "maxItems" => (value.as_array().unwrap().len() as u64) <= rule.as_u64().unwrap(),
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(rule, item, &format!("{path}/{index}"));
                    }
                    true
                }
                "additionalProperties" => {
                    for (name, item) in value.as_object().into_iter().flatten() {
                        self.check(rule, item, &format!("{path}/{name}"));
                    }
                    true
                }
                "anyOf" => rule.as_array().unwrap().iter().any(|option| {
                    let mut attempt = Self { root: self.root.clone(), problems: vec![] };
                    attempt.check(option, value, path);
                    attempt.problems.is_empty()
                }),
                "properties" => {
                    self.properties(rule.as_object().unwrap(), schema.get("required"), value, path);
                    true
                }
                other => panic!("{path}: keyword {other} is not checked by this test"),
            };
            if !holds {
                self.problems.push(format!("{path}: {keyword} {rule} does not hold for {value}"));
            }
        }
    }

    fn properties(
        &mut self,
        properties: &Map<String, Value>,
        required: Option<&Value>,
        value: &Value,
        path: &str,
    ) {
        let Some(fields) = value.as_object() else { return };
        // Readers may rely on every field being there: what was not observed is null.
        let required: Vec<&str> =
            required.unwrap().as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        assert_eq!(required, properties.keys().map(String::as_str).collect::<Vec<_>>(), "{path}: required");
        let names = |map: &Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
        if names(fields) != names(properties) {
            self.problems.push(format!(
                "{path}: has {:?}, described are {:?}",
                names(fields),
                names(properties)
            ));
        }
        for (name, rule) in properties {
            self.check(rule, fields.get(name).unwrap_or(&Value::Null), &format!("{path}/{name}"));
        }
    }
}

fn is_of(rule: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("type {other}"),
    };
    match rule {
        Value::String(name) => is(name),
        names => names.as_array().unwrap().iter().any(|name| is(name.as_str().unwrap())),
    }
}

fn problems(document: &Value) -> Vec<String> {
    let root: Value = serde_json::from_str(reports::SCHEMA).unwrap();
    let mut checker = Checker { root: root.clone(), problems: vec![] };
    checker.check(&root, document, "");
    checker.problems
}

fn document(report: &trial::report::Report) -> Value {
    serde_json::from_str(&reports::json(report)).unwrap()
}

#[test]
fn every_sample_is_as_the_schema_says() {
    for report in samples::all() {
        assert_eq!(problems(&document(&report)), Vec::<String>::new());
    }
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
}

#[test]
fn a_wrong_document_is_found_out() {
    let mut wrong = document(&samples::fail());
    wrong["verdict"] = "fine".into();
    wrong["arms"][0]["pods"][0]["timeline"]["t0_ns"] = (-1).into();
    wrong["run"].as_object_mut().unwrap().shift_remove("seed");
    wrong["arms"][0]["failures"][0]["class"] = "gremlin".into();
    let found = problems(&wrong);
    for path in ["/verdict:", "/arms/0/pods/0/timeline/t0_ns:", "/run:", "/arms/0/failures/0/class:"] {
        assert!(found.iter().any(|problem| problem.starts_with(path)), "{path} {found:?}");
    }
}
