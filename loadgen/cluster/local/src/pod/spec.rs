//! What a pod is made of, and what its processes are given.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use cluster::Emitter;
use contract::env;
use trial::id::PodId;
use trial::settings::{KubeletVersion, Program, Workload};

use super::POD_MARKER;
use crate::process::guard::Guard;
use crate::process::{Isolation, Spawner};

/// What a pod is made of.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Its number in the arm.
    pub id: PodId,
    /// Its name.
    pub name: String,
    /// Its node.
    pub node: String,
    /// Where it is to listen.
    pub address: SocketAddr,
    /// The run that it belongs to.
    pub run: String,
    /// Our own executable, which holds the server and the programs between us and a pod.
    pub executable: PathBuf,
    /// How it is kept apart.
    pub isolation: Isolation,
    /// Starts its processes.
    pub spawner: Spawner,
    /// Is told of its processes.
    pub guard: Arc<Mutex<Guard>>,
    /// The template.
    pub workload: Arc<Workload>,
    /// Whose arithmetic applies.
    pub kubelet: KubeletVersion,
    /// Where events go.
    pub emitter: Emitter,
    /// For the small delays of a real node.
    pub seed: u64,
}

impl Spec {
    /// A command of the pod, with our own server resolved to this executable and `{host}` and `{port}` filled in.
    #[must_use]
    pub fn program(&self, command: &[String]) -> Vec<String> {
        let fill = |text: &String| {
            text.replace("{host}", &self.address.ip().to_string())
                .replace("{port}", &self.address.port().to_string())
        };
        match command.split_first() {
            Some((first, rest)) if first == "server" || first == "/server" => {
                let own = [self.executable.to_string_lossy().into_owned(), "__server".to_owned()];
                own.into_iter().chain(rest.iter().map(fill)).collect()
            }
            _ => command.iter().map(fill).collect(),
        }
    }

    /// What every process of the pod finds in its environment.
    pub fn environment(&self, command: &mut Command) {
        // Settings of our server come from the scenario alone, not from the shell that loadgen was started in.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SERVER_"))
        {
            command.env_remove(name);
        }
        command
            .env(env::RUN_MARKER, &self.run)
            .env(POD_MARKER, format!("{}/{}", self.run, self.name))
            .env(env::POD_NAME, &self.name)
            .env(env::NODE_NAME, &self.node)
            .env(env::HOST, self.address.ip().to_string())
            .env(env::PORT, self.address.port().to_string());
    }

    pub(super) fn main_command(&self) -> Vec<String> {
        let server = match &self.workload.program {
            Program::Command(command) => return self.program(command),
            Program::Server(server) => server,
        };
        let mut command = vec!["server".to_owned(), "run".to_owned(), format!("--listen={}", self.address)];
        command.extend(server.flags(self.workload.lifecycle.stop_signal));
        self.program(&command)
    }

    pub(super) fn reports_lifecycle(&self) -> bool {
        matches!(self.workload.program, Program::Server(_))
    }
}
