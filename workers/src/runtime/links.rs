//! The core nodes that a worker talks to: one session, and at most one call at a time, with each.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use btrust_schemas::exchange::{ExchangeRequest, ExchangeResponse};

use super::desk::{Desk, Node};
use super::pace::Pace;

/// One call to a core node.
#[async_trait]
pub trait Core: Send + Sync {
    async fn exchange(&self, request: &ExchangeRequest) -> Result<ExchangeResponse, ExchangeError>;
}

/// Core nodes by their base URL.
pub trait Cores: Send + Sync {
    fn at(&self, url: &str) -> Arc<dyn Core>;
}

/// Why a call got no answer; the loop tries again in every case.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    #[error("core did not answer")]
    Unreachable(#[from] reqwest::Error),
    #[error("core refused the call with status {status} and code {code}")]
    Refused { status: u16, code: String },
    #[error("there is no token for core")]
    NoToken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

pub type Answer = Result<ExchangeResponse, ExchangeError>;

/// A call under way; a parked one carries no reports and may be dropped for one that does.
struct Call {
    answer: BoxFuture<'static, Answer>,
    is_parked: bool,
    n_queues: usize,
}

struct Link {
    url: String,
    core: Arc<dyn Core>,
    session: String,
    seq: u64,
    pace: Pace,
    call: Option<Call>,
    /// Whether it has yet to say which nodes there are; until then it is asked for nothing else.
    is_asking: bool,
    /// The number of its last call among all calls: who was called least recently comes first.
    last_call: u64,
}

/// All nodes of one worker process.
pub struct Links {
    cores: Arc<dyn Cores>,
    /// The node, or the load balancer before the nodes, that says which nodes there are.
    seed: String,
    session: String,
    by_node: BTreeMap<Node, Link>,
    n_opened: u64,
    n_calls: u64,
}

impl Links {
    /// Begins with the seed alone.
    pub fn new(cores: Arc<dyn Cores>, seed: &str, session: String, now: Instant) -> Self {
        let mut links = Self {
            cores,
            seed: seed.trim_end_matches('/').to_owned(),
            session,
            by_node: BTreeMap::new(),
            n_opened: 0,
            n_calls: 0,
        };
        links.ask_anew(now);
        links
    }

    /// Begins every call that is due; who was called least recently comes first.
    pub fn begin_calls(&mut self, desk: &mut Desk, now: Instant) {
        let mut idle: Vec<(u64, Node)> = self
            .by_node
            .iter()
            .filter(|(_, it)| it.call.is_none())
            .map(|(node, it)| (it.last_call, *node))
            .collect();
        idle.sort_unstable();
        let n_nodes = self.by_node.len();
        for (_, node) in idle {
            if let Some(link) = self.by_node.get_mut(&node)
                && link.is_due(node, desk, now)
            {
                self.n_calls += 1;
                link.last_call = self.n_calls;
                link.begin(node, desk, n_nodes);
                link.pace.called(now);
            }
        }
    }

    /// Waits for the next answer of any node.
    pub async fn next_answer(&mut self) -> (Node, Answer) {
        poll_fn(|context| {
            for (node, link) in &mut self.by_node {
                if let Some(call) = &mut link.call
                    && let Poll::Ready(answer) = call.answer.poll_unpin(context)
                {
                    link.call = None;
                    return Poll::Ready((*node, answer));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Books that a node has answered, and talks to the nodes that it has named from now on.
    pub fn answered(&mut self, node: Node, nodes: &[String], desk: &mut Desk, now: Instant) {
        if let Some(link) = self.by_node.get_mut(&node) {
            link.pace.succeeded();
            link.is_asking = false;
        }
        let named: Vec<&str> = nodes.iter().map(|it| it.trim_end_matches('/')).collect();
        if named.is_empty() {
            return;
        }
        let gone = self
            .by_node
            .extract_if(.., |_, it| !named.contains(&it.url.as_str()));
        for (node, link) in gone.collect::<Vec<_>>() {
            tracing::info!(node = link.url, "a core node is no longer named");
            desk.node_gone(node);
        }
        for url in named {
            if !self.by_node.values().any(|it| it.url == url) {
                self.add(url.to_owned(), false, now);
            }
        }
    }

    /// Books that a node did not answer; when none does, the seed is asked anew.
    pub fn failed(&mut self, node: Node, now: Instant) {
        if let Some(link) = self.by_node.get_mut(&node) {
            link.pace.failed(now);
        }
        if self.have_all_failed() && !self.by_node.values().any(|it| it.url == self.seed) {
            self.ask_anew(now);
        }
    }

    /// Drops calls that only wait where they would hold up a report, or do not ask for all that there
    /// is room for.
    pub fn interrupt(&mut self, desk: &mut Desk, n_open_queues: usize) {
        for (node, link) in &mut self.by_node {
            let is_late = link.call.as_ref().is_some_and(|call| {
                call.is_parked && (desk.owes(*node) || call.n_queues < n_open_queues)
            });
            if is_late && !link.is_asking {
                link.call = None;
                desk.call_ended(*node);
            }
        }
    }

    /// Drops every call that only waits for tasks.
    pub fn interrupt_all(&mut self, desk: &mut Desk) {
        self.interrupt(desk, usize::MAX);
    }

    /// Whether nobody can be expected to answer.
    pub fn have_all_failed(&self) -> bool {
        self.by_node.values().all(|it| it.pace.has_failed())
    }

    /// When a call is due without anything having happened.
    pub fn wake_at(&self, desk: &Desk) -> Option<Instant> {
        let idle = self.by_node.iter().filter(|(_, it)| it.call.is_none());
        idle.filter_map(|(node, it)| {
            it.pace
                .wake_at(it.is_asking || desk.has_business(*node), desk.holds(*node))
        })
        .min()
    }

    /// Tells every node that nothing is held any more, so that what is left goes to another worker at once.
    pub async fn give_back(mut self, desk: &mut Desk) {
        for (node, link) in &mut self.by_node {
            link.call = None;
            desk.call_ended(*node);
        }
        let farewells = self.by_node.into_values().map(|mut link| {
            let mut request = desk.question();
            request.leaving = true;
            link.number(&mut request);
            async move {
                if let Err(error) = link.core.exchange(&request).await {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        node = link.url,
                        "could not give the leases back; they will time out"
                    );
                }
            }
        });
        futures_util::future::join_all(farewells).await;
    }

    fn ask_anew(&mut self, now: Instant) {
        self.add(self.seed.clone(), true, now);
    }

    fn add(&mut self, url: String, is_asking: bool, now: Instant) {
        self.n_opened += 1;
        let link = Link {
            core: self.cores.at(&url),
            url,
            // The seed may be a node under another name, and the two must not be one session.
            session: format!("{}-{}", self.session, self.n_opened),
            seq: 0,
            pace: Pace::new(now),
            call: None,
            is_asking,
            last_call: 0,
        };
        self.by_node.insert(Node(self.n_opened), link);
    }
}

impl Link {
    fn is_due(&self, node: Node, desk: &Desk, now: Instant) -> bool {
        let has_business = self.is_asking || desk.has_business(node);
        self.pace.is_due(has_business, desk.holds(node), now)
    }

    fn begin(&mut self, node: Node, desk: &mut Desk, n_nodes: usize) {
        let mut request = if self.is_asking {
            desk.question()
        } else {
            desk.request(node, n_nodes)
        };
        self.number(&mut request);
        let core = Arc::clone(&self.core);
        self.call = Some(Call {
            is_parked: request.results.is_empty(),
            n_queues: request.queues.len(),
            answer: async move { core.exchange(&request).await }.boxed(),
        });
    }

    fn number(&mut self, request: &mut ExchangeRequest) {
        self.seq += 1;
        request.seq = self.seq;
        request.session.clone_from(&self.session);
    }
}
