mod set_aside;

use std::path::Path;
use std::sync::Mutex;

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use btrust_integrity::archive::{self, Options};
use btrust_integrity::chain::Beginning;
use btrust_integrity::checkpoint::Checkpoint;
use btrust_integrity::keys::KeyRing;
use btrust_integrity::stream;
use btrust_integrity::tree::{Hash, verify_consistency, verify_inclusion};
use btrust_platform::clock::ManualClock;
use btrust_platform::keys::LocalKeyring;
use btrust_platform::random::SystemRandom;
use btrust_platform::streams::{JsonlStreams, read_jsonl};
use btrust_schemas::ids::WorkflowId;

use super::*;
use crate::store::conformance::first_write;
use crate::store::sqlite::SqliteStore;
use crate::store::{AcquireRequest, ActsWritten, Batch, Fence, WorkflowColumns, Write};

const NOW_MS: i64 = 1_800_000_000_000;
const PARTITIONS: [u8; 2] = [3, 200];

/// Takes nothing while it is told to fail; ends the sequencer's lease at its next append when told to.
struct Failing {
    streams: JsonlStreams,
    fails: Mutex<bool>,
    ends_lease_of: Mutex<Option<Arc<SqliteStore>>>,
}

#[async_trait]
impl Streams for Failing {
    async fn append(&self, stream: Stream, records: &[StreamRecord]) -> Result<(), StreamError> {
        if *self.fails.lock().unwrap() {
            let source = "the disk is away".into();
            return Err(StreamError::Unavailable { stream, source });
        }
        let store = self.ends_lease_of.lock().unwrap().take();
        if let Some(store) = store {
            sqlx::query("UPDATE audit_sequencer SET lease_until_ms = 0")
                .execute(store.pool())
                .await
                .unwrap();
        }
        self.streams.append(stream, records).await
    }
}

