//! The Merkle logs of tenants, as the sequencer keeps them.

use async_trait::async_trait;

use btrust_integrity::tree::{Hash, Tile, TileId};
use btrust_schemas::ids::WorkflowId;

use super::{Cursor, OutboxRow, StoreError, Takeover};

/// Leaves of one range: more than the rows of any round, so that the ranges around a leaf are found.
pub const RANGE_LEAVES_MAX: i64 = 16_384;

/// Keeps who sequences, how far, and the logs with their checkpoints and keys.
#[async_trait]
pub trait AuditLogStore: Send + Sync {
    /// Takes over the sequencing under a new epoch; `None` while somebody else may do it.
    async fn take_sequencer(
        &self,
        owner: &str,
        lease_ms: i64,
        takeover: Takeover,
    ) -> Result<Option<i64>, StoreError>;

    /// Moves the end of the lease on; `false` when somebody else has it.
    async fn renew_sequencer(&self, epoch: i64, lease_ms: i64) -> Result<bool, StoreError>;

    /// How far each partition is in the logs; one that is not in the answer is at 0.
    async fn sequenced(&self) -> Result<Vec<Cursor>, StoreError>;

    /// Every log of a tenant, the oldest first.
    async fn logs(&self, tenant: &str) -> Result<Vec<LogRecord>, StoreError>;

    /// The tiles of a log that exist among these.
    async fn tiles(
        &self,
        tenant: &str,
        incarnation: i64,
        wanted: &[TileId],
    ) -> Result<Vec<Tile>, StoreError>;

    /// Writes a round in one transaction.
    async fn append(&self, epoch: i64, round: &Round) -> Result<Appended, StoreError>;

    /// Events of checkpoints that the stream may not have after `after`, by tenant and the oldest first.
    async fn untold(
        &self,
        after: Option<&UntoldPlace>,
        limit: u32,
    ) -> Result<Vec<Untold>, StoreError>;

    /// Forgets events that the stream has.
    async fn told(&self, told: &[Untold]) -> Result<(), StoreError>;

    /// What waits outside of its log until something is mended.
    async fn set_aside(&self) -> Result<Vec<SetAside>, StoreError>;

    /// Rows of a partition after batch `after`, in their order, with those that cannot be read.
    async fn public_rows(
        &self,
        partition: u8,
        after: i64,
        limit: u32,
    ) -> Result<Vec<PublicRow>, StoreError>;

    /// Whose a workflow or an act log is, as the rows beside the journal have it.
    async fn tenant_of(&self, subject: &str) -> Result<Option<String>, StoreError>;

    /// Checkpoints of a log after number `after`, in their order.
    async fn checkpoints(
        &self,
        tenant: &str,
        incarnation: i64,
        after: i64,
        limit: u32,
    ) -> Result<Vec<CheckpointRecord>, StoreError>;

    /// The ranges of a log that hold a leaf from `from` to before `to`, in their order.
    async fn ranges(
        &self,
        tenant: &str,
        incarnation: i64,
        from: i64,
        to: i64,
    ) -> Result<Vec<RangeRecord>, StoreError>;

    /// The range that a batch of a partition is in, if it is in the log of this tenant.
    async fn range_of(
        &self,
        tenant: &str,
        partition: u8,
        batch: i64,
    ) -> Result<Option<RangeRecord>, StoreError>;

    /// Public events of one workflow, the oldest first.
    async fn public_of(&self, workflow: WorkflowId) -> Result<Vec<OutboxRow>, StoreError>;

    /// Public events of the row of an act log that has its record of this number.
    async fn public_act(
        &self,
        log: WorkflowId,
        sequence: u64,
    ) -> Result<Option<OutboxRow>, StoreError>;

    /// Every key, the first one first.
    async fn audit_keys(&self) -> Result<Vec<AuditKey>, StoreError>;

    /// Makes a key the one that signs, and takes the private half of the one before away. `false` when the
    /// key before is not `number - 1`, or a checkpoint was made after `created_ms`: look again.
    async fn put_audit_key(&self, key: &AuditKey) -> Result<bool, StoreError>;
}

/// What has become of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    Written,
    /// Somebody else sequences now; nothing was written.
    Fenced,
    /// Another key signs now; nothing was written.
    KeyEnded,
}

