//! Nothing personal leaves: planted values go through whole workflows and every kind of act, and none of them is in
//! a stream, in a log or in the metrics, however it is spelt.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use btrust_platform::streams::{Stream, read_jsonl};
use btrust_schemas::events::kinds;
use btrust_tests::{Client, World};

use crate::phone::last_code;
use crate::samples::{PNG_PIXEL, form_definition};

/// What people and systems of a bank say and are.
const NAME: &str = "Canaria Zwetschgenbaum";
const NUMBER: &str = "C4N4RY7711";
const PHONE: &str = "+12025550143";
const EMAIL: &str = "canary.bird@example.org";
const REASON: &str = "because Frau Kanarek called twice";
const SUBJECT: &str = "kunde-canary-4711";
const KEY: &str = "key-of-canary-0815";
const SIGNAL: &str = "canary-has-landed";
const ERROR: &str = "CanaryDeclinedHerself";
const BRANCH: &str = "CANARYNORTH";
const LOCALE: &str = "en-x-canarian";
const AGENT: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0) CanaryBrowser/9.9 Mobile/15E148";
const ADDRESS: &str = "203.0.113.77";
const SCHEDULED: &str = "Canaria the Second";
const CLIENT_NAME: &str = "Backend of Canaria";
const HOOK: &str = "hook-of-canary-3141";

/// Events that this test does not cause.
const NOT_HERE: [(&str, &str); 1] = [(
    "com.btrust.audit.checkpoint",
    "signed heads hold ids and digests of records only, and come by a clock of their own",
)];

/// A caller with any method and the headers of a browser.
struct Hand<'w> {
    world: &'w World,
    token: String,
}

impl Hand<'_> {
    async fn at(&self, service: &str, method: Method, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}{path}", self.world.url(service));
        let mut request = reqwest::Client::new()
            .request(method, url)
            .header("user-agent", AGENT)
            .header("x-forwarded-for", ADDRESS)
            .header("idempotency-key", format!("{KEY}-{}", path.len()));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await.expect("the server answers");
        let status = response.status().as_u16();
        let text = response.text().await.expect("the body arrives");
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Asserts that the call has done what it should.
    async fn does(&self, method: Method, path: &str, body: Value) -> Value {
        let (status, answer) = self.at("gateway", method, path, body).await;
        assert!(status < 300, "{path}: {status} {answer}");
        answer
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.does(Method::POST, path, body).await
    }
}

/// The cast of the play.
struct Cast<'w> {
    world: &'w World,
    bank: Client,
    banker: Hand<'w>,
    admin: Hand<'w>,
    /// What must not be found, with a word for each.
    secrets: Vec<(&'static str, String)>,
}

impl<'w> Cast<'w> {
    async fn of(world: &'w World) -> Self {
        let bank = world.client("bank").await;
        let admin = world.client("admin").await;
        let hand = |client: &Client| Hand {
            world,
            token: client.token().to_owned(),
        };
        let mut secrets: Vec<(&str, String)> = [
            ("a name", NAME),
            ("a document number", NUMBER),
            ("a phone", PHONE),
            ("an e-mail", EMAIL),
            ("a reason", REASON),
            ("a reference to a person", SUBJECT),
            ("an idempotency key", KEY),
            ("a signal", SIGNAL),
            ("an error of a bank's system", ERROR),
            ("a search attribute", BRANCH),
            ("a locale", LOCALE),
            ("a user agent", AGENT),
            ("an address", ADDRESS),
            ("an input of a schedule", SCHEDULED),
            ("a client's name", CLIENT_NAME),
            ("an address of a bank's system", HOOK),
        ]
        .map(|(word, it)| (word, it.to_owned()))
        .into();
        for client in [&bank, &admin] {
            secrets.push(("a token", client.token().to_owned()));
        }
        for client in world.up["credentials"]
            .as_object()
            .expect("clients")
            .values()
        {
            let secret = client["clientSecret"].as_str().expect("a secret");
            secrets.push(("a client's secret", secret.to_owned()));
        }
        let (banker, admin) = (hand(&bank), hand(&admin));
        Self {
            world,
            bank,
            banker,
            admin,
            secrets,
        }
    }

    fn keeps(&mut self, word: &'static str, value: &Value) -> String {
        let secret = value.as_str().expect(word).to_owned();
        self.secrets.push((word, secret.clone()));
        secret
    }

