//! An officer with the program, some files and a running platform.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use btrust_tests::{Client, World, binary};
use serde_json::json;
use tempfile::TempDir;

use crate::samples::form_definition;

/// Tenant of `btrust up`.
pub const TENANT: &str = "00000000-0000-4000-8000-000000000001";
/// Tenant of the other bank of a test's platform.
pub const OTHER_TENANT: &str = "00000000-0000-4000-8000-000000000002";
/// How long a checkpoint or a segment may take to come.
///
/// Source: they are made every second and looked for every 5 s; tests share the machine.
const COVERED_WITHIN: Duration = Duration::from_mins(1);
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// A platform that signs and seals as soon as it can.
pub fn platform() -> World {
    World::start_with(&[
        ("AUDIT_CHECKPOINT_SECONDS", "1"),
        ("ARCHIVE_SEGMENT_SECONDS", "0"),
    ])
}

/// Publishes a form, and has it answered under each of these keys; the ids of the workflows.
pub async fn answered(world: &World, keys: &[&str]) -> Vec<String> {
    let admin = world.client("admin").await;
    let definition = form_definition("nickname");
    admin.post("/v1/definitions", definition).await.ok();
    // The other bank has a log as soon as one of its clients has signed in.
    world.client("otherTenant").await;
    let bank = world.client("bank").await;
    let mut ids = Vec::new();
    for key in keys {
        ids.push(answer(&bank, key).await);
    }
    ids
}

async fn answer(bank: &Client, key: &str) -> String {
    let started = bank.start(key, "nickname", json!({})).await.ok();
    let id = started["id"].as_str().expect("an id").to_owned();
    let applicant = bank.applicant(&id).await;
    let prompt = applicant.prompt(&id).await;
    let nickname = json!({"values": {"nickname": "Ada"}});
    applicant.submit(&prompt, nickname).await.ok();
    let result = bank
        .get(&format!("/v1/workflows/{id}/result?wait=25"))
        .await;
    assert_eq!(result.ok()["decision"], "approved");
    id
}

/// What a command has said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Asserts how it ended and that it said all of this.
    #[track_caller]
    pub fn assert(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for part in parts {
            let is_said = self.out.contains(part) || self.err.contains(part);
            assert!(is_said, "{part:?} is not in {}\n{}", self.out, self.err);
        }
    }
}

/// Runs `btrust audit` on the folder of a platform.
pub struct Auditor<'w> {
    world: &'w World,
    folder: TempDir,
}

impl<'w> Auditor<'w> {
    pub fn of(world: &'w World) -> Self {
        let folder = TempDir::with_prefix("btrust-auditor-").expect("a temporary folder");
        Self { world, folder }
    }

    pub fn run(&self, arguments: &[&str]) -> Said {
        let output = Command::new(binary("btrust"))
            .arg("audit")
            .args(arguments)
            .arg("--data")
            .arg(self.world.data())
            .output()
            .expect("btrust runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("a command says text");
        Said {
            code: output.status.code().expect("it ends by itself"),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// What a command prints that has to succeed.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        said.assert(0, &[]);
        said.out
    }

    pub fn export(&self, more: &[&str]) -> String {
        self.ok(&[&["export", "--tenant", TENANT], more].concat())
    }

    /// Verifies a file, or a folder, with the keys in `keys.txt`.
    pub fn verify(&self, path: &str, more: &[&str]) -> Said {
        let keys = self.path("keys.txt");
        self.run(&[&["verify", "--keys", &keys, path], more].concat())
    }

    /// A path in the folder of the officer.
    pub fn path(&self, name: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        path.to_str().expect("a path of text").to_owned()
    }

    /// Keeps a file there, and gives its path.
    pub fn keep(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).expect("the folder takes a file");
        path
    }

    /// The evidence pack of a workflow, as soon as checkpoints cover all of it.
    pub async fn pack(&self, workflow: &str) -> String {
        let said = self
            .until(&["pack", workflow, "--tenant", TENANT], |it| it.code == 0)
            .await;
        said.out
    }

    /// Runs a command until it says what is waited for.
    pub async fn until(&self, arguments: &[&str], is_there: impl Fn(&Said) -> bool) -> Said {
        let begun = std::time::Instant::now();
        loop {
            let said = self.run(arguments);
            if is_there(&said) {
                return said;
            }
            let is_patient = begun.elapsed() < COVERED_WITHIN;
            assert!(is_patient, "{arguments:?} goes on with {said:?}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}
