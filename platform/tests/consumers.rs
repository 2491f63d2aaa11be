//! Leases, checkpoints and marks against real databases and real streams.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_wrap,
    reason = "tests of little numbers"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::sync::Notify;

use btrust_platform::clock::{ManualClock, SystemClock};
use btrust_platform::config::Settings;
use btrust_platform::consumers::{
    Consumer, EventHead, LeaseRow, Leases, Marks, Pace, Progress, Sink, SinkError, forget,
    location, open,
};
use btrust_platform::data_dir::DataDir;
use btrust_platform::health::Check;
use btrust_platform::http::Shutdown;
use btrust_platform::relational::{Relational, RelationalError, Row};
use btrust_platform::streams::{
    JsonlReader, JsonlStreams, Page, ReadError, ReadRecord, Shard, Stream, StreamReader,
    StreamRecord, Streams,
};
use btrust_platform::testing::MariaDb;

/// Longest time that a test waits for what must come.
const PATIENCE: Duration = Duration::from_mins(1);
const SWIFT: Pace = Pace {
    lease_ms: 400,
    tend_every: Duration::from_millis(50),
    records_max: 7,
    pause_max: Duration::from_millis(20),
};

async fn sqlite(dir: &Path) -> Relational {
    let settings = Settings::from_table([("DATABASE_URL", "sqlite:elsewhere.sqlite")]);
    let location = location(&settings, &DataDir::new(dir)).unwrap();
    open(&location).await.unwrap()
}

async fn mysql(server: &MariaDb) -> Relational {
    let settings = Settings::from_table([("DATABASE_URL", server.database().await)]);
    let location = location(&settings, &DataDir::new("/nowhere")).unwrap();
    open(&location).await.unwrap()
}

fn event(workflow: usize, sequence: i64) -> StreamRecord {
    let subject = format!("wf_{workflow:032x}");
    let event = json!({
        "specversion": "1.0", "id": format!("{subject}.1.{sequence}.audit"), "source": "/tenants/t",
        "type": "com.btrust.workflow.changed", "subject": subject, "time": "2026-01-31T23:59:59.123Z",
        "partitionkey": subject, "sequence": sequence.to_string(), "data": {},
    });
    StreamRecord {
        partition_key: subject,
        bytes: Bytes::from(event.to_string()),
    }
}

/// Remembers the sequence numbers that it has taken of each workflow, beside its marks.
struct Ledger {
    database: Relational,
    taken: Notify,
}

impl Ledger {
    async fn all(&self) -> BTreeMap<String, Vec<i64>> {
        let sql = "SELECT subject, state FROM consumer_mark WHERE consumer = ?";
        let rows = self.database.fetch(sql, &["ledger".into()]).await.unwrap();
        let numbers = |row: &Row| {
            let state = row.text(1).unwrap();
            (row.text(0).unwrap(), serde_json::from_str(&state).unwrap())
        };
        rows.iter().map(numbers).collect()
    }
}

