//! Logs and metrics of a process.

use std::fs;
use std::io;
use std::str::FromStr;
use std::sync::LazyLock;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Encoder, IntGauge, TextEncoder};
use tracing_subscriber::EnvFilter;

/// How log lines look and where they go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// JSON lines on stdout, for log collectors.
    Json,
    /// Readable lines on stderr, for a person who started the process.
    Pretty,
}

impl FromStr for Format {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "json" => Ok(Self::Json),
            "pretty" => Ok(Self::Pretty),
            _ => Err(()),
        }
    }
}

/// Starts logging for this process; later calls change nothing.
///
/// The level comes from `RUST_LOG` and is `info` without it.
pub fn init(service: &str, format: Format) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // A line that a full disk refuses is lost; to complain of it on the same disk would end the process.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .log_internal_errors(false);
    let started = match format {
        Format::Json => builder
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .with_writer(io::stdout)
            .try_init(),
        Format::Pretty => builder
            .with_target(false)
            .with_writer(io::stderr)
            .try_init(),
    };
    if started.is_ok() {
        tracing::info!(
            service,
            version = env!("CARGO_PKG_VERSION"),
            "logging started"
        );
    }
}

/// Everything in the default registry, in the text format of Prometheus.
///
/// # Panics
///
/// Never in practice: registered metrics can always be written as text.
#[must_use]
pub fn metrics_text() -> String {
    static PROCESS: LazyLock<()> = LazyLock::new(|| {
        prometheus::register(Box::new(ProcessMetrics::new()))
            .expect("the process metrics are registered once");
    });
    LazyLock::force(&PROCESS);
    let mut text = Vec::new();
    TextEncoder::new()
        .encode(&prometheus::gather(), &mut text)
        .expect("writing to memory does not fail");
    String::from_utf8(text).expect("the text format is UTF-8")
}

/// What the kernel counts for this process.
struct ProcessMetrics {
    cpu_seconds: Counter,
    resident_bytes: IntGauge,
    threads: IntGauge,
    open_files: IntGauge,
}

/// Kernel clock ticks a second in `/proc/self/stat`.
///
/// Source: `USER_HZ` is 100 on every Linux architecture but Alpha.
const TICKS_PER_SECOND: f64 = 100.0;

impl ProcessMetrics {
    fn new() -> Self {
        let gauge = |name, help| IntGauge::new(name, help).expect("the name is valid");
        Self {
            cpu_seconds: Counter::new(
                "process_cpu_seconds_total",
                "User and system CPU time of this process.",
            )
            .expect("the name is valid"),
            resident_bytes: gauge("process_resident_memory_bytes", "Memory held in RAM."),
            threads: gauge("process_threads", "Threads of this process."),
            open_files: gauge("process_open_fds", "Open file descriptors."),
        }
    }
}

impl Collector for ProcessMetrics {
    fn desc(&self) -> Vec<&Desc> {
        let gauges = [&self.resident_bytes, &self.threads, &self.open_files];
        let gauges = gauges.into_iter().flat_map(Collector::desc);
        self.cpu_seconds.desc().into_iter().chain(gauges).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        if let Some(seconds) = cpu_seconds() {
            self.cpu_seconds
                .inc_by((seconds - self.cpu_seconds.get()).max(0.0));
        }
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            let field = |name| status_field(&status, name).unwrap_or_default();
            self.resident_bytes.set(field("VmRSS:") * 1024);
            self.threads.set(field("Threads:"));
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            self.open_files
                .set(i64::try_from(files.count()).unwrap_or(i64::MAX));
        }
        let gauges = [&self.resident_bytes, &self.threads, &self.open_files];
        let gauges = gauges.into_iter().flat_map(Collector::collect);
        self.cpu_seconds
            .collect()
            .into_iter()
            .chain(gauges)
            .collect()
    }
}

/// CPU time that this process has used so far, in seconds; `None` without `/proc`.
#[must_use]
pub fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn status_field(status: &str, name: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// What has caused an error, the nearest cause first; empty where nothing has.
#[must_use]
pub fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_counts_its_own_memory_and_cpu() {
        let before = cpu_seconds().unwrap();
        let mut sum = 0_u64;
        while cpu_seconds().unwrap() <= before {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        let text = metrics_text();
        let value = |name: &str| -> f64 {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap();
            line.trim().parse().unwrap()
        };
        assert!(before < value("process_cpu_seconds_total "));
        assert!(1_000_000.0 < value("process_resident_memory_bytes "));
        assert!(1.0 <= value("process_threads "));
        assert!(3.0 <= value("process_open_fds "));
    }

    #[test]
    fn the_format_is_one_of_two_words() {
        assert_eq!("json".parse(), Ok(Format::Json));
        assert_eq!("pretty".parse(), Ok(Format::Pretty));
        assert_eq!("xml".parse::<Format>(), Err(()));
    }
}
