//! The auth service over its real router, its real store and a real keyring.

use std::sync::Arc;

use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use poem::{
    Endpoint, Response,
    http::StatusCode,
    test::{TestClient, TestResponse},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use btrust_platform::{
    clock::ManualClock,
    config::{Secret, Settings},
    contacts::{Contact, SqliteVerifiedContacts, VerifiedContacts},
    data_dir::DataDir,
    keys::{Keys, LocalKeyring},
    messages::{Channel, Delivery, Message, Messenger, SendError},
    token::{Claims, Kind, Verifier},
    workflow_keys::{SqliteWorkflowKeys, WorkflowKeys},
};
use btrust_schemas::events::ActKind;
use btrust_schemas::ids::WorkflowId;

use super::*;
use crate::openapi::assert_committed;

mod coming_back;

const START_MS: i64 = 1_750_000_000_000;
const MINUTE_MS: i64 = 60 * 1_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const TENANT: &str = "bank";

/// Hands every message to the test.
struct ToTest(mpsc::UnboundedSender<Message>);

#[async_trait]
impl Messenger for ToTest {
    async fn send(&self, message: Message) -> Result<Delivery, SendError> {
        self.0.send(message).unwrap();
        Ok(Delivery {
            provider: "test",
            acknowledged: true,
        })
    }
}

struct World<E> {
    auth: Arc<Auth>,
    client: TestClient<E>,
    clock: Arc<ManualClock>,
    workflow_keys: Arc<dyn WorkflowKeys>,
    contacts: Arc<dyn VerifiedContacts>,
    sent: mpsc::UnboundedReceiver<Message>,
    folder: tempfile::TempDir,
}

async fn open(
    folder: &tempfile::TempDir,
    clock: Arc<ManualClock>,
) -> (
    Arc<Auth>,
    Outside,
    mpsc::UnboundedReceiver<Message>,
    Arc<dyn WorkflowKeys>,
) {
    let data_dir = DataDir::open(folder.path()).unwrap();
    let keys: Arc<dyn Keys> = Arc::new(LocalKeyring::open(&data_dir.keyring()).unwrap());
    let workflow_keys: Arc<dyn WorkflowKeys> = Arc::new(
        SqliteWorkflowKeys::open(&data_dir.keys_db(), Arc::clone(&keys))
            .await
            .unwrap(),
    );
    let contacts =
        SqliteVerifiedContacts::open(&data_dir.steps_db(), Arc::clone(&workflow_keys)).await;
    let (sender, sent) = mpsc::unbounded_channel();
    let outside = Outside {
        keys,
        contacts: Arc::new(contacts.unwrap()),
        messenger: Arc::new(ToTest(sender)),
        clock,
    };
    let config = Config::from_settings(&Settings::from_table::<&str, &str>([])).unwrap();
    let auth = Auth::open(config, &data_dir, outside.clone())
        .await
        .unwrap();
    (auth, outside, sent, workflow_keys)
}

async fn world() -> World<impl Endpoint<Output = Response>> {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let (auth, outside, sent, workflow_keys) = open(&folder, Arc::clone(&clock)).await;
    let client = TestClient::new(btrust_platform::http::wrap("auth", routes(&auth)));
    World {
        auth,
        client,
        clock,
        workflow_keys,
        contacts: outside.contacts,
        sent,
        folder,
    }
}

fn workflow(n: u8) -> WorkflowId {
    WorkflowId::new(n, [n; 15])
}

async fn body(response: TestResponse) -> Value {
    response.json().await.value().deserialize()
}

#[track_caller]
fn assert_problem(status: StatusCode, body: &Value, expected: (u16, &str)) {
    assert_eq!(
        (status.as_u16(), body["code"].as_str().unwrap_or("none")),
        expected,
        "{body}"
    );
}

impl<E: Endpoint<Output = Response>> World<E> {
    /// A client of this tenant with these scopes, and its token.
    async fn token(&self, id: &str, scopes: &[&str]) -> String {
        let secret = generate_secret();
        let kind = ClientKind::Client;
        self.auth
            .ensure_client(id, kind, TENANT, scopes, &secret)
            .await
            .unwrap();
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", id),
            ("client_secret", secret.expose()),
        ];
        let (status, body) = self.post_form(&form).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body["access_token"].as_str().unwrap().to_owned()
    }

    async fn post_form(&self, form: &[(&str, &str)]) -> (StatusCode, Value) {
        let response = self.client.post("/oauth2/token").form(&form).send().await;
        (response.0.status(), body(response).await)
    }

    async fn post(&self, path: &str, token: Option<&str>, json: Value) -> (StatusCode, Value) {
        let mut request = self.client.post(path).body_json(&json);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = request.send().await;
        (response.0.status(), body(response).await)
    }

    async fn claims(&self, token: &str) -> Claims {
        let jwks = self.client.get("/.well-known/jwks.json").send().await;
        let jwks = serde_json::from_value(body(jwks).await).unwrap();
        Verifier::with_keys(&jwks, self.clock.clone())
            .verify(token)
            .await
            .unwrap()
    }

    async fn applicant(&self, workflow: WorkflowId) -> String {
        let bank = self.token("bank", &["applicant-tokens:write"]).await;
        let wanted = json!({ "workflow": workflow });
        let (status, body) = self.post("/v1/applicant-tokens", Some(&bank), wanted).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        body["accessToken"].as_str().unwrap().to_owned()
    }

    /// A resume link of a workflow whose applicant has proven to hold a phone.
    async fn link(&self, workflow: WorkflowId) -> String {
        self.workflow_keys
            .create_many(&[(TENANT.to_owned(), workflow)])
            .await
            .unwrap();
        let contact = Contact {
            channel: Channel::Sms,
            address: "+15550100".to_owned(),
        };
        self.contacts.put(TENANT, workflow, contact).await.unwrap();
        let applicant = self.applicant(workflow).await;
        let (status, body) = self
            .post("/v1/resume-links", Some(&applicant), json!({}))
            .await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        body["link"].as_str().unwrap().to_owned()
    }

    /// Sends a code over the link and reads it from the message.
    async fn code(&mut self, link: &str) -> Option<String> {
        if !self.auth.codes.send(link, "192.0.2.1").await.unwrap() {
            assert!(self.sent.is_empty());
            return None;
        }
        let message = self.sent.recv().await.unwrap();
        assert_eq!(message.to, "+15550100");
        Some(message.text.split(' ').next().unwrap().to_owned())
    }

    async fn redeem(&self, link: &str, code: &str) -> (StatusCode, Value) {
        let path = format!("/v1/resume-links/{link}/redemptions");
        self.post(&path, None, json!({ "code": code })).await
    }
}

