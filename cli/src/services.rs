//! How each service is put together from settings and the data folder; `up` and `serve` share it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use btrust_api::{auth, gateway};
use btrust_engine::CoreConfig;
use btrust_platform::clock::{SharedClock, SystemClock};
use btrust_platform::config::Settings;
use btrust_platform::contacts::SqliteVerifiedContacts;
use btrust_platform::data_dir::DataDir;
use btrust_platform::http::Shutdown;
use btrust_platform::keys::{Keys, LocalKeyring};
use btrust_platform::messages::messenger_from;
use btrust_platform::objects::FileObjects;
use btrust_platform::streams::JsonlReader;
use btrust_platform::workflow_keys::{self, WorkflowKeys};
use btrust_workers::{Ports, Service as Worker};
use clap::ValueEnum;
use tokio::net::TcpListener;
use tokio::sync::OnceCell;

/// Every service that exists; names and ports are those of the deployment guide.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Service {
    Auth,
    Core,
    Gateway,
    /// Steps without a service of their own in the guide: consent, form, review
    Steps,
    Otp,
    Ocr,
    Liveness,
    FaceMatch,
    /// What reads the two streams: archiver, analytics projector, webhooks
    Streams,
}

impl Service {
    pub const ALL: [Self; 9] = [
        Self::Auth,
        Self::Core,
        Self::Gateway,
        Self::Steps,
        Self::Otp,
        Self::Ocr,
        Self::Liveness,
        Self::FaceMatch,
        Self::Streams,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Core => "core",
            Self::Gateway => "gateway",
            Self::Streams => "streams",
            Self::Steps => Worker::Steps.as_str(),
            Self::Otp => Worker::Otp.as_str(),
            Self::Ocr => Worker::Ocr.as_str(),
            Self::Liveness => Worker::Liveness.as_str(),
            Self::FaceMatch => Worker::FaceMatch.as_str(),
        }
    }

    /// Source: the deployment guide; the streams service has none there.
    pub fn port(self) -> u16 {
        match self {
            Self::Auth => 5800,
            Self::Core => 5002,
            Self::Gateway => 5008,
            Self::Streams => 5090,
            _ => self.worker().map_or(0, Worker::port),
        }
    }

    /// What the service's own client may do at core; empty for those that call nobody.
    pub fn scopes(self) -> Vec<String> {
        match self {
            Self::Auth | Self::Core | Self::Streams => Vec::new(),
            Self::Gateway => vec!["core:call".to_owned()],
            _ => self
                .worker()
                .map_or(&[][..], Worker::queues)
                .iter()
                .map(|it| format!("queue:{it}"))
                .collect(),
        }
    }

    const fn worker(self) -> Option<Worker> {
        match self {
            Self::Auth | Self::Core | Self::Gateway | Self::Streams => None,
            Self::Steps => Some(Worker::Steps),
            Self::Otp => Some(Worker::Otp),
            Self::Ocr => Some(Worker::Ocr),
            Self::Liveness => Some(Worker::Liveness),
            Self::FaceMatch => Some(Worker::FaceMatch),
        }
    }
}

/// What every service of a process is built from.
#[derive(Clone)]
pub struct Site {
    pub settings: Settings,
    pub data: DataDir,
    pub clock: SharedClock,
    pub shutdown: Shutdown,
    /// The outside world of the steps, opened once a process.
    ports: Arc<OnceCell<Ports>>,
}

impl Site {
    pub fn new(settings: Settings, data: DataDir, models: &Path, shutdown: Shutdown) -> Self {
        let clock: SharedClock = Arc::new(SystemClock);
        let settings = settings.overlaid([("BTRUST_MODELS", models.to_string_lossy())]);
        Self {
            settings,
            data,
            clock,
            shutdown,
            ports: Arc::default(),
        }
    }

    /// Runs `service` on `listener` until the shutdown, and drains.
    pub async fn run(&self, service: Service, listener: TcpListener) -> anyhow::Result<()> {
        let shutdown = self.shutdown.clone();
        let served: anyhow::Result<()> = match service {
            Service::Auth => auth::serve(self.auth().await?, listener, shutdown)
                .await
                .map_err(Into::into),
            Service::Core => {
                let config = CoreConfig::from_settings(
                    &self.settings,
                    self.data.clone(),
                    self.clock.clone(),
                )?;
                btrust_engine::serve(config, listener, shutdown)
                    .await
                    .map_err(Into::into)
            }
            Service::Gateway => gateway::serve(self.gateway().await?, listener, shutdown)
                .await
                .map_err(Into::into),
            Service::Streams => {
                let config = btrust_consumers::Config::from_settings(&self.settings, &self.data)?;
                btrust_consumers::serve(config, self.consumers().await?, listener, shutdown)
                    .await
                    .map_err(Into::into)
            }
            _ => {
                let worker = service.worker().expect("every other service is a fleet");
                let config = btrust_workers::Config::from_settings(&self.settings)?;
                btrust_workers::serve(worker, listener, config, self.ports().await?, shutdown)
                    .await
                    .map_err(Into::into)
            }
        };
        served.with_context(|| format!("the service {} stopped", service.name()))
    }

    /// The auth service before it listens, so that `up` can make its clients.
    pub async fn auth(&self) -> anyhow::Result<Arc<auth::Auth>> {
        let (keys, workflow_keys) = self.keys().await?;
        let contacts = SqliteVerifiedContacts::open(&self.data.steps_db(), workflow_keys).await?;
        let outside = auth::Outside {
            keys,
            contacts: Arc::new(contacts),
            messenger: messenger_from(&self.settings, &self.data, self.clock.clone())?,
            clock: self.clock.clone(),
        };
        Ok(auth::Auth::open(
            auth::Config::from_settings(&self.settings)?,
            &self.data,
            outside,
        )
        .await?)
    }

    async fn gateway(&self) -> anyhow::Result<Arc<gateway::Gateway>> {
        let (_, workflow_keys) = self.keys().await?;
        let outside = gateway::Outside {
            objects: Arc::new(FileObjects::new(self.data.objects())),
            workflow_keys,
            clock: self.clock.clone(),
        };
        Ok(gateway::Gateway::open(
            gateway::Config::from_settings(&self.settings)?,
            &self.data,
            outside,
        )
        .await?)
    }

    /// What the consumers of the streams read and write.
    async fn consumers(&self) -> anyhow::Result<btrust_consumers::Outside> {
        let (keys, workflow_keys) = self.keys().await?;
        let reader = JsonlReader::new(self.data.streams(), self.clock.clone());
        Ok(btrust_consumers::Outside {
            reader: Arc::new(reader),
            objects: Arc::new(FileObjects::new(self.data.objects())),
            workflow_keys,
            keys,
            clock: self.clock.clone(),
        })
    }

    async fn ports(&self) -> anyhow::Result<Ports> {
        let open = || Ports::embedded(&self.settings, &self.data, self.clock.clone());
        Ok(self.ports.get_or_try_init(open).await?.clone())
    }

    async fn keys(&self) -> anyhow::Result<(Arc<dyn Keys>, Arc<dyn WorkflowKeys>)> {
        let keyring = self.settings.get("KEYRING");
        let keyring = keyring.map_or_else(|| self.data.keyring(), Into::into);
        let keys: Arc<dyn Keys> = Arc::new(LocalKeyring::open(&keyring)?);
        let workflow_keys =
            workflow_keys::open(&self.settings, &self.data, Arc::clone(&keys)).await?;
        Ok((keys, workflow_keys))
    }
}
