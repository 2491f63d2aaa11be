//! The processes of a run: core and the workers as children, auth inside, all on loopback.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use btrust_api::auth::{self, ClientKind};
use btrust_platform::config::Settings;
use btrust_platform::data_dir::DataDir;
use btrust_platform::http::Shutdown;
use btrust_platform::token::TokenSource;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use super::definition::{self, TENANT};
use super::http::Connection;
use super::mariadb::MariaDb;
use crate::services::Site;

/// How long core may take until it is ready.
const READY_WITHIN: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Where the engine keeps its state.
pub enum Database {
    Sqlite,
    /// A MariaDB that the benchmark starts.
    OwnMySql,
    Given(String),
}

pub struct Plan<'p> {
    pub folder: &'p Path,
    pub database: Database,
    pub n_steps: u32,
    pub n_workers: u32,
    pub n_sessions: u32,
}

/// Everything that runs; dropping it ends all of it.
pub struct Stage {
    pub core_url: String,
    pub core: Child,
    _database: Option<MariaDb>,
    pub tokens: Arc<TokenSource>,
    _workers: Vec<Child>,
    shutdown: Shutdown,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

impl Stage {
    pub async fn set(plan: &Plan<'_>) -> anyhow::Result<Self> {
        let shutdown = Shutdown::new();
        let data = plan.folder.join("data");
        let (auth_url, auth) = serve_auth(&data, &shutdown).await?;
        let (mut database, mut database_url, mut keys_url) = (None, None, None);
        match &plan.database {
            Database::Sqlite => {}
            Database::Given(url) => {
                database_url = Some(url.clone());
                keys_url = std::env::var("KEYS_DATABASE_URL").ok();
            }
            Database::OwnMySql => {
                let own = MariaDb::start(plan.folder).await?;
                database_url = Some(own.state_url.clone());
                keys_url = Some(own.keys_url.clone());
                database = Some(own);
            }
        }
        let core_url = format!("http://127.0.0.1:{}", free_port().await?);
        let mut core = Command::new(std::env::current_exe()?);
        core.args(["serve", "core", "--address", "127.0.0.1", "--port"])
            .arg(core_url.rsplit(':').next().unwrap_or_default())
            .arg("--data")
            .arg(&data)
            .env("AUTH_URL", &auth_url)
            .env("CORE_URL", &core_url)
            .env_remove("DATABASE_URL")
            .env_remove("KEYS_DATABASE_URL")
            .envs(database_url.map(|it| ("DATABASE_URL", it)))
            .envs(keys_url.map(|it| ("KEYS_DATABASE_URL", it)))
            .stdout(std::fs::File::create(plan.folder.join("core.log"))?)
            .kill_on_drop(true);
        let mut core = core.spawn().context("core cannot be started")?;
        ready(&core_url, &mut core).await?;

        let tokens = Arc::new(client(&auth, &auth_url, "bench", &["core:call"]).await?.0);
        publish(&core_url, &tokens, plan.n_steps).await?;
        let (_, secret) = client(&auth, &auth_url, "bench-worker", &["queue:form"]).await?;
        let mut workers = Vec::new();
        for _ in 0..plan.n_workers {
            let worker = Command::new(std::env::current_exe()?)
                .args(["bench", "worker", "--sessions"])
                .arg(plan.n_sessions.to_string())
                .env("AUTH_URL", &auth_url)
                .env("CORE_URL", &core_url)
                .env("CLIENT_ID", "bench-worker")
                .env("CLIENT_SECRET", secret.expose())
                .stdin(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .context("a worker cannot be started")?;
            workers.push(worker);
        }
        Ok(Self {
            core_url,
            core,
            _database: database,
            tokens,
            _workers: workers,
            shutdown,
        })
    }

    /// The processes that serve: core, and a database of our own.
    pub fn core_pid(&self) -> anyhow::Result<u32> {
        self.core
            .id()
            .context("core has ended; see core.log with --keep")
    }
}

/// A port that was free a moment ago.
pub async fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    Ok(listener.local_addr()?.port())
}

async fn serve_auth(data: &Path, shutdown: &Shutdown) -> anyhow::Result<(String, Arc<auth::Auth>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let settings = Settings::from_env().overlaid([("AUTH_URL", url.clone())]);
    let site = Site::new(
        settings,
        DataDir::open(data)?,
        Path::new("models"),
        shutdown.clone(),
    );
    let auth = site.auth().await?;
    let serving = auth::serve(Arc::clone(&auth), listener, shutdown.clone());
    tokio::spawn(serving);
    Ok((url, auth))
}

async fn client(
    auth: &auth::Auth,
    auth_url: &str,
    id: &str,
    scopes: &[&str],
) -> anyhow::Result<(TokenSource, btrust_platform::config::Secret)> {
    let secret = auth::generate_secret();
    auth.ensure_client(id, ClientKind::Service, TENANT, scopes, &secret)
        .await?;
    Ok((TokenSource::new(auth_url, id, secret.clone()), secret))
}

async fn ready(url: &str, core: &mut Child) -> anyhow::Result<()> {
    let client = btrust_platform::http::client();
    let health = format!("{url}/actuator/health/readiness");
    let ready = async {
        while !client
            .get(&health)
            .send()
            .await
            .is_ok_and(|it| it.status().is_success())
        {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        () = ready => Ok(()),
        ended = core.wait() => bail!("core has ended: {}; --keep keeps its log", ended?),
        () = tokio::time::sleep(READY_WITHIN) => bail!("core is not ready"),
    }
}

async fn publish(core_url: &str, tokens: &TokenSource, n_steps: u32) -> anyhow::Result<()> {
    let mut core = Connection::open(core_url).await?;
    let token = tokens.bearer().await?;
    for draft in definition::drafts(n_steps)? {
        let answer = core
            .post("/internal/v1/definitions", &token, &draft)
            .await?;
        answer
            .json::<serde_json::Value>()
            .with_context(|| format!("core does not take the definition {}", draft.name))?;
    }
    Ok(())
}
