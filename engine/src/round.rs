//! One round of the committer: commands applied to drafts of workflows, in memory only.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::oneshot;

use btrust_machine::{Command, Effect, Env, Event, EventKind, Refusal, Reply, State, apply};
use btrust_platform::random::{self, RandomSource, SharedRandom};
use btrust_platform::sealing::Sealer;
use btrust_schemas::ids::{TaskId, WorkflowId};
use btrust_schemas::turn::TurnKey;

use crate::dispatch::{Change, queue_of};
use crate::error::{EngineError, MACHINE_FAULT};
use crate::mailbox::{Answer, Migration, Start};
use crate::metrics;
use crate::planted::{Bug, is_planted};
use crate::queues::Queues;
use crate::seal::{self, Binding};
use crate::search::{column_of, entries};
use crate::store::{StartRecord, WorkflowColumns, Write};
use crate::stream_events;
use crate::workflow::{CHAIN_START, Workflow, column, status};

/// What a caller will hear if the round is committed.
enum Verdict {
    Done {
        workflow: WorkflowId,
        is_new: bool,
    },
    Refused {
        workflow: Option<WorkflowId>,
        error: EngineError,
    },
}

/// Commands of a workflow in a row that may run out of time before that is an incident.
const TIMEOUTS_MAX: u32 = 3;

/// What the caller of a command may touch; `None` is everything.
#[derive(Clone, Copy)]
pub struct Caller<'c> {
    pub tenant: Option<&'c str>,
    pub queues: Option<&'c Queues>,
}

impl Caller<'_> {
    /// Whether a report is of a step that the caller serves; what is not open is not judged here.
    fn may(self, command: &Command, state: &State) -> bool {
        let (Some(queues), Command::TurnResult { task, .. } | Command::Checkpoint { task, .. }) =
            (self.queues, command)
        else {
            return true;
        };
        let turns = state.open_turns();
        let turn = turns.iter().find(|it| it.task == *task);
        turn.is_none_or(|it| queues.allows(queue_of(&it.resource)))
    }
}

/// What happened to the writes of one workflow.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    Committed,
    /// Nothing was written; the callers hear this.
    Failed(EngineError),
}

/// A workflow as it will be if the round is committed.
struct Draft {
    workflow: Workflow,
    events: Vec<Event>,
    changes: Vec<Change>,
    start: Option<StartRecord>,
    /// The list columns as the store has them; `None` before the first commit.
    listed: Option<WorkflowColumns>,
    /// Whether the state has changed in a way that no event tells.
    is_touched: bool,
    /// Whether more has happened to it than a note about it.
    is_moved: bool,
    now_ms: i64,
}

/// A workflow after its commit, with what follows from it.
pub struct Settled {
    pub workflow: Arc<Workflow>,
    pub changes: Vec<Change>,
    /// False when the round has changed nothing about it.
    pub is_written: bool,
    /// Whether nothing but notes about it was written: it stands where it stood.
    pub is_only_noted: bool,
}

pub struct Round {
    random: SharedRandom,
    drafts: HashMap<WorkflowId, Draft>,
    /// In the order of the first command.
    order: Vec<WorkflowId>,
    answers: Vec<(Option<oneshot::Sender<Answer>>, Verdict)>,
    /// Writes about workflows that are not opened.
    row_writes: Vec<Write>,
    /// Workflows that a command has run into a fault.
    pub incidents: Vec<(WorkflowId, String)>,
    /// Commands in a row that ran out of time, for each workflow with such.
    pub n_timeouts: HashMap<WorkflowId, u32>,
}

impl Round {
    /// A round that has done nothing yet.
    pub fn new(random: SharedRandom) -> Self {
        Self {
            random,
            drafts: HashMap::new(),
            order: Vec::new(),
            answers: Vec::new(),
            row_writes: Vec::new(),
            incidents: Vec::new(),
            n_timeouts: HashMap::new(),
        }
    }

    /// Makes a draft of a workflow as it was last committed.
    pub fn open(&mut self, workflow: Workflow) {
        let draft = Draft {
            listed: Some(workflow.columns.clone()),
            workflow,
            events: Vec::new(),
            changes: Vec::new(),
            start: None,
            is_touched: false,
            is_moved: false,
            now_ms: 0,
        };
        self.insert(draft);
    }

    fn insert(&mut self, draft: Draft) {
        let id = draft.workflow.id;
        if self.drafts.insert(id, draft).is_none() {
            self.order.push(id);
        }
    }

    /// How a workflow stands now, if the round has a draft of it.
    pub fn status(&self, id: WorkflowId) -> Option<btrust_machine::Status> {
        self.drafts.get(&id).map(|it| it.workflow.state.status())
    }

