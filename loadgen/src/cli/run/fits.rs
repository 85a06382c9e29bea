//! What goes together.

use trial::plan::Plan;

use super::{Args, Backend};
use crate::exit_code::ExitCode;

/// What a backend cannot do is said before it is tried.
pub(super) fn fits(on: Backend, arguments: &Args, plan: &Plan) -> Result<(), ExitCode> {
    let local = on == Backend::Local;
    if let Some(arm) = plan.arms.iter().find(|arm| local && arm.disruption.needs_cluster()) {
        let kind = arm.disruption.as_str();
        return Err(crate::cli::misuse(&format!(
            "disruption.{kind}: needs a real cluster as it stands here: --on kube"
        )));
    }
    if local && plan.arms.iter().any(|arm| arm.workload.calls_api_server()) {
        return Err(crate::cli::misuse(
            &"workload.server.pollWhileDraining: apiserver needs a real cluster (--on kube); on local name a URL: \
              --set workload.server.pollWhileDraining=http://127.0.0.1:8080/",
        ));
    }
    #[cfg(feature = "kube")]
    if let Some(flag) = arguments.kube.given().filter(|_| local) {
        return Err(crate::cli::misuse(&format!(
            "{flag} is for a run on a cluster: add --on kube, or leave it out"
        )));
    }
    if !local && arguments.command.is_some() {
        return Err(crate::cli::misuse(
            &"--command runs a server of this machine: it does not go with --on kube",
        ));
    }
    Ok(())
}
