//! The store on MariaDB: what it must do, what it refuses, and what happens when the server fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sqlx::migrate::Migrator;
use sqlx::{Connection, MySqlConnection, Row};

use btrust_engine::store::definitions::{Act, DefinitionStore, NewVersion, VersionKey};
use btrust_engine::store::mysql::{MYSQL_STATE_MIGRATIONS, MySqlStore};
use btrust_engine::store::{
    AcquireRequest, Batch, Committed, EMBEDDED_LEASE_MS, Fence, SnapshotColumns, StartKey,
    StartRecord, StartRequests, Store, StoreError, Takeover, WorkflowColumns, Write, conformance,
    lists_conformance, restore,
};
use btrust_platform::config::Settings;
use btrust_platform::database_url::{self, DATABASE, DatabaseUrl, MySqlAddress};
use btrust_platform::mysql::{CALL_MAX, MySqlError, SILENCE_MAX_S};
use btrust_platform::testing::MariaDb;
use btrust_schemas::ids::WorkflowId;

fn address(url: &str) -> MySqlAddress {
    let settings = Settings::from_table([("DATABASE_URL", url)]);
    match database_url::read(&settings, DATABASE) {
        Ok(Some(DatabaseUrl::MySql(address))) => *address,
        other => panic!("{other:?}"),
    }
}

async fn open(url: &str) -> MySqlStore {
    MySqlStore::open(address(url)).await.unwrap()
}

/// A store whose partitions this test owns.
async fn owned(url: &str) -> (MySqlStore, Vec<Fence>) {
    let store = open(url).await;
    let request = AcquireRequest {
        owner: "test".to_owned(),
        partitions: (0..=u8::MAX).collect(),
        lease_ms: EMBEDDED_LEASE_MS,
        takeover: Takeover::Always,
    };
    let acquired = store.acquire(&request).await.unwrap();
    let fence = |it: &btrust_engine::store::OwnedPartition| Fence {
        partition: it.partition,
        epoch: it.epoch,
    };
    let fences = acquired.partitions.iter().map(fence).collect();
    (store, fences)
}

fn workflow(partition: u8, n: u64) -> WorkflowId {
    let mut random = [0; 15];
    random[..8].copy_from_slice(&n.to_be_bytes());
    WorkflowId::new(partition, random)
}

/// The commit number `batch` of a partition, which begins a workflow of its own.
fn write(partition: u8, batch: i64) -> Write {
    let n = u64::try_from(batch).unwrap();
    let id = workflow(partition, n);
    Write {
        workflow: id,
        batch,
        first_sequence: 1,
        sequence: 3,
        committed_ms: 1_000 + batch,
        sealed_events: vec![7; 300],
        public: "{}\n".to_owned(),
        snapshot: SnapshotColumns {
            chain: "c".repeat(64),
            n_audit: 1,
            n_analytics: 1,
            is_open: true,
            n_turns: 1,
            n_prompts: 0,
            n_signals: 0,
            wake_at_ms: None,
            n_owed: 0,
            children: None,
        },
        sealed_snapshot: vec![8; 600],
        columns: Some(WorkflowColumns {
            tenant: "acme".to_owned(),
            definition: "onboarding".to_owned(),
            version: 1,
            subject: None,
            locale: "en".to_owned(),
            status: "running".to_owned(),
            waiting_for: None,
            decision: None,
            started_ms: batch,
            ..WorkflowColumns::default()
        }),
        before: None,
        attributes: None,
        deletion: None,
        acts: None,
        keeps_incident: false,
        start: Some(StartRecord {
            key: StartKey {
                tenant: "acme".to_owned(),
                key_hash: format!("{partition:02x}{batch:062x}"),
            },
            digest: "d".repeat(64),
            workflow: id,
            replaces: None,
            requests: StartRequests::default(),
        }),
    }
}

/// A later commit of the workflow that `write(partition, first)` has begun.
fn later(partition: u8, first: i64, batch: i64) -> Write {
    Write {
        batch,
        first_sequence: 4,
        sequence: 6,
        columns: None,
        start: None,
        ..write(partition, first)
    }
}

fn batch(fences: &[Fence], writes: Vec<Write>) -> Batch {
    let mut partitions: Vec<u8> = writes.iter().map(|it| it.workflow.partition()).collect();
    partitions.sort_unstable();
    partitions.dedup();
    Batch {
        fences: partitions
            .iter()
            .map(|it| fences[usize::from(*it)])
            .collect(),
        writes,
        shard: 0,
    }
}

