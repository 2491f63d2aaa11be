//! `btrust up`: the whole platform in one process, with a development tenant that can be used at once.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use btrust_api::auth::{self, ClientKind};
use btrust_platform::config::{Secret, Settings};
use btrust_platform::data_dir::DataDir;
use btrust_platform::http::{Shutdown, client};
use btrust_platform::telemetry::{self, Format};
use clap::Args;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::Folders;
use crate::development::{self, Credentials};
use crate::services::{Service, Site};

/// Longest time from start to healthy before `up` gives up.
///
/// Source: the promise is 2 s; a busy machine gets patience instead of an error.
const HEALTHY_WITHIN: Duration = Duration::from_mins(1);
/// Pause between two looks at the health of the services.
const HEALTH_EVERY: Duration = Duration::from_millis(20);

#[derive(Args)]
pub struct Up {
    /// Print one line of JSON (URLs, ports, credentials) when healthy
    #[arg(long)]
    json: bool,
    /// 0 takes free ports instead of those of the deployment guide
    #[arg(long, value_name = "0", value_parser = clap::value_parser!(u16).range(0..=0))]
    port_base: Option<u16>,
    /// Ports by service as JSON, such as a former `up --json` printed them
    #[arg(long, value_name = "JSON", conflicts_with = "port_base")]
    ports: Option<String>,
    /// Make clients of one more tenant, to try that tenants cannot see each other
    #[arg(long, value_name = "ID")]
    other_tenant: Option<String>,
}

impl Up {
    pub fn run(self, folders: &Folders) -> anyhow::Result<ExitCode> {
        telemetry::init("up", Format::Pretty);
        super::runtime()?.block_on(self.up(folders))?;
        Ok(ExitCode::SUCCESS)
    }

    async fn up(self, folders: &Folders) -> anyhow::Result<()> {
        let begun = Instant::now();
        let data = DataDir::open(&folders.data)
            .with_context(|| format!("cannot use the data folder {}", folders.data.display()))?;
        let listeners = self.listen().await?;
        let mut ports = BTreeMap::new();
        for (service, listener) in &listeners {
            ports.insert(service.name(), listener.local_addr()?.port());
        }
        let url = |service: Service| format!("http://127.0.0.1:{}", ports[service.name()]);
        let settings = Settings::from_env().overlaid([
            ("AUTH_URL", url(Service::Auth)),
            ("CORE_URL", url(Service::Core)),
            ("STREAMS_URL", url(Service::Streams)),
        ]);
        let site = Site::new(settings, data, &folders.models(), Shutdown::on_signals()?);

        let auth = site.auth().await?;
        let credentials =
            development::credentials(&auth, &site.data, self.other_tenant.as_deref()).await?;
        let mut running = start(&site, &auth, listeners).await?;
        let urls: BTreeMap<&str, String> = Service::ALL.map(|it| (it.name(), url(it))).into();
        tokio::select! {
            healthy = healthy(&urls) => healthy?,
            stopped = running.join_next() => stopped.context("a service runs")???,
            () = tokio::time::sleep(HEALTHY_WITHIN) => bail!("not healthy after {} s", HEALTHY_WITHIN.as_secs()),
        }
        development::prepare(&urls, &credentials).await?;
        if self.json {
            let pid = std::process::id();
            say!(
                "{}",
                json!({"urls": urls, "ports": ports, "credentials": credentials.all, "pid": pid})
            );
        } else {
            print(&urls, &credentials, site.data.root(), begun.elapsed());
        }

        while let Some(stopped) = running.join_next().await {
            if let Err(error) = stopped? {
                site.shutdown.trigger();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes the ports first, so that a port in use is the first thing one hears of.
    async fn listen(&self) -> anyhow::Result<Vec<(Service, TcpListener)>> {
        let given: BTreeMap<String, u16> = match &self.ports {
            Some(json) => {
                serde_json::from_str(json).context("--ports is an object of services and ports")?
            }
            None => BTreeMap::new(),
        };
        let mut listeners = Vec::new();
        for service in Service::ALL {
            let usual = self.port_base.unwrap_or(service.port());
            let port = given.get(service.name()).copied().unwrap_or(usual);
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                .await
                .with_context(|| {
                    format!(
                        "port {port} of {} is taken; stop what uses it or say --port-base 0",
                        service.name()
                    )
                })?;
            listeners.push((service, listener));
        }
        Ok(listeners)
    }
}

/// Starts every service with a client and a secret of its own.
async fn start(
    site: &Site,
    auth: &Arc<auth::Auth>,
    listeners: Vec<(Service, TcpListener)>,
) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    let mut running = JoinSet::new();
    for (service, listener) in listeners {
        if service == Service::Auth {
            let (auth, shutdown) = (Arc::clone(auth), site.shutdown.clone());
            running.spawn(async move { Ok(auth::serve(auth, listener, shutdown).await?) });
            continue;
        }
        let mut site = site.clone();
        if !service.scopes().is_empty() {
            let id = format!("service-{}", service.name());
            let secret: Secret = auth::generate_secret();
            let scopes = service.scopes();
            let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
            auth.ensure_client(
                &id,
                ClientKind::Service,
                development::TENANT,
                &scopes,
                &secret,
            )
            .await?;
            site.settings = site.settings.overlaid([
                ("CLIENT_ID", id),
                ("CLIENT_SECRET", secret.expose().to_owned()),
            ]);
        }
        running.spawn(async move { site.run(service, listener).await });
    }
    Ok(running)
}

/// Returns once every service says that it and its neighbours are up.
async fn healthy(urls: &BTreeMap<&str, String>) -> anyhow::Result<()> {
    let client = client();
    for url in urls.values() {
        let health = format!("{url}/actuator/health");
        while !client
            .get(&health)
            .send()
            .await
            .is_ok_and(|it| it.status().is_success())
        {
            tokio::time::sleep(HEALTH_EVERY).await;
        }
    }
    Ok(())
}

fn print(urls: &BTreeMap<&str, String>, credentials: &Credentials, data: &Path, took: Duration) {
    say!(
        "BTrust is up after {:.1} s on {}",
        took.as_secs_f64(),
        data.display()
    );
    for (service, url) in urls {
        say!("  {service:<12} {url}");
    }
    if credentials.are_new {
        say!(
            "development credentials, shown once (kept in {}):",
            development::file(data).display()
        );
        for (name, client) in &credentials.all {
            say!("  {name:<12} {} {}", client.client_id, client.client_secret);
        }
    } else {
        say!(
            "development credentials: {}",
            development::file(data).display()
        );
    }
    say!(
        "one-time codes: btrust otp outbox --data {}",
        data.display()
    );
}
