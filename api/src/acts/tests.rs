//! The queue of acts, and the way to core.

use std::collections::BTreeMap;
use std::sync::Mutex;

use sqlx::SqlitePool;
use tempfile::TempDir;

use btrust_platform::health::Check as _;
use btrust_platform::http::Shutdown;

use super::delivery::{Turn, Turns};
use super::*;

/// The tables of a queue.
const TABLES: [&str; 2] = [
    include_str!("../../../migrations/sqlite/gateway/0003_act_outbox.sql"),
    include_str!("../../../migrations/sqlite/gateway/0004_acts_by_tenant.sql"),
];

/// Takes acts, but for tenants whose partition is nobody's just now and for acts that it does not know.
#[derive(Default)]
struct Core {
    away: Mutex<Vec<&'static str>>,
    unknown: Mutex<Option<String>>,
    taken: Mutex<BTreeMap<String, Vec<String>>>,
}

#[async_trait::async_trait]
impl Delivery for Core {
    async fn bring(&self, tenant: &str, acts: &[ReportedAct]) -> Result<(), DeliverError> {
        if self.away.lock().unwrap().contains(&tenant) {
            return Err(DeliverError::Unavailable("nobody owns it".into()));
        }
        let unknown = self.unknown.lock().unwrap().clone();
        if acts.iter().any(|it| Some(&it.id) == unknown.as_ref()) {
            let code = "act_invalid".to_owned();
            return Err(DeliverError::Refused { code });
        }
        let mut taken = self.taken.lock().unwrap();
        let ids = acts.iter().map(|it| it.id[..2].to_owned());
        taken.entry(tenant.to_owned()).or_default().extend(ids);
        Ok(())
    }
}

impl Core {
    fn taken(&self, tenant: &str) -> String {
        let taken = self.taken.lock().unwrap();
        taken.get(tenant).map(|it| it.join(" ")).unwrap_or_default()
    }
}

async fn queue() -> (TempDir, SqlitePool, Outbox) {
    let folder = tempfile::tempdir().unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(folder.path().join("acts.sqlite"))
        .create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    for table in TABLES {
        sqlx::raw_sql(table).execute(&pool).await.unwrap();
    }
    let outbox = Outbox::open(pool.clone(), "test").await.unwrap();
    (folder, pool, outbox)
}

fn act(n: u8) -> ReportedAct {
    let by = ActBy {
        kind: ActorKind::Client,
        id: Some("admin".to_owned()),
    };
    let act = Act {
        at_ms: 1,
        by,
        outcome: ActOutcome::Done,
        status: Some(200),
        request_id: None,
        service: "gateway".to_owned(),
        target: ActTarget::default(),
    };
    ReportedAct {
        id: hex::encode([n; 16]),
        kind: ActKind::WorkflowPaused,
        act,
    }
}

/// Brings what can be brought, until so many acts of a tenant are taken.
async fn deliver_until(outbox: &Outbox, core: &Core, tenant: &str, taken: &str) {
    let shutdown = Shutdown::new();
    let delivering = deliver(outbox.clone(), core, shutdown.clone());
    let waiting = async {
        while core.taken(tenant) != taken {
            tokio::task::yield_now().await;
        }
        shutdown.trigger();
    };
    tokio::join!(delivering, waiting);
}

fn counted(outbox: &Outbox) -> (i64, i64) {
    let details = outbox.details();
    let count = |name: &str| details[name].as_i64().unwrap();
    (count("waiting"), count("setAside"))
}

#[tokio::test]
async fn a_tenant_whose_acts_are_not_taken_holds_up_nobody_else() {
    let (_folder, _pool, outbox) = queue().await;
    let core = Core::default();
    core.away.lock().unwrap().extend(["acme", "bank"]);
    for (tenant, n) in [
        ("acme", 1),
        ("bank", 2),
        ("credit", 3),
        ("acme", 4),
        ("credit", 5),
    ] {
        outbox.put(tenant, &act(n)).await.unwrap();
    }
    deliver_until(&outbox, &core, "credit", "03 05").await;
    assert_eq!(
        (core.taken("acme"), counted(&outbox)),
        (String::new(), (3, 0))
    );
    core.away.lock().unwrap().clear();
    deliver_until(&outbox, &core, "bank", "02").await;
    deliver_until(&outbox, &core, "acme", "01 04").await;
    assert_eq!(counted(&outbox), (0, 0));
}

#[tokio::test]
async fn however_many_tenants_wait_each_has_its_turn() {
    let (_folder, _pool, outbox) = queue().await;
    let core = Core::default();
    let away = [
        "t00", "t01", "t02", "t03", "t04", "t05", "t06", "t07", "t08", "t09",
    ];
    core.away.lock().unwrap().extend(away);
    for tenant in away {
        outbox
            .put(tenant, &act(tenant.as_bytes()[2]))
            .await
            .unwrap();
    }
    outbox.put("t10", &act(1)).await.unwrap();
    let mut turns = Turns::default();
    let mut seen = Vec::new();
    while core.taken("t10").is_empty() {
        seen.push(turns.take(&outbox, &core).await.unwrap());
    }
    // Seven fail, the eighth makes a pause of it, and then it goes on behind that one.
    let taken = |n| std::iter::repeat_with(|| Turn::Taken).take(n);
    let expected: Vec<Turn> = taken(7).chain([Turn::Pause]).chain(taken(3)).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn what_cannot_be_read_or_is_not_taken_is_seen_and_tried_again_at_the_next_start() {
    let (_folder, pool, outbox) = queue().await;
    let core = Core::default();
    *core.unknown.lock().unwrap() = Some(act(2).id);
    for n in 1..=4 {
        outbox.put("acme", &act(n)).await.unwrap();
    }
    // As another version has written it.
    let rewrite = |from: &'static str, to: &'static str| {
        sqlx::query("UPDATE act_outbox SET reported = REPLACE(reported, ?, ?) WHERE act = ?")
            .bind(from)
            .bind(to)
            .bind(act(3).id)
            .execute(&pool)
    };
    rewrite("workflow.paused", "workflow.lifted").await.unwrap();
    deliver_until(&outbox, &core, "acme", "01 04").await;
    assert_eq!(counted(&outbox), (0, 2), "they do not fill the queue");
    let said = outbox.check().await.unwrap_err();
    assert!(said.starts_with("act_set_aside"), "{said}");
    // The next run, with another core.
    rewrite("workflow.lifted", "workflow.paused").await.unwrap();
    *core.unknown.lock().unwrap() = None;
    let again = Outbox::open(pool.clone(), "test").await.unwrap();
    assert_eq!(counted(&again), (0, 2));
    again.take_up().await.unwrap();
    assert_eq!(counted(&again), (2, 0));
    deliver_until(&again, &core, "acme", "01 04 02 03").await;
    assert_eq!((counted(&again), again.check().await), ((0, 0), Ok(())));
}

#[tokio::test]
async fn whoever_opens_the_queue_beside_its_service_ends_none_of_its_acts() {
    let (_folder, pool, outbox) = queue().await;
    outbox.begin("acme", &act(1)).await.unwrap();
    let beside = Outbox::open(pool, "test").await.unwrap();
    beside.put("acme", &act(2)).await.unwrap();
    let core = Core::default();
    deliver_until(&outbox, &core, "acme", "02").await;
    outbox.settle(&act(1)).await.unwrap();
    deliver_until(&outbox, &core, "acme", "02 01").await;
}
