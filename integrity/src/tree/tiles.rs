//! A tree as it is stored: tiles of 256 hashes, of which only the last of each level ever changes.
//!
//! Level 0 holds the hashes of leaves; a hash of level n + 1 is the root of a full tile of level n. Any
//! perfect subtree is the root of a part of one tile, so a proof reads a few tiles.

use super::{Hash, Node, Tree};

/// Hashes of a full tile.
///
/// Source: the tiles of <https://c2sp.org/tlog-tiles>.
pub const TILE_HASHES: usize = 256;
/// Levels of a tree between tiles: 256 is 2 to the power of this.
const LEVELS: u8 = 8;
/// Levels that tiles of a tree of any size have.
pub const TILE_LEVELS_MAX: u8 = 8;

/// Where a tile is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId {
    pub level: u8,
    pub index: u64,
}

/// One tile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    pub id: TileId,
    /// At most [`TILE_HASHES`].
    pub hashes: Vec<Hash>,
}

/// The tile that a perfect subtree is in.
#[must_use]
pub fn tile_of_node(node: Node) -> TileId {
    let level = node.level / LEVELS;
    let within = LEVELS - node.level % LEVELS;
    TileId {
        level,
        index: node.index >> within,
    }
}

/// The root of a perfect subtree, out of its tile.
///
/// `None` when the tile does not reach so far.
///
/// # Panics
///
/// Never: a place in a tile is below 256.
#[must_use]
pub fn node_of_tile(node: Node, hashes: &[Hash]) -> Option<Hash> {
    let above = node.level % LEVELS;
    let n_hashes = 1_usize << above;
    let first = (node.index << above) % (TILE_HASHES as u64);
    let first = usize::try_from(first).expect("below 256");
    perfect_root(hashes.get(first..first + n_hashes)?)
}

/// The root of a power of two of hashes.
fn perfect_root(hashes: &[Hash]) -> Option<Hash> {
    let mut row = hashes.to_vec();
    while 1 < row.len() {
        let (pairs, rest) = row.as_chunks::<2>();
        debug_assert!(rest.is_empty());
        row = pairs
            .iter()
            .map(|[left, right]| Hash::of_children(left, right))
            .collect();
    }
    row.pop()
}

/// The growing edge of a stored tree: the last tile of each level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tiles {
    tree: Tree,
    /// The hashes of the last tile of each level, which is never full.
    edge: Vec<Vec<Hash>>,
    /// Tiles that have changed since they were last taken.
    changed: Vec<Tile>,
    /// How far each level was when the tiles were last taken.
    taken: Vec<u64>,
}

impl Tiles {
    /// The last tile of each level of a tree of `size` leaves, where it is not empty.
    #[must_use]
    pub fn edge_of(size: u64) -> Vec<TileId> {
        let mut tiles = Vec::new();
        for level in 0..TILE_LEVELS_MAX {
            let n_hashes = size >> (LEVELS * level);
            if !n_hashes.is_multiple_of(TILE_HASHES as u64) {
                let index = n_hashes / TILE_HASHES as u64;
                tiles.push(TileId { level, index });
            }
        }
        tiles
    }

    /// Goes on with a stored tree, of which `hashes_of` gives the tiles of [`Tiles::edge_of`].
    ///
    /// `None` when a tile is missing or too short.
    ///
    /// # Panics
    ///
    /// Never: a place in a tile is below 256.
    pub fn open(size: u64, hashes_of: impl Fn(TileId) -> Option<Vec<Hash>>) -> Option<Self> {
        let mut edge = Vec::new();
        for level in 0..TILE_LEVELS_MAX {
            let n_hashes = size >> (LEVELS * level);
            let width = usize::try_from(n_hashes % TILE_HASHES as u64).expect("below 256");
            let index = n_hashes / TILE_HASHES as u64;
            let mut hashes = Vec::new();
            if 0 < width {
                hashes = hashes_of(TileId { level, index })?;
                if hashes.len() < width {
                    return None;
                }
                hashes.truncate(width);
            }
            edge.push(hashes);
        }
        let mut peaks = Vec::new();
        for hashes in edge.iter().rev() {
            let mut rest = hashes.as_slice();
            while !rest.is_empty() {
                let (subtree, after) = rest.split_at(1 << rest.len().ilog2());
                peaks.push(perfect_root(subtree)?);
                rest = after;
            }
        }
        let taken = edge.iter().map(|it| it.len() as u64).collect();
        Some(Self {
            tree: Tree::from_peaks(size, peaks)?,
            edge,
            changed: Vec::new(),
            taken,
        })
    }

    /// The tree that the tiles are of.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Adds a leaf.
    ///
    /// # Panics
    ///
    /// Never: a full tile has a root.
    pub fn push(&mut self, leaf: Hash) {
        self.tree.push(leaf);
        let mut hash = leaf;
        let mut n_hashes = self.tree.size();
        for level in 0..TILE_LEVELS_MAX {
            let at = usize::from(level);
            if self.edge.len() <= at {
                self.edge.resize(at + 1, Vec::new());
                self.taken.resize(at + 1, 0);
            }
            self.edge[at].push(hash);
            if self.edge[at].len() < TILE_HASHES {
                return;
            }
            let hashes = std::mem::take(&mut self.edge[at]);
            self.taken[at] = 0;
            hash = perfect_root(&hashes).expect("a full tile has hashes");
            n_hashes /= TILE_HASHES as u64;
            let id = TileId {
                level,
                index: n_hashes - 1,
            };
            self.changed.push(Tile { id, hashes });
        }
    }

    /// The tiles that have changed since the last call, each as it is now.
    pub fn take_changed(&mut self) -> Vec<Tile> {
        let mut changed = std::mem::take(&mut self.changed);
        for (level, hashes) in (0..).zip(&self.edge) {
            let taken = &mut self.taken[usize::from(level)];
            if *taken == hashes.len() as u64 {
                continue;
            }
            *taken = hashes.len() as u64;
            let index = (self.tree.size() >> (LEVELS * level)) / TILE_HASHES as u64;
            changed.push(Tile {
                id: TileId { level, index },
                hashes: hashes.clone(),
            });
        }
        changed
    }
}
