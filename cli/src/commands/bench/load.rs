//! The caller: starts workflows at core and waits for each to end, a number of them at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use btrust_platform::token::TokenSource;
use btrust_schemas::core::{ResultView, StartResponse, Status};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::definition::TENANT;
use super::http::Connection;

/// How long one call waits for the end of a workflow, ms.
const WAIT_MS: u64 = 20_000;
/// How often progress is said.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// Which workflows to run, and how many at once.
#[derive(Clone)]
pub struct Load {
    pub core_url: String,
    pub tokens: Arc<TokenSource>,
    pub definition: &'static str,
    /// What the caller waits for.
    pub until: Until,
    pub n_workflows: u64,
    pub concurrency: u64,
}

/// What a start needs; the rest of a request is left out, as most callers do.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Start<'s> {
    tenant: &'s str,
    definition: &'s str,
    input: Value,
    idempotency_key: String,
    request_digest: String,
    actor: &'s str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Until {
    Started,
    Ended,
}

impl Load {
    /// Runs all of them; returns how long each took, shortest first.
    pub async fn run(&self, what: &str) -> anyhow::Result<Vec<Duration>> {
        let next = Arc::new(AtomicU64::new(0));
        let mut callers = JoinSet::new();
        for _ in 0..self.concurrency.min(self.n_workflows) {
            let (load, next) = (self.clone(), Arc::clone(&next));
            callers.spawn(async move { load.call(&next).await });
        }
        let mut times = Vec::new();
        let mut say = tokio::time::interval(SAY_EVERY);
        say.tick().await;
        loop {
            tokio::select! {
                ended = callers.join_next() => match ended {
                    Some(of_one) => times.extend(of_one??),
                    None => break,
                },
                _ = say.tick() => {
                    let n_begun = next.load(Ordering::Relaxed).min(self.n_workflows);
                    eprintln!("  {what}: {n_begun} of {}", self.n_workflows);
                }
            }
        }
        times.sort_unstable();
        Ok(times)
    }

    /// One caller: workflow after workflow on a connection of its own.
    async fn call(&self, next: &AtomicU64) -> anyhow::Result<Vec<Duration>> {
        let mut core = Connection::open(&self.core_url).await?;
        let mut times = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if self.n_workflows <= number {
                return Ok(times);
            }
            let token = self.tokens.bearer().await?;
            let request = Start {
                tenant: TENANT,
                definition: self.definition,
                input: json!({ "number": number }),
                idempotency_key: format!("{}-{number}-{:p}", self.definition, next),
                request_digest: format!("{number:064x}"),
                actor: "bench",
            };
            let began = Instant::now();
            let answer = core
                .post("/internal/v1/workflows", &token, &request)
                .await?;
            let started: StartResponse = answer.json().context("a start")?;
            ensure!(started.created, "a workflow of another run has this key");
            if self.until == Until::Ended {
                let id = started.workflow.id;
                let path =
                    format!("/internal/v1/workflows/{id}/result?tenant={TENANT}&waitMs={WAIT_MS}");
                loop {
                    let result: ResultView =
                        core.get(&path, &token).await?.json().context("a result")?;
                    if result.status == Status::Running {
                        continue;
                    }
                    ensure!(
                        result.status == Status::Succeeded,
                        "a workflow ended as {:?}: {:?}",
                        result.status,
                        result.cause
                    );
                    break;
                }
            }
            times.push(began.elapsed());
        }
    }
}
