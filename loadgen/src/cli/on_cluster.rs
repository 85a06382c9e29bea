//! Flags of everything that talks to a cluster, and `loadgen check`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use clock::{Anchor, Clock};
use cluster::ClusterError;
use cluster_kube::cleanup::Cleaned;
use cluster_kube::clocks::Clocks;
use cluster_kube::objects::Images;
use cluster_kube::{Access, preflight};
use trial::plan::Plan;

use crate::conductor::remote::{Place, namespace_of};
use crate::exit_code::ExitCode;

/// Agents of an arm: their numbers are a byte in each record.
const MOST_AGENTS: i64 = 100;

/// Each node's rules are tested by an agent of its own, as long as that leaves each a rate that shows something.
const USUAL_AGENTS: u32 = 4;

/// Which cluster.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ClusterArgs {
    /// Kube: the context of the kubeconfig, if not the current one
    #[arg(long, value_name = "C")]
    context: Option<String>,
    /// Kube: the kubeconfig, if not $KUBECONFIG or ~/.kube/config
    #[arg(long, value_name = "F")]
    kubeconfig: Option<PathBuf>,
}

impl ClusterArgs {
    pub(super) fn access(&self) -> Access {
        Access { kubeconfig: self.kubeconfig.clone(), context: self.context.clone() }
    }

    /// True if a cluster was named.
    pub(super) const fn is_given(&self) -> bool {
        self.context.is_some() || self.kubeconfig.is_some()
    }
}

/// Flags of `loadgen run --on kube`.
#[derive(Debug, Clone, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Kube: the namespace that the run makes and takes away; by default drainproof- and the run's id
    #[arg(long, value_name = "NS")]
    namespace: Option<String>,
    /// Kube: so many agents send the load, spread over the nodes; by default one a node, and 4 at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MOST_AGENTS))]
    agents: Option<u32>,
    #[command(flatten)]
    images: ImageArgs,
}

/// Which images.
#[derive(Debug, Clone, clap::Args)]
struct ImageArgs {
    #[arg(
        long,
        value_name = "IMAGE",
        help = "Kube: the image of the pods under test [env: DRAINPROOF_SERVER_IMAGE] [default: drainproof/server:dev]"
    )]
    server_image: Option<String>,
    #[arg(
        long,
        value_name = "IMAGE",
        help = "Kube: the image of the agents [env: DRAINPROOF_LOADGEN_IMAGE] [default: drainproof/loadgen:dev]"
    )]
    loadgen_image: Option<String>,
}

impl ImageArgs {
    /// The environment is asked here and not by the parser, which could not tell it from a flag: only a flag means that
    /// a cluster was meant.
    fn images(&self) -> Images {
        let named = |flag: &Option<String>, variable: &str, default: &str| {
            let set = || std::env::var(variable).ok().filter(|name| !name.is_empty());
            flag.clone().or_else(set).unwrap_or_else(|| default.to_owned())
        };
        Images {
            server: named(&self.server_image, "DRAINPROOF_SERVER_IMAGE", "drainproof/server:dev"),
            loadgen: named(&self.loadgen_image, "DRAINPROOF_LOADGEN_IMAGE", "drainproof/loadgen:dev"),
        }
    }
}

impl RunArgs {
    /// The flags that name the cluster, for a command that is to look at the same.
    pub(super) fn which(&self) -> String {
        let context = self.cluster.context.iter().map(|context| format!(" --context {context}"));
        let file = self.cluster.kubeconfig.iter().map(|file| format!(" --kubeconfig {}", file.display()));
        context.chain(file).collect()
    }

    /// A flag that was given and means something on a cluster only.
    pub(super) fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--context", self.cluster.context.is_some()),
            ("--kubeconfig", self.cluster.kubeconfig.is_some()),
            ("--namespace", self.namespace.is_some()),
            ("--agents", self.agents.is_some()),
            ("--server-image", self.images.server_image.is_some()),
            ("--loadgen-image", self.images.loadgen_image.is_some()),
        ];
        flags.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag)
    }

    /// Connects, and asks for every permission that the plan takes; makes nothing.
    pub(super) async fn place(
        &self,
        plan: &Plan,
        run: &str,
        (clock, anchor): (Clock, Anchor),
    ) -> Result<Place, ClusterError> {
        let cluster = self.cluster.access().connect().await?;
        let namespace = self.namespace.clone().unwrap_or_else(|| format!("drainproof-{run}"));
        for arm in &plan.arms {
            cluster.knows(&arm.workload)?;
        }
        // The run makes its namespaces, so no right can be bound within them: what is permitted in one is in all.
        let disruptions = plan.arms.iter().flat_map(|arm| preflight::needs(&arm.disruption));
        let workloads = plan.arms.iter().flat_map(|arm| preflight::needs_of(&arm.workload)).copied();
        let needs: BTreeSet<_> = disruptions.chain(workloads).collect();
        cluster.check(&needs.into_iter().collect::<Vec<_>>(), &namespace).await?;
        let arms = u16::try_from(plan.arms.len()).unwrap_or(u16::MAX);
        cluster.require_absent((0..arms).map(|arm| namespace_of(&namespace, arm))).await?;
        let nodes = u32::try_from(cluster.nodes.len()).unwrap_or(u32::MAX);
        let (images, agents) = (self.images.images(), self.agents.unwrap_or(nodes.clamp(1, USUAL_AGENTS)));
        let (clocks, turns) = (Clocks::new(clock, anchor), Arc::default());
        Ok(Place { cluster, namespace, images, agents, clocks, turns })
    }
}

