//! A running platform of a test's own: real processes, free ports, a temporary folder.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::client::Client;

/// Longest time a test waits for the platform to be healthy.
///
/// Source: the promise is 2 s on a quiet machine; tests share theirs with other tests.
const HEALTHY_WITHIN: Duration = Duration::from_mins(1);

/// One `btrust up` and the folder it works on.
pub struct World {
    folder: TempDir,
    child: Child,
    /// What its processes are told beside what the test's own was.
    settings: Vec<(String, String)>,
    /// What `btrust up --json` printed when it was healthy.
    pub up: Value,
    /// From the start of the process to its line.
    pub healthy_after: Duration,
}

impl World {
    /// Starts the platform on an empty folder.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts the platform on an empty folder, with settings of the test's own.
    #[must_use]
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        let owned = |it: &(&str, &str)| (it.0.to_owned(), it.1.to_owned());
        let settings: Vec<_> = settings.iter().map(owned).collect();
        let folder = TempDir::with_prefix("btrust-test-").expect("a temporary folder");
        let (child, up, healthy_after) = launch(
            folder.path(),
            &[
                "--port-base",
                "0",
                "--other-tenant",
                "00000000-0000-4000-8000-000000000002",
            ],
            &settings,
        );
        Self {
            folder,
            child,
            settings,
            up,
            healthy_after,
        }
    }

    /// Kills the process without warning and starts it again on the same folder and ports.
    pub fn kill_and_restart(&mut self) {
        self.kill();
        let ports = self.up["ports"].to_string();
        let (child, up, healthy_after) =
            launch(self.folder.path(), &["--ports", &ports], &self.settings);
        self.child = child;
        self.up = up;
        self.healthy_after = healthy_after;
    }

    /// SIGKILL: nothing is flushed, nothing is said.
    pub fn kill(&mut self) {
        self.child.kill().expect("the platform can be killed");
        self.child.wait().expect("the platform ends");
    }

    #[must_use]
    pub fn data(&self) -> &Path {
        self.folder.path()
    }

    #[must_use]
    pub fn url(&self, service: &str) -> String {
        self.up["urls"][service]
            .as_str()
            .unwrap_or_else(|| panic!("no url of {service}"))
            .to_owned()
    }

    /// A client with the token of development client `name` (`bank`, `admin`, `reviewer`, `reviewer2`).
    pub async fn client(&self, name: &str) -> Client {
        let credentials = &self.up["credentials"][name];
        let text = |key: &str| {
            credentials[key]
                .as_str()
                .unwrap_or_else(|| panic!("no {key} of {name}"))
                .to_owned()
        };
        Client::of_credentials(
            &self.url("gateway"),
            &self.url("auth"),
            &text("clientId"),
            &text("clientSecret"),
        )
        .await
    }

    /// Sends the simulated `applicant` here and returns the running demo.
    #[must_use]
    pub fn send(&self, applicant: &str) -> Demo {
        let credentials = &self.up["credentials"]["bank"];
        let text = |key: &str| {
            credentials[key]
                .as_str()
                .unwrap_or_else(|| panic!("no {key} of the bank"))
                .to_owned()
        };
        let child = Command::new(binary("btrust-demo"))
            .args(["--json", "--applicant", applicant])
            .args([
                "--url",
                &self.url("gateway"),
                "--auth-url",
                &self.url("auth"),
            ])
            .args(["--client-id", &text("clientId")])
            .env("BTRUST_CLIENT_SECRET", text("clientSecret"))
            .arg("--data")
            .arg(self.data())
            .arg("--models")
            .arg(models_dir())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the demo starts");
        Demo(child)
    }

    /// Sends the simulated `applicant` here and returns the demo's last line.
    #[must_use]
    pub fn visit(&self, applicant: &str) -> Value {
        self.send(applicant).ending()
    }

    /// Asserts that every open workflow waits for something.
    pub fn check_engine(&self) {
        let output = Command::new(binary("btrust"))
            .args(["engine", "check", "--data"])
            .arg(self.data())
            .output()
            .expect("btrust runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }

    /// What the embedded outbox holds.
    #[must_use]
    pub fn outbox(&self) -> Vec<Value> {
        let output = Command::new(binary("btrust"))
            .args(["otp", "outbox", "--json", "--data"])
            .arg(self.data())
            .output()
            .expect("btrust runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout)
            .expect("the outbox is text")
            .lines()
            .map(|it| serde_json::from_str(it).expect("a line of JSON a message"))
            .collect()
    }
}

/// A simulated applicant on the way.
pub struct Demo(Child);

impl Demo {
    /// Whether it has come to its end.
    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("the demo can be asked").is_some()
    }

    /// The last line of the demo.
    ///
    /// # Panics
    ///
    /// When the demo did not play to the end.
    #[must_use]
    pub fn ending(self) -> Value {
        let output = self.0.wait_with_output().expect("the demo ends");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        let stdout = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(stdout.lines().last().unwrap_or_default())
            .unwrap_or_else(|_| panic!("{stderr}"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(data: &Path, ports: &[&str], settings: &[(String, String)]) -> (Child, Value, Duration) {
    let begun = Instant::now();
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(data.join("up.log"))
        .expect("a log in the temporary folder");
    let mut child = Command::new(binary("btrust"))
        .args(["up", "--json", "--data"])
        .arg(data)
        .arg("--models")
        .arg(models_dir())
        .args(ports)
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .expect("btrust starts");
    let stdout = child.stdout.take().expect("stdout is piped");
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let line = receiver.recv_timeout(HEALTHY_WITHIN).unwrap_or_else(|_| {
        let _ = child.kill();
        let log = std::fs::read_to_string(data.join("up.log")).unwrap_or_default();
        panic!("the platform did not become healthy; its log:\n{log}")
    });
    let healthy_after = begun.elapsed();
    (
        child,
        serde_json::from_str(&line).expect("`btrust up --json` prints JSON"),
        healthy_after,
    )
}

/// A binary of this workspace, beside the test's own.
///
/// # Panics
///
/// When it is not built: `make build` does.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let path = test
        .parent()
        .and_then(Path::parent)
        .expect("tests are in target/<profile>/deps")
        .join(name);
    assert!(
        path.exists(),
        "{} is missing: run `make build`",
        path.display()
    );
    path
}

/// Where the fetched models are.
///
/// # Panics
///
/// When they are not there: `make models` fetches them.
#[must_use]
pub fn models_dir() -> PathBuf {
    let dir = std::env::var_os("BTRUST_MODELS").map_or_else(
        || {
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .parent()
                .expect("tests/ is in the workspace")
                .join("var/models")
        },
        PathBuf::from,
    );
    assert!(
        dir.join("face-detection.onnx").exists(),
        "no models in {}: run `make models`",
        dir.display()
    );
    dir
}
