//! The archiver against real databases, files and keys.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_wrap,
    reason = "tests of little numbers"
)]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use btrust_consumers::archive::{ArchiveError, Archiver, Sealer};
use btrust_integrity::archive::checkpoint_line;
use btrust_integrity::checkpoint::Origin;
use btrust_integrity::events::{Told, checkpoint_events};
use btrust_integrity::tree::{Hash, Tree};
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

/// An event of the stream that tells a part of a checkpoint over all of `log`.
fn checkpoint(
    tenant: &str,
    number: u64,
    log: &[String],
    [chunk, n_chunks]: [u64; 2],
    leaves: &[String],
) -> String {
    let origin = Origin {
        tenant: tenant.to_owned(),
        incarnation: 1,
    };
    let told = Told {
        origin: &origin,
        number,
        size: log.len() as u64,
        root: root(log),
        note: &note(number),
        time: "2026-01-31T23:59:59.123Z",
        sequence: 10 * number + chunk,
        leaves,
    };
    let mut event: serde_json::Value = serde_json::from_str(&checkpoint_events(&told)[0]).unwrap();
    event["data"]["chunk"] = chunk.into();
    event["data"]["nChunks"] = n_chunks.into();
    event.to_string()
}

fn event(tenant: &str, id: &str, kind: &str, data: serde_json::Value) -> String {
    let subject = id.split('.').next().unwrap();
    json!({
        "specversion": "1.0", "id": id, "source": format!("/tenants/{tenant}"), "type": kind,
        "subject": subject, "time": "2026-01-31T23:59:59.123Z", "partitionkey": subject, "data": data,
    })
    .to_string()
}

fn note(number: u64) -> String {
    format!("log\n{number}\n\n— name signature\n")
}

/// The line of a checkpoint with the records since the one before.
fn line(number: u64, records: &[String]) -> String {
    let leaves: Vec<Hash> = records
        .iter()
        .map(|it| Hash::of_leaf(it.as_bytes()))
        .collect();
    checkpoint_line(&note(number), Some(&leaves))
}

/// The root of a log, base64.
fn root(records: &[String]) -> String {
    let mut tree = Tree::default();
    for record in records {
        tree.push(Hash::of_leaf(record.as_bytes()));
    }
    tree.root().base64()
}

async fn check_archive(world: &World) {
    // In the order of the log, which is not that of their coming.
    let log = [(2, 1), (1, 1), (1, 2), (2, 2), (1, 3), (1, 4)];
    let ids: Vec<String> = log.iter().map(|it| id(it.0, it.1)).collect();
    let log: Vec<String> = log.iter().map(|it| record("t", it.0, it.1)).collect();
    let others = [record("u", 9, 1)];
    let lines = |records: &[String], number| {
        let line = line(number, records);
        format!("{}\n{line}\n", records.join("\n"))
    };

    // The checkpoint comes before one of its records.
    world.take(&[log[1].clone(), others[0].clone()]).await;
    let first = checkpoint("t", 1, &log[..2], [0, 1], &ids[..2]);
    world.take(&[first]).await;
    world.clock.advance(MINUTE_MS);
    let sealer = world.sealer().await;
    assert_eq!(sealer.seal_due().await.unwrap(), 0, "a record is missing");
    world.take(&log[..1]).await;
    // A relay that has died publishes everything again.
    world
        .take(&[log[1].clone(), log[0].clone(), log[3].clone()])
        .await;
    // Two processes at once make one archive.
    let other = world.sealer().await;
    let both = tokio::join!(sealer.seal_due(), other.seal_due());
    assert_eq!(both.0.unwrap() + both.1.unwrap(), 1);
    assert_eq!(world.archive("t").await, lines(&log[..2], 1));

    // The next two checkpoints share a segment; one of them is told in two parts.
    world.take(&[log[2].clone(), log[4].clone()]).await;
    let told = [
        checkpoint("t", 2, &log[..4], [0, 2], &ids[2..3]),
        checkpoint("t", 2, &log[..4], [1, 2], &ids[3..4]),
        checkpoint("t", 3, &log[..5], [0, 1], &ids[4..5]),
        checkpoint("u", 1, &others, [0, 1], &[id(9, 1)]),
    ];
    world.take(&told).await;
    assert_eq!(sealer.seal_due().await.unwrap(), 0, "they are young");
    world.clock.advance(MINUTE_MS);
    assert_eq!(world.sealer().await.seal_due().await.unwrap(), 2);
    let parts = [(0..2, 1), (2..4, 2), (4..5, 3)];
    let all: String = parts.map(|(at, number)| lines(&log[at], number)).concat();
    assert_eq!(world.archive("t").await, all);
    assert_eq!(world.archive("u").await, lines(&others, 1));
    assert_eq!(sealer.segments("t").await.unwrap().len(), 2);
    let waiting = "SELECT id FROM archive_record";
    assert!(world.database.fetch(waiting, &[]).await.unwrap().is_empty());

    // Half of a checkpoint is none.
    let half = checkpoint("t", 4, &log, [0, 2], &ids[5..]);
    world.take(&[log[5].clone(), half]).await;
    world.clock.advance(MINUTE_MS);
    assert_eq!(sealer.seal_due().await.unwrap(), 0);
}