fn wrong(code: &str) -> &'static str {
    if code == "000000" { "000001" } else { "000000" }
}

#[test]
fn the_committed_openapi_document_is_current() {
    assert_committed(&openapi_json(), "schemas/openapi-auth.json");
}

#[tokio::test]
async fn a_client_gets_a_token_that_the_published_keys_verify() {
    let world = world().await;
    let token = world
        .token("bank", &["workflows:write", "workflows:read"])
        .await;
    let claims = world.claims(&token).await;
    assert_eq!(
        (claims.sub.as_str(), claims.tenant.as_str()),
        ("bank", TENANT)
    );
    assert_eq!(claims.scope, "workflows:read workflows:write");
    assert_eq!(claims.kind, Kind::Client);
    assert_eq!(claims.exp - claims.iat, CLIENT_TOKEN_TTL_MS / 1_000);
    assert_eq!(claims.workflow, None);
}

#[tokio::test]
async fn a_client_may_ask_for_a_part_of_its_scopes_and_for_no_other() {
    let world = world().await;
    world
        .token("bank", &["workflows:write", "workflows:read"])
        .await;
    let secret = Secret::new("a secret of the test");
    let kind = ClientKind::Client;
    let scopes = ["workflows:read", "workflows:write"];
    world
        .auth
        .ensure_client("bank", kind, TENANT, &scopes, &secret)
        .await
        .unwrap();

    let ask = |scope: &'static str| {
        let basic = BASE64_STANDARD.encode(format!("bank:{}", secret.expose()));
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        let request = world.client.post("/oauth2/token").form(&form);
        request
            .header("authorization", format!("Basic {basic}"))
            .send()
    };
    let part = ask("workflows:read").await;
    part.assert_status_is_ok();
    part.assert_header("cache-control", "no-store");
    assert_eq!(body(part).await["scope"], "workflows:read");

    let other = ask("workflows:read definitions:write").await;
    other.assert_status(StatusCode::BAD_REQUEST);
    assert_eq!(body(other).await["error"], "invalid_scope");
}

