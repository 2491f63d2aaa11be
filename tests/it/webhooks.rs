//! Webhooks from a workflow to a receiver, over the public API of a running platform.

#![expect(
    clippy::unwrap_used,
    reason = "a process of the test that cannot be handled ends the test"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use btrust_tests::{Client, World};
use poem::http::{HeaderMap, StatusCode};
use poem::listener::{Acceptor as _, Listener as _, TcpListener};
use poem::{Endpoint, Request, Server};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::samples::form_definition;

/// How long calls may take to arrive.
///
/// Source: a call that was not taken comes again within 10 s, one whose sender was killed within 60 s.
const CALLED_WITHIN: Duration = Duration::from_mins(3);

/// A receiver that takes calls while it is told to.
#[derive(Clone, Default)]
struct Receiver(Arc<Shared>);

#[derive(Default)]
struct Shared {
    calls: Mutex<Vec<(HeaderMap, String)>>,
    is_down: Mutex<bool>,
    called: Notify,
}

impl Endpoint for Receiver {
    type Output = StatusCode;

    async fn call(&self, mut request: Request) -> poem::Result<StatusCode> {
        let body = request.take_body().into_string().await?;
        let headers = request.headers().clone();
        self.0.calls.lock().unwrap().push((headers, body));
        self.0.called.notify_one();
        let is_down = *self.0.is_down.lock().unwrap();
        Ok(if is_down {
            StatusCode::BAD_GATEWAY
        } else {
            StatusCode::NO_CONTENT
        })
    }
}

impl Receiver {
    /// Listens, and says where.
    async fn start(&self) -> String {
        let acceptor = TcpListener::bind("127.0.0.1:0")
            .into_acceptor()
            .await
            .unwrap();
        let url = format!(
            "http://{}/hook",
            acceptor.local_addr()[0].as_socket_addr().unwrap()
        );
        tokio::spawn(Server::new_with_acceptor(acceptor).run(self.clone()));
        url
    }

    fn go_down(&self, is_down: bool) {
        *self.0.is_down.lock().unwrap() = is_down;
    }

    /// Id and body of every call, as soon as they are `enough`; each must be signed with the secret.
    async fn calls(
        &self,
        secret: &str,
        enough: impl Fn(&[(String, Value)]) -> bool,
    ) -> Vec<(String, Value)> {
        let judge = standardwebhooks::Webhook::new(secret).unwrap();
        let waiting = async {
            loop {
                let calls = self.0.calls.lock().unwrap().clone();
                let read = calls.iter().map(|(headers, body)| {
                    let id = headers["webhook-id"].to_str().unwrap().to_owned();
                    judge.verify(body.as_bytes(), headers).unwrap();
                    (id, serde_json::from_str(body).unwrap())
                });
                let read: Vec<(String, Value)> = read.collect();
                if enough(&read) {
                    return read;
                }
                self.0.called.notified().await;
            }
        };
        tokio::time::timeout(CALLED_WITHIN, waiting)
            .await
            .expect("the receiver is called")
    }
}

async fn start(bank: &Client, key: &str) -> String {
    let started = bank.start(key, "nickname", json!({})).await.ok();
    started["id"].as_str().expect("an id").to_owned()
}

async fn answer(bank: &Client, id: &str) {
    let applicant = bank.applicant(id).await;
    let prompt = applicant.prompt(id).await;
    let nickname = json!({"values": {"nickname": "Ada"}});
    applicant.submit(&prompt, nickname).await.ok();
}

fn of<'c>(calls: &'c [(String, Value)], topic: &str, workflow: &str) -> Vec<&'c (String, Value)> {
    let is_it =
        |it: &&(String, Value)| it.1["type"] == topic && it.1["data"]["workflow"] == workflow;
    calls.iter().filter(is_it).collect()
}

