//! Schedules: what people do to them. `fire.rs` makes their times come.
//!
//! A schedule is a row; memory holds only when each of this node's is due. Every act changes the row if
//! it is as the caller has seen it, and then says when it is due.

mod fire;
mod queue;
mod refusal;
mod views;

use std::sync::Arc;

use sha2::{Digest, Sha256};

use btrust_platform::clock::SharedClock;
use btrust_platform::sealing::aad;
use btrust_schemas::schedules::{
    JITTER_SECONDS_MAX, NewScheduleRequest, SCHEDULES_MAX, ScheduleAct, SchedulePage,
    ScheduleRequest, ScheduleSpec, ScheduleView,
};
use serde_json::Value;

use crate::calendar::Calendar;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::store::StoreError;
use crate::store::schedules::{ScheduleRecord, ScheduleStore};
use crate::subjects::Subjects;

pub use fire::{look_again, run};
use queue::Queue;
pub use refusal::ScheduleRefusal;
use views::{catch_up_text, overlap_text, tag, view};

/// Longest name of a schedule, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Schedules on a page when the caller does not say, and at most.
const PAGE_DEFAULT: u32 = 50;
const PAGE_MAX: u32 = 200;
/// How often an act looks again when the schedule changes meanwhile.
const TRIES_MAX: usize = 5;
/// When a schedule is looked at again after an act whose answer was lost, ms.
///
/// Source: longer than the database goes on with a statement that nobody waits for; a time of a schedule
/// is a minute or more from the next.
const DOUBT_MS: i64 = 5_000;
/// What inputs are sealed for.
const PURPOSE: &str = "schedule inputs 1";

/// The schedules of all tenants.
pub struct Schedules {
    store: Arc<dyn ScheduleStore>,
    subjects: Arc<Subjects>,
    clock: SharedClock,
    queue: Queue,
}

impl Schedules {
    pub fn new(store: Arc<dyn ScheduleStore>, subjects: Arc<Subjects>, clock: SharedClock) -> Self {
        Self {
            store,
            subjects,
            clock,
            queue: Queue::default(),
        }
    }

    /// The schedules of a partition, as they are stored.
    ///
    /// # Errors
    ///
    /// When the store does not answer.
    pub async fn of_partition(&self, partition: u8) -> Result<Vec<ScheduleRecord>, StoreError> {
        self.store.schedules_of(partition).await
    }

    /// Looks after the schedules of a partition, which are these.
    pub fn adopt(&self, partition: u8, records: &[ScheduleRecord]) {
        self.queue.serve(partition);
        for record in records {
            self.wind(record);
        }
    }

    /// Leaves the schedules of a partition to another node.
    pub fn forget(&self, partition: u8) {
        self.queue.forget(partition);
    }

    /// Makes the next look at the clock come now; for clocks that are moved by hand.
    pub fn wake(&self) {
        self.queue.wake();
    }

    /// One schedule.
    pub async fn get(&self, tenant: &str, name: &str) -> Result<ScheduleView, EngineError> {
        let record = self.find(tenant, name).await?;
        self.view(&record).await
    }

    /// A page of a tenant's schedules.
    pub async fn list(
        &self,
        tenant: &str,
        after: Option<&str>,
        limit: Option<u32>,
    ) -> Result<SchedulePage, EngineError> {
        let after = after.map(in_ascii);
        let after = after.as_deref();
        let limit = limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
        let records = self.store.list_schedules(tenant, after, limit).await?;
        let is_full = u32::try_from(records.len()).unwrap_or(u32::MAX) == limit;
        let next = records.last().filter(|_| is_full).map(|it| it.name.clone());
        let mut schedules = Vec::with_capacity(records.len());
        for record in &records {
            schedules.push(self.view(record).await?);
        }
        Ok(SchedulePage { schedules, next })
    }

