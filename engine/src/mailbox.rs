//! The one way in for everything that changes a workflow: a mailbox for each lane of partitions.

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};

use std::sync::Arc;

use btrust_machine::{Applied, Command, Definition, Origin, Payload};
use btrust_schemas::commands::{Conflict, Reuse};
use btrust_schemas::ids::WorkflowId;

use crate::act_log::ActBatch;
use crate::annotations::Annotate;
use crate::definitions::Published;
use crate::error::EngineError;
use crate::queues::Queues;
use crate::recovery::Recovered;
use crate::room::{REPORTS_ROOM, Room, WaitingBytes, is_report};
use crate::row_acts::RowAct;
use crate::search::Attributes;
use crate::store::StartKey;
use crate::workflow::Workflow;

/// Commands that may wait for one committer; the next caller is told to come back.
///
/// Source: about a second of work at 10,000 commands a second.
pub const MAILBOX_MAX: usize = 10_000;

/// A workflow that somebody wants to start.
pub struct Start {
    pub key: StartKey,
    /// The id of the workflow where it is known; else the committer draws one.
    pub id: Option<WorkflowId>,
    /// SHA-256 hex of the request.
    pub digest: String,
    pub tenant: String,
    pub definition: Arc<Definition>,
    pub version: u32,
    pub input: Payload,
    /// Keyed digest of the bank's own reference.
    pub subject: Option<String>,
    pub locale: String,
    /// 0 to 9; the higher the sooner.
    pub priority: u8,
    /// Who starts it, when that is no caller.
    pub origin: Origin,
    /// Who asks for it.
    pub actor: String,
    pub reuse: Reuse,
    pub conflict: Conflict,
    /// Tells this request from others with its key, where it may begin something new; a repetition has
    /// the same.
    pub request: Option<String>,
    /// The workflow, which has ended, that it starts again.
    pub restart_of: Option<WorkflowId>,
    pub attributes: Attributes,
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
    /// Serves a partition from now on.
    Adopt {
        recovered: Box<Recovered>,
        done: oneshot::Sender<()>,
    },
    /// Serves partitions no more, once the commands before this one are committed.
    GiveUp {
        partitions: Vec<u8>,
        done: oneshot::Sender<()>,
    },
    Annotate(Box<Annotate>),
    /// It carries its own reply: nothing is left that the others could be answered with.
    Rows(Box<RowAct>),
    /// Acts outside workflows; as [`Self::Rows`] it carries its own reply.
    Acts(Box<ActBatch>),
    /// Looks at the clock again.
    Wake,
}

impl Request {
    /// The partition that the request is for; `None` is all of them.
    fn partition(&self) -> Option<u8> {
        match self {
            Self::Start(start) => Some(partition_of(&start.key)),
            Self::Command { workflow, .. } => Some(workflow.partition()),
            Self::Migrate(migration) => Some(migration.before.id.partition()),
            Self::Annotate(annotate) => Some(annotate.workflow.partition()),
            Self::Rows(act) => Some(act.workflow.partition()),
            Self::Acts(batch) => Some(batch.log.partition()),
            Self::Adopt { recovered, .. } => Some(recovered.partition.number),
            Self::GiveUp { .. } | Self::Wake => None,
        }
    }
}

/// The partition of a start: the first byte of its key's hash, so that its dedupe is local.
pub fn partition_of(key: &StartKey) -> u8 {
    key.key_hash
        .get(..2)
        .and_then(|it| u8::from_str_radix(it, 16).ok())
        .unwrap_or(0)
}

/// Which of `n_lanes` committers writes a partition; neighbours are spread.
pub fn lane_of(partition: u8, n_lanes: usize) -> usize {
    usize::from(partition) % n_lanes.max(1)
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
    /// What it takes of the bytes that may wait; the engine's own mails take none.
    pub room: Option<Room>,
}

/// The sending side; clones share the mailboxes of all lanes.
#[derive(Clone)]
pub struct Mailbox {
    lanes: Arc<[mpsc::Sender<Mail>]>,
    bytes: WaitingBytes,
}

impl Mailbox {
    /// A mailbox of [`MAILBOX_MAX`] for each lane, and their receiving sides.
    pub fn new(n_lanes: usize) -> (Self, Vec<mpsc::Receiver<Mail>>) {
        let lanes = (0..n_lanes.max(1)).map(|_| mpsc::channel(MAILBOX_MAX));
        let (senders, receivers): (Vec<_>, Vec<_>) = lanes.unzip();
        let lanes = senders.into();
        let bytes = WaitingBytes::default();
        (Self { lanes, bytes }, receivers)
    }

