//! The projector against a count of the raw events by hand.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    reason = "tests of little numbers"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use btrust_platform::clock::{SystemClock, rfc3339};
use btrust_platform::config::Settings;
use btrust_platform::consumers::{self, Consumer, Pace, Sink};
use btrust_platform::data_dir::DataDir;
use btrust_platform::http::Shutdown;
use btrust_platform::relational::Relational;
use btrust_platform::streams::{
    JsonlReader, JsonlStreams, ReadRecord, Stream, StreamRecord, Streams,
};
use btrust_platform::testing::MariaDb;
use btrust_schemas::analytics::{DurationsView, FunnelQuery, FunnelView};

use btrust_consumers::analytics::{FunnelsError, Projector, RELATIVE_ERROR, funnels};

/// Longest time that a test waits for what must come.
const PATIENCE: Duration = Duration::from_mins(1);
const HOUR_MS: i64 = 3_600_000;
const BEGIN_MS: i64 = 500_000 * HOUR_MS;
const STATES: [(&str, &str, &[&str]); 4] = [
    ("Consent", "kyc:consent@1", &["given", "declined"]),
    ("Otp", "kyc:otp@1", &["verified", "locked", "expired"]),
    ("Ocr", "kyc:ocr@2", &["accepted", "rejected"]),
    ("Review", "kyc:review@1", &["approved", "resubmit"]),
];

/// The events of a workflow, in their order.
fn workflow(number: u64, random: &mut StdRng) -> Vec<Value> {
    let subject = format!("wf_{number:032x}");
    let tenant = ["one", "two"].choose(random).unwrap();
    let mut at_ms = BEGIN_MS + random.random_range(0..3 * HOUR_MS);
    let fixed = json!({
        "definition": (["onboarding", "renewal"].choose(random).unwrap()),
        "version": random.random_range(1..=2),
        "language": (["he", "en", "ar"].choose(random).unwrap()),
    });
    let mut events: Vec<Value> = Vec::new();
    let mut device: Option<&str> = None;
    let mut emit = |kind: &str, data: Value, device: Option<&str>, after_ms: i64| {
        at_ms += after_ms;
        let sequence = events.len() + 1;
        let mut all = fixed.clone();
        for (name, value) in data.as_object().unwrap() {
            all[name] = value.clone();
        }
        if let Some(device) = device {
            all["device"] = device.into();
        }
        events.push(json!({
            "specversion": "1.0", "id": format!("{subject}.1.{sequence}.analytics"),
            "source": format!("/tenants/{tenant}"), "type": format!("com.btrust.{kind}"),
            "subject": subject, "time": rfc3339(at_ms), "partitionkey": subject,
            "sequence": sequence.to_string(), "data": all,
        }));
    };
    emit("workflow.started", json!({}), None, 0);
    let mut closes = random.random_range(0..=2);
    for place in 0..random.random_range(0..8) {
        let (state, resource, outcomes) = STATES[place % STATES.len()];
        let step = |rest: Value| {
            let mut it = json!({ "state": state, "resource": resource });
            for (name, value) in rest.as_object().unwrap() {
                it[name] = value.clone();
            }
            it
        };
        let attempts = random.random_range(1..=3);
        for attempt in 1..=attempts {
            emit(
                "step.started",
                step(json!({ "attempt": attempt })),
                device,
                10,
            );
            if random.random_range(0..8) == 0 {
                break;
            }
            if device.is_none() && random.random_range(0..3) == 0 {
                device = ["phone", "tablet", "desktop"].choose(random).copied();
            }
            let took_ms = 2_i64.pow(random.random_range(0..22)) + random.random_range(0..50);
            let ended = if attempt < attempts {
                json!({ "error": "States.Timeout", "attempt": attempt, "durationMs": took_ms })
            } else {
                let outcome = outcomes.choose(random).unwrap();
                json!({ "outcome": outcome, "attempt": attempt, "turn": 1, "durationMs": took_ms })
            };
            emit("step.finished", step(ended), device, took_ms);
        }
        if 1 < closes && random.random_range(0..4) == 0 {
            closes -= 1;
            let failure = json!({ "status": "failed", "durationMs": 77_777 });
            emit("workflow.closed", failure, device, 5);
            emit("workflow.redriven", json!({ "redrive": 1 }), device, 5);
        }
    }
    if 0 < closes {
        let decision = ["approved", "rejected", "referred"].choose(random).unwrap();
        let endings = [
            json!({ "status": "succeeded", "decision": decision, "durationMs": random.random_range(1..9_000_000) }),
            json!({ "status": "timed_out", "durationMs": 1_209_600_000 }),
        ];
        emit(
            "workflow.closed",
            endings.choose(random).unwrap().clone(),
            device,
            5,
        );
    }
    events
}

