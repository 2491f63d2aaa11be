//! What is done to the rows of a workflow alone, in a commit like any other, without opening it.
//!
//! A workflow whose key is gone or whose snapshot is damaged can still be deleted, and must still be
//! kept where a legal hold says so.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use btrust_schemas::ids::WorkflowId;

use crate::committer::Committer;
use crate::deletion::{Reason, judge, tombstone};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::mailbox::{Mail, Request};
use crate::round::{Fate, Round};
use crate::store::{WorkflowColumns, WorkflowRecord, Write};

/// Something that somebody wants to be done to a workflow's rows.
pub struct RowAct {
    pub workflow: WorkflowId,
    /// Whose workflow it has to be, where the caller belongs to one tenant.
    tenant: Option<String>,
    act: Act,
    reply: oneshot::Sender<Result<(), EngineError>>,
}

pub enum Act {
    Delete {
        reason: Reason,
        /// The number of its last event when the streams had heard everything of it.
        sequence: i64,
    },
    /// Places a legal hold or releases it. There is no event of it: nothing that could be sealed, and
    /// no chain that could be vouched for.
    Hold(bool),
}

impl Engine {
    pub(crate) async fn act_on_rows(
        &self,
        workflow: WorkflowId,
        tenant: Option<String>,
        act: Act,
    ) -> Result<(), EngineError> {
        let (reply, answer) = oneshot::channel();
        let act = RowAct {
            workflow,
            tenant,
            act,
            reply,
        };
        self.mailbox.tell(Request::Rows(Box::new(act)))?;
        // The committer drops a reply only when it stops.
        answer.await.unwrap_or(Err(EngineError::Unavailable))
    }
}

impl RowAct {
    pub fn answer(self, answer: Result<(), EngineError>) {
        // A caller that has gone away needs no answer.
        let _ = self.reply.send(answer);
    }
}

/// Takes acts on rows out of the mails of a round: they are judged after everything else.
pub fn split_row_acts(mails: Vec<Mail>) -> (Vec<RowAct>, Vec<Mail>) {
    let mut acts = Vec::new();
    let mut rest = Vec::with_capacity(mails.len());
    for mail in mails {
        match mail.request {
            Request::Rows(act) => acts.push(*act),
            _ => rest.push(mail),
        }
    }
    (acts, rest)
}

impl Committer {
    /// Puts those acts into the round that may be; the others are answered.
    pub async fn judge_row_acts(&mut self, round: &mut Round, acts: Vec<RowAct>) -> Vec<RowAct> {
        if acts.is_empty() {
            return acts;
        }
        let ids: Vec<WorkflowId> = acts.iter().map(|it| it.workflow).collect();
        let records = match self.shared.store.load(&ids).await {
            Ok(records) => records,
            Err(error) => {
                let error = EngineError::from(error);
                for act in acts {
                    act.answer(Err(error.clone()));
                }
                return Vec::new();
            }
        };
        let records: BTreeMap<WorkflowId, WorkflowRecord> =
            records.into_iter().map(|it| (it.workflow, it)).collect();
        let mut judged = Vec::with_capacity(acts.len());
        for act in acts {
            let record = records.get(&act.workflow).cloned();
            match self.judge_row_act(round, &act, record) {
                Ok(true) => judged.push(act),
                Ok(false) => act.answer(Ok(())),
                Err(error) => act.answer(Err(error)),
            }
        }
        judged
    }

    /// Whether there is something to write.
    fn judge_row_act(
        &mut self,
        round: &mut Round,
        act: &RowAct,
        record: Option<WorkflowRecord>,
    ) -> Result<bool, EngineError> {
        let record = record.ok_or(EngineError::Unknown)?;
        let partition = self.partitions.get(act.workflow.partition());
        let partition = partition.ok_or(EngineError::Elsewhere)?;
        let now_ms = partition.now_ms(self.shared.clock.now_ms());
        let tenant = act.tenant.as_deref();
        let write = match &act.act {
            Act::Delete { reason, sequence } => {
                judge(&record, tenant, &self.shared.retention, now_ms)?;
                // What has happened to it since may not be in the streams yet.
                if record.sequence != *sequence {
                    return Err(EngineError::Changed);
                }
                tombstone(record, reason, now_ms, self.incarnation)
            }
            Act::Hold(_) if tenant.is_some_and(|it| it != record.columns.tenant) => {
                return Err(EngineError::Unknown);
            }
            Act::Hold(hold) if *hold == record.columns.legal_hold => return Ok(false),
            Act::Hold(hold) => held(record, *hold, now_ms),
        };
        round.write_rows(write)?;
        Ok(true)
    }

    /// Answers acts after their commit.
    pub fn settle_row_acts(&mut self, acts: Vec<RowAct>, fates: &BTreeMap<WorkflowId, Fate>) {
        for act in acts {
            match fates.get(&act.workflow) {
                Some(Fate::Committed) => {
                    self.shared.cache.remove(act.workflow);
                    if matches!(act.act, Act::Delete { .. }) {
                        self.incidents.remove(&act.workflow);
                    }
                    act.answer(Ok(()));
                }
                Some(Fate::Failed(error)) => act.answer(Err(error.clone())),
                None => act.answer(Err(EngineError::Unavailable)),
            }
        }
    }
}

/// The write that places a hold or releases it, and leaves everything else as it is.
fn held(record: WorkflowRecord, hold: bool, now_ms: i64) -> Write {
    Write {
        workflow: record.workflow,
        batch: 0,
        first_sequence: record.sequence,
        sequence: record.sequence,
        committed_ms: now_ms,
        sealed_events: Vec::new(),
        public: String::new(),
        snapshot: record.snapshot,
        sealed_snapshot: record.sealed_snapshot,
        columns: Some(WorkflowColumns {
            legal_hold: hold,
            ..record.columns.clone()
        }),
        before: Some(record.columns),
        attributes: None,
        deletion: None,
        acts: None,
        start: None,
        keeps_incident: true,
    }
}
