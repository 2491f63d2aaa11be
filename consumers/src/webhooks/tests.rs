//! Webhooks as a whole: records in, calls out, with real receivers on this machine and a clock of our own.

mod receiver;

use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use serde_json::{Value, json};

use btrust_platform::clock::{Clock as _, ManualClock, SystemClock, rfc3339};
use btrust_platform::config::Settings;
use btrust_platform::consumers::{self, Sink as _};
use btrust_platform::data_dir::DataDir;
use btrust_platform::keys::LocalKeyring;
use btrust_platform::random::SystemRandom;
use btrust_platform::streams::ReadRecord;
use btrust_schemas::webhooks::{
    DeliveryQuery, EndpointRequest, EndpointSpec, EndpointView, NewEndpointView, ReplayRequest,
    RotationRequest,
};

use super::dispatch::Dispatcher;
use super::retry::WINDOW_MS;
use super::store::ENDPOINTS_MAX;
use super::*;
use receiver::Receiver;

const WORKFLOW: &str = "wf_0192aabbccdd00112233445566778899";
const TOPICS: [&str; 3] = ["workflow.closed", "workflow.waiting", "workflow.failed"];

/// Every name is this machine, but for one that is the metadata of a cloud and one that is nothing.
struct Here;

#[async_trait]
impl Resolver for Here {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let address = match host {
            "metadata.example" => [169, 254, 169, 254],
            "nothing.example" => return Err(io::ErrorKind::NotFound.into()),
            _ => [127, 0, 0, 1],
        };
        Ok(vec![SocketAddr::from((address, port))])
    }
}

struct World {
    webhooks: Arc<Webhooks>,
    clock: Arc<ManualClock>,
    folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Receivers look at the wall clock.
        let clock = Arc::new(ManualClock::new(SystemClock.now_ms()));
        let webhooks = webhooks(&folder, &clock).await;
        Self {
            webhooks,
            clock,
            folder,
        }
    }

    /// The process dies; another one goes on with what it has written down.
    async fn restart(&mut self) {
        self.webhooks = webhooks(&self.folder, &self.clock).await;
    }

    async fn endpoint(&self, tenant: &str, url: &str) -> NewEndpointView {
        self.webhooks
            .create(tenant, request(url, true))
            .await
            .unwrap()
    }

    /// Hands over records `numbers` of a workflow that has ended so often.
    async fn ends(&self, tenant: &str, numbers: std::ops::Range<u32>) {
        let records: Vec<ReadRecord> = numbers.map(|it| self.record(tenant, it)).collect();
        self.webhooks.sink().take("0", &records).await.unwrap();
    }

    fn record(&self, tenant: &str, number: u32) -> ReadRecord {
        let record = json!({
            "specversion": "1.0", "id": format!("{WORKFLOW}.1.{number}.audit"),
            "source": format!("/tenants/{tenant}"), "type": "com.btrust.workflow.changed",
            "subject": WORKFLOW, "time": rfc3339(self.clock.now_ms()), "partitionkey": WORKFLOW,
            "sequence": number.to_string(),
            "data": { "definition": "flow", "version": 1, "events": [
                { "id": number, "type": "ExecutionSucceeded", "decision": "approved" },
            ] },
        });
        ReadRecord {
            partition_key: WORKFLOW.to_owned(),
            bytes: serde_json::to_vec(&record).unwrap().into(),
            position: number.to_string(),
        }
    }

    /// Sends until nothing is due.
    async fn send(&self) {
        let mut dispatcher = Dispatcher::new(Arc::clone(&self.webhooks));
        loop {
            dispatcher.look().await.unwrap();
            if !dispatcher.join().await {
                return;
            }
        }
    }

    /// When the only delivery of an endpoint is due, or its state.
    async fn state(&self, endpoint: &EndpointView) -> (String, i64) {
        let query = DeliveryQuery::default();
        let page = self
            .webhooks
            .deliveries("bank", &endpoint.id, &query)
            .await
            .unwrap();
        assert_eq!(page.deliveries.len(), 1);
        let delivery = page.deliveries[0].clone();
        (delivery.state, delivery.n_attempts)
    }
}

