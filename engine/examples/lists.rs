//! Measures lists and counts over many closed workflows, and prints one JSON line for each question.
//!
//! `cargo run --release -p btrust-engine --example lists -- [--workflows 1000000] [--samples 500]`
//!
//! The workflows are written by the store's own commits, as the engine writes them, but each in one
//! commit and already closed, with a journal row and a snapshot of random bytes: what lists and counts
//! read is the same. Questions go through the engine, as the gateway's do. `DATABASE_URL` names a MySQL
//! database with empty tables; without it, an SQLite file in a temporary folder is filled and removed.

#![expect(
    clippy::unwrap_used,
    reason = "whatever goes wrong ends the measurement"
)]

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use btrust_engine::search::{AttributeValue, Attributes, column_of, entries};
use btrust_engine::store::{
    AcquireRequest, Batch, EMBEDDED_LEASE_MS, Fence, SnapshotColumns, StartKey, StartRecord,
    StartRequests, Stores, Takeover, WorkflowColumns, Write, location,
};
use btrust_engine::{Engine, Ports, RetentionPolicies, SecondPerson};
use btrust_platform::clock::SystemClock;
use btrust_platform::config::Settings;
use btrust_platform::data_dir::DataDir;
use btrust_platform::http::Shutdown;
use btrust_platform::keys::LocalKeyring;
use btrust_platform::random::SystemRandom;
use btrust_platform::streams::JsonlStreams;
use btrust_platform::workflow_keys::SqliteWorkflowKeys;
use btrust_schemas::core::{ListQuery, Status};
use btrust_schemas::ids::{RANDOM_BYTES, WorkflowId};
use btrust_schemas::search::CountQuery;
use btrust_schemas::task_limits::TaskLimits;
use btrust_schemas::turn::Audience;

const DAY_MS: i64 = 86_400_000;
/// The first day of the year in which everything starts: 2026-01-01.
const YEAR_BEGINS_MS: i64 = 20_454 * DAY_MS;
const YEAR_MS: i64 = 365 * DAY_MS;
/// Workflows of one commit.
const BATCH: u64 = 2_000;
/// One of so many workflows is open.
const OPEN_OF: u64 = 1_000;
const TENANT: &str = "bank";

/// A small generator of numbers: the same measurement every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % end
    }

    fn below_i64(&mut self, end: i64) -> i64 {
        self.below(end.cast_unsigned()).cast_signed()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    fn one_of<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        let n_texts = u64::try_from(texts.len()).unwrap();
        texts[usize::try_from(self.below(n_texts)).unwrap()]
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.byte()).collect()
    }

    fn id(&mut self, started_ms: i64) -> WorkflowId {
        let mut random = [0; RANDOM_BYTES];
        random.copy_from_slice(&self.bytes(RANDOM_BYTES));
        WorkflowId::started(self.byte(), started_ms, random)
    }
}

fn columns(numbers: &mut Numbers, number: u64) -> WorkflowColumns {
    let is_open = number.is_multiple_of(OPEN_OF);
    let started_ms = YEAR_BEGINS_MS + numbers.below_i64(YEAR_MS);
    let (status, decision) = match numbers.below(100) {
        _ if is_open => ("running", None),
        0..56 => ("succeeded", Some("approved")),
        56..72 => ("succeeded", Some("rejected")),
        72..80 => ("succeeded", Some("referred")),
        80..88 => ("failed", None),
        88..95 => ("cancelled", None),
        _ => ("timed_out", None),
    };
    let waiting_for = if numbers.below(2) == 0 {
        "applicant"
    } else {
        "reviewer"
    };
    let attributes = Attributes::from([
        (
            "amount".to_owned(),
            AttributeValue::Integer(numbers.below_i64(100_000)),
        ),
        (
            "branch".to_owned(),
            AttributeValue::Keyword(format!("B{}", numbers.below(200))),
        ),
    ]);
    WorkflowColumns {
        tenant: if numbers.below(10) == 0 {
            "another"
        } else {
            TENANT
        }
        .to_owned(),
        definition: numbers.one_of(&["account", "loan", "card"]).to_owned(),
        version: 1 + numbers.below_i64(2),
        locale: "en".to_owned(),
        status: status.to_owned(),
        waiting_for: is_open.then(|| waiting_for.to_owned()),
        decision: decision.map(str::to_owned),
        started_ms,
        closed_ms: (!is_open).then(|| started_ms + numbers.below_i64(3 * DAY_MS)),
        attributes: column_of(&attributes),
        retention: Some("aml-5y".to_owned()),
        ..WorkflowColumns::default()
    }
}