    /// Has the store do something to a schedule, in doubt until its answer is heard.
    async fn act<T>(
        &self,
        record: &ScheduleRecord,
        act: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, EngineError> {
        let mut doubt = Doubt {
            schedules: self,
            record,
            is_over: false,
        };
        let answer = act.await?;
        doubt.is_over = true;
        Ok(answer)
    }

    async fn find(&self, tenant: &str, name: &str) -> Result<ScheduleRecord, EngineError> {
        if !is_name(name) {
            return Err(ScheduleRefusal::Unknown.into());
        }
        let record = self.store.find_schedule(tenant, name).await?;
        Ok(record.ok_or(ScheduleRefusal::Unknown)?)
    }

    async fn view(&self, record: &ScheduleRecord) -> Result<ScheduleView, EngineError> {
        let input = self.open_input(record).await?;
        Ok(view(record, input, self.clock.now_ms()))
    }

    /// Says when a schedule is due, or that it is not.
    fn wind(&self, record: &ScheduleRecord) {
        let next_ms = if record.is_paused {
            None
        } else {
            fire::due_ms(record)
        };
        self.queue.set(record, next_ms);
    }

    async fn seal_input(
        &self,
        record: &ScheduleRecord,
        input: &Value,
    ) -> Result<Vec<u8>, EngineError> {
        let sealer = self.subjects.sealer(&record.tenant, PURPOSE).await?;
        Ok(sealer.seal(&binding(record), input.to_string().as_bytes()))
    }

    async fn open_input(&self, record: &ScheduleRecord) -> Result<Value, EngineError> {
        let sealer = self.subjects.sealer(&record.tenant, PURPOSE).await?;
        let opened = sealer.open(&binding(record), &record.sealed_input).ok();
        let input = opened.and_then(|it| serde_json::from_slice(&it).ok());
        input.ok_or_else(|| EngineError::Incident {
            code: "schedule_unreadable".to_owned(),
        })
    }

    /// The schedule that `act` may change.
    async fn seen(
        &self,
        tenant: &str,
        name: &str,
        seen: Option<&str>,
    ) -> Result<ScheduleRecord, EngineError> {
        let record = self.find(tenant, name).await?;
        match seen {
            Some(seen) if seen != tag(&record) => Err(ScheduleRefusal::Changed.into()),
            _ => Ok(record),
        }
    }

    /// Pauses a schedule or lets it go on; times that come meanwhile are not made up for.
    async fn set_paused(
        &self,
        name: &str,
        act: &ScheduleAct,
        is_paused: bool,
    ) -> Result<ScheduleView, EngineError> {
        for _ in 0..TRIES_MAX {
            let record = self.seen(&act.tenant, name, act.tag.as_deref()).await?;
            if record.is_paused == is_paused {
                // Whoever has done it may have gone before the answer came.
                self.wind(&record);
                return self.view(&record).await;
            }
            let input = self.open_input(&record).await?;
            let now_ms = self.clock.now_ms();
            let mut changed = ScheduleRecord {
                revision: record.revision + 1,
                is_paused,
                done_until_ms: record.done_until_ms.max(now_ms),
                changed_by: act.actor.clone(),
                changed_ms: now_ms,
                ..record
            };
            changed.sealed_input = self.seal_input(&changed, &input).await?;
            let replaced = self.store.replace_schedule(&changed);
            if self.act(&changed, replaced).await? {
                log(
                    &changed,
                    if is_paused {
                        "paused a schedule"
                    } else {
                        "resumed a schedule"
                    },
                );
                self.wind(&changed);
                return self.view(&changed).await;
            }
        }
        Err(ScheduleRefusal::Changed.into())
    }

    /// Lets a schedule rest until it is resumed.
    pub async fn pause(&self, name: &str, act: &ScheduleAct) -> Result<ScheduleView, EngineError> {
        self.set_paused(name, act, true).await
    }

    /// Lets a schedule go on.
    pub async fn resume(&self, name: &str, act: &ScheduleAct) -> Result<ScheduleView, EngineError> {
        self.set_paused(name, act, false).await
    }

    /// Deletes a schedule; what it has started goes on.
    pub async fn delete(&self, name: &str, act: &ScheduleAct) -> Result<(), EngineError> {
        for _ in 0..TRIES_MAX {
            let record = self.seen(&act.tenant, name, act.tag.as_deref()).await?;
            let revision = record.revision;
            let deleted = self.store.delete_schedule(&act.tenant, name, revision);
            if self.act(&record, deleted).await? {
                log(&record, "deleted a schedule");
                self.queue.set(&record, None);
                return Ok(());
            }
        }
        Err(ScheduleRefusal::Changed.into())
    }
}

/// An act whose answer is not heard when this goes: the store has failed, or the caller has gone and
/// nobody waits any more.
///
/// The act may be done all the same, so the row is looked at soon and says when it is due.
struct Doubt<'d> {
    schedules: &'d Schedules,
    record: &'d ScheduleRecord,
    is_over: bool,
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let soon_ms = self.schedules.clock.now_ms().saturating_add(DOUBT_MS);
            self.schedules.queue.set(self.record, Some(soon_ms));
        }
    }
}

impl Engine {
    /// Schedules of all tenants.
    pub fn schedules(&self) -> &Schedules {
        &self.shared.schedules
    }