async fn webhooks(folder: &tempfile::TempDir, clock: &Arc<ManualClock>) -> Arc<Webhooks> {
    let settings = Settings::from_table([("WEBHOOKS_ALLOW_LOOPBACK", "true")]);
    let data_dir = DataDir::open(folder.path()).unwrap();
    let location = consumers::location(&settings, &data_dir).unwrap();
    let ports = Ports {
        db: consumers::open(&location).await.unwrap(),
        keys: Arc::new(LocalKeyring::open(&data_dir.keyring()).unwrap()),
        resolver: Arc::new(Here),
        clock: Arc::clone(clock) as _,
        random: SystemRandom::shared(),
    };
    Webhooks::new(&Config::from_settings(&settings).unwrap(), ports).unwrap()
}

fn request(url: &str, enabled: bool) -> EndpointRequest {
    EndpointRequest {
        spec: EndpointSpec {
            url: url.to_owned(),
            topics: TOPICS.map(str::to_owned).to_vec(),
            description: "core banking".to_owned(),
            enabled,
        },
        revision: None,
        actor: "cli_1".to_owned(),
    }
}

#[tokio::test]
async fn a_workflow_that_closes_is_one_signed_call_to_each_endpoint_of_its_tenant() {
    let world = World::new().await;
    let (receiver, other) = (Receiver::start(&[204]).await, Receiver::start(&[204]).await);
    let made = world.endpoint("bank", &receiver.url("/hook?a=b")).await;
    let second = world.endpoint("bank", &receiver.url("/second")).await;
    world.endpoint("other", &other.url("/")).await;
    world.ends("bank", 1..2).await;
    world.ends("bank", 1..2).await;
    world.send().await;
    world.send().await;

    let mut calls = receiver.calls();
    assert_eq!((calls.len(), other.calls().len()), (2, 0));
    calls.sort_by(|a, b| a.path.cmp(&b.path));
    assert_eq!(calls[0].path, "/hook?a=b");
    assert!(calls[0].is_signed_with(&made.secret) && !calls[0].is_signed_with(&second.secret));
    assert!(calls[1].is_signed_with(&second.secret));
    assert_ne!(calls[0].id(), calls[1].id());
    let expected = json!({
        "type": "workflow.closed", "timestamp": rfc3339(world.clock.now_ms()),
        "data": { "sequence": 1, "workflow": WORKFLOW, "definition": "flow", "version": 1,
            "status": "succeeded", "decision": "approved" },
    });
    assert_eq!(calls[0].json(), expected);
    assert_eq!(
        world.state(&made.endpoint).await,
        ("delivered".to_owned(), 1)
    );
}

#[tokio::test]
async fn a_receiver_that_is_down_gets_the_same_call_when_it_is_back() {
    let world = World::new().await;
    let receiver = Receiver::start(&[500, 429, 302, 200]).await;
    let made = world.endpoint("bank", &receiver.url("/")).await;
    world.ends("bank", 1..2).await;
    for n_calls in 1..=4 {
        world.send().await;
        assert_eq!(receiver.calls().len(), n_calls);
        world.clock.advance(3_600_000);
    }
    world.send().await;
    let calls = receiver.calls();
    assert_eq!(calls.len(), 4);
    assert!(
        calls
            .iter()
            .all(|it| it.id() == calls[0].id() && it.body == calls[0].body)
    );
    let times: Vec<i64> = calls.iter().map(receiver::Received::timestamp_s).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    assert!(calls[0].is_signed_with(&made.secret));
    assert_eq!(
        world.state(&made.endpoint).await,
        ("delivered".to_owned(), 4)
    );
}