#[async_trait]
impl Sink for Ledger {
    fn name(&self) -> &'static str {
        "ledger"
    }

    async fn take(&self, _: &str, records: &[ReadRecord]) -> Result<(), SinkError> {
        let heads = records
            .iter()
            .map(|it| EventHead::read(&it.bytes).expect("an event"));
        let heads: Vec<EventHead> = heads.collect();
        let mut transaction = self.database.begin().await?;
        let subjects = heads.iter().map(|it| it.subject.as_str());
        let mut marks = Marks::read(&mut transaction, self.name(), subjects).await?;
        for head in heads {
            if marks.advance(&head) == Progress::Known {
                continue;
            }
            let before = marks.state(&head.subject).unwrap_or("[]");
            let mut numbers: Vec<i64> = serde_json::from_str(before).expect("our own JSON");
            numbers.push(head.sequence);
            marks.set_state(&head.subject, Some(json!(numbers).to_string()));
        }
        marks.write(&mut transaction, 0).await?;
        transaction.commit().await?;
        self.taken.notify_one();
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Thief {
    Absent,
    Present,
}

/// Publishes `n_events` of each of ten workflows with repetitions, while `n_consumers` read and, with a thief,
/// lose their leases all the time.
async fn check_exactly_once(database: Relational, n_events: i64, thief: Thief) {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SystemClock);
    let ledger = Arc::new(Ledger {
        database: database.clone(),
        taken: Notify::new(),
    });
    let shutdown = Shutdown::new();
    let consumer = || {
        let reader = Arc::new(JsonlReader::new(dir.path(), clock.clone()));
        let sink = ledger.clone();
        let stream = Stream::Audit;
        Consumer::new(sink, stream, reader, database.clone(), clock.clone()).at(SWIFT)
    };
    let consumers = [consumer(), consumer()];
    let leases = consumers[0].leases().clone();
    let running = consumers.map(|it| tokio::spawn(it.run(shutdown.clone())));
    let stealing = tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            while matches!(thief, Thief::Present) && !shutdown.is_triggered() {
                for row in leases.list().await.unwrap() {
                    // Whoever has the shard does not know; the next one takes it at once.
                    leases
                        .take(&row.shard, row.epoch, "thief", 0)
                        .await
                        .unwrap();
                }
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        }
    });

    let streams = JsonlStreams::open(dir.path()).unwrap();
    let mut random = StdRng::seed_from_u64(5);
    for sequence in 1..=n_events {
        // A relay that has died publishes again, from some batches back.
        let again = random.random_range(0..3).min(sequence - 1);
        for sequence in sequence - again..=sequence {
            let records: Vec<StreamRecord> = (0..10).map(|it| event(it, sequence)).collect();
            streams.append(Stream::Audit, &records).await.unwrap();
        }
    }
    let complete = async {
        let is_complete = |all: BTreeMap<String, Vec<i64>>| {
            all.len() == 10 && all.values().all(|it| n_events <= it.len() as i64)
        };
        while !is_complete(ledger.all().await) {
            ledger.taken.notified().await;
        }
    };
    tokio::time::timeout(PATIENCE, complete).await.unwrap();
    shutdown.trigger();
    stealing.await.unwrap();
    for it in running {
        it.await.unwrap();
    }
    let expected: Vec<i64> = (1..=n_events).collect();
    assert!(ledger.all().await.values().all(|it| *it == expected));
}

#[tokio::test]
async fn what_is_published_again_is_taken_once_in_order() {
    let dir = tempfile::tempdir().unwrap();
    check_exactly_once(sqlite(dir.path()).await, 30, Thief::Absent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_by_owners_whose_leases_are_stolen_is_taken_once_in_order() {
    let dir = tempfile::tempdir().unwrap();
    check_exactly_once(sqlite(dir.path()).await, 60, Thief::Present).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_holds_on_mysql() {
    let server = MariaDb::start();
    check_exactly_once(mysql(&server).await, 60, Thief::Present).await;
}

async fn leases_conform(database: Relational) {
    let ours = Leases::new(database.clone(), "c", Stream::Audit);
    ours.add("s").await.unwrap();
    ours.add("s").await.unwrap();
    Leases::new(database, "c", Stream::Analytics)
        .add("other")
        .await
        .unwrap();
    let rows = ours.list().await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].epoch, rows[0].owner_at(0)), (0, None));

    let first = ours.take("s", 0, "a", 100).await.unwrap().unwrap();
    assert_eq!(ours.take("s", 0, "b", 100).await.unwrap(), None);
    assert!(ours.checkpoint(&first, "7", 200).await.unwrap());
    // Nothing changes, and the lease is still ours.
    assert!(ours.checkpoint(&first, "7", 200).await.unwrap());
    assert_eq!(ours.list().await.unwrap()[0].owner_at(199), Some("a"));
    assert_eq!(ours.list().await.unwrap()[0].owner_at(200), None);

    let second = ours.take("s", 1, "b", 300).await.unwrap().unwrap();
    assert_eq!((second.epoch, second.position.as_deref()), (2, Some("7")));
    for is_kept in [
        ours.checkpoint(&first, "9", 400).await.unwrap(),
        ours.renew(&first, 400).await.unwrap(),
        ours.release(&first).await.unwrap(),
        ours.finish(&first).await.unwrap(),
    ] {
        assert!(!is_kept);
    }
    let row = &ours.list().await.unwrap()[0];
    assert_eq!((row.position.as_deref(), row.until_ms), (Some("7"), 300));
    assert!(ours.release(&second).await.unwrap());
    assert_eq!(ours.list().await.unwrap()[0].owner_at(0), None);
    assert!(ours.finish(&second).await.unwrap());
    assert_eq!(ours.take("s", 2, "c", 500).await.unwrap(), None);
}

