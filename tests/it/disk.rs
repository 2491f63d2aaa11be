//! What the disk may do to an engine on SQLite: crash under any write, lose its power, be full.

#![expect(
    clippy::unwrap_used,
    reason = "a process of the test that cannot be handled ends the test"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use btrust_tests::disk::{Record, Unflushed, library};
use btrust_tests::effects::{Bank, Ledger, Worker, expected_effects};
use btrust_tests::{Fleet, Service};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

/// Crashes of the full count. Source: the promise of the engine.
const N_CRASHES: u64 = 300;
/// Power cuts of the full count. Source: the promise of the engine.
const N_CUTS: usize = 60;
/// Every how many of them a usual run tries.
const USUAL_EVERY: usize = 15;
/// Longest time for one workflow of twelve effects, the restarts included.
const ENDS_WITHIN: Duration = Duration::from_mins(1);
/// Workflows of the crash test: enough for [`N_CRASHES`] writes and flushes.
const N_PLAYED: usize = 4;
/// Workflows of the power-cut test; each adds some 40 commits.
const N_WORKFLOWS: usize = 6;

/// Whether the full counts are asked for (`make soak`).
fn is_soak() -> bool {
    std::env::var_os("BTRUST_SOAK").is_some()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// A data folder with tables and the definition, as a core leaves it that has ended well.
async fn template(fleet: &Fleet) -> std::path::PathBuf {
    let data = fleet.path("template");
    let core = fleet.core(&data, &[]).await;
    Bank::new(&core.url, &fleet.gateway_token).publish().await;
    core.stop().await;
    data
}

/// What one workflow comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ending {
    status: Value,
    decision: Value,
    history: Vec<String>,
    effects: Vec<String>,
}

/// Starts a few workflows and works on them to their end; `core` is started again whenever it has died.
///
/// Returns what they come to, and how often core has died.
async fn play(fleet: &Fleet, data: &Path, mut core: Service) -> (Vec<Ending>, usize) {
    let begun = Instant::now();
    let mut n_deaths = 0;
    let mut ledger = Ledger::default();
    let mut bank = Bank::new(&core.url, &fleet.gateway_token);
    let mut worker = Worker::new("one", &core.url, &fleet.worker_token);
    let mut workflows: Vec<String> = Vec::new();
    let mut endings = Vec::new();
    while endings.len() < N_PLAYED {
        assert!(begun.elapsed() < ENDS_WITHIN, "a workflow does not end");
        if core.has_ended() {
            n_deaths += 1;
            core = fleet.core(data, &[]).await;
            bank = Bank::new(&core.url, &fleet.gateway_token);
            worker.move_to(&core.url);
        }
        if workflows.len() < N_PLAYED {
            let key = format!("key-{}", workflows.len());
            workflows.extend(bank.start(&key).await);
            continue;
        }
        worker.exchange(&mut ledger).await;
        let id = &workflows[endings.len()];
        let Some(view) = bank.view(id).await.filter(|it| it["status"] != "running") else {
            continue;
        };
        let Some(history) = bank.history(id).await else {
            continue;
        };
        endings.push(Ending {
            status: view["status"].clone(),
            decision: view["decision"].clone(),
            history,
            effects: ledger.of(id),
        });
    }
    core.kill();
    (endings, n_deaths)
}

