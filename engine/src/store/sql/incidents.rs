//! Marks on workflows that a fault has stopped.

use btrust_schemas::ids::WorkflowId;

use super::{SqlStore, unavailable};
use crate::store::StoreError;

pub(super) async fn put_incident(
    store: &SqlStore,
    workflow: WorkflowId,
    code: &str,
) -> Result<(), StoreError> {
    let mut writer = store.writer().await?;
    sqlx::query("UPDATE snapshot SET incident = ? WHERE workflow = ?")
        .bind(code)
        .bind(workflow.to_string())
        .execute(writer.connection())
        .await
        .map_err(unavailable)?;
    writer.keep();
    Ok(())
}
