//! A worker process whose steps do nothing: the exchange call and nothing else.

use std::io::Read;
use std::process::ExitCode;

use anyhow::Context;
use btrust_platform::config::{Secret, Settings};
use btrust_platform::token::TokenSource;
use btrust_schemas::exchange::{EXCHANGE_WAIT_MAX_MS, Report, ReportKind, WANT_MAX};
use btrust_schemas::step::form;
use btrust_schemas::turn::{Ask, Audience, TurnKey, TurnResult};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::JoinSet;

use super::definition::ASK;
use super::http::Connection;

/// How long a prompt of a waiting workflow stays open, ms: longer than any run.
const PROMPT_MS: i64 = 7 * 24 * 3_600_000;

/// Its client and the places of its neighbours come by environment, as those of any worker.
#[derive(Args)]
pub struct Worker {
    /// Calls at once, each with a session of its own
    #[arg(long, default_value_t = 1)]
    sessions: u32,
}

/// What the worker says; it has no labels, and its steps make no progress.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Exchange {
    session: String,
    seq: u64,
    held: Vec<TurnKey>,
    results: Vec<Report>,
    want: u32,
    queues: [&'static str; 1],
    wait_ms: u64,
}

/// What the worker reads of an answer.
#[derive(Deserialize)]
struct Answer {
    tasks: Vec<Task>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Task {
    #[serde(flatten)]
    key: TurnKey,
    state_name: String,
}

impl Worker {
    /// Works until its standard input is closed, which is when `bench engine` ends.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut sessions = JoinSet::new();
            for number in 0..self.sessions {
                let name = format!("bench-{}-{number}", std::process::id());
                sessions.spawn(serve(name));
            }
            let (ended, end) = tokio::sync::oneshot::channel();
            std::thread::spawn(move || {
                // Nothing is ever written to it: whatever comes is the end.
                let _ = std::io::stdin().read(&mut [0]);
                let _ = ended.send(());
            });
            tokio::select! {
                _ = end => Ok(ExitCode::SUCCESS),
                ended = sessions.join_next() => {
                    ended.context("a worker has a session")??.map(|()| ExitCode::SUCCESS)
                }
            }
        })
    }
}

async fn serve(session: String) -> anyhow::Result<()> {
    let settings = Settings::from_env();
    let tokens = TokenSource::new(
        &settings.required("AUTH_URL")?,
        settings.required("CLIENT_ID")?,
        Secret::new(settings.required("CLIENT_SECRET")?),
    );
    let mut core = Connection::open(&settings.required("CORE_URL")?).await?;
    let mut request = Exchange {
        session,
        seq: 0,
        held: Vec::new(),
        results: Vec::new(),
        want: WANT_MAX,
        queues: ["form"],
        wait_ms: EXCHANGE_WAIT_MAX_MS,
    };
    loop {
        request.seq += 1;
        let token = tokens.bearer().await?;
        let answer = core
            .post("/internal/v1/tasks/exchange", &token, &request)
            .await?;
        let Answer { tasks } = answer.json()?;
        request.held = tasks.iter().map(|it| it.key).collect();
        request.results = tasks.into_iter().map(report).collect();
    }
}

fn report(task: Task) -> Report {
    let result = if task.state_name == ASK {
        TurnResult::Ask(Ask {
            audience: Audience::Applicant,
            kind: "form".to_owned(),
            body: json!({ "fields": { "type": "object" } }),
            state: json!({ "v": 1 }),
            expires_in_ms: PROMPT_MS,
            wake_in_ms: None,
        })
    } else {
        TurnResult::Complete {
            outcome: form::SUBMITTED.to_owned(),
            output: json!({ "values": {} }),
        }
    };
    Report {
        key: task.key,
        what: ReportKind::Result { result },
    }
}
