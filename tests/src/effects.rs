//! A bank, a worker and an outside world in one: starts workflows of twelve effects and carries them out.
//!
//! An effect is announced by a checkpoint, then written to the ledger, then reported. Whoever gets a turn
//! whose checkpoint is there asks the ledger first, as a step asks its provider by idempotency key.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde_json::{Value, json};

/// Tenant of every workflow here.
pub const TENANT: &str = "acme";
/// Effects of one workflow.
pub const N_EFFECTS: usize = 12;
/// Longest wait of one call for tasks, ms.
const WAIT_MS: u64 = 200;
/// Pause after a call that failed.
const PAUSE: Duration = Duration::from_millis(10);

/// Twelve effects: three after one another, a `Parallel` of two times three, a `Map` over three.
#[must_use]
pub fn definition() -> Value {
    let step = |next: Option<&str>| {
        let mut step = json!({
            "Type": "Task", "Resource": "kyc:form@1", "TimeoutSeconds": 3_600, "Output": "{% $states.input %}",
        });
        match next {
            Some(next) => step["Next"] = json!(next),
            None => step["End"] = json!(true),
        }
        step
    };
    let branch = |side: &str| {
        let name = |n: usize| format!("{side}{n}");
        let states = json!({
            (name(1)): step(Some(&name(2))), (name(2)): step(Some(&name(3))), (name(3)): step(None),
        });
        json!({"StartAt": name(1), "States": states})
    };
    json!({
        "name": "effects", "title": "Twelve effects", "inputSchema": {"type": "object"},
        "timeoutSeconds": 86_400, "evidence": {}, "decisions": {"approved": {}},
        "definition": {"QueryLanguage": "JSONata", "StartAt": "First", "States": {
            "First": step(Some("Second")), "Second": step(Some("Third")), "Third": step(Some("Both")),
            "Both": {"Type": "Parallel", "Branches": [branch("Left"), branch("Right")],
                "Output": "{% $states.input %}", "Next": "Each"},
            "Each": {"Type": "Map", "Items": [1, 2, 3], "Output": "{% $states.input %}", "Next": "Approved",
                "ItemProcessor": {"StartAt": "Item", "States": {"Item": step(None)}}},
            "Approved": {"Type": "Succeed", "Output": {"decision": "approved"}},
        }},
    })
}

/// Every effect that was carried out: key of the turn, and which state of which workflow it was.
#[derive(Default)]
pub struct Ledger {
    done: BTreeMap<String, (String, String)>,
    /// Turns that came again after their effect.
    pub n_prevented: usize,
}

impl Ledger {
    fn carry_out(&mut self, key: String, workflow: &str, state: &str) {
        let effect = (workflow.to_owned(), state.to_owned());
        if self.done.insert(key, effect).is_some() {
            self.n_prevented += 1;
        }
    }

    /// The states whose effect a workflow has had, each as often as it was.
    #[must_use]
    pub fn of(&self, workflow: &str) -> Vec<String> {
        let effects = self.done.values().filter(|it| it.0 == workflow);
        let mut states: Vec<String> = effects.map(|it| it.1.clone()).collect();
        states.sort();
        states
    }
}

/// The states of [`definition`] in the order of their names.
#[must_use]
pub fn expected_effects() -> Vec<String> {
    let names = [
        "First", "Item", "Item", "Item", "Left1", "Left2", "Left3", "Right1", "Right2", "Right3",
        "Second", "Third",
    ];
    names.map(str::to_owned).to_vec()
}

/// A caller of core with the gateway's token.
#[derive(Clone)]
pub struct Bank {
    http: reqwest::Client,
    pub url: String,
    token: String,
}

impl Bank {
    #[must_use]
    pub fn new(url: &str, token: &str) -> Self {
        Self {
            http: reqwest::Client::new(),
            url: url.to_owned(),
            token: token.to_owned(),
        }
    }

    /// Status and body of a call; `None` when nobody has answered.
    pub async fn call(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<Value>,
    ) -> Option<(u16, Value)> {
        let request = self
            .http
            .request(method, format!("{}/internal/v1{path}", self.url))
            .bearer_auth(&self.token);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        Some((status, response.json().await.ok()?))
    }

    /// Publishes [`definition`]; again is fine.
    ///
    /// # Panics
    ///
    /// When core refuses.
    pub async fn publish(&self) {
        let request = json!({
            "tenant": TENANT, "name": "effects", "envelope": definition(), "digest": "0".repeat(64),
            "publish": "if_allowed", "actor": "admin",
        });
        let answer = self
            .call(reqwest::Method::POST, "/definitions", Some(request))
            .await;
        let (status, body) = answer.expect("core answers");
        assert!(status < 300, "{status} {body}");
    }