#[tokio::test]
async fn a_process_that_dies_doubles_no_sequence_and_keeps_ids() {
    let mut world = World::new().await;
    let receiver = Receiver::start(&[200]).await;
    let made = world.endpoint("bank", &receiver.url("/")).await;
    world.ends("bank", 1..4).await;
    // It has the calls and dies before it has heard of their ends.
    let now_ms = world.clock.now_ms();
    let store = &world.webhooks.store;
    let claims = store
        .claim(&made.endpoint.id, now_ms, now_ms + 60_000, 8)
        .await
        .unwrap();
    assert_eq!(claims.len(), 3);
    world.restart().await;
    // The checkpoint was not stored either: the stream is read again from before.
    world.ends("bank", 1..6).await;
    world.send().await;
    world.clock.advance(60_000);
    world.send().await;
    let calls = receiver.calls();
    let mut sequences: Vec<i64> = calls
        .iter()
        .map(|it| it.json()["data"]["sequence"].as_i64().unwrap())
        .collect();
    sequences.sort_unstable();
    assert_eq!(sequences, [1, 2, 3, 4, 5]);
    for claim in &claims {
        let call = calls.iter().find(|it| it.id() == claim.id).unwrap();
        assert_eq!(call.body, claim.body);
    }
}

#[tokio::test]
async fn both_secrets_sign_while_one_replaces_the_other() {
    let world = World::new().await;
    let receiver = Receiver::start(&[200]).await;
    let made = world.endpoint("bank", &receiver.url("/")).await;
    let id = &made.endpoint.id;
    let rotation = RotationRequest {
        overlap_seconds: 60,
        actor: "cli_1".to_owned(),
    };
    let new = world.webhooks.rotate("bank", id, &rotation).await.unwrap();
    assert_eq!(new.others_until, rfc3339(world.clock.now_ms() + 60_000));
    world.webhooks.test("bank", id).await.unwrap();
    world.send().await;
    world.clock.advance(60_000);
    world.webhooks.test("bank", id).await.unwrap();
    world.send().await;
    let calls = receiver.calls();
    assert_eq!(calls[0].json()["type"], "webhook.test");
    let accepted = |it: &receiver::Received| {
        (
            it.is_signed_with(&made.secret),
            it.is_signed_with(&new.secret),
        )
    };
    assert_eq!(
        calls.iter().map(accepted).collect::<Vec<_>>(),
        [(true, true), (false, true)]
    );
}

#[tokio::test]
async fn an_endpoint_that_takes_nothing_for_three_days_is_stopped_and_can_catch_up() {
    let world = World::new().await;
    let receiver = Receiver::start(&[503]).await;
    let made = world.endpoint("bank", &receiver.url("/")).await;
    let id = made.endpoint.id.clone();
    world.ends("bank", 1..2).await;
    let began_ms = world.clock.now_ms();
    while world.clock.now_ms() <= began_ms + WINDOW_MS {
        world.send().await;
        world.clock.advance(1_800_000);
    }
    world.send().await;
    let stopped = world.webhooks.get("bank", &id).await.unwrap();
    assert_eq!(
        (stopped.status.as_str(), stopped.failing_since.is_some()),
        ("failing", true)
    );
    assert!(15 < receiver.calls().len());
    // What happens meanwhile is kept and not sent.
    let n_calls = receiver.calls().len();
    world.ends("bank", 2..3).await;
    world.send().await;
    assert_eq!(receiver.calls().len(), n_calls);
    let error = world.webhooks.test("bank", &id).await.unwrap_err();
    assert!(matches!(error, AdminError::NotEnabled));

    receiver.answer(&[200]);
    let enabled = world
        .webhooks
        .replace("bank", &id, request(&receiver.url("/"), true))
        .await
        .unwrap();
    assert_eq!(
        (enabled.status.as_str(), enabled.failing_since),
        ("enabled", None)
    );
    let replay = ReplayRequest {
        since: rfc3339(began_ms),
        failed_only: true,
        actor: "cli_1".to_owned(),
    };
    let replayed = world
        .webhooks
        .replay_since("bank", &id, &replay)
        .await
        .unwrap();
    assert_eq!(replayed.n_deliveries, 2);
    world.send().await;
    let calls = receiver.calls();
    assert_eq!(calls.len(), n_calls + 2);
    let mut caught_up: Vec<Value> = calls[n_calls..]
        .iter()
        .map(|it| it.json()["data"]["sequence"].clone())
        .collect();
    caught_up.sort_by_key(Value::as_i64);
    assert_eq!(caught_up, [json!(1), json!(2)]);
    assert!(calls[n_calls..].iter().any(|it| it.id() == calls[0].id()));
}