async fn number(connection: &mut MySqlConnection, query: &'static str) -> i64 {
    let row = sqlx::query(query).fetch_one(connection).await.unwrap();
    row.try_get_unchecked(0).unwrap()
}

/// How many deadlocks the server has resolved since it started.
async fn n_deadlocks(connection: &mut MySqlConnection) -> u64 {
    let row = sqlx::query("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")
        .fetch_one(connection)
        .await
        .unwrap();
    let text: String = row.try_get_unchecked(1).unwrap();
    text.parse().unwrap()
}

/// Waits until a session of the server does something that begins with `text`; returns its id.
async fn session_doing(connection: &mut MySqlConnection, text: &str) -> u64 {
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < 2 * CALL_MAX, "nobody does {text}");
        let found = sqlx::query(
            "SELECT id FROM information_schema.processlist \
             WHERE info LIKE CONCAT(?, '%') AND id <> CONNECTION_ID()",
        )
        .bind(text)
        .fetch_optional(&mut *connection)
        .await
        .unwrap();
        if let Some(row) = found {
            return u64::try_from(row.try_get_unchecked::<i64, _>(0).unwrap()).unwrap();
        }
        tokio::task::yield_now().await;
    }
}

/// A connection of somebody else's in the store's database.
async fn stranger(url: &str) -> MySqlConnection {
    MySqlConnection::connect(url).await.unwrap()
}

async fn run(connection: &mut MySqlConnection, sql: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_mysql_database_is_a_store() {
    let server = MariaDb::start();
    let store = open(&server.database().await).await;
    conformance::check(&store).await;
    lists_conformance::check(&store, &store).await;
    restore::check(&store, &store).await;
    btrust_engine::store::definitions::check(&store).await;
    btrust_engine::store::tenants::check(&store).await;
    let known = WorkflowId::new(1, [1; 15]);
    btrust_engine::store::operations::check(&store, known).await;
    btrust_engine::store::schedules::check(&store).await;
    btrust_engine::store::audit_log::check(&store).await;
    let store = open(&server.database().await).await;
    btrust_engine::store::nodes_conformance::check(&store, &store).await;
}

#[tokio::test]
async fn workflows_of_an_earlier_form_are_refused_and_stay() {
    let server = MariaDb::start();
    let url = server.database().await;
    let pool = sqlx::MySqlPool::connect(&url).await.unwrap();
    let before = MYSQL_STATE_MIGRATIONS.iter().filter(|it| it.version < 8);
    let before = Migrator {
        migrations: before.cloned().collect(),
        ..Migrator::DEFAULT
    };
    before.run(&pool).await.unwrap();
    let insert = "INSERT INTO workflow (workflow, tenant, definition, version, locale, status, \
                  started_ms) VALUES ('wf_1', 'acme', 'kyc', 1, 'en', 'running', 1)";
    sqlx::query(insert).execute(&pool).await.unwrap();
    for _ in 0..2 {
        let refused = MySqlStore::open(address(&url)).await.err().unwrap();
        let why = format!("{refused:?}");
        assert!(why.contains("workflows_of_an_earlier_form"), "{why}");
    }
    // The program before this one goes on with it.
    before.run(&pool).await.unwrap();
    let mut connection = stranger(&url).await;
    let rows = number(&mut connection, "SELECT COUNT(*) FROM workflow").await;
    assert_eq!(rows, 1);
}

#[test]
fn both_databases_have_the_same_migrations() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    let names = |folder: &str| {
        let files = std::fs::read_dir(root.join(folder)).unwrap();
        let mut names: Vec<_> = files.map(|it| it.unwrap().file_name()).collect();
        names.sort();
        names
    };
    for folder in ["state", "keys"] {
        let sqlite = names(&format!("sqlite/{folder}"));
        assert_eq!(sqlite, names(&format!("mysql/{folder}")), "{folder}");
        assert!(!sqlite.is_empty());
    }
}

