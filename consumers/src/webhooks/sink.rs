//! Takes records of the audit stream and makes deliveries of them.

use std::sync::Arc;

use async_trait::async_trait;

use btrust_platform::consumers::{Sink, SinkError};
use btrust_platform::streams::ReadRecord;

use super::event::{Happening, happenings};
use super::store::StoreError;
use super::{EVENT_AGE_MS_MAX, Webhooks, metrics};

/// The reading side of webhooks. A stream that is read again makes nothing twice: deliveries are known by their
/// ids for as long as an event is young enough to make one.
pub struct WebhookSink(pub(super) Arc<Webhooks>);

#[async_trait]
impl Sink for WebhookSink {
    fn name(&self) -> &'static str {
        "webhooks"
    }

    async fn take(&self, _: &str, records: &[ReadRecord]) -> Result<(), SinkError> {
        let found = records.iter().flat_map(read).collect::<Vec<_>>();
        self.0.enqueue(found).await.map_err(SinkError::new)
    }
}

/// What a record tells; one that nobody can read tells nothing, and says so.
fn read(record: &ReadRecord) -> Vec<Happening> {
    happenings(&record.bytes).unwrap_or_else(|error| {
        metrics::UNREADABLE.inc();
        let (error, position) = (&error as &dyn std::error::Error, &record.position);
        tracing::error!(
            error,
            position,
            "a record of the audit stream is passed over by webhooks"
        );
        Vec::new()
    })
}

impl Webhooks {
    /// Makes deliveries of what is young enough.
    pub(super) async fn enqueue(&self, mut found: Vec<Happening>) -> Result<(), StoreError> {
        let now_ms = self.clock.now_ms();
        let n_found = found.len();
        found.retain(|it| now_ms.saturating_sub(EVENT_AGE_MS_MAX) <= it.at_ms);
        metrics::TOO_OLD.inc_by((n_found - found.len()) as u64);
        let n_new = self.store.enqueue(&found, now_ms).await?;
        if 0 < n_new {
            metrics::ENQUEUED.inc_by(n_new as u64);
            self.due.notify_one();
        }
        Ok(())
    }
}
