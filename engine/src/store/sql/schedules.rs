//! Schedules.

use async_trait::async_trait;
use sqlx::QueryBuilder;

use super::rows::get;
use super::{Db, Row, SqlStore, unavailable};
use crate::store::StoreError;
use crate::store::schedules::{FiredRecord, ScheduleRecord, ScheduleStore};

const SELECT: &str = "SELECT tenant, name, partition_no, revision, definition, version, cron, time_zone, \
     overlap, catch_up, jitter_s, is_paused, sealed_input, done_until_ms, last_ms, \
     last_workflow, last_error, created_by, created_ms, changed_by, changed_ms FROM schedule WHERE ";
const INSERT: &str = "INSERT INTO schedule (tenant, name, partition_no, revision, definition, version, cron, \
     time_zone, overlap, catch_up, jitter_s, is_paused, sealed_input, \
     done_until_ms, last_ms, last_workflow, last_error, created_by, created_ms, changed_by, \
     changed_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
const REPLACE: &str = "UPDATE schedule SET revision = ?, definition = ?, version = ?, cron = ?, time_zone = ?, \
     overlap = ?, catch_up = ?, jitter_s = ?, is_paused = ?, \
     sealed_input = ?, done_until_ms = ?, changed_by = ?, changed_ms = ? \
     WHERE tenant = ? AND name = ? AND created_ms = ? AND revision = ?";
const PUT_FIRED: &str = "UPDATE schedule SET done_until_ms = ?, last_ms = ?, last_workflow = COALESCE(?, last_workflow), \
     last_error = ? WHERE tenant = ? AND name = ? AND created_ms = ? AND done_until_ms < ?";

#[async_trait]
impl ScheduleStore for SqlStore {
    async fn insert_schedule(&self, it: &ScheduleRecord) -> Result<bool, StoreError> {
        self.bounded(async {
            let mut writer = self.writer().await?;
            let inserted = sqlx::query(INSERT)
                .bind(&it.tenant)
                .bind(&it.name)
                .bind(it.partition)
                .bind(it.revision)
                .bind(&it.definition)
                .bind(it.version)
                .bind(&it.cron)
                .bind(&it.time_zone)
                .bind(&it.overlap)
                .bind(&it.catch_up)
                .bind(it.jitter_s)
                .bind(it.is_paused)
                .bind(&it.sealed_input)
                .bind(it.done_until_ms)
                .bind(it.last_ms)
                .bind(it.last_workflow.map(|it| it.to_string()))
                .bind(&it.last_error)
                .bind(&it.created_by)
                .bind(it.created_ms)
                .bind(&it.changed_by)
                .bind(it.changed_ms)
                .execute(writer.connection())
                .await;
            let is_new = match inserted {
                Ok(_) => true,
                Err(sqlx::Error::Database(error)) if error.is_unique_violation() => false,
                Err(error) => return Err(unavailable(error)),
            };
            writer.keep();
            Ok(is_new)
        })
        .await
    }

    async fn replace_schedule(&self, it: &ScheduleRecord) -> Result<bool, StoreError> {
        self.bounded(async {
            let mut writer = self.writer().await?;
            let replaced = sqlx::query(REPLACE)
                .bind(it.revision)
                .bind(&it.definition)
                .bind(it.version)
                .bind(&it.cron)
                .bind(&it.time_zone)
                .bind(&it.overlap)
                .bind(&it.catch_up)
                .bind(it.jitter_s)
                .bind(it.is_paused)
                .bind(&it.sealed_input)
                .bind(it.done_until_ms)
                .bind(&it.changed_by)
                .bind(it.changed_ms)
                .bind(&it.tenant)
                .bind(&it.name)
                .bind(it.created_ms)
                .bind(it.revision - 1)
                .execute(writer.connection())
                .await
                .map_err(unavailable)?;
            writer.keep();
            Ok(replaced.rows_affected() == 1)
        })
        .await
    }