async fn marks_conform(database: Relational) {
    let head = |n| EventHead::read(&event(1, n).bytes).unwrap();
    let subject = head(1).subject;
    let advance = async |number: i64| {
        let mut transaction = database.begin().await.unwrap();
        let mut marks = Marks::read(&mut transaction, "c", [subject.as_str()])
            .await
            .unwrap();
        let progress = marks.advance(&head(number));
        marks.set_state(&subject, Some(number.to_string()));
        marks.write(&mut transaction, 0).await.unwrap();
        transaction.commit().await.unwrap();
        progress
    };
    assert_eq!(advance(1).await, Progress::Next);
    assert_eq!(advance(1).await, Progress::Known);
    assert_eq!(advance(2).await, Progress::Next);
    assert_eq!(advance(5).await, Progress::After { n_missing: 2 });
    assert_eq!(advance(3).await, Progress::Known);

    let mut transaction = database.begin().await.unwrap();
    let marks = Marks::read(&mut transaction, "c", [subject.as_str()]).await;
    assert_eq!(marks.unwrap().state(&subject), Some("5"));
    drop(transaction);
    let sql = "INSERT INTO consumer_mark (consumer, subject, incarnation, sequence, marked_ms) \
               VALUES ('c', ?, 1, 1, 0)";
    let again = database.execute(sql, &[(&subject).into()]).await;
    assert!(matches!(again, Err(RelationalError::Taken)), "{again:?}");
}

/// Of 2,500 marks every third has stood still.
async fn marks_that_stand_still_are_forgotten(database: Relational) {
    const N_MARKS: i64 = 2_500;
    let subjects: Vec<String> = (0..N_MARKS).map(|it| format!("wf_{it:032x}")).collect();
    for (marked_ms, is_old) in [(999, true), (1_000, false)] {
        let mut transaction = database.begin().await.unwrap();
        let some = subjects
            .iter()
            .enumerate()
            .filter(|(it, _)| (it % 3 == 0) == is_old);
        let some: Vec<&str> = some.map(|(_, it)| it.as_str()).collect();
        let mut marks = Marks::read(&mut transaction, "forgetful", some.clone())
            .await
            .unwrap();
        for subject in some {
            let head = EventHead::read(&event(0, 1).bytes).unwrap();
            let subject = subject.to_owned();
            marks.advance(&EventHead { subject, ..head });
        }
        marks.write(&mut transaction, marked_ms).await.unwrap();
        transaction.commit().await.unwrap();
    }
    let mut n_pages = 0;
    let mut after = None;
    loop {
        after = forget(&database, after, 1_000).await.unwrap();
        n_pages += 1;
        if after.is_none() {
            break;
        }
    }
    let sql = "SELECT COUNT(*), MIN(marked_ms) FROM consumer_mark WHERE consumer = ?";
    let rows = database.fetch(sql, &["forgetful".into()]).await.unwrap();
    let left = (rows[0].int(0).unwrap(), rows[0].int(1).unwrap());
    assert_eq!(left, (N_MARKS - (N_MARKS + 2) / 3, 1_000));
    assert_eq!(n_pages, 3);
}

#[tokio::test]
async fn leases_and_marks_conform_on_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    leases_conform(sqlite(dir.path()).await).await;
    marks_conform(sqlite(dir.path()).await).await;
    marks_that_stand_still_are_forgotten(sqlite(dir.path()).await).await;
}

#[tokio::test]
async fn leases_and_marks_conform_on_mysql() {
    let server = MariaDb::start();
    let database = mysql(&server).await;
    leases_conform(database.clone()).await;
    marks_conform(database.clone()).await;
    marks_that_stand_still_are_forgotten(database).await;
}

/// Shards that split and merge, and end.
struct Tree(Vec<(Shard, Vec<ReadRecord>)>);

impl Tree {
    /// One shard splits into two, which merge into one; two records each.
    fn new() -> Self {
        let shards: [(&str, &[&str]); 4] = [
            // Not in the order of their lives.
            ("merged", &["left", "right"]),
            ("right", &["root"]),
            ("left", &["root"]),
            ("root", &["before-the-horizon"]),
        ];
        let shard = |(id, parents): &(&str, &[&str])| {
            let record = |n: u8| ReadRecord {
                partition_key: "k".to_owned(),
                bytes: Bytes::from(format!("{id} {n}")),
                position: n.to_string(),
            };
            let shard = Shard {
                id: (*id).to_owned(),
                parents: parents.iter().map(|&it| it.to_owned()).collect(),
            };
            (shard, vec![record(1), record(2)])
        };
        Self(shards.iter().map(shard).collect())
    }
}

