//! Seeds in `make test`, planted bugs, and the long run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Instant;

use super::node::Process;
use super::store::SimulatedStore;
use super::world::{Weather, World};
use super::{Run, run, run_operated};
use crate::planted::Bug;

/// Seeds of one test; the tests run beside each other.
const SEEDS_PER_TEST: u64 = 25;
/// Seeds within which every planted bug shows itself.
const SEEDS_FOR_A_BUG: u64 = 240;
/// How many seeds the long run takes, where the environment says so.
const SEEDS_VARIABLE: &str = "BTRUST_SIMULATION_SEEDS";

#[track_caller]
fn check(seed: u64) -> Run {
    judged(seed, run(seed, None))
}

#[track_caller]
fn judged(seed: u64, run: Run) -> Run {
    if let Some(violation) = &run.violation {
        panic!("seed {seed}: {violation}\n{}", run.tail);
    }
    run
}

#[track_caller]
fn check_block(block: u64) {
    let mut n_commits = 0;
    for seed in block * SEEDS_PER_TEST..(block + 1) * SEEDS_PER_TEST {
        n_commits += check(seed).n_commits;
    }
    assert!(0 < n_commits, "nothing has happened");
}

macro_rules! seeds {
    ($($name:ident $block:literal),* $(,)?) => {
        $(#[test]
        fn $name() {
            check_block($block);
        })*
    };
}

seeds! {
    nothing_is_lost_or_doubled_under_the_seeds_from_0 0,
    nothing_is_lost_or_doubled_under_the_seeds_from_25 1,
    nothing_is_lost_or_doubled_under_the_seeds_from_50 2,
    nothing_is_lost_or_doubled_under_the_seeds_from_75 3,
    nothing_is_lost_or_doubled_under_the_seeds_from_100 4,
    nothing_is_lost_or_doubled_under_the_seeds_from_125 5,
    nothing_is_lost_or_doubled_under_the_seeds_from_150 6,
    nothing_is_lost_or_doubled_under_the_seeds_from_175 7,
}

/// A deadline whose commit had failed once was put off by every result that it refused.
#[test]
fn seeds_that_have_found_something_stay_clean() {
    check(1931);
}

/// Operators who pause and redrive come on top of everything else.
#[track_caller]
fn check_operated_block(block: u64) {
    for seed in block * SEEDS_PER_TEST..(block + 1) * SEEDS_PER_TEST {
        judged(seed, run_operated(seed, None));
    }
}

#[test]
fn pauses_and_redrives_change_no_end_under_the_seeds_from_0() {
    check_operated_block(0);
}

#[test]
fn pauses_and_redrives_change_no_end_under_the_seeds_from_25() {
    check_operated_block(1);
}

#[test]
fn pauses_that_recovery_forgets_are_found() {
    let found = |seed: &u64| {
        let run = run_operated(*seed, Some(Bug::ForgetPauses));
        run.violation.is_some()
    };
    let seed = (0..SEEDS_FOR_A_BUG).find(found);
    let seed = seed.expect("some seed finds it");
    println!("it is found by seed {seed}");
    judged(seed, run_operated(seed, None));
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 2, 3, 5, 8, 13] {
        let (one, other) = (run(seed, None), run(seed, None));
        assert_eq!(one.hash, other.hash, "seed {seed}");
        assert_eq!(one.elapsed_ms, other.elapsed_ms, "seed {seed}");
    }
    assert_ne!(run(1, None).hash, run(2, None).hash);
    assert_eq!(run_operated(3, None).hash, run_operated(3, None).hash);
}

#[tokio::test(start_paused = true)]
async fn the_simulated_store_conforms() {
    let calm = Weather {
        store: 0,
        network: 0,
        workers: 0,
        nodes: 0,
        operators: 0,
    };
    let world = Arc::new(World::new(1, calm));
    let process = Arc::new(Process::new("conformance".to_owned()));
    let store = SimulatedStore::new(world, process);
    crate::store::conformance::check(&store).await;
    crate::store::tenants::check(&store).await;
}

/// The seed that shows a planted bug; the same seeds without the bug are clean.
#[track_caller]
fn check_bug(bug: Bug) {
    for seed in 0..SEEDS_FOR_A_BUG {
        if let Some(violation) = run(seed, Some(bug)).violation {
            println!("{bug:?} is found by seed {seed}: {violation}");
            check(seed);
            return;
        }
    }
    panic!("{bug:?} is not found by {SEEDS_FOR_A_BUG} seeds");
}

macro_rules! bugs {
    ($($name:ident $bug:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            check_bug(Bug::$bug);
        })*
    };
}

bugs! {
    an_answer_before_the_commit_is_found AnswerBeforeCommit,
    a_commit_without_a_fence_is_found NoFence,
    a_fenced_write_that_counts_as_committed_is_found FencedIsCommitted,
    a_result_that_counts_for_another_turn_is_found DedupeByAttempt,
    speculation_that_outlives_its_commit_is_found KeepSpeculation,
    an_unknown_commit_that_counts_as_failed_is_found UnknownIsFailed,
    an_unknown_commit_that_counts_as_done_is_found UnknownIsDone,
    timers_that_recovery_forgets_are_found ForgetTimers,
    turns_that_recovery_forgets_are_found ForgetTurns,
    a_checkpoint_that_nobody_is_told_of_is_found HideCheckpoint,
    start_keys_that_are_not_looked_for_are_found ForgetStartKeys,
    a_skipped_batch_number_is_found SkipBatchNumber,
    a_cursor_that_is_ahead_of_the_streams_is_found CursorBeforePublish,
    watchers_that_are_told_too_early_are_found TellBeforeCommit,
    a_failed_tick_that_is_forgotten_is_found ForgetFailedTick,
}

/// As many seeds as the environment asks for, on every core; a few where it does not.
#[test]
fn nothing_is_lost_or_doubled_in_the_long_run() {
    let n_seeds = std::env::var(SEEDS_VARIABLE)
        .ok()
        .map_or(4, |it| it.parse().expect("a number of seeds"));
    let next = AtomicU64::new(0);
    let began = Instant::now();
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    let totals: Vec<[usize; 5]> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads)
            .map(|_| scope.spawn(|| check_until(&next, n_seeds)))
            .collect();
        let joined = threads.into_iter().map(ScopedJoinHandle::join);
        joined.map(|it| it.expect("a seed has failed")).collect()
    });
    let sum = |index: usize| totals.iter().map(|it| it[index]).sum::<usize>();
    println!(
        "{n_seeds} seeds in {} s: {} workflows, {} commits, {} crashes, {} take-overs, {} fenced commits",
        began.elapsed().as_secs(),
        sum(0),
        sum(1),
        sum(2),
        sum(3),
        sum(4),
    );
}

fn check_until(next: &AtomicU64, n_seeds: u64) -> [usize; 5] {
    let mut totals = [0; 5];
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if n_seeds <= seed {
            return totals;
        }
        for run in [check(seed), judged(seed, run_operated(seed, None))] {
            let of_run = [
                run.n_workflows,
                run.n_commits,
                run.n_crashes,
                run.n_takeovers,
                run.n_fenced,
            ];
            for (total, it) in totals.iter_mut().zip(of_run) {
                *total += it;
            }
        }
    }
}
