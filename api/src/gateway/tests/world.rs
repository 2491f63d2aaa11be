//! The services that a test of the gateway talks to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use poem::{
    Endpoint, Response,
    http::{Method, StatusCode},
    test::TestClient,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use btrust_platform::{
    clock::ManualClock,
    config::{Secret, Settings},
    contacts::SqliteVerifiedContacts,
    data_dir::DataDir,
    http::Shutdown,
    keys::{Keys, LocalKeyring},
    messages::{Delivery, Message, Messenger, SendError},
    objects::FileObjects,
    token::{TokenSource, Verifier},
    workflow_keys::{SqliteWorkflowKeys, WorkflowKeys},
};
use btrust_schemas::{
    ids::{PromptId, WorkflowId},
    prompt::PromptView,
    turn::Audience,
};

use super::core::{self, Core};
use crate::{auth, gateway};

const START_MS: i64 = 1_750_000_000_000;

/// Nobody is sent anything in these tests.
struct Nobody;

#[async_trait]
impl Messenger for Nobody {
    async fn send(&self, _: Message) -> Result<Delivery, SendError> {
        Err(SendError::Undeliverable {
            reason: "nobody is sent anything here",
        })
    }
}

pub struct World<E> {
    pub client: TestClient<E>,
    pub gateway: Arc<gateway::Gateway>,
    pub core: Core,
    pub clock: Arc<ManualClock>,
    pub folder: tempfile::TempDir,
    workflow_keys: Arc<dyn WorkflowKeys>,
    auth: Arc<auth::Auth>,
    auth_url: String,
    core_shutdown: Shutdown,
    core_serving: Option<JoinHandle<()>>,
}

#[track_caller]
pub fn assert_problem(status: StatusCode, body: &Value, expected: (u16, &str)) {
    assert_eq!(
        (status.as_u16(), body["code"].as_str().unwrap_or("none")),
        expected,
        "{body}"
    );
}