/// What one group comes to, counted by hand.
#[derive(Default)]
struct ByHand {
    view: FunnelView,
    lasted: Vec<i64>,
    steps: BTreeMap<String, (btrust_schemas::analytics::FunnelStepView, Vec<i64>)>,
}

type Key = (String, i64, String, String, String);

fn kind(event: &Value) -> &str {
    let kind = event["type"].as_str().unwrap();
    kind.strip_prefix("com.btrust.").unwrap()
}

/// Counts the workflows of a tenant, each looked at as a whole.
fn count_by_hand(workflows: &[Vec<Value>], tenant: &str) -> BTreeMap<Key, ByHand> {
    let mut groups: BTreeMap<Key, ByHand> = BTreeMap::new();
    for events in workflows {
        let first = &events[0];
        if first["source"] != format!("/tenants/{tenant}") {
            continue;
        }
        let ends = events.iter().position(|it| kind(it) == "workflow.closed");
        let until_end = &events[..ends.map_or(events.len(), |it| it + 1)];
        let device = until_end
            .iter()
            .find_map(|it| it["data"]["device"].as_str());
        let time = first["time"].as_str().unwrap();
        let key = (
            first["data"]["definition"].as_str().unwrap().to_owned(),
            first["data"]["version"].as_i64().unwrap(),
            format!("{}:00:00.000Z", &time[..13]),
            device.unwrap_or("unknown").to_owned(),
            first["data"]["language"].as_str().unwrap().to_owned(),
        );
        let group = groups.entry(key).or_default();
        group.view.started += 1;
        let of_kind = |word: &str| events.iter().filter(|it| kind(it) == word).count();
        group.view.redriven += i64::try_from(of_kind("workflow.redriven")).unwrap();
        let is_open = of_kind("workflow.closed") == of_kind("workflow.redriven");
        let end = events.last().filter(|_| !is_open).map(|it| &it["data"]);
        if let Some(end) = end {
            let status = end["status"].as_str().unwrap().to_owned();
            *group.view.closed.entry(status).or_default() += 1;
            group.lasted.push(end["durationMs"].as_i64().unwrap());
        }
        if let Some(decision) = end.and_then(|it| it["decision"].as_str()) {
            *group.view.decisions.entry(decision.to_owned()).or_default() += 1;
            let is_reviewed = events.iter().any(|it| it["data"]["state"] == "Review");
            if !is_reviewed && decision != "referred" {
                group.view.decided_automatically += 1;
            }
        }
        steps_by_hand(group, events);
    }
    groups
}

fn steps_by_hand(group: &mut ByHand, events: &[Value]) {
    for (state, resource, _) in STATES {
        let mut n_open = 0;
        for event in events {
            let data = &event["data"];
            let is_here = data["state"] == state;
            if !is_here && kind(event) != "workflow.closed" {
                continue;
            }
            if is_here {
                let step = group.steps.entry(state.to_owned()).or_default();
                step.0.steps = vec![resource.to_owned()];
            }
            let Some((step, lasted)) = group.steps.get_mut(state) else {
                continue;
            };
            match kind(event) {
                "step.started" => {
                    n_open += 1;
                    if data["attempt"] == 1 {
                        step.entered += 1;
                    } else {
                        step.retries += 1;
                    }
                }
                "step.finished" => {
                    n_open -= 1;
                    if let Some(error) = data["error"].as_str() {
                        *step.errors.entry(error.to_owned()).or_default() += 1;
                    } else {
                        let outcome = data["outcome"].as_str().unwrap().to_owned();
                        *step.finished.entry(outcome).or_default() += 1;
                        lasted.push(data["durationMs"].as_i64().unwrap());
                    }
                }
                _ => {
                    step.dropped_off += n_open;
                    n_open = 0;
                }
            }
        }
        if let Some((step, _)) = group.steps.get_mut(state) {
            step.in_progress += n_open;
        }
    }
}

#[track_caller]
fn check_durations(found: Option<&DurationsView>, mut exact: Vec<i64>) {
    exact.sort_unstable();
    let Some(found) = found else {
        assert!(exact.is_empty());
        return;
    };
    assert_eq!(found.count, exact.len() as i64);
    for (percent, found) in [(50, found.p50_ms), (95, found.p95_ms)] {
        let rank = (exact.len() * percent).div_ceil(100);
        let exact = exact[rank - 1] as f64;
        let error = (found - exact).abs();
        assert!(
            error <= RELATIVE_ERROR * exact + 1e-9,
            "{found} for {exact}"
        );
    }
}

