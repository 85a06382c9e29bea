//! Which isolation this machine permits.

use std::path::Path;
use std::process::{Command, Stdio};

use cluster_local::process::{Isolation, Status};

/// Names an isolation to be used whatever else is permitted: `pid`, `user-pid` or `none`.
pub const OVERRIDE: &str = "DRAINPROOF_ISOLATION";

/// The best isolation that works here, found by trying, or the one that [`OVERRIDE`] names.
#[must_use]
pub fn detect(executable: &Path) -> Isolation {
    if let Some(wanted) = std::env::var(OVERRIDE).ok().and_then(|text| Isolation::parse(&text)) {
        return wanted;
    }
    [Isolation::Pid, Isolation::UserPid]
        .into_iter()
        .find(|isolation| works(executable, *isolation))
        .unwrap_or(Isolation::None)
}

/// Starts a program that does nothing, as a pod would be started.
fn works(executable: &Path, isolation: Isolation) -> bool {
    let Ok((mut reader, writer)) = std::io::pipe() else { return false };
    let mut command = Command::new(executable);
    command.args(["__shim", isolation.as_str(), "--"]).arg(executable).arg("__noop");
    command.stdin(Stdio::from(writer)).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return false };
    // The command holds the write end that would keep the pipe open.
    drop(command);
    let said = std::io::read_to_string(&mut reader).unwrap_or_default();
    let _reaped = child.wait();
    said.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .any(|status| matches!(status, Status::Exited { code: Some(0), .. }))
}

/// What a reader of the report must know of the local backend.
#[must_use]
pub fn caveats(isolation: Isolation) -> Vec<String> {
    let mut caveats = vec![
        "local backend: an address cannot be taken from a loopback interface; that a pod's is gone once its sandbox is, \
         and what new connections then meet (no neighbour after 3 s, or silence from another node), is emulated where \
         connections are routed"
            .to_owned(),
        "local backend: one container a pod, no sidecars; local.kubelet governs how a pod is stopped, while endpoints, node \
         rules and terminal phases are those of 1.28 and later"
            .to_owned(),
    ];
    if isolation == Isolation::UserPid {
        caveats.push(
            "pods believe that they are root, as in a rootless container; outside they are the user"
                .to_owned(),
        );
    }
    if isolation == Isolation::None {
        caveats.push(
            "PID namespaces are not permitted here: pods are ordinary processes, and that process 1 ignores a \
             SIGTERM it has no handler for is emulated from /proc; a process that a pod detaches with an empty \
             environment would outlive a loadgen that is itself killed"
                .to_owned(),
        );
    }
    caveats
}