fn write(numbers: &mut Numbers, number: u64, batches: &mut [i64]) -> Write {
    let columns = columns(numbers, number);
    let workflow = numbers.id(columns.started_ms);
    let batch = &mut batches[usize::from(workflow.partition())];
    *batch += 1;
    Write {
        workflow,
        batch: *batch,
        first_sequence: 1,
        sequence: 20,
        committed_ms: columns.closed_ms.unwrap_or(columns.started_ms),
        sealed_events: numbers.bytes(300),
        public: "A {}\n".to_owned(),
        snapshot: SnapshotColumns {
            chain: "0".repeat(64),
            is_open: columns.closed_ms.is_none(),
            // Kept still by a far timer.
            wake_at_ms: columns.closed_ms.is_none().then_some(i64::MAX / 2),
            ..SnapshotColumns::default()
        },
        sealed_snapshot: numbers.bytes(600),
        attributes: Some(entries(columns.attributes.as_deref())),
        before: None,
        deletion: None,
        acts: None,
        keeps_incident: false,
        start: Some(StartRecord {
            key: StartKey {
                tenant: columns.tenant.clone(),
                key_hash: hex::encode(numbers.bytes(32)),
            },
            digest: "d".repeat(64),
            workflow,
            replaces: None,
            requests: StartRequests::default(),
        }),
        columns: Some(columns),
    }
}

async fn fill(stores: &Stores, n_workflows: u64) {
    let request = AcquireRequest {
        owner: "fill".to_owned(),
        partitions: (0..=u8::MAX).collect(),
        lease_ms: EMBEDDED_LEASE_MS,
        takeover: Takeover::Always,
    };
    let owned = stores.store.acquire(&request).await.unwrap().partitions;
    let mut batches: Vec<i64> = owned.iter().map(|it| it.last_batch).collect();
    let fences: Vec<Fence> = owned
        .iter()
        .map(|it| Fence {
            partition: it.partition,
            epoch: it.epoch,
        })
        .collect();
    let mut numbers = Numbers(88_172_645_463_325_252);
    let began = Instant::now();
    let mut n = 0;
    while n < n_workflows {
        let end = n_workflows.min(n + BATCH);
        let writes: Vec<Write> = (n..end)
            .map(|it| write(&mut numbers, it, &mut batches))
            .collect();
        let batch = Batch {
            fences: fences.clone(),
            writes,
            shard: 0,
        };
        assert!(stores.store.commit(&batch).await.unwrap().fenced.is_empty());
        n = end;
    }
    println!(
        "{}",
        json!({ "filled": n, "seconds": began.elapsed().as_secs() })
    );
}

async fn engine(stores: Stores, folder: &DataDir) -> Arc<Engine> {
    let keys = Arc::new(LocalKeyring::open(&folder.keyring()).unwrap());
    let keys_db = folder.keys_db();
    let workflow_keys = SqliteWorkflowKeys::open(&keys_db, Arc::clone(&keys) as _);
    let ports = Ports {
        store: stores.store,
        lists: stores.lists,
        definitions: stores.definitions,
        operations: stores.operations,
        schedules: stores.schedules,
        tenants: stores.tenants,
        keys,
        workflow_keys: Arc::new(workflow_keys.await.unwrap()),
        streams: Arc::new(JsonlStreams::open(folder.streams()).unwrap()),
        clock: Arc::new(SystemClock),
        random: SystemRandom::shared(),
        nodes: Vec::new(),
        membership: None,
        second_person: SecondPerson::Nowhere,
        task_limits: TaskLimits::default(),
        retention: RetentionPolicies::default(),
    };
    let shutdown = Shutdown::new();
    let (engine, running) = Engine::start(ports, &shutdown).await.unwrap();
    // The relay has a million rows to publish, which is none of this measurement: it is stopped, and
    // reading needs no committer.
    shutdown.trigger();
    running.stopped().await;
    engine
}

