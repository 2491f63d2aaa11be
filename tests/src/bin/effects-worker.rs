//! A worker process for the storm: the product's own runtime with one step, whose effect is a file.
//!
//! The ledger is a folder; a file of it is named after the turn that made it, and making it twice is
//! refused by the file system, as a provider refuses an idempotency key that it knows.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use btrust_platform::clock::{SharedClock, SystemClock};
use btrust_platform::config::Settings;
use btrust_platform::data_dir::DataDir;
use btrust_platform::http::{Shutdown, client};
use btrust_platform::token::TokenSource;
use btrust_schemas::turn::{TurnInput, TurnResult};
use btrust_workers::runtime::exchange::{HttpCores, Worker};
use btrust_workers::runtime::{Context, Fault, Step};
use btrust_workers::{Config, Ports};
use serde_json::json;

/// Turns at once.
const IN_FLIGHT_MAX: u32 = 32;

struct Effect {
    ledger: PathBuf,
}

#[async_trait]
impl Step for Effect {
    fn name(&self) -> &'static str {
        "form"
    }

    fn in_flight_max(&self) -> u32 {
        IN_FLIGHT_MAX
    }

    async fn turn(&self, context: &Context, input: TurnInput) -> Result<TurnResult, Fault> {
        if input.checkpoint.is_none() {
            context.checkpoint(&json!({"about": "to"})).await?;
        }
        let key = input.key;
        let name = format!(
            "{}.{}.{}.{}",
            input.workflow, input.state_name, key.task.number, key.attempt
        );
        let made = OpenOptions::new()
            .create_new(true)
            .write(true)
            .open(self.ledger.join(name));
        match made {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let mut prevented = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(self.ledger.with_extension("prevented"))
                    .map_err(|it| Fault::worker(it.to_string()))?;
                // Only counted.
                let _ = writeln!(prevented, "{}", key.task);
            }
            Err(error) => return Err(Fault::worker(error.to_string())),
        }
        Ok(TurnResult::Complete {
            outcome: "submitted".to_owned(),
            output: json!({}),
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings::from_env();
    let config = Config::from_settings(&settings)?;
    let ledger = PathBuf::from(settings.required("LEDGER")?);
    let data = DataDir::open(PathBuf::from(settings.required("DATA")?))?;
    let clock: SharedClock = Arc::new(SystemClock);
    let ports = Ports::embedded(&settings, &data, clock).await?;
    let tokens = TokenSource::new(&config.auth_url, config.client_id, config.client_secret);
    let worker = Worker {
        cores: Arc::new(HttpCores::new(client(), tokens)),
        core_url: config.core_url,
        labels: config.labels,
        steps: vec![Arc::new(Effect { ledger })],
        evidence: ports.evidence,
        clock: ports.clock,
        cpu: ports.cpu,
    };
    let session = format!("effects-{}", std::process::id());
    worker.run(session, Shutdown::on_signals()?).await;
    Ok(())
}
