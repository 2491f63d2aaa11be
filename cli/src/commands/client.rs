//! `btrust client`: the clients that services and banks sign in with.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use btrust_api::auth::{ClientKind, Ensured, generate_secret};
use btrust_platform::config::{Secret, Settings};
use btrust_platform::data_dir::DataDir;
use btrust_platform::http::Shutdown;
use clap::{Subcommand, ValueEnum};
use serde_json::json;

use crate::Folders;
use crate::services::Site;

/// Where a secret comes from that is not to be made up.
const SECRET: &str = "CLIENT_SECRET";

#[derive(Subcommand)]
pub enum Client {
    /// Make a client of auth, or change it to what is said here; prints its secret once
    Put {
        #[arg(long, value_name = "ID")]
        id: String,
        /// Tenant whose client it is; services belong to `platform`
        #[arg(long, value_name = "ID", default_value = "platform")]
        tenant: String,
        #[arg(long, value_enum)]
        kind: Kind,
        /// What it may do: `core:call` for a gateway, `queue:<step>` for a worker; may be repeated
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<String>,
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Kind {
    /// A bank's own backend or administrator
    Client,
    /// A person who decides reviews
    Reviewer,
    /// One of BTrust's services
    Service,
}

impl Client {
    pub fn run(self, folders: &Folders) -> anyhow::Result<ExitCode> {
        super::runtime()?.block_on(self.put(folders))?;
        Ok(ExitCode::SUCCESS)
    }

    async fn put(self, folders: &Folders) -> anyhow::Result<()> {
        let Self::Put {
            id,
            tenant,
            kind,
            scopes,
            json,
        } = self;
        let data = DataDir::open(&folders.data)
            .with_context(|| format!("cannot use the data folder {}", folders.data.display()))?;
        let settings = Settings::from_env();
        let secret: Option<Secret> = settings.secret(SECRET);
        let is_given = secret.is_some();
        let secret = secret.unwrap_or_else(generate_secret);
        let site = Site::new(settings, data, &folders.models(), Shutdown::new());
        let auth = site.auth().await?;
        let kind = match kind {
            Kind::Client => ClientKind::Client,
            Kind::Reviewer => ClientKind::Reviewer,
            Kind::Service => ClientKind::Service,
        };
        let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
        let ensured = Arc::clone(&auth)
            .ensure_client(&id, kind, &tenant, &scopes, &secret)
            .await?;
        let what = match ensured {
            Ensured::Unchanged => "unchanged",
            Ensured::Changed => "changed",
            Ensured::Created => "created",
        };
        // What the caller has said is not said again: it may be in a log.
        let shown = (!is_given).then(|| secret.expose().to_owned());
        if json {
            say!(
                "{}",
                json!({"clientId": id, "clientSecret": shown, "what": what})
            );
            return Ok(());
        }
        say!("client {id} {what}");
        if let Some(secret) = shown {
            say!("secret {secret}");
        }
        Ok(())
    }
}
