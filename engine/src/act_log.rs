//! What happens outside workflows: an act log for each tenant, written like everything else.
//!
//! The log has an id as a workflow has, which carries its partition, and audit records in one chain. An act is
//! a row of the journal in the commit of its round, so the relay and whoever reads after it see nothing special.
//! It is no workflow: it has no snapshot, no state and no row in any list.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use btrust_platform::clock::rfc3339;
use btrust_schemas::events::{REQUEST_ID_CHARS_MAX, ReportedAct};
use btrust_schemas::ids::{RANDOM_BYTES, WorkflowId};

use crate::committer::Committer;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::mailbox::{Mail, Request};
use crate::round::{Fate, Round};
use crate::store::{ActLog, ActsWanted, ActsWritten, NO_EVENTS, SnapshotColumns, Write};
use crate::stream_events::{AUDIT_PREFIX, Envelope, Object};
use crate::workflow::CHAIN_START;

/// Most acts of one report.
///
/// Source: a hundred records of half a KiB share a commit with whatever else there is.
pub const ACTS_MAX: usize = 100;
/// Most acts of one round; the reports beyond are in the next one.
///
/// Source: two statements on MySQL, and a record of each in one row of the journal: a quarter of a MiB, for which
/// the workflows of the round wait a few ms.
const ROUND_ACTS_MAX: usize = 512;
/// Digits of the id of an act.
const ACT_ID_CHARS: usize = 32;
/// How long an id is remembered, ms: a report is repeated within minutes, or when a service comes back.
///
/// Source: longer than any backup of a service's queue that somebody might bring back (35 days).
pub const ACT_REMEMBERED_MS: i64 = 35 * 24 * 3_600_000;

/// The act log of a tenant.
#[must_use]
pub fn log_of(tenant: &str, n_partitions: u16) -> WorkflowId {
    let mut hash = Sha256::new();
    hash.update(b"btrust act log\0");
    hash.update(tenant.as_bytes());
    let digest = hash.finalize();
    let mut rest = [0; RANDOM_BYTES];
    rest.copy_from_slice(&digest[1..=RANDOM_BYTES]);
    let partition = u16::from(digest[0]) % n_partitions.max(1);
    WorkflowId::act_log(u8::try_from(partition).unwrap_or_default(), rest)
}

/// Acts that somebody reports, all of one tenant.
pub struct ActBatch {
    pub log: WorkflowId,
    tenant: String,
    acts: Vec<ReportedAct>,
    reply: oneshot::Sender<Result<(), EngineError>>,
}

impl ActBatch {
    pub fn answer(self, answer: Result<(), EngineError>) {
        // A caller that has gone away needs no answer.
        let _ = self.reply.send(answer);
    }
}

