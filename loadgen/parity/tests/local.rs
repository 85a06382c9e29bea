//! The local backend shows what it is held to: the statements that are soon looked at. All of them, and a cluster beside, are
//! `scripts/parity`'s.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[test]
fn the_local_backend_shows_what_is_stated() {
    let parity = Path::new(env!("CARGO_BIN_EXE_parity"));
    let loadgen = parity.with_file_name("loadgen");
    assert!(loadgen.is_file(), "{} is built by `scripts/test`, with the whole workspace", loadgen.display());
    let out = std::env::temp_dir().join(format!("drainproof-parity-local-{}", std::process::id()));
    let checks = "1,9,11,15,16,17,18,20,23,24,26,33,34,35,40,43,44,46,47,48";
    let output = Command::new(parity)
        .args(["--on", "local", "--format", "json", "--only", checks, "--out"])
        .arg(&out)
        .output()
        .unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let unmet: Vec<&Value> = rows.iter().filter(|row| row["local"]["holds"] != Value::Bool(true)).collect();
    assert!(unmet.is_empty(), "{unmet:#?}\n{said}");
    assert!(rows.len() > 30, "{said}");
    assert_eq!(output.status.code(), Some(0), "{said}");
    std::fs::remove_dir_all(&out).unwrap();
}
