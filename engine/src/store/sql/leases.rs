//! Who owns a partition, and how far its journal is.

use std::collections::BTreeMap;

use sqlx::{Connection as _, QueryBuilder};

use super::rows::get;
use super::{
    BEGIN, Connection, Db, FOR_UPDATE, Row, SELECT_NOW_MS, SqlStore, WRITE_ANYTHING, unavailable,
};
use crate::store::{AcquireRequest, Acquired, Fence, OwnedPartition, StoreError, Takeover};

/// Lengths of the list of leases that a statement names: few texts, so that all stay prepared.
/// There are at most 256 partitions.
const LIST_LENGTHS: [usize; 5] = [1, 4, 16, 64, 256];

/// A lease row, locked until the end of the transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    pub epoch: i64,
    pub until_ms: i64,
}

/// Takes over partitions under a new epoch.
pub(super) async fn acquire(
    store: &SqlStore,
    request: &AcquireRequest,
) -> Result<Acquired, StoreError> {
    let mut writer = store.writer().await?;
    let mut transaction = writer
        .connection()
        .begin_with(BEGIN)
        .await
        .map_err(unavailable)?;
    let held = lock_leases(&mut transaction, &request.partitions).await?;
    let now_ms = database_now(&mut transaction).await.map_err(unavailable)?;
    let incarnation = sqlx::query_scalar("SELECT value FROM store_meta WHERE name = 'incarnation'")
        .fetch_one(&mut *transaction)
        .await
        .map_err(unavailable)?;
    let mut partitions = Vec::with_capacity(request.partitions.len());
    for &partition in &request.partitions {
        let lease = held.get(&partition).copied();
        let until_ms = lease.map_or(0, |it| it.until_ms);
        if request.takeover == Takeover::WhenExpired && now_ms < until_ms {
            continue;
        }
        let epoch = lease.map_or(0, |it| it.epoch) + 1;
        let until_ms = now_ms.saturating_add(request.lease_ms);
        let write = if lease.is_some() {
            "UPDATE partition_lease SET owner = ?, epoch = ?, lease_until_ms = ? \
             WHERE partition_no = ?"
        } else {
            "INSERT INTO partition_lease (owner, epoch, lease_until_ms, partition_no) \
             VALUES (?, ?, ?, ?)"
        };
        sqlx::query(write)
            .bind(&request.owner)
            .bind(epoch)
            .bind(until_ms)
            .bind(partition)
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        let (last_batch, last_commit_ms) = last_batch(&mut transaction, partition).await?;
        partitions.push(OwnedPartition {
            partition,
            epoch,
            last_batch,
            last_commit_ms,
        });
    }
    transaction.commit().await.map_err(unavailable)?;
    writer.keep();
    Ok(Acquired {
        incarnation,
        partitions,
    })
}

/// The last batch of each partition, under the lock that a commit takes; durable when this returns.
pub(super) async fn last_batches(
    store: &SqlStore,
    partitions: &[u8],
) -> Result<Vec<i64>, StoreError> {
    let mut writer = store.writer().await?;
    let mut lock = writer
        .connection()
        .begin_with(BEGIN)
        .await
        .map_err(unavailable)?;
    lock_leases(&mut lock, partitions).await?;
    let mut batches = Vec::with_capacity(partitions.len());
    for &partition in partitions {
        batches.push(last_batch(&mut lock, partition).await?.0);
    }
    if let Some(write) = WRITE_ANYTHING {
        sqlx::query(write)
            .execute(&mut *lock)
            .await
            .map_err(unavailable)?;
    }
    lock.commit().await.map_err(unavailable)?;
    writer.keep();
    Ok(batches)
}

/// Locks the lease rows of these partitions in the order of their numbers; those that nobody ever
/// owned may have none.
pub(crate) async fn lock_leases(
    connection: &mut Connection,
    partitions: &[u8],
) -> Result<BTreeMap<u8, Lease>, StoreError> {
    let Some(last) = partitions.last() else {
        return Ok(BTreeMap::new());
    };
    let mut query = QueryBuilder::<Db>::new(
        "SELECT partition_no, epoch, lease_until_ms FROM partition_lease WHERE partition_no IN (",
    );
    let mut numbers = query.separated(", ");
    let n_padded = LIST_LENGTHS
        .into_iter()
        .find(|it| partitions.len() <= *it)
        .unwrap_or(partitions.len());
    let padding = std::iter::repeat_n(last, n_padded - partitions.len());
    for partition in partitions.iter().chain(padding) {
        numbers.push_bind(*partition);
    }
    query.push(") ORDER BY partition_no").push(FOR_UPDATE);
    let rows = query
        .build()
        .fetch_all(connection)
        .await
        .map_err(unavailable)?;
    let lease = |row: &Row| {
        let lease = Lease {
            epoch: get(row, "epoch")?,
            until_ms: get(row, "lease_until_ms")?,
        };
        Ok((get(row, "partition_no")?, lease))
    };
    rows.iter().map(lease).collect()
}

/// Those of these partitions whose row names another epoch, or whose lease has ended; all rows stay locked
/// until the end of the transaction.
pub(crate) async fn lost(
    connection: &mut Connection,
    fences: &[Fence],
) -> Result<Vec<u8>, StoreError> {
    let numbers: Vec<u8> = fences.iter().map(|it| it.partition).collect();
    let leases = lock_leases(connection, &numbers).await?;
    // After the locks, for which others may have let us wait.
    let now_ms = database_now(connection).await.map_err(unavailable)?;
    let is_ours = |fence: &&Fence| {
        leases
            .get(&fence.partition)
            .is_some_and(|it| it.epoch == fence.epoch && now_ms < it.until_ms)
    };
    let lost = fences.iter().filter(|it| !is_ours(it));
    Ok(lost.map(|it| it.partition).collect())
}

/// The database's own clock, ms since the epoch; leases are judged by it alone.
pub(crate) async fn database_now(connection: &mut Connection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(SELECT_NOW_MS)
        .fetch_one(connection)
        .await
}

/// The last batch of a partition and the time of its commit; zeros where there is none. The row of the
/// last batch may have been purged: then the floor has both.
pub(super) async fn last_batch(
    connection: &mut Connection,
    partition: u8,
) -> Result<(i64, i64), StoreError> {
    let mut last = (0, 0);
    for statement in [
        "SELECT batch, committed_ms FROM partition_floor WHERE partition_no = ?",
        "SELECT batch, committed_ms FROM journal WHERE partition_no = ? ORDER BY batch DESC LIMIT 1",
    ] {
        let found: Option<(i64, i64)> = sqlx::query_as(statement)
            .bind(partition)
            .fetch_optional(&mut *connection)
            .await
            .map_err(unavailable)?;
        last = last.max(found.unwrap_or_default());
    }
    Ok(last)
}