/// A journal that grows as the committer writes it, relayed at once.
struct World {
    dir: TempDir,
    store: Arc<SqliteStore>,
    streams: Arc<Failing>,
    clock: Arc<ManualClock>,
    fences: Vec<Fence>,
    batches: BTreeMap<u8, i64>,
    chains: BTreeMap<WorkflowId, (String, i64, String)>,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("state.sqlite"))
            .await
            .unwrap();
        let request = AcquireRequest {
            owner: "test".to_owned(),
            partitions: PARTITIONS.to_vec(),
            lease_ms: EMBEDDED_LEASE_MS,
            takeover: Takeover::Always,
        };
        let acquired = store.acquire(&request).await.unwrap();
        let fence = |it: &crate::store::OwnedPartition| Fence {
            partition: it.partition,
            epoch: it.epoch,
        };
        let streams = JsonlStreams::open(dir.path().join("streams")).unwrap();
        Self {
            fences: acquired.partitions.iter().map(fence).collect(),
            store: Arc::new(store),
            streams: Arc::new(Failing {
                streams,
                fails: Mutex::new(false),
                ends_lease_of: Mutex::default(),
            }),
            clock: Arc::new(ManualClock::new(NOW_MS)),
            batches: BTreeMap::new(),
            chains: BTreeMap::new(),
            dir,
        }
    }

    fn keys(&self) -> LocalKeyring {
        LocalKeyring::open(&self.dir.path().join("keyring.json")).unwrap()
    }

    fn sequencer(&self, n_events: i64) -> Sequencer {
        Sequencer::new(
            self.ports(),
            CheckpointSettings {
                n_events,
                age_ms: 60_000,
            },
        )
    }

    fn ports(&self) -> SequencerPorts {
        SequencerPorts {
            store: Arc::clone(&self.store) as _,
            log: Arc::clone(&self.store) as _,
            restore: Arc::clone(&self.store) as _,
            keys: Arc::new(self.keys()),
            streams: Arc::clone(&self.streams) as _,
            clock: Arc::clone(&self.clock) as _,
            random: SystemRandom::shared(),
            is_shared: false,
        }
    }

    fn reader(&self) -> AuditReader {
        AuditReader::new(Arc::clone(&self.store) as _, Arc::clone(&self.store) as _)
    }

    /// Commits and relays one event of workflow `n` of a tenant.
    async fn event(&mut self, tenant: &str, n: u8) {
        let partition = PARTITIONS[usize::from(n) % 2];
        self.event_of(tenant, WorkflowId::new(partition, [n; 15]))
            .await;
    }

    /// Commits and relays one event of a workflow.
    async fn event_of(&mut self, tenant: &str, workflow: WorkflowId) {
        let partition = workflow.partition();
        let start = || (tenant.to_owned(), 0, "0".repeat(64));
        let (tenant, sequence, previous) =
            self.chains.get(&workflow).cloned().unwrap_or_else(start);
        let sequence = sequence + 1;
        let hashed = format!(
            "{{\"specversion\":\"1.0\",\"id\":\"{workflow}.1.{sequence}.audit\",\
             \"source\":\"/tenants/{tenant}\",\"type\":\"com.btrust.workflow.changed\",\
             \"subject\":\"{workflow}\",\"time\":\"2026-01-31T23:59:59.123Z\",\
             \"partitionkey\":\"{workflow}\",\"sequence\":\"{sequence}\",\"data\":{{\
             \"sealedSha256\":\"{previous}\",\"previousHash\":\"{previous}\""
        );
        let hash = hex::encode(Sha256::digest(&hashed));
        let line = format!("{hashed},\"hash\":\"{hash}\"}}}}");
        self.chains
            .insert(workflow, (tenant.clone(), sequence, hash));
        let batch = self.batches.entry(partition).or_default();
        *batch += 1;
        let write = Write {
            first_sequence: sequence,
            sequence,
            public: format!("A {line}\nN {{}}\n"),
            start: None,
            acts: workflow.is_act_log().then(|| ActsWritten {
                tenant: tenant.clone(),
                acts: Vec::new(),
            }),
            columns: (sequence == 1 && !workflow.is_act_log()).then(|| WorkflowColumns {
                tenant,
                status: "running".to_owned(),
                ..WorkflowColumns::default()
            }),
            ..first_write(workflow, 0, *batch)
        };
        let fences: Vec<Fence> = self
            .fences
            .iter()
            .filter(|it| it.partition == partition)
            .copied()
            .collect();
        let cursor = Cursor {
            partition,
            batch: *batch,
        };
        let written = Batch {
            fences: fences.clone(),
            writes: vec![write],
            shard: partition,
        };
        assert!(self.store.commit(&written).await.unwrap().fenced.is_empty());
        let bytes = Bytes::from(line);
        let record = StreamRecord {
            partition_key: workflow.to_string(),
            bytes,
        };
        self.streams
            .streams
            .append(Stream::Audit, &[record])
            .await
            .unwrap();
        self.store.put_cursors(&[cursor], &fences).await.unwrap();
    }

    async fn events(&mut self, n_events: u8) {
        for n in 0..n_events {
            let tenant = if n % 3 == 0 { "other" } else { "acme" };
            self.event(tenant, n % 12).await;
        }
    }

    async fn options(&self, tenant: Option<&str>) -> Options {
        let keys = self.reader().keys().await.unwrap();
        let ring = KeyRing::parse(&keys.keys[0].key).unwrap();
        Options {
            tenant: tenant.map(str::to_owned),
            ..Options::of(ring)
        }
    }

    async fn archive(&self, tenant: &str) -> String {
        let reader = self.reader();
        let mut text = String::new();
        for it in reader
            .checkpoints(tenant, None, 0)
            .await
            .unwrap()
            .checkpoints
        {
            let lines = reader
                .archive(tenant, it.incarnation, it.number)
                .await
                .unwrap();
            text.extend(lines.iter().flat_map(|it| [it.as_str(), "\n"]));
        }
        text
    }

    fn stream(&self) -> String {
        let lines = read_jsonl(&self.dir.path().join("streams") as &Path, Stream::Audit).unwrap();
        let text = |it: &Bytes| format!("{}\n", std::str::from_utf8(it).unwrap());
        lines.iter().map(text).collect::<Vec<_>>().concat()
    }

    /// Asserts that archives and stream verify, and that so many records of each tenant are covered.
    async fn check(&self, n_acme: u64, n_other: u64) {
        for (tenant, n_records) in [("acme", n_acme), ("other", n_other)] {
            let archive = self.archive(tenant).await;
            let report = archive::verify(archive.as_bytes(), self.options(Some(tenant)).await);
            assert_eq!(report.finding, None);
            assert_eq!((report.n_records, report.n_uncovered), (n_records, 0));
            assert_eq!(report.covered[0].size, n_records);
        }
        let report = stream::verify(self.stream().as_bytes(), self.options(None).await);
        assert_eq!(report.finding, None);
        assert_eq!(
            (report.n_records, report.n_uncovered),
            (n_acme + n_other, 0)
        );
    }
}