    /// The same, if the workflow belongs to `tenant`.
    pub fn status_for(&self, id: WorkflowId, tenant: &str) -> Option<btrust_machine::Status> {
        let draft = self.drafts.get(&id);
        let workflow = draft.map(|it| &it.workflow);
        let theirs = workflow.filter(|it| it.columns.tenant == tenant);
        theirs.map(|it| it.state.status())
    }

    /// Answers a caller without touching any workflow.
    pub fn refuse(&mut self, reply: Option<oneshot::Sender<Answer>>, error: EngineError) {
        self.answers.push((
            reply,
            Verdict::Refused {
                workflow: None,
                error,
            },
        ));
    }

    /// Answers a caller with a workflow that exists already.
    pub fn repeat(&mut self, reply: Option<oneshot::Sender<Answer>>, id: WorkflowId) {
        self.answers.push((
            reply,
            Verdict::Done {
                workflow: id,
                is_new: false,
            },
        ));
    }

    /// Starts a workflow; says whether it did.
    pub fn start(
        &mut self,
        start: Start,
        record: StartRecord,
        sealer: Arc<Sealer>,
        now_ms: i64,
        reply: Option<oneshot::Sender<Answer>>,
    ) -> bool {
        let definition = start.definition;
        let id = record.workflow;
        let command = Command::Start {
            workflow: id.to_string(),
            definition: definition.name().to_owned(),
            version: start.version,
            input: start.input,
            origin: start.origin,
        };
        let env = env(&*self.random, now_ms);
        let applied = match contained(|| apply(&definition, None, &command, &env)) {
            Ok(Ok(applied)) => applied,
            Ok(Err(refusal)) => {
                self.refuse(reply, EngineError::Refused(refusal));
                return false;
            }
            Err(fault) => {
                self.refuse(reply, fault);
                return false;
            }
        };
        let mut state = applied.state;
        state.set_priority(start.priority);
        let columns = WorkflowColumns {
            tenant: start.tenant,
            definition: definition.name().to_owned(),
            version: i64::from(start.version),
            subject: start.subject,
            locale: start.locale,
            status: status(state.status()).as_str().to_owned(),
            waiting_for: None,
            decision: None,
            started_ms: now_ms,
            closed_ms: None,
            restart_of: start.restart_of,
            attributes: column_of(&start.attributes),
            retention: None,
            legal_hold: false,
        };
        let workflow = Workflow {
            id,
            definition,
            sealer,
            columns,
            chain: CHAIN_START.to_owned(),
            n_audit: 0,
            n_analytics: 0,
            state,
        };
        self.insert(Draft {
            workflow,
            events: applied.events,
            changes: applied.effects.into_iter().filter_map(change).collect(),
            start: Some(record),
            listed: None,
            is_touched: false,
            is_moved: true,
            now_ms,
        });
        self.answers.push((
            reply,
            Verdict::Done {
                workflow: id,
                is_new: true,
            },
        ));
        true
    }

    /// Applies a command to the draft of a workflow; there must be one.
    pub fn apply(
        &mut self,
        id: WorkflowId,
        caller: Caller<'_>,
        command: &Command,
        now_ms: i64,
        reply: Option<oneshot::Sender<Answer>>,
    ) {
        let Some(draft) = self.drafts.get_mut(&id) else {
            return self.refuse(reply, EngineError::Unknown);
        };
        if caller
            .tenant
            .is_some_and(|it| it != draft.workflow.columns.tenant)
        {
            return self.refuse(reply, EngineError::Unknown);
        }
        if !caller.may(command, &draft.workflow.state) {
            return self.refuse(reply, EngineError::QueueForbidden);
        }
        let state: State = draft.workflow.state.clone();
        let definition = &draft.workflow.definition;
        let env = env(&*self.random, now_ms);
        #[cfg(test)]
        let command = &crate::planted::judged_by_attempt(command, &state);
        match contained(|| apply(definition, Some(state), command, &env)) {
            Ok(Ok(applied)) => {
                self.n_timeouts.remove(&id);
                draft.now_ms = now_ms;
                draft.is_moved |= !applied.events.is_empty() || !applied.effects.is_empty();
                draft.workflow.state = applied.state;
                draft.changes.extend(reported(id, command, applied.reply));
                draft
                    .changes
                    .extend(applied.effects.into_iter().filter_map(change));
                draft.events.extend(applied.events);
                // Otherwise a restart would count the silence from the heartbeat before; and a process that
                // was taken over would say from memory that what was resumed meanwhile is paused.
                draft.is_touched |= matches!(
                    command,
                    Command::TokenHeartbeat { .. }
                        | Command::LeaseLost { .. }
                        | Command::Pause { .. }
                        | Command::Resume { .. }
                ) || (command.is_message() && applied.reply == Reply::Done);
                let is_new = applied.reply == Reply::Done;
                self.answers.push((
                    reply,
                    Verdict::Done {
                        workflow: id,
                        is_new,
                    },
                ));
            }
            // The machine may be busy: the wall clock says nothing about the definition yet.
            Ok(Err(Refusal::EvaluationLimit { .. })) if self.may_try_again(id) => {
                self.answers.push((
                    reply,
                    Verdict::Refused {
                        workflow: Some(id),
                        error: EngineError::Unavailable,
                    },
                ));
            }
            Ok(Err(
                refusal @ (Refusal::EvaluationLimit { .. } | Refusal::StateMismatch { .. }),
            )) => self.stop(id, refusal.code(), reply),
            Err(_) => self.stop(id, MACHINE_FAULT, reply),
            Ok(Err(refusal)) => {
                let error = EngineError::Refused(refusal);
                self.answers.push((
                    reply,
                    Verdict::Refused {
                        workflow: Some(id),
                        error,
                    },
                ));
            }
        }
    }

