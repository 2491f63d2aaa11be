//! Measures what the sequencer costs for each audit record, and prints one JSON line.
//!
//! `cargo run --release -p btrust-engine --example sequencer -- [--events 100000] [--tenants 10]`
//!
//! The records are written by the store's own commits into act logs, one in a row of the journal, and are marked as
//! relayed. Then the sequencer of a fresh node gives all of them their places, with a checkpoint each 1,000 events
//! and its event in a stream on the disk: reading, hashing, signing and writing. CPU is that of the whole process
//! meanwhile, as Linux counts it.

#![expect(
    clippy::unwrap_used,
    reason = "whatever goes wrong ends the measurement"
)]

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use btrust_engine::act_log::log_of;
use btrust_engine::sequencer::{CheckpointSettings, Sequencer, SequencerPorts};
use btrust_engine::store::{
    AcquireRequest, ActsWritten, Batch, Cursor, EMBEDDED_LEASE_MS, Fence, SnapshotColumns, Store,
    Takeover, Write, sqlite::SqliteStore,
};
use btrust_platform::clock::SystemClock;
use btrust_platform::keys::LocalKeyring;
use btrust_platform::random::SystemRandom;
use btrust_platform::streams::JsonlStreams;

/// Rows of one commit.
const BATCH: usize = 2_000;
/// Events that one relayed step forward has at most: as many as make a checkpoint due.
const CHECKPOINT_EVENTS: i64 = 1_000;
/// Ticks of the CPU's clock in a second, as `/proc` shows them.
///
/// Source: proc(5), `sysconf(_SC_CLK_TCK)` of every Linux that this runs on.
const TICKS_PER_S: f64 = 100.0;

fn argument(name: &str, default: u64) -> u64 {
    let mut arguments = std::env::args().skip_while(|it| it != name);
    let given = arguments.nth(1);
    given.map_or(default, |it| it.parse().unwrap())
}

/// CPU of this process so far, s.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / TICKS_PER_S
}

/// A record as the engine writes it, without its data.
fn write(tenant: &str, number: i64, batch: i64) -> Write {
    let log = log_of(tenant, 16);
    let hash = "5".repeat(64);
    let line = format!(
        "{{\"specversion\":\"1.0\",\"id\":\"{log}.1.{number}.audit\",\"source\":\"/tenants/{tenant}\",\
         \"type\":\"com.btrust.act.workflow.paused\",\"subject\":\"{log}\",\
         \"time\":\"2026-01-31T23:59:59.123Z\",\"partitionkey\":\"{log}\",\"sequence\":\"{number}\",\
         \"data\":{{\"act\":\"{number:032x}\",\"atMs\":1800000000000,\"outcome\":\"done\",\
         \"sealedSha256\":\"{hash}\",\"previousHash\":\"{hash}\",\"hash\":\"{hash}\"}}}}"
    );
    Write {
        workflow: log,
        batch,
        first_sequence: number,
        sequence: number,
        committed_ms: 1_800_000_000_000 + batch,
        sealed_events: b"-".to_vec(),
        public: format!("A {line}\n"),
        snapshot: SnapshotColumns {
            chain: hash,
            n_audit: number,
            ..SnapshotColumns::default()
        },
        sealed_snapshot: Vec::new(),
        columns: None,
        before: None,
        attributes: None,
        deletion: None,
        acts: Some(ActsWritten {
            tenant: tenant.to_owned(),
            acts: Vec::new(),
        }),
        start: None,
        keeps_incident: true,
    }
}

/// Writes the journal; how far each partition is then.
async fn fill(store: &SqliteStore, n_events: u64, n_tenants: u64) -> (Vec<Fence>, [i64; 16]) {
    let request = AcquireRequest {
        owner: "measurement".to_owned(),
        partitions: (0..16).collect(),
        lease_ms: EMBEDDED_LEASE_MS,
        takeover: Takeover::Always,
    };
    let acquired = store.acquire(&request).await.unwrap();
    let fences: Vec<Fence> = acquired
        .partitions
        .iter()
        .map(|it| Fence {
            partition: it.partition,
            epoch: it.epoch,
        })
        .collect();
    let mut batches = [0; 16];
    let mut writes = Vec::with_capacity(BATCH);
    for n in 0..n_events {
        let tenant = format!("tenant-{}", n % n_tenants);
        let batch = &mut batches[usize::from(log_of(&tenant, 16).partition())];
        *batch += 1;
        let number = i64::try_from(n / n_tenants).unwrap() + 1;
        writes.push(write(&tenant, number, *batch));
        if writes.len() == BATCH || n + 1 == n_events {
            let batch = Batch {
                fences: fences.clone(),
                writes: std::mem::take(&mut writes),
                shard: 0,
            };
            assert!(store.commit(&batch).await.unwrap().fenced.is_empty());
        }
    }
    (fences, batches)
}

#[tokio::main]
async fn main() {
    let (n_events, n_tenants) = (argument("--events", 100_000), argument("--tenants", 10));
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("state.sqlite")).await;
    let store = Arc::new(store.unwrap());
    let (fences, batches) = fill(&store, n_events, n_tenants).await;
    let streams = JsonlStreams::open(folder.path().join("streams")).unwrap();
    let keys = LocalKeyring::open(&folder.path().join("keyring.json")).unwrap();
    let ports = SequencerPorts {
        store: Arc::clone(&store) as _,
        log: Arc::clone(&store) as _,
        restore: Arc::clone(&store) as _,
        keys: Arc::new(keys),
        streams: Arc::new(streams),
        clock: Arc::new(SystemClock),
        random: SystemRandom::shared(),
        is_shared: false,
    };
    let mut sequencer = Sequencer::new(ports, CheckpointSettings::default());
    let mut relayed = [0; 16];
    let (cpu_before, begin) = (cpu_s(), Instant::now());
    while relayed != batches {
        // As the relay goes on: until enough is there for a checkpoint.
        let mut left = CHECKPOINT_EVENTS;
        for (relayed, batch) in relayed.iter_mut().zip(&batches) {
            let step = left.min(batch - *relayed);
            *relayed += step;
            left -= step;
        }
        let cursors: Vec<Cursor> = (0..)
            .zip(relayed)
            .map(|(partition, batch)| Cursor { partition, batch })
            .collect();
        store.put_cursors(&cursors, &fences).await.unwrap();
        sequencer.look(true).await.unwrap();
    }
    let (cpu_s, seconds) = (cpu_s() - cpu_before, begin.elapsed().as_secs_f64());
    let per_event =
        |it: f64| (it * 1e7 / f64::from(u32::try_from(n_events).unwrap())).round() / 10.0;
    println!(
        "{}",
        json!({
            "events": n_events, "tenants": n_tenants, "cpuUsPerEvent": per_event(cpu_s),
            "usPerEvent": per_event(seconds), "seconds": seconds,
        })
    );
}
