//! `kill -9` of the whole platform while an applicant is being verified.

use std::time::Duration;

use btrust_tests::World;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

/// Source: the promise of the first release.
const N_KILLS: usize = 20;
/// Kills of one applicant's demo; more of them than that only prolong the start-up.
const KILLS_A_RUN: usize = 4;
/// Longest time between a healthy platform and its next death; undisturbed, the demo takes about 2.5 s.
const KILL_WITHIN_MS: u64 = 900;

/// The history without times and without what is drawn at random.
async fn history(world: &World, workflow: &str) -> Vec<(u64, String, String)> {
    let bank = world.client("bank").await;
    let mut events = Vec::new();
    let mut after = 0;
    loop {
        let page = bank
            .get(&format!(
                "/v1/workflows/{workflow}/history?after={after}&limit=100"
            ))
            .await
            .ok();
        for event in page["events"].as_array().expect("events") {
            let kind = event["type"].as_str().expect("a type").to_owned();
            let details = event
                .as_object()
                .expect("an event")
                .values()
                .find_map(|it| it.get("name"));
            let name = details
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            events.push((event["id"].as_u64().expect("an id"), kind, name));
        }
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => return events,
        }
    }
}

#[tokio::test]
async fn the_platform_killed_at_any_moment_comes_to_the_same_decision() {
    let undisturbed = World::start();
    let result = undisturbed.visit("genuine");
    assert_eq!(result["decision"], "approved", "{result}");
    let expected = history(&undisturbed, result["workflow"].as_str().expect("an id")).await;
    assert!(20 < expected.len(), "{expected:?}");
    drop(undisturbed);

    let mut random = StdRng::seed_from_u64(20);
    let mut n_kills = 0;
    while n_kills < N_KILLS {
        let mut world = World::start();
        let mut demo = world.send("genuine");
        for _ in 0..KILLS_A_RUN.min(N_KILLS - n_kills) {
            // The moment is the point of the test, so here it does sleep.
            tokio::time::sleep(Duration::from_millis(
                random.random_range(0..KILL_WITHIN_MS),
            ))
            .await;
            if demo.has_ended() {
                break;
            }
            world.kill_and_restart();
            n_kills += 1;
        }
        let result = demo.ending();
        assert_eq!(
            result["decision"], "approved",
            "after {n_kills} kills: {result}"
        );
        let workflow = result["workflow"].as_str().expect("an id");
        assert_eq!(
            history(&world, workflow).await,
            expected,
            "after {n_kills} kills"
        );
        assert_eq!(world.outbox().len(), 1, "a code is never sent twice");
        world.check_engine();
    }
}