    /// Moves the draft of a workflow to another version, if it still is what was judged.
    pub fn migrate(
        &mut self,
        migration: Migration,
        now_ms: i64,
        reply: Option<oneshot::Sender<Answer>>,
    ) {
        let Migration { before, to, moved } = migration;
        let id = before.id;
        let Some(draft) = self.drafts.get_mut(&id) else {
            return self.refuse(reply, EngineError::Unknown);
        };
        if draft.workflow.state != before.state {
            self.answers.push((
                reply,
                Verdict::Refused {
                    workflow: Some(id),
                    error: EngineError::Changed,
                },
            ));
            return;
        }
        draft.now_ms = now_ms;
        draft.is_moved = true;
        draft.workflow.state = moved.state;
        draft.workflow.definition = to.compiled;
        draft.workflow.columns.version = i64::from(to.version);
        let changes = moved.effects.into_iter().filter_map(change);
        draft.changes.extend(changes);
        draft.events.extend(moved.events);
        self.answers.push((
            reply,
            Verdict::Done {
                workflow: id,
                is_new: true,
            },
        ));
    }

    /// The draft of a workflow of this tenant, as it is now.
    pub fn draft_of(&mut self, id: WorkflowId, tenant: &str) -> Option<&mut Workflow> {
        let draft = self.drafts.get_mut(&id)?;
        (draft.workflow.columns.tenant == tenant).then_some(&mut draft.workflow)
    }

    /// Writes what changes nothing about the course of a workflow into its history.
    pub fn note(
        &mut self,
        id: WorkflowId,
        command: &Command,
        now_ms: i64,
    ) -> Result<(), EngineError> {
        let draft = self.drafts.get_mut(&id).ok_or(EngineError::Unknown)?;
        let (definition, state) = (&draft.workflow.definition, draft.workflow.state.clone());
        let env = env(&*self.random, now_ms);
        let applied = contained(|| apply(definition, Some(state), command, &env))?;
        let applied = applied.map_err(EngineError::Refused)?;
        draft.now_ms = now_ms;
        draft.workflow.state = applied.state;
        draft.events.extend(applied.events);
        Ok(())
    }

    /// Writes the rows of a workflow that nothing else in this round is about.
    ///
    /// # Errors
    ///
    /// [`EngineError::Changed`]: try again.
    pub fn write_rows(&mut self, write: Write) -> Result<(), EngineError> {
        let id = write.workflow;
        let is_written = self.row_writes.iter().any(|it| it.workflow == id);
        if is_written || self.drafts.contains_key(&id) {
            return Err(EngineError::Changed);
        }
        self.row_writes.push(write);
        Ok(())
    }

    /// Writes records of an act log; there is one write of a log in a round.
    pub fn write_log(&mut self, write: Write) {
        self.row_writes.push(write);
    }

    /// Answers a caller whose command was carried out.
    pub fn done(&mut self, reply: Option<oneshot::Sender<Answer>>, workflow: WorkflowId) {
        let is_new = true;
        self.answers
            .push((reply, Verdict::Done { workflow, is_new }));
    }

