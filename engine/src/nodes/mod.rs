//! One node among others: what it owns, how it keeps that, and where the rest is.

mod keeper;
mod ownership;
mod routes;
mod share;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use btrust_schemas::ids::WorkflowId;
use btrust_schemas::nodes::NodesView;

use crate::engine::Engine;
use crate::store::nodes::NodeStore;

pub use keeper::{Keeper, LEASE_MS};
pub use ownership::Ownership;
pub use routes::{Destination, Routes};

/// How a node shares a database with others.
#[derive(Clone)]
pub struct Membership {
    pub store: Arc<dyn NodeStore>,
    /// Base URL under which the other nodes, and workers, reach this one.
    pub url: String,
}

impl Engine {
    /// Whether other nodes share the database, so that some workflows may be theirs.
    pub fn has_neighbours(&self) -> bool {
        self.neighbours.is_some()
    }

    /// Whom to ask about a partition now.
    pub(crate) fn destination(&self, partition: u8) -> Destination {
        if self.shared.ownership.owns(partition) {
            return Destination::Here;
        }
        let url = self.shared.routes.url(partition);
        url.map_or(Destination::Nobody, Destination::There)
    }

    /// Whether this process serves a partition now.
    pub(crate) fn serves(&self, partition: u8) -> bool {
        self.shared.ownership.owns(partition)
    }

    /// Whether this process serves a workflow now.
    pub fn owns(&self, workflow: WorkflowId) -> bool {
        self.shared.ownership.owns(workflow.partition())
    }

    /// Has the registry looked at again, and waits for that, up to `wait_max`.
    pub(crate) async fn look_for_owners(&self, wait_max: Duration) {
        self.shared.routes.look_again(wait_max).await;
    }

    /// The nodes that live, and how much of its share this one has.
    pub fn nodes(&self) -> NodesView {
        NodesView {
            nodes: self.shared.routes.nodes(),
            n_owned: self.shared.ownership.n_owned(),
            n_wanted: self.shared.ownership.n_wanted(),
        }
    }

    /// Whether this process may answer for what it owns: its lease has not ended.
    pub fn is_registered(&self) -> bool {
        !self.shared.ownership.has_ended()
    }

    /// Hears of every change of the number of partitions that this process serves.
    pub fn watch_partitions(&self) -> watch::Receiver<usize> {
        self.shared.ownership.watch()
    }
}
