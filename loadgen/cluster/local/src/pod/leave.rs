//! What is left to do once a pod's container has ended.

use std::time::Duration;

use nix::sys::signal::Signal;
use trial::event::Event;

use super::{POD_MARKER, Pod, Update};
use crate::process::{self, sweep};

/// How long the log of an ended container may take to be read.
const LAST_LINES: Duration = Duration::from_millis(200);

impl Pod {
    /// What a pod without a namespace leaves behind dies with it, as it would in one.
    pub(super) fn sweep(&self) {
        if self.spec.isolation.is_namespaced() {
            return;
        }
        let marker = format!("{}/{}", self.spec.run, self.spec.name);
        for pid in sweep::marked_with(&self.spec.run) {
            if sweep::variable(pid, POD_MARKER).as_deref() == Some(&marker) && Some(pid) != self.shim_pid() {
                let _gone = process::signal(pid, Signal::SIGKILL);
            }
        }
    }

    fn shim_pid(&self) -> Option<u32> {
        self.shim.as_ref().map(std::process::Child::id)
    }

    pub(super) async fn reap(&mut self) {
        if let Some(mut shim) = self.shim.take() {
            let _reaped = tokio::task::spawn_blocking(move || shim.wait()).await;
        }
    }

    /// The container is stopped: the node and the API server tidy up.
    pub(super) async fn leave(mut self) {
        // The container's last lines are in the pipe when its end is known; who else holds it open is not waited for.
        for reader in &mut self.readers {
            let _held = tokio::time::timeout(LAST_LINES, reader).await;
        }
        for task in self.tasks.iter().chain(&self.readers) {
            task.abort();
        }
        if !self.leaving {
            return;
        }
        self.pause(50..300).await; // the sandbox
        self.spec.emitter.emit(Event::IpGone { pod: self.spec.id });
        self.tell(Update::AddressGone).await;
        self.pause(10..50).await; // the last status
        if !self.forced {
            // With restartPolicy Always a container's code still decides which of the two it is.
            let succeeded = self.exit.is_some_and(|(code, _)| code == Some(0));
            self.spec.emitter.emit(Event::Terminal { pod: self.spec.id, succeeded });
        }
        self.tell(Update::Terminal).await;
        if !self.forced {
            self.pause(300..2_000).await; // kubelet's final delete
            self.spec.emitter.emit(Event::Gone { pod: self.spec.id });
        }
        self.tell(Update::Gone).await;
    }

    async fn pause(&mut self, millis: std::ops::Range<u64>) {
        tokio::time::sleep(Duration::from_millis(self.random.u64(millis))).await;
    }
}