    async fn delete_schedule(
        &self,
        tenant: &str,
        name: &str,
        revision: i64,
    ) -> Result<bool, StoreError> {
        self.bounded(async {
            let mut writer = self.writer().await?;
            let deleted =
                sqlx::query("DELETE FROM schedule WHERE tenant = ? AND name = ? AND revision = ?")
                    .bind(tenant)
                    .bind(name)
                    .bind(revision)
                    .execute(writer.connection())
                    .await
                    .map_err(unavailable)?;
            writer.keep();
            Ok(deleted.rows_affected() == 1)
        })
        .await
    }

    async fn find_schedule(
        &self,
        tenant: &str,
        name: &str,
    ) -> Result<Option<ScheduleRecord>, StoreError> {
        self.bounded(async {
            let mut query = QueryBuilder::<Db>::new(SELECT);
            query.push("tenant = ").push_bind(tenant);
            query.push(" AND name = ").push_bind(name);
            Ok(fetch(self, query).await?.pop())
        })
        .await
    }

    async fn list_schedules(
        &self,
        tenant: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ScheduleRecord>, StoreError> {
        self.bounded(async {
            let mut query = QueryBuilder::<Db>::new(SELECT);
            query.push("tenant = ").push_bind(tenant);
            query
                .push(" AND name > ")
                .push_bind(after.unwrap_or_default());
            query.push(" ORDER BY name LIMIT ").push_bind(limit);
            fetch(self, query).await
        })
        .await
    }

    async fn count_schedules(&self, tenant: &str) -> Result<i64, StoreError> {
        self.bounded(async {
            sqlx::query_scalar("SELECT COUNT(*) FROM schedule WHERE tenant = ?")
                .bind(tenant)
                .fetch_one(self.pool())
                .await
                .map_err(unavailable)
        })
        .await
    }

    async fn schedules_of(&self, partition: u8) -> Result<Vec<ScheduleRecord>, StoreError> {
        self.bounded(async {
            let mut query = QueryBuilder::<Db>::new(SELECT);
            query.push("partition_no = ").push_bind(partition);
            query.push(" ORDER BY tenant, name");
            fetch(self, query).await
        })
        .await
    }

    async fn put_fired(&self, it: &FiredRecord) -> Result<bool, StoreError> {
        self.bounded(async {
            let mut writer = self.writer().await?;
            let noted = sqlx::query(PUT_FIRED)
                .bind(it.done_until_ms)
                .bind(it.last_ms)
                .bind(it.workflow.map(|it| it.to_string()))
                .bind(&it.error)
                .bind(&it.tenant)
                .bind(&it.name)
                .bind(it.created_ms)
                .bind(it.done_until_ms)
                .execute(writer.connection())
                .await
                .map_err(unavailable)?;
            writer.keep();
            Ok(noted.rows_affected() == 1)
        })
        .await
    }
}

async fn fetch(
    store: &SqlStore,
    mut query: QueryBuilder<Db>,
) -> Result<Vec<ScheduleRecord>, StoreError> {
    let rows = query
        .build()
        .fetch_all(store.pool())
        .await
        .map_err(unavailable)?;
    rows.iter().map(record).collect()
}

fn record(row: &Row) -> Result<ScheduleRecord, StoreError> {
    let last_workflow: Option<String> = get(row, "last_workflow")?;
    let last_workflow = last_workflow.map(|it| it.parse()).transpose();
    Ok(ScheduleRecord {
        tenant: get(row, "tenant")?,
        name: get(row, "name")?,
        partition: get(row, "partition_no")?,
        revision: get(row, "revision")?,
        definition: get(row, "definition")?,
        version: get(row, "version")?,
        cron: get(row, "cron")?,
        time_zone: get(row, "time_zone")?,
        overlap: get(row, "overlap")?,
        catch_up: get(row, "catch_up")?,
        jitter_s: get(row, "jitter_s")?,
        is_paused: get(row, "is_paused")?,
        sealed_input: get(row, "sealed_input")?,
        done_until_ms: get(row, "done_until_ms")?,
        last_ms: get(row, "last_ms")?,
        last_workflow: last_workflow.map_err(|_| StoreError::Corrupt {
            what: "the column `last_workflow`".to_owned(),
        })?,
        last_error: get(row, "last_error")?,
        created_by: get(row, "created_by")?,
        created_ms: get(row, "created_ms")?,
        changed_by: get(row, "changed_by")?,
        changed_ms: get(row, "changed_ms")?,
    })
}
