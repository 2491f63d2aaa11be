//! `btrust bench engine`: what of its figures holds on any machine, however busy.

use std::process::Command;

use btrust_tests::binary;
use serde_json::Value;
use tempfile::TempDir;

/// Most flushes of the commit path for one step when nothing else runs: its own commit.
const FLUSHES_IDLE_MAX: f64 = 1.0;
/// What a start adds, once a workflow: its commit and the commit of its key.
const FLUSHES_A_START: f64 = 2.0;
/// The promise for 128 workflows in flight.
const FLUSHES_BUSY_MAX: f64 = 0.05;
/// On a machine that does other things too, rounds are smaller than the load would allow.
const BUSY_TOLERANCE: f64 = 3.0;

const STEPS: f64 = 5.0;

#[test]
fn a_benchmark_says_what_it_promises_and_few_flushes_serve_many_steps() {
    let folder = TempDir::with_prefix("btrust-bench-").expect("a temporary folder");
    let output = Command::new(binary("btrust"))
        .args(["bench", "engine", "--json", "--workflows", "1500"])
        .args([
            "--concurrency",
            "128",
            "--idle-first",
            "20",
            "--open-waiting",
            "50",
        ])
        .args(["--closed", "50", "--data"])
        .arg(folder.path())
        .output()
        .expect("btrust starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one object of JSON");
    let number = |pointer: &str| {
        let found = report.pointer(pointer).and_then(Value::as_f64);
        found.unwrap_or_else(|| panic!("no number at {pointer}: {report}"))
    };

    for pointer in [
        "/stepsPerSecond",
        "/workflowsPerSecond",
        "/stepLatencyMs/p50",
        "/stepLatencyMs/p99",
        "/endToEndMs/p50",
        "/endToEndMs/p99",
        "/serverCpuMsPerStep",
        "/serverRssMb",
        "/diskBytesPerWorkflow",
        "/flushMs/p50",
        "/idle/stepLatencyMs/p50",
    ] {
        assert!(0.0 < number(pointer), "{pointer}: {report}");
    }
    assert!(
        number("/stepLatencyMs/p50") <= number("/stepLatencyMs/p99"),
        "{report}"
    );

    let idle = number("/idle/flushes/commits") + number("/idle/flushes/keys");
    let idle_max = FLUSHES_IDLE_MAX + FLUSHES_A_START / STEPS;
    assert!(
        idle <= idle_max,
        "{idle} flushes a step when idle: {report}"
    );
    let busy = number("/flushesPerStep");
    let busy_max = FLUSHES_BUSY_MAX * BUSY_TOLERANCE;
    assert!(
        busy <= busy_max,
        "{busy} flushes a step under load: {report}"
    );

    let left: Vec<_> = std::fs::read_dir(folder.path())
        .expect("the folder")
        .collect();
    assert!(left.is_empty(), "the run leaves {left:?}");
}
