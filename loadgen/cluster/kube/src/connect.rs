//! A client for the cluster that the user means, and the API's errors in one line.

use std::path::PathBuf;
use std::time::Duration;

use ::cluster::ClusterError;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// An API server that has not accepted a connection by then is called unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// No single call, watches and streams aside, may take longer.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Which cluster.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// A kubeconfig file; by default `$KUBECONFIG`, `~/.kube/config`, or a pod's own service account.
    pub kubeconfig: Option<PathBuf>,
    /// One of its contexts; by default the current one.
    pub context: Option<String>,
}

/// A cluster that answered.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) client: Client,
    /// The same without the client's own repetition of calls that are refused for now (429): for evictions, where that
    /// is an answer.
    pub(crate) once: Client,
    /// The API server's version, as it says it: `v1.34.2`.
    pub version: String,
    /// Names of the nodes that take pods, sorted.
    pub nodes: Vec<String>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("version", &self.version).finish_non_exhaustive()
    }
}

impl Access {
    /// True if there is a cluster to be found without one being named: what `kubectl` would look at, or a pod's own.
    #[must_use]
    pub fn is_configured() -> bool {
        Self::is_configured_by_file() || set("KUBERNETES_SERVICE_HOST").is_some()
    }

    fn is_configured_by_file() -> bool {
        let default = set("HOME").is_some_and(|home| PathBuf::from(home).join(".kube/config").exists());
        default || set("KUBECONFIG").is_some()
    }

    /// Connects, and asks for the version and the nodes.
    ///
    /// # Errors
    /// No kubeconfig, an unknown context, an API server that does not answer within seconds or refuses us.
    pub async fn connect(&self) -> Result<Cluster, ClusterError> {
        let config = self.config().await?;
        let server = config.cluster_url.to_string();
        let set_up = |config: Config| {
            Client::try_from(config).map_err(|error| {
                let line = line(&error);
                ClusterError::Backend(format!("failed to set up a client for {server}: {line}"))
            })
        };
        let mut without_repetition = config.clone();
        without_repetition.default_retry = false;
        let (client, once) = (set_up(config)?, set_up(without_repetition)?);
        let version = call(&format!("reach the API server at {server}"), client.apiserver_version()).await?;
        let mut cluster = Cluster { client, once, version: version.git_version, nodes: Vec::new() };
        cluster.nodes = cluster.schedulable_nodes().await?;
        Ok(cluster)
    }

    async fn config(&self) -> Result<Config, ClusterError> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let kubeconfig = match &self.kubeconfig {
            Some(path) => Some(Kubeconfig::read_from(path).map_err(|error| {
                let reason = without_contents(&error);
                ClusterError::Input(format!("failed to read kubeconfig {}: {reason}", path.display()))
            })?),
            None if self.context.is_some() || Self::is_configured_by_file() => {
                Some(Kubeconfig::read().map_err(|error| {
                    let reason = without_contents(&error);
                    ClusterError::Input(format!("failed to read the kubeconfig: {reason}"))
                })?)
            }
            None => None,
        };
        let config = match kubeconfig {
            Some(kubeconfig) => {
                self.known_context(&kubeconfig)?;
                let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
                config.map_err(|error| without_contents(&error))
            }
            None if set("KUBERNETES_SERVICE_HOST").is_some() => {
                Config::incluster().map_err(|error| chain(&error))
            }
            None => Err("there is no kubeconfig in $KUBECONFIG or ~/.kube/config".to_owned()),
        };
        let mut config = config.map_err(|error| {
            ClusterError::Input(format!(
                "no cluster to talk to: {error} (--kubeconfig and --context say which)"
            ))
        })?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.write_timeout = Some(CALL_TIMEOUT);
        Ok(config)
    }

    fn known_context(&self, kubeconfig: &Kubeconfig) -> Result<(), ClusterError> {
        let Some(wanted) = &self.context else { return Ok(()) };
        let names: Vec<&str> = kubeconfig.contexts.iter().map(|context| context.name.as_str()).collect();
        if names.contains(&wanted.as_str()) {
            return Ok(());
        }
        Err(ClusterError::Backend(format!(
            "the kubeconfig has no context `{wanted}`; it has: {}",
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        )))
    }
}

/// A variable of the environment that says something.
fn set(variable: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(variable).filter(|value| !value.is_empty())
}

/// What is wrong with a kubeconfig, without a word of what stands in it: that may be a token.
fn without_contents(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(_) => {
            "it is not the YAML of a kubeconfig (`kubectl config view` says where)".to_owned()
        }
        other => chain(other),
    }
}

/// Makes one call, bounded in time, and says in one line what it was for if it fails.
pub(crate) async fn call<T>(
    what: &str,
    future: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ClusterError> {
    match tokio::time::timeout(CALL_TIMEOUT, future).await {
        Ok(result) => result.map_err(|error| failed(what, &error)),
        Err(_) => Err(ClusterError::Backend(format!("failed to {what}: no answer within {CALL_TIMEOUT:?}"))),
    }
}

pub(crate) fn failed(what: &str, error: &kube::Error) -> ClusterError {
    ClusterError::Backend(format!("failed to {what}: {}", line(error)))
}

/// What an error of the client means, in one line.
pub(crate) fn line(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => one_line(&status.message),
        kube::Error::Api(status) => format!("{} ({})", status.reason, status.code),
        other => chain(other),
    }
}

/// The HTTP status of an API error.
pub(crate) fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// An error with its causes, each said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = one_line(&error.to_string());
    let mut source = error.source();
    while let Some(cause) = source {
        let said = one_line(&cause.to_string());
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