impl Engine {
    /// Records acts of a tenant, each once; they are durable when this returns.
    ///
    /// # Errors
    ///
    /// `act_invalid`; [`EngineError::Elsewhere`]; what a commit can fail with.
    pub async fn record_acts(
        &self,
        tenant: String,
        acts: Vec<ReportedAct>,
    ) -> Result<(), EngineError> {
        check(&tenant, &acts)?;
        if acts.is_empty() {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        let log = log_of(&tenant, self.shared.store.n_partitions());
        let batch = ActBatch {
            log,
            tenant,
            acts,
            reply,
        };
        self.mailbox.tell(Request::Acts(Box::new(batch)))?;
        // The committer drops a reply only when it stops.
        answer.await.unwrap_or(Err(EngineError::Unavailable))
    }
}

/// Refuses what is no report of ours: nothing else may reach a stream.
fn check(tenant: &str, acts: &[ReportedAct]) -> Result<(), EngineError> {
    let invalid = |detail: &str| {
        Err(EngineError::Invalid {
            code: "act_invalid",
            detail: detail.to_owned(),
        })
    };
    if tenant.is_empty() {
        return invalid("acts belong to a tenant");
    }
    if ACTS_MAX < acts.len() {
        return invalid("send 100 acts or fewer at a time");
    }
    let is_id = |it: &ReportedAct| {
        it.id.len() == ACT_ID_CHARS
            && it
                .id
                .bytes()
                .all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
    };
    if !acts.iter().all(is_id) {
        return invalid("an act's id is 32 hexadecimal digits in lower case");
    }
    let request_is_long = |it: &ReportedAct| {
        it.act
            .request_id
            .as_ref()
            .is_some_and(|it| REQUEST_ID_CHARS_MAX < it.len())
    };
    if acts.iter().any(request_is_long) {
        return invalid("the id of a request has 64 characters or fewer");
    }
    Ok(())
}

/// Takes reported acts out of the mails of a round: their records are written after everything else.
pub fn split_acts(mails: Vec<Mail>) -> (Vec<ActBatch>, Vec<Mail>) {
    let mut batches = Vec::new();
    let mut rest = Vec::with_capacity(mails.len());
    for mail in mails {
        match mail.request {
            Request::Acts(batch) => batches.push(*batch),
            _ => rest.push(mail),
        }
    }
    (batches, rest)
}

impl Committer {
    /// The reports of this round, in the order in which they came.
    pub fn acts_of_round(&mut self, new: Vec<ActBatch>) -> Vec<ActBatch> {
        self.waiting_acts.extend(new);
        let mut n_acts = 0;
        let fits = |it: &&ActBatch| {
            n_acts += it.acts.len();
            n_acts <= ROUND_ACTS_MAX
        };
        let n_batches = self.waiting_acts.iter().take_while(fits).count();
        self.waiting_acts.drain(..n_batches).collect()
    }

    /// Puts the records of acts that are new into the round; whoever reported only known ones is answered.
    pub async fn record_acts(
        &mut self,
        round: &mut Round,
        batches: Vec<ActBatch>,
    ) -> Vec<ActBatch> {
        if batches.is_empty() {
            return batches;
        }
        let mut wanted: BTreeMap<WorkflowId, Vec<String>> = BTreeMap::new();
        for batch in &batches {
            let ids = batch.acts.iter().map(|it| it.id.clone());
            wanted.entry(batch.log).or_default().extend(ids);
        }
        let wanted = wanted
            .into_iter()
            .map(|(log, acts)| ActsWanted { log, acts });
        let logs = match self
            .shared
            .store
            .act_logs(&wanted.collect::<Vec<_>>())
            .await
        {
            Ok(logs) => logs,
            Err(error) => {
                let error = EngineError::from(error);
                for batch in batches {
                    batch.answer(Err(error.clone()));
                }
                return Vec::new();
            }
        };
        let mut logs: BTreeMap<WorkflowId, Growing> = logs
            .into_iter()
            .map(|it| (it.log, Growing::from(it)))
            .collect();
        let mut recorded = Vec::with_capacity(batches.len());
        for batch in batches {
            let Some(partition) = self.partitions.get(batch.log.partition()) else {
                batch.answer(Err(EngineError::Elsewhere));
                continue;
            };
            let now_ms = partition.now_ms(self.shared.clock.now_ms());
            let log = logs.entry(batch.log).or_default();
            for act in &batch.acts {
                log.grow(&batch, act, now_ms, self.incarnation);
            }
            recorded.push(batch);
        }
        let written = logs.into_iter().filter(|(_, it)| !it.acts.is_empty());
        let written: BTreeSet<WorkflowId> = written
            .map(|(id, log)| {
                round.write_log(log.into_write(id));
                id
            })
            .collect();
        let (recorded, known): (Vec<_>, Vec<_>) = recorded
            .into_iter()
            .partition(|it| written.contains(&it.log));
        for batch in known {
            batch.answer(Ok(()));
        }
        recorded
    }

