//! The archiver against real databases, files and keys.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use btrust_consumers::archive::{ArchiveError, Archiver, Sealer};
use btrust_platform::clock::ManualClock;
use btrust_platform::config::Settings;
use btrust_platform::consumers::{self, Sink};
use btrust_platform::data_dir::DataDir;
use btrust_platform::keys::LocalKeyring;
use btrust_platform::objects::{EvidenceStore, FileObjects};
use btrust_platform::relational::Relational;
use btrust_platform::streams::ReadRecord;
use btrust_platform::testing::MariaDb;
use btrust_platform::workflow_keys::SqliteWorkflowKeys;

const MINUTE_MS: i64 = 60_000;

struct World {
    database: Relational,
    archiver: Archiver,
    clock: Arc<ManualClock>,
    dir: tempfile::TempDir,
}

async fn world(url: &str) -> World {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::from_table([("DATABASE_URL", url)]);
    let location = consumers::location(&settings, &DataDir::new(dir.path())).unwrap();
    let database = consumers::open(&location).await.unwrap();
    let clock = Arc::new(ManualClock::new(1_000_000));
    World {
        archiver: Archiver::new(database.clone(), clock.clone()),
        database,
        clock,
        dir,
    }
}

impl World {
    /// As a process of its own would have it.
    async fn sealer(&self) -> Sealer {
        let path = |name: &str| self.dir.path().join(name);
        let keyring = LocalKeyring::open(&path("keyring.json")).unwrap();
        let keys = SqliteWorkflowKeys::open(&path("keys.sqlite"), Arc::new(keyring)).await;
        let keys = Arc::new(keys.unwrap());
        let objects = EvidenceStore::new(Arc::new(FileObjects::new(path("objects"))), keys.clone());
        let (database, clock) = (self.database.clone(), self.clock.clone());
        Sealer::new(database, objects, keys, clock).every(MINUTE_MS)
    }

    async fn take(&self, events: &[String]) {
        let record = |event: &String| ReadRecord {
            partition_key: String::new(),
            bytes: Bytes::from(event.clone()),
            position: String::new(),
        };
        let records: Vec<ReadRecord> = events.iter().map(record).collect();
        self.archiver.take("0", &records).await.unwrap();
    }

    /// Everything that was sealed for a tenant, segment after segment, which follow each other without gaps.
    async fn archive(&self, tenant: &str) -> String {
        let sealer = self.sealer().await;
        let mut text = String::new();
        let mut size = 0;
        for segment in sealer.segments(tenant).await.unwrap() {
            assert_eq!(segment.leaves.start, size);
            size = segment.leaves.end;
            let lines = sealer.read(tenant, &segment).await.unwrap();
            assert_eq!(lines.len() as i64, segment.n_bytes);
            text.push_str(std::str::from_utf8(&lines).unwrap());
        }
        text
    }
}

fn id(workflow: u8, sequence: i64) -> String {
    format!("wf_{workflow:032x}.1.{sequence}.audit")
}

fn record(tenant: &str, workflow: u8, sequence: i64) -> String {
    event(
        tenant,
        &id(workflow, sequence),
        "com.btrust.workflow.changed",
        json!({ "ä": sequence }),
    )
}

fn checkpoint(tenant: &str, number: i64, size: i64, chunk: [i64; 2], leaves: &[String]) -> String {
    let sequence = 10 * number + chunk[0];
    let data = json!({
        "tenant": tenant, "incarnation": 1, "number": number, "size": size, "root": "r",
        "note": note(number), "chunk": chunk[0], "nChunks": chunk[1], "leaves": leaves,
    });
    let id = format!("checkpoints_{tenant}.1.{sequence}.audit");
    event(tenant, &id, "com.btrust.audit.checkpoint", data)
}

fn event(tenant: &str, id: &str, kind: &str, data: serde_json::Value) -> String {
    let subject = id.split('.').next().unwrap();
    json!({
        "specversion": "1.0", "id": id, "source": format!("/tenants/{tenant}"), "type": kind,
        "subject": subject, "time": "2026-01-31T23:59:59.123Z", "partitionkey": subject, "data": data,
    })
    .to_string()
}

fn note(number: i64) -> String {
    format!("log\n{number}\n\n— name signature\n")
}

fn line(number: i64) -> String {
    json!({ "checkpoint": note(number) }).to_string()
}