#[tokio::test]
async fn a_delivery_is_replayed_under_its_id_and_its_attempts_are_shown() {
    let world = World::new().await;
    let receiver = Receiver::start(&[200]).await;
    let made = world.endpoint("bank", &receiver.url("/")).await;
    let id = &made.endpoint.id;
    world.ends("bank", 1..3).await;
    world.send().await;
    let query = DeliveryQuery {
        limit: Some(1),
        ..Default::default()
    };
    let page = world.webhooks.deliveries("bank", id, &query);
    let page = page.await.unwrap();
    assert_eq!((page.deliveries[0].sequence, page.next), (2, Some(2)));
    let delivery = &page.deliveries[0].id;
    let replayed = world
        .webhooks
        .replay_one("bank", id, delivery)
        .await
        .unwrap();
    assert_eq!((replayed.state.as_str(), &replayed.id), ("due", delivery));
    world.send().await;
    let shown = world.webhooks.delivery("bank", id, delivery).await.unwrap();
    assert_eq!(
        (shown.delivery.state.as_str(), shown.attempts.len()),
        ("delivered", 2)
    );
    assert_eq!(shown.attempts[1].status, Some(200));
    let calls = receiver.calls();
    assert_eq!(calls.iter().filter(|it| it.id() == delivery).count(), 2);
    let error = world
        .webhooks
        .replay_one("bank", id, "msg_0")
        .await
        .unwrap_err();
    assert!(matches!(error, AdminError::DeliveryUnknown(_)));
}

#[tokio::test]
async fn a_slow_receiver_has_few_calls_at_a_time_and_delays_no_other() {
    let world = World::new().await;
    let (slow, quick) = (Receiver::silent().await, Receiver::start(&[200]).await);
    world.endpoint("bank", &slow.url("/")).await;
    world.endpoint("bank", &quick.url("/")).await;
    world.ends("bank", 1..101).await;
    let mut dispatcher = Dispatcher::new(Arc::clone(&world.webhooks));
    while quick.calls().len() < 100 {
        dispatcher.look().await.unwrap();
        dispatcher.join().await;
    }
    dispatcher.look().await.unwrap();
    slow.heard(8).await;
    assert_eq!(slow.calls().len(), 8);
}

#[tokio::test]
async fn a_tenant_whose_receivers_are_silent_leaves_room_for_the_others() {
    let world = World::new().await;
    let (silent, quick) = (Receiver::silent().await, Receiver::start(&[200]).await);
    for number in 0..ENDPOINTS_MAX {
        world
            .endpoint("greedy", &silent.url(&format!("/{number}")))
            .await;
    }
    world.endpoint("bank", &quick.url("/")).await;
    world.ends("greedy", 1..9).await;
    let mut dispatcher = Dispatcher::new(Arc::clone(&world.webhooks));
    for _ in 0..3 {
        dispatcher.look().await.unwrap();
    }
    // Half of all calls, however many of its endpoints have something due.
    silent.heard(32).await;
    world.ends("bank", 101..109).await;
    while quick.calls().len() < 8 {
        dispatcher.look().await.unwrap();
        dispatcher.join().await;
    }
    assert_eq!(silent.calls().len(), 32);
}

