//! Fuzzes definitions, expressions and sequences of commands, and prints one JSON line for each.
//!
//! `cargo run -p btrust-machine --example fuzz -- --inputs 1000000 [--target NAME] [--seed N]`
//!
//! A panic is caught and counted; the first of each target is shrunk and printed as the bytes that
//! make it, and its source where it is an expression.

#[path = "../tests/support/mod.rs"]
#[expect(dead_code, reason = "this binary uses a part of it")]
mod support;

#[path = "../tests/support/fuzz.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use proptest::collection::vec;
use proptest::num::u8::ANY;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::json;
use targets::{Ran, Target, expression_source};

/// How an input went wrong.
fn is_wrong(target: &Target, bytes: &[u8]) -> (bool, Option<Ran>) {
    match catch_unwind(AssertUnwindSafe(|| target.run(bytes))) {
        Ok(ran) => (ran.over_limit, Some(ran)),
        Err(_) => (true, None),
    }
}

fn fuzz(name: &'static str, n_inputs: u64, seed: u8) {
    const FAILURES_SHOWN: usize = 5;
    let target = Target::new(name);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let choices = vec(ANY, 0..160);
    let started = Instant::now();
    let (mut n_panics, mut n_over, mut n_accepted, mut slowest) = (0_u64, 0_u64, 0_u64, 0.0_f64);
    let mut failures = Vec::new();
    for _ in 0..n_inputs {
        let Ok(mut tree) = choices.new_tree(&mut runner) else {
            continue;
        };
        let (wrong, ran) = is_wrong(&target, &tree.current());
        match ran {
            None => n_panics += 1,
            Some(ran) => {
                n_over += u64::from(ran.over_limit);
                n_accepted += u64::from(ran.accepted);
                slowest = slowest.max(ran.millis);
            }
        }
        if wrong && failures.len() < FAILURES_SHOWN {
            // Fewer choices, as long as it still goes wrong.
            let mut bytes = tree.current();
            while tree.simplify() {
                if is_wrong(&target, &tree.current()).0 {
                    bytes = tree.current();
                } else if !tree.complicate() {
                    break;
                }
            }
            let source = (name == "expression").then(|| expression_source(&bytes));
            failures.push(json!({"panicked": ran.is_none(), "bytes": bytes, "source": source}));
        }
    }
    println!(
        "{}",
        json!({"target": name, "inputs": n_inputs, "accepted": n_accepted, "panics": n_panics,
            "overLimit": n_over, "slowestMillis": slowest.round(), "seconds": started.elapsed().as_secs(),
            "seed": seed, "failures": failures})
    );
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let option = |name: &str| {
        let at = args.iter().position(|it| it == name)?;
        args.get(at + 1).cloned()
    };
    let number = |name: &str| option(name).and_then(|it| it.parse::<u64>().ok());
    let n_inputs = number("--inputs").unwrap_or(10_000);
    let seed = number("--seed")
        .and_then(|it| u8::try_from(it).ok())
        .unwrap_or(0);
    let wanted = option("--target");
    for name in Target::NAMES {
        if wanted.as_deref().is_none_or(|it| it == name) {
            fuzz(name, n_inputs, seed);
        }
    }
}