#[tokio::test]
async fn an_unknown_client_and_a_wrong_secret_get_one_answer() {
    let world = world().await;
    world.token("bank", &["workflows:read"]).await;
    let ask = |client: &'static str| {
        let grant = ("grant_type", "client_credentials");
        let form = [grant, ("client_id", client), ("client_secret", "wrong")];
        let world = &world;
        async move { world.post_form(&form).await }
    };
    let unknown = ask("nobody").await;
    let wrong = ask("bank").await;
    assert_eq!(unknown, wrong);
    assert_eq!(wrong.0, StatusCode::UNAUTHORIZED);
    assert_eq!(wrong.1["code"], "invalid_client");
}

#[tokio::test]
async fn a_token_request_that_cannot_be_read_is_refused_in_the_oauth_form() {
    let world = world().await;
    let secret = Secret::new("a secret of the test");
    let kind = ClientKind::Client;
    world
        .auth
        .ensure_client("bank", kind, TENANT, &["workflows:read"], &secret)
        .await
        .unwrap();
    let credentials = [("client_id", "bank"), ("client_secret", secret.expose())];

    let (status, body_) = world.post_form(&credentials).await;
    assert_problem(status, &body_, (400, "invalid_request"));
    let mut form = credentials.to_vec();
    form.push(("grant_type", "password"));
    let (status, body_) = world.post_form(&form).await;
    assert_problem(status, &body_, (400, "unsupported_grant_type"));
    let (status, body_) = world.post("/oauth2/token", None, json!({})).await;
    assert_problem(status, &body_, (400, "invalid_request"));
    assert_eq!(body_["error"], "invalid_request");
}

#[tokio::test]
async fn wrong_secrets_are_slowed_down_and_the_window_ends() {
    let world = world().await;
    let secret = Secret::new("a secret of the test");
    let kind = ClientKind::Client;
    world
        .auth
        .ensure_client("bank", kind, TENANT, &["workflows:read"], &secret)
        .await
        .unwrap();
    let grant = ("grant_type", "client_credentials");
    let wrong = [grant, ("client_id", "bank"), ("client_secret", "wrong")];
    let right = [
        grant,
        ("client_id", "bank"),
        ("client_secret", secret.expose()),
    ];

    for _ in 0..failures::FAILURES_MAX {
        assert_eq!(world.post_form(&wrong).await.0, StatusCode::UNAUTHORIZED);
    }
    let response = world.client.post("/oauth2/token").form(&right).send().await;
    response.assert_status(StatusCode::TOO_MANY_REQUESTS);
    response.assert_header("retry-after", "61");
    world.clock.advance(failures::FAILURES_WINDOW_MS);
    assert_eq!(world.post_form(&right).await.0, StatusCode::OK);
}

