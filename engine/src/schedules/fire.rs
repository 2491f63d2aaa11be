//! Makes the times of schedules come.
//!
//! A time is fired by starting a workflow whose id follows from schedule, revision and time; then the
//! row says that the time is done with. Whoever dies in between, or takes over, starts the same again,
//! which is nothing new.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use sha2::{Digest, Sha256};

use btrust_machine::Command;
use btrust_platform::http::Shutdown;
use btrust_schemas::core::{Status, WorkflowView};
use btrust_schemas::ids::{RANDOM_BYTES, WorkflowId};
use btrust_schemas::schedules::{CATCH_UP_MAX, CatchUp, Overlap, TriggerRequest, Triggered};

use super::ScheduleRefusal;
use super::queue::Key;
use super::views::{catch_up, overlap};
use crate::calendar::Calendar;
use crate::engine::{Engine, IDEMPOTENCY_KEY_BYTES_MAX};
use crate::error::EngineError;
use crate::parcel::{Parcel, Taken};
use crate::store::schedules::{FiredRecord, ScheduleRecord};

/// A time that is later than this was missed, ms; before that it is just fired.
///
/// Source: the least that cron can tell apart.
const MISSED_AFTER_MS: i64 = 60_000;
/// Schedules that are fired at the same time.
const FIRED_AT_ONCE: usize = 64;
/// The pause before a schedule that could not be fired is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the schedules of one partition are read again, where there are other nodes.
///
/// Source: an act that falls into a hand-over may be heard of by the earlier owner only; so the next one
/// knows of it within 40 s (256 of these), before a time counts as missed (`MISSED_AFTER_MS`).
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// The longest sleep, so that a clock that was set is noticed.
const SLEEP_MAX: Duration = Duration::from_mins(1);
/// Runs that are followed from the one that was started last to the one that runs now.
const RUNS_MAX: usize = 1_000;

/// `last_error` where the workflow before still ran.
const SKIPPED: &str = "skipped";
/// `last_error` where nobody was there to start anything.
const MISSED: &str = "missed";

/// When a schedule is due next, ms since the epoch.
pub fn due_ms(record: &ScheduleRecord) -> Option<i64> {
    let calendar = Calendar::parse(&record.cron, &record.time_zone).ok()?;
    let next_ms = calendar.next(record.done_until_ms).ok()?;
    Some(next_ms.saturating_add(jitter_ms(record)))
}

/// By how much the times of a schedule are put off; always the same for one schedule.
fn jitter_ms(record: &ScheduleRecord) -> i64 {
    let span_ms = record.jitter_s.max(0) * 1_000;
    let mut hash = Sha256::new();
    hash.update(b"jitter\0");
    hash.update(words(record, "").as_bytes());
    let digest = hash.finalize();
    let drawn = i64::from(u32::from_be_bytes([
        digest[0], digest[1], digest[2], digest[3],
    ]));
    drawn % (span_ms + 1)
}

/// Names a schedule and something of it.
fn words(record: &ScheduleRecord, what: &str) -> String {
    format!(
        "{}\0{}\0{}\0{what}",
        record.tenant, record.name, record.created_ms
    )
}

/// The id of what a schedule starts, placed at `at_ms`: the same for the same time, and for nothing else.
fn workflow_of(record: &ScheduleRecord, what: &str, at_ms: i64) -> WorkflowId {
    let mut hash = Sha256::new();
    hash.update(b"schedule\0");
    hash.update(words(record, what).as_bytes());
    let digest = hash.finalize();
    let mut rest = [0; RANDOM_BYTES];
    rest.copy_from_slice(&digest[1..=RANDOM_BYTES]);
    WorkflowId::started(digest[0], at_ms, rest)
}

/// The times that are fired now.
struct Plan {
    times: Vec<i64>,
    /// The latest time that is left out, if nothing after it is fired.
    left_out_ms: Option<i64>,
}

fn plan(record: &ScheduleRecord, calendar: &Calendar, now_ms: i64) -> Plan {
    let until_ms = now_ms.saturating_sub(jitter_ms(record));
    let due = calendar.latest(record.done_until_ms, until_ms, CATCH_UP_MAX);
    let missed_before_ms = until_ms.saturating_sub(MISSED_AFTER_MS);
    let n_missed = due.partition_point(|it| *it < missed_before_ms);
    let from = match catch_up(record) {
        CatchUp::All => 0,
        CatchUp::Last if n_missed == due.len() => n_missed.saturating_sub(1),
        CatchUp::None | CatchUp::Last => n_missed,
    };
    let left_out = due.last().copied().filter(|_| from == due.len());
    Plan {
        times: due[from..].to_vec(),
        left_out_ms: left_out,
    }
}

