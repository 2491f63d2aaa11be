//! `btrust serve`: one service of many, as a bank deploys it.

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

use anyhow::Context;
use btrust_platform::config::Settings;
use btrust_platform::data_dir::DataDir;
use btrust_platform::http::Shutdown;
use btrust_platform::telemetry::{self, Format};
use clap::Args;
use tokio::net::TcpListener;

use crate::Folders;
use crate::services::{Service, Site};

#[derive(Args)]
pub struct Serve {
    #[arg(value_enum)]
    service: Service,
    /// Port to listen on instead of the service's own
    #[arg(long)]
    port: Option<u16>,
    /// Address to listen on
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    address: IpAddr,
}

impl Serve {
    pub fn run(self, folders: &Folders) -> anyhow::Result<ExitCode> {
        telemetry::init(self.service.name(), Format::Json);
        super::runtime()?.block_on(self.serve(folders))?;
        Ok(ExitCode::SUCCESS)
    }

    async fn serve(self, folders: &Folders) -> anyhow::Result<()> {
        let port = self.port.unwrap_or(self.service.port());
        let listener = TcpListener::bind((self.address, port))
            .await
            .with_context(|| {
                format!(
                    "cannot listen on {}:{port}; choose another --port",
                    self.address
                )
            })?;
        let data = DataDir::open(&folders.data)
            .with_context(|| format!("cannot use the data folder {}", folders.data.display()))?;
        let site = Site::new(
            Settings::from_env(),
            data,
            &folders.models(),
            Shutdown::on_signals()?,
        );
        site.run(self.service, listener).await
    }
}
