use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use btrust_vision::Manifest;

use super::challenge::REISSUES_MAX;
use super::*;
use crate::testing::{Bench, applicant, asked, completed, models_dir, vision};

const ACTIONS: [Action; 4] = [
    Action::TurnLeft,
    Action::Front,
    Action::Blink,
    Action::TurnRight,
];

/// Challenges with the nonces `n1`, `n2`, ... and always the same order.
fn counting() -> ChallengeSource {
    let n_drawn = AtomicU32::new(0);
    Arc::new(move || {
        let nonce = format!("n{}", n_drawn.fetch_add(1, Ordering::SeqCst) + 1);
        Challenge {
            nonce,
            actions: ACTIONS.to_vec(),
        }
    })
}

fn step() -> Liveness {
    Liveness::new(vision(), counting())
}

/// An answer whose frames are `picture`, each encoded a little differently.
async fn frames(bench: &Bench, nonce: &str, picture: &Picture) -> Value {
    let mut frames = Vec::new();
    for (quality, action) in (70..).zip(ACTIONS) {
        frames.push(json!({ "action": action, "picture": bench.store("image/jpeg", picture.to_jpeg(quality)).await }));
    }
    json!({ "action": "frames", "nonce": nonce, "frames": frames })
}

fn blank(level: u8) -> Picture {
    Picture::filled(320, 320, [level; 3])
}

#[tokio::test]
async fn a_challenge_names_its_actions_and_its_nonce() {
    let bench = Bench::new().await;
    let first = bench.first(&step(), json!({})).await;
    let ask = asked(&first);
    assert_eq!(
        (ask.kind.as_str(), ask.expires_in_ms),
        ("liveness-challenge", 120_000)
    );
    assert_eq!(
        ask.body,
        json!({
            "nonce": "n1", "actions": ["turnLeft", "front", "blink", "turnRight"], "reasons": [], "attemptsLeft": 3,
        })
    );
}

#[tokio::test]
async fn frames_without_a_face_get_new_challenges_and_then_lock() {
    let (bench, step) = (Bench::new().await, step());
    let mut last = bench.first(&step, json!({ "maxAttempts": 2 })).await;
    last = bench
        .answer(&step, &last, frames(&bench, "n1", &blank(90)).await)
        .await;
    let body = &asked(&last).body;
    assert_eq!(
        (&body["nonce"], &body["reasons"], &body["attemptsLeft"]),
        (&json!("n2"), &json!(["no_face"]), &json!(1))
    );
    let (outcome, output) = completed(
        bench
            .answer(&step, &last, frames(&bench, "n2", &blank(120)).await)
            .await,
    );
    assert_eq!(
        (outcome.as_str(), &output["reasons"], &output["nChallenges"]),
        (LOCKED, &json!(["no_face"]), &json!(2))
    );
    assert_eq!(output["models"].as_array().unwrap().len(), ROLES.len());
}

#[tokio::test]
async fn one_photo_for_every_action_is_never_live() {
    let (bench, step) = (Bench::new().await, step());
    let photo = Manifest::shipped()
        .demo_picture(&models_dir(), Role::DemoApplicant)
        .expect("a fetched demo picture");
    let first = bench.first(&step, json!({ "maxAttempts": 1 })).await;
    let (outcome, output) = completed(
        bench
            .answer(&step, &first, frames(&bench, "n1", &photo).await)
            .await,
    );
    assert!(outcome == SPOOF || outcome == LOCKED, "{outcome}: {output}");
    let turn = output["signals"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["name"] == "turn")
        .unwrap();
    assert_eq!(turn["passed"], false);
    assert!(
        output["bestFrame"]["object"].is_string(),
        "a reviewer sees the frontal frame"
    );
}

#[tokio::test]
async fn an_old_nonce_or_another_order_costs_an_attempt() {
    let (bench, step) = (Bench::new().await, step());
    let mut last = bench.first(&step, json!({})).await;
    last = bench
        .answer(&step, &last, frames(&bench, "n7", &blank(90)).await)
        .await;
    assert_eq!(asked(&last).body["reasons"], json!(["wrong_nonce"]));
    let mut swapped = frames(&bench, "n2", &blank(100)).await;
    swapped["frames"].as_array_mut().unwrap().reverse();
    last = bench.answer(&step, &last, swapped).await;
    assert_eq!(
        (
            &asked(&last).body["reasons"],
            &asked(&last).body["attemptsLeft"]
        ),
        (&json!(["wrong_frames"]), &json!(1))
    );
}

#[tokio::test]
async fn another_device_gets_a_challenge_of_its_own() {
    let (bench, step) = (Bench::new().await, step());
    let on = |device: &str| Submitter {
        device: Some(device.to_owned()),
        ..applicant()
    };
    let first = bench.first(&step, json!({})).await;
    let second = bench
        .answer_as(
            &step,
            &first,
            frames(&bench, "n1", &blank(90)).await,
            on("phone"),
        )
        .await;
    let third = bench
        .answer_as(
            &step,
            &second,
            frames(&bench, "n2", &blank(91)).await,
            on("laptop"),
        )
        .await;
    let body = &asked(&third).body;
    assert_eq!(
        (&body["nonce"], &body["reasons"], &body["attemptsLeft"]),
        (&json!("n3"), &json!(["new_device"]), &json!(2))
    );
}

#[tokio::test]
async fn a_challenge_that_ran_out_is_replaced_until_nobody_can_be_there() {
    let (bench, step) = (Bench::new().await, step());
    let mut last = bench.first(&step, json!({ "ttlSeconds": 60 })).await;
    let late = frames(&bench, "n1", &blank(90)).await;
    bench.clock.advance(60_000);
    last = bench.answer(&step, &last, late).await;
    assert_eq!(
        (
            &asked(&last).body["reasons"],
            &asked(&last).body["attemptsLeft"]
        ),
        (&json!(["challenge_expired"]), &json!(3))
    );
    for _ in 1..REISSUES_MAX {
        last = bench.expire(&step, &last).await;
        assert_eq!(asked(&last).body["reasons"], json!(["challenge_expired"]));
    }
    assert_eq!(completed(bench.expire(&step, &last).await).0, EXPIRED);
}

#[tokio::test]
async fn whoever_cannot_do_it_asks_for_another_way() {
    let (bench, step) = (Bench::new().await, step());
    let first = bench.first(&step, json!({})).await;
    let (outcome, output) = completed(
        bench
            .answer(&step, &first, json!({ "action": "alternative" }))
            .await,
    );
    assert_eq!(
        (outcome.as_str(), &output["mayDecide"]),
        (ALTERNATIVE_REQUESTED, &json!(false))
    );
}

#[tokio::test]
async fn uncertified_models_may_decide_only_where_the_tenant_knows_it() {
    let (bench, step) = (Bench::new().await, step());
    let first = bench.first(&step, json!({})).await;
    for (acknowledgements, expected) in [
        (vec![], false),
        (vec![UNCERTIFIED_LIVENESS.to_owned()], true),
    ] {
        let mut input = bench.submission(
            &step,
            &first,
            json!({ "action": "alternative" }),
            applicant(),
        );
        input.acknowledgements = acknowledgements;
        let (_, output) = completed(bench.run(&step, input).await);
        assert_eq!(
            (
                &output["certified"],
                &output["acknowledged"],
                &output["mayDecide"]
            ),
            (&json!(false), &json!(expected), &json!(expected))
        );
    }
}
