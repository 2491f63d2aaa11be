//! Deletes the uploads that no submission named in time.

use std::time::Duration;

use super::{Gateway, uploads::UploadsError};

/// How often it looks.
pub const SWEEP_EVERY: Duration = Duration::from_mins(10);

/// Rounds of one look; what is left waits for the next.
const ROUNDS_MAX: usize = 100;

impl Gateway {
    /// Deletes what nobody named in [`super::UNNAMED_TTL_MS`]; returns how many.
    ///
    /// # Errors
    ///
    /// `UploadsError`; the next look tries again.
    pub async fn sweep(&self) -> Result<usize, UploadsError> {
        let mut n_deleted = 0;
        for _ in 0..ROUNDS_MAX {
            let now_ms = self.clock.now_ms();
            let mut n_of_round = 0;
            for key in self.uploads.unnamed(now_ms).await? {
                // The mark first: a submission that comes now is refused, and none
                // can name bytes that are gone. The row last: what is not deleted
                // now is found again.
                if !self.uploads.mark_deleting(key.object, now_ms).await? {
                    continue;
                }
                if let Err(error) = self.objects.delete(&key).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, object = %key.object, "an upload was not deleted");
                    continue;
                }
                self.uploads.forget(key.object).await?;
                n_of_round += 1;
            }
            if n_of_round == 0 {
                break;
            }
            n_deleted += n_of_round;
        }
        Ok(n_deleted)
    }

    pub(super) async fn sweep_for_ever(&self) {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        loop {
            ticks.tick().await;
            match self.sweep().await {
                Ok(0) => {}
                Ok(n_deleted) => tracing::info!(n_deleted, "deleted uploads that nobody named"),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "cannot look for uploads that nobody named");
                }
            }
        }
    }
}
