//! What a start means whose key has started a workflow before.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use btrust_machine::{Command, Refusal, Status};
use btrust_platform::random::{self, RandomSource};
use btrust_platform::sealing::Sealer;
use btrust_schemas::commands::{Conflict, Reuse};
use btrust_schemas::core::StartRequest;
use btrust_schemas::ids::WorkflowId;

use crate::error::EngineError;
use crate::mailbox::{Answer, Mail, Request, Start, partition_of};
use crate::round::{Caller, Round};
use crate::shared::{Shared, unavailable};
use crate::store::{StartKey, StartRecord};

/// Hexadecimal digits that a request is told by: 128 bits.
const REQUEST_DIGITS: usize = 32;

/// Which keys of a round have started a workflow before.
pub type Starts = HashMap<StartKey, StartRecord>;

/// A start that begins a workflow.
pub struct NewStart {
    pub start: Start,
    /// What its key means from now on.
    pub record: StartRecord,
    /// Whether what the key has meant runs, and is terminated.
    pub terminates: bool,
    pub reply: Option<oneshot::Sender<Answer>>,
}

/// What becomes of such a start.
#[derive(Clone, Debug, PartialEq)]
enum Ruling {
    /// It means this earlier workflow.
    Repeat(WorkflowId),
    Refuse(EngineError),
    /// A new workflow begins, and the key means that one from now on.
    Begin,
    /// The earlier workflow is terminated and a new one begins, in one commit.
    Replace,
}

/// What a request is told by that may let its key begin something new; the others need no name.
///
/// The same request again is a repetition: the caller has not heard the answer. Whoever wants another
/// workflow by the same request says so with another `request_id`.
pub fn request_name(request: &StartRequest) -> Option<String> {
    let begins = request.reuse != Reuse::Reject || request.conflict == Conflict::Terminate;
    if !begins {
        return None;
    }
    let mut hash = Sha256::new();
    hash.update(&request.request_digest);
    hash.update([0, request.reuse as u8, request.conflict as u8]);
    if let Some(id) = &request.request_id {
        hash.update([0]);
        hash.update(id);
    }
    let mut name = hex::encode(hash.finalize());
    name.truncate(REQUEST_DIGITS);
    Some(name)
}

/// The workflow that this very request has started before.
pub fn repeated(start: &Start, earlier: &StartRecord) -> Option<WorkflowId> {
    earlier.requests.find(start.request.as_deref()?)
}

/// Rules about a start whose key means a workflow that stands at `status`; `repeated` is what the same
/// request has started, where that is still there.
///
/// While the key's workflow runs, only the conflict policy counts, and once it has ended only the reuse
/// policy.
fn rule(
    start: &Start,
    earlier: &StartRecord,
    status: Status,
    repeated: Option<WorkflowId>,
) -> Ruling {
    if start.conflict == Conflict::Fail && !status.is_closed() {
        return Ruling::Refuse(running());
    }
    if let Some(repeated) = repeated {
        return Ruling::Repeat(repeated);
    }
    let same = if start.digest == earlier.digest {
        Ruling::Repeat(earlier.workflow)
    } else {
        Ruling::Refuse(EngineError::KeyReused)
    };
    if !status.is_closed() {
        return match start.conflict {
            Conflict::Existing => same,
            Conflict::Fail => Ruling::Refuse(running()),
            Conflict::Terminate => Ruling::Replace,
        };
    }
    match (start.reuse, status) {
        (Reuse::Reject, _) | (Reuse::IfFailed, Status::Succeeded | Status::Continued) => same,
        (Reuse::IfFailed | Reuse::IfClosed, _) => Ruling::Begin,
    }
}

/// Rules about a start whose key means a workflow that the round has no draft of: it begins in this very
/// round, or it cannot be opened now, which is the `error`; `repeated` as for [`rule`].
fn rule_unseen(
    start: &Start,
    earlier: &StartRecord,
    error: Option<&EngineError>,
    repeated: Option<WorkflowId>,
) -> Ruling {
    if let Some(repeated) = repeated {
        return Ruling::Repeat(repeated);
    }
    let asks_how_it_stands = start.conflict != Conflict::Existing || start.reuse != Reuse::Reject;
    match error {
        Some(error) if asks_how_it_stands => return Ruling::Refuse(error.clone()),
        // What begins with it would be remembered of nobody; the next round can do what it asks for.
        None if start.conflict != Conflict::Existing && start.request.is_some() => {
            return Ruling::Refuse(EngineError::Unavailable);
        }
        _ => {}
    }
    if start.digest == earlier.digest {
        Ruling::Repeat(earlier.workflow)
    } else {
        Ruling::Refuse(EngineError::KeyReused)
    }
}

/// The refusal for what needs a workflow that has ended.
fn running() -> EngineError {
    EngineError::Refused(Refusal::WorkflowRunning)
}