/// Asks for every group of a tenant and compares it with the count by hand.
async fn check_tenant(database: &Relational, workflows: &[Vec<Value>], tenant: &str) {
    let query = FunnelQuery {
        tenant: tenant.to_owned(),
        group_by: Some("language,hour,device".to_owned()),
        ..FunnelQuery::default()
    };
    let found = funnels(database, &query).await.unwrap().funnels;
    let by_hand = count_by_hand(workflows, tenant);
    assert_eq!(found.len(), by_hand.len());
    for (funnel, (key, by_hand)) in found.into_iter().zip(by_hand) {
        let found_key = (
            funnel.definition.clone(),
            funnel.version,
            funnel.hour.clone().unwrap(),
            funnel.device.clone().unwrap(),
            funnel.language.clone().unwrap(),
        );
        assert_eq!(found_key, key);
        check_durations(funnel.durations.as_ref(), by_hand.lasted);
        assert_eq!(funnel.started, by_hand.view.started, "{key:?}");
        assert_eq!(funnel.closed, by_hand.view.closed, "{key:?}");
        assert_eq!(funnel.decisions, by_hand.view.decisions, "{key:?}");
        assert_eq!(funnel.redriven, by_hand.view.redriven, "{key:?}");
        let alone = by_hand.view.decided_automatically;
        assert_eq!(funnel.decided_automatically, alone, "{key:?}");
        assert_eq!(funnel.steps.len(), by_hand.steps.len(), "{key:?}");
        for step in funnel.steps {
            let (expected, lasted) = &by_hand.steps[&step.state];
            check_durations(step.durations.as_ref(), lasted.clone());
            assert_eq!(step.steps, expected.steps);
            assert_eq!(step.entered, expected.entered, "{key:?} {}", step.state);
            assert_eq!(step.finished, expected.finished, "{key:?} {}", step.state);
            assert_eq!(step.errors, expected.errors, "{key:?} {}", step.state);
            assert_eq!(step.retries, expected.retries, "{key:?} {}", step.state);
            let dropped_off = expected.dropped_off;
            assert_eq!(step.dropped_off, dropped_off, "{key:?} {}", step.state);
        }
    }
}