fn assert_checked(data: &Path) {
    let output = std::process::Command::new(btrust_tests::binary("btrust"))
        .args(["engine", "check", "--data"])
        .arg(data)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_core_killed_in_any_write_or_flush_comes_to_the_same_end() {
    let fleet = Fleet::start().await;
    let template = template(&fleet).await;
    let undisturbed = fleet.path("undisturbed");
    copy(&template, &undisturbed);
    let core = fleet.core(&undisturbed, &[]).await;
    let (expected, n_deaths) = play(&fleet, &undisturbed, core).await;
    assert_eq!(n_deaths, 0);
    for ending in &expected {
        assert_eq!(ending.status, json!("succeeded"));
        assert_eq!(ending.effects, expected_effects());
    }

    let library = library();
    let (mut n_fired, mut kinds) = (0, BTreeMap::<String, usize>::new());
    let every = if is_soak() { 1 } else { USUAL_EVERY };
    let numbers: Vec<u64> = (1..=N_CRASHES).step_by(every).collect();
    for &number in &numbers {
        let data = fleet.path(&format!("crash-{number}"));
        copy(&template, &data);
        let fired = data.join("fired");
        let armed = data.join("armed");
        let number = number.to_string();
        let core = fleet
            .core(
                &data,
                &[
                    ("LD_PRELOAD", library.to_str().unwrap()),
                    ("DISK_FAULTS_FOLDER", data.to_str().unwrap()),
                    ("DISK_FAULTS_ARMED_BY", armed.to_str().unwrap()),
                    ("DISK_FAULTS_KILL_AT", &number),
                    ("DISK_FAULTS_FIRED", fired.to_str().unwrap()),
                ],
            )
            .await;
        std::fs::write(&armed, b"").unwrap();
        let (endings, n_deaths) = play(&fleet, &data, core).await;
        assert_eq!(endings, expected, "killed at {number}");
        let what = std::fs::read_to_string(&fired)
            .unwrap_or_else(|_| panic!("nothing was killed at {number}"));
        assert_eq!(n_deaths, 1, "killed at {number}: {what}");
        assert_checked(&data);
        let kind = what.split(' ').next().unwrap_or_default();
        let file = what.rsplit('/').next().unwrap_or_default();
        *kinds.entry(format!("{kind} {file}")).or_default() += 1;
        n_fired += 1;
        std::fs::remove_dir_all(&data).unwrap();
    }
    assert_eq!(n_fired, numbers.len());
    println!(
        "{n_fired} of {} crashes recovered to the same end: {kinds:?}",
        numbers.len()
    );
}

/// What a caller was told, and how long the record was when it heard of it.
struct Told {
    workflow: String,
    sequence: i64,
    at: u64,
}

/// Runs workflows on a recorded disk; returns the record and what callers were told.
async fn recorded(fleet: &Fleet, data: &Path, record: &Path) -> (u64, Vec<Told>) {
    let library = library();
    let core = fleet
        .core(
            data,
            &[
                ("LD_PRELOAD", library.to_str().unwrap()),
                ("DISK_FAULTS_FOLDER", data.to_str().unwrap()),
                ("DISK_FAULTS_RECORD", record.to_str().unwrap()),
            ],
        )
        .await;
    let bank = Bank::new(&core.url, &fleet.gateway_token);
    let mut worker = Worker::new("one", &core.url, &fleet.worker_token);
    bank.publish().await;
    let length = || std::fs::metadata(record).unwrap().len();
    let begun = length();
    let mut told = Vec::new();
    let mut ledger = Ledger::default();
    let mut workflows = Vec::new();
    for number in 0..N_WORKFLOWS {
        let id = bank.start(&format!("key-{number}")).await.unwrap();
        told.push(Told {
            workflow: id.clone(),
            sequence: 1,
            at: length(),
        });
        workflows.push(id);
    }
    loop {
        assert!(worker.exchange(&mut ledger).await);
        let mut n_open = 0;
        for id in &workflows {
            let view = bank.view(id).await.unwrap();
            let sequence = view["sequence"].as_i64().unwrap();
            told.push(Told {
                workflow: id.clone(),
                sequence,
                at: length(),
            });
            n_open += usize::from(view["status"] == "running");
        }
        if n_open == 0 {
            break;
        }
    }
    drop(core);
    (begun, told)
}

/// How many of those who were told something would find it gone after the cut.
fn n_lost(
    image: &BTreeMap<std::path::PathBuf, Vec<u8>>,
    folder: &Path,
    moment: u64,
    told: &[Told],
) -> usize {
    if folder.exists() {
        std::fs::remove_dir_all(folder).unwrap();
    }
    std::fs::create_dir_all(folder).unwrap();
    for (path, bytes) in image {
        let name = path.file_name().unwrap().to_str().unwrap();
        // The shared-memory index is rebuilt from the log; it is never flushed.
        if name.contains(".sqlite") && !name.ends_with("-shm") {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }
    let open = |name: &str| rusqlite::Connection::open(folder.join(name)).unwrap();
    let (state, keys) = (open("state.sqlite"), open("keys.sqlite"));
    let sequence_of = |id: &str| {
        let sql = "SELECT sequence FROM snapshot WHERE workflow = ?";
        state
            .query_row(sql, [id], |row| row.get::<_, i64>(0))
            .unwrap_or(0)
    };
    let has_key = |id: &str| {
        let sql = "SELECT COUNT(*) FROM workflow_key WHERE workflow = ? AND wrapped IS NOT NULL";
        keys.query_row(sql, [id], |row| row.get::<_, i64>(0))
            .unwrap_or(0)
            == 1
    };
    let heard = told.iter().filter(|it| it.at <= moment);
    heard
        .filter(|it| sequence_of(&it.workflow) < it.sequence || !has_key(&it.workflow))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_loses_nothing_that_anybody_was_told() {
    let fleet = Fleet::start().await;
    let (data, record) = (fleet.path("data"), fleet.path("record"));
    let (begun, told) = recorded(&fleet, &data, &record).await;
    let whole = Record::read(&record);
    let moments = whole.moments(begun);
    let mut random = StdRng::seed_from_u64(60);
    let n_cuts = if is_soak() { N_CUTS } else { N_CUTS / 4 };
    let cuts: Vec<u64> = (0..n_cuts)
        .map(|_| moments[random.random_range(0..moments.len())])
        .collect();
    let image = fleet.path("image");
    for &moment in &cuts {
        for unflushed in [Unflushed::Lost, Unflushed::Scattered] {
            let files = whole.cut(moment, unflushed, &mut random);
            assert_eq!(
                n_lost(&files, &image, moment, &told),
                0,
                "cut at {moment}, {unflushed:?}"
            );
        }
    }
    // The last image serves: what was told goes on to its end.
    let last = *cuts.iter().max().unwrap();
    n_lost(
        &whole.cut(last, Unflushed::Lost, &mut random),
        &image,
        last,
        &told,
    );
    std::fs::copy(data.join("keyring.json"), image.join("keyring.json")).unwrap();
    assert_checked(&image);

    // The control: a log that is not flushed at every commit, as `synchronous=NORMAL` leaves it.
    let normal = Record::read(&record).without_flushes(|it| it.to_string_lossy().ends_with("-wal"));
    let mut n_caught = 0;
    for &moment in &cuts {
        n_caught += n_lost(
            &normal.cut(moment, Unflushed::Lost, &mut random),
            &image,
            moment,
            &told,
        );
    }
    assert!(0 < n_caught, "the test would not see a lost commit");
    println!(
        "{n_cuts} power cuts, {} answers, 0 lost; without flushes of the log {n_caught} would be",
        told.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_makes_core_read_only_and_it_recovers() {
    let fleet = Fleet::start().await;
    let (data, full) = (fleet.path("data"), fleet.path("full"));
    // The log of the process is on the disk, too.
    let disk = data.parent().unwrap().to_owned();
    let library = library();
    let core = fleet
        .core(
            &data,
            &[
                ("LD_PRELOAD", library.to_str().unwrap()),
                ("DISK_FAULTS_FOLDER", disk.to_str().unwrap()),
                ("DISK_FAULTS_FULL", full.to_str().unwrap()),
            ],
        )
        .await;
    let bank = Bank::new(&core.url, &fleet.gateway_token);
    bank.publish().await;
    let before = bank.start("before").await.unwrap();
    let sequence = bank.view(&before).await.unwrap()["sequence"].clone();

    std::fs::write(&full, b"").unwrap();
    let start = |key: &str| {
        json!({
            "tenant": "acme", "definition": "effects", "input": {"filling": "x".repeat(100_000)},
            "idempotencyKey": key, "requestDigest": "1".repeat(64), "actor": "bank",
        })
    };
    let post = async |key: &str| {
        bank.call(reqwest::Method::POST, "/workflows", Some(start(key)))
            .await
            .unwrap()
    };
    let mut acknowledged = Vec::new();
    let mut refusals = 0;
    for number in 0..50 {
        let key = format!("full-{number}");
        let (status, body) = post(&key).await;
        if status < 300 {
            // There was still room in what the files had.
            acknowledged.push(body["workflow"]["id"].as_str().unwrap().to_owned());
            continue;
        }
        assert_eq!(
            (status, body["code"].as_str()),
            (503, Some("storage_full")),
            "{body}"
        );
        refusals += 1;
    }
    assert!(0 < refusals, "the disk was never full");
    // Reading goes on, and nothing that was there has changed.
    assert_eq!(bank.view(&before).await.unwrap()["sequence"], sequence);
    let health = reqwest::get(format!("{}/actuator/health", core.url))
        .await
        .unwrap();
    assert_eq!(health.status().as_u16(), 503);
    let health: Value = health.json().await.unwrap();
    assert_eq!(
        health["components"]["storage"]["status"], "DOWN",
        "{health}"
    );

    std::fs::remove_file(&full).unwrap();
    let (status, body) = post("full-49").await;
    assert!(status < 300, "{status} {body}");
    let mut worker = Worker::new("one", &core.url, &fleet.worker_token);
    let mut ledger = Ledger::default();
    acknowledged.push(before);
    for id in &acknowledged {
        let begun = Instant::now();
        while bank.view(id).await.unwrap()["status"] == "running" {
            assert!(begun.elapsed() < ENDS_WITHIN, "{id} does not end");
            worker.exchange(&mut ledger).await;
        }
        assert_eq!(ledger.of(id), expected_effects());
    }
    core.stop().await;
    assert_checked(&data);
}
