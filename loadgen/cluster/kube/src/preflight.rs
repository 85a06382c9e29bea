//! What the user may do, asked before anything is touched: a missing verb is named, not run into.

use ::cluster::ClusterError;
use futures_util::future::try_join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview};
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::Api;
use kube::api::{ListParams, PostParams};
use trial::settings::{Disruption, Handler, Workload};

use crate::connect::{Cluster, call};

/// Hooks know `sleep` since this minor version without a feature gate of alpha (KEP-3960).
const SLEEP_SINCE: u32 = 30;

/// One thing that a run does to the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// API group, empty for the core.
    pub group: &'static str,
    /// Resource.
    pub resource: &'static str,
    /// Subresource, or empty.
    pub subresource: &'static str,
    /// Verb.
    pub verb: &'static str,
    /// Within the run's namespace, or for the cluster.
    pub namespaced: bool,
}

const fn need(group: &'static str, resource: &'static str, sub: &'static str, verb: &'static str) -> Need {
    let namespaced = !matches!(resource.as_bytes(), b"namespaces" | b"nodes");
    Need { group, resource, subresource: sub, verb, namespaced }
}

/// What every run needs. What is applied is created by it as well, which takes both verbs.
const ALWAYS: [Need; 32] = [
    need("", "namespaces", "", "create"),
    need("", "namespaces", "", "get"),
    need("", "namespaces", "", "delete"),
    need("", "nodes", "", "list"),
    need("", "services", "", "create"),
    need("", "services", "", "patch"),
    need("", "services", "", "get"),
    need("", "pods", "", "get"),
    need("", "pods", "", "list"),
    need("", "pods", "", "watch"),
    need("", "pods", "", "deletecollection"),
    need("", "pods", "log", "get"),
    need("", "pods", "portforward", "create"),
    need("", "pods", "portforward", "get"),
    need("", "events", "", "list"),
    need("", "events", "", "watch"),
    need("apps", "deployments", "", "create"),
    need("apps", "deployments", "", "patch"),
    need("apps", "deployments", "", "get"),
    need("apps", "deployments", "", "delete"),
    need("batch", "jobs", "", "create"),
    need("batch", "jobs", "", "patch"),
    need("batch", "jobs", "", "get"),
    need("batch", "jobs", "", "delete"),
    need("coordination.k8s.io", "leases", "", "create"),
    need("coordination.k8s.io", "leases", "", "patch"),
    need("coordination.k8s.io", "leases", "", "get"),
    need("discovery.k8s.io", "endpointslices", "", "list"),
    need("discovery.k8s.io", "endpointslices", "", "watch"),
    need("networking.k8s.io", "networkpolicies", "", "create"),
    need("networking.k8s.io", "networkpolicies", "", "patch"),
    need("", "namespaces", "", "list"),
];

/// What a disruption needs beyond.
#[must_use]
pub fn needs(disruption: &Disruption) -> Vec<Need> {
    let more: &[Need] = match disruption {
        Disruption::None | Disruption::RolloutRestart => &[],
        Disruption::DeletePods { .. } => &[need("", "pods", "", "delete")],
        Disruption::Evict { .. } => &[
            need("", "pods", "eviction", "create"),
            need("policy", "poddisruptionbudgets", "", "create"),
            need("policy", "poddisruptionbudgets", "", "patch"),
        ],
        Disruption::Scale { .. } => &[need("apps", "deployments", "scale", "patch")],
        Disruption::DrainNode => &[
            need("", "nodes", "", "get"),
            need("", "nodes", "", "patch"),
            need("", "pods", "eviction", "create"),
        ],
    };
    ALWAYS.iter().chain(more).copied().collect()
}

/// What it takes to let pods call the API server.
pub static API_ACCESS: [Need; 5] = [
    need("rbac.authorization.k8s.io", "roles", "", "create"),
    need("rbac.authorization.k8s.io", "roles", "", "patch"),
    need("rbac.authorization.k8s.io", "rolebindings", "", "create"),
    need("rbac.authorization.k8s.io", "rolebindings", "", "patch"),
    // Who grants a right must hold it.
    need("", "serviceaccounts", "", "get"),
];

/// What a workload needs beyond, whatever is done to it.
#[must_use]
pub fn needs_of(workload: &Workload) -> &'static [Need] {
    if workload.calls_api_server() { &API_ACCESS } else { &[] }
}

impl std::fmt::Display for Need {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.subresource.is_empty() {
            write!(f, "/{}", self.subresource)?;
        }
        if self.group.is_empty() { Ok(()) } else { write!(f, ".{}", self.group) }
    }
}

/// A namespace is somebody else's.
pub(crate) fn taken(name: &str) -> ClusterError {
    ClusterError::Backend(format!(
        "namespace {name} exists already, and a run needs one of its own; name another with --namespace, or remove what an \
         interrupted run left with `loadgen cleanup --all`"
    ))
}

