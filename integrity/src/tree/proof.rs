//! Proofs that a leaf is in a tree, and that a tree is the beginning of a later one.

use super::Hash;

/// Why a proof shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("the proof is about a leaf or a tree that the later tree cannot have")]
    OutOfRange,
    #[error("the proof has not as many hashes as its sizes ask for")]
    Length,
    #[error("the proof does not lead to the root")]
    Root,
}

/// A perfect subtree: the leaves from `index << level` on, `1 << level` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    pub level: u8,
    pub index: u64,
}

/// The largest power of two that is smaller than `n`, for `2 <= n`.
fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

/// The perfect subtrees that the root of the leaves from `from` to before `to` is made of, left to right.
///
/// `from` is a multiple of the largest power of two that is not above the length, as it is in every proof.
fn subtrees(from: u64, to: u64) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut at = from;
    while at < to {
        let level = (to - at).ilog2();
        nodes.push(Node {
            level: u8::try_from(level).expect("below 64"),
            index: at >> level,
        });
        at += 1 << level;
    }
    nodes
}

/// The root of what [`inclusion_nodes`] or [`consistency_nodes`] say a hash is made of.
///
/// `None` for no hashes.
#[must_use]
pub fn fold(hashes: &[Hash]) -> Option<Hash> {
    let (last, rest) = hashes.split_last()?;
    Some(
        rest.iter()
            .rev()
            .fold(*last, |right, left| Hash::of_children(left, &right)),
    )
}

/// What each hash of an inclusion proof is made of, in the order of the proof.
///
/// Source: RFC 9162, section 2.1.3.1. `None` when the tree has no such leaf.
#[must_use]
pub fn inclusion_nodes(index: u64, size: u64) -> Option<Vec<Vec<Node>>> {
    if size <= index {
        return None;
    }
    let mut hashes = Vec::new();
    let (mut from, mut to) = (0, size);
    while 1 < to - from {
        let middle = from + split(to - from);
        if index < middle {
            hashes.push(subtrees(middle, to));
            to = middle;
        } else {
            hashes.push(subtrees(from, middle));
            from = middle;
        }
    }
    hashes.reverse();
    Some(hashes)
}

/// What each hash of a consistency proof is made of, in the order of the proof.
///
/// Source: RFC 9162, section 2.1.4.1, with the empty proof for an empty or an equal tree. `None` when
/// the first tree is larger than the second.
#[must_use]
pub fn consistency_nodes(first: u64, second: u64) -> Option<Vec<Vec<Node>>> {
    if second < first {
        return None;
    }
    if first == 0 || first == second {
        return Some(Vec::new());
    }
    let mut hashes = Vec::new();
    let (mut from, mut to) = (0, second);
    let mut is_whole = true;
    while first != to {
        let middle = from + split(to - from);
        if first <= middle {
            hashes.push(subtrees(middle, to));
            to = middle;
        } else {
            hashes.push(subtrees(from, middle));
            from = middle;
            is_whole = false;
        }
    }
    if !is_whole {
        hashes.push(subtrees(from, to));
    }
    hashes.reverse();
    Some(hashes)
}

/// The inclusion proof of a leaf, with the hashes of perfect subtrees as `hash_of` knows them.
///
/// `None` when there is no such leaf or `hash_of` does not know a node.
pub fn prove_inclusion(
    index: u64,
    size: u64,
    hash_of: impl Fn(Node) -> Option<Hash>,
) -> Option<Vec<Hash>> {
    fold_all(&inclusion_nodes(index, size)?, hash_of)
}

/// The consistency proof between two sizes of a tree; see [`prove_inclusion`].
pub fn prove_consistency(
    first: u64,
    second: u64,
    hash_of: impl Fn(Node) -> Option<Hash>,
) -> Option<Vec<Hash>> {
    fold_all(&consistency_nodes(first, second)?, hash_of)
}

fn fold_all(made_of: &[Vec<Node>], hash_of: impl Fn(Node) -> Option<Hash>) -> Option<Vec<Hash>> {
    let one = |nodes: &Vec<Node>| {
        let hashes: Option<Vec<Hash>> = nodes.iter().map(|it| hash_of(*it)).collect();
        fold(&hashes?)
    };
    made_of.iter().map(one).collect()
}

/// Checks that `leaf` is leaf `index` of the tree of `size` leaves with `root`.
///
/// Source: RFC 9162, section 2.1.3.2.
///
/// # Errors
///
/// [`ProofError`].
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if size <= index {
        return Err(ProofError::OutOfRange);
    }
    let (mut f, mut s) = (index, size - 1);
    let mut hash = *leaf;
    for step in proof {
        if s == 0 {
            return Err(ProofError::Length);
        }
        if f & 1 == 1 || f == s {
            hash = Hash::of_children(step, &hash);
            while f & 1 == 0 && f != 0 {
                f >>= 1;
                s >>= 1;
            }
        } else {
            hash = Hash::of_children(&hash, step);
        }
        f >>= 1;
        s >>= 1;
    }
    if s != 0 {
        return Err(ProofError::Length);
    }
    if hash != *root {
        return Err(ProofError::Root);
    }
    Ok(())
}

/// Checks that the tree of `first` leaves with `first_root` is the beginning of the one of `second` leaves.
///
/// Source: RFC 9162, section 2.1.4.2; the empty tree is the beginning of every tree.
///
/// # Errors
///
/// [`ProofError`].
pub fn verify_consistency(
    (first, first_root): (u64, &Hash),
    (second, second_root): (u64, &Hash),
    proof: &[Hash],
) -> Result<(), ProofError> {
    if second < first {
        return Err(ProofError::OutOfRange);
    }
    if first == 0 || first == second {
        let is_right = if first == second {
            first_root == second_root
        } else {
            *first_root == Hash::of_nothing()
        };
        return match (proof.is_empty(), is_right) {
            (false, _) => Err(ProofError::Length),
            (true, false) => Err(ProofError::Root),
            (true, true) => Ok(()),
        };
    }
    let (mut f, mut s) = (first - 1, second - 1);
    let shift = f.trailing_ones();
    f >>= shift;
    s >>= shift;
    let mut steps = proof.iter();
    // A power of two is a subtree by itself and not in the proof.
    let begin = if first.is_power_of_two() {
        Some(first_root)
    } else {
        steps.next()
    };
    let begin = begin.ok_or(ProofError::Length)?;
    let (mut of_first, mut of_second) = (*begin, *begin);
    for step in steps {
        if s == 0 {
            return Err(ProofError::Length);
        }
        if f & 1 == 1 || f == s {
            of_first = Hash::of_children(step, &of_first);
            of_second = Hash::of_children(step, &of_second);
            while f & 1 == 0 && f != 0 {
                f >>= 1;
                s >>= 1;
            }
        } else {
            of_second = Hash::of_children(&of_second, step);
        }
        f >>= 1;
        s >>= 1;
    }
    if s != 0 {
        return Err(ProofError::Length);
    }
    if of_first != *first_root || of_second != *second_root {
        return Err(ProofError::Root);
    }
    Ok(())
}
