//! The one writer of its partitions: drains the mailbox, applies, commits once, and only then answers anybody.
//!
//! There is one for each lane of partitions; they share caches, dispatch and watchers, and nothing that is written.
//!
//! There is no fixed waiting. The next round is whatever arrived during the last flush, so a round is
//! one command on an idle machine and hundreds on a busy one.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use btrust_machine::Command;
use btrust_platform::flushes::{self, Flushed};
use btrust_platform::http::Shutdown;
use btrust_schemas::ids::WorkflowId;

use crate::act_log::{ActBatch, split_acts};
use crate::dispatch::{Change, Owner};
use crate::error::EngineError;
use crate::halving::halve;
use crate::incidents;
use crate::mailbox::{Mail, Request};
use crate::metrics;
use crate::partition::Partitions;
use crate::planted::{Bug, is_planted};
use crate::recovery::{Recovered, standing};
use crate::round::{Caller, Fate, Round, Settled};
use crate::row_acts::split_row_acts;
use crate::shared::{Shared, unavailable};
use crate::start_policy::{Naming, Starts, begin, mint, name_new, repeat, repeated};
use crate::store::{Batch, Fence, OutboxRow, StartKey, StoreError, Write};
use crate::unknown_commit::absent_from;
use crate::workflow::Workflow;

/// Most commands of one round; bounds the time until the first of them is answered.
pub const ROUND_COMMANDS_MAX: usize = 2_048;
/// Most timers of one round.
const ROUND_TIMERS_MAX: usize = 1_024;
/// The longest sleep, so that a clock that was set is noticed.
const SLEEP_MAX: Duration = Duration::from_mins(1);
/// When a deadline is judged again after its commit has failed, ms.
const TIMER_RETRY_MS: i64 = 1_000;
/// How often an unknown commit is asked for before its partitions are given up.
///
/// Source: half a minute, longer than any database failover that a commit of ours should outlive.
const UNKNOWN_ASKS_MAX: u32 = 60;
const UNKNOWN_PAUSE: Duration = Duration::from_millis(500);
/// How long a commit may go on after the end of the node's lease before its callers are let go.
///
/// Source: several flushes of a busy disk; it delays nobody else, for the others need not wait for it.
const COMMIT_GRACE: Duration = Duration::from_millis(500);

pub struct Committer {
    pub(crate) shared: Arc<Shared>,
    /// What is asked of the partitions of this lane.
    mailbox: mpsc::Receiver<Mail>,
    /// Those of this lane that this node owns.
    pub(crate) partitions: Partitions,
    pub(crate) incarnation: i64,
    /// Workflows that stand still because of an incident; their turns are not in the dispatcher.
    pub(crate) incidents: HashSet<WorkflowId>,
    /// Commands in a row that ran out of time, for each workflow with such.
    n_timeouts: HashMap<WorkflowId, u32>,
    /// Reports that had no room in a round; they are in the next ones.
    pub(crate) waiting_acts: VecDeque<ActBatch>,
}

impl Committer {
    /// A committer that serves nothing yet.
    pub fn new(shared: Arc<Shared>, mailbox: mpsc::Receiver<Mail>, incarnation: i64) -> Self {
        Self {
            shared,
            mailbox,
            partitions: Partitions::default(),
            incarnation,
            incidents: HashSet::new(),
            n_timeouts: HashMap::new(),
            waiting_acts: VecDeque::new(),
        }
    }