#[tokio::test]
async fn a_server_that_may_lose_commits_is_refused_by_the_name_of_its_setting() {
    let server = MariaDb::start_with(&["--log-bin", "--binlog-format=ROW", "--sync-binlog=1"]);
    let url = server.database().await;
    let address = address(&url);
    MySqlStore::open(address.clone()).await.unwrap();
    let mut admin = server.connect().await;
    for (setting, unsafe_value, safe_value) in [
        ("innodb_flush_log_at_trx_commit", "2", "1"),
        ("sync_binlog", "0", "1"),
        ("binlog_format", "'STATEMENT'", "'ROW'"),
        ("read_only", "1", "0"),
        ("default_storage_engine", "'MyISAM'", "'InnoDB'"),
        ("max_allowed_packet", "1048576", "16777216"),
    ] {
        run(
            &mut admin,
            &format!("SET GLOBAL {setting} = {unsafe_value}"),
        )
        .await;
        let refused = MySqlStore::open(address.clone()).await.err();
        assert!(
            matches!(refused, Some(MySqlError::Unsafe { setting: it, .. }) if it == setting),
            "{setting}: {refused:?}"
        );
        run(&mut admin, &format!("SET GLOBAL {setting} = {safe_value}")).await;
    }
    run(&mut admin, "CREATE DATABASE old CHARACTER SET latin1").await;
    let refused = MySqlStore::open(self::address(&server.url("old")))
        .await
        .err();
    let text = refused.unwrap().to_string();
    assert!(text.contains("character_set_database is latin1"), "{text}");
    MySqlStore::open(address).await.unwrap();
}

#[tokio::test]
async fn committers_of_different_partitions_do_not_wait_in_circles() {
    const N_LANES: u8 = 4;
    const N_BATCHES: i64 = 40;
    let server = MariaDb::start();
    let url = server.database().await;
    let (store, fences) = owned(&url).await;
    // Lanes own every fourth partition, so that their keys lie between each other's everywhere.
    let lanes = (0..N_LANES).map(async |lane| {
        for number in 1..=N_BATCHES {
            let partitions = (0..16_u8).map(|it| it * N_LANES + lane);
            let mut writes: Vec<Write> = partitions.clone().map(|it| write(it, number)).collect();
            if 1 < number {
                // Beside a start, what an earlier one has begun goes on.
                let first = number - 1;
                let mut quiet = later(lane, first, number);
                quiet.sealed_events = Vec::new();
                writes.push(quiet);
            }
            let committed = store.commit(&batch(&fences, writes)).await.unwrap();
            assert_eq!(committed, Committed::default());
        }
    });
    join_all(lanes).await;
    let last = store.last_batches(&[0, 17, 34, 51]).await.unwrap();
    assert_eq!(last, [N_BATCHES; 4]);
    let mut connection = stranger(&url).await;
    assert_eq!(n_deadlocks(&mut connection).await, 0);
    let rows = number(&mut connection, "SELECT COUNT(*) FROM journal").await;
    assert_eq!(rows, i64::from(N_LANES) * 16 * N_BATCHES);
}

#[tokio::test]
async fn a_connection_that_is_killed_in_the_middle_of_a_commit_leaves_nothing() {
    let server = MariaDb::start();
    let url = server.database().await;
    let (store, fences) = owned(&url).await;
    store
        .commit(&batch(&fences, vec![write(3, 1)]))
        .await
        .unwrap();
    let mut stranger = stranger(&url).await;
    let mut admin = server.connect().await;
    // The commit has written its events and waits for its snapshot.
    run(
        &mut stranger,
        "START TRANSACTION; SELECT * FROM snapshot FOR UPDATE",
    )
    .await;
    let second = batch(&fences, vec![later(3, 1, 2)]);
    let kill = async {
        let session = session_doing(&mut admin, "INSERT INTO snapshot").await;
        run(&mut admin, &format!("KILL {session}")).await;
    };
    let (refused, ()) = tokio::join!(store.commit(&second), kill);
    assert!(
        matches!(refused, Err(StoreError::Unavailable(_))),
        "{refused:?}"
    );
    run(&mut stranger, "ROLLBACK").await;
    assert_eq!(store.last_batches(&[3]).await.unwrap(), [1]);
    assert_eq!(store.commit(&second).await.unwrap(), Committed::default());
    assert_eq!(store.last_batches(&[3]).await.unwrap(), [2]);
}

