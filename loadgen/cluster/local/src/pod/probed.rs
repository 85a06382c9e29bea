//! What follows from a pod's probes.

use trial::event::Event;

use super::container::Restart;
use super::{Pod, Update};

impl Pod {
    /// Fails so often in a row that the container is stopped and started again.
    pub(super) async fn on_liveness(&mut self, success: bool) {
        let Some(probe) = &self.spec.workload.liveness_probe else { return };
        let most = probe.failure_threshold;
        if self.post_start.is_some() {
            // Until postStart has returned the kubelet has no running container to probe.
            return;
        }
        self.not_live = if success { 0 } else { self.not_live.saturating_add(1) };
        if self.not_live >= most {
            self.liveness = None;
            self.warn("Unhealthy", "the liveness probe failed");
            self.stop_for_restart("its liveness probe failed", Restart::AtOnce).await;
        }
    }

    pub(super) async fn on_probe(&mut self, success: bool) {
        // Until postStart has returned the container is not running for the rest of the cluster.
        if self.ended || self.post_start.is_some() {
            return;
        }
        if let Some(probe) = &self.spec.workload.readiness_probe
            && let Some(ready) = self.threshold.take(probe, success)
        {
            self.set_ready(ready).await;
        }
    }

    pub(super) async fn set_ready(&mut self, ready: bool) {
        self.ready = ready;
        self.was_ready |= ready;
        let pod = self.spec.id;
        self.spec.emitter.emit(if ready { Event::PodReady { pod } } else { Event::PodNotReady { pod } });
        self.tell(Update::Ready(ready)).await;
    }
}
