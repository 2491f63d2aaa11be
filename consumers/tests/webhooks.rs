//! Webhooks judged by the public packages of Python and npm, in receivers of those languages.

#![expect(clippy::unwrap_used, reason = "what does not answer ends the test")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use btrust_consumers::webhooks::{Config, Ports, SystemResolver, Webhooks};
use btrust_platform::clock::SystemClock;
use btrust_platform::config::Settings;
use btrust_platform::consumers;
use btrust_platform::data_dir::DataDir;
use btrust_platform::http::Shutdown;
use btrust_platform::keys::LocalKeyring;
use btrust_platform::random::SystemRandom;
use btrust_schemas::webhooks::{EndpointRequest, EndpointSpec, RotationRequest};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// How long a call may take to be heard; tests share their machine.
const HEARD_WITHIN: Duration = Duration::from_secs(30);

/// A receiver in a process of its own; it ends with its input.
struct Receiver {
    child: Child,
    secrets: Option<ChildStdin>,
    lines: UnboundedReceiver<Value>,
    port: u64,
}

impl Receiver {
    async fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the language is installed: `scripts/install-packages`");
        let (sender, mut lines) = unbounded_channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        let port = next(&mut lines).await.as_u64().unwrap();
        let secrets = child.stdin.take();
        Self {
            child,
            secrets,
            lines,
            port,
        }
    }

    /// Tells it the secrets that it checks calls with.
    async fn knows(&mut self, secrets: &[&str]) {
        writeln!(self.secrets.as_mut().unwrap(), "{}", json!(secrets)).unwrap();
        assert_eq!(next(&mut self.lines).await, "known");
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.secrets.take());
        let _ = self.child.wait();
    }
}

async fn next(lines: &mut UnboundedReceiver<Value>) -> Value {
    let line = tokio::time::timeout(HEARD_WITHIN, lines.recv()).await;
    line.expect("the receiver speaks")
        .expect("the receiver lives")
}

/// Where the public packages are.
fn installed(language: &str) -> PathBuf {
    let root = std::env::var_os("BTRUST_TEST_SERVERS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../var/servers"),
        PathBuf::from,
    );
    let path = root.join("standardwebhooks").join(language);
    assert!(
        path.exists(),
        "{} is missing: run `scripts/install-receivers` (`make test` does)",
        path.display()
    );
    path
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/receivers")
        .join(name)
}

/// A call of every kind of secret to a receiver: right, rotating, and wrong.
async fn is_understood(mut receiver: Receiver) {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::from_table([("WEBHOOKS_ALLOW_LOOPBACK", "true")]);
    let data_dir = DataDir::open(folder.path()).unwrap();
    let location = consumers::location(&settings, &data_dir).unwrap();
    let ports = Ports {
        db: consumers::open(&location).await.unwrap(),
        keys: Arc::new(LocalKeyring::open(&data_dir.keyring()).unwrap()),
        resolver: Arc::new(SystemResolver),
        clock: Arc::new(SystemClock),
        random: SystemRandom::shared(),
    };
    let webhooks = Webhooks::new(&Config::from_settings(&settings).unwrap(), ports).unwrap();
    let shutdown = Shutdown::new();
    let running = tokio::spawn(Arc::clone(&webhooks).run(shutdown.clone()));
    let request = EndpointRequest {
        spec: EndpointSpec {
            url: format!("http://127.0.0.1:{}/hook", receiver.port),
            topics: vec!["workflow.closed".to_owned()],
            description: String::new(),
            enabled: true,
        },
        revision: None,
        actor: "cli_1".to_owned(),
    };
    let made = webhooks.create("bank", request).await.unwrap();
    let id = &made.endpoint.id;
    receiver.knows(&[&made.secret]).await;
    let sent = webhooks.test("bank", id).await.unwrap();
    let call = next(&mut receiver.lines).await;
    assert_eq!(call["accepted"], json!([true]));
    assert_eq!(
        (&call["id"], &call["body"]["type"]),
        (&json!(sent.id), &json!("webhook.test"))
    );
    assert_eq!(call["body"]["data"], json!({ "sequence": 1 }));

    let rotation = |overlap_seconds| RotationRequest {
        overlap_seconds,
        actor: "cli_1".to_owned(),
    };
    let second = webhooks.rotate("bank", id, &rotation(600)).await.unwrap();
    let wrong = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    receiver.knows(&[&made.secret, &second.secret, wrong]).await;
    webhooks.test("bank", id).await.unwrap();
    assert_eq!(
        next(&mut receiver.lines).await["accepted"],
        json!([true, true, false])
    );

    let third = webhooks.rotate("bank", id, &rotation(0)).await.unwrap();
    receiver
        .knows(&[&made.secret, &second.secret, &third.secret])
        .await;
    webhooks.test("bank", id).await.unwrap();
    assert_eq!(
        next(&mut receiver.lines).await["accepted"],
        json!([false, false, true])
    );
    shutdown.trigger();
    running.await.unwrap();
}

#[tokio::test]
async fn the_public_package_of_python_accepts_our_calls() {
    let mut command = Command::new("python3");
    command
        .env("PYTHONPATH", installed("python"))
        .arg(script("receiver.py"));
    is_understood(Receiver::start(&mut command).await).await;
}

#[tokio::test]
async fn the_public_package_of_npm_accepts_our_calls() {
    let mut command = Command::new("node");
    command
        .env("NODE_PATH", installed("node").join("node_modules"))
        .arg(script("receiver.js"));
    is_understood(Receiver::start(&mut command).await).await;
}
