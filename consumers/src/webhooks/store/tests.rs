//! What the rows of webhooks do on every database.

use btrust_platform::config::Settings;
use btrust_platform::consumers;
use btrust_platform::data_dir::DataDir;
use btrust_platform::testing::MariaDb;

use super::*;
use crate::webhooks::delivery::{Fault, Outcome, State, Stop};
use crate::webhooks::event::{Happening, Topic, happenings};
use crate::webhooks::retry::WINDOW_MS;

const MADE_MS: i64 = 1_000_000;

fn endpoint(id: &str, tenant: &str, topics: &[Topic]) -> EndpointRecord {
    EndpointRecord {
        id: id.to_owned(),
        tenant: tenant.to_owned(),
        url: "https://bank.example/hook".to_owned(),
        topics: topics.to_vec(),
        description: "Kern-System \u{2192} CRM".to_owned(),
        status: Status::Enabled,
        revision: 1,
        sequence: 0,
        failing_since_ms: None,
        created_by: "cli_1".to_owned(),
        created_ms: MADE_MS,
        changed_by: "cli_1".to_owned(),
        changed_ms: MADE_MS,
    }
}

fn secret(endpoint: &str, number: i64, now_ms: i64) -> SecretRecord {
    SecretRecord {
        endpoint: endpoint.to_owned(),
        number,
        wrapped_key: vec![0, 255, 1],
        sealed: vec![2; 70],
        created_ms: now_ms,
        expires_ms: None,
    }
}

/// The happening that record `number` of a workflow tells of.
fn happening(tenant: &str, number: u32, event: &str, at_ms: i64) -> Happening {
    let time = btrust_platform::clock::rfc3339(at_ms);
    let workflow = "wf_0192aabbccdd00112233445566778899";
    let record = format!(
        r#"{{"id":"{workflow}.1.{number}.audit","source":"/tenants/{tenant}","type":"com.btrust.workflow.changed","subject":"{workflow}","time":"{time}","data":{{"definition":"flow","version":1,"events":[{{"id":{number},"type":"{event}"}}]}}}}"#
    );
    happenings(record.as_bytes()).unwrap().remove(0)
}

fn answered(status: u16) -> Outcome {
    Outcome::Answered {
        status,
        retry_after_ms: None,
    }
}

/// What every database must do, with a store that has nothing.
async fn conforms(store: &Store) {
    endpoints_belong_to_their_tenant_and_change_by_revision(store).await;
    happenings_become_deliveries_once_and_in_sequence(store).await;
    what_is_due_is_claimed_once_and_again_after_its_claim(store).await;
    what_was_given_up_is_replayed_as_it_was(store).await;
    a_stopped_endpoint_keeps_what_happens_and_sends_nothing(store).await;
    secrets_rotate_within_their_limit(store).await;
    what_is_deleted_or_old_is_gone(store).await;
}

async fn endpoints_belong_to_their_tenant_and_change_by_revision(store: &Store) {
    let mut it = endpoint("whe_a", "bank", &[Topic::Closed, Topic::Failed]);
    assert!(
        store
            .insert_endpoint(&it, &secret("whe_a", 1, 0))
            .await
            .unwrap()
    );
    assert_eq!(
        store.endpoint("bank", "whe_a").await.unwrap(),
        Some(it.clone())
    );
    assert_eq!(store.endpoint("other", "whe_a").await.unwrap(), None);
    assert_eq!(store.endpoints("other").await.unwrap(), []);
    it.revision = 2;
    it.topics = vec![Topic::Closed];
    assert!(store.replace_endpoint(&it).await.unwrap());
    assert!(!store.replace_endpoint(&it).await.unwrap());
    assert_eq!(store.endpoint("bank", "whe_a").await.unwrap(), Some(it));
    for number in 1..ENDPOINTS_MAX {
        let it = endpoint(&format!("whe_b{number}"), "bank", &[Topic::Waiting]);
        let secret = secret(&it.id, 1, 0);
        assert!(store.insert_endpoint(&it, &secret).await.unwrap());
    }
    let more = endpoint("whe_c", "bank", &[Topic::Closed]);
    assert!(
        !store
            .insert_endpoint(&more, &secret("whe_c", 1, 0))
            .await
            .unwrap()
    );
}

