//! Brings noted acts to core, at least once and in their order.

use std::time::Duration;

use async_trait::async_trait;

use btrust_platform::http::Shutdown;
use btrust_schemas::events::ReportedAct;

use super::outbox::{Outbox, OutboxError, Waiting};

/// Acts brought at a time.
///
/// Source: what core takes in one report.
const ACTS_MAX: i64 = 100;
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
    let mut is_well = true;
    loop {
        let brought = bring_some(&outbox, core).await;
        let pause = match brought {
            Ok(0) => LOOK_AGAIN,
            Ok(_) => Duration::ZERO,
            Err(error) => {
                if is_well {
                    let error = &*error;
                    tracing::warn!(error, "acts wait for core; will try again");
                }
                is_well = false;
                PAUSE
            }
        };
        if pause != PAUSE {
            is_well = true;
        }
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            () = outbox.filled(), if pause == LOOK_AGAIN => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Brings the oldest acts; returns how many have gone.
async fn bring_some(
    outbox: &Outbox,
    core: &dyn Delivery,
) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
    let oldest = outbox.oldest(ACTS_MAX).await?;
    let Some(first) = oldest.first() else {
        return Ok(0);
    };
    let acts: Vec<ReportedAct> = oldest.iter().map(|it| it.act.clone()).collect();
    match core.bring(&first.tenant, &acts).await {
        Ok(()) => outbox.forget(&oldest).await?,
        Err(DeliverError::Refused { .. }) => one_by_one(outbox, core, &oldest).await?,
        Err(error) => return Err(error.into()),
    }
    Ok(oldest.len())
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
                tracing::error!(act.id = it.act.id, code, "core will never record an act");
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