async fn check_archive(world: &World) {
    // Leaves 0 and 1 are of workflow 2 and 1; the checkpoint comes before one of them.
    world.take(&[record("t", 1, 1), record("u", 9, 1)]).await;
    world
        .take(&[checkpoint("t", 1, 2, [0, 1], &[id(2, 1), id(1, 1)])])
        .await;
    world.clock.advance(MINUTE_MS);
    let sealer = world.sealer().await;
    assert_eq!(sealer.seal_due().await.unwrap(), 0, "a record is missing");

    world.take(&[record("t", 2, 1)]).await;
    // A relay that has died publishes everything again.
    world
        .take(&[record("t", 1, 1), record("t", 2, 1), record("t", 2, 2)])
        .await;
    // Two processes at once make one archive.
    let other = world.sealer().await;
    let sealed = tokio::join!(sealer.seal_due(), other.seal_due());
    assert_eq!(sealed.0.unwrap() + sealed.1.unwrap(), 1);
    let first = [record("t", 2, 1), record("t", 1, 1), line(1), String::new()].join("\n");
    assert_eq!(world.archive("t").await, first);

    // The next two checkpoints share a segment; one of them is told in two parts.
    world.take(&[record("t", 1, 2), record("t", 1, 3)]).await;
    let leaves = [id(1, 2), id(2, 2), id(1, 3)];
    world
        .take(&[
            checkpoint("t", 2, 4, [0, 2], &leaves[..1]),
            checkpoint("t", 2, 4, [1, 2], &leaves[1..2]),
            checkpoint("t", 3, 5, [0, 1], &leaves[2..]),
            checkpoint("u", 1, 1, [0, 1], &[id(9, 1)]),
        ])
        .await;
    assert_eq!(sealer.seal_due().await.unwrap(), 0, "they are young");
    world.clock.advance(MINUTE_MS);
    assert_eq!(world.sealer().await.seal_due().await.unwrap(), 2);
    let second = [
        record("t", 1, 2),
        record("t", 2, 2),
        line(2),
        record("t", 1, 3),
        line(3),
    ];
    assert_eq!(
        world.archive("t").await,
        format!("{first}{}\n", second.join("\n"))
    );
    assert_eq!(
        world.archive("u").await,
        format!("{}\n{}\n", record("u", 9, 1), line(1))
    );
    assert_eq!(sealer.segments("t").await.unwrap().len(), 2);
    let waiting = "SELECT id FROM archive_record";
    assert!(world.database.fetch(waiting, &[]).await.unwrap().is_empty());

    // Half of a checkpoint is none.
    world
        .take(&[
            record("t", 1, 4),
            checkpoint("t", 4, 6, [0, 2], &[id(1, 4)]),
        ])
        .await;
    world.clock.advance(MINUTE_MS);
    assert_eq!(sealer.seal_due().await.unwrap(), 0);
}

#[tokio::test]
async fn records_are_sealed_in_the_order_that_checkpoints_say() {
    check_archive(&world("").await).await;
}

#[tokio::test]
async fn they_are_on_mysql() {
    let server = MariaDb::start();
    check_archive(&world(&server.database().await).await).await;
}

#[tokio::test]
async fn a_segment_that_was_swapped_is_refused() {
    let world = world("").await;
    world
        .take(&[
            record("t", 1, 1),
            checkpoint("t", 1, 1, [0, 1], &[id(1, 1)]),
        ])
        .await;
    world.take(&[record("t", 1, 2)]).await;
    world.clock.advance(MINUTE_MS);
    let sealer = world.sealer().await;
    sealer.seal_due().await.unwrap();
    world
        .take(&[checkpoint("t", 2, 2, [0, 1], &[id(1, 2)])])
        .await;
    world.clock.advance(MINUTE_MS);
    sealer.seal_due().await.unwrap();
    let [first, second] = &sealer.segments("t").await.unwrap()[..] else {
        panic!("two segments");
    };
    let mut swapped = first.clone();
    swapped.object.clone_from(&second.object);
    let read = sealer.read("t", &swapped).await;
    assert!(
        matches!(read, Err(ArchiveError::Tampered { last_number: 1 })),
        "{read:?}"
    );

    let mut files = vec![world.dir.path().join("objects")];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(
                std::fs::read_dir(path)
                    .unwrap()
                    .map(|it| it.unwrap().path()),
            );
        } else {
            flip_last_byte(&path);
        }
    }
    let read = sealer.read("t", second).await;
    assert!(matches!(read, Err(ArchiveError::Objects(_))), "{read:?}");
}

fn flip_last_byte(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(path, bytes).unwrap();
}