/// Everything that one round of the sequencer writes.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// Number of the key that has signed.
    pub key_number: i64,
    pub cursors: Vec<Cursor>,
    pub logs: Vec<LogRound>,
    /// What is set aside from now on, or waits from another batch on.
    pub aside: Vec<SetAside>,
    /// Tenants and partitions of which nothing is set aside any more.
    pub resumed: Vec<(String, u8)>,
}

/// Records of a tenant in a partition, from a batch on, that have no place in its log yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    pub tenant: String,
    pub partition: u8,
    /// The first one.
    pub batch: i64,
    /// Stable, for programs.
    pub code: String,
    pub since_ms: i64,
}

/// A row of the journal as the sequencer takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicRow {
    /// Id of a workflow or an act log.
    pub subject: String,
    pub batch: i64,
    pub committed_ms: i64,
    /// `None` when it cannot be read.
    pub public: Option<String>,
}

/// What a round adds to one log.
#[derive(Clone, Debug)]
pub struct LogRound {
    /// The log after the round.
    pub log: LogRecord,
    pub tiles: Vec<Tile>,
    pub ranges: Vec<RangeRecord>,
    pub checkpoint: CheckpointRecord,
    /// Lines for the stream.
    pub events: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogRecord {
    pub tenant: String,
    pub incarnation: i64,
    pub size: i64,
    pub n_checkpoints: i64,
    pub n_events: i64,
    pub key_number: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointRecord {
    pub tenant: String,
    pub incarnation: i64,
    pub number: i64,
    pub size: i64,
    pub at_ms: i64,
    pub note: String,
}

/// Batches of a partition whose records of one tenant are leaves that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeRecord {
    pub incarnation: i64,
    pub first_leaf: i64,
    pub n_leaves: i64,
    pub partition: u8,
    pub first_batch: i64,
    pub last_batch: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untold {
    pub at: UntoldPlace,
    /// `None` when they cannot be read.
    pub events: Option<String>,
}

/// Which checkpoint is not told yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UntoldPlace {
    pub tenant: String,
    pub incarnation: i64,
    pub number: i64,
}

/// A key that signs checkpoints, its private half sealed under the platform's keyring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditKey {
    /// From 1.
    pub number: i64,
    /// `name+hash+key`.
    pub public_key: String,
    pub wrapped: Vec<u8>,
    /// Empty once it has ended.
    pub sealed: Vec<u8>,
    /// The statement of the key before; `None` for the first.
    pub statement: Option<String>,
    pub created_ms: i64,
}

