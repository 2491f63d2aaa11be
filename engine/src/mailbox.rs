//! The one way in for everything that changes a workflow.

use tokio::sync::{mpsc, oneshot};

use std::sync::Arc;

use btrust_machine::{Applied, Command, Definition};
use btrust_schemas::ids::WorkflowId;

use crate::definitions::Published;
use crate::error::EngineError;
use crate::queues::Queues;
use crate::store::StartKey;
use crate::workflow::Workflow;

/// Commands that may wait for the committer; the next caller is told to come back.
///
/// Source: about a second of work at 10,000 commands a second.
pub const MAILBOX_MAX: usize = 10_000;

/// A workflow that somebody wants to start.
pub struct Start {
    pub key: StartKey,
    /// SHA-256 hex of the request.
    pub digest: String,
    pub tenant: String,
    pub definition: Arc<Definition>,
    pub version: u32,
    pub input: serde_json::Value,
    /// Keyed digest of the bank's own reference.
    pub subject: Option<String>,
    pub locale: String,
}

/// Moves a running workflow to another version, as it was judged.
pub struct Migration {
    /// The workflow when it was judged; if it has changed since, nothing is moved.
    pub before: Arc<Workflow>,
    pub to: Published,
    pub moved: Applied,
}

/// Something that somebody wants.
pub enum Request {
    Start(Box<Start>),
    Command {
        workflow: WorkflowId,
        /// Whose workflow it has to be, where the caller belongs to one tenant.
        tenant: Option<String>,
        /// Of which steps the turn has to be, where a worker reports one.
        queues: Option<Arc<Queues>>,
        command: Box<Command>,
    },
    Migrate(Box<Migration>),
    /// Looks at the clock again.
    Wake,
}

/// What the caller hears after the commit.
#[derive(Clone)]
pub struct Done {
    pub workflow: Arc<Workflow>,
    /// False when this very request had been carried out before.
    pub is_new: bool,
}

pub type Answer = Result<Done, EngineError>;

pub struct Mail {
    pub request: Request,
    pub reply: Option<oneshot::Sender<Answer>>,
}

/// The sending side; clones share one mailbox.
#[derive(Clone)]
pub struct Mailbox(mpsc::Sender<Mail>);

impl Mailbox {
    /// A mailbox of [`MAILBOX_MAX`] and its receiving side.
    pub fn new() -> (Self, mpsc::Receiver<Mail>) {
        let (sender, receiver) = mpsc::channel(MAILBOX_MAX);
        (Self(sender), receiver)
    }

    /// Asks, and waits for the commit.
    ///
    /// # Errors
    ///
    /// [`EngineError::Overloaded`] when the mailbox is full, and whatever the committer says.
    pub async fn ask(&self, request: Request) -> Answer {
        let (reply, answer) = oneshot::channel();
        self.0
            .try_send(Mail {
                request,
                reply: Some(reply),
            })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => EngineError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => EngineError::Unavailable,
            })?;
        // The committer drops a reply only when it stops.
        answer.await.unwrap_or(Err(EngineError::Unavailable))
    }

    /// Makes the committer look at its clock; for clocks that are moved by hand.
    pub async fn wake(&self) {
        // A committer that has stopped needs no waking.
        let _ = self
            .0
            .send(Mail {
                request: Request::Wake,
                reply: None,
            })
            .await;
    }

    /// Commands that wait now.
    pub fn n_waiting(&self) -> usize {
        self.0.max_capacity() - self.0.capacity()
    }
}