    fn hand(&self, token: &str) -> Hand<'w> {
        Hand {
            world: self.world,
            token: token.to_owned(),
        }
    }

    /// Starts a workflow that asks for a nickname; its input and everything about it is planted.
    async fn start(&self, key: &str) -> String {
        let body = json!({
            "definition": "canary", "input": { "title": NAME, "branch": BRANCH }, "subjectRef": SUBJECT,
            "locale": LOCALE,
        });
        let started = self
            .bank
            .start_with(&format!("{KEY}-{key}"), body)
            .await
            .ok();
        started["id"].as_str().expect("an id").to_owned()
    }
}

/// A definition with what could leak: attributes, and an error that an expression makes of an input.
fn canary_definition() -> Value {
    let mut definition = form_definition("canary");
    definition["inputSchema"] = json!({ "type": "object" });
    definition["searchAttributes"] = json!({ "branch": { "type": "keyword" } });
    definition
}

fn failing_definition() -> Value {
    json!({
        "name": "canary-fails", "title": "Fails", "inputSchema": { "type": "object" }, "timeoutSeconds": 60,
        "evidence": {}, "decisions": {},
        "definition": { "QueryLanguage": "JSONata", "StartAt": "Give", "States": {
            "Give": { "Type": "Fail", "Error": "{% $states.input.name %}", "Cause": "{% $states.input.name %}" },
        } },
    })
}

/// Definitions, drafts, versions and the workflows on them.
async fn administers(cast: &mut Cast<'_>) {
    let admin = &cast.admin;
    admin.post("/v1/definitions", canary_definition()).await;
    admin.post("/v1/definitions", failing_definition()).await;
    let mut second = canary_definition();
    second["title"] = json!("Another title");
    admin.post("/v1/definitions?publish=false", second).await;
    admin
        .post("/v1/definitions/canary/versions/2/publication", json!({}))
        .await;
    admin
        .does(
            Method::PUT,
            "/v1/definitions/canary/live",
            json!({ "version": 2 }),
        )
        .await;
    cast.start("migrated").await;
    let migration = json!({ "from": 2, "to": 1, "dryRun": false });
    admin
        .post("/v1/definitions/canary/migrations", migration)
        .await;
    admin
        .does(
            Method::PUT,
            "/v1/definitions/canary/live",
            json!({ "version": 1 }),
        )
        .await;
    admin
        .post("/v1/definitions/canary/versions/2/retirement", json!({}))
        .await;
    let statement = json!({ "kind": "specimen_documents", "statement": REASON });
    admin.post("/v1/tenant/acknowledgements", statement).await;
    let limits = json!({ "limits": { "steps": { "ocr": { "concurrent": 5 } } } });
    let (status, answer) = admin
        .at("gateway", Method::PUT, "/v1/task-limits", limits)
        .await;
    assert!(status < 500, "{answer}");
}

/// One workflow of everything that operators do to workflows.
async fn operates(cast: &mut Cast<'_>) {
    let (admin, banker) = (&cast.admin, &cast.banker);
    let id = cast.start("operated").await;
    let at = |what: &str| format!("/v1/workflows/{id}/{what}");
    let why = || json!({ "reason": REASON });
    let to = json!({ "searchAttributes": { "branch": format!("{BRANCH}2") } });
    banker
        .does(Method::PATCH, &at("search-attributes"), to)
        .await;
    let signal = json!({ "name": SIGNAL, "payload": { "name": NAME } });
    banker.post(&at("signals"), signal).await;
    banker.post(&at("pause"), why()).await;
    banker.post(&at("resume"), why()).await;
    let filter = json!({ "definition": "canary", "reason": REASON });
    for how in ["pause", "resume"] {
        admin
            .at(
                "gateway",
                Method::POST,
                &format!("/v1/workflows/{how}"),
                filter.clone(),
            )
            .await;
    }
    admin
        .does(Method::PUT, &at("legal-hold"), Value::Null)
        .await;
    admin
        .does(Method::DELETE, &at("legal-hold"), Value::Null)
        .await;
    admin.post(&at("terminate"), why()).await;
    admin.post(&at("redrive"), why()).await;
    banker.post(&at("cancel"), why()).await;
    banker.post(&at("restart"), json!({})).await;
    let incident = format!("/v1/incidents/inc_{}00000001/resolution", &id[3..]);
    let resolution = json!({ "action": "retry" });
    admin
        .at("gateway", Method::POST, &incident, resolution)
        .await;
    let body = json!({ "definition": "canary-fails", "input": { "name": ERROR } });
    let failed = cast.bank.start_with(KEY, body).await.ok();
    let failed = failed["id"].as_str().expect("an id");
    let result = cast
        .bank
        .get(&format!("/v1/workflows/{failed}/result?wait=20"))
        .await
        .ok();
    assert_eq!(result["error"], ERROR, "the planted error has come through");
    // The streams have to hear of it first.
    let path = format!("/v1/workflows/{failed}");
    loop {
        let (status, answer) = cast
            .admin
            .at("gateway", Method::DELETE, &path, Value::Null)
            .await;
        if status < 300 {
            break;
        }
        assert_eq!(answer["code"], "not_published_yet", "{answer}");
    }
}