    /// Adds a schedule.
    pub async fn create_schedule(
        &self,
        name: &str,
        request: NewScheduleRequest,
    ) -> Result<ScheduleView, EngineError> {
        let NewScheduleRequest {
            tenant,
            spec,
            actor,
        } = request;
        if !is_name(name) {
            return Err(ScheduleRefusal::Name.into());
        }
        self.check_schedule(&tenant, &spec).await?;
        let schedules = self.schedules();
        let n_schedules = schedules.store.count_schedules(&tenant).await?;
        if usize::try_from(n_schedules).is_ok_and(|it| SCHEDULES_MAX <= it) {
            return Err(ScheduleRefusal::TooMany.into());
        }
        let now_ms = schedules.clock.now_ms();
        let mut record = ScheduleRecord {
            partition: partition_of(&tenant, name),
            tenant,
            name: name.to_owned(),
            revision: 1,
            definition: String::new(),
            version: None,
            cron: String::new(),
            time_zone: String::new(),
            overlap: String::new(),
            catch_up: String::new(),
            jitter_s: 0,
            is_paused: false,
            sealed_input: Vec::new(),
            done_until_ms: now_ms,
            last_ms: None,
            last_workflow: None,
            last_error: None,
            created_by: actor.clone(),
            created_ms: now_ms,
            changed_by: actor,
            changed_ms: now_ms,
        };
        specify(&mut record, &spec);
        record.sealed_input = schedules.seal_input(&record, &spec.input).await?;
        let inserted = schedules.store.insert_schedule(&record);
        if !schedules.act(&record, inserted).await? {
            return Err(ScheduleRefusal::Exists.into());
        }
        log(&record, "created a schedule");
        schedules.wind(&record);
        Ok(view(&record, spec.input, now_ms))
    }

    /// Replaces what a schedule starts and when; times until now are done with.
    pub async fn replace_schedule(
        &self,
        name: &str,
        request: ScheduleRequest,
    ) -> Result<ScheduleView, EngineError> {
        let ScheduleRequest {
            tenant,
            spec,
            tag,
            actor,
        } = request;
        let schedules = self.schedules();
        for _ in 0..TRIES_MAX {
            let record = schedules.seen(&tenant, name, tag.as_deref()).await?;
            self.check_schedule(&tenant, &spec).await?;
            let now_ms = schedules.clock.now_ms();
            let mut changed = ScheduleRecord {
                revision: record.revision + 1,
                done_until_ms: record.done_until_ms.max(now_ms),
                changed_by: actor.clone(),
                changed_ms: now_ms,
                ..record
            };
            specify(&mut changed, &spec);
            changed.sealed_input = schedules.seal_input(&changed, &spec.input).await?;
            let replaced = schedules.store.replace_schedule(&changed);
            if schedules.act(&changed, replaced).await? {
                log(&changed, "changed a schedule");
                schedules.wind(&changed);
                return Ok(view(&changed, spec.input, now_ms));
            }
        }
        Err(ScheduleRefusal::Changed.into())
    }

    /// Whether what is asked for could be started, and ever comes.
    async fn check_schedule(&self, tenant: &str, spec: &ScheduleSpec) -> Result<(), EngineError> {
        if JITTER_SECONDS_MAX < spec.jitter_seconds {
            return Err(ScheduleRefusal::Jitter.into());
        }
        let calendar =
            Calendar::parse(&spec.cron, &spec.time_zone).map_err(ScheduleRefusal::from)?;
        calendar
            .next(self.schedules().clock.now_ms())
            .map_err(ScheduleRefusal::from)?;
        self.check_start(tenant, &spec.definition, spec.version, &spec.input)
            .await
    }
}

/// Whether a schedule can have this name; no other text is compared with names that there are.
fn is_name(name: &str) -> bool {
    let may_have = |it: u8| it.is_ascii_alphanumeric() || b"-._".contains(&it);
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(may_have)
}

/// The text in ASCII that the same names come after: they are ASCII, and so is their column.
fn in_ascii(text: &str) -> String {
    let mut ascii: String = text.chars().take_while(char::is_ascii).collect();
    if ascii.len() < text.len() {
        ascii.push('\u{7f}');
    }
    ascii
}

fn specify(record: &mut ScheduleRecord, spec: &ScheduleSpec) {
    record.definition.clone_from(&spec.definition);
    record.version = spec.version.map(i64::from);
    record.cron.clone_from(&spec.cron);
    record.time_zone.clone_from(&spec.time_zone);
    overlap_text(spec.overlap).clone_into(&mut record.overlap);
    catch_up_text(spec.catch_up).clone_into(&mut record.catch_up);
    record.jitter_s = i64::from(spec.jitter_seconds);
}

/// What a sealed input is bound to.
fn binding(record: &ScheduleRecord) -> Vec<u8> {
    let (created, revision) = (record.created_ms.to_string(), record.revision.to_string());
    aad(&[
        "btrust schedule 1",
        &record.tenant,
        &record.name,
        &created,
        &revision,
    ])
}

/// The partition whose owner fires a schedule.
pub fn partition_of(tenant: &str, name: &str) -> u8 {
    let mut hash = Sha256::new();
    hash.update(tenant.as_bytes());
    hash.update([0]);
    hash.update(name.as_bytes());
    hash.finalize()[0]
}

fn log(record: &ScheduleRecord, what: &str) {
    tracing::info!(
        tenant = record.tenant,
        schedule.name = record.name,
        schedule.revision = record.revision,
        actor = record.changed_by,
        "{what}"
    );
}