#[async_trait]
impl StreamReader for Tree {
    async fn shards(&self, _: Stream) -> Result<Vec<Shard>, ReadError> {
        Ok(self.0.iter().map(|(shard, _)| shard.clone()).collect())
    }

    async fn read(
        &self,
        _: Stream,
        shard: &str,
        after: Option<&str>,
        _: usize,
    ) -> Result<Page, ReadError> {
        let (_, records) = self.0.iter().find(|(it, _)| it.id == shard).unwrap();
        let n_read = after.map_or(0, |it| it.parse::<usize>().unwrap());
        let records: Vec<ReadRecord> = records.iter().skip(n_read).take(1).cloned().collect();
        Ok(Page {
            reached: records.last().map(|it| it.position.clone()),
            is_closed: records.is_empty(),
            records,
            ..Page::default()
        })
    }

    fn idle(&self) -> Duration {
        Duration::from_millis(1)
    }
}

/// Remembers what it was handed, and refuses while it is told to.
#[derive(Default)]
struct Heap {
    taken: Mutex<Vec<String>>,
    is_closed: AtomicBool,
    happened: Notify,
}

#[async_trait]
impl Sink for Heap {
    fn name(&self) -> &'static str {
        "heap"
    }

    async fn take(&self, _: &str, records: &[ReadRecord]) -> Result<(), SinkError> {
        self.happened.notify_one();
        if self.is_closed.load(Ordering::SeqCst) {
            return Err(SinkError::new("closed"));
        }
        let texts = records
            .iter()
            .map(|it| String::from_utf8_lossy(&it.bytes).into_owned());
        self.taken.lock().unwrap().extend(texts);
        Ok(())
    }
}

#[tokio::test]
async fn shards_that_split_and_merge_are_read_after_their_parents() {
    let dir = tempfile::tempdir().unwrap();
    let heap = Arc::new(Heap::default());
    let consumer = Consumer::new(
        heap.clone(),
        Stream::Audit,
        Arc::new(Tree::new()),
        sqlite(dir.path()).await,
        Arc::new(SystemClock),
    );
    let leases = consumer.leases().clone();
    let shutdown = Shutdown::new();
    let running = tokio::spawn(consumer.at(SWIFT).run(shutdown.clone()));
    let all_done = async {
        let is_done = |rows: Vec<LeaseRow>| rows.len() == 4 && rows.iter().all(|it| it.is_done);
        while !is_done(leases.list().await.unwrap()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, all_done).await.unwrap();
    shutdown.trigger();
    running.await.unwrap();
    let taken = heap.taken.lock().unwrap().clone();
    let place = |text: &str| taken.iter().position(|it| it == text).unwrap();
    assert_eq!(taken.len(), 8, "{taken:?}");
    assert!(place("root 1") < place("root 2"));
    for side in ["left", "right"] {
        assert!(place("root 2") < place(&format!("{side} 1")), "{taken:?}");
        assert!(place(&format!("{side} 2")) < place("merged 1"), "{taken:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_taken_is_tried_again_and_health_says_so_after_a_minute() {
    let dir = tempfile::tempdir().unwrap();
    let heap = Arc::new(Heap::default());
    heap.is_closed.store(true, Ordering::SeqCst);
    let clock = Arc::new(ManualClock::new(1_000_000));
    let consumer = Consumer::new(
        heap.clone(),
        Stream::Audit,
        Arc::new(Tree::new()),
        sqlite(dir.path()).await,
        clock.clone(),
    );
    let (status, leases) = (consumer.status(), consumer.leases().clone());
    let shutdown = Shutdown::new();
    let running = tokio::spawn(consumer.at(SWIFT).run(shutdown.clone()));
    for _ in 0..3 {
        let happened = heap.happened.notified();
        tokio::time::timeout(PATIENCE, happened).await.unwrap();
    }
    assert_eq!(status.check().await, Ok(()));
    clock.advance(61_000);
    assert!(status.check().await.is_err());
    assert!(heap.taken.lock().unwrap().is_empty());

    heap.is_closed.store(false, Ordering::SeqCst);
    let taken = async {
        while heap.taken.lock().unwrap().is_empty() {
            heap.happened.notified().await;
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, taken).await.unwrap();
    shutdown.trigger();
    running.await.unwrap();
    assert_eq!(status.check().await, Ok(()));
    let rows = leases.list().await.unwrap();
    let is_free = |it: &LeaseRow| it.owner_at(0).is_none();
    assert!(rows.iter().all(is_free), "everything was given back");
}
