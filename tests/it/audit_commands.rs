//! `btrust audit` on a running platform, as an officer of a bank uses it.

#![expect(
    clippy::unwrap_used,
    reason = "what cannot be read or written ends the test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use btrust_tests::{World, binary};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::auditor::{Auditor, OTHER_TENANT, Said, TENANT, answered, platform};

/// Somebody else's public key.
///
/// Source: the example of Go's `golang.org/x/mod/sumdb/note`.
const STRANGER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n";

/// How many records an archive has.
fn n_records(archive: &str) -> usize {
    let is_record = |it: &&str| it.starts_with("{\"specversion\"");
    archive.lines().filter(is_record).count()
}

fn lines(archive: &str) -> Vec<String> {
    archive.lines().map(str::to_owned).collect()
}

fn text(lines: &[String]) -> String {
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

/// The same record with another time, and its hash made anew where `is_rehashed`.
fn edited(record: &str, is_rehashed: bool) -> String {
    let edited = record.replace("\"time\":\"20", "\"time\":\"19");
    assert_ne!(edited, record);
    if !is_rehashed {
        return edited;
    }
    let (hashed, _) = edited.rsplit_once(",\"hash\":").unwrap();
    let hash = hex::encode(Sha256::digest(hashed));
    format!("{hashed},\"hash\":\"{hash}\"}}}}")
}

#[tokio::test]
async fn an_officer_sees_whether_an_archive_is_what_was_signed() {
    let world = platform();
    let officer = Auditor::of(&world);
    // Each is covered by a checkpoint of its own.
    let mut workflows = Vec::new();
    for key in ["one", "two"] {
        workflows.extend(answered(&world, &[key]).await);
        officer.pack(workflows.last().unwrap()).await;
    }
    officer.keep("keys.txt", &officer.ok(&["keys", "show"]));
    let archive = officer.export(&[]);
    let n = n_records(&archive);
    assert!(10 < n, "{archive}");
    let file = officer.keep("archive.jsonl", &archive);
    let said = officer.verify(&file, &["--tenant", TENANT]);
    let complete_only = format!("{TENANT}: complete only to {n} at 20");
    said.assert(
        0,
        &[
            &complete_only,
            &format!("{n} records of"),
            "nothing is wrong",
        ],
    );
    let report: Value = serde_json::from_str(&officer.verify(&file, &["--json"]).out).unwrap();
    assert_eq!(report["verdict"], "complete_only_to", "{report}");
    assert_eq!(report["covered"][0]["size"], n);
    assert_eq!(report["finding"], Value::Null);
    check_edits(&officer, &archive, &workflows[1]);
    check_ends(&officer, &archive);
    check_mistakes(&officer, &world, &file);
    // The stream itself, of all tenants.
    let keys = officer.path("keys.txt");
    let arguments = ["verify", "--stream", "--keys", &keys];
    let has_both = |it: &Said| it.out.contains(TENANT) && it.out.contains(OTHER_TENANT);
    let said = officer.until(&arguments, has_both).await;
    said.assert(0, &["complete only to", "nothing is wrong"]);
}

/// What was edited is named: its place, and what is wrong with it.
fn check_edits(officer: &Auditor<'_>, archive: &str, workflow: &str) {
    let good = lines(archive);
    let subject = format!("\"subject\":\"{workflow}\"");
    let at = good.iter().position(|it| it.contains(&subject)).unwrap();
    for is_rehashed in [false, true] {
        let mut bad = good.clone();
        bad[at] = edited(&good[at], is_rehashed);
        let file = officer.keep("edited.jsonl", &text(&bad));
        let line = at + 1;
        let found = format!("WRONG: edited: line {line}, workflow {workflow}, sequence 1");
        let place = format!("edited.jsonl:{line}");
        officer.verify(&file, &[]).assert(1, &[&found, &place]);
        let said = officer.verify(&file, &["--json"]);
        let report: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!((said.code, &report["verdict"]), (1, &json!("wrong")));
        assert_eq!(report["finding"]["workflow"], workflow);
        assert_eq!(report["place"]["line"], line);
    }
    let mut missing = good.clone();
    missing.remove(at);
    let file = officer.keep("missing.jsonl", &text(&missing));
    officer.verify(&file, &[]).assert(1, &["WRONG: missing"]);
    let mut swapped = good;
    swapped.swap(at, at + 1);
    let file = officer.keep("swapped.jsonl", &text(&swapped));
    officer
        .verify(&file, &[])
        .assert(1, &["WRONG: ", &format!("line {}", at + 1)]);
}

/// A missing end is known to who has kept a checkpoint elsewhere, and to nobody else.
fn check_ends(officer: &Auditor<'_>, archive: &str) {
    let good = lines(archive);
    let kept = officer.keep("kept.json", good.last().unwrap());
    let trusted = ["--trusted-checkpoint", &kept];
    let file = officer.path("archive.jsonl");
    let complete = format!("{TENANT}: complete to {} at 20", n_records(archive));
    officer
        .verify(&file, &trusted)
        .assert(0, &[&complete, "nothing is wrong"]);

    let is_checkpoint = |it: &String| it.starts_with("{\"checkpoint\"");
    let first = good.iter().position(is_checkpoint).unwrap();
    assert!(
        first + 1 < good.len(),
        "there is one checkpoint only: {archive}"
    );
    let begin = text(&good[..=first]);
    let file = officer.keep("begin.jsonl", &begin);
    let only = format!("{TENANT}: complete only to {} at 20", n_records(&begin));
    officer
        .verify(&file, &[])
        .assert(0, &[&only, "nothing is wrong"]);
    officer
        .verify(&file, &trusted)
        .assert(1, &["WRONG: rolled back", "covers"]);

    let file = officer.keep("open.jsonl", &text(&good[..good.len() - 1]));
    officer
        .verify(&file, &[])
        .assert(0, &["are covered by no checkpoint yet"]);
    officer
        .verify(&file, &trusted)
        .assert(1, &["WRONG: missing", "is not here"]);
    let file = officer.keep("cut.jsonl", &archive[..archive.len() - 9]);
    officer
        .verify(&file, &[])
        .assert(1, &["WRONG: truncated", "the last line is not whole"]);
}

/// Who holds it wrong is told how to hold it.
fn check_mistakes(officer: &Auditor<'_>, world: &World, file: &str) {
    let absent = officer.path("absent.jsonl");
    officer
        .verify(&absent, &[])
        .assert(2, &["cannot read", "absent.jsonl"]);
    let stranger = officer.keep("stranger.txt", STRANGER);
    let said = officer.run(&["verify", "--keys", &stranger, file]);
    said.assert(1, &["WRONG: unknown key: line", "btrust audit keys show"]);
    let said = officer.run(&["verify", "--keys", file, file]);
    said.assert(
        2,
        &["is not what `btrust audit keys show` prints", "line 1"],
    );
    let said = officer.verify(file, &["--tenant", OTHER_TENANT]);
    said.assert(1, &["WRONG: other log"]);
    let streams = world.data().join("streams");
    let streams = streams.to_str().unwrap();
    officer.verify(streams, &[]).assert(2, &["say --stream"]);
    let said = officer.run(&["export", "--tenant", "nobody"]);
    said.assert(1, &["the tenant nobody", "is it the right id?"]);
    assert_eq!(said.out, "");
    let said = officer.run(&["verify", "--help"]);
    said.assert(0, &["Exit codes:", "--trusted-checkpoint"]);
}

#[tokio::test]
async fn an_evidence_pack_verifies_offline_and_altered_it_does_not() {
    let world = platform();
    let officer = Auditor::of(&world);
    let workflows = answered(&world, &["one"]).await;
    let pack = officer.pack(&workflows[0]).await;
    let keys = officer.keep("keys.txt", &officer.ok(&["keys", "show"]));
    let file = officer.keep("pack.json", &pack);
    // With nothing of the platform beside it.
    let said = Command::new(binary("btrust"))
        .args([
            "audit", "verify", "--keys", &keys, &file, "--data", "/nowhere",
        ])
        .output()
        .unwrap();
    let out = String::from_utf8(said.stdout).unwrap();
    assert_eq!(said.status.code(), Some(0), "{out}");
    assert!(out.contains("nothing is wrong"), "{out}");
    let read: Value = serde_json::from_str(&pack).unwrap();
    assert_eq!(read["definitions"][0]["name"], "nickname");
    assert!(
        read["settings"]["models"].to_string().contains("sha256"),
        "{read}"
    );
    let second = format!("workflow {}, sequence 2", workflows[0]);
    for (from, to, found) in [
        (
            "Ask for a nickname",
            "Ask for a surname",
            "definition nickname version 1",
        ),
        (
            "\"program\": \"",
            "\"program\": \"9",
            "other than what was sealed",
        ),
        (
            "\\\"sequence\\\":\\\"2\\\"",
            "\\\"sequence\\\":\\\"3\\\"",
            "edited: line 2",
        ),
        ("\"leaf\": ", "\"leaf\": 1", "edited: line 1"),
    ] {
        let altered = pack.replacen(from, to, 1);
        assert_ne!(altered, pack, "{from}");
        let file = officer.keep("altered.json", &altered);
        officer.verify(&file, &[]).assert(1, &["WRONG: ", found]);
    }
    let mut without: Value = read.clone();
    without["records"].as_array_mut().unwrap().remove(1);
    let file = officer.keep(
        "without.json",
        &serde_json::to_string_pretty(&without).unwrap(),
    );
    officer
        .verify(&file, &[])
        .assert(1, &["WRONG: missing", &second]);
    let said = officer.run(&["pack", &workflows[0], "--tenant", OTHER_TENANT]);
    said.assert(1, &["the tenant has no such workflow"]);
    check_tail(&officer, &workflows[0]).await;
    check_follow(&world).await;
}

async fn check_tail(officer: &Auditor<'_>, workflow: &str) {
    let some = officer.ok(&["tail", "-n", "3"]);
    assert_eq!(some.lines().count(), 3, "{some}");
    let all = officer.ok(&["tail", "-n", "100000"]);
    let all: Vec<Value> = all
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    assert!(all.iter().any(|it| it["subject"] == workflow));
    let arguments = ["tail", "-n", "100000", "--tenant", OTHER_TENANT];
    let theirs = officer.until(&arguments, |it| !it.out.is_empty()).await.out;
    assert!(theirs.lines().count() < all.len(), "{theirs}");
    let source = format!("\"source\":\"/tenants/{OTHER_TENANT}\"");
    assert!(theirs.lines().all(|it| it.contains(&source)), "{theirs}");
}

/// What comes while somebody looks on is printed, once.
async fn check_follow(world: &World) {
    let mut following = Command::new(binary("btrust"))
        .args([
            "audit", "tail", "-n", "0", "-f", "--tenant", TENANT, "--data",
        ])
        .arg(world.data())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || lines.try_for_each(|it| sender.send(it.unwrap())));
    let mut ids = Vec::new();
    for _ in 0..60 {
        if 3 <= ids.len() {
            break;
        }
        // Each token is an act.
        world.client("bank").await;
        let line = tokio::time::timeout(Duration::from_secs(1), seen.recv()).await;
        let Ok(Some(line)) = line else { continue };
        let record: Value = serde_json::from_str(&line).unwrap();
        ids.push(record["id"].as_str().unwrap().to_owned());
    }
    following.kill().unwrap();
    following.wait().unwrap();
    let distinct: BTreeSet<&String> = ids.iter().collect();
    assert_eq!((ids.len(), distinct.len()), (3, 3), "{ids:?}");
}