/// Flags of `loadgen check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    images: ImageArgs,
    /// The namespace that a run would make
    #[arg(long, value_name = "NS", default_value = "drainproof")]
    namespace: String,
}

pub(super) fn check(arguments: &CheckArgs) -> ExitCode {
    match super::block_on(checked(arguments)) {
        Ok(Ok(text)) => super::print(&text),
        Ok(Err(error)) => refused(&error),
        Err(error) => super::fail(&format!("failed to start the runtime: {error}")),
    }
}

/// What the user gave, or what the cluster said.
pub(super) fn refused(error: &ClusterError) -> ExitCode {
    match error {
        ClusterError::Input(_) => super::misuse(error),
        _ => super::fail(error),
    }
}

/// Everything that any scenario takes, one disruption after the other.
async fn checked(arguments: &CheckArgs) -> Result<String, ClusterError> {
    use trial::settings::{Disruption, Victim};
    let cluster = arguments.cluster.access().connect().await?;
    let mut lines = vec![
        format!("API server {}", cluster.version),
        format!("nodes that take pods: {}", cluster.nodes.join(", ")),
    ];
    cluster.check(&preflight::needs(&Disruption::RolloutRestart), &arguments.namespace).await?;
    lines.push("permitted: to deploy, to load, to roll a Deployment, and to take everything away".to_owned());
    let delete = Disruption::DeletePods {
        count: 1,
        every: std::time::Duration::ZERO,
        grace_period_seconds: None,
        force: false,
        which: Victim::default(),
        again: vec![],
    };
    for disruption in
        [delete, Disruption::Evict { count: 1 }, Disruption::Scale { to: 1 }, Disruption::DrainNode]
    {
        let line = match cluster.check(&preflight::needs(&disruption), &arguments.namespace).await {
            Ok(()) => format!("permitted: disruption {}", disruption.as_str()),
            Err(error) => format!("disruption {}: {error}", disruption.as_str()),
        };
        lines.push(line);
    }
    let access: Vec<_> = preflight::API_ACCESS.to_vec();
    lines.push(match cluster.check(&access, &arguments.namespace).await {
        Ok(()) => "permitted: pollWhileDraining apiserver".to_owned(),
        Err(error) => format!("pollWhileDraining apiserver: {error}"),
    });
    let images = arguments.images.images();
    for image in [&images.server, &images.loadgen] {
        let (holders, nodes) = cluster.holders(image).await?;
        let rest = if holders == nodes { "" } else { "; the others would have to pull it" };
        lines.push(format!("image {image}: seen on {holders} of {nodes} nodes{rest}"));
    }
    Ok(lines.join("\n") + "\n")
}

/// Undoes what runs left on a cluster. Where none was named, and none that is found by itself answers, that is said: there
/// may be something on it, and nobody meant it.
pub(super) fn cleanup(cluster: &ClusterArgs, run: Option<&str>) -> Result<Cleaned, ClusterError> {
    let in_environment = std::env::var_os("KUBECONFIG").is_some_and(|file| !file.is_empty());
    let given = cluster.is_given() || in_environment;
    let not_looked_at = |why: &str| {
        let line = format!("no cluster was looked at: {why}");
        Ok(Cleaned { lines: vec![line], ..Cleaned::default() })
    };
    if !given && !Access::is_configured() {
        return not_looked_at("none is configured (--kubeconfig names one)");
    }
    let cleaned = super::block_on(async {
        match cluster.access().connect().await {
            Ok(cluster) => cluster.cleanup(run).await,
            Err(error) if given => Err(error),
            Err(error) => not_looked_at(&error.to_string()),
        }
    });
    cleaned
        .unwrap_or_else(|error| Err(ClusterError::Backend(format!("failed to start the runtime: {error}"))))
}