/// Fires schedules until `shutdown`; what is due then is fired after the next start.
pub async fn run(engine: Arc<Engine>, shutdown: Shutdown) {
    let queue = &engine.schedules().queue;
    let mut firing = FuturesUnordered::new();
    let mut resting = FuturesUnordered::new();
    loop {
        let now_ms = engine.shared.clock.now_ms();
        for key in queue.take_due(now_ms, FIRED_AT_ONCE - firing.len()) {
            let engine = Arc::clone(&engine);
            firing.push(async move { (fire(&engine, &key).await, key) }.boxed());
        }
        let sleep = queue.next_ms().map_or(SLEEP_MAX, |at_ms| {
            let wait_ms = at_ms.saturating_sub(now_ms).max(0);
            Duration::from_millis(wait_ms.unsigned_abs()).min(SLEEP_MAX)
        });
        let is_full = firing.len() == FIRED_AT_ONCE;
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            Some((fired, key)) = firing.next(), if !firing.is_empty() => {
                if let Err(error) = fired {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        schedule.name = key.name, "a schedule cannot be fired now"
                    );
                    resting.push(async move {
                        tokio::time::sleep(PAUSE).await;
                        key
                    }.boxed());
                }
            }
            Some(key) = resting.next(), if !resting.is_empty() => {
                queue.set_key(key, Some(engine.shared.clock.now_ms()));
            }
            () = queue.wanted.notified() => {}
            () = tokio::time::sleep(sleep), if !is_full => {}
        }
    }
}

/// Reads the schedules of one partition after the other again, until `shutdown`.
///
/// A task of its own: waiting here for a connection must not keep those waiting that are being fired.
pub async fn look_again(engine: Arc<Engine>, shutdown: Shutdown) {
    for partition in (0..=u8::MAX).cycle() {
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            () = tokio::time::sleep(LOOK_EVERY) => look_at(&engine, partition).await,
        }
    }
}

/// Reads the schedules of a partition again, if it is this node's.
async fn look_at(engine: &Engine, partition: u8) {
    if !engine.shared.ownership.owns(partition) {
        return;
    }
    let schedules = engine.schedules();
    match schedules.of_partition(partition).await {
        Ok(records) => schedules.adopt(partition, &records),
        Err(error) => tracing::warn!(
            error = &error as &dyn std::error::Error,
            "cannot read schedules again"
        ),
    }
    // It may have gone meanwhile.
    if !engine.shared.ownership.owns(partition) {
        schedules.forget(partition);
    }
}

/// Fires the times of a schedule that are due, and says when the next one is.
async fn fire(engine: &Engine, key: &Key) -> Result<(), EngineError> {
    let schedules = engine.schedules();
    let found = schedules
        .store
        .find_schedule(&key.tenant, &key.name)
        .await?;
    let Some(mut record) = found.filter(|it| !it.is_paused) else {
        return Ok(());
    };
    let Ok(calendar) = Calendar::parse(&record.cron, &record.time_zone) else {
        tracing::error!(
            schedule.name = record.name,
            "a schedule has times that this program cannot read"
        );
        return Ok(());
    };
    let plan = plan(&record, &calendar, schedules.clock.now_ms());
    for at_ms in plan.times {
        let (workflow, error) = engine.fire_at(&record, at_ms).await?;
        note(engine, &mut record, at_ms, workflow, error).await?;
    }
    if let Some(at_ms) = plan.left_out_ms {
        note(engine, &mut record, at_ms, None, Some(MISSED.to_owned())).await?;
    }
    // Somebody may have changed it meanwhile.
    if let Some(record) = schedules
        .store
        .find_schedule(&key.tenant, &key.name)
        .await?
    {
        schedules.wind(&record);
    }
    Ok(())
}