async fn schedules(cast: &Cast<'_>) {
    let admin = &cast.admin;
    let schedule = |input: &str| {
        json!({
            "definition": "canary", "input": { "title": input }, "cron": "0 3 1 1 *", "timeZone": "Europe/Berlin",
        })
    };
    let mut new = schedule(SCHEDULED);
    new["name"] = json!("yearly");
    admin.post("/v1/schedules", new).await;
    admin
        .does(Method::PUT, "/v1/schedules/yearly", schedule(NAME))
        .await;
    for how in ["pause", "resume", "trigger"] {
        let (status, answer) = admin
            .at(
                "gateway",
                Method::POST,
                &format!("/v1/schedules/yearly/{how}"),
                json!({}),
            )
            .await;
        assert!(status < 500, "{how}: {answer}");
    }
    admin
        .does(Method::DELETE, "/v1/schedules/yearly", Value::Null)
        .await;
}

/// An endpoint that is told what happens, whose address and secret are nobody's business.
async fn webhooks(cast: &mut Cast<'_>) {
    let spec = |is_enabled: bool| {
        json!({
            "url": format!("http://127.0.0.1:9/{HOOK}"), "topics": ["workflow.closed"], "description": NAME,
            "enabled": is_enabled,
        })
    };
    let made = cast.admin.post("/v1/webhook-endpoints", spec(true)).await;
    cast.keeps("a webhook's secret", &made["secret"]);
    let id = made["endpoint"]["id"].as_str().expect("an id");
    let at = |what: &str| format!("/v1/webhook-endpoints/{id}{what}");
    let made = cast.admin.post(&at("/secrets"), json!({})).await;
    cast.keeps("a webhook's secret", &made["secret"]);
    let admin = &cast.admin;
    let sent = admin.post(&at("/test"), json!({})).await;
    let delivery = sent["id"].as_str().expect("an id");
    let again = json!({ "since": "2026-01-01T00:00:00Z" });
    admin.post(&at("/replay"), again).await;
    admin
        .post(&at(&format!("/deliveries/{delivery}/replay")), json!({}))
        .await;
    admin.does(Method::PUT, &at(""), spec(false)).await;
    admin.does(Method::DELETE, &at(""), Value::Null).await;
}