async fn listen() -> (TcpListener, String) {
    let address: SocketAddr = ([127, 0, 0, 1], 0).into();
    let listener = TcpListener::bind(address).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

pub async fn world() -> World<impl Endpoint<Output = Response>> {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let data_dir = DataDir::open(folder.path()).unwrap();
    let keys: Arc<dyn Keys> = Arc::new(LocalKeyring::open(&data_dir.keyring()).unwrap());
    let keys_db = data_dir.keys_db();
    let workflow_keys = SqliteWorkflowKeys::open(&keys_db, Arc::clone(&keys))
        .await
        .unwrap();
    let workflow_keys: Arc<dyn WorkflowKeys> = Arc::new(workflow_keys);
    let contacts =
        SqliteVerifiedContacts::open(&data_dir.steps_db(), Arc::clone(&workflow_keys)).await;

    let (auth_listener, auth_url) = listen().await;
    let (core_listener, core_url) = listen().await;
    let secret = auth::generate_secret();
    let settings = Settings::from_table([
        ("AUTH_URL", auth_url.as_str()),
        ("CORE_URL", core_url.as_str()),
        ("CLIENT_ID", "gateway"),
        ("CLIENT_SECRET", secret.expose()),
    ]);

    let outside = auth::Outside {
        keys,
        contacts: Arc::new(contacts.unwrap()),
        messenger: Arc::new(Nobody),
        clock: clock.clone(),
    };
    let config = auth::Config::from_settings(&settings).unwrap();
    let auth = auth::Auth::open(config, &data_dir, outside).await.unwrap();
    let service = auth::ClientKind::Service;
    auth.ensure_client("gateway", service, "btrust", &["core:call"], &secret)
        .await
        .unwrap();
    tokio::spawn(auth::serve(
        Arc::clone(&auth),
        auth_listener,
        Shutdown::new(),
    ));

    let core = Core::new(Mutex::default());
    let routes = core::routes(Arc::clone(&core), Verifier::new(&auth_url, clock.clone()));
    let core_shutdown = Shutdown::new();
    let shutdown = core_shutdown.clone();
    let core_serving = tokio::spawn(async move {
        btrust_platform::http::serve("core", core_listener, routes, shutdown)
            .await
            .unwrap();
    });

    let config = gateway::Config::from_settings(&settings).unwrap();
    let outside = gateway::Outside {
        objects: Arc::new(FileObjects::new(data_dir.objects())),
        workflow_keys: Arc::clone(&workflow_keys),
        clock: clock.clone(),
    };
    let gateway = gateway::Gateway::open(config, &data_dir, outside)
        .await
        .unwrap();
    let routes = gateway::routes(&gateway);
    World {
        client: TestClient::new(btrust_platform::http::wrap("gateway", routes)),
        gateway,
        core,
        clock,
        folder,
        workflow_keys,
        auth,
        auth_url,
        core_shutdown,
        core_serving: Some(core_serving),
    }
}

impl<E: Endpoint<Output = Response>> World<E> {
    /// The token of a client of a tenant with these scopes.
    pub async fn token(&self, id: &str, tenant: &str, scopes: &[&str]) -> String {
        let secret: Secret = auth::generate_secret();
        let kind = auth::ClientKind::Client;
        self.auth
            .ensure_client(id, kind, tenant, scopes, &secret)
            .await
            .unwrap();
        TokenSource::new(&self.auth_url, id, secret)
            .bearer()
            .await
            .unwrap()
    }

    /// The bank's backend.
    pub async fn bank(&self) -> String {
        let scopes = [
            "workflows:read",
            "workflows:write",
            "applicant-tokens:write",
        ];
        self.token("bank", "bank", &scopes).await
    }

    /// Whoever keeps the schedules of the bank.
    pub async fn scheduler(&self) -> String {
        let scopes = ["workflows:operate", "workflows:read"];
        self.token("scheduler", "bank", &scopes).await
    }

    /// The backend of another bank.
    pub async fn other_bank(&self) -> String {
        let scopes = [
            "workflows:read",
            "workflows:write",
            "applicant-tokens:write",
        ];
        self.token("other-bank", "other-bank", &scopes).await
    }

    /// An applicant of this workflow, as its own or another bank made them.
    pub async fn applicant(&self, bank: &str, workflow: WorkflowId) -> String {
        let request = btrust_platform::http::client()
            .post(format!("{}/v1/applicant-tokens", self.auth_url))
            .bearer_auth(bank)
            .json(&json!({ "workflow": workflow }));
        let body: Value = request.send().await.unwrap().json().await.unwrap();
        body["accessToken"].as_str().unwrap().to_owned()
    }

    pub async fn call(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        json: Value,
    ) -> (StatusCode, Value) {
        let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
        let mut request = self.client.request(method, path).body_json(&json);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = request.send().await;
        let status = response.0.status();
        (status, response.json().await.value().deserialize())
    }

    pub async fn get(&self, path: &str, token: &str) -> (StatusCode, Value) {
        self.call("get", path, Some(token), Value::Null).await
    }

    pub async fn post(&self, path: &str, token: &str, json: Value) -> (StatusCode, Value) {
        self.call("post", path, Some(token), json).await
    }

    pub async fn start_with(&self, token: &str, key: &str, json: Value) -> (StatusCode, Value) {
        self.post_with("/v1/workflows", token, key, json).await
    }

    pub async fn post_with(
        &self,
        path: &str,
        token: &str,
        key: &str,
        json: Value,
    ) -> (StatusCode, Value) {
        let request = self.client.post(path).body_json(&json);
        let request = request.header("authorization", format!("Bearer {token}"));
        let response = request.header("idempotency-key", key).send().await;
        let status = response.0.status();
        (status, response.json().await.value().deserialize())
    }

    /// Starts a workflow, as core would with a key of its own.
    pub async fn start(&self, token: &str, tenant: &str, key: &str) -> WorkflowId {
        let new = json!({ "definition": "known", "input": {} });
        let (status, body) = self.start_with(token, key, new).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        let id: WorkflowId = body["id"].as_str().unwrap().parse().unwrap();
        self.workflow_keys
            .create_many(&[(tenant.to_owned(), id)])
            .await
            .unwrap();
        id
    }

    /// Opens a prompt of a step in a workflow.
    pub fn ask(
        &self,
        workflow: WorkflowId,
        number: u32,
        step: &str,
        audience: Audience,
    ) -> PromptId {
        let id = PromptId { workflow, number };
        self.core.lock().unwrap().prompts.push(PromptView {
            id,
            workflow,
            state_name: "Ask".to_owned(),
            resource: format!("kyc:{step}@1"),
            audience,
            kind: "test".to_owned(),
            body: json!({}),
            locale: "en".to_owned(),
            opened_at: "2026-01-01T00:00:00.000Z".to_owned(),
            expires_at: "2026-01-02T00:00:00.000Z".to_owned(),
        });
        id
    }

    pub async fn stop_core(&mut self) {
        self.core_shutdown.trigger();
        self.core_serving.take().unwrap().await.unwrap();
    }
}
