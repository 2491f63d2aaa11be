//! The service: its consumers, its routes, its end.

mod access;
mod funnels;
mod webhooks;

use std::io;
use std::sync::Arc;

use poem::{EndpointExt, Route, get};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use btrust_platform::clock::SharedClock;
use btrust_platform::config::{ConfigError, Settings};
use btrust_platform::consumers::{self, Consumer, Sink};
use btrust_platform::data_dir::DataDir;
use btrust_platform::database_url::DatabaseUrl;
use btrust_platform::health::{Health, ServiceCheck};
use btrust_platform::http::Shutdown;
use btrust_platform::keys::Keys;
use btrust_platform::objects::{EvidenceStore, Objects};
use btrust_platform::random::SystemRandom;
use btrust_platform::relational::{OpenError, Relational};
use btrust_platform::streams::{Stream, StreamReader};
use btrust_platform::token::Verifier;
use btrust_platform::workflow_keys::WorkflowKeys;

use crate::analytics::Projector;
use crate::archive::{Archiver, SEGMENT_EVERY_MS, Sealer};
use crate::webhooks::{Config as WebhooksConfig, Ports, SenderError, SystemResolver, Webhooks};

/// Name of the service in logs, metrics and health.
const SERVICE: &str = "streams";

/// What the service is told by its environment.
#[derive(Clone)]
pub struct Config {
    /// `AUTH_URL`
    pub auth_url: String,
    /// `DATABASE_URL` where it names a MySQL database, otherwise a file in the data folder.
    pub database: DatabaseUrl,
    /// `ARCHIVE_SEGMENT_SECONDS`: how long checkpoints wait for others to share a segment with, in ms.
    pub segment_every_ms: i64,
    /// `CONSUMERS_MARK_DAYS`: how long what was read of a workflow is remembered after its last event, in ms.
    pub mark_lifetime_ms: i64,
    pub webhooks: WebhooksConfig,
}

impl Config {
    /// # Errors
    ///
    /// The first setting that cannot be used.
    pub fn from_settings(settings: &Settings, data_dir: &DataDir) -> Result<Self, ConfigError> {
        let auth_url = settings.get("AUTH_URL");
        let expected = "a whole number of seconds from 0 to 86400";
        let name = "ARCHIVE_SEGMENT_SECONDS";
        let segment_s: i64 = settings.parsed(name, expected, SEGMENT_EVERY_MS / 1_000)?;
        if !(0..=86_400).contains(&segment_s) {
            let (name, expected) = (name.to_owned(), expected.to_owned());
            return Err(ConfigError::Invalid { name, expected });
        }
        Ok(Self {
            segment_every_ms: segment_s * 1_000,
            auth_url: auth_url.unwrap_or_else(|| "http://localhost:5800".to_owned()),
            database: consumers::location(settings, data_dir)?,
            mark_lifetime_ms: consumers::mark_lifetime_ms(settings)?,
            webhooks: WebhooksConfig::from_settings(settings)?,
        })
    }
}

/// What the service uses of the outside world, beside its own database.
#[derive(Clone)]
pub struct Outside {
    pub reader: Arc<dyn StreamReader>,
    pub objects: Arc<dyn Objects>,
    pub workflow_keys: Arc<dyn WorkflowKeys>,
    pub keys: Arc<dyn Keys>,
    pub clock: SharedClock,
}

/// Why the service could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the database of the consumers cannot be opened")]
    Database(#[from] OpenError),
    #[error("the listener cannot be served")]
    Listener(#[source] io::Error),
    #[error("webhooks cannot be sent")]
    Webhooks(#[from] SenderError),
}

/// What the endpoints share.
pub(crate) struct Streams {
    database: Relational,
    verifier: Verifier,
    webhooks: Arc<Webhooks>,
}

/// Reads the streams and answers until `shutdown`; then what was read is taken, and every shard given back.
///
/// # Errors
///
/// [`ServeError`].
pub async fn serve(
    config: Config,
    outside: Outside,
    listener: TcpListener,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    let database = consumers::open(&config.database).await?;
    let Outside {
        reader,
        objects,
        workflow_keys,
        keys,
        clock,
    } = outside;
    let consumer = |sink: Arc<dyn Sink>, stream| {
        let (reader, clock) = (Arc::clone(&reader), Arc::clone(&clock));
        Consumer::new(sink, stream, reader, database.clone(), clock)
    };
    let projector = Projector::new(database.clone(), Arc::clone(&clock));
    let analytics = consumer(Arc::new(projector), Stream::Analytics);
    let archiver = Archiver::new(database.clone(), Arc::clone(&clock));
    let archive = consumer(Arc::new(archiver), Stream::Audit);
    let objects = EvidenceStore::new(objects, Arc::clone(&workflow_keys));
    let sealer = Sealer::new(database.clone(), objects, workflow_keys, Arc::clone(&clock));
    let ports = Ports {
        db: database.clone(),
        keys,
        resolver: Arc::new(SystemResolver),
        clock: Arc::clone(&clock),
        random: SystemRandom::shared(),
    };
    let webhooks = Webhooks::new(&config.webhooks, ports)?;
    let told = consumer(Arc::new(webhooks.sink()), Stream::Audit);
    let http = btrust_platform::http::client();
    let health = Health::new(SERVICE)
        .own("db", database.clone())
        .neighbour("analytics", analytics.status())
        .neighbour("archive", archive.status())
        .neighbour("webhooks", told.status())
        .neighbour("auth", ServiceCheck::new(http, &config.auth_url));
    let streams = Streams {
        database: database.clone(),
        verifier: Verifier::new(&config.auth_url, Arc::clone(&clock)),
        webhooks: Arc::clone(&webhooks),
    };
    let routes = health.install(routes(streams));

    let mut reading = JoinSet::new();
    reading.spawn(analytics.run(shutdown.clone()));
    reading.spawn(archive.run(shutdown.clone()));
    reading.spawn(sealer.every(config.segment_every_ms).run(shutdown.clone()));
    reading.spawn(told.run(shutdown.clone()));
    reading.spawn(webhooks.run(shutdown.clone()));
    let lifetime_ms = config.mark_lifetime_ms;
    let forgetting = consumers::forget_for_ever(
        database.clone(),
        Arc::clone(&clock),
        lifetime_ms,
        shutdown.clone(),
    );
    reading.spawn(forgetting);
    let served = btrust_platform::http::serve(SERVICE, listener, routes, shutdown.clone()).await;
    // Also where the listener has failed.
    shutdown.trigger();
    while let Some(ended) = reading.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a consumer has failed");
        }
    }
    served.map_err(ServeError::Listener)
}

/// The endpoints, without health.
fn routes(streams: Streams) -> Route {
    let api = Route::new().at("/analytics/funnels", get(funnels::funnels));
    let api = webhooks::install(api);
    Route::new().nest("/internal/v1", api.data(Arc::new(streams)))
}
