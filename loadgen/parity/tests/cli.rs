//! The suite's own command line; what it says of backends is run by `scripts/parity`.

#![expect(clippy::unwrap_used, reason = "a test's way to fail")]

use std::process::{Command, Output};

fn parity(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_parity")).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_check_that_does_not_exist_is_named() {
    let output = parity(&["--loadgen", env!("CARGO_BIN_EXE_parity"), "--only", "1,99"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("there is no check 99"), "{}", said(&output));
}

#[test]
fn a_product_that_does_not_exist_is_named() {
    let output = parity(&["--loadgen", "/nowhere/loadgen"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("/nowhere/loadgen does not exist"), "{}", said(&output));
}

#[test]
fn recordings_that_are_not_there_show_nothing_and_nothing_holds() {
    let directory = std::env::temp_dir().join(format!("drainproof-parity-{}", std::process::id()));
    let from = directory.to_string_lossy().into_owned();
    let missing = parity(&["--loadgen", env!("CARGO_BIN_EXE_parity"), "--from", &from]);
    assert_eq!((missing.status.code(), directory.exists()), (Some(2), false), "{}", said(&missing));
    std::fs::create_dir_all(&directory).unwrap();
    let flags =
        ["--loadgen", env!("CARGO_BIN_EXE_parity"), "--from", &from, "--only", "2,40", "--format", "json"];
    let output = parity(&flags);
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 10);
    for row in rows {
        assert_eq!(row["local"]["holds"], serde_json::Value::Null, "{row}");
        assert_eq!(row["kube"], serde_json::Value::Null, "{row}");
    }
}
