//! Incarnations.

use sqlx::Connection as _;

use super::{BEGIN, FOR_UPDATE, SqlStore, unavailable};
use crate::store::StoreError;

const SELECT: &str = "SELECT value FROM store_meta WHERE name = 'incarnation'";

pub(super) async fn incarnation(store: &SqlStore) -> Result<i64, StoreError> {
    sqlx::query_scalar(SELECT)
        .fetch_one(store.pool())
        .await
        .map_err(unavailable)
}

pub(super) async fn new_incarnation(store: &SqlStore, at_least: i64) -> Result<i64, StoreError> {
    let mut writer = store.writer().await?;
    let mut transaction = writer
        .connection()
        .begin_with(BEGIN)
        .await
        .map_err(unavailable)?;
    // An epoch and an owner that nobody is, and a lease that has ended: all leases first, as everybody
    // locks rows.
    sqlx::query("UPDATE partition_lease SET owner = '', epoch = epoch + 1, lease_until_ms = 0")
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
    let before: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("{SELECT}{FOR_UPDATE}")))
        .fetch_one(&mut *transaction)
        .await
        .map_err(unavailable)?;
    let incarnation = at_least.max(before + 1);
    sqlx::query("UPDATE store_meta SET value = ? WHERE name = 'incarnation'")
        .bind(incarnation)
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
    transaction.commit().await.map_err(unavailable)?;
    writer.keep();
    Ok(incarnation)
}