#[tokio::test]
async fn nobody_learns_which_names_mean_something_inside() {
    let world = World::new().await;
    let webhooks = &world.webhooks;
    let mut said = Vec::new();
    for host in ["metadata.example", "nothing.example"] {
        let request = request(&format!("https://{host}/"), true);
        let error = webhooks.create("bank", request).await.unwrap_err();
        said.push(error.to_string());
    }
    assert_eq!(said[0], said[1]);
}

#[tokio::test]
async fn what_is_no_endpoint_is_refused_and_nobody_sees_those_of_others() {
    let world = World::new().await;
    let webhooks = &world.webhooks;
    for url in [
        "http://bank.example/",
        "https://10.0.0.1/",
        "https://[fd00:ec2::254]/",
        "https://metadata.example/",
        "https://metadata/",
        "not a url",
    ] {
        let error = webhooks
            .create("bank", request(url, true))
            .await
            .unwrap_err();
        assert!(
            matches!(error, AdminError::Target(_) | AdminError::Host),
            "{url}: {error}"
        );
    }
    let mut odd = request("http://127.0.0.1:1/", true);
    odd.spec.topics = vec!["workflow.closed".to_owned(), "everything".to_owned()];
    assert!(matches!(
        webhooks.create("bank", odd.clone()).await,
        Err(AdminError::Topics)
    ));
    odd.spec.topics.clear();
    assert!(matches!(
        webhooks.create("bank", odd).await,
        Err(AdminError::Topics)
    ));
    let mut long = request("http://127.0.0.1:1/", true);
    long.spec.description = "\u{e9}".repeat(201);
    assert!(matches!(
        webhooks.create("bank", long).await,
        Err(AdminError::Description)
    ));

    let made = world.endpoint("bank", "http://127.0.0.1:1/").await;
    let id = &made.endpoint.id;
    assert!(matches!(
        webhooks.get("other", id).await,
        Err(AdminError::Unknown(_))
    ));
    assert!(matches!(
        webhooks.test("other", id).await,
        Err(AdminError::Unknown(_))
    ));
    assert!(matches!(
        webhooks.delete("other", id, "cli_2").await,
        Err(AdminError::Unknown(_))
    ));
    let replaced = webhooks
        .replace("other", id, request("http://127.0.0.1:1/", false))
        .await;
    assert!(matches!(replaced, Err(AdminError::Unknown(_))));
    let mut stale = request("http://127.0.0.1:1/", false);
    stale.revision = Some(7);
    assert!(matches!(
        webhooks.replace("bank", id, stale).await,
        Err(AdminError::Changed)
    ));
    let rotation = RotationRequest {
        overlap_seconds: 8 * 24 * 3_600,
        actor: "cli_1".to_owned(),
    };
    assert!(matches!(
        webhooks.rotate("bank", id, &rotation).await,
        Err(AdminError::Overlap)
    ));
    assert_eq!(webhooks.list("other").await.unwrap().endpoints, []);
    assert_eq!(
        webhooks.list("bank").await.unwrap().endpoints,
        [made.endpoint]
    );
}

#[tokio::test]
async fn a_stream_that_is_read_again_after_everything_was_forgotten_tells_nothing_old() {
    let world = World::new().await;
    let receiver = Receiver::start(&[200]).await;
    world.endpoint("bank", &receiver.url("/")).await;
    let old = world.record("bank", 1);
    world
        .webhooks
        .sink()
        .take("0", std::slice::from_ref(&old))
        .await
        .unwrap();
    world.send().await;
    world.clock.advance(RETENTION_MS + 1);
    world.webhooks.sweep().await.unwrap();
    let broken = ReadRecord {
        bytes: "{".into(),
        ..old.clone()
    };
    world
        .webhooks
        .sink()
        .take("0", &[old, broken, world.record("bank", 2)])
        .await
        .unwrap();
    world.send().await;
    let sequences: Vec<Value> = receiver
        .calls()
        .iter()
        .map(|it| it.json()["data"]["sequence"].clone())
        .collect();
    assert_eq!(sequences, [json!(1), json!(2)]);
}
