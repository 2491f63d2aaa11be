//! Bugs that the simulation plants, to prove that it would find them.
//!
//! A production build has no switch: there [`is_planted`] is a constant.

/// A bug as somebody might write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Callers are answered, and turns given out, before the commit.
    AnswerBeforeCommit,
    /// A commit names no epoch, so the store checks none.
    NoFence,
    /// What the store has left out of a commit counts as committed.
    FencedIsCommitted,
    /// A result counts for the turn of its attempt that is open, whichever it is of.
    #[cfg(test)]
    DedupeByAttempt,
    /// A failed commit leaves the speculative state in the cache.
    KeepSpeculation,
    /// An unknown commit counts as failed.
    UnknownIsFailed,
    /// An unknown commit counts as done.
    UnknownIsDone,
    /// Recovery winds no timers.
    ForgetTimers,
    /// Recovery requeues no turns.
    ForgetTurns,
    /// Whoever gets a checkpointed turn next is not told of the checkpoint.
    HideCheckpoint,
    /// The keys of earlier starts are not looked for.
    ForgetStartKeys,
    /// The number of a failed batch is not used again.
    SkipBatchNumber,
    /// The relay stores its cursor before it publishes.
    CursorBeforePublish,
    /// Watchers are told before the commit and not after it.
    TellBeforeCommit,
    /// A deadline whose commit has failed is not judged again.
    ForgetFailedTick,
    /// Recovery does not look whether a workflow is paused.
    ForgetPauses,
}

/// Whether this bug is to show itself.
#[cfg(not(test))]
pub const fn is_planted(_: Bug) -> bool {
    false
}

#[cfg(test)]
pub use switch::{is_planted, judged_by_attempt, plant};

#[cfg(test)]
mod switch {
    use std::cell::Cell;

    use btrust_machine::{Command, State};

    use super::Bug;

    thread_local! {
        // A simulation has one thread, and every test its own.
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    pub fn is_planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// A result of an earlier turn as one of the turn that is open now, if that bug is planted.
    pub fn judged_by_attempt(command: &Command, state: &State) -> Command {
        let mut command = command.clone();
        if let Command::TurnResult {
            task,
            attempt,
            turn,
            ..
        } = &mut command
            && is_planted(Bug::DedupeByAttempt)
        {
            let open = state.open_turns().into_iter();
            let mut same = open.filter(|it| (it.task, it.attempt) == (*task, *attempt));
            if let Some(open) = same.next().filter(|it| it.turn != *turn) {
                *turn = open.turn;
            }
        }
        command
    }

    /// Plants a bug on this thread, in place of an earlier one.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }
}