/// A start that means a workflow which there is, or which begins in this round.
pub struct RepeatedStart {
    pub workflow: WorkflowId,
    pub reply: Option<oneshot::Sender<Answer>>,
}

/// What new workflows are named by.
pub struct Naming<'n> {
    random: &'n dyn RandomSource,
    now_ms: i64,
    /// Partitions that they are spread over, from 0 on.
    n_partitions: u16,
}

impl<'n> Naming<'n> {
    pub fn by(shared: &'n Shared, now_ms: i64) -> Self {
        Self {
            random: &*shared.random,
            now_ms,
            n_partitions: shared.store.n_partitions(),
        }
    }

    fn draw(&self, key: &StartKey) -> WorkflowId {
        let partition = u16::from(partition_of(key)) % self.n_partitions;
        let partition = u8::try_from(partition).unwrap_or_default();
        WorkflowId::started(partition, self.now_ms, random::bytes(self.random))
    }
}

/// Gives an id to every start that begins a workflow, and to the others the workflow that they mean; the
/// mails that are no starts are left.
///
/// Of several starts with one key in a round the first begins a workflow, and the others mean that one.
pub fn name_new(
    naming: &Naming<'_>,
    mails: Vec<Mail>,
    starts: &mut Starts,
    round: &mut Round,
    broken: &HashMap<WorkflowId, EngineError>,
) -> (Vec<NewStart>, Vec<RepeatedStart>, Vec<Mail>) {
    let mut new = Vec::new();
    let mut repetitions = Vec::new();
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
        let earlier = known.and_then(|it| Some((it, round.status(it.workflow)?)));
        // One that begins in this very round has no draft yet.
        let is_there = |it: &WorkflowId| {
            round.status(*it).is_some()
                || broken.contains_key(it)
                || known.is_some_and(|known| known.workflow == *it)
        };
        let repeated = known.and_then(|it| repeated(&start, it)).filter(is_there);
        let ruling = match (known, earlier) {
            (None, _) => Ruling::Begin,
            (Some(known), None) => {
                rule_unseen(&start, known, broken.get(&known.workflow), repeated)
            }
            (Some(_), Some((known, status))) => rule(&start, known, status, repeated),
        };
        let terminates = match ruling {
            Ruling::Repeat(workflow) => {
                repetitions.push(RepeatedStart { workflow, reply });
                continue;
            }
            Ruling::Refuse(error) => {
                round.refuse(reply, error);
                continue;
            }
            Ruling::Begin => false,
            Ruling::Replace => true,
        };
        let replaces = earlier.map(|(it, _)| it.workflow);
        let requests = known.map(|it| it.requests.clone()).unwrap_or_default();
        if let Some(old) = start.restart_of
            && let Err(error) = may_restart(old, &start.tenant, round, broken)
        {
            round.refuse(reply, error);
            continue;
        }
        let workflow = start.id.unwrap_or_else(|| naming.draw(&start.key));
        let record = StartRecord {
            key: start.key.clone(),
            digest: start.digest.clone(),
            workflow,
            replaces,
            requests: match &start.request {
                Some(request) => requests.and(request.clone(), workflow),
                None => requests,
            },
        };
        starts.insert(start.key.clone(), record.clone());
        new.push(NewStart {
            start: *start,
            record,
            terminates,
            reply,
        });
    }
    (new, repetitions, rest)
}

/// Makes the keys of workflows that begin, all or none.
pub async fn mint(shared: &Shared, new: &[NewStart]) -> Result<(), EngineError> {
    if new.is_empty() {
        return Ok(());
    }
    let owners: Vec<(String, WorkflowId)> = new
        .iter()
        .map(|it| (it.start.tenant.clone(), it.record.workflow))
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
    if round.start(new.start, new.record, sealer, now_ms, new.reply) {
        let caller = Caller {
            tenant: Some(&tenant),
            queues: None,
        };
        for (workflow, command) in acts {
            round.apply(workflow, caller, &command, now_ms, None);
        }
    }
}

/// Answers starts that mean a workflow which there is.
pub fn repeat(
    round: &mut Round,
    repetitions: Vec<RepeatedStart>,
    broken: &HashMap<WorkflowId, EngineError>,
) {
    for RepeatedStart { workflow, reply } in repetitions {
        match broken.get(&workflow) {
            Some(error) => round.refuse(reply, error.clone()),
            None => round.repeat(reply, workflow),
        }
    }
}

/// What a start does to other workflows, in the commit that begins its own.
fn acts_of(new: &NewStart) -> Vec<(WorkflowId, Command)> {
    let by = Some(new.start.actor.clone());
    let id = new.record.workflow.to_string();
    let earlier = new.record.replaces.filter(|_| new.terminates);
    let terminate = earlier.map(|earlier| {
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