impl Cluster {
    /// Looks whether namespaces that a run is to make are there already.
    ///
    /// # Errors
    /// The first that is; or it cannot be found out.
    pub async fn require_absent(&self, names: impl Iterator<Item = String>) -> Result<(), ClusterError> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        for name in names {
            if call("look for the run's namespaces", namespaces.get_opt(&name)).await?.is_some() {
                return Err(taken(&name));
            }
        }
        Ok(())
    }

    /// Asks the API server whether it permits everything that a run does; touches nothing.
    ///
    /// # Errors
    /// What is missing, each verb by name.
    pub async fn check(&self, needs: &[Need], namespace: &str) -> Result<(), ClusterError> {
        let answers = try_join_all(needs.iter().map(|need| self.permits(*need, namespace))).await?;
        let missing: Vec<String> = needs
            .iter()
            .zip(answers)
            .filter(|(_, permitted)| !permitted)
            .map(|(need, _)| need.to_string())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(ClusterError::Backend(format!(
            "the cluster does not permit you to {} (in namespace {namespace}); manifests/rbac has roles that do",
            missing.join(", ")
        )))
    }

    async fn permits(&self, need: Need, namespace: &str) -> Result<bool, ClusterError> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let mut review = SelfSubjectAccessReview::default();
        review.spec.resource_attributes = Some(ResourceAttributes {
            group: some(need.group),
            resource: some(need.resource),
            subresource: some(need.subresource),
            verb: some(need.verb),
            namespace: need.namespaced.then(|| namespace.to_owned()),
            ..ResourceAttributes::default()
        });
        let reviews: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let parameters = PostParams::default();
        let answer = call("ask what is permitted", reviews.create(&parameters, &review)).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    /// Whether the API server is new enough for what a workload asks; an older one would drop it without a word.
    ///
    /// # Errors
    /// What is asked, and since when there is such a thing.
    pub fn knows(&self, workload: &Workload) -> Result<(), ClusterError> {
        let hooks = [&workload.lifecycle.pre_stop, &workload.lifecycle.post_start];
        let sleeps = hooks.iter().any(|hook| matches!(hook, Some(Handler::Sleep { .. })));
        match self.minor() {
            Some(minor) if sleeps && minor < SLEEP_SINCE => Err(ClusterError::Backend(format!(
                "this cluster is {}, and hooks know `sleep` since 1.{SLEEP_SINCE}; use exec or httpGet: \
                 {{exec: {{command: [server, hook, pre-stop, --sleep, 5s]}}}}",
                self.version
            ))),
            _ => Ok(()),
        }
    }

    /// The 34 of `v1.34.2`.
    fn minor(&self) -> Option<u32> {
        let minor = self.version.trim_start_matches('v').split('.').nth(1)?;
        minor.trim_end_matches(|char: char| !char.is_ascii_digit()).parse().ok()
    }

    /// On how many of the nodes an image is known to be, out of how many; nodes name only their largest ones.
    ///
    /// # Errors
    /// The nodes cannot be listed.
    pub async fn holders(&self, image: &str) -> Result<(usize, usize), ClusterError> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let listed = call("list the nodes", nodes.list(&ListParams::default())).await?.items;
        let holds = |node: &Node| {
            let images = node.status.as_ref().and_then(|status| status.images.as_ref());
            let names = images.into_iter().flatten().filter_map(|image| image.names.as_ref()).flatten();
            // A short name stands for one on docker.io.
            names.into_iter().any(|name| name == image || name.strip_prefix("docker.io/") == Some(image))
        };
        Ok((listed.iter().filter(|node| holds(node)).count(), listed.len()))
    }

    /// Nodes that take pods. Where they may not be listed there are none to name, and the run says so later.
    pub(crate) async fn schedulable_nodes(&self) -> Result<Vec<String>, ClusterError> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let listed = match tokio::time::timeout(
            crate::connect::CALL_TIMEOUT,
            nodes.list(&ListParams::default()),
        )
        .await
        {
            Ok(Ok(listed)) => listed.items,
            // The check of permissions names the verb.
            Ok(Err(error)) if crate::connect::code(&error) == Some(403) => Vec::new(),
            Ok(Err(error)) => return Err(crate::connect::failed("list the nodes", &error)),
            Err(_) => return Err(ClusterError::Backend("failed to list the nodes: no answer".to_owned())),
        };
        let takes_pods = |node: &Node| {
            let spec = node.spec.clone().unwrap_or_default();
            let repels = |taint: &k8s_openapi::api::core::v1::Taint| taint.effect != "PreferNoSchedule";
            spec.unschedulable != Some(true) && !spec.taints.iter().flatten().any(repels)
        };
        let mut names: Vec<String> =
            listed.into_iter().filter(takes_pods).filter_map(|node| node.metadata.name).collect();
        names.sort();
        Ok(names)
    }
}
