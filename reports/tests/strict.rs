//! The published schema, held more strictly than it is published. Readers of 1.x ignore fields that they do not know, so
//! the schema lets them be; what is written today must have no field that the schema does not describe. The tests of whole
//! runs hold their reports to the same.

use jsonschema::Validator;
use serde_json::{Map, Value};

/// A schema with every object closed that lists its properties.
pub(crate) fn validator(schema: &str) -> Validator {
    let mut schema: Value = serde_json::from_str(schema).unwrap();
    jsonschema::meta::validate(&schema).unwrap_or_else(|error| panic!("the schema is none: {error}"));
    for_each_object(&mut schema, &mut |object| {
        object.entry("additionalProperties").or_insert(false.into());
    });
    jsonschema::validator_for(&schema).unwrap()
}

/// What is wrong with a report, each with its place: `/arms/0/name: …`.
pub(crate) fn problems(document: &Value) -> Vec<String> {
    problems_by(reports::SCHEMA, document)
}

/// What is wrong with a document of another schema.
pub(crate) fn problems_by(schema: &str, document: &Value) -> Vec<String> {
    validator(schema)
        .iter_errors(document)
        .map(|error| {
            format!("{}: {}", error.instance_path(), error.to_string().chars().take(300).collect::<String>())
        })
        .collect()
}

/// Every part of a schema that describes an object field by field.
pub(crate) fn for_each_object(schema: &mut Value, visit: &mut dyn FnMut(&mut Map<String, Value>)) {
    match schema {
        Value::Object(object) => {
            if object.get("properties").is_some_and(Value::is_object) && object.get("type").is_some() {
                visit(object);
            }
            object.values_mut().for_each(|part| for_each_object(part, visit));
        }
        Value::Array(parts) => parts.iter_mut().for_each(|part| for_each_object(part, visit)),
        _ => {}
    }
}