#[tokio::test]
async fn records_that_do_not_lead_to_the_signed_root_are_not_sealed() {
    let world = world("").await;
    let signed = [record("t", 1, 1), record("t", 2, 1)];
    let ids = [id(1, 1), id(2, 1)];
    let told = checkpoint("t", 1, &signed, [0, 1], &ids);
    let forged = signed[1].replace("changed", "ch4nged");
    world.take(&[signed[0].clone(), forged, told]).await;
    world.clock.advance(MINUTE_MS);
    assert_eq!(world.sealer().await.seal_due().await.unwrap(), 0);
    assert_eq!(world.archive("t").await, "");
}

#[tokio::test]
async fn records_are_sealed_in_the_order_that_checkpoints_say() {
    Box::pin(check_archive(&world("").await)).await;
}

#[tokio::test]
async fn they_are_on_mysql() {
    let server = MariaDb::start();
    let world = world(&server.database().await).await;
    Box::pin(check_archive(&world)).await;
}

#[tokio::test]
async fn a_segment_that_was_swapped_is_refused() {
    let world = world("").await;
    let log = [record("t", 1, 1), record("t", 1, 2)];
    let sealer = world.sealer().await;
    for (number, at) in [(1, 0), (2, 1)] {
        let told = checkpoint(
            "t",
            number,
            &log[..=at],
            [0, 1],
            &[id(1, number.cast_signed())],
        );
        world.take(&[log[at].clone(), told]).await;
        world.clock.advance(MINUTE_MS);
        assert_eq!(sealer.seal_due().await.unwrap(), 1);
    }
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

#[tokio::test]
async fn a_checkpoint_that_no_object_has_room_for_is_sealed_in_parts() {
    let world = world("").await;
    let log = [record("t", 1, 1), record("t", 1, 2)];
    let ids = [id(1, 1), id(1, 2)];
    world.take(&log).await;
    world.take(&[checkpoint("t", 1, &log, [0, 1], &ids)]).await;
    world.clock.advance(MINUTE_MS);
    let expected = format!("{}\n{}\n", log.join("\n"), line(1, &log));
    let sealer = world.sealer().await.in_parts_of(100);
    assert_eq!(sealer.seal_due().await.unwrap(), 1);
    let segments = sealer.segments("t").await.unwrap();
    assert_eq!(segments[0].n_bytes, expected.len() as i64);
    let lines = sealer.read("t", &segments[0]).await.unwrap();
    assert_eq!(String::from_utf8(lines).unwrap(), expected);
    let (mut folders, mut n_files) = (vec![world.dir.path().join("objects")], 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                n_files += 1;
            }
        }
    }
    assert_eq!(n_files, expected.len().div_ceil(100));
}

fn flip_last_byte(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(path, bytes).unwrap();
}
