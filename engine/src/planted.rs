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
    /// A checkpoint needs no lease.
    CheckpointWithoutLease,
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
}

/// Whether this bug is to show itself.
pub const fn is_planted(_: Bug) -> bool {
    false
}