#[tokio::test]
async fn an_operation_needs_a_good_token_with_its_scope() {
    let world = world().await;
    let wanted = json!({ "workflow": workflow(1) });
    let path = "/v1/applicant-tokens";
    let (status, body) = world.post(path, None, wanted.clone()).await;
    assert_problem(status, &body, (401, "unauthenticated"));
    let (status, body) = world.post(path, Some("nonsense"), wanted.clone()).await;
    assert_problem(status, &body, (401, "unauthenticated"));

    let token = world.token("bank", &["workflows:write"]).await;
    let (status, body) = world.post(path, Some(&token), wanted.clone()).await;
    assert_problem(status, &body, (403, "scope_missing"));

    let token = world.token("bank", &["applicant-tokens:write"]).await;
    world.clock.advance(CLIENT_TOKEN_TTL_MS + MINUTE_MS);
    let (status, body) = world.post(path, Some(&token), wanted).await;
    assert_problem(status, &body, (401, "unauthenticated"));
}

#[tokio::test]
async fn a_token_of_another_issuer_is_refused() {
    let (ours, theirs) = (world().await, world().await);
    let token = theirs.token("bank", &["applicant-tokens:write"]).await;
    let wanted = json!({ "workflow": workflow(1) });
    let (status, body) = ours
        .post("/v1/applicant-tokens", Some(&token), wanted)
        .await;
    assert_problem(status, &body, (401, "unauthenticated"));
}

#[tokio::test]
async fn an_applicant_token_opens_one_workflow_of_the_callers_tenant() {
    let world = world().await;
    let claims = world.claims(&world.applicant(workflow(1)).await).await;
    assert_eq!(claims.kind, Kind::Applicant);
    assert_eq!(claims.tenant, TENANT);
    assert_eq!(claims.workflow, Some(workflow(1).to_string()));
    assert_eq!(claims.scope, "prompts:answer objects:write");
    assert!(claims.device.is_some());

    let bank = world.token("bank", &["applicant-tokens:write"]).await;
    let path = "/v1/applicant-tokens";
    let (status, body) = world
        .post(path, Some(&bank), json!({ "workflow": "nonsense" }))
        .await;
    assert_problem(status, &body, (422, "workflow_id_invalid"));
    let (status, body) = world.post(path, Some(&bank), json!({})).await;
    assert_problem(status, &body, (400, "malformed_json"));
}

#[tokio::test]
async fn an_admin_makes_clients_and_none_with_more_than_its_kind_may_have() {
    let world = world().await;
    let admin = world.token("admin", &["clients:write"]).await;
    let new = json!({ "name": "Core banking", "kind": "client", "scopes": ["workflows:read"] });
    let (status, made) = world.post("/v1/clients", Some(&admin), new).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", made["clientId"].as_str().unwrap()),
        ("client_secret", made["clientSecret"].as_str().unwrap()),
    ];
    let (status, token) = world.post_form(&form).await;
    assert_eq!(status, StatusCode::OK);
    let claims = world.claims(token["access_token"].as_str().unwrap()).await;
    assert_eq!(claims.tenant, TENANT);

    for (kind, scope) in [
        ("client", "core:call"),
        ("client", "queue:otp"),
        ("client", "prompts:answer"),
        ("reviewer", "clients:write"),
    ] {
        let new = json!({ "name": "x", "kind": kind, "scopes": [scope] });
        let (status, body) = world.post("/v1/clients", Some(&admin), new).await;
        assert_problem(status, &body, (403, "scope_refused"));
    }
    let service = json!({ "name": "x", "kind": "service", "scopes": ["workflows:read"] });
    let (status, body) = world.post("/v1/clients", Some(&admin), service).await;
    assert_problem(status, &body, (400, "malformed_json"));
}

#[tokio::test]
async fn the_development_clients_are_made_once() {
    let world = world().await;
    let made = world.auth.bootstrap(TENANT).await.unwrap();
    let ids: Vec<&str> = made.iter().map(|it| it.id).collect();
    assert_eq!(
        ids,
        ["dev-bank", "dev-admin", "dev-reviewer", "dev-reviewer-2"]
    );
    assert!(world.auth.bootstrap(TENANT).await.unwrap().is_empty());

    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "dev-reviewer"),
        ("client_secret", made[2].secret.expose()),
    ];
    let (status, token) = world.post_form(&form).await;
    assert_eq!(status, StatusCode::OK, "{token}");
    let claims = world.claims(token["access_token"].as_str().unwrap()).await;
    assert_eq!(claims.kind, Kind::Reviewer);
}

