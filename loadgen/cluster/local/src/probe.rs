//! Readiness probes, as kubelet's prober runs them: the first at once, then every period, also while the pod is
//! terminating.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use trial::settings::{Probe, ProbeCheck};

use crate::hook::{self, Context};

/// One probe: true for success.
pub async fn once(context: &Context, probe: &Probe) -> bool {
    let limit = Duration::from_secs(u64::from(probe.timeout_seconds.max(1)));
    let address = context.spec.address;
    let target = |port: Option<u16>| SocketAddr::new(address.ip(), port.unwrap_or_else(|| address.port()));
    match &probe.check {
        ProbeCheck::TcpSocket { port } => {
            matches!(timeout(limit, TcpStream::connect(target(*port))).await, Ok(Ok(_)))
        }
        ProbeCheck::HttpGet { path, port } => get(target(*port), path, limit).await,
        ProbeCheck::Exec { command } => {
            // On a task of its own, so that a probe that overruns is still reaped when it ends.
            let (context, command) = (context.clone(), command.clone());
            let probe = tokio::spawn(async move { hook::exec(&context, &command).await });
            matches!(timeout(limit, probe).await, Ok(Ok(Ok(ended))) if ended.code == Some(0))
        }
    }
}

async fn get(address: SocketAddr, path: &str, limit: Duration) -> bool {
    // kubelet opens a connection for each probe and takes 200–399.
    let client = reqwest::Client::builder().no_proxy().timeout(limit).pool_max_idle_per_host(0).build();
    let Ok(client) = client else { return false };
    match client.get(format!("http://{address}{path}")).header("connection", "close").send().await {
        Ok(answer) => (200..400).contains(&answer.status().as_u16()),
        Err(_) => false,
    }
}

/// Turns a series of results into the Ready condition by the probe's thresholds.
#[derive(Debug, Clone, Default)]
pub struct Threshold {
    successes: u32,
    failures: u32,
    ready: bool,
}

impl Threshold {
    /// Takes a result; says the condition if it changed.
    pub fn take(&mut self, probe: &Probe, success: bool) -> Option<bool> {
        if success {
            self.failures = 0;
            self.successes = self.successes.saturating_add(1);
        } else {
            self.successes = 0;
            self.failures = self.failures.saturating_add(1);
        }
        let ready = if success && self.successes >= probe.success_threshold {
            true
        } else if !success && self.failures >= probe.failure_threshold {
            false
        } else {
            self.ready
        };
        (ready != self.ready).then(|| {
            self.ready = ready;
            ready
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_condition_changes_at_the_thresholds_only() {
        let probe = Probe {
            check: ProbeCheck::TcpSocket { port: None },
            period_seconds: 1,
            timeout_seconds: 1,
            failure_threshold: 3,
            success_threshold: 2,
            initial_delay_seconds: 0,
        };
        let mut threshold = Threshold::default();
        let seen: Vec<_> = [true, true, false, true, false, false, false, false, true, true]
            .into_iter()
            .map(|result| threshold.take(&probe, result))
            .collect();
        let (none, up, down) = (None, Some(true), Some(false));
        assert_eq!(seen, [none, up, none, none, none, none, down, none, none, up]);
    }
}
