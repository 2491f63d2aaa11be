//! `btrust-demo`: plays an applicant over the platform's public API.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use btrust_demo::clock;
use btrust_demo::platform::{Credentials, Platform, Urls};
use btrust_demo::play::{Ending, Script, play};
use btrust_demo::props::{Applicant, Props};
use btrust_schemas::step::liveness::Action;

/// Plays an applicant who is verified by a `BTrust` platform, over its public API.
///
/// Starts a platform of its own unless --url is given. What happens is told on
/// standard error. Exits with 0 when the play came to its end, whatever was
/// decided: refusing an impostor is a success.
#[derive(Parser)]
#[command(name = "btrust-demo", version)]
struct Options {
    /// Who comes to be verified
    #[arg(long, value_enum, default_value = "genuine")]
    applicant: Applicant,
    /// End with one line of JSON on standard output
    #[arg(long)]
    json: bool,
    /// Gateway of a platform that already runs
    #[arg(long, value_name = "URL", requires_all = ["auth_url", "client_id"])]
    url: Option<String>,
    /// Auth service of the platform at --url
    #[arg(long, value_name = "URL", requires = "url")]
    auth_url: Option<String>,
    /// Client id of the bank at --url
    #[arg(long, value_name = "ID", requires = "url")]
    client_id: Option<String>,
    /// Client secret of the bank at --url; the variable `BTRUST_CLIENT_SECRET` when absent
    #[arg(long, value_name = "SECRET", requires = "url")]
    client_secret: Option<String>,
    /// Data folder of the platform; of its own platform it is kept instead of a temporary one
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder of the fetched models and pictures; `BTRUST_MODELS` or var/models when absent
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Seed of everything random about the applicant's pictures
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Definition to start
    #[arg(long, value_name = "NAME", default_value = "bank-onboarding")]
    workflow: String,
    /// Write the pictures that the applicant would show into DIR, and do nothing else
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("btrust-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<ExitCode> {
    let models = options.models.clone().unwrap_or_else(default_models);
    if let Some(dir) = &options.pictures {
        let today = clock::now().date_naive();
        let props = Props::prepare(options.applicant, &models, today, options.seed)?;
        write_pictures(&props, dir)?;
        return Ok(ExitCode::SUCCESS);
    }
    let platform = platform(&options, &models).await?;
    let script = Script {
        applicant: options.applicant,
        definition: options.workflow,
        models,
        today: clock::now().date_naive(),
        seed: options.seed,
        key: format!("demo-{:032x}", rand::random::<u128>()),
    };
    let played = play(&platform, script).await;
    let stopped = platform.stop().await;
    let ending = played?;
    stopped?;
    report(&ending, options.json)
}

async fn platform(options: &Options, models: &std::path::Path) -> Result<Platform> {
    let Some(gateway) = options.url.clone() else {
        return Platform::start(options.data.clone(), models).await;
    };
    let auth = options.auth_url.clone().context("--url needs --auth-url")?;
    let client_id = options
        .client_id
        .clone()
        .context("--url needs --client-id")?;
    let client_secret = options
        .client_secret
        .clone()
        .or_else(|| std::env::var("BTRUST_CLIENT_SECRET").ok())
        .context("--url needs --client-secret, or the variable BTRUST_CLIENT_SECRET")?;
    let bank = Credentials {
        client_id,
        client_secret,
    };
    Ok(Platform::running(
        Urls { gateway, auth },
        bank,
        options.data.clone(),
    ))
}

fn report(ending: &Ending, json: bool) -> Result<ExitCode> {
    if json {
        println!("{}", serde_json::to_string(ending)?);
    }
    Ok(if ending.status == "failed" {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn default_models() -> PathBuf {
    std::env::var_os("BTRUST_MODELS").map_or_else(|| PathBuf::from("var/models"), PathBuf::from)
}

fn write_pictures(props: &Props, dir: &std::path::Path) -> Result<()> {
    ensure!(!dir.is_file(), "{} is a file", dir.display());
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let mut pictures = vec![("document", props.document(0)?)];
    let actions = [
        ("front", Action::Front),
        ("turn-left", Action::TurnLeft),
        ("turn-right", Action::TurnRight),
        ("blink", Action::Blink),
    ];
    for (take, (name, action)) in (0_u64..).zip(actions) {
        pictures.push((name, props.frame(action, take)?));
    }
    for (name, picture) in pictures {
        let path = dir.join(format!("{name}.jpg"));
        std::fs::write(&path, picture)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