async fn happenings_become_deliveries_once_and_in_sequence(store: &Store) {
    let ended = |number| happening("bank", number, "ExecutionSucceeded", MADE_MS);
    let others = [
        happening("bank", 1, "ExecutionSucceeded", MADE_MS - 1),
        happening("bank", 2, "ExecutionFailed", MADE_MS),
        happening("nobody", 3, "ExecutionSucceeded", MADE_MS),
    ];
    assert_eq!(store.enqueue(&others, MADE_MS).await.unwrap(), 0);
    let first = [ended(4), ended(5), ended(4)];
    assert_eq!(store.enqueue(&first, MADE_MS).await.unwrap(), 2);
    // The stream is read again, from before.
    let again = [ended(4), ended(5), ended(6)];
    assert_eq!(store.enqueue(&again, MADE_MS + 5).await.unwrap(), 1);
    assert_eq!(store.enqueue(&again, MADE_MS + 9).await.unwrap(), 0);
    let made = store.deliveries("whe_a", None, None, 10).await.unwrap();
    let sequences: Vec<i64> = made.iter().map(|it| it.sequence).collect();
    assert_eq!(sequences, [3, 2, 1]);
    let older = store
        .deliveries("whe_a", Some("due"), Some(3), 1)
        .await
        .unwrap();
    assert_eq!(older, made[1..2]);
    assert_eq!(
        store
            .deliveries("whe_a", Some("failed"), None, 9)
            .await
            .unwrap(),
        []
    );
    // Far more than one statement takes.
    let many: Vec<Happening> = (1_000..2_000)
        .map(|it| happening("big", it, "ExecutionFailed", MADE_MS))
        .collect();
    let it = endpoint("whe_big", "big", &[Topic::Failed]);
    store
        .insert_endpoint(&it, &secret("whe_big", 1, 0))
        .await
        .unwrap();
    assert_eq!(store.enqueue(&many, MADE_MS).await.unwrap(), 1_000);
    let it = store.endpoint("big", "whe_big").await.unwrap().unwrap();
    assert_eq!(it.sequence, 1_000);
    assert!(store.delete_endpoint("big", "whe_big").await.unwrap());
}

