//! Worker processes whose effects are files of a folder, the ledger, that all of them write to.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::fleet::Fleet;
use crate::world::binary;

/// A worker process with a folder and an identity of its own.
pub struct EffectsWorker(Child);

impl EffectsWorker {
    /// Starts one that is told of the node at `node` only; it hears of the others there.
    #[must_use]
    pub fn start(fleet: &Fleet, name: &str, node: &str, ledger: &Path) -> Self {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(fleet.path(&format!("{name}.log")))
            .expect("a log in the temporary folder");
        let child = Command::new(binary("effects-worker"))
            .env("CORE_URL", node)
            .env("AUTH_URL", fleet.auth_url())
            .env("CLIENT_ID", "worker")
            .env("CLIENT_SECRET", &fleet.worker_secret)
            .env("LEDGER", ledger)
            .env("DATA", fleet.path(name))
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .expect("the worker starts");
        Self(child)
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// SIGKILL: nothing is handed in, nothing is said.
    pub fn kill(&mut self) {
        // Already gone is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for EffectsWorker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The states of every workflow whose effects are in a ledger, sorted, each as often as it was.
#[must_use]
pub fn effects_of(ledger: &Path) -> BTreeMap<String, Vec<String>> {
    let mut effects: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(ledger).expect("the ledger is a folder") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_string_lossy();
        let mut parts = name.split('.');
        let (Some(workflow), Some(state)) = (parts.next(), parts.next()) else {
            panic!("{name} is no effect");
        };
        effects
            .entry(workflow.to_owned())
            .or_default()
            .push(state.to_owned());
    }
    for states in effects.values_mut() {
        states.sort();
    }
    effects
}
