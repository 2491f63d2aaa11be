//! What is damaged, too much or over: nobody else waits for it, and nothing is left out in silence.

use btrust_platform::health::Check as _;

use super::*;

/// What no packed text looks like.
const DAMAGED: &[u8] = &[1, 0, 0, 0, 0, 255];

impl World {
    async fn say(&self, statement: &'static str) {
        let said = sqlx::query(statement).execute(self.store.pool()).await;
        assert!(0 < said.unwrap().rows_affected(), "{statement}");
    }

    /// Damages the column of some row; how it was.
    async fn damage(&self, table: &str, column: &str, rows: &str) -> Vec<u8> {
        let select = format!("SELECT {column} FROM {table} WHERE {rows}");
        let before: Vec<u8> = sqlx::query_scalar(sqlx::AssertSqlSafe(select))
            .fetch_one(self.store.pool())
            .await
            .unwrap();
        self.put(table, column, rows, DAMAGED).await;
        before
    }

    async fn put(&self, table: &str, column: &str, rows: &str, value: &[u8]) {
        let kind = if column == "note" { "TEXT" } else { "BLOB" };
        let update = format!("UPDATE {table} SET {column} = CAST(? AS {kind}) WHERE {rows}");
        let put = sqlx::query(sqlx::AssertSqlSafe(update))
            .bind(value.to_vec())
            .execute(self.store.pool())
            .await;
        assert_eq!(put.unwrap().rows_affected(), 1);
    }

    async fn size(&self, tenant: &str) -> i64 {
        let logs = self.store.logs(tenant).await.unwrap();
        logs.last().map_or(0, |it| it.size)
    }

    async fn n_logs(&self) -> i64 {
        let count = "SELECT COUNT(*) FROM audit_log";
        let counted = sqlx::query_scalar(count).fetch_one(self.store.pool());
        counted.await.unwrap()
    }

    /// Commits one event of each of so many tenants.
    async fn tenants(&mut self, n_tenants: u16) {
        for n in 0..n_tenants {
            let mut rest = [7; 15];
            rest[..2].copy_from_slice(&n.to_be_bytes());
            let workflow = WorkflowId::new(PARTITIONS[0], rest);
            self.event_of(&format!("tenant-{n}"), workflow).await;
        }
    }
}

/// What health says.
async fn trouble(sequencer: &Sequencer) -> String {
    let checked = sequencer.troubles().check().await;
    checked.err().unwrap_or_default()
}

#[tokio::test]
async fn a_damaged_row_holds_up_its_tenant_in_its_partition_and_nobody_else() {
    let mut world = World::new().await;
    world.events(12).await;
    // The first of partition 200 is of acme, whose workflows 1, 5, 7 and 11 are there.
    let row = "partition_no = 200 AND batch = 1";
    let before = world.damage("journal", "public", row).await;
    let mut sequencer = world.sequencer(1);
    sequencer.look(true).await.unwrap();
    assert_eq!(
        (world.size("acme").await, world.size("other").await),
        (4, 4)
    );
    assert!(trouble(&sequencer).await.starts_with("audit_row_damaged"));
    world.events(12).await;
    // Whoever takes over knows of it.
    let mut sequencer = world.sequencer(1);
    sequencer.look(true).await.unwrap();
    assert_eq!(
        (world.size("acme").await, world.size("other").await),
        (8, 8)
    );
    assert!(trouble(&sequencer).await.starts_with("audit_row_damaged"));
    let placed = world.reader().placed_by_now().await.unwrap();
    let has = |tenant| PARTITIONS.map(|it| placed.has(it, 12, tenant));
    assert_eq!((has("acme"), has("other")), ([true, false], [true, true]));
    world.put("journal", "public", row, &before).await;
    world.clock.advance(RETRY_MS);
    sequencer.look(false).await.unwrap();
    sequencer.look(true).await.unwrap();
    assert_eq!(trouble(&sequencer).await, "");
    assert!(
        world
            .reader()
            .placed_by_now()
            .await
            .unwrap()
            .has(200, 12, "acme")
    );
    world.events(12).await;
    sequencer.look(true).await.unwrap();
    world.check(24, 12).await;
}