/// Times in ms of what has been asked, as JSON.
fn report(name: &str, mut times_ms: Vec<f64>, n_found: usize) {
    times_ms.sort_by(f64::total_cmp);
    let at = |thousandths: usize| times_ms[((times_ms.len() - 1) * thousandths + 500) / 1_000];
    let line = json!({
        "question": name, "samples": times_ms.len(), "found": n_found,
        "p50Ms": at(500), "p99Ms": at(990), "maxMs": at(1_000),
    });
    println!("{line}");
}

fn list(change: impl FnOnce(&mut ListQuery)) -> ListQuery {
    let mut query = ListQuery {
        tenant: TENANT.to_owned(),
        ..ListQuery::default()
    };
    change(&mut query);
    query
}

fn lists() -> Vec<(&'static str, ListQuery)> {
    let text = |it: &str| Some(it.to_owned());
    let day = |it: &mut ListQuery| {
        it.started_after = text("2026-06-01T00:00:00Z");
        it.started_before = text("2026-06-02T00:00:00Z");
    };
    let branch = json!([{ "name": "branch", "equals": "B17" }]);
    vec![
        ("everything", list(|_| {})),
        ("open", list(|it| it.is_open = Some(true))),
        ("closed", list(|it| it.is_open = Some(false))),
        ("status=failed", list(|it| it.status = Some(Status::Failed))),
        ("definition", list(|it| it.definition = text("loan"))),
        (
            "definition, open",
            list(|it| (it.definition, it.is_open) = (text("loan"), Some(true))),
        ),
        (
            "decision=rejected",
            list(|it| it.decision = text("rejected")),
        ),
        (
            "decision, definition",
            list(|it| (it.decision, it.definition) = (text("rejected"), text("card"))),
        ),
        (
            "openPrompt=reviewer",
            list(|it| it.open_prompt = Some(Audience::Reviewer)),
        ),
        ("started on one day", list(day)),
        (
            "definition, one day",
            list(|it| {
                day(it);
                it.definition = text("account");
            }),
        ),
        (
            "attribute.branch",
            list(|it| it.attributes = Some(branch.to_string())),
        ),
        (
            "attribute.branch, open",
            list(|it| {
                it.attributes = Some(branch.to_string());
                it.is_open = Some(true);
            }),
        ),
        (
            "attribute.amount range",
            list(|it| {
                it.attributes =
                    Some(json!([{ "name": "amount", "from": "500", "to": "90000" }]).to_string());
            }),
        ),
        (
            "branch and amount",
            list(|it| it.attributes = branch_and(&json!({ "name": "amount", "from": "99000" }))),
        ),
        (
            "branch and an amount of few",
            list(|it| it.attributes = branch_and(&json!({ "name": "amount", "from": "99950" }))),
        ),
        (
            "branch and an amount of all",
            list(|it| it.attributes = branch_and(&json!({ "name": "amount", "from": "0" }))),
        ),
        (
            "two branches, which nothing has",
            list(|it| it.attributes = branch_and(&json!({ "name": "branch", "equals": "B18" }))),
        ),
        (
            "two amount ranges, which nothing has",
            list(|it| {
                it.attributes = Some(
                    json!([
                        { "name": "amount", "to": "50000" }, { "name": "amount", "from": "50000" },
                    ])
                    .to_string(),
                );
            }),
        ),
        (
            "amount range, open",
            list(|it| {
                it.attributes = Some(json!([{ "name": "amount", "to": "90000" }]).to_string());
                it.is_open = Some(true);
            }),
        ),
        (
            "amount range, failed, one day",
            list(|it| {
                day(it);
                it.attributes = Some(json!([{ "name": "amount", "to": "90000" }]).to_string());
                it.status = Some(Status::Failed);
            }),
        ),
    ]
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the filter that it is for is optional"
)]
fn branch_and(other: &serde_json::Value) -> Option<String> {
    Some(json!([{ "name": "branch", "equals": "B17" }, other]).to_string())
}