#[tokio::test]
async fn records_of_two_tenants_get_their_places_and_checkpoints_cover_them() {
    let mut world = World::new().await;
    let mut sequencer = world.sequencer(20);
    world.events(19).await;
    sequencer.look(false).await.unwrap();
    assert_eq!(
        world.reader().latest("acme").await,
        Err(crate::EngineError::Unknown)
    );
    world.event("acme", 1).await;
    sequencer.look(false).await.unwrap();
    sequencer.look(false).await.unwrap();
    world.check(13, 7).await;
    // What is too little for a checkpoint gets one when it has waited long enough.
    world.events(3).await;
    sequencer.look(false).await.unwrap();
    assert_eq!(world.reader().latest("acme").await.unwrap().size, 13);
    world.clock.advance(60_000);
    sequencer.look(false).await.unwrap();
    sequencer.look(false).await.unwrap();
    world.check(15, 8).await;
    assert_eq!(world.reader().latest("acme").await.unwrap().number, 2);
}

#[tokio::test]
async fn a_sequencer_that_takes_over_goes_on_and_the_one_before_is_fenced() {
    let mut world = World::new().await;
    let mut before = world.sequencer(1);
    world.events(30).await;
    before.look(true).await.unwrap();
    let mut after = world.sequencer(1);
    after.look(true).await.unwrap();
    world.events(30).await;
    // It believes that it may, and writes nothing.
    before.look(true).await.unwrap();
    assert_eq!(world.reader().latest("acme").await.unwrap().size, 20);
    after.look(true).await.unwrap();
    after.look(true).await.unwrap();
    world.check(40, 20).await;
}

#[tokio::test]
async fn a_checkpoint_that_the_stream_has_not_taken_is_told_after_a_crash() {
    let mut world = World::new().await;
    world.events(10).await;
    *world.streams.fails.lock().unwrap() = true;
    let error = world.sequencer(1).look(true).await.unwrap_err();
    assert!(matches!(error, SequencerError::Streams(_)), "{error}");
    *world.streams.fails.lock().unwrap() = false;
    // Told twice, as by one that has died before it could note that it has told.
    let untold = world.store.untold(None, 9).await.unwrap();
    assert_eq!(untold.len(), 2);
    let told: Vec<StreamRecord> = untold.iter().flat_map(records).collect();
    world.streams.append(Stream::Audit, &told).await.unwrap();
    world.sequencer(1).look(true).await.unwrap();
    assert_eq!(world.store.untold(None, 9).await.unwrap(), []);
    world.check(6, 4).await;
}

