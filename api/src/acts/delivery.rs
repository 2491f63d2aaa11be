//! Brings noted acts to core, at least once and in the order of their tenant.
//!
//! Tenants take turns: whoever core does not take acts of now, holds up nobody else.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;

use btrust_platform::http::Shutdown;
use btrust_schemas::events::ReportedAct;

use super::outbox::{Outbox, OutboxError, Waiting};

/// Acts brought at a time.
///
/// Source: what core takes in one report.
const ACTS_MAX: i64 = 100;
/// Tenants in a row whose acts core did not take, after which there is a pause.
///
/// Source: core is away then; each of them may have waited for the end of a call.
const FAILURES_MAX: usize = 8;
/// The pause after a failure, and between two looks at a queue that nobody has filled.
const PAUSE: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Why acts were not recorded.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// Core will never take them.
    #[error("core refused acts: {code}")]
    Refused { code: String },
    /// The same call may succeed later.
    #[error("core did not record acts")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The way to core.
#[async_trait]
pub trait Delivery: Send + Sync + 'static {
    /// Has acts of one tenant recorded; they are durable when this returns.
    async fn bring(&self, tenant: &str, acts: &[ReportedAct]) -> Result<(), DeliverError>;
}

/// Empties the queue until `shutdown`.
pub async fn deliver(outbox: Outbox, core: &dyn Delivery, shutdown: Shutdown) {
    let mut turns = Turns::default();
    loop {
        let pause = match turns.take(&outbox, core).await {
            Ok(Turn::Taken) => Duration::ZERO,
            Ok(Turn::NobodyLeft) => LOOK_AGAIN,
            Ok(Turn::Pause) => PAUSE,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "the queue of acts cannot be read; will try again");
                PAUSE
            }
        };
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            () = outbox.filled(), if pause == LOOK_AGAIN => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// What has become of a turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Somebody else is next.
    Taken,
    /// Nothing waits.
    NobodyLeft,
    /// What waits was not taken.
    Pause,
}

/// Whose turn it is.
#[derive(Default)]
pub(super) struct Turns {
    /// Whose it was.
    last: String,
    /// Whose acts were not taken since the last pause.
    failed: BTreeSet<String>,
    /// Whose acts were not taken when they were last brought; it is said once.
    unwell: BTreeSet<String>,
}

impl Turns {
    /// Brings some acts of the next tenant.
    pub(super) async fn take(
        &mut self,
        outbox: &Outbox,
        core: &dyn Delivery,
    ) -> Result<Turn, OutboxError> {
        let Some(tenant) = self.next(outbox).await? else {
            let is_well = self.failed.is_empty();
            self.failed.clear();
            return Ok(if is_well {
                Turn::NobodyLeft
            } else {
                Turn::Pause
            });
        };
        self.last.clone_from(&tenant);
        match bring_some(outbox, core, &tenant).await {
            Ok(()) => {
                self.unwell.remove(&tenant);
            }
            Err(error) => {
                if self.unwell.insert(tenant.clone()) {
                    let error = &*error;
                    tracing::warn!(error, tenant, "acts wait for core; will try again");
                }
                self.failed.insert(tenant);
            }
        }
        if self.failed.len() < FAILURES_MAX {
            return Ok(Turn::Taken);
        }
        self.failed.clear();
        Ok(Turn::Pause)
    }

    /// The next tenant of whom acts wait, in a circle, but for those that have failed.
    async fn next(&self, outbox: &Outbox) -> Result<Option<String>, OutboxError> {
        let mut after = self.last.clone();
        let mut is_second_half = after.is_empty();
        loop {
            match outbox.tenant_after(&after).await? {
                Some(tenant) if self.failed.contains(&tenant) => after = tenant,
                Some(tenant) => return Ok(Some(tenant)),
                None if is_second_half => return Ok(None),
                None => {
                    is_second_half = true;
                    after.clear();
                }
            }
        }
    }
}

/// Brings the oldest acts of a tenant.
async fn bring_some(
    outbox: &Outbox,
    core: &dyn Delivery,
    tenant: &str,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let oldest = outbox.oldest_of(tenant, ACTS_MAX).await?;
    if oldest.is_empty() {
        return Ok(());
    }
    let acts: Vec<ReportedAct> = oldest.iter().map(|it| it.act.clone()).collect();
    match core.bring(tenant, &acts).await {
        Ok(()) => outbox.forget(&oldest).await?,
        Err(DeliverError::Refused { .. }) => one_by_one(outbox, core, &oldest).await?,
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// One of them is not what core takes: the others are not held up by it.
async fn one_by_one(
    outbox: &Outbox,
    core: &dyn Delivery,
    waiting: &[Waiting],
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    for it in waiting {
        match core.bring(&it.tenant, std::slice::from_ref(&it.act)).await {
            Ok(()) => outbox.forget(std::slice::from_ref(it)).await?,
            Err(DeliverError::Refused { code }) => {
                tracing::error!(
                    code = "act_set_aside",
                    act.id = it.act.id,
                    refusal = code,
                    "core does not take an act: it is tried again at the next start"
                );
                outbox.set_aside(it).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

impl From<OutboxError> for DeliverError {
    fn from(error: OutboxError) -> Self {
        Self::Unavailable(Box::new(error))
    }
}