    /// Asks the lane of the request's partition, and waits for the commit.
    ///
    /// # Errors
    ///
    /// [`EngineError::Overloaded`] when there is no room, of which some is for reports only; and whatever
    /// the committer says.
    pub async fn ask(&self, request: Request) -> Answer {
        let (reply, answer) = oneshot::channel();
        let lane = lane_of(request.partition().unwrap_or_default(), self.lanes.len());
        let lane = &self.lanes[lane];
        if lane.capacity() <= REPORTS_ROOM && !is_report(&request) {
            return Err(EngineError::Overloaded);
        }
        let room = Some(self.bytes.take(&request)?);
        lane.try_send(Mail {
            request,
            reply: Some(reply),
            room,
        })
        .map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => EngineError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => EngineError::Unavailable,
        })?;
        // The committer drops a reply only when it stops.
        answer.await.unwrap_or(Err(EngineError::Unavailable))
    }

    /// Hands a partition to its lane.
    pub async fn adopt(&self, recovered: Recovered) {
        let lane = lane_of(recovered.partition.number, self.lanes.len());
        let (done, is_done) = oneshot::channel();
        let recovered = Box::new(recovered);
        let mail = Mail {
            request: Request::Adopt { recovered, done },
            reply: None,
            room: None,
        };
        // A committer that has stopped serves nothing.
        if self.lanes[lane].send(mail).await.is_ok() {
            let _ = is_done.await;
        }
    }

    /// Has the lanes serve partitions no more, and waits until what came before is committed.
    pub async fn give_up(&self, partitions: &[u8]) {
        let n_lanes = self.lanes.len();
        let orders = self.lanes.iter().enumerate().map(|(lane, sender)| {
            let is_here = |it: &u8| lane_of(*it, n_lanes) == lane;
            let partitions = partitions.iter().copied().filter(is_here).collect();
            let (done, is_done) = oneshot::channel();
            let mail = Mail {
                request: Request::GiveUp { partitions, done },
                reply: None,
                room: None,
            };
            async move {
                // A committer that has stopped serves nothing.
                if sender.send(mail).await.is_ok() {
                    let _ = is_done.await;
                }
            }
        });
        join_all(orders).await;
    }

    /// Sends what carries its own reply to the lane of its partition.
    ///
    /// # Errors
    ///
    /// As [`Self::ask`].
    pub fn tell(&self, request: Request) -> Result<(), EngineError> {
        let lane = lane_of(request.partition().unwrap_or_default(), self.lanes.len());
        let lane = &self.lanes[lane];
        if lane.capacity() <= REPORTS_ROOM {
            return Err(EngineError::Overloaded);
        }
        let mail = Mail {
            request,
            reply: None,
            room: None,
        };
        lane.try_send(mail).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => EngineError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => EngineError::Unavailable,
        })
    }

    /// Makes the committers look at their clock; for clocks that are moved by hand.
    pub async fn wake(&self) {
        for lane in self.lanes.iter() {
            // A committer that has stopped needs no waking.
            let _ = lane
                .send(Mail {
                    request: Request::Wake,
                    reply: None,
                    room: None,
                })
                .await;
        }
    }

    /// Bytes of documents that wait now, in all lanes.
    pub fn n_waiting_bytes(&self) -> usize {
        self.bytes.now()
    }

    /// Commands that wait now, in all lanes.
    pub fn n_waiting(&self) -> usize {
        let waiting = self
            .lanes
            .iter()
            .map(|it| it.max_capacity() - it.capacity());
        waiting.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_one_lane_and_all_lanes_have_as_many() {
        for (n_lanes, n_each) in [(1, 256), (4, 64)] {
            let mut counts = vec![0; n_lanes];
            for partition in 0..=u8::MAX {
                counts[lane_of(partition, n_lanes)] += 1;
            }
            assert_eq!(counts, vec![n_each; n_lanes]);
        }
    }

    #[tokio::test]
    async fn a_full_lane_refuses_and_the_others_do_not() {
        let (mailbox, mut receivers) = Mailbox::new(2);
        let cancel = |partition| Request::Command {
            workflow: WorkflowId::new(partition, [1; 15]),
            tenant: None,
            queues: None,
            command: Box::new(Command::Tick),
        };
        for _ in 0..MAILBOX_MAX {
            let full = mailbox.lanes[0].try_send(Mail {
                request: cancel(2),
                reply: None,
                room: None,
            });
            assert!(full.is_ok());
        }
        assert_eq!(mailbox.n_waiting(), MAILBOX_MAX);
        let refused = mailbox.ask(cancel(4)).await;
        assert_eq!(refused.err(), Some(EngineError::Overloaded));
        let (answer, mail) = tokio::join!(mailbox.ask(cancel(3)), async {
            // Dropping the mail drops its reply, as a committer does that stops.
            receivers[1].recv().await.map(|it| it.request.partition())
        });
        assert_eq!(mail, Some(Some(3)));
        assert_eq!(answer.err(), Some(EngineError::Unavailable));
    }

    #[tokio::test]
    async fn a_crowded_lane_takes_reports_and_nothing_else() {
        let (mailbox, mut receivers) = Mailbox::new(1);
        let command = |command| Request::Command {
            workflow: WorkflowId::new(1, [1; 15]),
            tenant: None,
            queues: None,
            command: Box::new(command),
        };
        for _ in 0..MAILBOX_MAX - REPORTS_ROOM {
            let taken = mailbox.lanes[0].try_send(Mail {
                request: command(Command::Tick),
                reply: None,
                room: None,
            });
            assert!(taken.is_ok());
        }
        let keep = Command::TokenHeartbeat {
            token: String::new(),
        };
        let refused = mailbox.ask(command(keep)).await;
        assert_eq!(refused.err(), Some(EngineError::Overloaded));
        let report = Command::TurnResult {
            task: 1,
            attempt: 1,
            turn: 1,
            digest: String::new(),
            result: btrust_machine::TurnResult::Fail {
                error: String::new(),
                cause: String::new(),
            },
        };
        let (answer, last) = tokio::join!(mailbox.ask(command(report)), async {
            let mut mails = Vec::new();
            receivers[0].recv_many(&mut mails, MAILBOX_MAX).await
        });
        assert_eq!(last, MAILBOX_MAX - REPORTS_ROOM + 1);
        // The committer of this test has dropped the report.
        assert_eq!(answer.err(), Some(EngineError::Unavailable));
    }
}