#[tokio::test]
async fn a_damaged_log_is_never_signed_and_the_others_are() {
    for (table, column, rows) in [
        ("audit_tile", "hashes", "tenant = 'acme'"),
        ("audit_checkpoint", "note", "tenant = 'acme'"),
    ] {
        let mut world = World::new().await;
        world.events(12).await;
        world.sequencer(1).look(true).await.unwrap();
        let before = world.damage(table, column, rows).await;
        world.events(12).await;
        let mut sequencer = world.sequencer(1);
        sequencer.look(true).await.unwrap();
        assert_eq!(
            (world.size("acme").await, world.size("other").await),
            (8, 8)
        );
        assert!(trouble(&sequencer).await.starts_with("audit_log_damaged"));
        world.put(table, column, rows, &before).await;
        world.events(12).await;
        world.clock.advance(RETRY_MS);
        sequencer.look(true).await.unwrap();
        sequencer.look(true).await.unwrap();
        assert_eq!(trouble(&sequencer).await, "");
        world.check(24, 12).await;
    }
}

#[tokio::test]
async fn a_log_that_is_older_than_its_checkpoints_is_set_aside() {
    let mut world = World::new().await;
    world.events(12).await;
    world.sequencer(1).look(true).await.unwrap();
    world
        .say("UPDATE audit_log SET size = 0, n_checkpoints = 0 WHERE tenant = 'acme'")
        .await;
    world.events(12).await;
    let mut sequencer = world.sequencer(1);
    sequencer.look(true).await.unwrap();
    assert!(trouble(&sequencer).await.starts_with("audit_log_damaged"));
    assert_eq!(world.size("other").await, 8);
}

#[tokio::test]
async fn a_damaged_row_that_nobody_owns_stops_its_partition_alone() {
    let mut world = World::new().await;
    world.events(12).await;
    let row = "partition_no = 200 AND batch = 3";
    let before = world.damage("journal", "public", row).await;
    world
        .say(
            "DELETE FROM workflow WHERE workflow = \
              (SELECT workflow FROM journal WHERE partition_no = 200 AND batch = 3)",
        )
        .await;
    let mut sequencer = world.sequencer(1);
    sequencer.look(true).await.unwrap();
    let stopped = trouble(&sequencer).await;
    assert!(stopped.starts_with("audit_partition_stopped"), "{stopped}");
    let cursors = world.store.sequenced().await.unwrap();
    let batches: Vec<i64> = cursors.iter().map(|it| it.batch).collect();
    assert_eq!(batches, [6, 2]);
    world.put("journal", "public", row, &before).await;
    sequencer.look(true).await.unwrap();
    world.clock.advance(RETRY_MS);
    sequencer.look(true).await.unwrap();
    sequencer.look(true).await.unwrap();
    assert_eq!(trouble(&sequencer).await, "");
    world.check(8, 4).await;
}

#[tokio::test]
async fn a_damaged_event_of_a_checkpoint_holds_up_those_of_its_tenant_alone() {
    let mut world = World::new().await;
    world.events(12).await;
    *world.streams.fails.lock().unwrap() = true;
    assert!(world.sequencer(1).look(true).await.is_err());
    let before = world
        .damage("audit_untold", "events", "tenant = 'acme'")
        .await;
    *world.streams.fails.lock().unwrap() = false;
    world.events(12).await;
    let mut sequencer = world.sequencer(1);
    sequencer.look(true).await.unwrap();
    sequencer.look(true).await.unwrap();
    let untold = world.store.untold(None, 9).await.unwrap();
    let places: Vec<(&str, i64)> = untold
        .iter()
        .map(|it| (&*it.at.tenant, it.at.number))
        .collect();
    assert_eq!(places, [("acme", 1), ("acme", 2)]);
    assert!(trouble(&sequencer).await.starts_with("audit_event_damaged"));
    world
        .put(
            "audit_untold",
            "events",
            "tenant = 'acme' AND number = 1",
            &before,
        )
        .await;
    sequencer.look(true).await.unwrap();
    assert_eq!(trouble(&sequencer).await, "");
    world.check(16, 8).await;
}