#[tokio::test]
async fn a_bank_is_told_what_happens_to_its_workflows() {
    let mut world = World::start_with(&[("WEBHOOKS_ALLOW_LOOPBACK", "true")]);
    let admin = world.client("admin").await;
    admin
        .post("/v1/definitions", form_definition("nickname"))
        .await
        .ok();
    let bank = world.client("bank").await;
    let receiver = Receiver::default();
    let topics = json!(["workflow.closed", "workflow.waiting", "workflow.failed"]);
    for url in [
        "https://169.254.169.254/",
        "https://10.0.0.1/",
        "http://example.com/",
        "https://printer/",
    ] {
        let refused = admin
            .post(
                "/v1/webhook-endpoints",
                json!({ "url": url, "topics": topics }),
            )
            .await;
        refused.assert_problem(422, "webhook_url_refused");
    }
    let spec = json!({ "url": receiver.start().await, "topics": topics });
    bank.post("/v1/webhook-endpoints", spec.clone())
        .await
        .assert_problem(403, "scope_missing");
    let made = admin.post("/v1/webhook-endpoints", spec).await.ok();
    let secret = made["secret"].as_str().expect("a secret");
    let path = format!(
        "/v1/webhook-endpoints/{}",
        made["endpoint"]["id"].as_str().expect("an id")
    );

    // A workflow waits and closes: one call each, in sequence.
    let first = start(&bank, "one").await;
    answer(&bank, &first).await;
    let calls = receiver.calls(secret, |it| 2 <= it.len()).await;
    let waiting = of(&calls, "workflow.waiting", &first);
    assert_eq!(waiting.len(), 1, "{calls:?}");
    assert_eq!(waiting[0].1["data"]["waitingFor"], "applicant");
    let closed = of(&calls, "workflow.closed", &first);
    assert_eq!(
        (closed.len(), &closed[0].1["data"]["decision"]),
        (1, &json!("approved"))
    );
    let sequences: Vec<&Value> = [waiting[0], closed[0]]
        .map(|it| &it.1["data"]["sequence"])
        .to_vec();
    assert_eq!(sequences, [1, 2]);
    assert!(!calls.iter().any(|it| it.1.to_string().contains("Ada")));

    // The receiver is down for a while, and the platform is killed meanwhile.
    receiver.go_down(true);
    let second = start(&bank, "two").await;
    receiver
        .calls(secret, |it| !of(it, "workflow.waiting", &second).is_empty())
        .await;
    world.kill_and_restart();
    receiver.go_down(false);
    let (bank, admin) = (world.client("bank").await, world.client("admin").await);
    answer(&bank, &second).await;
    let calls = receiver
        .calls(secret, |it| {
            2 <= of(it, "workflow.waiting", &second).len()
                && !of(it, "workflow.closed", &second).is_empty()
        })
        .await;
    let again = of(&calls, "workflow.waiting", &second);
    assert!(again.iter().all(|it| **it == *again[0]), "{again:?}");
    // Nothing was doubled: every sequence has one id and one body.
    let mut by_sequence = std::collections::BTreeMap::new();
    for call in &calls {
        let sequence = call.1["data"]["sequence"].as_i64().expect("a sequence");
        let first = by_sequence.entry(sequence).or_insert(call);
        assert_eq!(*first, call);
    }
    assert_eq!(by_sequence.into_keys().collect::<Vec<_>>(), [1, 2, 3, 4]);

    // What was delivered is listed, and replayed under its id.
    let (id, body) = calls[0].clone();
    let replayed = admin
        .post(&format!("{path}/deliveries/{id}/replay"), json!({}))
        .await
        .ok();
    assert_eq!(
        (&replayed["id"], &replayed["state"]),
        (&json!(id), &json!("due"))
    );
    let n_before = calls.iter().filter(|it| it.0 == id).count();
    let calls = receiver
        .calls(secret, |it| {
            n_before < it.iter().filter(|it| it.0 == id).count()
        })
        .await;
    assert!(calls.iter().filter(|it| it.0 == id).all(|it| it.1 == body));
    let listed = admin.get(&format!("{path}/deliveries?limit=3")).await.ok();
    let sequences: Vec<&Value> = listed["deliveries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["sequence"])
        .collect();
    assert_eq!(
        (sequences, &listed["next"]),
        (vec![&json!(4), &json!(3), &json!(2)], &json!(2))
    );
}
