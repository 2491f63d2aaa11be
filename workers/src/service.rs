//! One worker service as a process runs it: configuration, ports to the outside, health, the loop.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use poem::Route;
use rand::RngExt;
use sqlx::SqlitePool;
use tokio::net::TcpListener;

use btrust_platform::clock::SharedClock;
use btrust_platform::config::{ConfigError, Secret, Settings};
use btrust_platform::contacts::{SqliteVerifiedContacts, VerifiedContacts};
use btrust_platform::data_dir::DataDir;
use btrust_platform::health::{CheckFn, Health, ServiceCheck, SqliteCheck};
use btrust_platform::http::{self, Shutdown};
use btrust_platform::keys::{KeyError, Keys, LocalKeyring};
use btrust_platform::messages::{Messenger, messenger_from};
use btrust_platform::objects::{EvidenceStore, FileObjects};
use btrust_platform::sqlite::{self, DbError, STEPS_MIGRATIONS};
use btrust_platform::token::TokenSource;
use btrust_platform::workflow_keys;
use btrust_schemas::exchange::WORKER_LABELS_MAX;
use btrust_schemas::task_limits::is_label;
use btrust_vision::{Role, Vision};

use crate::catalogue::Service;
use crate::runtime::cpu::CpuPool;
use crate::runtime::exchange::{HttpCores, Worker};

/// Where a service finds the others, and who it is there.
#[derive(Clone, Debug)]
pub struct Config {
    pub core_url: String,
    pub auth_url: String,
    pub client_id: String,
    pub client_secret: Secret,
    /// What the worker offers to tasks that ask for labels: `region=eu`, `gpu`.
    pub labels: Vec<String>,
}

impl Config {
    /// Reads `CORE_URL`, `AUTH_URL`, `CLIENT_ID`, `CLIENT_SECRET`, and `WORKER_LABELS` where there are any.
    ///
    /// # Errors
    ///
    /// The first of them that is missing or malformed.
    pub fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            core_url: settings.required("CORE_URL")?,
            auth_url: settings.required("AUTH_URL")?,
            client_id: settings.required("CLIENT_ID")?,
            client_secret: settings.required_secret("CLIENT_SECRET")?,
            labels: worker_labels(settings)?,
        })
    }
}

/// Reads `WORKER_LABELS`: labels with commas between them, such as `region=eu,gpu`.
///
/// # Errors
///
/// When one of them is not a label, or there are too many.
pub fn worker_labels(settings: &Settings) -> Result<Vec<String>, ConfigError> {
    let name = "WORKER_LABELS";
    let text = settings.get(name).unwrap_or_default();
    let labels = text.split(',').map(str::trim).filter(|it| !it.is_empty());
    let labels: Vec<String> = labels.map(str::to_owned).collect();
    if WORKER_LABELS_MAX < labels.len() || !labels.iter().all(|it| is_label(it)) {
        return Err(ConfigError::Invalid {
            name: name.to_owned(),
            expected: format!("at most {WORKER_LABELS_MAX} labels such as region=eu,gpu"),
        });
    }
    Ok(labels)
}

/// The outside world of the steps; every service of a process shares one.
#[derive(Clone)]
pub struct Ports {
    pub clock: SharedClock,
    pub evidence: Arc<EvidenceStore>,
    pub steps_db: SqlitePool,
    pub keys: Arc<dyn Keys>,
    pub messenger: Arc<dyn Messenger>,
    pub contacts: Arc<dyn VerifiedContacts>,
    /// The models; one set for all services of a process.
    pub vision: Arc<Vision>,
    /// Shared by all services of a process, so that together they leave a core to the network.
    pub cpu: CpuPool,
}

/// Why the embedded stores could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    WorkflowKeys(#[from] workflow_keys::OpenError),
}

impl Ports {
    /// Opens the embedded stores under `data_dir`; the models are there too, or where `BTRUST_MODELS` says,
    /// and the keys of workflows where `KEYS_DATABASE_URL` says.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; none of its cases goes away by trying again.
    pub async fn embedded(
        settings: &Settings,
        data_dir: &DataDir,
        clock: SharedClock,
    ) -> Result<Self, OpenError> {
        let keys: Arc<dyn Keys> = Arc::new(LocalKeyring::open(&data_dir.keyring())?);
        let workflow_keys = workflow_keys::open(settings, data_dir, Arc::clone(&keys)).await?;
        let objects = Arc::new(FileObjects::new(data_dir.objects()));
        let contacts =
            SqliteVerifiedContacts::open(&data_dir.steps_db(), Arc::clone(&workflow_keys)).await?;
        Ok(Self {
            messenger: messenger_from(settings, data_dir, Arc::clone(&clock))?,
            clock,
            evidence: Arc::new(EvidenceStore::new(objects, workflow_keys)),
            steps_db: sqlite::open(&data_dir.steps_db(), &STEPS_MIGRATIONS).await?,
            keys,
            contacts: Arc::new(contacts),
            vision: Vision::open(
                settings
                    .get("BTRUST_MODELS")
                    .map_or_else(|| data_dir.models(), PathBuf::from),
            ),
            cpu: CpuPool::sized_to_machine(),
        })
    }
}

/// Serves one worker service until `shutdown`: its HTTP port, and its tasks from core.
///
/// Returns when the running turns have ended, their results are handed in and
/// the remaining leases are given back.
///
/// # Errors
///
/// What the system says when the listener is not usable.
pub async fn serve(
    service: Service,
    listener: TcpListener,
    config: Config,
    ports: Ports,
    shutdown: Shutdown,
) -> io::Result<()> {
    let client = http::client();
    warm_up(service, &ports.vision);
    let vision = Arc::clone(&ports.vision);
    let models = CheckFn(move || std::future::ready(models_present(service, &vision)));
    let health = Health::new(service.as_str())
        .own("stepsDb", SqliteCheck(ports.steps_db.clone()))
        .own("models", models)
        .neighbour("core", ServiceCheck::new(client.clone(), &config.core_url))
        .neighbour("auth", ServiceCheck::new(client.clone(), &config.auth_url));
    let tokens = TokenSource::new(&config.auth_url, config.client_id, config.client_secret);
    let worker = Worker {
        cores: Arc::new(HttpCores::new(client, tokens)),
        core_url: config.core_url,
        labels: config.labels,
        steps: service.steps(&ports),
        evidence: ports.evidence,
        clock: ports.clock,
        cpu: ports.cpu,
    };
    let session = format!("{service}-{:032x}", rand::rng().random::<u128>());
    // The AI services' direct calls join these routes.
    let routes = health.install(Route::new());
    let (served, ()) = tokio::join!(
        http::serve(service.as_str(), listener, routes, shutdown.clone()),
        worker.run(session, shutdown)
    );
    served
}

/// Loads the service's models beside the start, so that the first applicant does not wait for them.
fn warm_up(service: Service, vision: &Arc<Vision>) {
    let vision = Arc::clone(vision);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = vision.warm_up(service.models()) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                service = service.as_str(),
                "cannot load the models"
            );
        }
    });
}

/// Whether every file is there that the service will run.
fn models_present(service: Service, vision: &Vision) -> Result<(), String> {
    let runtime = if service.models().is_empty() {
        None
    } else {
        Some(&Role::Runtime)
    };
    let missing = service
        .models()
        .iter()
        .chain(runtime)
        .find(|role| !vision.dir().join(role.file_name()).is_file());
    match missing {
        Some(role) => Err(format!(
            "the model `{role}` is missing; run `btrust models fetch`"
        )),
        None => Ok(()),
    }
}