#[tokio::test]
async fn records_of_a_deleted_workflow_are_exported_from_the_archive_byte_for_byte() {
    let world = platform();
    let officer = Auditor::of(&world);
    let workflows = answered(&world, &["one", "two"]).await;
    for workflow in &workflows {
        officer.pack(workflow).await;
    }
    officer.keep("keys.txt", &officer.ok(&["keys", "show"]));
    let before = officer.export(&[]);
    let dir = officer.path("segments");
    let sealed = [
        "export",
        "--tenant",
        TENANT,
        "--from-archive",
        "--out",
        &dir,
    ];
    officer.until(&sealed, |it| it.code == 0).await;
    let admin = world.client("admin").await;
    let path = format!("/v1/workflows/{}", workflows[0]);
    assert_eq!(admin.delete(&path).await.status, 204);
    // The database has only hashes of its records now, and the record that it was deleted.
    let arguments = ["export", "--tenant", TENANT];
    let is_told = |it: &str| it.contains("\"type\":\"com.btrust.workflow.deleted\"");
    let after = officer.until(&arguments, |it| is_told(&it.out)).await.out;
    assert!(after.contains("{\"withheld\""), "{after}");
    let file = officer.keep("after.jsonl", &after);
    officer
        .verify(&file, &[])
        .assert(1, &["WRONG: missing", "--allow-withheld", "--from-archive"]);
    let said = officer.verify(&file, &["--allow-withheld"]);
    said.assert(0, &["are there as hashes only", "nothing is wrong"]);

    // The archive has all of them.
    let is_sealed = |dir: &str| {
        let read = |it: fs::DirEntry| fs::read_to_string(it.path()).unwrap();
        let files = fs::read_dir(dir).into_iter().flatten();
        files.map(|it| read(it.unwrap())).any(|it| is_told(&it))
    };
    officer
        .until(&sealed, |it| it.code == 0 && is_sealed(&dir))
        .await;
    let whole = officer.export(&["--from-archive"]);
    assert!(!whole.contains("{\"withheld\""), "{whole}");
    assert_eq!(whole[..before.len()], before);
    let kept = officer.keep("kept.json", after.lines().last().unwrap());
    let trusted = ["--trusted-checkpoint", &kept];
    let file = officer.keep("whole.jsonl", &whole);
    officer
        .verify(&file, &trusted)
        .assert(0, &["complete to ", "nothing is wrong"]);

    // Segment after segment, as they were sealed.
    officer
        .verify(&dir, &[])
        .assert(0, &["complete only to ", "nothing is wrong"]);
    let mut files: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|it| it.unwrap().path())
        .collect();
    files.sort();
    assert!(1 < files.len(), "{files:?}");
    let segment = fs::read_to_string(&files[1]).unwrap();
    let mut bad = lines(&segment);
    bad[0] = edited(&bad[0], true);
    fs::write(&files[1], text(&bad)).unwrap();
    let place = format!("{}:1", files[1].display());
    officer
        .verify(&dir, &[])
        .assert(1, &["WRONG: edited", &place]);
    fs::write(&files[1], &segment).unwrap();
    fs::remove_file(&files[0]).unwrap();
    officer.verify(&dir, &[]).assert(1, &["WRONG: "]);
}