async fn what_is_due_is_claimed_once_and_again_after_its_claim(store: &Store) {
    let now_ms = MADE_MS + 10;
    let due = store.due_endpoints(now_ms, 10).await.unwrap();
    assert_eq!(
        due.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(),
        ["whe_a"]
    );
    assert_eq!(store.due_endpoints(MADE_MS - 1, 10).await.unwrap(), []);
    let until_ms = now_ms + 60_000;
    let claims = store.claim("whe_a", now_ms, until_ms, 2).await.unwrap();
    assert_eq!(
        claims.iter().map(|it| it.sequence).collect::<Vec<_>>(),
        [1, 2]
    );
    assert!(
        claims[0].body.contains(r#""sequence":1"#),
        "{}",
        claims[0].body
    );
    let rest = store.claim("whe_a", now_ms, until_ms, 9).await.unwrap();
    assert_eq!(rest.iter().map(|it| it.sequence).collect::<Vec<_>>(), [3]);
    assert_eq!(store.claim("whe_a", now_ms, until_ms, 9).await.unwrap(), []);
    assert_eq!(store.due_endpoints(now_ms, 10).await.unwrap(), []);

    let recorded = store
        .record(&claims[0], answered(204), now_ms, now_ms + 7, 0)
        .await
        .unwrap();
    assert!(matches!(recorded, Recorded::Changed(it) if it.state == State::Delivered));
    // Whoever had the others is dead.
    let again = store
        .claim("whe_a", until_ms, until_ms + 60_000, 9)
        .await
        .unwrap();
    assert_eq!(
        again
            .iter()
            .map(|it| (&it.id, &it.body))
            .collect::<Vec<_>>(),
        [
            (&claims[1].id, &claims[1].body),
            (&rest[0].id, &rest[0].body)
        ]
    );
    // Or was only slow: the later claim counts.
    let late = store
        .record(&rest[0], answered(204), now_ms, until_ms, 0)
        .await
        .unwrap();
    assert_eq!(late, Recorded::Lost);
    let outcome = Outcome::Unanswered(Fault::Timeout);
    let recorded = store
        .record(&again[1], outcome, until_ms, until_ms + 9, 0)
        .await
        .unwrap();
    let Recorded::Changed(change) = recorded else {
        panic!("the claim holds")
    };
    let State::Due { due_ms } = change.state else {
        panic!("it is tried again")
    };
    let (shown, attempts) = store.delivery("whe_a", &rest[0].id).await.unwrap().unwrap();
    assert_eq!(
        (shown.state.as_str(), shown.due_ms, shown.n_attempts),
        ("due", due_ms, 1)
    );
    let attempt = AttemptRecord {
        number: 1,
        at_ms: until_ms,
        duration_ms: 9,
        status: None,
        fault: Some("timeout".to_owned()),
    };
    assert_eq!(attempts, [attempt]);
    let due = store.due_endpoints(due_ms, 10).await.unwrap();
    assert!(due[0].is_failing);
}

async fn what_was_given_up_is_replayed_as_it_was(store: &Store) {
    let far_ms = MADE_MS + 2 * WINDOW_MS;
    let claims = store.claim("whe_a", far_ms, far_ms + 1, 1).await.unwrap();
    store
        .record(&claims[0], answered(200), far_ms, far_ms, 0)
        .await
        .unwrap();
    // Nothing else was taken for long, but this just was.
    let claims = store.claim("whe_a", far_ms, far_ms + 1, 9).await.unwrap();
    let recorded = store
        .record(&claims[0], answered(500), far_ms, far_ms, 0)
        .await
        .unwrap();
    assert!(
        matches!(recorded, Recorded::Changed(it) if it.state == State::Failed && it.stop.is_none())
    );
    let id = claims[0].id.as_str();
    let n_due = store
        .replay("whe_a", Replay::One(id), far_ms + 5)
        .await
        .unwrap();
    assert_eq!(n_due, Some(1));
    let n_due = store
        .replay("whe_a", Replay::One(id), far_ms + 6)
        .await
        .unwrap();
    assert_eq!(n_due, Some(0));
    let again = store
        .claim("whe_a", far_ms + 5, far_ms + 9, 9)
        .await
        .unwrap();
    assert_eq!(
        (&again[0].id, &again[0].body),
        (&claims[0].id, &claims[0].body)
    );
    let recorded = store
        .record(&again[0], answered(500), far_ms, far_ms + 5, 0)
        .await
        .unwrap();
    assert!(matches!(recorded, Recorded::Changed(it) if matches!(it.state, State::Due { .. })));
    let (_, attempts) = store.delivery("whe_a", id).await.unwrap().unwrap();
    let numbers: Vec<i64> = attempts.iter().map(|it| it.number).collect();
    assert_eq!(
        numbers,
        (1..=i64::try_from(attempts.len()).unwrap()).collect::<Vec<_>>()
    );

    let all = Replay::All { since_ms: MADE_MS };
    assert_eq!(
        store.replay("whe_a", all, far_ms + 7).await.unwrap(),
        Some(2)
    );
    let none = Replay::Failed { since_ms: MADE_MS };
    assert_eq!(
        store.replay("whe_a", none, far_ms + 7).await.unwrap(),
        Some(0)
    );
    assert_eq!(store.replay("whe_z", all, far_ms + 7).await.unwrap(), None);
}

async fn a_stopped_endpoint_keeps_what_happens_and_sends_nothing(store: &Store) {
    let now_ms = MADE_MS + 3 * WINDOW_MS;
    let claims = store.claim("whe_a", now_ms, now_ms + 1, 1).await.unwrap();
    let recorded = store
        .record(&claims[0], answered(410), now_ms, now_ms, 0)
        .await
        .unwrap();
    assert!(matches!(recorded, Recorded::Changed(it) if it.stop == Some(Stop::Gone)));
    let stopped = store.endpoint("bank", "whe_a").await.unwrap().unwrap();
    assert_eq!(
        (stopped.status, stopped.revision),
        (Status::Stopped(Stop::Gone), 3)
    );
    let more = [happening("bank", 50, "ExecutionSucceeded", now_ms)];
    assert_eq!(store.enqueue(&more, now_ms).await.unwrap(), 1);
    assert!(!store.enqueue_one("whe_a", &more[0], now_ms).await.unwrap());
    let made = store.deliveries("whe_a", None, None, 10).await.unwrap();
    assert!(made.iter().all(|it| it.state == "failed"), "{made:?}");
    assert_eq!(store.due_endpoints(i64::MAX - 1, 10).await.unwrap(), []);
    assert_eq!(
        store
            .claim("whe_a", i64::MAX - 1, i64::MAX, 9)
            .await
            .unwrap(),
        []
    );

    let enabled = EndpointRecord {
        status: Status::Enabled,
        revision: 4,
        failing_since_ms: None,
        ..stopped
    };
    assert!(store.replace_endpoint(&enabled).await.unwrap());
    let failed = Replay::Failed { since_ms: MADE_MS };
    assert_eq!(
        store.replay("whe_a", failed, now_ms).await.unwrap(),
        Some(4)
    );
    let disabled = EndpointRecord {
        status: Status::Disabled,
        revision: 5,
        ..enabled
    };
    assert!(store.replace_endpoint(&disabled).await.unwrap());
    assert_eq!(store.due_endpoints(i64::MAX - 1, 10).await.unwrap(), []);
    let unheard = [happening("bank", 51, "ExecutionSucceeded", now_ms)];
    assert_eq!(store.enqueue(&unheard, now_ms).await.unwrap(), 0);
}

async fn secrets_rotate_within_their_limit(store: &Store) {
    let numbers = async |now_ms: i64| -> Vec<i64> {
        let secrets = store.secrets("whe_a", now_ms).await.unwrap();
        secrets.iter().map(|it| it.number).collect()
    };
    assert_eq!(numbers(0).await, [1]);
    assert!(
        store
            .rotate_secret(&secret("whe_a", 2, 10), 100)
            .await
            .unwrap()
    );
    assert_eq!(
        (numbers(99).await, numbers(100).await),
        (vec![2, 1], vec![2])
    );
    assert!(
        store
            .rotate_secret(&secret("whe_a", 3, 20), 200)
            .await
            .unwrap()
    );
    // The first one is not given more time by a later rotation.
    assert_eq!(
        (numbers(99).await, numbers(100).await),
        (vec![3, 2, 1], vec![3, 2])
    );
    assert!(
        !store
            .rotate_secret(&secret("whe_a", 4, 30), 300)
            .await
            .unwrap()
    );
    assert!(
        !store
            .rotate_secret(&secret("whe_a", 3, 150), 150)
            .await
            .unwrap()
    );
    assert!(
        store
            .rotate_secret(&secret("whe_a", 4, 30), 30)
            .await
            .unwrap()
    );
    assert_eq!(numbers(30).await, [4]);
    assert!(
        !store
            .rotate_secret(&secret("whe_z", 1, 30), 30)
            .await
            .unwrap()
    );
    store.delete_expired_secrets(1_000).await.unwrap();
    let shown = store.secrets("whe_a", 0).await.unwrap();
    assert_eq!((shown.len(), &shown[0]), (1, &secret("whe_a", 4, 30)));
}

async fn what_is_deleted_or_old_is_gone(store: &Store) {
    let before = store.deliveries("whe_a", None, None, 10).await.unwrap();
    assert!(!store.sweep(before[3].created_ms).await.unwrap());
    assert_eq!(
        store
            .deliveries("whe_a", None, None, 10)
            .await
            .unwrap()
            .len(),
        4
    );
    store.sweep(before[0].created_ms).await.unwrap();
    assert_eq!(
        store.deliveries("whe_a", None, None, 10).await.unwrap(),
        before[..1]
    );
    assert_eq!(store.delivery("whe_a", &before[3].id).await.unwrap(), None);
    assert!(!store.delete_endpoint("other", "whe_a").await.unwrap());
    assert!(store.delete_endpoint("bank", "whe_a").await.unwrap());
    assert!(!store.delete_endpoint("bank", "whe_a").await.unwrap());
    assert_eq!(store.deliveries("whe_a", None, None, 10).await.unwrap(), []);
    assert_eq!(store.secrets("whe_a", 0).await.unwrap(), []);
}

#[tokio::test]
async fn sqlite_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let none: [(&str, &str); 0] = [];
    let location =
        consumers::location(&Settings::from_table(none), &DataDir::new(folder.path())).unwrap();
    conforms(&Store::new(consumers::open(&location).await.unwrap())).await;
}

#[tokio::test]
async fn mysql_conforms() {
    let server = MariaDb::start();
    let settings = Settings::from_table([("DATABASE_URL", server.database().await)]);
    let location = consumers::location(&settings, &DataDir::new("/nowhere")).unwrap();
    conforms(&Store::new(consumers::open(&location).await.unwrap())).await;
}