#[tokio::test]
async fn a_failure_of_everything_is_seen_in_health_until_it_is_over() {
    let mut world = World::new().await;
    world.events(12).await;
    *world.streams.fails.lock().unwrap() = true;
    let mut sequencer = world.sequencer(1);
    let before = crate::metrics::AUDIT_FAILURES.get();
    assert!(sequencer.look(true).await.is_err());
    assert!(before < crate::metrics::AUDIT_FAILURES.get());
    assert!(trouble(&sequencer).await.starts_with("audit_not_sequenced"));
    *world.streams.fails.lock().unwrap() = false;
    sequencer.look(true).await.unwrap();
    assert_eq!(trouble(&sequencer).await, "");
}

#[tokio::test]
async fn a_stop_waits_for_one_round_and_a_round_has_so_many_logs_at_most() {
    let mut world = World::new().await;
    world.tenants(300).await;
    let shutdown = Shutdown::new();
    shutdown.trigger();
    world.sequencer(1).run(shutdown).await;
    assert_eq!(world.n_logs().await, 256);
    let mut sequencer = world.sequencer(1);
    sequencer.look(false).await.unwrap();
    assert_eq!(world.n_logs().await, 300);
    let last = world.reader().latest("tenant-299").await.unwrap();
    assert_eq!((last.number, last.size), (1, 1));
}

#[tokio::test]
async fn the_lease_is_renewed_before_each_round_of_a_backlog() {
    let mut world = World::new().await;
    world.tenants(300).await;
    *world.streams.ends_lease_of.lock().unwrap() = Some(Arc::clone(&world.store));
    let ports = SequencerPorts {
        is_shared: true,
        ..world.ports()
    };
    let settings = CheckpointSettings {
        n_events: 1,
        age_ms: 60_000,
    };
    let mut sequencer = Sequencer::new(ports, settings);
    // Between its two rounds the stream takes what the first one tells, and the lease ends at that.
    sequencer.look(true).await.unwrap();
    assert_eq!(world.n_logs().await, 300);
    let left = sqlx::query_scalar("SELECT lease_until_ms FROM audit_sequencer");
    let left_ms: i64 = left.fetch_one(world.store.pool()).await.unwrap();
    assert!(0 < left_ms, "it has renewed its lease after that");
}

#[tokio::test]
async fn a_key_ends_after_what_it_has_signed_however_old_checkpoints_are_kept() {
    let mut world = World::new().await;
    world.events(12).await;
    world.sequencer(1).look(true).await.unwrap();
    world.say("DELETE FROM audit_checkpoint").await;
    let mut key = world.store.audit_keys().await.unwrap().remove(0);
    key.number = 2;
    key.created_ms = NOW_MS - 1;
    assert!(!world.store.put_audit_key(&key).await.unwrap());
    key.created_ms = NOW_MS;
    assert!(world.store.put_audit_key(&key).await.unwrap());
}

#[tokio::test]
async fn the_time_from_a_commit_to_its_checkpoint_is_measured() {
    let mut world = World::new().await;
    world.events(12).await;
    let lag = &crate::metrics::AUDIT_SEQUENCED_SECONDS;
    let (n_before, sum_before) = (lag.get_sample_count(), lag.get_sample_sum());
    let n_sequenced = crate::metrics::AUDIT_SEQUENCED.get();
    // Commits of this world are made at a second and some ms.
    world.clock.set(31_000);
    world.sequencer(1).look(true).await.unwrap();
    assert!(n_before + 12 <= lag.get_sample_count());
    assert!(sum_before + 12.0 * 29.9 < lag.get_sample_sum());
    assert!(n_sequenced + 12 <= crate::metrics::AUDIT_SEQUENCED.get());
}

#[tokio::test]
async fn a_proof_of_one_act_reads_its_row_and_not_the_log() {
    let mut world = World::new().await;
    let log = WorkflowId::act_log(PARTITIONS[0], [1; 9]);
    for _ in 0..5 {
        world.event_of("acme", log).await;
    }
    world.sequencer(1).look(true).await.unwrap();
    world
        .damage("journal", "public", "partition_no = 3 AND batch = 2")
        .await;
    let reader = world.reader();
    for sequence in [1, 3, 5] {
        let proof = reader.included("acme", log, sequence).await.unwrap();
        assert_eq!(proof.leaf + 1, sequence.cast_signed());
    }
    assert!(reader.included("acme", log, 2).await.is_err());
    let unknown = Err(crate::EngineError::Unknown);
    assert_eq!(reader.included("acme", log, 6).await, unknown);
    assert_eq!(reader.included("other", log, 3).await, unknown);
}