#[tokio::test]
async fn keys_rotate_while_it_works_and_who_knew_the_first_one_can_still_verify() {
    let mut world = World::new().await;
    let mut sequencer = world.sequencer(1);
    world.events(12).await;
    sequencer.look(true).await.unwrap();
    let (random, keys) = (SystemRandom::shared(), world.keys());
    for _ in 0..2 {
        world.clock.advance(5);
        let key = rotate(&*world.store, &keys, &random, &*world.clock)
            .await
            .unwrap();
        let known = world.reader().keys().await.unwrap();
        assert_eq!(known.keys.last().unwrap().key, key);
    }
    world.clock.advance(5);
    world.events(12).await;
    sequencer.look(true).await.unwrap();
    sequencer.look(true).await.unwrap();
    world.check(16, 8).await;
    let stored = world.store.audit_keys().await.unwrap();
    let n_private = stored.iter().filter(|it| !it.sealed.is_empty()).count();
    assert_eq!((stored.len(), n_private), (3, 1));
}

#[tokio::test]
async fn proofs_lead_to_the_signed_root() {
    let mut world = World::new().await;
    let mut sequencer = world.sequencer(1);
    let mut roots = Vec::new();
    for _ in 0..4 {
        world.events(36).await;
        sequencer.look(true).await.unwrap();
        let latest = world.reader().latest("acme").await.unwrap();
        let (checkpoint, _) = Checkpoint::parse_unverified(&latest.note).unwrap();
        roots.push((checkpoint.size, checkpoint.root));
    }
    let reader = world.reader();
    let (size, root) = roots[3];
    let workflow = WorkflowId::new(PARTITIONS[1], [1; 15]);
    let all = reader.all_included("acme", workflow).await.unwrap();
    assert_eq!(all.len(), 12);
    for (sequence, view) in (1..).zip(&all) {
        let one = reader.included("acme", workflow, sequence).await.unwrap();
        assert_eq!(one, *view);
        let proof: Vec<Hash> = view
            .proof
            .iter()
            .map(|it| Hash::from_base64(it).unwrap())
            .collect();
        let leaf = Hash::of_leaf(view.record.as_ref().unwrap().as_bytes());
        verify_inclusion(&leaf, view.leaf.cast_unsigned(), size, &proof, &root).unwrap();
    }
    for (from, from_root) in &roots {
        let view = reader.consistency("acme", None, from.cast_signed(), size.cast_signed());
        let view = view.await.unwrap();
        let proof: Vec<Hash> = view
            .proof
            .iter()
            .map(|it| Hash::from_base64(it).unwrap())
            .collect();
        verify_consistency((*from, from_root), (size, &root), &proof).unwrap();
    }
    // Nothing of one tenant is shown to another.
    let unknown = Err(crate::EngineError::Unknown);
    assert_eq!(reader.included("other", workflow, 1).await, unknown);
    assert_eq!(
        reader.all_included("other", workflow).await.err(),
        unknown.clone().err()
    );
    assert_eq!(reader.leaf("nobody", None, 0).await, unknown);
    assert_eq!(reader.leaf("acme", None, 96).await, unknown);
    assert_eq!(reader.included("acme", workflow, 13).await, unknown);
}

#[tokio::test]
async fn a_restored_database_begins_another_log() {
    let mut world = World::new().await;
    world.events(12).await;
    world.sequencer(1).look(true).await.unwrap();
    RestoreStore::new_incarnation(&*world.store, 0)
        .await
        .unwrap();
    let request = AcquireRequest {
        owner: "again".to_owned(),
        partitions: PARTITIONS.to_vec(),
        lease_ms: EMBEDDED_LEASE_MS,
        takeover: Takeover::Always,
    };
    let acquired = world.store.acquire(&request).await.unwrap();
    world.fences = acquired
        .partitions
        .iter()
        .map(|it| Fence {
            partition: it.partition,
            epoch: it.epoch,
        })
        .collect();
    world.events(12).await;
    let mut sequencer = world.sequencer(1);
    sequencer.look(true).await.unwrap();
    let latest = world.reader().latest("acme").await.unwrap();
    assert_eq!((latest.incarnation, latest.number, latest.size), (2, 1, 8));
    let part = Options {
        beginning: Beginning::Anywhere,
        ..world.options(Some("acme")).await
    };
    let report = archive::verify(world.archive("acme").await.as_bytes(), part);
    assert_eq!((report.finding, report.n_records), (None, 8));
}
