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
    /// [`UploadsError`]; the next look tries again.
    pub async fn sweep(&self) -> Result<usize, UploadsError> {
        let mut n_deleted = 0;
        for _ in 0..ROUNDS_MAX {
            let unnamed = self.uploads.unnamed(self.clock.now_ms()).await?;
            if unnamed.is_empty() {
                break;
            }
            for key in unnamed {
                // The row first: a submission that comes now is refused, and none
                // can name bytes that are gone.
                if !self.uploads.take_unnamed(key.object).await? {
                    continue;
                }
                n_deleted += 1;
                if let Err(error) = self.objects.delete(&key).await {
                    // Sealed under the workflow's key, it goes with the workflow.
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, object = %key.object, "an upload was not deleted");
                }
            }
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