#[tokio::test]
async fn a_client_is_ensured_with_the_secret_of_the_day() {
    let world = world().await;
    let (one, two) = (generate_secret(), generate_secret());
    let ensure = |scopes: &'static [&'static str], secret: Secret| {
        let auth = Arc::clone(&world.auth);
        async move {
            let kind = ClientKind::Service;
            auth.ensure_client("gateway", kind, TENANT, scopes, &secret)
                .await
                .unwrap()
        }
    };
    assert_eq!(ensure(&["core:call"], one.clone()).await, Ensured::Created);
    assert_eq!(
        ensure(&["core:call"], one.clone()).await,
        Ensured::Unchanged
    );
    assert_eq!(
        ensure(&["core:call", "queue:otp"], one.clone()).await,
        Ensured::Changed
    );
    assert_eq!(
        ensure(&["core:call", "queue:otp"], two.clone()).await,
        Ensured::Changed
    );
    let form = |secret: &Secret| {
        let secret = secret.expose().to_owned();
        async {
            let secret = secret;
            let grant = ("grant_type", "client_credentials");
            let form = [grant, ("client_id", "gateway"), ("client_secret", &secret)];
            world.post_form(&form).await.0
        }
    };
    assert_eq!(form(&one).await, StatusCode::UNAUTHORIZED);
    assert_eq!(form(&two).await, StatusCode::OK);
}

#[tokio::test]
async fn keys_and_clients_survive_a_restart_and_secrets_are_nowhere_in_the_file() {
    let world = world().await;
    let made = world.auth.bootstrap(TENANT).await.unwrap();
    let token = world.token("bank", &["workflows:read"]).await;
    let (again, ..) = open(&world.folder, Arc::clone(&world.clock)).await;
    let verifier = Verifier::with_keys(again.signing.jwks(), world.clock.clone());
    assert_eq!(verifier.verify(&token).await.unwrap().sub, "bank");

    let mut bytes = std::fs::read(world.folder.path().join("auth.sqlite")).unwrap();
    bytes.extend(std::fs::read(world.folder.path().join("auth.sqlite-wal")).unwrap());
    assert!(contains(&bytes, b"$argon2id$"), "the hashes are there");
    for client in made {
        assert!(!contains(&bytes, client.secret.expose().as_bytes()));
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|it| it == needle)
}

#[tokio::test]
async fn a_rotated_key_signs_from_the_next_start_and_the_old_one_is_still_published() {
    let world = world().await;
    let old = world.token("bank", &["workflows:read"]).await;
    let keyring = LocalKeyring::open(&world.folder.path().join("keyring.json")).unwrap();
    let keys: Arc<dyn Keys> = Arc::new(keyring);
    world.clock.advance(1);
    let clock: btrust_platform::clock::SharedClock = world.clock.clone();
    signing::rotate(&world.auth.store, &keys, &clock)
        .await
        .unwrap();

    let (again, ..) = open(&world.folder, Arc::clone(&world.clock)).await;
    assert_eq!(again.signing.jwks().keys.len(), 2);
    let verifier = Verifier::with_keys(again.signing.jwks(), world.clock.clone());
    assert!(verifier.verify(&old).await.is_ok());
    world.clock.advance(APPLICANT_TOKEN_TTL_MS);
    let (later, ..) = open(&world.folder, Arc::clone(&world.clock)).await;
    assert_eq!(later.signing.jwks().keys.len(), 1);
}

