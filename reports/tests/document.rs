//! Writing and reading `report.json`.

use reports::{ParseError, json, parse};

use crate::samples;

#[test]
fn what_is_written_reads_back_the_same() {
    for report in samples::all() {
        let text = json(&report);
        assert!(text.ends_with("}\n"));
        let again = parse(text.as_bytes()).unwrap();
        assert_eq!(again, report);
        assert_eq!(json(&again), text);
    }
}

#[test]
fn a_newer_minor_version_with_unknown_fields_is_read() {
    let newer = json(&samples::fail()).replacen("\"1.3\"", "\"1.7\",\n  \"new_field\": {}", 1);
    assert_eq!(parse(newer.as_bytes()).unwrap().schema_version, "1.7");
}

#[test]
fn what_cannot_be_read_is_named_in_one_line() {
    let good = json(&samples::fail());
    let cases = [
        ("{\"schema".to_owned(), "not valid JSON: EOF while parsing a string at line 1 column 8"),
        ("{}".to_owned(), "no `schema_version`, so it is not a report.json"),
        ("null".to_owned(), "no `schema_version`, so it is not a report.json"),
        (
            good.replacen("\"1.3\"", "\"2.0\"", 1),
            "its schema_version is \"2.0\", but this version reads 1.x only",
        ),
        (good.replacen("\"1.3\"", "1", 1), "its schema_version is \"1\", but"),
        (good.replacen("\"fail\"", "\"bad\\nverdict\"", 1), "unknown variant `bad verdict`"),
        (good.replacen("\"arms\"", "\"alms\"", 1), "not as schema 1.x says: missing field `arms`"),
    ];
    for (text, expected) in cases {
        let error = parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    assert_eq!(parse(b"[]"), Err(ParseError::NotAReport));
}
