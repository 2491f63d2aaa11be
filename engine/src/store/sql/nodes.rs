//! The registry of nodes, and the leases that go with it.

use std::collections::BTreeSet;

use async_trait::async_trait;
use sqlx::{Connection as _, QueryBuilder};

use super::leases::{database_now, last_batch};
use super::rows::get;
use super::{BEGIN, Connection, Db, FOR_UPDATE_OF_FREE, Row, SELECT_NOW_MS, SqlStore, unavailable};
use crate::store::nodes::{LeaseRecord, NodeEntry, NodeRecord, NodeStore, Survey};
use crate::store::{Acquired, EMBEDDED_LEASE_MS, Fence, OwnedPartition, StoreError};

/// How long the entry of a dead node is kept, ms: a day, for whoever looks at the table.
const DEAD_KEPT_MS: i64 = 24 * 3_600_000;

#[async_trait]
impl NodeStore for SqlStore {
    async fn join(
        &self,
        entry: &NodeEntry,
        earlier: Option<&str>,
        lease_ms: i64,
    ) -> Result<i64, StoreError> {
        self.bounded(join(self, entry, earlier, lease_ms)).await
    }

    async fn renew(&self, node: &str, lease_ms: i64) -> Result<bool, StoreError> {
        self.bounded(renew(self, node, lease_ms)).await
    }

    async fn survey(&self) -> Result<Survey, StoreError> {
        self.bounded(survey(self)).await
    }

    async fn take(&self, node: &str, partitions: &[u8]) -> Result<Acquired, StoreError> {
        self.bounded(take(self, node, partitions)).await
    }

    async fn give_back(&self, node: &str, fences: &[Fence]) -> Result<(), StoreError> {
        self.bounded(give_back(self, node, fences)).await
    }

    async fn leave(&self, node: &str) -> Result<(), StoreError> {
        self.bounded(leave(self, node)).await
    }
}

async fn join(
    store: &SqlStore,
    entry: &NodeEntry,
    earlier: Option<&str>,
    lease_ms: i64,
) -> Result<i64, StoreError> {
    let mut writer = store.writer().await?;
    let mut transaction = writer
        .connection()
        .begin_with(BEGIN)
        .await
        .map_err(unavailable)?;
    let now_ms = database_now(&mut transaction).await.map_err(unavailable)?;
    sqlx::query("DELETE FROM node WHERE node = ? OR seen_until_ms < ?")
        .bind(earlier.unwrap_or_default())
        .bind(now_ms - DEAD_KEPT_MS)
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
    sqlx::query("INSERT INTO node (node, url, started_ms, seen_until_ms) VALUES (?, ?, ?, ?)")
        .bind(&entry.node)
        .bind(&entry.url)
        .bind(now_ms)
        .bind(now_ms.saturating_add(lease_ms))
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
    let incarnation = incarnation(&mut transaction).await?;
    transaction.commit().await.map_err(unavailable)?;
    writer.keep();
    Ok(incarnation)
}

async fn renew(store: &SqlStore, node: &str, lease_ms: i64) -> Result<bool, StoreError> {
    let mut writer = store.writer().await?;
    // One statement that reads the clock itself: nobody can have found the node dead in between.
    let mut query = QueryBuilder::<Db>::new("UPDATE node SET seen_until_ms = (");
    query.push(SELECT_NOW_MS).push(") + ").push_bind(lease_ms);
    query.push(" WHERE node = ").push_bind(node);
    query
        .push(" AND (")
        .push(SELECT_NOW_MS)
        .push(") < seen_until_ms");
    let renewed = query
        .build()
        .execute(writer.connection())
        .await
        .map_err(unavailable)?;
    writer.keep();
    Ok(renewed.rows_affected() == 1)
}

async fn survey(store: &SqlStore) -> Result<Survey, StoreError> {
    let mut query = QueryBuilder::<Db>::new("SELECT node, url, started_ms FROM node WHERE (");
    query
        .push(SELECT_NOW_MS)
        .push(") < seen_until_ms ORDER BY node");
    let rows = query
        .build()
        .fetch_all(store.pool())
        .await
        .map_err(unavailable)?;
    let node = |row: &Row| {
        Ok(NodeRecord {
            node: get(row, "node")?,
            url: get(row, "url")?,
            started_ms: get(row, "started_ms")?,
        })
    };
    let nodes: Vec<NodeRecord> = rows.iter().map(node).collect::<Result<_, StoreError>>()?;
    let rows =
        sqlx::query("SELECT partition_no, owner, epoch FROM partition_lease ORDER BY partition_no")
            .fetch_all(store.pool())
            .await
            .map_err(unavailable)?;
    let mut leases = Vec::with_capacity(rows.len());
    for row in &rows {
        let lease = lease(row)?;
        if nodes.iter().any(|it| it.node == lease.owner) {
            leases.push(lease);
        }
    }
    Ok(Survey { nodes, leases })
}