#[tokio::test]
async fn the_service_says_how_it_is() {
    let world = world().await;
    let health = world.client.get("/actuator/health").send().await;
    health.assert_status_is_ok();
    assert_eq!(body(health).await["components"]["db"]["status"], "UP");
    world
        .client
        .get("/metrics")
        .send()
        .await
        .assert_status_is_ok();
    let document = world.client.get("/openapi.json").send().await;
    assert_eq!(
        body(document).await,
        serde_json::from_str::<Value>(&openapi_json()).unwrap()
    );
}

#[tokio::test]
async fn nobody_gives_a_scope_that_is_not_theirs_to_give() {
    let world = world().await;
    let admin = world
        .token("admin", &["clients:write", "tenant:read"])
        .await;
    let chief = world
        .token("chief", &["clients:write", "reviewers:write"])
        .await;
    let make = async |token: &str, kind: &str, scope: &str| {
        let new = json!({ "name": "x", "kind": kind, "scopes": [scope] });
        world.post("/v1/clients", Some(token), new).await
    };
    for (kind, scope) in [
        ("client", "definitions:write"),
        ("client", "definitions:publish"),
        ("client", "tenant:write"),
        ("client", "reviewers:write"),
        ("reviewer", "reviews:write"),
    ] {
        let (status, body) = make(&admin, kind, scope).await;
        assert_problem(status, &body, (403, "scope_refused"));
    }
    for scope in ["tenant:read", "clients:write", "workflows:write"] {
        assert_eq!(make(&admin, "client", scope).await.0, StatusCode::CREATED);
    }
    let (status, body) = make(&chief, "reviewer", "reviews:write").await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
}

#[tokio::test]
async fn a_withdrawn_client_gets_no_token_and_another_tenants_is_not_there() {
    let world = world().await;
    let admin = world.token("admin", &["clients:write"]).await;
    let secret = generate_secret();
    for (id, tenant, kind) in [
        ("own", TENANT, ClientKind::Client),
        ("other", "other bank", ClientKind::Client),
        ("service", TENANT, ClientKind::Service),
    ] {
        let ensured = world
            .auth
            .ensure_client(id, kind, tenant, &["workflows:read"], &secret);
        assert_eq!(ensured.await.unwrap(), Ensured::Created);
    }
    let withdraw = async |id: &str| {
        let request = world.client.delete(format!("/v1/clients/{id}"));
        let request = request.header("authorization", format!("Bearer {admin}"));
        request.send().await
    };
    for id in ["other", "service", "nobody"] {
        let refused = withdraw(id).await;
        let status = refused.0.status();
        assert_problem(status, &body(refused).await, (404, "client_unknown"));
    }
    withdraw("own").await.assert_status(StatusCode::NO_CONTENT);
    withdraw("own").await.assert_status(StatusCode::NOT_FOUND);
    for (id, status) in [("own", StatusCode::UNAUTHORIZED), ("other", StatusCode::OK)] {
        let grant = ("grant_type", "client_credentials");
        let form = [grant, ("client_id", id), ("client_secret", secret.expose())];
        assert_eq!(world.post_form(&form).await.0, status, "{id}");
    }
}

