//! Which node to ask about a partition, as of the keeper's last look.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use btrust_schemas::ids::N_PARTITIONS;
use btrust_schemas::nodes::NodeView;

use crate::store::nodes::Survey;

/// Whom a command has to be brought to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// This node.
    Here,
    /// The node at this base URL.
    There(Arc<str>),
    /// Nobody yet: the partition changes hands.
    Nobody,
}

#[derive(Default)]
struct Table {
    /// Base URL of the owner of each partition; `None` where nobody alive, or this node, has it.
    urls: Vec<Option<Arc<str>>>,
    nodes: Vec<NodeView>,
}

/// Where the partitions of other nodes are.
pub struct Routes {
    table: RwLock<Table>,
    n_looks: watch::Sender<u64>,
    look: Notify,
}

impl Routes {
    /// Knows nothing but this node, which is the only one where no keeper looks.
    pub fn new(nodes: Vec<NodeView>) -> Self {
        let urls = Vec::new();
        Self {
            table: RwLock::new(Table { urls, nodes }),
            n_looks: watch::Sender::new(0),
            look: Notify::new(),
        }
    }

    /// Takes in what a look at the registry has found.
    pub fn learn(&self, survey: &Survey, this_node: &str) {
        let mut urls: Vec<Option<Arc<str>>> = vec![None; usize::from(N_PARTITIONS)];
        let mut nodes = Vec::with_capacity(survey.nodes.len());
        for node in &survey.nodes {
            let url: Arc<str> = node.url.as_str().into();
            let mut n_partitions = 0;
            for lease in survey.leases.iter().filter(|it| it.owner == node.node) {
                n_partitions += 1;
                if node.node != this_node {
                    urls[usize::from(lease.partition)] = Some(Arc::clone(&url));
                }
            }
            nodes.push(NodeView {
                node: node.node.clone(),
                url: node.url.clone(),
                started_at: btrust_platform::clock::rfc3339(node.started_ms),
                n_partitions,
            });
        }
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Table { urls, nodes };
        self.n_looks.send_modify(|it| *it += 1);
    }

    /// The base URL of another node that owns a partition.
    pub fn url(&self, partition: u8) -> Option<Arc<str>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.urls.get(usize::from(partition)).cloned().flatten()
    }

    /// The base URLs of all of them.
    pub fn node_urls(&self) -> Vec<String> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.nodes.iter().map(|it| it.url.clone()).collect()
    }

    /// How many there are.
    pub fn n_nodes(&self) -> u32 {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        u32::try_from(table.nodes.len()).unwrap_or(u32::MAX)
    }

    /// The nodes that live, in the order of their names.
    pub fn nodes(&self) -> Vec<NodeView> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.nodes.clone()
    }

    /// Has the keeper look now, and waits for its next look, up to `wait_max`.
    pub async fn look_again(&self, wait_max: Duration) {
        let mut looks = self.n_looks.subscribe();
        self.look.notify_one();
        // Without an answer the caller looks at what is known.
        let _ = timeout(wait_max, looks.changed()).await;
    }

    /// Waits for somebody who wants the keeper to look.
    pub async fn wanted(&self) {
        self.look.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::nodes::{LeaseRecord, NodeRecord};

    #[test]
    fn a_partition_leads_to_its_owner_and_ones_own_leads_nowhere() {
        let node = |name: &str| NodeRecord {
            node: name.to_owned(),
            url: format!("http://{name}"),
            started_ms: 0,
        };
        let lease = |partition, owner: &str| LeaseRecord {
            partition,
            owner: owner.to_owned(),
            epoch: 1,
        };
        let survey = Survey {
            nodes: vec![node("a"), node("b")],
            leases: vec![lease(1, "a"), lease(2, "b"), lease(4, "b")],
        };
        let routes = Routes::new(Vec::new());
        routes.learn(&survey, "a");
        let urls = [1, 2, 3].map(|it| routes.url(it));
        assert_eq!(urls, [None, Some("http://b".into()), None]);
        let counts: Vec<_> = routes.nodes().iter().map(|it| it.n_partitions).collect();
        assert_eq!(counts, [1, 2]);
    }
}