async fn take(store: &SqlStore, node: &str, partitions: &[u8]) -> Result<Acquired, StoreError> {
    let mut writer = store.writer().await?;
    let mut transaction = writer
        .connection()
        .begin_with(BEGIN)
        .await
        .map_err(unavailable)?;
    // First the rows, then who lives: under their lock nobody else can take them, and whoever has died
    // by then cannot come back.
    let leases = lock_free(&mut transaction, partitions).await?;
    let living = living(&mut transaction).await?;
    let incarnation = incarnation(&mut transaction).await?;
    let mut acquired = Acquired {
        incarnation,
        partitions: Vec::new(),
    };
    if !living.contains(node) {
        return Ok(acquired);
    }
    let now_ms = database_now(&mut transaction).await.map_err(unavailable)?;
    for lease in leases.iter().filter(|it| !living.contains(&it.owner)) {
        let epoch = lease.epoch + 1;
        sqlx::query(
            "UPDATE partition_lease SET owner = ?, epoch = ?, lease_until_ms = ? \
             WHERE partition_no = ?",
        )
        .bind(node)
        .bind(epoch)
        // It lasts as long as its node lives, which the registry says.
        .bind(now_ms.saturating_add(EMBEDDED_LEASE_MS))
        .bind(lease.partition)
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
        let (last_batch, last_commit_ms) = last_batch(&mut transaction, lease.partition).await?;
        acquired.partitions.push(OwnedPartition {
            partition: lease.partition,
            epoch,
            last_batch,
            last_commit_ms,
        });
    }
    transaction.commit().await.map_err(unavailable)?;
    writer.keep();
    Ok(acquired)
}

async fn give_back(store: &SqlStore, node: &str, fences: &[Fence]) -> Result<(), StoreError> {
    let mut writer = store.writer().await?;
    let mut transaction = writer
        .connection()
        .begin_with(BEGIN)
        .await
        .map_err(unavailable)?;
    for fence in fences {
        sqlx::query(
            "UPDATE partition_lease SET owner = '', lease_until_ms = 0 \
             WHERE partition_no = ? AND epoch = ? AND owner = ?",
        )
        .bind(fence.partition)
        .bind(fence.epoch)
        .bind(node)
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
    }
    transaction.commit().await.map_err(unavailable)?;
    writer.keep();
    Ok(())
}

async fn leave(store: &SqlStore, node: &str) -> Result<(), StoreError> {
    let mut writer = store.writer().await?;
    // Whatever names a node that is not there is free.
    sqlx::query("DELETE FROM node WHERE node = ?")
        .bind(node)
        .execute(writer.connection())
        .await
        .map_err(unavailable)?;
    writer.keep();
    Ok(())
}

/// Locks the rows of these partitions that nobody else has locked, in the order of their numbers.
async fn lock_free(
    connection: &mut Connection,
    partitions: &[u8],
) -> Result<Vec<LeaseRecord>, StoreError> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = QueryBuilder::<Db>::new(
        "SELECT partition_no, owner, epoch FROM partition_lease WHERE partition_no IN (",
    );
    let mut numbers = query.separated(", ");
    for partition in partitions {
        numbers.push_bind(*partition);
    }
    query
        .push(") ORDER BY partition_no")
        .push(FOR_UPDATE_OF_FREE);
    let rows = query
        .build()
        .fetch_all(connection)
        .await
        .map_err(unavailable)?;
    rows.iter().map(lease).collect()
}

async fn living(connection: &mut Connection) -> Result<BTreeSet<String>, StoreError> {
    let mut query = QueryBuilder::<Db>::new("SELECT node FROM node WHERE (");
    query.push(SELECT_NOW_MS).push(") < seen_until_ms");
    let rows = query
        .build()
        .fetch_all(connection)
        .await
        .map_err(unavailable)?;
    rows.iter().map(|row| get(row, "node")).collect()
}

async fn incarnation(connection: &mut Connection) -> Result<i64, StoreError> {
    sqlx::query_scalar("SELECT value FROM store_meta WHERE name = 'incarnation'")
        .fetch_one(connection)
        .await
        .map_err(unavailable)
}

fn lease(row: &Row) -> Result<LeaseRecord, StoreError> {
    Ok(LeaseRecord {
        partition: get(row, "partition_no")?,
        owner: get(row, "owner")?,
        epoch: get(row, "epoch")?,
    })
}