    /// Serves until `shutdown`; what is in the mailbox then is still carried out.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut mails = Vec::new();
        loop {
            let has_acts = !self.waiting_acts.is_empty();
            let sleep = if has_acts {
                Duration::ZERO
            } else {
                self.until_next_timer()
            };
            tokio::select! {
                biased;
                () = shutdown.wait() => {
                    self.mailbox.close();
                    let n_mails = self.mailbox.recv_many(&mut mails, ROUND_COMMANDS_MAX).await;
                    if n_mails == 0 && !has_acts {
                        return;
                    }
                }
                n_mails = self.mailbox.recv_many(&mut mails, ROUND_COMMANDS_MAX) => {
                    if n_mails == 0 && !has_acts {
                        return;
                    }
                }
                () = tokio::time::sleep(sleep) => {}
            }
            self.serve(std::mem::take(&mut mails)).await;
        }
    }

    /// Carries out what has come, within the partitions that are this lane's before and after.
    async fn serve(&mut self, mut mails: Vec<Mail>) {
        let is_order =
            |it: &mut Mail| matches!(it.request, Request::Adopt { .. } | Request::GiveUp { .. });
        let mut given_up = Vec::new();
        for order in mails.extract_if(.., is_order) {
            match order.request {
                Request::Adopt { recovered, done } => {
                    self.adopt(*recovered);
                    // The keeper looks again.
                    let _ = done.send(());
                }
                Request::GiveUp { partitions, done } => given_up.push((partitions, done)),
                _ => {}
            }
        }
        self.round(mails).await;
        for (partitions, done) in given_up {
            for number in partitions {
                self.give_up(number);
            }
            // Nobody may wait any more.
            let _ = done.send(());
        }
    }

    /// Serves a partition from now on.
    pub fn adopt(&mut self, recovered: Recovered) {
        let Recovered {
            partition,
            incidents,
            schedules,
        } = recovered;
        let (number, epoch, last) = (partition.number, partition.epoch, partition.last_batch);
        self.incidents.extend(incidents);
        self.partitions.put(partition);
        // What was last read here of workflows that others have changed since.
        self.shared.cache.forget(number);
        self.shared.ownership.adopt(number, epoch);
        self.shared.schedules.adopt(number, &schedules);
        self.shared.outbox.adopt(number, last);
    }

    /// Serves a partition no more, and forgets everything about it.
    fn give_up(&mut self, number: u8) {
        self.partitions.lose(number);
        self.incidents.retain(|it| it.partition() != number);
        self.n_timeouts.retain(|it, _| it.partition() != number);
        self.shared.forget(number);
    }

    fn until_next_timer(&self) -> Duration {
        let now_ms = self.shared.clock.now_ms();
        let wait_ms = self
            .partitions
            .next_ms()
            .map(|it| it.saturating_sub(now_ms).max(0));
        let wait_ms = wait_ms.and_then(|it| u64::try_from(it).ok());
        wait_ms.map_or(SLEEP_MAX, |it| Duration::from_millis(it).min(SLEEP_MAX))
    }

    /// One round: mails and due timers in, one commit, answers out.
    async fn round(&mut self, mut mails: Vec<Mail>) {
        let mut round = Round::new(Arc::clone(&self.shared.random));
        let ticked = self.due_timers(&mut mails);
        let (row_acts, mails) = split_row_acts(mails);
        let (acts, mails) = split_acts(mails);
        let acts = self.acts_of_round(acts);
        let starts = self.known_starts(&mails).await;
        let starts = match starts {
            Ok(starts) => starts,
            Err(error) => {
                let error = EngineError::from(error);
                for mail in mails {
                    round.refuse(mail.reply, error.clone());
                }
                for act in row_acts {
                    act.answer(Err(error.clone()));
                }
                for batch in acts {
                    batch.answer(Err(error.clone()));
                }
                return self.settle(round, BTreeMap::new(), ticked, &HashSet::new());
            }
        };
        let broken = self.open_workflows(&mut round, &mails, &starts).await;
        round.n_timeouts = std::mem::take(&mut self.n_timeouts);
        self.apply(&mut round, mails, starts, &broken).await;
        self.n_timeouts = std::mem::take(&mut round.n_timeouts);
        // Ticks of these are not repeated: nothing would change until somebody has looked.
        let mut stopped: HashSet<WorkflowId> = broken
            .iter()
            .filter(|(_, it)| !it.is_transient())
            .map(|(id, _)| *id)
            .collect();
        for (id, code) in std::mem::take(&mut round.incidents) {
            self.raise_incident(id, &code).await;
            stopped.insert(id);
        }
        let row_acts = self.judge_row_acts(&mut round, row_acts).await;
        let acts = self.record_acts(&mut round, acts).await;
        let writes = round.seal(self.incarnation);
        if !writes.is_empty() {
            metrics::BATCH_COMMANDS.observe(count(round.n_commands()));
        }
        if is_planted(Bug::AnswerBeforeCommit) {
            self.settle(round, BTreeMap::new(), ticked, &stopped);
            self.commit(writes).await;
            return;
        }
        if is_planted(Bug::TellBeforeCommit) {
            let told = writes.iter().map(|it| it.workflow);
            told.for_each(|it| self.shared.watchers.tell(it, true));
        }
        let fates = self.commit(writes).await;
        self.settle_row_acts(row_acts, &fates);
        Self::settle_acts(acts, &fates);
        self.settle(round, fates, ticked, &stopped);
    }

    /// Adds a tick for every workflow whose time has come.
    fn due_timers(&mut self, mails: &mut Vec<Mail>) -> Vec<WorkflowId> {
        let clock_ms = self.shared.clock.now_ms();
        let mut ticked = Vec::new();
        for partition in self.partitions.iter_mut() {
            let now_ms = partition.now_ms(clock_ms);
            let left = ROUND_TIMERS_MAX - ticked.len();
            for workflow in partition.timers.take_due(now_ms, left) {
                ticked.push(workflow);
                let command = Box::new(Command::Tick);
                let request = Request::Command {
                    workflow,
                    tenant: None,
                    queues: None,
                    command,
                };
                mails.push(Mail {
                    request,
                    reply: None,
                    room: None,
                });
            }
        }
        ticked
    }

    /// Which start keys of this round are taken already, by whom and for which request.
    async fn known_starts(&self, mails: &[Mail]) -> Result<Starts, StoreError> {
        let keys: BTreeSet<&StartKey> = mails
            .iter()
            .filter_map(|it| match &it.request {
                Request::Start(start) => Some(&start.key),
                _ => None,
            })
            .collect();
        if keys.is_empty() || is_planted(Bug::ForgetStartKeys) {
            return Ok(HashMap::new());
        }
        let keys: Vec<StartKey> = keys.into_iter().cloned().collect();
        let records = self.shared.store.find_starts(&keys).await?;
        Ok(records.into_iter().map(|it| (it.key.clone(), it)).collect())
    }

    /// Makes a draft of every workflow that the round will touch; returns those that cannot be opened.
    async fn open_workflows(
        &self,
        round: &mut Round,
        mails: &[Mail],
        starts: &Starts,
    ) -> HashMap<WorkflowId, EngineError> {
        let wanted = mails.iter().flat_map(|it| match &it.request {
            Request::Command { workflow, .. } => [Some(*workflow), None, None],
            Request::Start(start) => {
                let known = starts.get(&start.key);
                let repeated = known.and_then(|it| repeated(start, it));
                [known.map(|it| it.workflow), repeated, start.restart_of]
            }
            Request::Migrate(migration) => [Some(migration.before.id), None, None],
            Request::Annotate(annotate) => [Some(annotate.workflow), None, None],
            Request::Adopt { .. }
            | Request::Rows(_)
            | Request::Acts(_)
            | Request::GiveUp { .. }
            | Request::Wake => [None; 3],
        });
        let mut broken = HashMap::new();
        let mut absent = Vec::new();
        for id in wanted.flatten().collect::<BTreeSet<_>>() {
            match self.shared.cache.get(id) {
                Some(workflow) => round.open(Workflow::clone(&workflow)),
                None => absent.push(id),
            }
        }
        if absent.is_empty() {
            return broken;
        }
        match self.shared.store.load(&absent).await {
            Ok(records) => {
                for record in records {
                    let id = record.workflow;
                    match self.shared.open(record).await {
                        Ok(workflow) => round.open(workflow),
                        Err(error) => {
                            broken.insert(id, error);
                        }
                    }
                }
            }
            Err(error) => {
                let error = EngineError::from(error);
                broken.extend(absent.into_iter().map(|it| (it, error.clone())));
            }
        }
        broken
    }

    async fn apply(
        &mut self,
        round: &mut Round,
        mails: Vec<Mail>,
        mut starts: Starts,
        broken: &HashMap<WorkflowId, EngineError>,
    ) {
        let clock_ms = self.shared.clock.now_ms();
        let naming = Naming::by(&self.shared, clock_ms);
        let (new, repetitions, mails) = name_new(&naming, mails, &mut starts, round, broken);
        let minted = mint(&self.shared, &new).await;
        for new in new {
            let Some(partition) = self.partitions.get(new.record.workflow.partition()) else {
                round.refuse(new.reply, EngineError::Elsewhere);
                continue;
            };
            let now_ms = partition.now_ms(clock_ms);
            let sealer = match &minted {
                Ok(()) => self
                    .shared
                    .keys
                    .sealer(&new.start.tenant, new.record.workflow)
                    .await
                    .map_err(unavailable),
                Err(error) => Err(error.clone()),
            };
            match sealer.and_then(|it| it.ok_or(EngineError::Unavailable)) {
                Ok(sealer) => begin(round, new, sealer, now_ms),
                Err(error) => round.refuse(new.reply, error),
            }
        }
        repeat(round, repetitions, broken);
        for mail in mails {
            match mail.request {
                Request::Command {
                    workflow,
                    tenant,
                    queues,
                    command,
                } => {
                    let Some(partition) = self.partitions.get(workflow.partition()) else {
                        round.refuse(mail.reply, EngineError::Elsewhere);
                        continue;
                    };
                    if let Some(error) = broken.get(&workflow) {
                        round.refuse(mail.reply, error.clone());
                        continue;
                    }
                    let now_ms = partition.now_ms(clock_ms);
                    let caller = Caller {
                        tenant: tenant.as_deref(),
                        queues: queues.as_deref(),
                    };
                    round.apply(workflow, caller, &command, now_ms, mail.reply);
                }
                Request::Migrate(migration) => {
                    let id = migration.before.id;
                    match (self.partitions.get(id.partition()), broken.get(&id)) {
                        (None, _) => round.refuse(mail.reply, EngineError::Elsewhere),
                        (_, Some(error)) => round.refuse(mail.reply, error.clone()),
                        (Some(partition), None) => {
                            let now_ms = partition.now_ms(clock_ms);
                            round.migrate(*migration, now_ms, mail.reply);
                        }
                    }
                }
                Request::Annotate(annotate) => {
                    let id = annotate.workflow;
                    match (self.partitions.get(id.partition()), broken.get(&id)) {
                        (None, _) => round.refuse(mail.reply, EngineError::Elsewhere),
                        (_, Some(error)) => round.refuse(mail.reply, error.clone()),
                        (Some(partition), None) => {
                            let now_ms = partition.now_ms(clock_ms);
                            round.annotate(&annotate, now_ms, mail.reply);
                        }
                    }
                }
                // Starts have been taken out.
                Request::Adopt { .. }
                | Request::Rows(_)
                | Request::Acts(_)
                | Request::GiveUp { .. }
                | Request::Start(_)
                | Request::Wake => {}
            }
        }
    }

    /// Writes in one transaction; what the data makes impossible is found by halving and set aside.
    async fn commit(&mut self, writes: Vec<Write>) -> BTreeMap<WorkflowId, Fate> {
        let mut fates = BTreeMap::new();
        let mut pending = if writes.is_empty() {
            Vec::new()
        } else {
            vec![writes]
        };
        while let Some(writes) = pending.pop() {
            let mut batch = Batch {
                fences: self.fences(&writes),
                writes,
                shard: self.partitions.lowest(),
            };
            self.number(&mut batch.writes);
            let began = Instant::now();
            let result = tokio::select! {
                biased;
                result = self.shared.store.commit(&batch) => result,
                () = self.lease_is_over() => {
                    pending.push(batch.writes);
                    self.abandon(pending, &mut fates);
                    return fates;
                }
            };
            metrics::COMMIT_SECONDS.observe(began.elapsed().as_secs_f64());
            // What may be in the store all the same is not brought to the next owner, but the caller's to repeat.
            let if_fenced = if matches!(result, Err(StoreError::Unknown(_))) {
                EngineError::Unavailable
            } else {
                EngineError::Elsewhere
            };
            let result = match result {
                Err(StoreError::Unknown(cause)) if is_planted(Bug::UnknownIsFailed) => {
                    Err(StoreError::Unavailable(cause))
                }
                Err(StoreError::Unknown(_)) if is_planted(Bug::UnknownIsDone) => Ok(Vec::new()),
                Err(StoreError::Unknown(cause)) => {
                    tracing::warn!(
                        error = &cause as &dyn std::error::Error,
                        "asking for the outcome of a commit"
                    );
                    self.ask_for(&batch, cause).await
                }
                Ok(committed) => Ok(committed.fenced),
                Err(error) => Err(error),
            };
            match result {
                Ok(fenced) => self.committed(batch, &fenced, &if_fenced, &mut fates),
                Err(StoreError::DataRefused(cause)) => {
                    let (first, second) = halve(batch.writes);
                    if second.is_empty() {
                        self.refused(&first, &cause, &mut fates).await;
                    } else {
                        metrics::COMMITS.with_label_values(&["halved"]).inc();
                        pending.push(second);
                        pending.push(first);
                    }
                }
                Err(error) => {
                    metrics::COMMITS.with_label_values(&["failed"]).inc();
                    let error = EngineError::from(error);
                    self.shared.storage.note(error == EngineError::StorageFull);
                    fates.extend(
                        batch
                            .writes
                            .iter()
                            .map(|it| (it.workflow, Fate::Failed(error.clone()))),
                    );
                }
            }
        }
        fates
    }

    /// Sets aside what the store refuses: a workflow, or a start with what it does to others.
    async fn refused(
        &mut self,
        writes: &[Write],
        cause: &sqlx::Error,
        fates: &mut BTreeMap<WorkflowId, Fate>,
    ) {
        metrics::COMMITS.with_label_values(&["refused"]).inc();
        let code = "commit_refused";
        for write in writes {
            let id = write.workflow;
            tracing::error!(error = cause as &dyn std::error::Error, workflow.id = %id, "the store refuses a workflow");
            // Those that a refused start would have changed are as they were, and well.
            let may_stop = !id.is_act_log() && (writes.len() == 1 || write.start.is_some());
            if may_stop {
                self.raise_incident(id, code).await;
            }
            let code = code.to_owned();
            fates.insert(id, Fate::Failed(EngineError::Incident { code }));
        }
    }

    /// Waits for the end of the lease, and a little for commits that are nearly done: whatever they say is
    /// true, since the database fences them.
    async fn lease_is_over(&self) {
        self.shared.ownership.lease_ended().await;
        tokio::time::sleep(COMMIT_GRACE).await;
    }

    /// The lease has ended under a commit: others may own these partitions by now, so nobody is told
    /// anything, and whatever has become of the commit is read by whoever recovers them.
    fn abandon(&mut self, writes: Vec<Vec<Write>>, fates: &mut BTreeMap<WorkflowId, Fate>) {
        metrics::COMMITS.with_label_values(&["abandoned"]).inc();
        let unknown = Fate::Failed(EngineError::Unavailable);
        let writes = writes.into_iter().flatten();
        fates.extend(writes.map(|it| (it.workflow, unknown.clone())));
        for number in 0..=u8::MAX {
            if self.partitions.get(number).is_some() {
                self.give_up(number);
            }
        }
    }

    fn fences(&mut self, writes: &[Write]) -> Vec<Fence> {
        if is_planted(Bug::NoFence) {
            return Vec::new();
        }
        let numbers: BTreeSet<u8> = writes.iter().map(|it| it.workflow.partition()).collect();
        let fence = |partition| {
            // A partition that was lost during this round has an epoch that no lease names.
            let epoch = self.partitions.get(partition).map_or(0, |it| it.epoch);
            Fence { partition, epoch }
        };
        numbers.into_iter().map(fence).collect()
    }

    /// Numbers the writes on from the last batch of their partitions.
    fn number(&mut self, writes: &mut [Write]) {
        let mut last: BTreeMap<u8, i64> = BTreeMap::new();
        for write in writes {
            let number = write.workflow.partition();
            let last = last
                .entry(number)
                .or_insert_with(|| self.partitions.get(number).map_or(0, |it| it.last_batch));
            // Without events there is no row in the journal that could carry the number.
            if write.has_events() {
                *last += 1;
            }
            write.batch = *last;
            if is_planted(Bug::SkipBatchNumber)
                && let Some(partition) = self.partitions.get(number)
            {
                partition.last_batch = *last;
            }
        }
    }

    fn committed(
        &mut self,
        batch: Batch,
        fenced: &[u8],
        if_fenced: &EngineError,
        fates: &mut BTreeMap<WorkflowId, Fate>,
    ) {
        metrics::COMMITS.with_label_values(&["committed"]).inc();
        let counts = !is_planted(Bug::FencedIsCommitted);
        let fenced = if counts { fenced } else { &[] };
        flushes::count(Flushed::State);
        self.shared.storage.note(false);
        for &number in fenced {
            tracing::error!(
                partition = number,
                "another process owns this partition now"
            );
            metrics::FENCED.inc();
            self.lose(number);
        }
        for write in batch.writes {
            let number = write.workflow.partition();
            if fenced.contains(&number) {
                fates.insert(write.workflow, Fate::Failed(if_fenced.clone()));
                continue;
            }
            if let Some(partition) = self.partitions.get(number) {
                partition.last_batch = write.batch;
            }
            fates.insert(write.workflow, Fate::Committed);
            if write.has_events() {
                let (workflow, batch, public) = (write.workflow, write.batch, write.public);
                self.shared.outbox.put(
                    number,
                    OutboxRow {
                        workflow,
                        batch,
                        public,
                    },
                );
            }
        }
    }

    /// Finds out whether a commit whose outcome is unknown is there; returns the partitions it is not in.
    async fn ask_for(&mut self, batch: &Batch, cause: sqlx::Error) -> Result<Vec<u8>, StoreError> {
        let numbers: Vec<u8> = batch.fences.iter().map(|it| it.partition).collect();
        for _ in 0..UNKNOWN_ASKS_MAX {
            if self.shared.ownership.has_ended() {
                break;
            }
            match self.look_for(batch, &numbers).await {
                Ok(None) => return Ok(Vec::new()),
                Ok(Some(absent)) if absent.len() == numbers.len() => {
                    return Err(StoreError::Unavailable(cause));
                }
                Ok(Some(fenced)) => return Ok(fenced),
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the store does not say how a commit ended"
                    );
                    tokio::time::sleep(UNKNOWN_PAUSE).await;
                }
            }
        }
        // Nobody may be told anything about these partitions any more; whoever takes them reads them anew.
        for number in numbers {
            self.lose(number);
        }
        Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut))
    }

    /// Gives up a partition that this lane has believed to be its own.
    fn lose(&mut self, number: u8) {
        if self.partitions.get(number).is_some() {
            self.give_up(number);
            self.shared.n_lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Partitions in which the batch is not; `None` when it is in all of them.
    async fn look_for(&self, batch: &Batch, numbers: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        // Under the lock of the lease rows, so that the lost transaction has ended one way or the other. Who
        // is still the owner afterwards was so before, and nobody else has written what was found.
        let last = self.shared.store.last_batches(numbers).await?;
        let probe = Batch {
            fences: batch.fences.clone(),
            ..Batch::default()
        };
        let fenced = self.shared.store.commit(&probe).await?.fenced;
        Ok(absent_from(batch, numbers, &fenced, &last))
    }

    /// Stops a workflow until somebody has looked at it.
    async fn raise_incident(&mut self, id: WorkflowId, code: &str) {
        metrics::INCIDENTS.with_label_values(&[code]).inc();
        tracing::error!(workflow.id = %id, code, "an incident stops a workflow");
        self.shared.dispatch.withdraw_all(id);
        self.incidents.insert(id);
        let Some(partition) = self.partitions.get(id.partition()) else {
            // Whoever owns it now finds the fault by itself.
            return;
        };
        partition.timers.set(id, None);
        let fence = partition.fence();
        match self.shared.store.put_incident(id, code, fence).await {
            Ok(marked) if marked.fenced.is_empty() => {}
            Ok(_) => {
                metrics::FENCED.inc();
                return self.lose(fence.partition);
            }
            // The mark is for operators; the workflow stands still until the next start all the same.
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot mark an incident"
            ),
        }
        incidents::record_workflow(&self.shared, id, code).await;
    }

    /// Makes the committed state the current one, wakes whom it concerns, and answers.
    fn settle(
        &mut self,
        round: Round,
        fates: BTreeMap<WorkflowId, Fate>,
        ticked: Vec<WorkflowId>,
        stopped: &HashSet<WorkflowId>,
    ) {
        let now_ms = self.shared.clock.now_ms();
        for (id, fate) in &fates {
            if *fate != Fate::Committed {
                // Whatever is in memory of it was speculation; the next command reads it anew.
                self.shared.cache.remove(*id);
            }
        }
        let (settled, deliveries) = round.settle(&fates);
        // A tick that has led to nothing is repeated: its timer has been taken.
        for id in ticked
            .into_iter()
            .filter(|_| !is_planted(Bug::ForgetFailedTick))
        {
            if let Some(partition) = self.partitions.get(id.partition()) {
                partition.timers.set(id, Some(now_ms + TIMER_RETRY_MS));
            }
        }
        for id in stopped {
            if let Some(partition) = self.partitions.get(id.partition()) {
                partition.timers.set(*id, None);
            }
        }
        for it in settled {
            if it.is_written || !stopped.contains(&it.workflow.id) {
                self.publish(it, now_ms);
            }
        }
        for delivery in deliveries {
            delivery.send();
        }
    }

    fn publish(&mut self, mut settled: Settled, now_ms: i64) {
        let workflow = settled.workflow;
        if self.partitions.get(workflow.id.partition()).is_none() {
            // It was lost in this round: others speak for it now.
            return;
        }
        if settled.is_only_noted {
            // It stands where it stood, also where an incident has stopped it.
            let id = workflow.id;
            self.shared.cache.put(workflow);
            return self.shared.watchers.tell(id, false);
        }
        if settled.is_written && self.incidents.remove(&workflow.id) {
            // It goes on, so all of its turns do, not only those that this commit has changed.
            settled.changes.extend(standing(&workflow));
        }
        if !settled.changes.is_empty() {
            if workflow.state.is_paused() {
                // The dispatcher may not know: recovery shows it only workflows that have open turns.
                settled.changes.insert(0, Change::Pause);
            }
            let owner = Arc::new(owner(&workflow));
            self.shared.dispatch.change(&owner, settled.changes, now_ms);
        }
        if let Some(partition) = self.partitions.get(workflow.id.partition()) {
            match workflow.state.wake_at() {
                // Nothing came of a timer that was due: not again at once, and no later for whatever else
                // is refused meanwhile.
                Some(it) if !settled.is_written && it <= now_ms => {
                    let again_ms = now_ms + TIMER_RETRY_MS;
                    partition.timers.hasten(workflow.id, again_ms);
                }
                it => partition.timers.set(workflow.id, it),
            }
        }
        let id = workflow.id;
        let newest = workflow.state.owed().last().map(|it| it.number);
        let has_ended = workflow.state.status().is_closed();
        self.shared.cache.put(workflow);
        if let Some(newest) = newest {
            self.shared.courier.put(id, newest, now_ms);
        }
        if settled.is_written && !is_planted(Bug::TellBeforeCommit) {
            self.shared.watchers.tell(id, has_ended);
        }
    }
}

/// What all turns of a workflow have in common.
pub fn owner(workflow: &Workflow) -> Owner {
    Owner {
        workflow: workflow.id,
        tenant: workflow.columns.tenant.clone(),
        subject: workflow.subject(),
        locale: workflow.columns.locale.clone(),
        priority: workflow.state.priority(),
        labels: workflow.definition.task_labels().cloned(),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a histogram takes floats, and a round has few commands"
)]
fn count(n: usize) -> f64 {
    n as f64
}
