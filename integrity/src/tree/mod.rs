//! The Merkle tree of RFC 9162, section 2.1, which only grows.
//!
//! Source: <https://www.rfc-editor.org/rfc/rfc9162#section-2.1>.

mod proof;
mod tiles;

#[cfg(test)]
mod tests;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};

pub use proof::{
    Node, ProofError, consistency_nodes, fold, inclusion_nodes, prove_consistency, prove_inclusion,
    verify_consistency, verify_inclusion,
};
pub use tiles::{TILE_HASHES, TILE_LEVELS_MAX, Tile, TileId, Tiles, node_of_tile, tile_of_node};

/// Bytes of a hash.
pub const HASH_BYTES: usize = 32;
/// What a leaf is hashed behind, so that no node is ever taken for a leaf.
///
/// Source: RFC 9162, section 2.1.1.
const LEAF_PREFIX: [u8; 1] = [0];
/// What two children are hashed behind.
const NODE_PREFIX: [u8; 1] = [1];

/// A SHA-256 hash of a leaf, a node or a tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; HASH_BYTES]);

impl Hash {
    /// The hash of a leaf's bytes.
    #[must_use]
    pub fn of_leaf(bytes: &[u8]) -> Self {
        let hasher = Sha256::new().chain_update(LEAF_PREFIX);
        Self(hasher.chain_update(bytes).finalize().into())
    }

    /// The hash of a node with two children.
    #[must_use]
    pub fn of_children(left: &Self, right: &Self) -> Self {
        let hasher = Sha256::new().chain_update(NODE_PREFIX);
        Self(
            hasher
                .chain_update(left.0)
                .chain_update(right.0)
                .finalize()
                .into(),
        )
    }

    /// The root of the tree without leaves: the hash of nothing.
    #[must_use]
    pub fn of_nothing() -> Self {
        Self(Sha256::digest([]).into())
    }

    /// Standard base64 with padding, as checkpoints spell hashes.
    #[must_use]
    pub fn base64(&self) -> String {
        BASE64_STANDARD.encode(self.0)
    }

    /// Reads [`Hash::base64`]; no other spelling is taken.
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        let bytes = BASE64_STANDARD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// Reads hashes that are joined without anything between them.
    #[must_use]
    pub fn many(bytes: &[u8]) -> Option<Vec<Self>> {
        let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
        rest.is_empty()
            .then(|| hashes.iter().map(|it| Self(*it)).collect())
    }

    /// The bytes of [`Hash::many`].
    #[must_use]
    pub fn joined(hashes: &[Self]) -> Vec<u8> {
        hashes.iter().flat_map(|it| it.0).collect()
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A growing tree, kept as the roots of its perfect subtrees from the largest to the smallest.
///
/// The sizes of the subtrees are the ones of the binary number `size`, so 64 hashes hold any tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    peaks: Vec<Hash>,
}

impl Tree {
    /// Goes on with a tree of which only the peaks are known.
    ///
    /// # Errors
    ///
    /// `None` when a tree of this size does not have this many peaks.
    #[must_use]
    pub fn from_peaks(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        let is_right = size.count_ones() as usize == peaks.len();
        is_right.then_some(Self { size, peaks })
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the perfect subtrees, the largest first.
    #[must_use]
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Adds a leaf.
    ///
    /// # Panics
    ///
    /// Never: there is a peak for each one in the size.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        // Each trailing one of the size is a subtree that is as large as the new one.
        for _ in 0..self.size.trailing_ones() {
            let left = self
                .peaks
                .pop()
                .expect("there is a peak for each one in the size");
            hash = Hash::of_children(&left, &hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root of the tree as it is.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(smallest) = peaks.next() else {
            return Hash::of_nothing();
        };
        peaks.fold(*smallest, |right, left| Hash::of_children(left, &right))
    }
}