    /// Counts a command that ran out of time, and says whether its workflow gets another try.
    fn may_try_again(&mut self, id: WorkflowId) -> bool {
        let n_timeouts = self.n_timeouts.entry(id).or_default();
        *n_timeouts += 1;
        let may = *n_timeouts < TIMEOUTS_MAX;
        if !may {
            self.n_timeouts.remove(&id);
        }
        may
    }

    /// Answers a caller whose command has run into a fault of its workflow.
    fn stop(&mut self, id: WorkflowId, code: &str, reply: Option<oneshot::Sender<Answer>>) {
        self.incidents.push((id, code.to_owned()));
        let error = EngineError::Incident {
            code: code.to_owned(),
        };
        self.answers.push((
            reply,
            Verdict::Refused {
                workflow: Some(id),
                error,
            },
        ));
    }

    /// Seals what the round changes; drafts that are as they were have nothing to write.
    pub fn seal(&mut self, incarnation: i64) -> Vec<Write> {
        let order = &self.order;
        let drafts = &mut self.drafts;
        let mut writes = Vec::with_capacity(order.len());
        for id in order {
            if let Some(draft) = drafts.get_mut(id)
                && draft.is_written()
            {
                writes.push(draft.seal(incarnation));
            }
        }
        writes.append(&mut self.row_writes);
        writes
    }

    /// Splits the round into what is committed and answers for everybody.
    pub fn settle(self, fates: &BTreeMap<WorkflowId, Fate>) -> (Vec<Settled>, Vec<Delivery>) {
        let fate_of = |id: &WorkflowId| fates.get(id).unwrap_or(&Fate::Committed);
        let mut drafts = self.drafts;
        let mut settled = Vec::with_capacity(self.order.len());
        let mut committed: HashMap<WorkflowId, Arc<Workflow>> = HashMap::new();
        for id in &self.order {
            let Some(draft) = drafts.remove(id) else {
                continue;
            };
            if *fate_of(id) != Fate::Committed && !is_planted(Bug::KeepSpeculation) {
                continue;
            }
            let is_written = draft.is_written();
            let is_only_noted = is_written && draft.keeps_incident();
            let workflow = Arc::new(draft.workflow);
            committed.insert(*id, Arc::clone(&workflow));
            settled.push(Settled {
                workflow,
                changes: draft.changes,
                is_written,
                is_only_noted,
            });
        }
        let deliveries = self.answers.into_iter().filter_map(|(reply, verdict)| {
            let answer = match verdict {
                Verdict::Done { workflow, is_new } => {
                    match (fate_of(&workflow), committed.get(&workflow)) {
                        (Fate::Failed(error), _) => Err(error.clone()),
                        (Fate::Committed, Some(it)) => Ok(crate::mailbox::Done {
                            workflow: Arc::clone(it),
                            is_new,
                        }),
                        // The start that it repeats could not be made, so neither is this one.
                        (Fate::Committed, None) => Err(EngineError::Unavailable),
                    }
                }
                // What was refused because of something that is now not so, was not refused.
                Verdict::Refused { workflow, error } => match workflow.as_ref().map(fate_of) {
                    Some(Fate::Failed(cause)) => Err(cause.clone()),
                    _ => Err(error),
                },
            };
            Some(Delivery {
                reply: reply?,
                answer,
            })
        });
        let deliveries = deliveries.collect();
        (settled, deliveries)
    }

    /// Commands that the round carries.
    pub fn n_commands(&self) -> usize {
        self.answers.len()
    }
}

/// An answer on its way.
pub struct Delivery {
    reply: oneshot::Sender<Answer>,
    answer: Answer,
}

impl Delivery {
    pub fn send(self) {
        // A caller that has gone away needs no answer.
        let _ = self.reply.send(self.answer);
    }
}

impl Draft {
    fn is_written(&self) -> bool {
        self.is_touched || !self.events.is_empty()
    }

    fn keeps_incident(&self) -> bool {
        !self.is_moved && !self.is_touched
    }