    /// Starts a workflow; `None` when it was not acknowledged.
    pub async fn start(&self, key: &str) -> Option<String> {
        let request = json!({
            "tenant": TENANT, "definition": "effects", "input": {}, "idempotencyKey": key,
            "requestDigest": "1".repeat(64), "actor": "bank",
        });
        let (status, body) = self
            .call(reqwest::Method::POST, "/workflows", Some(request))
            .await?;
        (status < 300).then(|| {
            body["workflow"]["id"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
    }

    /// What anybody sees of a workflow.
    pub async fn view(&self, workflow: &str) -> Option<Value> {
        let path = format!("/workflows/{workflow}?tenant={TENANT}");
        let (status, body) = self.call(reqwest::Method::GET, &path, None).await?;
        (status == 200).then_some(body)
    }

    /// Types and names of all events, sorted: branches may come in any order.
    pub async fn history(&self, workflow: &str) -> Option<Vec<String>> {
        let path = format!("/workflows/{workflow}/history?tenant={TENANT}&limit=1000");
        let (status, body) = self.call(reqwest::Method::GET, &path, None).await?;
        let events = body["events"].as_array().filter(|_| status == 200)?;
        let mut shown: Vec<String> = events
            .iter()
            .map(|event| {
                let details = event
                    .as_object()
                    .and_then(|it| it.values().find_map(|it| it.get("name")));
                format!("{} {}", event["type"], details.unwrap_or(&Value::Null))
            })
            .collect();
        shown.sort();
        Some(shown)
    }
}

/// A worker of one session.
pub struct Worker {
    http: reqwest::Client,
    url: String,
    token: String,
    session: String,
    seq: u64,
    held: BTreeSet<String>,
    keys: HashMap<String, Value>,
    /// Turns whose checkpoint is on its way, with workflow and state.
    announced: HashMap<String, (String, String)>,
    results: Vec<Value>,
}

impl Worker {
    #[must_use]
    pub fn new(session: &str, url: &str, token: &str) -> Self {
        Self {
            http: reqwest::Client::new(),
            url: url.to_owned(),
            token: token.to_owned(),
            session: session.to_owned(),
            seq: 0,
            held: BTreeSet::new(),
            keys: HashMap::new(),
            announced: HashMap::new(),
            results: Vec::new(),
        }
    }

    /// Goes on with another node, or the same at another address.
    pub fn move_to(&mut self, url: &str) {
        url.clone_into(&mut self.url);
    }

    /// One exchange; false when core did not take it.
    pub async fn exchange(&mut self, ledger: &mut Ledger) -> bool {
        self.seq += 1;
        let held: Vec<&Value> = self.held.iter().map(|it| &self.keys[it]).collect();
        let request = json!({
            "session": self.session, "seq": self.seq, "held": held, "results": self.results,
            "want": 8, "queues": ["form"], "waitMs": if self.results.is_empty() { WAIT_MS } else { 0 },
        });
        let sent = self
            .http
            .post(format!("{}/internal/v1/tasks/exchange", self.url))
            .bearer_auth(&self.token)
            .json(&request)
            .send()
            .await;
        let answer: Option<Value> = match sent {
            Ok(response) if response.status().is_success() => response.json().await.ok(),
            _ => None,
        };
        let Some(answer) = answer else {
            tokio::time::sleep(PAUSE).await;
            return false;
        };
        for ack in answer["acks"].as_array().into_iter().flatten() {
            self.acknowledged(ack, ledger);
        }
        for task in answer["tasks"].as_array().into_iter().flatten() {
            self.begin(task, ledger);
        }
        true
    }

    fn begin(&mut self, task: &Value, ledger: &mut Ledger) {
        let key = key_of(task);
        let (workflow, state) = (text(task, "workflow"), text(task, "stateName"));
        self.held.insert(key.clone());
        self.keys.insert(key.clone(), turn_key(task));
        if task.get("checkpoint").is_some_and(|it| !it.is_null()) {
            // It may have happened: the outside world is asked by the key of the turn.
            ledger.carry_out(key, &workflow, &state);
            self.finish(task);
            return;
        }
        let what = json!({"kind": "checkpoint", "state": {"about": "to"}});
        self.report(task, what);
        self.announced.insert(key, (workflow, state));
    }

    fn acknowledged(&mut self, ack: &Value, ledger: &mut Ledger) {
        let key = key_of(ack);
        let checkpoint = ack["checkpoint"] == json!(true);
        let is_this =
            |it: &Value| key_of(it) == key && (it["what"]["kind"] == "checkpoint") == checkpoint;
        self.results.retain(|it| !is_this(it));
        if checkpoint && ack["code"] == "accepted" {
            if let Some((workflow, state)) = self.announced.remove(&key) {
                ledger.carry_out(key, &workflow, &state);
                self.finish(ack);
            }
            return;
        }
        self.announced.remove(&key);
        self.held.remove(&key);
        self.keys.remove(&key);
    }

    fn finish(&mut self, of: &Value) {
        let result = json!({"type": "complete", "outcome": "submitted", "output": {}});
        self.report(of, json!({"kind": "result", "result": result}));
    }

    fn report(&mut self, of: &Value, what: Value) {
        let mut report = turn_key(of);
        report["what"] = what;
        self.results.push(report);
    }
}

fn text(of: &Value, name: &str) -> String {
    of[name].as_str().unwrap_or_default().to_owned()
}

fn turn_key(of: &Value) -> Value {
    json!({"task": of["task"], "attempt": of["attempt"], "turn": of["turn"]})
}

fn key_of(of: &Value) -> String {
    format!("{}/{}/{}", of["task"], of["attempt"], of["turn"])
}