/// Clients, wrong secrets, and an applicant who goes on with other devices.
#[expect(clippy::too_many_lines, reason = "one act after the other, as a list")]
async fn comes_and_goes(cast: &mut Cast<'_>) {
    let new = json!({ "name": CLIENT_NAME, "kind": "client", "scopes": ["workflows:read"] });
    let (status, made) = cast
        .admin
        .at("auth", Method::POST, "/v1/clients", new)
        .await;
    assert_eq!(status, 201, "{made}");
    let (id, secret) = (
        made["clientId"].clone(),
        cast.keeps("a client's secret", &made["clientSecret"]),
    );
    let id = id.as_str().expect("an id");
    let form = |secret: &str| {
        reqwest::Client::new()
            .post(format!("{}/oauth2/token", cast.world.url("auth")))
            .basic_auth(id, Some(secret))
            .header("content-type", "application/x-www-form-urlencoded")
            .body("grant_type=client_credentials")
            .send()
    };
    assert_eq!(form(NUMBER).await.expect("auth answers").status(), 401);
    assert_eq!(form(&secret).await.expect("auth answers").status(), 200);
    // Whoever types a name for an id names no client.
    let stranger = reqwest::Client::new()
        .post(format!("{}/oauth2/token", cast.world.url("auth")))
        .basic_auth(EMAIL, Some(NUMBER))
        .header("content-type", "application/x-www-form-urlencoded")
        .body("grant_type=client_credentials");
    assert_eq!(stranger.send().await.expect("auth answers").status(), 401);
    let path = format!("/v1/clients/{id}");
    let (status, _) = cast
        .admin
        .at("auth", Method::DELETE, &path, Value::Null)
        .await;
    assert_eq!(status, 204);

    let input = json!({ "applicant": { "phone": PHONE, "email": EMAIL } });
    let body = json!({ "definition": "bank-onboarding", "input": input, "subjectRef": SUBJECT });
    let started = cast
        .bank
        .start_with(&format!("{KEY}-onboarding"), body)
        .await
        .ok();
    let id = started["id"].as_str().expect("an id").to_owned();
    let applicant = cast.bank.applicant(&id).await;
    cast.keeps("an applicant's token", &json!(applicant.token()));
    let phone = cast.hand(applicant.token());
    let answers = |prompt: &Value| {
        format!(
            "/v1/prompts/{}/submissions",
            prompt["id"].as_str().expect("an id")
        )
    };
    let prompt = applicant.prompt(&id).await;
    let accept = json!({ "action": "accept", "texts": prompt["body"]["texts"] });
    phone
        .post(&answers(&prompt), json!({ "body": accept }))
        .await;
    let asked = crate::phone::next_prompt(&applicant, &id, "otp-code", &Value::Null)
        .await
        .expect("a prompt");
    let code = cast.keeps("a one-time code", &json!(last_code(cast.world)));
    phone
        .post(
            &answers(&asked),
            json!({ "body": { "action": "answer", "code": code } }),
        )
        .await;
    crate::phone::next_prompt(&applicant, &id, "document-front", &Value::Null)
        .await
        .expect("a prompt");
    let upload = format!("/v1/workflows/{id}/objects");
    applicant
        .post_bytes(&upload, "image/png", PNG_PIXEL.to_vec())
        .await;

    let (_, handoff) = phone
        .at("auth", Method::POST, "/v1/handoffs", json!({}))
        .await;
    let code = cast.keeps("a hand-off code", &handoff["code"]);
    let nobody = cast.hand("");
    let (status, taken) = nobody
        .at(
            "auth",
            Method::POST,
            "/v1/handoffs/redemptions",
            json!({ "code": code }),
        )
        .await;
    assert_eq!(status, 201, "{taken}");
    cast.keeps("an applicant's token", &taken["accessToken"]);
    let (_, link) = phone
        .at("auth", Method::POST, "/v1/resume-links", json!({}))
        .await;
    let link = cast.keeps("a resume link", &link["link"]);
    let n_before = cast.world.outbox().len();
    nobody
        .at(
            "auth",
            Method::POST,
            &format!("/v1/resume-links/{link}/codes"),
            json!({}),
        )
        .await;
    while cast.world.outbox().len() == n_before {
        tokio::task::yield_now().await;
    }
    let code = cast.keeps("a resume code", &json!(last_code(cast.world)));
    let path = format!("/v1/resume-links/{link}/redemptions");
    let (status, taken) = nobody
        .at("auth", Method::POST, &path, json!({ "code": code }))
        .await;
    assert_eq!(status, 201, "{taken}");
    cast.keeps("an applicant's token", &taken["accessToken"]);
}

/// An applicant answers, and people of the bank read what has come of it.
async fn answers_and_is_read(cast: &mut Cast<'_>) {
    let id = cast.start("answered").await;
    let applicant = cast.bank.applicant(&id).await;
    let prompt = applicant.prompt(&id).await;
    let phone = cast.hand(applicant.token());
    let path = format!(
        "/v1/prompts/{}/submissions",
        prompt["id"].as_str().expect("an id")
    );
    cast.bank
        .get(&format!("/v1/workflows/{id}/prompts"))
        .await
        .ok();
    phone
        .post(&path, json!({ "body": { "values": { "nickname": NAME } } }))
        .await;
    let result = cast
        .bank
        .get(&format!("/v1/workflows/{id}/result?wait=20"))
        .await
        .ok();
    assert_eq!(result["decision"], "approved", "{result}");
    let history = cast
        .bank
        .get(&format!("/v1/workflows/{id}/history"))
        .await
        .ok();
    assert!(
        history.to_string().contains(NAME),
        "the planted name has come through"
    );
}

/// How a value may be spelt. Its own digest is one of them: whoever guesses the value has it.
fn spellings(value: &str) -> BTreeSet<String> {
    let mut spellings = BTreeSet::from([
        value.to_owned(),
        value.to_lowercase(),
        value.to_uppercase(),
        value.replace(' ', "%20"),
        value.replace(' ', "+"),
        value.replace('@', "%40"),
        value.trim_start_matches('+').to_owned(),
    ]);
    for bytes in [value.as_bytes().to_vec(), Sha256::digest(value).to_vec()] {
        spellings.extend([hex::encode(&bytes), hex::encode_upper(&bytes)]);
        spellings.extend([
            BASE64_STANDARD_NO_PAD.encode(&bytes),
            BASE64_URL_SAFE_NO_PAD.encode(&bytes),
        ]);
    }
    spellings
}