    /// Answers reports after their commit.
    pub fn settle_acts(batches: Vec<ActBatch>, fates: &BTreeMap<WorkflowId, Fate>) {
        for batch in batches {
            let answer = match fates.get(&batch.log) {
                Some(Fate::Committed) => Ok(()),
                Some(Fate::Failed(error)) => Err(error.clone()),
                None => Err(EngineError::Unavailable),
            };
            batch.answer(answer);
        }
    }
}

/// A log with the records that this round adds to it.
struct Growing {
    chain: String,
    n_audit: i64,
    /// Acts that it has had before this round, of those that are reported.
    known: BTreeSet<String>,
    tenant: String,
    first: i64,
    now_ms: i64,
    acts: Vec<String>,
    lines: Vec<u8>,
}

impl Default for Growing {
    fn default() -> Self {
        Self {
            chain: CHAIN_START.to_owned(),
            n_audit: 0,
            known: BTreeSet::new(),
            tenant: String::new(),
            first: 1,
            now_ms: 0,
            acts: Vec::new(),
            lines: Vec::new(),
        }
    }
}

impl From<ActLog> for Growing {
    fn from(log: ActLog) -> Self {
        Self {
            chain: log.chain,
            n_audit: log.n_audit,
            first: log.n_audit + 1,
            known: log.known.into_iter().collect(),
            ..Self::default()
        }
    }
}

impl Growing {
    fn grow(&mut self, batch: &ActBatch, act: &ReportedAct, now_ms: i64, incarnation: i64) {
        if !self.known.insert(act.id.clone()) {
            return;
        }
        self.n_audit += 1;
        self.now_ms = now_ms;
        self.tenant.clone_from(&batch.tenant);
        self.acts.push(act.id.clone());
        self.lines.extend_from_slice(AUDIT_PREFIX.as_bytes());
        let begin = self.lines.len();
        let envelope = Envelope {
            stream: "audit",
            kind: act.kind.event_type(),
            schema: "urn:btrust:event:act:1",
            number: self.n_audit,
            incarnation,
            time: &rfc3339(now_ms),
        };
        let mut record = Object::begin(&mut self.lines);
        envelope.write(&mut record, batch.log, &batch.tenant);
        let mut hash = String::new();
        record.object("data", |data| {
            let said = &act.act;
            data.put("act", &act.id);
            data.put("atMs", said.at_ms);
            data.put("by", &said.by);
            data.put("outcome", said.outcome);
            if let Some(status) = said.status {
                data.put("status", status);
            }
            if let Some(request) = &said.request_id {
                data.put("requestId", request);
            }
            data.put("service", &said.service);
            data.put("target", &said.target);
            data.put("sealedSha256", hex::encode(Sha256::digest(NO_EVENTS)));
            data.put("previousHash", &self.chain);
            hash = hex::encode(Sha256::digest(&data.text()[begin..]));
            data.put("hash", &hash);
        });
        record.end();
        self.lines.push(b'\n');
        self.chain = hash;
    }

    fn into_write(self, log: WorkflowId) -> Write {
        Write {
            workflow: log,
            batch: 0,
            first_sequence: self.first,
            sequence: self.n_audit,
            committed_ms: self.now_ms,
            sealed_events: NO_EVENTS.to_vec(),
            public: String::from_utf8(self.lines).expect("JSON is UTF-8"),
            snapshot: SnapshotColumns {
                chain: self.chain,
                n_audit: self.n_audit,
                ..SnapshotColumns::default()
            },
            sealed_snapshot: Vec::new(),
            columns: None,
            before: None,
            attributes: None,
            deletion: None,
            acts: Some(ActsWritten {
                tenant: self.tenant,
                acts: self.acts,
            }),
            start: None,
            keeps_incident: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_one_log_within_the_partitions_of_the_store() {
        for tenant in ["acme", "bank", "התמר"] {
            let log = log_of(tenant, 16);
            assert!(log.is_act_log() && log.partition() < 16);
            assert_eq!(log, log_of(tenant, 16));
        }
        assert_ne!(log_of("acme", 256), log_of("bank", 256));
    }
}
