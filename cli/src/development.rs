//! The development tenant of `btrust up`: clients, acknowledgements and the shipped definitions.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use btrust_api::auth::{Auth, ClientKind, generate_secret};
use btrust_platform::config::Secret;
use btrust_platform::data_dir::DataDir;
use btrust_platform::http::client;
use btrust_platform::token::TokenSource;
use btrust_schemas::core::{SPECIMEN_DOCUMENTS, UNCERTIFIED_LIVENESS};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Tenant of `btrust up`; any UUID will do.
pub const TENANT: &str = "00000000-0000-4000-8000-000000000001";
/// Definitions that every installation starts with.
const DEFINITIONS: &[&str] = &[include_str!("../../workflows/bank-onboarding.json")];
/// What the development tenant accepts, so that it can be tried with a specimen and the shipped models.
const ACKNOWLEDGED: &[(&str, &str)] = &[
    (
        UNCERTIFIED_LIVENESS,
        "development only: the shipped liveness models have no certificate",
    ),
    (
        SPECIMEN_DOCUMENTS,
        "development only: specimens of the issuing state UTO count as documents",
    ),
];

/// One client of auth.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    pub client_id: String,
    pub client_secret: String,
}

/// The clients of the development tenant by role: `bank`, `admin`, `reviewer`, `reviewer2`, `otherTenant`.
pub struct Credentials {
    pub all: BTreeMap<String, Client>,
    /// Whether this start has made them.
    pub are_new: bool,
}

/// Where the secrets are kept; auth itself has only their hashes.
pub fn file(data: &Path) -> PathBuf {
    data.join("development-credentials.json")
}

/// The clients, made on the first start.
pub async fn credentials(
    auth: &Auth,
    data: &DataDir,
    other_tenant: Option<&str>,
) -> anyhow::Result<Credentials> {
    let path = file(data.root());
    let mut all: BTreeMap<String, Client> = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is damaged", path.display()))?,
        Err(_) => BTreeMap::new(),
    };
    let n_before = all.len();
    for client in auth.bootstrap(TENANT).await? {
        let name = match client.id {
            "dev-reviewer-2" => "reviewer2",
            id => id.trim_start_matches("dev-"),
        };
        all.insert(name.to_owned(), of(client.id, &client.secret));
    }
    if let Some(tenant) = other_tenant
        && !all.contains_key("otherTenant")
    {
        let (id, secret) = ("other-bank", generate_secret());
        let scopes = [
            "analytics:read",
            "audit:read",
            "workflows:read",
            "workflows:write",
            "definitions:read",
            "applicant-tokens:write",
        ];
        auth.ensure_client(id, ClientKind::Client, tenant, &scopes, &secret)
            .await?;
        all.insert("otherTenant".to_owned(), of(id, &secret));
    }
    let are_new = n_before < all.len();
    if are_new {
        write(&path, &serde_json::to_vec_pretty(&all)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(Credentials { all, are_new })
}

fn of(id: &str, secret: &Secret) -> Client {
    Client {
        client_id: id.to_owned(),
        client_secret: secret.expose().to_owned(),
    }
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Acknowledges and publishes through the public API, as an admin would.
pub async fn prepare(
    urls: &BTreeMap<&str, String>,
    credentials: &Credentials,
) -> anyhow::Result<()> {
    let admin = credentials
        .all
        .get("admin")
        .context("the development tenant has no admin client")?;
    let tokens = TokenSource::new(
        &urls["auth"],
        &admin.client_id,
        Secret::new(&admin.client_secret),
    );
    let token = tokens.bearer().await?;
    let path = format!("{}/v1/tenant/acknowledgements", urls["gateway"]);
    let known: Value = client()
        .get(&path)
        .bearer_auth(&token)
        .send()
        .await?
        .error_for_status()?
        .json()
        .await?;
    for (kind, statement) in ACKNOWLEDGED {
        if !known.to_string().contains(kind) {
            post(&path, &token, json!({"kind": kind, "statement": statement})).await?;
        }
    }
    for definition in DEFINITIONS {
        let envelope: Value =
            serde_json::from_str(definition).context("a shipped definition is JSON")?;
        post(
            &format!("{}/v1/definitions", urls["gateway"]),
            &token,
            envelope,
        )
        .await?;
    }
    Ok(())
}

async fn post(url: &str, token: &str, body: Value) -> anyhow::Result<()> {
    let response = client()
        .post(url)
        .bearer_auth(token)
        .json(&body)
        .send()
        .await?;
    if !response.status().is_success() {
        bail!("{url} refused: {}", response.text().await?);
    }
    Ok(())
}
