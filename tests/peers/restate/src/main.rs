//! Five no-op steps as Restate runs them, and callers who wait for their end.
//!
//! `restate-peer steps|flow PORT` serves; `restate-peer load calls|runs WORKFLOWS IN_FLIGHT` measures and prints a
//! line of JSON. `calls` are steps in another process, as ours are; `runs` are steps in the workflow's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use restate_sdk::prelude::*;

const N_STEPS: u64 = 5;

#[restate_sdk::service]
#[name = "steps"]
trait Steps {
    async fn noop(n: u64) -> Result<u64, HandlerError>;
}

struct StepsHere;

impl Steps for StepsHere {
    async fn noop(&self, _: Context<'_>, n: u64) -> Result<u64, HandlerError> {
        Ok(n)
    }
}

#[restate_sdk::service]
#[name = "flow"]
trait Flow {
    async fn calls() -> Result<Json<String>, HandlerError>;
    async fn runs() -> Result<Json<String>, HandlerError>;
}

struct FlowHere;

impl Flow for FlowHere {
    async fn calls(&self, context: Context<'_>) -> Result<Json<String>, HandlerError> {
        for n in 0..N_STEPS {
            let answer = context.service_client::<StepsClient>().noop(n).call().await?;
            if answer != n {
                return Err(TerminalError::new("another number came back").into());
            }
        }
        Ok(Json("done".to_owned()))
    }

    async fn runs(&self, context: Context<'_>) -> Result<Json<String>, HandlerError> {
        for n in 0..N_STEPS {
            let _: u64 = context.run(|| async move { Ok(n) }).name("step").await?;
        }
        Ok(Json("done".to_owned()))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["steps", port] => serve(Endpoint::builder().bind(StepsHere.serve()).build(), port).await,
        ["flow", port] => serve(Endpoint::builder().bind(FlowHere.serve()).build(), port).await,
        ["load", handler, n, n_in_flight] => load(handler, n.parse()?, n_in_flight.parse()?).await,
        _ => bail!("restate-peer steps|flow PORT, or load calls|runs WORKFLOWS IN_FLIGHT"),
    }
}

async fn serve(endpoint: Endpoint, port: &str) -> anyhow::Result<()> {
    let address = format!("127.0.0.1:{port}").parse()?;
    HttpServer::new(endpoint).listen_and_serve(address).await;
    Ok(())
}

async fn load(handler: &str, n: usize, n_in_flight: usize) -> anyhow::Result<()> {
    let url: Arc<str> = format!("http://127.0.0.1:8080/flow/{handler}").into();
    let client = reqwest::Client::builder().no_proxy().build()?;
    let begun = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let mut callers = Vec::new();
    for _ in 0..n_in_flight {
        let (url, client, begun) = (Arc::clone(&url), client.clone(), Arc::clone(&begun));
        callers.push(tokio::spawn(async move {
            let mut times_ms = Vec::new();
            while begun.fetch_add(1, Ordering::Relaxed) < n {
                let start = Instant::now();
                let answer = client.post(&*url).send().await?.error_for_status()?;
                ensure!(answer.text().await? == "\"done\"", "a workflow did not end well");
                times_ms.push(start.elapsed().as_secs_f64() * 1_000.0);
            }
            Ok(times_ms)
        }));
    }
    let mut times_ms = Vec::with_capacity(n);
    for caller in callers {
        times_ms.extend(caller.await??);
    }
    let seconds = start.elapsed().as_secs_f64();
    times_ms.sort_by(f64::total_cmp);
    let at = |part: f64| times_ms.get((times_ms.len() as f64 * part) as usize);
    let (p50, p99) = (at(0.5).context("no workflow")?, at(0.99).context("no workflow")?);
    let line = serde_json::json!({
        "handler": handler, "workflows": n, "inFlight": n_in_flight,
        "stepsPerSecond": (n as f64 * N_STEPS as f64 / seconds).round(),
        "workflowMs": { "p50": p50, "p99": p99 }, "stepMsP50": p50 / N_STEPS as f64,
    });
    println!("{line}");
    Ok(())
}