#[tokio::test]
async fn a_commit_that_a_deadlock_has_undone_is_written_once() {
    let server = MariaDb::start();
    let url = server.database().await;
    let (store, fences) = owned(&url).await;
    store
        .commit(&batch(&fences, vec![write(3, 1)]))
        .await
        .unwrap();
    let mut stranger = stranger(&url).await;
    let mut admin = server.connect().await;
    // Whoever has written less is undone: the stranger writes a lot.
    run(
        &mut stranger,
        "CREATE TABLE ballast (n BIGINT NOT NULL PRIMARY KEY); START TRANSACTION; \
         INSERT INTO ballast SELECT seq FROM seq_1_to_2000; \
         SELECT * FROM snapshot FOR UPDATE",
    )
    .await;
    let close_the_circle = async {
        session_doing(&mut admin, "INSERT INTO snapshot").await;
        let lease = "SELECT * FROM partition_lease WHERE partition_no = 3 FOR UPDATE; ROLLBACK";
        run(&mut stranger, lease).await;
    };
    let second = batch(&fences, vec![later(3, 1, 2)]);
    let (committed, ()) = tokio::join!(store.commit(&second), close_the_circle);
    assert_eq!(committed.unwrap(), Committed::default());
    assert_eq!(n_deadlocks(&mut admin).await, 1, "there was a deadlock");
    assert_eq!(store.history(workflow(3, 1), 0, 9).await.unwrap().len(), 2);
}

/// How many commits one lane of the storm below has had, by how they ended.
#[derive(Default)]
struct Lane {
    committed: i64,
    failed: usize,
    unknown: usize,
}

/// Commits until `stop`, as a committer does: what failed is asked for, then written again.
async fn lane(store: &MySqlStore, fences: &[Fence], partition: u8, stop: &AtomicBool) -> Lane {
    let mut lane = Lane::default();
    while !stop.load(Ordering::Relaxed) {
        let next = lane.committed + 1;
        let written = batch(fences, vec![write(partition, next)]);
        match store.commit(&written).await {
            Ok(_) => {
                lane.committed = next;
                continue;
            }
            Err(StoreError::Unknown(_)) => lane.unknown += 1,
            Err(StoreError::Unavailable(_)) => lane.failed += 1,
            Err(error) => panic!("{error:?}"),
        }
        // Whatever was said, the journal knows; nothing is written between the error and the look.
        lane.committed = loop {
            if let Ok(last) = store.last_batches(&[partition]).await {
                break last[0];
            }
        };
        assert!(
            [next - 1, next].contains(&lane.committed),
            "an acknowledged commit of partition {partition} is lost"
        );
    }
    lane
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_during_commits_loses_and_doubles_nothing() {
    const N_KILLS: usize = 4;
    let mut server = MariaDb::start();
    let url = server.database().await;
    let (store, fences) = owned(&url).await;
    let (store, fences) = (Arc::new(store), Arc::new(fences));
    let stop = Arc::new(AtomicBool::new(false));
    let lanes: Vec<_> = [2_u8, 77, 130, 255]
        .map(|partition| {
            let (store, fences, stop) = (store.clone(), fences.clone(), stop.clone());
            tokio::spawn(async move { (partition, lane(&store, &fences, partition, &stop).await) })
        })
        .into();
    let mut seen = 0;
    for n_killed in 0..=N_KILLS {
        // Each kill hits a server that is at work again.
        loop {
            let mut connection = stranger(&url).await;
            let rows = number(&mut connection, "SELECT COUNT(*) FROM journal").await;
            if seen + 200 <= rows {
                seen = rows;
                break;
            }
        }
        if n_killed == N_KILLS {
            break;
        }
        server = tokio::task::spawn_blocking(move || {
            server.restart();
            server
        })
        .await
        .unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let mut n_disturbed = 0;
    let mut total = 0;
    for ended in join_all(lanes).await {
        let (partition, lane) = ended.unwrap();
        n_disturbed += lane.failed + lane.unknown;
        total += lane.committed;
        let last = store.last_batches(&[partition]).await.unwrap();
        assert_eq!(last, [lane.committed]);
    }
    assert!(
        N_KILLS <= n_disturbed,
        "the kills have hit {n_disturbed} commits"
    );
    let mut connection = stranger(&url).await;
    // Batches without gaps, one row each: nothing lost, nothing doubled.
    assert_eq!(
        number(&mut connection, "SELECT COUNT(*) FROM journal").await,
        total
    );
    for table in [
        "SELECT COUNT(*) FROM snapshot",
        "SELECT COUNT(*) FROM workflow",
        "SELECT COUNT(*) FROM start_key",
    ] {
        assert_eq!(number(&mut connection, table).await, total, "{table}");
    }
}

#[tokio::test]
async fn a_server_that_stands_still_is_an_error_and_not_a_hang() {
    let server = MariaDb::start();
    let (store, fences) = owned(&server.database().await).await;
    store
        .commit(&batch(&fences, vec![write(3, 1)]))
        .await
        .unwrap();
    server.pause();
    let began = Instant::now();
    let second = batch(&fences, vec![write(3, 2)]);
    let refused = store.commit(&second).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::Unavailable(_) | StoreError::Unknown(_)),
        "{refused:?}"
    );
    assert!(began.elapsed() < 2 * CALL_MAX);
    server.go_on();
    // Nothing had been sent to be committed, so nothing is.
    assert_eq!(store.last_batches(&[3]).await.unwrap(), [1]);
    store.commit(&second).await.unwrap();
}