/// Publishes workflows with repetitions while two projectors read and lose their leases all the time; then
/// hands everything over again.
async fn check_projector(database: Relational, n_workflows: u64) {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SystemClock);
    let mut random = StdRng::seed_from_u64(4);
    let workflows: Vec<Vec<Value>> = (0..n_workflows)
        .map(|number| workflow(number, &mut random))
        .collect();
    let n_events: usize = workflows.iter().map(Vec::len).sum();

    let shutdown = Shutdown::new();
    let pace = Pace {
        lease_ms: 400,
        tend_every: Duration::from_millis(50),
        records_max: 37,
        pause_max: Duration::from_millis(20),
    };
    let consumer = || {
        let sink = Arc::new(Projector::new(database.clone(), clock.clone()));
        let reader = Arc::new(JsonlReader::new(dir.path(), clock.clone()));
        let stream = Stream::Analytics;
        Consumer::new(sink, stream, reader, database.clone(), clock.clone()).at(pace)
    };
    let consumers = [consumer(), consumer()];
    let leases = consumers[0].leases().clone();
    let running = consumers.map(|it| tokio::spawn(it.run(shutdown.clone())));
    let records = publish(dir.path(), &workflows, &mut random).await;

    let complete = async {
        let sql = "SELECT CAST(COALESCE(SUM(sequence), 0) AS SIGNED), COUNT(*) FROM consumer_mark";
        let expected: usize = n_events;
        loop {
            let rows = database.fetch(sql, &[]).await.unwrap();
            if usize::try_from(rows[0].int(0).unwrap()).unwrap() == expected {
                return;
            }
            for row in leases.list().await.unwrap() {
                leases
                    .take(&row.shard, row.epoch, "thief", 0)
                    .await
                    .unwrap();
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    };
    tokio::time::timeout(PATIENCE, complete).await.unwrap();
    shutdown.trigger();
    for it in running {
        it.await.unwrap();
    }
    for tenant in ["one", "two"] {
        check_tenant(&database, &workflows, tenant).await;
    }

    let again = Projector::new(database.clone(), clock.clone());
    for some in records.chunks(500) {
        again.take("0", some).await.unwrap();
    }
    for tenant in ["one", "two"] {
        check_tenant(&database, &workflows, tenant).await;
    }
    let nobody = FunnelQuery {
        tenant: "three".to_owned(),
        ..FunnelQuery::default()
    };
    assert!(
        funnels(&database, &nobody)
            .await
            .unwrap()
            .funnels
            .is_empty()
    );
}

/// Publishes the events of all workflows, each in its order and the whole in none, some of them again.
async fn publish(
    dir: &std::path::Path,
    workflows: &[Vec<Value>],
    random: &mut StdRng,
) -> Vec<ReadRecord> {
    let streams = JsonlStreams::open(dir).unwrap();
    let mut next = vec![0; workflows.len()];
    let mut published = Vec::new();
    while next.iter().zip(workflows).any(|(it, of)| *it < of.len()) {
        let mut batch = Vec::new();
        for (next, events) in next.iter_mut().zip(workflows) {
            let n = random.random_range(0..3).min(events.len() - *next);
            // A relay that has died publishes the last ones again.
            let from = next.saturating_sub(random.random_range(0..2));
            batch.extend(events[from..*next + n].iter().map(|it| StreamRecord {
                partition_key: it["subject"].as_str().unwrap().to_owned(),
                bytes: Bytes::from(it.to_string()),
            }));
            *next += n;
        }
        streams.append(Stream::Analytics, &batch).await.unwrap();
        published.extend(batch);
    }
    let read = |it: StreamRecord| ReadRecord {
        partition_key: it.partition_key,
        bytes: it.bytes,
        position: String::new(),
    };
    published.into_iter().map(read).collect()
}

async fn open(url: &str, dir: &std::path::Path) -> Relational {
    let settings = Settings::from_table([("DATABASE_URL", url)]);
    let location = consumers::location(&settings, &DataDir::new(dir)).unwrap();
    consumers::open(&location).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn funnels_are_what_a_count_of_the_raw_events_gives() {
    let dir = tempfile::tempdir().unwrap();
    check_projector(open("", dir.path()).await, 150).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn funnels_are_the_same_on_mysql() {
    let server = MariaDb::start();
    let url = server.database().await;
    check_projector(open(&url, "/nowhere".as_ref()).await, 60).await;
}

#[tokio::test]
async fn a_funnel_is_asked_for_by_definition_version_and_hours() {
    let dir = tempfile::tempdir().unwrap();
    let database = open("", dir.path()).await;
    let mut random = StdRng::seed_from_u64(9);
    let workflows: Vec<Vec<Value>> = (0..60).map(|it| workflow(it, &mut random)).collect();
    let records = publish(dir.path(), &workflows, &mut random).await;
    let projector = Projector::new(database.clone(), Arc::new(SystemClock));
    projector.take("0", &records).await.unwrap();

    let all = FunnelQuery {
        tenant: "one".to_owned(),
        ..FunnelQuery::default()
    };
    let started = async |query: FunnelQuery| -> Vec<(String, i64, i64)> {
        let view = funnels(&database, &query).await.unwrap();
        let key = |it: &FunnelView| (it.definition.clone(), it.version, it.started);
        view.funnels.iter().map(key).collect()
    };
    let by_hand = |counts: &dyn Fn(&Value) -> bool| {
        let mut groups: BTreeMap<(String, i64), i64> = BTreeMap::new();
        for first in workflows.iter().map(|it| &it[0]) {
            if first["source"] == "/tenants/one" && counts(first) {
                let definition = first["data"]["definition"].as_str().unwrap().to_owned();
                let version = first["data"]["version"].as_i64().unwrap();
                *groups.entry((definition, version)).or_default() += 1;
            }
        }
        let flat = groups
            .into_iter()
            .map(|((name, version), n)| (name, version, n));
        flat.collect::<Vec<_>>()
    };
    assert_eq!(started(all.clone()).await, by_hand(&|_| true));
    let of_definition = FunnelQuery {
        definition: Some("renewal".to_owned()),
        version: Some(2),
        ..all.clone()
    };
    let is_asked = |it: &Value| it["data"]["definition"] == "renewal" && it["data"]["version"] == 2;
    assert_eq!(started(of_definition).await, by_hand(&is_asked));
    let of_an_hour = FunnelQuery {
        // In the middle of the second hour, which counts as a whole.
        from: Some(rfc3339(BEGIN_MS + HOUR_MS + 1)),
        to: Some(rfc3339(BEGIN_MS + 2 * HOUR_MS)),
        ..all.clone()
    };
    let hour = rfc3339(BEGIN_MS + HOUR_MS);
    let is_asked = |it: &Value| it["time"].as_str().unwrap()[..13] == hour[..13];
    assert_eq!(started(of_an_hour).await, by_hand(&is_asked));

    for wrong in [
        FunnelQuery {
            group_by: Some("hour,colour".to_owned()),
            ..all.clone()
        },
        FunnelQuery {
            from: Some("yesterday".to_owned()),
            ..all
        },
    ] {
        let error = funnels(&database, &wrong).await.unwrap_err();
        assert!(matches!(error, FunnelsError::Invalid(_)), "{error}");
    }
}