#[tokio::test]
async fn who_invents_clients_is_slowed_down_and_a_checked_secret_of_the_address_is_not() {
    let world = world().await;
    let secret = generate_secret();
    let kind = ClientKind::Service;
    let ensured = world
        .auth
        .ensure_client("gateway", kind, TENANT, &["core:call"], &secret);
    ensured.await.unwrap();
    let ask = async |id: &str, secret: &str| {
        let grant = ("grant_type", "client_credentials");
        let form = [grant, ("client_id", id), ("client_secret", secret)];
        world.post_form(&form).await.0
    };
    for n in 0..failures::FAILURES_OF_ADDRESS_MAX {
        let status = ask(&format!("nobody-{n}"), "wrong").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(ask("nobody", "wrong").await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(ask("gateway", secret.expose()).await, StatusCode::OK);
    world.clock.advance(failures::FAILURES_WINDOW_MS);
    assert_eq!(ask("nobody", "wrong").await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_body_beyond_what_auth_needs_is_not_read() {
    let world = world().await;
    let large = json!({ "code": "0".repeat(usize::try_from(server::BODY_BYTES_MAX).unwrap()) });
    let (status, body) = world.post("/v1/handoffs/redemptions", None, large).await;
    assert_problem(status, &body, (413, "body_too_large"));
}

#[tokio::test]
async fn a_sitting_ends_however_often_it_is_handed_off() {
    let world = world().await;
    let mut token = world.applicant(workflow(1)).await;
    let end = (START_MS + APPLICANT_SESSION_MAX_MS) / 1_000;
    for _ in 0..4 {
        world.clock.advance(50 * MINUTE_MS);
        let (status, handoff) = world.post("/v1/handoffs", Some(&token), json!({})).await;
        assert_eq!(status, StatusCode::CREATED, "{handoff}");
        let redemption = json!({ "code": handoff["code"] });
        let path = "/v1/handoffs/redemptions";
        let (status, redeemed) = world.post(path, None, redemption).await;
        assert_eq!(status, StatusCode::CREATED, "{redeemed}");
        token = redeemed["accessToken"].as_str().unwrap().to_owned();
    }
    let claims = world.claims(&token).await;
    assert_eq!((claims.exp, claims.session_end), (end, Some(end)));
    world.clock.set(end * 1_000 - 1);
    let (_, handoff) = world.post("/v1/handoffs", Some(&token), json!({})).await;
    world.clock.advance(1);
    let redemption = json!({ "code": handoff["code"] });
    let (status, body) = world
        .post("/v1/handoffs/redemptions", None, redemption)
        .await;
    assert_problem(status, &body, (401, "handoff_refused"));
}

#[tokio::test]
async fn a_workflow_has_few_links_and_they_share_the_pauses_of_its_contact() {
    let mut world = world().await;
    let first = world.link(workflow(1)).await;
    let applicant = world.applicant(workflow(1)).await;
    let make = async || {
        world
            .post("/v1/resume-links", Some(&applicant), json!({}))
            .await
    };
    let (_, second) = make().await;
    let second = second["link"].as_str().unwrap().to_owned();
    for _ in 2..store::resume_links::OPEN_LINKS_MAX {
        assert_eq!(make().await.0, StatusCode::CREATED);
    }
    let (status, body) = make().await;
    assert_problem(status, &body, (429, "too_many_resume_links"));

    assert!(world.code(&first).await.is_some());
    assert_eq!(world.code(&second).await, None, "30 s after the first");
    world.clock.advance(30_000);
    assert!(world.code(&second).await.is_some());
}

#[tokio::test]
async fn links_that_lead_nowhere_do_not_use_up_what_an_address_may_ask_for() {
    let mut world = world().await;
    let link = world.link(workflow(1)).await;
    for n in 0..100 {
        assert_eq!(world.code(&format!("{n:032x}")).await, None);
    }
    assert!(world.code(&link).await.is_some());
}

#[tokio::test]
async fn a_client_and_the_act_that_has_made_it_are_written_together() {
    let world = world().await;
    let put = async || {
        let secret = Secret::new("a secret of the test");
        let kind = ClientKind::Client;
        let scopes = ["workflows:read"];
        let ensured = world
            .auth
            .ensure_client("bank", kind, TENANT, &scopes, &secret);
        ensured.await
    };
    let outbox = world.auth.outbox();
    let say = async |statement: &'static str| {
        sqlx::query(statement).execute(outbox.pool()).await.unwrap();
    };
    say("ALTER TABLE act_outbox RENAME TO away").await;
    assert!(put().await.is_err());
    say("ALTER TABLE away RENAME TO act_outbox").await;
    assert_eq!(put().await.unwrap(), Ensured::Created);
    assert_eq!(put().await.unwrap(), Ensured::Unchanged);
    let noted = outbox.oldest(9).await.unwrap();
    let kinds: Vec<ActKind> = noted.iter().map(|it| it.act.kind).collect();
    assert_eq!(kinds, [ActKind::ClientCreated]);
}
