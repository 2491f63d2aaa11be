//! Which shards a process should take: a pure function of what everybody sees.

use std::collections::{BTreeMap, BTreeSet};

use super::leases::LeaseRow;
use crate::streams::Shard;

/// The shards that may be read now: not read to their end, and all their parents are, as far as the stream
/// still keeps them.
pub fn readable<'s>(shards: &'s [Shard], leases: &[LeaseRow]) -> Vec<&'s str> {
    let listed: BTreeSet<&str> = shards.iter().map(|it| it.id.as_str()).collect();
    let done: BTreeSet<&str> = leases
        .iter()
        .filter(|it| it.is_done)
        .map(|it| it.shard.as_str())
        .collect();
    let is_over = |parent: &String| {
        done.contains(parent.as_str())
            // Its records are gone: there is nothing to wait for.
            || !listed.contains(parent.as_str())
    };
    shards
        .iter()
        .filter(|it| !done.contains(it.id.as_str()) && it.parents.iter().all(is_over))
        .map(|it| it.id.as_str())
        .collect()
}

/// The leases that `me` should take now, of those that may be read.
///
/// Everybody has his share, which is the same number for all but for what cannot be divided. What is free is
/// taken first; one shard at a time is taken from whoever has two more than `me`.
pub fn to_take<'l>(
    readable: &[&str],
    leases: &'l [LeaseRow],
    me: &str,
    now_ms: i64,
) -> Vec<&'l LeaseRow> {
    let leases: Vec<&LeaseRow> = leases
        .iter()
        .filter(|it| readable.contains(&it.shard.as_str()))
        .collect();
    let mut held: BTreeMap<&str, Vec<&LeaseRow>> = BTreeMap::from([(me, Vec::new())]);
    for lease in &leases {
        if let Some(owner) = lease.owner_at(now_ms) {
            held.entry(owner).or_default().push(lease);
        }
    }
    let share = leases.len().div_ceil(held.len());
    let n_mine = held[me].len();
    let wanted = share.saturating_sub(n_mine);
    let free = leases
        .iter()
        .filter(|it| it.owner_at(now_ms).is_none())
        .take(wanted);
    let free: Vec<&LeaseRow> = free.copied().collect();
    if !free.is_empty() || wanted == 0 {
        return free;
    }
    let richest = held.values().max_by_key(|it| it.len());
    match richest {
        Some(richest) if n_mine + 2 <= richest.len() => {
            richest.last().copied().into_iter().collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(id: &str, parents: &[&str]) -> Shard {
        Shard {
            id: id.to_owned(),
            parents: parents.iter().map(|&it| it.to_owned()).collect(),
        }
    }

    fn lease(shard: &str, owner: &str, until_ms: i64) -> LeaseRow {
        LeaseRow {
            shard: shard.to_owned(),
            owner: (!owner.is_empty()).then(|| owner.to_owned()),
            epoch: 1,
            until_ms,
            position: None,
            is_done: false,
        }
    }

    fn done(shard: &str) -> LeaseRow {
        LeaseRow {
            is_done: true,
            ..lease(shard, "", 0)
        }
    }

    #[test]
    fn a_child_waits_for_all_of_its_parents() {
        let shards = [
            shard("a", &[]),
            shard("b", &[]),
            shard("ab", &["a", "b"]),
            shard("z", &["long-gone"]),
        ];
        assert_eq!(readable(&shards, &[]), ["a", "b", "z"]);
        assert_eq!(readable(&shards, &[done("a")]), ["b", "z"]);
        assert_eq!(readable(&shards, &[done("a"), done("b")]), ["ab", "z"]);
    }

    #[track_caller]
    fn check(leases: &[LeaseRow], me: &str, expected: &[&str]) {
        let readable: Vec<&str> = leases.iter().map(|it| it.shard.as_str()).collect();
        let taken = to_take(&readable, leases, me, 100);
        let taken: Vec<&str> = taken.iter().map(|it| it.shard.as_str()).collect();
        assert_eq!(taken, expected);
    }

    #[test]
    fn whoever_is_alone_takes_everything_that_is_free_or_was_left() {
        let leases = [lease("a", "", 0), lease("b", "gone", 100)];
        check(&leases, "me", &["a", "b"]);
    }

    #[test]
    fn two_share_three_and_neither_takes_from_the_other() {
        let leases = [
            lease("a", "me", 200),
            lease("b", "you", 200),
            lease("c", "you", 200),
        ];
        check(&leases, "me", &[]);
        check(&leases, "you", &[]);
    }

    #[test]
    fn a_newcomer_takes_from_the_richest_one_at_a_time() {
        let leases = [
            lease("a", "you", 200),
            lease("b", "you", 200),
            lease("c", "other", 200),
        ];
        check(&leases, "me", &["b"]);
    }

    #[test]
    fn what_may_not_be_read_yet_is_nobodys() {
        let leases = [lease("parent", "", 0), lease("child", "", 0)];
        let taken = to_take(&["parent"], &leases, "me", 100);
        assert_eq!(taken, [&leases[0]]);
    }
}
