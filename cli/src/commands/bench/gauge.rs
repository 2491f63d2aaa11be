//! What is read off the server while it works: its own metrics, the kernel's counters, the disk.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;

/// Kernel clock ticks a second in `/proc/<pid>/stat`.
///
/// Source: `USER_HZ` is 100 on every Linux architecture but Alpha.
const TICKS_PER_SECOND: f64 = 100.0;
/// Flushes of one look at the disk; a quarter of a second on a busy one.
const PROBES: usize = 50;
/// Bytes of each: a page, as a small commit writes it.
const PROBE_BYTES: usize = 4_096;

/// The server at one moment.
pub struct Reading {
    pub at: Instant,
    pub cpu_seconds: f64,
    metrics: BTreeMap<String, f64>,
}

impl Reading {
    pub async fn take(core_url: &str, pid: u32) -> anyhow::Result<Self> {
        let text = reqwest_text(&format!("{core_url}/metrics")).await?;
        let metrics = text.lines().filter(|it| !it.starts_with('#'));
        let metrics = metrics.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(Self {
            at: Instant::now(),
            cpu_seconds: cpu_seconds(pid)?,
            metrics: metrics.collect(),
        })
    }

    /// The sum of all metrics whose name with labels begins so.
    fn sum(&self, prefix: &str) -> f64 {
        let all = self.metrics.range(prefix.to_owned()..);
        all.take_while(|(name, _)| name.starts_with(prefix))
            .map(|(_, value)| value)
            .sum()
    }

    /// How much a counter has grown since `before`.
    pub fn since(&self, before: &Self, prefix: &str) -> f64 {
        self.sum(prefix) - before.sum(prefix)
    }

    /// A quantile of what a histogram has counted since `before`, interpolated within its bucket.
    pub fn quantile_since(&self, before: &Self, histogram: &str, quantile: f64) -> f64 {
        let prefix = format!("{histogram}_bucket{{le=\"");
        let bound = |name: &str| -> Option<f64> {
            let text = name.strip_prefix(&prefix)?.strip_suffix("\"}")?;
            text.replace("+Inf", "inf").parse().ok()
        };
        let mut buckets: Vec<(f64, f64)> = self
            .metrics
            .iter()
            .filter_map(|(name, n)| {
                let n_before = before.metrics.get(name).copied().unwrap_or_default();
                Some((bound(name)?, n - n_before))
            })
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let wanted = buckets.last().map_or(0.0, |it| it.1) * quantile;
        let (mut lower, mut n_lower) = (0.0, 0.0);
        for (upper, n) in buckets {
            if wanted <= n && n_lower < n {
                let share = (wanted - n_lower) / (n - n_lower);
                return if upper.is_finite() {
                    lower + (upper - lower) * share
                } else {
                    lower
                };
            }
            (lower, n_lower) = (upper, n);
        }
        lower
    }
}

async fn reqwest_text(url: &str) -> anyhow::Result<String> {
    let answer = btrust_platform::http::client().get(url).send().await?;
    Ok(answer.error_for_status()?.text().await?)
}

/// User and system time of a process.
fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the server has ended")?;
    // The name may contain anything; the fields after it begin with the state, field 3.
    let (_, fields) = stat.rsplit_once(") ").context("a process has a name")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = |field: usize| fields.get(field - 3).and_then(|it| it.parse::<f64>().ok());
    let user = ticks(14).context("a process has user time")?;
    let system = ticks(15).context("a process has system time")?;
    Ok((user + system) / TICKS_PER_SECOND)
}

/// Memory of a process that is in RAM now, MB.
pub fn rss_mb(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    let kib = line.and_then(|it| it.trim().trim_end_matches(" kB").parse::<f64>().ok());
    Ok(kib.context("a process has memory")? / 1_024.0)
}

/// Bytes that a folder and everything in it take on the disk.
pub fn disk_bytes(folder: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt;

    let mut n_bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // A file may go while one looks: a log that was merged, a socket.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        n_bytes += if metadata.is_dir() {
            disk_bytes(&entry.path())?
        } else {
            metadata.blocks() * 512
        };
    }
    Ok(n_bytes)
}

/// How long one flush takes in this folder now: the time of each of [`PROBES`].
pub fn probe_flushes(folder: &Path) -> anyhow::Result<Vec<Duration>> {
    let path = folder.join("flush-probe");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let mut times = Vec::with_capacity(PROBES);
    for _ in 0..PROBES {
        file.write_all(&[0; PROBE_BYTES])?;
        let began = Instant::now();
        file.sync_data()?;
        times.push(began.elapsed());
    }
    fs::remove_file(path)?;
    Ok(times)
}

/// The average number of processes that want a core, over the last minute.
pub fn load_average() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}
