//! What a run says at its end: one object of JSON, or a table of the same.

use serde::Serialize;

/// All times in milliseconds. The first ten names are the promise of this command; the rest explains them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub steps_per_second: f64,
    pub workflows_per_second: f64,
    /// Flushes of core of any kind: commits, keys, streams.
    pub flushes_per_step: f64,
    /// From the commit that schedules a step to the commit of its result.
    pub step_latency_ms: Quantiles,
    /// From a workflow's start request to the answer that it has ended, as the caller sees it.
    pub end_to_end_ms: Quantiles,
    /// User and system time of core.
    pub server_cpu_ms_per_step: f64,
    pub server_rss_mb: f64,
    /// Everything in core's folder, and in the database's where that is our own.
    pub disk_bytes_per_workflow: f64,
    pub flush_ms: Median,
    /// `--idle-first`: workflows one at a time, before the load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Idle>,
    /// Flushes of the commit path by what they are for, each for one step.
    pub flushes: Flushes,
    pub conditions: Conditions,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Idle {
    pub n_workflows: u64,
    pub flushes_per_step: f64,
    pub flushes: Flushes,
    pub step_latency_ms: Quantiles,
    pub end_to_end_ms: Quantiles,
    pub server_cpu_ms_per_step: f64,
}

/// Flushes for one step. A workflow's start is a commit and a key of its own, shared by its steps.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Flushes {
    /// Transactions of the committer.
    pub commits: f64,
    /// Transactions that mint the keys of new workflows.
    pub keys: f64,
    /// Appends to the streams and the cursors behind them, and what else core flushes.
    pub relay: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Quantiles {
    pub p50: f64,
    pub p99: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Median {
    pub p50: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Conditions {
    pub cores: usize,
    /// Average number of processes that wanted a core in the minute before the end, ours included.
    pub load_average: Option<f64>,
    pub version: &'static str,
    pub commit: Option<String>,
    pub profile: &'static str,
    pub store: &'static str,
    pub workflows: u64,
    pub steps: u32,
    pub concurrency: u64,
    pub worker_processes: u32,
    pub closed_before: u64,
    pub open_and_waiting: u64,
}

impl Report {
    /// The table for people.
    pub fn print(&self) {
        let at = &self.conditions;
        say!(
            "{} build {} of {}, {} store, {} cores, load average {}",
            at.profile,
            at.version,
            at.commit.as_deref().unwrap_or("an unknown commit"),
            at.store,
            at.cores,
            at.load_average
                .map_or("unknown".to_owned(), |it| format!("{it:.1}"))
        );
        say!(
            "{} workflows of {} steps, {} in flight, {} worker processes, {} closed before, {} open and waiting",
            at.workflows,
            at.steps,
            at.concurrency,
            at.worker_processes,
            at.closed_before,
            at.open_and_waiting
        );
        let rows = [
            ("steps a second", format!("{:.0}", self.steps_per_second)),
            (
                "workflows a second",
                format!("{:.0}", self.workflows_per_second),
            ),
            (
                "flushes a step",
                format!(
                    "{:.3} ({:.3} commits, {:.3} keys, {:.3} relay)",
                    self.flushes_per_step,
                    self.flushes.commits,
                    self.flushes.keys,
                    self.flushes.relay
                ),
            ),
            ("step latency, ms", self.step_latency_ms.to_string()),
            ("end to end, ms", self.end_to_end_ms.to_string()),
            (
                "server CPU a step, ms",
                format!("{:.4}", self.server_cpu_ms_per_step),
            ),
            ("server memory, MB", format!("{:.0}", self.server_rss_mb)),
            (
                "disk a workflow, bytes",
                format!("{:.0}", self.disk_bytes_per_workflow),
            ),
            ("one flush, ms", format!("{:.3} (p50)", self.flush_ms.p50)),
        ];
        for (name, value) in rows {
            say!("  {name:<24} {value}");
        }
        if let Some(idle) = &self.idle {
            say!("one at a time, {} workflows", idle.n_workflows);
            say!(
                "  {:<24} {:.3} ({:.3} commits, {:.3} keys, {:.3} relay)",
                "flushes a step",
                idle.flushes_per_step,
                idle.flushes.commits,
                idle.flushes.keys,
                idle.flushes.relay
            );
            say!("  {:<24} {}", "step latency, ms", idle.step_latency_ms);
            say!("  {:<24} {}", "end to end, ms", idle.end_to_end_ms);
            say!(
                "  {:<24} {:.4}",
                "server CPU a step, ms",
                idle.server_cpu_ms_per_step
            );
        }
    }
}

impl std::fmt::Display for Quantiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} (p50), {:.3} (p99)", self.p50, self.p99)
    }
}
