//! A few seconds of fuzzing in every test run; `cargo run -p btrust-machine --example fuzz` does more.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

#[path = "support/fuzz.rs"]
#[expect(dead_code, reason = "this binary uses a part of it")]
mod targets;

#[expect(dead_code, reason = "this binary uses a part of it")]
mod support;

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use targets::Target;

/// Runs a target on the same inputs every time; a failure is shrunk to the fewest choices.
fn fuzz(name: &'static str, cases: u32) {
    let target = Target::new(name);
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let choices = prop::collection::vec(any::<u8>(), 0..160);
    let accepted = std::cell::Cell::new(0_u32);
    runner
        .run(&choices, |bytes| {
            let ran = target.run(&bytes);
            accepted.set(accepted.get() + u32::from(ran.accepted));
            prop_assert!(!ran.over_limit, "an evaluation took {} ms", ran.millis);
            Ok(())
        })
        .unwrap();
    let accepted = accepted.get();
    // Inputs that are all refused would test only the refusal.
    assert!(
        cases / 20 < accepted,
        "only {accepted} of {cases} were accepted"
    );
}

#[test]
fn no_definition_makes_the_machine_panic() {
    fuzz("definition", 1_500);
}

#[test]
fn no_expression_makes_the_machine_panic_or_outlasts_its_limits() {
    fuzz("expression", 3_000);
}

#[test]
fn no_sequence_of_commands_makes_the_machine_panic() {
    fuzz("events", 1_000);
}
