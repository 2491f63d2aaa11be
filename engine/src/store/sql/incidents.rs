//! Marks on workflows that a fault has stopped.

use sqlx::Connection as _;

use btrust_schemas::ids::WorkflowId;

use super::leases::lost;
use super::{BEGIN, SqlStore, unavailable};
use crate::store::{Committed, Fence, StoreError};

pub(super) async fn put_incident(
    store: &SqlStore,
    workflow: WorkflowId,
    code: &str,
    fence: Fence,
) -> Result<Committed, StoreError> {
    let mut writer = store.writer().await?;
    let mut transaction = writer
        .connection()
        .begin_with(BEGIN)
        .await
        .map_err(unavailable)?;
    let fenced = lost(&mut transaction, &[fence]).await?;
    if fenced.is_empty() {
        sqlx::query("UPDATE snapshot SET incident = ? WHERE workflow = ?")
            .bind(code)
            .bind(workflow.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
    }
    transaction.commit().await.map_err(unavailable)?;
    writer.keep();
    Ok(Committed { fenced })
}