async fn note(
    engine: &Engine,
    record: &mut ScheduleRecord,
    at_ms: i64,
    workflow: Option<WorkflowId>,
    error: Option<String>,
) -> Result<(), EngineError> {
    let fired = FiredRecord {
        tenant: record.tenant.clone(),
        name: record.name.clone(),
        created_ms: record.created_ms,
        done_until_ms: at_ms,
        last_ms: at_ms,
        workflow,
        error,
    };
    // Where it is not noted, somebody has changed the schedule, or another node has been quicker.
    engine.schedules().store.put_fired(&fired).await?;
    record.done_until_ms = at_ms;
    record.last_workflow = workflow.or(record.last_workflow);
    Ok(())
}

impl Engine {
    /// Fires one time; returns what runs for it, and why nothing was started.
    async fn fire_at(
        &self,
        record: &ScheduleRecord,
        at_ms: i64,
    ) -> Result<(Option<WorkflowId>, Option<String>), EngineError> {
        let to = workflow_of(record, &format!("{}\0{at_ms}", record.revision), at_ms);
        let was_started = match self.view(&record.tenant, to).await {
            Ok(_) => true,
            Err(EngineError::Unknown) => false,
            Err(error) if error.is_transient() => return Err(error),
            Err(_) => true,
        };
        if !was_started && overlap(record) != Overlap::Allow {
            let running = match record.last_workflow {
                Some(last) => self.running(&record.tenant, last).await?,
                None => None,
            };
            match (running, overlap(record)) {
                (Some(running), Overlap::Skip) => {
                    return Ok((Some(running), Some(SKIPPED.to_owned())));
                }
                (Some(running), _) => self.cancel_before(record, running).await?,
                (None, _) => {}
            }
        }
        Ok(match self.start_scheduled(record, to).await? {
            Taken::Taken => (Some(to), None),
            Taken::NotStarted { error, cause } => {
                tracing::warn!(
                    schedule.name = record.name,
                    error,
                    cause,
                    "a schedule has started nothing"
                );
                (None, Some(error))
            }
        })
    }

    async fn start_scheduled(
        &self,
        record: &ScheduleRecord,
        to: WorkflowId,
    ) -> Result<Taken, EngineError> {
        let input = self.schedules().open_input(record).await?;
        self.deliver(Parcel::of_schedule(record, to, input)).await
    }

    /// The run that goes on from `workflow` and is open, if there is one.
    async fn running(
        &self,
        tenant: &str,
        mut workflow: WorkflowId,
    ) -> Result<Option<WorkflowId>, EngineError> {
        for _ in 0..RUNS_MAX {
            let view: WorkflowView = match self.view(tenant, workflow).await {
                Ok(view) => view,
                Err(error) if error.is_transient() => return Err(error),
                // It was deleted or erased, or the next run has not begun.
                Err(_) => return Ok(None),
            };
            match (view.status, view.lineage.continued_as) {
                (Status::Running, _) => return Ok(Some(workflow)),
                (_, Some(next)) => workflow = next,
                _ => return Ok(None),
            }
        }
        Ok(Some(workflow))
    }

    async fn cancel_before(
        &self,
        record: &ScheduleRecord,
        workflow: WorkflowId,
    ) -> Result<(), EngineError> {
        let reason = format!("the schedule `{}` starts the next one", record.name);
        let command = Command::Cancel {
            reason: Some(reason),
            grace_seconds: 0,
            by: None,
        };
        let tenant = record.tenant.clone();
        self.act_anywhere(tenant, workflow, command).await.map(drop)
    }

    /// Starts what a schedule starts, now, whatever else runs; once for each key.
    pub async fn trigger_schedule(
        &self,
        name: &str,
        request: TriggerRequest,
    ) -> Result<Triggered, EngineError> {
        let key_bytes = request.idempotency_key.len();
        if key_bytes == 0 || IDEMPOTENCY_KEY_BYTES_MAX < key_bytes {
            return Err(EngineError::Invalid {
                code: "idempotency_key_invalid",
                detail: format!("an idempotency key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes"),
            });
        }
        let record = self.schedules().find(&request.tenant, name).await?;
        tracing::info!(
            schedule.name = name,
            actor = request.actor,
            "somebody triggers a schedule"
        );
        let to = workflow_of(
            &record,
            &format!("trigger\0{}", request.idempotency_key),
            // A repetition comes at another time.
            record.created_ms,
        );
        match self.start_scheduled(&record, to).await? {
            Taken::NotStarted { error, cause } => {
                Err(ScheduleRefusal::NotStarted { error, cause }.into())
            }
            Taken::Taken => {
                let workflow = self.view(&request.tenant, to).await?;
                Ok(Triggered { workflow })
            }
        }
    }
}
