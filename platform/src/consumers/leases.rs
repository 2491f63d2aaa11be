//! Who reads which shard, and how far: one row for each consumer and shard.

use crate::relational::{Relational, RelationalError};
use crate::streams::Stream;

const SELECT: &str = "SELECT shard, owner, epoch, until_ms, position, is_done FROM consumer_lease \
     WHERE consumer = ? AND stream = ?";
const INSERT: &str = "INSERT INTO consumer_lease (consumer, stream, shard, owner, epoch, until_ms, \
     position, is_done) VALUES (?, ?, ?, NULL, 0, 0, NULL, 0)";
const TAKE: &str = "UPDATE consumer_lease SET owner = ?, epoch = ?, until_ms = ? \
     WHERE consumer = ? AND stream = ? AND shard = ? AND epoch = ? AND is_done = 0";
const SELECT_POSITION: &str = "SELECT position FROM consumer_lease \
     WHERE consumer = ? AND stream = ? AND shard = ?";
const RENEW: &str = "UPDATE consumer_lease SET until_ms = ? \
     WHERE consumer = ? AND stream = ? AND shard = ? AND epoch = ?";
const CHECKPOINT: &str = "UPDATE consumer_lease SET position = ?, until_ms = ? \
     WHERE consumer = ? AND stream = ? AND shard = ? AND epoch = ?";
const FINISH: &str = "UPDATE consumer_lease SET is_done = 1, owner = NULL, until_ms = 0 \
     WHERE consumer = ? AND stream = ? AND shard = ? AND epoch = ?";
const RELEASE: &str = "UPDATE consumer_lease SET owner = NULL, until_ms = 0 \
     WHERE consumer = ? AND stream = ? AND shard = ? AND epoch = ?";

/// A row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseRow {
    pub shard: String,
    /// Who has it, or had it when it ended.
    pub owner: Option<String>,
    /// Counts the owners, from 0 for none.
    pub epoch: i64,
    /// Ms since the epoch.
    pub until_ms: i64,
    pub position: Option<String>,
    /// The shard has ended and was read to its end.
    pub is_done: bool,
}

impl LeaseRow {
    /// Who reads the shard now.
    #[must_use]
    pub fn owner_at(&self, now_ms: i64) -> Option<&str> {
        self.owner.as_deref().filter(|_| now_ms < self.until_ms)
    }
}

/// A shard that is one's own until somebody takes it under a later epoch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    pub shard: String,
    pub epoch: i64,
    /// Where to go on.
    pub position: Option<String>,
}

/// The leases of one consumer on one stream.
#[derive(Clone)]
pub struct Leases {
    database: Relational,
    consumer: String,
    stream: Stream,
}

impl Leases {
    #[must_use]
    pub fn new(database: Relational, consumer: &str, stream: Stream) -> Self {
        let consumer = consumer.to_owned();
        Self {
            database,
            consumer,
            stream,
        }
    }

    /// Every shard that was ever seen.
    ///
    /// # Errors
    ///
    /// [`RelationalError`].
    pub async fn list(&self) -> Result<Vec<LeaseRow>, RelationalError> {
        let values = [(&self.consumer).into(), self.stream.name().into()];
        let rows = self.database.fetch(SELECT, &values).await?;
        let row = |row: &crate::relational::Row| {
            Ok(LeaseRow {
                shard: row.text(0)?,
                owner: row.text_if_any(1)?,
                epoch: row.int(2)?,
                until_ms: row.int(3)?,
                position: row.text_if_any(4)?,
                is_done: row.int(5)? != 0,
            })
        };
        rows.iter().map(row).collect()
    }

    /// Makes a shard known, free and unread; one that is known stays as it is.
    ///
    /// # Errors
    ///
    /// [`RelationalError::Unavailable`].
    pub async fn add(&self, shard: &str) -> Result<(), RelationalError> {
        let values = [
            (&self.consumer).into(),
            self.stream.name().into(),
            shard.into(),
        ];
        match self.database.execute(INSERT, &values).await {
            Ok(_) | Err(RelationalError::Taken) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes a shard, from whoever has it, if nobody has taken it since it was seen under `epoch`.
    ///
    /// # Errors
    ///
    /// [`RelationalError`].
    pub async fn take(
        &self,
        shard: &str,
        epoch: i64,
        owner: &str,
        until_ms: i64,
    ) -> Result<Option<Lease>, RelationalError> {
        let mut transaction = self.database.begin().await?;
        let key = [
            (&self.consumer).into(),
            self.stream.name().into(),
            shard.into(),
        ];
        let mut values = vec![owner.into(), (epoch + 1).into(), until_ms.into()];
        values.extend(key);
        values.push(epoch.into());
        if transaction.execute(TAKE, &values).await? == 0 {
            return Ok(None);
        }
        let rows = transaction.fetch(SELECT_POSITION, &key).await?;
        let position = match rows.first() {
            Some(row) => row.text_if_any(0)?,
            None => None,
        };
        transaction.commit().await?;
        Ok(Some(Lease {
            shard: shard.to_owned(),
            epoch: epoch + 1,
            position,
        }))
    }

    /// Keeps a lease; `false` when it is somebody else's now.
    ///
    /// # Errors
    ///
    /// [`RelationalError::Unavailable`].
    pub async fn renew(&self, lease: &Lease, until_ms: i64) -> Result<bool, RelationalError> {
        self.change(RENEW, &[until_ms.into()], lease).await
    }

    /// Notes how far the shard was taken, and keeps the lease; `false` when it is somebody else's now.
    ///
    /// # Errors
    ///
    /// [`RelationalError::Unavailable`].
    pub async fn checkpoint(
        &self,
        lease: &Lease,
        position: &str,
        until_ms: i64,
    ) -> Result<bool, RelationalError> {
        self.change(CHECKPOINT, &[position.into(), until_ms.into()], lease)
            .await
    }

    /// Notes that the shard was read to its end; `false` when it is somebody else's now.
    ///
    /// # Errors
    ///
    /// [`RelationalError::Unavailable`].
    pub async fn finish(&self, lease: &Lease) -> Result<bool, RelationalError> {
        self.change(FINISH, &[], lease).await
    }

    /// Lets others have the shard at once; `false` when it is somebody else's already.
    ///
    /// # Errors
    ///
    /// [`RelationalError::Unavailable`].
    pub async fn release(&self, lease: &Lease) -> Result<bool, RelationalError> {
        self.change(RELEASE, &[], lease).await
    }

    async fn change(
        &self,
        sql: &str,
        values: &[crate::relational::Value<'_>],
        lease: &Lease,
    ) -> Result<bool, RelationalError> {
        let mut values = values.to_vec();
        values.extend_from_slice(&[
            (&self.consumer).into(),
            self.stream.name().into(),
            (&lease.shard).into(),
            lease.epoch.into(),
        ]);
        Ok(self.database.execute(sql, &values).await? == 1)
    }
}