fn counts() -> Vec<(&'static str, CountQuery)> {
    let text = |it: &str| Some(it.to_owned());
    let count = |change: &dyn Fn(&mut CountQuery)| {
        let mut query = CountQuery {
            tenant: TENANT.to_owned(),
            ..CountQuery::default()
        };
        change(&mut query);
        query
    };
    vec![
        ("count: all", count(&|_| {})),
        (
            "count: by status, definition",
            count(&|it| it.group_by = text("status,definition")),
        ),
        (
            "count: 30 days by day, status",
            count(&|it| {
                it.group_by = text("day,status");
                (it.from, it.to) = (text("2026-06-01"), text("2026-07-01"));
            }),
        ),
        (
            "count: a year closed by decision",
            count(&|it| {
                (it.group_by, it.basis) = (text("decision"), text("closed"));
                (it.from, it.to) = (text("2026-01-01"), text("2027-01-01"));
            }),
        ),
        (
            "count: attribute.branch",
            count(&|it| {
                it.attributes = Some(json!([{ "name": "branch", "equals": "B17" }]).to_string());
            }),
        ),
        (
            "count: amount range (capped)",
            count(&|it| {
                it.attributes = Some(json!([{ "name": "amount", "from": "500" }]).to_string());
            }),
        ),
        (
            "count: openPrompt",
            count(&|it| it.open_prompt = Some(Audience::Applicant)),
        ),
        (
            "count: started after (capped)",
            count(&|it| it.started_after = text("2026-03-01T00:00:00Z")),
        ),
        (
            "count: branch, definition (judged)",
            count(&|it| {
                it.attributes = Some(json!([{ "name": "branch", "equals": "B17" }]).to_string());
                it.definition = text("loan");
            }),
        ),
        (
            "count: branch and amount (judged)",
            count(&|it| {
                it.attributes = branch_and(&json!({ "name": "amount", "from": "99000" }));
            }),
        ),
        (
            "count: two amount ranges (judged)",
            count(&|it| {
                it.attributes = Some(
                    json!([
                        { "name": "amount", "to": "50000" }, { "name": "amount", "from": "50000" },
                    ])
                    .to_string(),
                );
            }),
        ),
    ]
}

async fn measure(engine: &Engine, n_samples: usize) {
    let mut numbers = Numbers(7);
    for (name, query) in lists() {
        let (mut first, mut deep) = (Vec::new(), Vec::new());
        let mut n_found = 0;
        for _ in 0..n_samples {
            let began = Instant::now();
            let page = engine.list(query.clone()).await.unwrap();
            first.push(began.elapsed().as_secs_f64() * 1_000.0);
            n_found = page.workflows.len();
            let started_ms = YEAR_BEGINS_MS + numbers.below_i64(YEAR_MS);
            let value = if name.contains("amount range") {
                AttributeValue::Integer(numbers.below_i64(90_000)).encode()
            } else {
                String::new()
            };
            let cursor = Some(format!("{started_ms:x}-{}-{value}", numbers.id(started_ms)));
            let query = ListQuery {
                cursor,
                ..query.clone()
            };
            let began = Instant::now();
            engine.list(query).await.unwrap();
            deep.push(began.elapsed().as_secs_f64() * 1_000.0);
        }
        report(name, first, n_found);
        report(&format!("{name}, from a random place on"), deep, n_found);
    }
    for (name, query) in counts() {
        let mut times = Vec::new();
        let mut n_found = 0;
        for _ in 0..n_samples {
            let began = Instant::now();
            let view = engine.counts(query.clone()).await.unwrap();
            times.push(began.elapsed().as_secs_f64() * 1_000.0);
            n_found = usize::try_from(view.count).unwrap();
        }
        report(name, times, n_found);
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str, default: u64| {
        let at = arguments.iter().position(|it| it == name);
        at.map_or(default, |it| arguments[it + 1].parse().unwrap())
    };
    let n_workflows = number("--workflows", 1_000_000);
    let n_samples = usize::try_from(number("--samples", 500)).unwrap();
    let folder = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
    let data_dir = DataDir::new(folder.path());
    let location = location(&Settings::from_env(), &data_dir).unwrap();
    let stores = Stores::open(&location).await.unwrap();
    fill(&stores, n_workflows).await;
    let engine = engine(stores, &data_dir).await;
    measure(&engine, n_samples).await;
    let bytes = std::fs::metadata(data_dir.state_db()).map_or(0, |it| it.len());
    println!(
        "{}",
        json!({ "workflows": n_workflows, "fileBytes": bytes })
    );
}
