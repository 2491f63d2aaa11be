//! What a start means whose key has started a workflow before.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use btrust_machine::{Command, Refusal, Status};
use btrust_platform::random::{self, RandomSource};
use btrust_platform::sealing::Sealer;
use btrust_schemas::commands::{Conflict, Reuse};
use btrust_schemas::ids::WorkflowId;

use crate::error::EngineError;
use crate::mailbox::{Answer, Mail, Request, Start, partition_of};
use crate::round::{Caller, Round};
use crate::shared::{Shared, unavailable};
use crate::store::StartKey;

/// A start that begins a workflow.
pub struct NewStart {
    pub start: Start,
    pub id: WorkflowId,
    /// The workflow that the key has meant until now.
    pub replaces: Option<WorkflowId>,
    /// Whether that one runs, and is terminated.
    pub terminates: bool,
    pub reply: Option<oneshot::Sender<Answer>>,
}

/// What becomes of such a start.
#[derive(Clone, Debug, PartialEq)]
enum Ruling {
    /// It means the earlier workflow.
    Repeat,
    Refuse(EngineError),
    /// A new workflow begins, and the key means that one from now on.
    Begin,
    /// The earlier workflow is terminated and a new one begins, in one commit.
    Replace,
}

/// Rules about a start whose key has started, with a request of the digest `earlier_digest`, a
/// workflow that stands at `earlier`.
///
/// While that one runs, only the conflict policy counts, and once it has ended only the reuse policy.
fn rule(start: &Start, earlier_digest: &str, earlier: Status) -> Ruling {
    let same = if start.digest == earlier_digest {
        Ruling::Repeat
    } else {
        Ruling::Refuse(EngineError::KeyReused)
    };
    if !earlier.is_closed() {
        return match start.conflict {
            Conflict::Existing => same,
            Conflict::Fail => Ruling::Refuse(running()),
            Conflict::Terminate => Ruling::Replace,
        };
    }
    match (start.reuse, earlier) {
        (Reuse::Reject, _) | (Reuse::IfFailed, Status::Succeeded | Status::Continued) => same,
        (Reuse::IfFailed | Reuse::IfClosed, _) => Ruling::Begin,
    }
}

/// The refusal for what needs a workflow that has ended.
fn running() -> EngineError {
    EngineError::Refused(Refusal::WorkflowRunning)
}

/// Gives an id to every start that begins a workflow; those that mean an earlier one stay mails.
///
/// Of several starts with one key in a round the first begins a workflow, and the others mean that one.
pub fn name_new(
    random: &dyn RandomSource,
    mails: Vec<Mail>,
    starts: &mut HashMap<StartKey, (WorkflowId, String)>,
    round: &mut Round,
    broken: &HashMap<WorkflowId, EngineError>,
) -> (Vec<NewStart>, Vec<Mail>) {
    let mut new = Vec::new();
    let mut rest = Vec::with_capacity(mails.len());
    for mail in mails {
        let Mail {
            request,
            reply,
            room,
        } = mail;
        let Request::Start(start) = request else {
            rest.push(Mail {
                request,
                reply,
                room,
            });
            continue;
        };
        let known = starts.get(&start.key);
        // One that begins in this very round has no draft yet.
        let earlier = known.and_then(|(id, digest)| Some((*id, digest, round.status(*id)?)));
        let ruling = match (known, earlier) {
            (None, _) => Ruling::Begin,
            (Some(_), None) => Ruling::Repeat,
            (Some(_), Some((_, digest, status))) => rule(&start, digest, status),
        };
        let replaces = earlier.map(|(id, _, _)| id);
        let terminates = match ruling {
            Ruling::Repeat => {
                let request = Request::Start(start);
                rest.push(Mail {
                    request,
                    reply,
                    room,
                });
                continue;
            }
            Ruling::Refuse(error) => {
                round.refuse(reply, error);
                continue;
            }
            Ruling::Begin => false,
            Ruling::Replace => true,
        };
        if let Some(old) = start.restart_of
            && let Err(error) = may_restart(old, &start.tenant, round, broken)
        {
            round.refuse(reply, error);
            continue;
        }
        let drawn = || WorkflowId::new(partition_of(&start.key), random::bytes(random));
        let id = start.id.unwrap_or_else(drawn);
        starts.insert(start.key.clone(), (id, start.digest.clone()));
        new.push(NewStart {
            start: *start,
            id,
            replaces,
            terminates,
            reply,
        });
    }
    (new, rest)
}

/// Makes the keys of workflows that begin, all or none.
pub async fn mint(shared: &Shared, new: &[NewStart]) -> Result<(), EngineError> {
    if new.is_empty() {
        return Ok(());
    }
    let owners: Vec<(String, WorkflowId)> = new
        .iter()
        .map(|it| (it.start.tenant.clone(), it.id))
        .collect();
    let minted = shared.keys.create_many(&owners).await.map_err(unavailable);
    if minted == Err(EngineError::StorageFull) {
        shared.storage.note(true);
    }
    minted
}

/// Whether a workflow is there and has ended, so that it may be started again.
fn may_restart(
    old: WorkflowId,
    tenant: &str,
    round: &Round,
    broken: &HashMap<WorkflowId, EngineError>,
) -> Result<(), EngineError> {
    if let Some(error) = broken.get(&old) {
        return Err(error.clone());
    }
    match round.status_for(old, tenant) {
        None => Err(EngineError::Unknown),
        Some(status) if status.is_closed() => Ok(()),
        Some(_) => Err(running()),
    }
}

/// Begins a workflow, and does to others what its start means for them.
pub fn begin(round: &mut Round, new: NewStart, sealer: Arc<Sealer>, now_ms: i64) {
    let acts = acts_of(&new);
    let tenant = new.start.tenant.clone();
    if round.start(new.start, new.id, new.replaces, sealer, now_ms, new.reply) {
        let caller = Caller {
            tenant: Some(&tenant),
            queues: None,
        };
        for (workflow, command) in acts {
            round.apply(workflow, caller, &command, now_ms, None);
        }
    }
}

/// What a start does to other workflows, in the commit that begins its own.
fn acts_of(new: &NewStart) -> Vec<(WorkflowId, Command)> {
    let by = Some(new.start.actor.clone());
    let id = new.id.to_string();
    let terminate = new.replaces.filter(|_| new.terminates).map(|earlier| {
        let reason = Some(format!("{id} was started with its key"));
        let by = by.clone();
        (earlier, Command::Terminate { reason, by })
    });
    let restart = new.start.restart_of.map(|old| {
        let workflow = id.clone();
        (old, Command::NoteRestart { workflow, by })
    });
    terminate.into_iter().chain(restart).collect()
}
