//! Finds the processes of a run by the marker in their environment ([`contract::env::RUN_MARKER`]).
//!
//! This is what `loadgen cleanup` and the guard rest on; it needs no list of PIDs that could be stale.

use std::collections::BTreeMap;
use std::fs;

use contract::env::RUN_MARKER;

/// Processes by run id. Those that may not be read are somebody else's.
#[must_use]
pub fn marked() -> BTreeMap<String, Vec<u32>> {
    let mut runs: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    let Ok(entries) = fs::read_dir("/proc") else { return runs };
    for pid in entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        if let Some(run) = variable(pid, RUN_MARKER) {
            runs.entry(run).or_default().push(pid);
        }
    }
    runs
}

/// Processes of one run.
#[must_use]
pub fn marked_with(run: &str) -> Vec<u32> {
    marked().remove(run).unwrap_or_default()
}

/// A variable of a process's initial environment.
#[must_use]
pub fn variable(pid: u32, name: &str) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    environment.split(|byte| *byte == 0).find_map(|entry| {
        let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        String::from_utf8(value.to_vec()).ok()
    })
}

/// When a process began, in clock ticks since boot: with its PID this names it for good.
#[must_use]
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name may hold anything, also spaces and brackets: fields are counted after its last bracket.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// True if the process exists and is not a zombie.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit_once(')').map(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X'])))
        .unwrap_or(false)
}
