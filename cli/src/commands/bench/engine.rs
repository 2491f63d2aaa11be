//! `btrust bench engine`: how many steps a second, at which cost and delay.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::definition::{CLOSED, STEPS, WAITING};
use super::gauge::{Reading, disk_bytes, load_average, probe_flushes, rss_mb};
use super::load::{Load, Until};
use super::report::{Conditions, Flushes, Idle, Median, Quantiles, Report};
use super::stage::{Database, Plan, Stage};
use crate::Folders;

/// Callers at once while a store is filled before the measurement.
const FILL_CONCURRENCY: u64 = 256;
/// How long core may take until all that should wait does.
const SETTLE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StoreKind {
    Sqlite,
    Mysql,
}

/// Starts core and workers as processes of their own on loopback, with real HTTP, tokens, sealing and
/// streams, on data in a temporary folder that is removed at the end. Says how it goes on standard error.
#[derive(Args)]
pub struct Engine {
    /// Where the engine keeps its state; `mysql` starts a MariaDB of its own
    #[arg(long, value_enum, default_value = "sqlite")]
    store: StoreKind,
    /// An empty MySQL database instead of one of our own; `KEYS_DATABASE_URL` names another for the keys
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// Workflows under load
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    workflows: u64,
    /// Steps of each, one after the other
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    steps: u32,
    /// Workflows in flight
    #[arg(long, default_value_t = 128, value_name = "C", value_parser = clap::value_parser!(u64).range(1..=4096))]
    concurrency: u64,
    /// Worker processes
    #[arg(long, default_value_t = 1, value_name = "P", value_parser = clap::value_parser!(u32).range(1..=16))]
    worker_processes: u32,
    /// Calls that each worker process has open at once
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    worker_sessions: u32,
    /// Run this many workflows one at a time first, and report them beside the load
    #[arg(long, default_value_t = 0, value_name = "M")]
    idle_first: u64,
    /// Closed workflows in the store before the measurement
    #[arg(long, default_value_t = 0, value_name = "N")]
    closed: u64,
    /// Open workflows that wait for a person during the measurement
    #[arg(long, default_value_t = 0, value_name = "N")]
    open_waiting: u64,
    /// Keep the temporary folder, with core's log, and say where it is
    #[arg(long)]
    keep: bool,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// Removes the folder when the run is over, however it ends.
struct Temporary {
    path: PathBuf,
    is_kept: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.is_kept {
            eprintln!("kept {}", self.path.display());
        } else if let Err(error) = std::fs::remove_dir_all(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Two readings around some work, and what the callers saw.
struct Window {
    before: Reading,
    after: Reading,
    times: Vec<Duration>,
}

impl Engine {
    pub fn run(self, folders: &Folders) -> anyhow::Result<ExitCode> {
        if cfg!(debug_assertions) {
            eprintln!(
                "this is a debug build: its figures say nothing about the product; \
                 measure with `cargo build --release`"
            );
        }
        // In the data folder, so that it is the disk of the product: a temporary one may be memory.
        let path = folders.data.join(format!("bench-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        // A database server has a working directory of its own.
        let path = path.canonicalize().context("cannot find the data folder")?;
        let folder = Temporary {
            path,
            is_kept: self.keep,
        };
        // The callers share the machine with what they measure: one thread is all they get.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let report = runtime.block_on(async {
            tokio::select! {
                report = self.measure(&folder.path) => report,
                _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
            }
        })?;
        if self.json {
            say!("{}", serde_json::to_string(&report)?);
        } else {
            report.print();
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn measure(&self, folder: &Path) -> anyhow::Result<Report> {
        eprintln!("starting core and {} workers", self.worker_processes);
        let stage = Stage::set(&Plan {
            folder,
            database: self.database(),
            n_steps: self.steps,
            n_workers: self.worker_processes,
            n_sessions: self.worker_sessions,
        })
        .await?;
        let mut flushes = probe_flushes(folder)?;
        self.fill(&stage).await?;
        let idle = match self.idle_first {
            0 => None,
            n_workflows => {
                let window = self.window(&stage, n_workflows, 1, "one at a time").await?;
                Some(self.idle(&window, n_workflows))
            }
        };
        let disk_before = disk_bytes(folder)?;
        let window = self
            .window(&stage, self.workflows, self.concurrency, "under load")
            .await?;
        flushes.extend(probe_flushes(folder)?);
        flushes.sort_unstable();
        let disk = disk_bytes(folder)?.saturating_sub(disk_before);
        let seconds = (window.after.at - window.before.at).as_secs_f64();
        let n_steps = number(self.workflows) * f64::from(self.steps);
        let by_kind = window.flushes(n_steps);
        Ok(Report {
            steps_per_second: n_steps / seconds,
            workflows_per_second: number(self.workflows) / seconds,
            flushes_per_step: by_kind.commits + by_kind.keys + by_kind.relay,
            flushes: by_kind,
            step_latency_ms: window.step_latency(),
            end_to_end_ms: quantiles(&window.times),
            server_cpu_ms_per_step: window.cpu_ms() / n_steps,
            server_rss_mb: rss_mb(stage.core_pid()?)?,
            #[expect(
                clippy::cast_precision_loss,
                reason = "a benchmark writes less than 2^52 bytes"
            )]
            disk_bytes_per_workflow: disk as f64 / number(self.workflows),
            flush_ms: Median {
                p50: quantiles(&flushes).p50,
            },
            idle,
            conditions: self.conditions(),
        })
    }

    fn database(&self) -> Database {
        match (self.store, &self.database_url) {
            (StoreKind::Sqlite, _) => Database::Sqlite,
            (StoreKind::Mysql, None) => Database::OwnMySql,
            (StoreKind::Mysql, Some(url)) => Database::Given(url.clone()),
        }
    }

    /// Brings the store to the size that is asked for, through the engine itself.
    async fn fill(&self, stage: &Stage) -> anyhow::Result<()> {
        for (definition, n_workflows, what) in [
            (CLOSED, self.closed, "closed workflows before"),
            (WAITING, self.open_waiting, "open workflows that wait"),
        ] {
            if n_workflows != 0 {
                let load = Self::load(stage, definition, n_workflows, FILL_CONCURRENCY);
                let until = Until::Started;
                Load { until, ..load }.run(what).await?;
            }
        }
        if 0 < self.open_waiting {
            self.until_all_wait(stage).await?;
        }
        Ok(())
    }

    /// Returns when no turn is on its way to a worker.
    async fn until_all_wait(&self, stage: &Stage) -> anyhow::Result<()> {
        let pid = stage.core_pid()?;
        let mut before = Reading::take(&stage.core_url, pid).await?;
        loop {
            tokio::time::sleep(SETTLE).await;
            let now = Reading::take(&stage.core_url, pid).await?;
            if now.since(&before, "engine_commits_total") == 0.0 {
                return Ok(());
            }
            before = now;
        }
    }

    fn load(stage: &Stage, definition: &'static str, n_workflows: u64, concurrency: u64) -> Load {
        Load {
            core_url: stage.core_url.clone(),
            tokens: Arc::clone(&stage.tokens),
            definition,
            until: Until::Ended,
            n_workflows,
            concurrency,
        }
    }

    async fn window(
        &self,
        stage: &Stage,
        n_workflows: u64,
        concurrency: u64,
        what: &str,
    ) -> anyhow::Result<Window> {
        let pid = stage.core_pid()?;
        let before = Reading::take(&stage.core_url, pid).await?;
        let load = Self::load(stage, STEPS, n_workflows, concurrency);
        let times = load.run(what).await?;
        let after = Reading::take(&stage.core_url, pid).await?;
        Ok(Window {
            before,
            after,
            times,
        })
    }

    fn idle(&self, window: &Window, n_workflows: u64) -> Idle {
        let n_steps = number(n_workflows) * f64::from(self.steps);
        let flushes = window.flushes(n_steps);
        Idle {
            n_workflows,
            flushes_per_step: flushes.commits + flushes.keys + flushes.relay,
            flushes,
            step_latency_ms: window.step_latency(),
            end_to_end_ms: quantiles(&window.times),
            server_cpu_ms_per_step: window.cpu_ms() / n_steps,
        }
    }

    fn conditions(&self) -> Conditions {
        Conditions {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            load_average: load_average(),
            version: env!("CARGO_PKG_VERSION"),
            commit: commit(),
            profile: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
            store: match self.store {
                StoreKind::Sqlite => "sqlite",
                StoreKind::Mysql => "mysql",
            },
            workflows: self.workflows,
            steps: self.steps,
            concurrency: self.concurrency,
            worker_processes: self.worker_processes,
            closed_before: self.closed,
            open_and_waiting: self.open_waiting,
        }
    }
}

impl Window {
    fn flushes(&self, n_steps: f64) -> Flushes {
        let of = |store| {
            let name = format!("store_flushes_total{{store=\"{store}\"");
            self.after.since(&self.before, &name) / n_steps
        };
        Flushes {
            commits: of("state"),
            keys: of("keys"),
            relay: of("streams") + of("cursors"),
        }
    }

    fn step_latency(&self) -> Quantiles {
        let of = |quantile| {
            let name = "engine_turn_duration_seconds";
            1_000.0 * self.after.quantile_since(&self.before, name, quantile)
        };
        Quantiles {
            p50: of(0.5),
            p99: of(0.99),
        }
    }

    fn cpu_ms(&self) -> f64 {
        1_000.0 * (self.after.cpu_seconds - self.before.cpu_seconds)
    }
}

/// Quantiles of sorted times, in ms.
fn quantiles(times: &[Duration]) -> Quantiles {
    let of = |percent: usize| {
        let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        times
            .get(index)
            .map_or(0.0, |it| 1_000.0 * it.as_secs_f64())
    };
    Quantiles {
        p50: of(50),
        p99: of(99),
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody runs 2^52 workflows")]
fn number(n: u64) -> f64 {
    n as f64
}

/// The commit of the sources in the current folder, where that is a checkout.
fn commit() -> Option<String> {
    let git = std::process::Command::new("git")
        .args(["rev-parse", "--short", "HEAD"])
        .stderr(std::process::Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(git.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|it| !it.is_empty())
}
