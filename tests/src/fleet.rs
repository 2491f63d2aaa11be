//! Services as a bank runs them: each a process of its own, on loopback, stopped by its process id.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::world::binary;

/// Longest time until a service is ready; tests share their machine with other tests.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// Lines of a service's log that a failed test shows.
const LOG_LINES_SHOWN: usize = 20;
/// Pause between two looks at a service that is starting.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// An auth service with a client for everything that a test plays.
pub struct Fleet {
    folder: TempDir,
    auth: Service,
    /// May use all of core's internal API, as the gateway does.
    pub gateway_token: String,
    /// May take the tasks of every step.
    pub worker_token: String,
    /// Of the client `worker`, for processes that sign in by themselves.
    pub worker_secret: String,
}

impl Fleet {
    /// Starts auth on an empty folder.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub async fn start() -> Self {
        let folder = TempDir::with_prefix("btrust-fleet-").expect("a temporary folder");
        let data = folder.path().join("auth");
        let gateway = put_client(&data, "gateway", "core:call");
        let worker = put_client(&data, "worker", "queue:*");
        let auth = Service::start("auth", &data, &[], &folder.path().join("auth.log"));
        auth.ready().await;
        let token = async |id, secret| {
            let client = crate::Client::of_credentials("", &auth.url, id, secret).await;
            client.token().to_owned()
        };
        Self {
            gateway_token: token("gateway", &gateway).await,
            worker_token: token("worker", &worker).await,
            worker_secret: worker,
            auth,
            folder,
        }
    }

    /// A path in the fleet's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    #[must_use]
    pub fn auth_url(&self) -> &str {
        &self.auth.url
    }

    /// Starts a core node on a data folder and waits until it is ready.
    pub async fn core(&self, data: &Path, settings: &[(&str, &str)]) -> Service {
        let node = self.core_unready(data, settings);
        node.ready().await;
        node
    }

    /// Starts a core node; it may die before it is ready.
    #[must_use]
    pub fn core_unready(&self, data: &Path, settings: &[(&str, &str)]) -> Service {
        let mut all = vec![("AUTH_URL", self.auth_url())];
        all.extend(settings);
        let log = data.with_extension("log");
        Service::start("core", data, &all, &log)
    }
}

/// One service process.
pub struct Service {
    name: &'static str,
    child: Child,
    command: Command,
    log: PathBuf,
    pub url: String,
}

impl Service {
    fn start(name: &'static str, data: &Path, settings: &[(&str, &str)], log: &Path) -> Self {
        let port = free_port();
        let url = format!("http://127.0.0.1:{port}");
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .expect("a log in the temporary folder");
        let mut command = Command::new(binary("btrust"));
        command
            .args(["serve", name, "--address", "127.0.0.1", "--port"])
            .arg(port.to_string())
            .arg("--data")
            .arg(data)
            .env("AUTH_URL", &url)
            .env("CORE_URL", &url)
            .envs(settings.iter().copied())
            .stdout(file.try_clone().expect("a second handle of the log"))
            .stderr(file)
            .stdin(Stdio::null());
        Self {
            name,
            child: command.spawn().expect("btrust starts"),
            command,
            log: log.to_owned(),
            url,
        }
    }

    /// Kills the process and starts it again, on the same port and files.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn restart(&mut self) {
        self.kill();
        self.child = self.command.spawn().expect("btrust starts");
    }

    /// Waits until the service says that it is ready.
    ///
    /// # Panics
    ///
    /// With the service's log, when it dies or takes too long.
    pub async fn ready(&self) {
        let client = reqwest::Client::new();
        let begun = Instant::now();
        loop {
            let health = client.get(format!("{}/actuator/health/readiness", self.url));
            if health.send().await.is_ok_and(|it| it.status().is_success()) {
                return;
            }
            let log = || std::fs::read_to_string(&self.log).unwrap_or_default();
            assert!(
                begun.elapsed() < READY_WITHIN,
                "{} is not ready; its log:\n{}",
                self.name,
                log()
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|it| it.is_some())
    }

    /// SIGTERM, and waits until the service has drained.
    ///
    /// # Panics
    ///
    /// When it does not end well.
    pub async fn stop(mut self) {
        let signalled = Command::new("kill")
            .args(["-TERM", &self.pid().to_string()])
            .status();
        assert!(
            signalled.is_ok_and(|it| it.success()),
            "{} cannot be stopped",
            self.name
        );
        let begun = Instant::now();
        while !self.has_ended() {
            assert!(
                begun.elapsed() < READY_WITHIN,
                "{} does not stop",
                self.name
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// SIGKILL: nothing is flushed, nothing is said.
    pub fn kill(&mut self) {
        // Already gone is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.len().saturating_sub(LOG_LINES_SHOWN);
            eprintln!(
                "the end of the log of {}:\n{}",
                self.name,
                lines[last..].join("\n")
            );
        }
    }
}

fn put_client(data: &Path, id: &str, scope: &str) -> String {
    let output = Command::new(binary("btrust"))
        .args(["client", "put", "--kind", "service", "--json"])
        .args(["--id", id, "--scope", scope, "--data"])
        .arg(data)
        .output()
        .expect("btrust runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let made: Value = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    made["clientSecret"].as_str().expect("a secret").to_owned()
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("it has an address").port()
}