/// Asserts that a text has none of these.
#[track_caller]
fn assert_clean(place: &str, text: &str, secrets: &[(&'static str, String)]) {
    for (word, secret) in secrets {
        for spelling in spellings(secret) {
            // Six digits are a part of many numbers: a code has to stand for itself.
            let is_found = if spelling.len() < 8 {
                text.split(|it: char| !it.is_ascii_alphanumeric())
                    .any(|it| it == spelling)
            } else {
                text.contains(&spelling)
            };
            if is_found {
                let line = text
                    .lines()
                    .find(|it| it.contains(&spelling))
                    .unwrap_or_default();
                panic!("{place} holds {word}, spelt `{spelling}`: {line}");
            }
        }
    }
}

#[tokio::test]
async fn no_planted_value_is_in_a_stream_a_log_or_the_metrics() {
    let mut world = World::start_with(&[("WEBHOOKS_ALLOW_LOOPBACK", "true")]);
    let mut cast = Cast::of(&world).await;
    administers(&mut cast).await;
    operates(&mut cast).await;
    schedules(&cast).await;
    webhooks(&mut cast).await;
    answers_and_is_read(&mut cast).await;
    comes_and_goes(&mut cast).await;
    let mut secrets = cast.secrets;
    let image = String::from_utf8_lossy(&PNG_PIXEL[16..40]).into_owned();
    secrets.push(("a picture", hex::encode(&PNG_PIXEL[8..40])));
    secrets.push((
        "a picture",
        BASE64_STANDARD_NO_PAD.encode(&PNG_PIXEL[9..39]),
    ));
    secrets.push(("a picture", image));

    let mut metrics = BTreeMap::new();
    for (service, url) in world.up["urls"].as_object().expect("urls") {
        let url = format!("{}/metrics", url.as_str().expect("a url"));
        let text = reqwest::get(url)
            .await
            .expect(service)
            .text()
            .await
            .expect(service);
        assert!(text.contains("http_requests_total"), "{service}");
        metrics.insert(service.clone(), text);
    }
    // What is still on its way comes after that; and the services get other secrets from the operator.
    world.kill_and_restart();
    let streams = world.data().join("streams");
    let expected: BTreeSet<&str> = kinds()
        .iter()
        .map(|it| it.name)
        .filter(|it| NOT_HERE.iter().all(|(name, _)| name != it))
        .collect();
    let mut seen = BTreeSet::new();
    let mut text = String::new();
    for _ in 0..300 {
        text.clear();
        seen.clear();
        for stream in [Stream::Audit, Stream::Analytics] {
            for line in read_jsonl(&streams, stream).expect("the streams can be read") {
                let line = String::from_utf8_lossy(&line).into_owned();
                let event: Value = serde_json::from_str(&line).expect("an event is JSON");
                seen.insert(event["type"].as_str().expect("a type").to_owned());
                text.push_str(&line);
                text.push('\n');
            }
        }
        if expected.iter().all(|it| seen.contains(*it)) {
            break;
        }
        // An act is brought and relayed within a second or two.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let missing: Vec<&&str> = expected.iter().filter(|it| !seen.contains(**it)).collect();
    assert!(
        missing.is_empty(),
        "events of these types have not come: {missing:?}"
    );
    assert!(
        text.contains("\"device\":\"phone\""),
        "the class of a device is known"
    );
    world.kill();
    assert_clean("a stream", &text, &secrets);
    for (service, text) in &metrics {
        assert_clean(&format!("the metrics of {service}"), text, &secrets);
    }
    let log = std::fs::read_to_string(world.data().join("up.log")).expect("a log");
    assert!(
        log.contains("/v1/workflows"),
        "the log has lines of requests"
    );
    assert_clean("the log", &log, &secrets);
}

#[test]
fn a_spelling_of_a_planted_value_is_found() {
    let secrets = [("a name", NAME.to_owned()), ("a code", "123456".to_owned())];
    for text in [
        format!("x{NAME}x"),
        NAME.to_uppercase(),
        hex::encode(NAME),
        hex::encode(Sha256::digest(NAME)),
        BASE64_STANDARD_NO_PAD.encode(NAME),
        "code=123456 ".to_owned(),
    ] {
        let found = std::panic::catch_unwind(|| assert_clean("a text", &text, &secrets));
        assert!(found.is_err(), "{text}");
    }
    assert_clean("a text", "1234567 and a name", &secrets);
}
