//! Proofs of the audit log over the public API, checked with nothing but public keys.

#![expect(
    clippy::unwrap_used,
    reason = "what is not there or cannot be read ends the test"
)]

use btrust_integrity::checkpoint::Checkpoint;
use btrust_integrity::keys::KeyRing;
use btrust_integrity::tree::{Hash, verify_consistency, verify_inclusion};
use btrust_tests::Client;
use serde_json::{Value, json};

use crate::auditor::{Auditor, OTHER_TENANT, TENANT, answered, platform};

fn hashes(proof: &Value) -> Vec<Hash> {
    let hash = |it: &Value| Hash::from_base64(it.as_str().unwrap()).unwrap();
    proof.as_array().unwrap().iter().map(hash).collect()
}

/// A checkpoint that one of the keys has signed, and whose tenant it is of.
fn opened(view: &Value, ring: &KeyRing) -> Checkpoint {
    let note = view["note"].as_str().unwrap();
    Checkpoint::open(note, &mut ring.clone())
        .unwrap()
        .checkpoint
}

/// Asserts that an answer proves its record, and gives the index of the leaf.
fn check_inclusion(view: &Value, ring: &KeyRing) -> u64 {
    let checkpoint = opened(&view["checkpoint"], ring);
    assert_eq!(checkpoint.origin.tenant, TENANT);
    let leaf = view["leaf"].as_u64().unwrap();
    let hash = Hash::from_base64(view["leafHash"].as_str().unwrap()).unwrap();
    let (proof, size) = (hashes(&view["proof"]), checkpoint.size);
    verify_inclusion(&hash, leaf, size, &proof, &checkpoint.root).unwrap();
    if let Some(record) = view["record"].as_str() {
        assert_eq!(Hash::of_leaf(record.as_bytes()), hash);
    }
    leaf
}

/// Asserts that the log of one checkpoint is the beginning of the other's.
async fn check_consistency(admin: &Client, first: &Checkpoint, last: &Checkpoint) {
    let (from, to) = (first.size, last.size);
    let path = format!("/v1/audit/proofs/consistency?from={from}&to={to}");
    let view = admin.get(&path).await.ok();
    let (first, last) = ((from, &first.root), (to, &last.root));
    verify_consistency(first, last, &hashes(&view["proof"])).unwrap();
}

#[tokio::test]
async fn a_bank_fetches_proofs_of_its_log_and_of_no_other() {
    let world = platform();
    let officer = Auditor::of(&world);
    let id = answered(&world, &["one"]).await.remove(0);
    officer.pack(&id).await;
    let later = answered(&world, &["two"]).await.remove(0);
    officer.pack(&later).await;
    let ring = KeyRing::parse(&officer.ok(&["keys", "show"])).unwrap();
    let (admin, other) = (
        world.client("admin").await,
        world.client("otherTenant").await,
    );

    let of_record = format!("/v1/audit/proofs/inclusion?workflow={id}&sequence=2");
    let view = admin.get(&of_record).await.ok();
    let record: Value = serde_json::from_str(view["record"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&record["subject"], &record["sequence"]),
        (&json!(id), &json!("2"))
    );
    let leaf = check_inclusion(&view, &ring);
    let of_leaf = format!("/v1/audit/proofs/inclusion?leaf={leaf}");
    let by_leaf = admin.get(&of_leaf).await.ok();
    assert_eq!(
        (check_inclusion(&by_leaf, &ring), &by_leaf["leafHash"]),
        (leaf, &view["leafHash"])
    );

    let listed = admin.get("/v1/audit/checkpoints").await.ok();
    let listed = listed["checkpoints"].as_array().unwrap();
    let first = opened(&listed[0], &ring);
    let latest = admin.get("/v1/audit/checkpoints/latest").await.ok();
    let last = opened(&latest, &ring);
    assert!(first.size < last.size);
    check_consistency(&admin, &first, &last).await;
    let after = latest["number"].as_u64().unwrap() - 1;
    let page = admin
        .get(&format!("/v1/audit/checkpoints?after={after}"))
        .await
        .ok();
    assert_eq!(page["checkpoints"][0], latest);

    // Another tenant sees its own log, and nothing of this one.
    other
        .get(&of_record)
        .await
        .assert_problem(404, "not_in_log");
    let arguments = ["export", "--tenant", OTHER_TENANT];
    officer.until(&arguments, |it| it.code == 0).await;
    let theirs = other.get("/v1/audit/checkpoints/latest").await.ok();
    let theirs = opened(&theirs, &ring);
    assert_eq!(theirs.origin.tenant, OTHER_TENANT);
    let beyond = format!(
        "/v1/audit/proofs/consistency?from=0&to={}",
        theirs.size + 1_000
    );
    other.get(&beyond).await.assert_problem(404, "not_in_log");
    let bank = world.client("bank").await;
    bank.get(&of_record)
        .await
        .assert_problem(403, "scope_missing");
    let both = admin.get(&format!("{of_record}&leaf=1")).await;
    both.assert_problem(400, "proof_invalid");
    let unknown = admin.get("/v1/audit/proofs/inclusion?leaf=1000000").await;
    unknown.assert_problem(404, "not_in_log");
}

#[tokio::test]
async fn a_key_that_has_ended_is_told_with_its_end() {
    let world = platform();
    let officer = Auditor::of(&world);
    let id = answered(&world, &["one"]).await.remove(0);
    officer.pack(&id).await;
    let before = officer.ok(&["keys", "show"]);
    let first = officer.keep("keys.txt", &before);
    let rotated = officer.ok(&["keys", "rotate"]);
    let admin = world.client("admin").await;
    let keys = admin.get("/v1/audit/keys").await.ok();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2, "{keys}");
    assert_eq!(keys["keys"][0]["until"], keys["keys"][1]["since"]);
    assert_eq!(
        (&keys["keys"][1]["until"], &keys["keys"][1]["key"]),
        (&Value::Null, &json!(rotated.trim()))
    );

    // What comes now, the second key signs.
    let next = answered(&world, &["two"]).await.remove(0);
    let pack = officer.pack(&next).await;
    let pack = officer.keep("pack.json", &pack);
    let archive = officer.keep("archive.jsonl", &officer.export(&[]));
    let shown = officer.ok(&["keys", "show"]);
    let all = officer.keep("all.txt", &shown);
    let ring = KeyRing::parse(&shown).unwrap();
    let [old, new] = &ring.keys().collect::<Vec<_>>()[..] else {
        panic!("two keys: {shown}");
    };
    assert!(ring.had_ended(old, i64::MAX), "{shown}");
    assert!(!ring.had_ended(new, i64::MAX), "{shown}");
    let signer = format!("signed by {}", new.short());
    // Who has kept the first key only, and who has all of them with the end of the first.
    for keys in [&first, &all] {
        for file in [&archive, &pack] {
            let said = officer.run(&["verify", "--keys", keys, file]);
            said.assert(0, &["nothing is wrong", &signer]);
        }
    }
    let view: Value = serde_json::from_str(&officer.ok(&["keys", "show", "--json"])).unwrap();
    assert_eq!(view, admin.get("/v1/audit/keys").await.ok());
}