#[tokio::test]
async fn a_node_that_stands_still_in_a_transaction_does_not_hold_its_partitions() {
    let server = MariaDb::start();
    let url = server.database().await;
    let (store, _) = owned(&url).await;
    let mut silent = stranger(&url).await;
    let lock = format!(
        "SET SESSION wait_timeout = {SILENCE_MAX_S}; START TRANSACTION; \
         SELECT * FROM partition_lease FOR UPDATE"
    );
    run(&mut silent, &lock).await;
    let request = AcquireRequest {
        owner: "next".to_owned(),
        partitions: vec![7],
        lease_ms: EMBEDDED_LEASE_MS,
        takeover: Takeover::Always,
    };
    let began = Instant::now();
    let acquired = store.acquire(&request).await.unwrap();
    assert_eq!(acquired.partitions.len(), 1);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn what_does_not_fit_into_a_packet_is_refused_for_its_size() {
    let server = MariaDb::start();
    let (store, fences) = owned(&server.database().await).await;
    let mut large = write(3, 1);
    large.sealed_snapshot = vec![1; 12 * 1024 * 1024];
    let mut also_large = write(4, 1);
    also_large.sealed_snapshot = vec![2; 12 * 1024 * 1024];
    let both = batch(&fences, vec![large, also_large]);
    assert_eq!(store.commit(&both).await.unwrap(), Committed::default());
    let read = store.load(&[workflow(4, 1)]).await.unwrap();
    assert_eq!(read[0].sealed_snapshot, both.writes[1].sealed_snapshot);

    let mut too_large = write(3, 2);
    too_large.sealed_snapshot = vec![3; 16 * 1024 * 1024];
    let refused = store.commit(&batch(&fences, vec![too_large])).await;
    assert!(
        matches!(refused, Err(StoreError::DataRefused(_))),
        "{refused:?}"
    );
    let mut too_long = write(3, 2);
    too_long.columns.as_mut().unwrap().status = "x".repeat(17);
    let refused = store.commit(&batch(&fences, vec![too_long])).await;
    assert!(
        matches!(refused, Err(StoreError::DataRefused(_))),
        "{refused:?}"
    );
    assert_eq!(store.last_batches(&[3]).await.unwrap(), [1]);
}

#[tokio::test]
async fn versions_that_two_nodes_store_at_once_are_numbered_without_gaps() {
    let server = MariaDb::start();
    let url = server.database().await;
    let nodes = [open(&url).await, open(&url).await];
    let act = || Act {
        by: "author".to_owned(),
        at_ms: 1,
    };
    // Every content twice, once on each node.
    let drafts = (0..16_usize).map(|n| {
        let version = NewVersion {
            tenant: "acme".to_owned(),
            name: "flow".to_owned(),
            title: "Flow".to_owned(),
            digest: format!("{:064x}", n / 2),
            envelope: "{}".to_owned(),
            act: act(),
        };
        let node = &nodes[n % 2];
        async move { node.draft(&version).await.unwrap() }
    });
    let stored = join_all(drafts).await;
    let mut new: Vec<i64> = stored
        .iter()
        .filter(|(_, is_new)| *is_new)
        .map(|(record, _)| record.version)
        .collect();
    new.sort_unstable();
    assert_eq!(new, [1, 2, 3, 4, 5, 6, 7, 8]);

    let published = (1..=8).map(|version| {
        let key = VersionKey {
            tenant: "acme",
            name: "flow",
            version,
        };
        let node = &nodes[usize::try_from(version).unwrap() % 2];
        async move { node.publish(key, &act(), true).await.unwrap() }
    });
    assert_eq!(join_all(published).await, [true; 8]);
    let moves = nodes[0].live_moves("acme", "flow", 20).await.unwrap();
    let revisions: Vec<i64> = moves.iter().map(|it| it.revision).collect();
    assert_eq!(revisions, [8, 7, 6, 5, 4, 3, 2, 1]);
}
