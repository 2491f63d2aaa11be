//! Which steps a worker may take the turns of, and report on.

use std::collections::BTreeSet;

/// Scope of a worker that serves every step.
const ALL: &str = "*";
/// What the scopes of queues begin with; the step's name follows.
const SCOPE: &str = "queue:";

/// The steps that a worker's token names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Queues {
    All,
    Of(BTreeSet<String>),
}

impl Queues {
    /// Reads the scopes of a token; `None` where they open no queue at all.
    #[must_use]
    pub fn of_scopes(scopes: &str) -> Option<Self> {
        let named: BTreeSet<String> = scopes
            .split(' ')
            .filter_map(|it| it.strip_prefix(SCOPE))
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect();
        if named.contains(ALL) {
            return Some(Self::All);
        }
        (!named.is_empty()).then_some(Self::Of(named))
    }

    /// Whether turns of this step may be taken and reported.
    #[must_use]
    pub fn allows(&self, queue: &str) -> bool {
        match self {
            Self::All => true,
            Self::Of(named) => named.contains(queue),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scopes_of_queues_open_queues() {
        assert_eq!(Queues::of_scopes("core:call queue: otp"), None);
        assert_eq!(Queues::of_scopes("queue:otp queue:*"), Some(Queues::All));
        let otp = Queues::of_scopes("core:call queue:otp").unwrap();
        assert!(otp.allows("otp") && !otp.allows("face-match") && !otp.allows("*"));
    }
}