/// Runs every rule against `store`, which has not sequenced anything yet.
///
/// # Panics
///
/// At the first rule that the store breaks.
#[expect(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a rule that is broken ends the test that runs it; one store goes through all of them"
)]
pub async fn check(store: &dyn AuditLogStore) {
    let lease = |owner, takeover| store.take_sequencer(owner, 60_000, takeover);
    let first = lease("one", Takeover::WhenExpired).await.unwrap().unwrap();
    assert_eq!(lease("two", Takeover::WhenExpired).await.unwrap(), None);
    let second = lease("two", Takeover::Always).await.unwrap().unwrap();
    assert!(first < second);
    assert!(!store.renew_sequencer(first, 60_000).await.unwrap());
    assert!(store.renew_sequencer(second, 60_000).await.unwrap());

    let key = |number, created_ms| AuditKey {
        number,
        public_key: format!("key+{number}"),
        wrapped: vec![1],
        sealed: vec![2],
        statement: (1 < number).then(|| "statement\n".to_owned()),
        created_ms,
    };
    assert!(store.put_audit_key(&key(1, 5)).await.unwrap());
    assert!(!store.put_audit_key(&key(1, 5)).await.unwrap());
    assert!(!store.put_audit_key(&key(3, 5)).await.unwrap());

    let tile = |place, n: u8| Tile {
        id: TileId {
            level: 0,
            index: place,
        },
        hashes: (0..n).map(|it| Hash([it; 32])).collect(),
    };
    let range = |first_leaf, first_batch| RangeRecord {
        incarnation: 1,
        first_leaf,
        n_leaves: 3,
        partition: 7,
        first_batch,
        last_batch: first_batch + 9,
    };
    let round = |number: i64, key_number| Round {
        key_number,
        cursors: vec![Cursor {
            partition: 7,
            batch: 10 * number,
        }],
        logs: vec![LogRound {
            log: LogRecord {
                tenant: "acme".to_owned(),
                incarnation: 1,
                size: 3 * number,
                n_checkpoints: number,
                n_events: number,
                key_number,
            },
            tiles: vec![tile(0, u8::try_from(3 * number).unwrap())],
            ranges: vec![range(3 * number - 3, 10 * number - 9)],
            checkpoint: CheckpointRecord {
                tenant: "acme".to_owned(),
                incarnation: 1,
                number,
                size: 3 * number,
                at_ms: 100 * number,
                note: "note\n".to_owned(),
            },
            events: format!("{{\"n\":{number}}}"),
        }],
        ..Round::default()
    };
    assert_eq!(
        store.append(first, &round(1, 1)).await.unwrap(),
        Appended::Fenced
    );
    assert_eq!(store.sequenced().await.unwrap(), []);
    assert_eq!(
        store.append(second, &round(1, 1)).await.unwrap(),
        Appended::Written
    );
    assert_eq!(
        store.append(second, &round(2, 1)).await.unwrap(),
        Appended::Written
    );
    // A key does not end before what it has signed.
    assert!(!store.put_audit_key(&key(2, 199)).await.unwrap());
    assert!(store.put_audit_key(&key(2, 200)).await.unwrap());
    assert_eq!(
        store.append(second, &round(3, 1)).await.unwrap(),
        Appended::KeyEnded
    );
    let keys = store.audit_keys().await.unwrap();
    assert_eq!(keys[0].sealed, b"");
    assert_eq!(keys[1], key(2, 200));

    let cursor = Cursor {
        partition: 7,
        batch: 20,
    };
    assert_eq!(store.sequenced().await.unwrap(), [cursor]);
    assert_eq!(
        store.logs("acme").await.unwrap(),
        [round(2, 1).logs[0].log.clone()]
    );
    assert_eq!(store.logs("other").await.unwrap(), []);
    let wanted = [tile(0, 6).id, tile(1, 1).id];
    assert_eq!(store.tiles("acme", 1, &wanted).await.unwrap(), [tile(0, 6)]);
    let checkpoints = store.checkpoints("acme", 1, 1, 9).await.unwrap();
    assert_eq!(checkpoints, [round(2, 1).logs[0].checkpoint.clone()]);
    assert_eq!(
        store.ranges("acme", 1, 2, 4).await.unwrap(),
        [range(0, 1), range(3, 11)]
    );
    assert_eq!(store.ranges("acme", 1, 3, 4).await.unwrap(), [range(3, 11)]);
    assert_eq!(
        store.range_of("acme", 7, 15).await.unwrap(),
        Some(range(3, 11))
    );
    assert_eq!(store.range_of("acme", 7, 21).await.unwrap(), None);
    assert_eq!(store.range_of("other", 7, 15).await.unwrap(), None);
    let untold = store.untold(None, 9).await.unwrap();
    let numbers: Vec<i64> = untold.iter().map(|it| it.at.number).collect();
    assert_eq!(numbers, [1, 2]);
    assert_eq!(untold[1].events.as_deref(), Some("{\"n\":2}"));
    let after = store.untold(Some(&untold[0].at), 9).await.unwrap();
    assert_eq!(after, untold[1..]);
    store.told(&untold[..1]).await.unwrap();
    assert_eq!(store.untold(None, 9).await.unwrap(), untold[1..]);
    let aside = |partition, batch| SetAside {
        tenant: "acme".to_owned(),
        partition,
        batch,
        code: "audit_row_damaged".to_owned(),
        since_ms: 5,
    };
    for (aside, resumed, left) in [
        (
            vec![aside(7, 3), aside(8, 1)],
            vec![],
            vec![aside(7, 3), aside(8, 1)],
        ),
        (
            vec![aside(8, 9)],
            vec![("acme".to_owned(), 7)],
            vec![aside(8, 9)],
        ),
    ] {
        let round = Round {
            key_number: 2,
            aside,
            resumed,
            ..Round::default()
        };
        assert_eq!(
            store.append(second, &round).await.unwrap(),
            Appended::Written
        );
        assert_eq!(store.set_aside().await.unwrap(), left);
    }
    let rows = store.public_rows(7, 0, 9).await.unwrap();
    assert!(rows.iter().all(|it| it.public.is_some()), "{rows:?}");
    assert_eq!(store.public_rows(251, 0, 9).await.unwrap(), []);
    assert_eq!(store.tenant_of("wf_nobody").await.unwrap(), None);
    let nobody = WorkflowId::new(9, [9; 15]);
    assert_eq!(store.public_of(nobody).await.unwrap(), []);
    assert_eq!(store.public_act(nobody, 1).await.unwrap(), None);
}