    fn seal(&mut self, incarnation: i64) -> Write {
        let keeps_incident = self.keeps_incident();
        let workflow = &mut self.workflow;
        let first = self.events.first().map_or(0, |it| it.id);
        let sequence = workflow.state.n_events();
        count(&self.events);
        let tenant = workflow.columns.tenant.clone();
        let binding = Binding {
            tenant: &tenant,
            workflow: workflow.id,
            sequence,
        };
        let sealed_snapshot = seal::seal_state(&workflow.sealer, binding, &workflow.state);
        let (sealed_events, public) = if self.events.is_empty() {
            (Vec::new(), String::new())
        } else {
            let sealed = seal::seal_events(&workflow.sealer, binding, &self.events);
            let public = stream_events::publish(workflow, &self.events, &sealed, incarnation);
            (sealed, public)
        };
        workflow.columns = workflow.current_columns();
        let changed = self.listed.as_ref() != Some(&workflow.columns);
        let found_by = |it: &WorkflowColumns| it.attributes.clone();
        let is_found_otherwise =
            self.listed.as_ref().and_then(found_by) != found_by(&workflow.columns);
        Write {
            workflow: workflow.id,
            batch: 0,
            first_sequence: column(first),
            sequence: column(sequence),
            committed_ms: self.now_ms,
            sealed_events,
            public,
            snapshot: workflow.snapshot_columns(),
            sealed_snapshot,
            columns: changed.then(|| workflow.columns.clone()),
            before: self.listed.take().filter(|_| changed),
            attributes: is_found_otherwise.then(|| entries(workflow.columns.attributes.as_deref())),
            deletion: None,
            acts: None,
            start: self.start.clone(),
            keeps_incident,
        }
    }
}

/// Runs the state machine; a panic of it is a fault of one workflow and not of the process.
pub fn contained<T>(work: impl FnOnce() -> T) -> Result<T, EngineError> {
    // What a panic leaves half done is the moved-in state, which is dropped.
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| EngineError::Incident {
        code: MACHINE_FAULT.to_owned(),
    })
}

/// What a transition may see at `now_ms`.
pub fn env(random: &dyn RandomSource, now_ms: i64) -> Env {
    Env {
        now_ms,
        seed: u64::from_le_bytes(random::bytes(random)),
    }
}

/// What a worker's report, once taken, changes about its turn.
fn reported(id: WorkflowId, command: &Command, reply: Reply) -> Option<Change> {
    match command {
        Command::TurnResult {
            task,
            attempt,
            turn,
            ..
        } if reply == Reply::Done => {
            let task = TaskId {
                workflow: id,
                number: *task,
            };
            Some(Change::Finish(TurnKey {
                task,
                attempt: *attempt,
                turn: *turn,
            }))
        }
        Command::Checkpoint {
            task,
            attempt,
            turn,
            state,
        } => {
            let task = TaskId {
                workflow: id,
                number: *task,
            };
            Some(Change::Checkpoint(
                TurnKey {
                    task,
                    attempt: *attempt,
                    turn: *turn,
                },
                state.clone(),
            ))
        }
        _ => None,
    }
}

/// What an effect means to the dispatcher; prompts and timers are read from the state itself.
fn change(effect: Effect) -> Option<Change> {
    match effect {
        Effect::Dispatch(turn) => Some(Change::Put(Box::new(turn))),
        Effect::Withdraw { task } => Some(Change::Withdraw(task)),
        Effect::Pause => Some(Change::Pause),
        Effect::Resume => Some(Change::Resume),
        Effect::Cancel => Some(Change::Cancel),
        Effect::OpenPrompt(_)
        | Effect::ClosePrompt { .. }
        | Effect::WakeAt { .. }
        | Effect::Deliver(_)
        | Effect::Close { .. }
        | Effect::Reopen => None,
    }
}

fn count(events: &[Event]) {
    for event in events {
        let (resource, outcome) = match &event.kind {
            EventKind::ExecutionStarted { .. } => {
                metrics::STARTED.inc();
                continue;
            }
            EventKind::TaskSucceeded {
                resource, outcome, ..
            } => (resource, outcome.as_deref().unwrap_or("succeeded")),
            EventKind::TaskFailed { resource, .. } => (resource, "failed"),
            EventKind::TaskTimedOut { resource, .. } => (resource, "timed_out"),
            _ => continue,
        };
        metrics::STEPS
            .with_label_values(&[queue_of(resource), outcome])
            .inc();
    }
}

#[cfg(test)]
mod tests {
    use btrust_platform::random::SystemRandom;

    use super::*;

    #[test]
    fn a_workflow_that_runs_out_of_time_is_tried_a_few_times() {
        let mut round = Round::new(SystemRandom::shared());
        let (slow, other) = (WorkflowId::new(1, [1; 15]), WorkflowId::new(1, [2; 15]));
        let tries = [slow, slow, other, slow].map(|it| round.may_try_again(it));
        assert_eq!(tries, [true, true, true, false]);
        assert_eq!(round.n_timeouts.get(&slow), None);
    }

    #[test]
    fn a_panic_of_the_machine_is_a_fault_of_one_workflow() {
        let fault = contained(|| -> u32 { panic!("the machine has a bug") }).unwrap_err();
        assert_eq!(fault.code(), "workflow_incident");
        assert_eq!(contained(|| 1), Ok(1));
    }
}
