//! How each service is put together from settings and the data folder; `up` and `serve` share it.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use btrust_api::{auth, gateway};
use btrust_engine::CoreConfig;
use btrust_platform::clock::SharedClock;
use btrust_platform::config::Settings;
use btrust_platform::contacts::SqliteVerifiedContacts;
use btrust_platform::data_dir::DataDir;
use btrust_platform::http::Shutdown;
use btrust_platform::keys::{Keys, LocalKeyring};
use btrust_platform::messages::messenger_from;
use btrust_platform::objects::FileObjects;
use btrust_platform::workflow_keys::{SqliteWorkflowKeys, WorkflowKeys};
use btrust_workers::Fleet;
use clap::ValueEnum;
use tokio::net::TcpListener;

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
}

impl Service {
    pub const ALL: [Self; 8] = [
        Self::Auth,
        Self::Core,
        Self::Gateway,
        Self::Steps,
        Self::Otp,
        Self::Ocr,
        Self::Liveness,
        Self::FaceMatch,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Core => "core",
            Self::Gateway => "gateway",
            Self::Steps => "steps",
            Self::Otp => "otp",
            Self::Ocr => "ocr",
            Self::Liveness => "liveness",
            Self::FaceMatch => "face-match",
        }
    }

    /// Source: the deployment guide; `steps` is ours.
    pub const fn port(self) -> u16 {
        match self {
            Self::Auth => 5800,
            Self::Core => 5002,
            Self::Gateway => 5008,
            Self::Steps => 5010,
            Self::Otp => 5000,
            Self::Ocr => 5040,
            Self::Liveness => 5050,
            Self::FaceMatch => 3000,
        }
    }

    /// What the service's own client may do at core; empty for those that call nobody.
    pub const fn scopes(self) -> &'static [&'static str] {
        match self {
            Self::Auth | Self::Core => &[],
            Self::Gateway => &["core:call"],
            Self::Steps => &["queue:consent", "queue:form", "queue:review"],
            Self::Otp => &["queue:otp"],
            Self::Ocr => &["queue:ocr"],
            Self::Liveness => &["queue:liveness"],
            Self::FaceMatch => &["queue:face-match"],
        }
    }

    const fn fleet(self) -> Option<Fleet> {
        match self {
            Self::Auth | Self::Core | Self::Gateway => None,
            Self::Steps => Some(Fleet::Steps),
            Self::Otp => Some(Fleet::Otp),
            Self::Ocr => Some(Fleet::Ocr),
            Self::Liveness => Some(Fleet::Liveness),
            Self::FaceMatch => Some(Fleet::FaceMatch),
        }
    }
}

/// What every service of a process is built from.
#[derive(Clone)]
pub struct Site {
    pub settings: Settings,
    pub data: DataDir,
    pub models: PathBuf,
    pub clock: SharedClock,
    pub shutdown: Shutdown,
}

impl Site {
    /// Runs `service` on `listener` until the shutdown, and drains.
    pub async fn run(&self, service: Service, listener: TcpListener) -> anyhow::Result<()> {
        let shutdown = self.shutdown.clone();
        let served: anyhow::Result<()> = match service {
            Service::Auth => auth::serve(self.auth().await?, listener, shutdown).await.map_err(Into::into),
            Service::Core => {
                let config = CoreConfig::from_settings(&self.settings, self.data.clone(), self.clock.clone())?;
                btrust_engine::serve(config, listener, shutdown).await.map_err(Into::into)
            }
            Service::Gateway => {
                gateway::serve(self.gateway().await?, listener, shutdown).await.map_err(Into::into)
            }
            worker => {
                let fleet = worker.fleet().expect("every other service is a fleet");
                let config = btrust_workers::Config::from_settings(
                    &self.settings,
                    self.data.clone(),
                    self.models.clone(),
                    self.clock.clone(),
                )?;
                btrust_workers::serve(fleet, config, listener, shutdown).await.map_err(Into::into)
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
        Ok(auth::Auth::open(auth::Config::from_settings(&self.settings)?, &self.data, outside).await?)
    }

    async fn gateway(&self) -> anyhow::Result<Arc<gateway::Gateway>> {
        let (_, workflow_keys) = self.keys().await?;
        let outside = gateway::Outside {
            objects: Arc::new(FileObjects::new(self.data.objects())),
            workflow_keys,
            clock: self.clock.clone(),
        };
        Ok(gateway::Gateway::open(gateway::Config::from_settings(&self.settings)?, &self.data, outside).await?)
    }

    async fn keys(&self) -> anyhow::Result<(Arc<dyn Keys>, Arc<dyn WorkflowKeys>)> {
        let keys: Arc<dyn Keys> = Arc::new(LocalKeyring::open(&self.data.keyring())?);
        let workflow_keys = SqliteWorkflowKeys::open(&self.data.keys_db(), Arc::clone(&keys)).await?;
        Ok((keys, Arc::new(workflow_keys)))
    }
}
