use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// MTH of RFC 9162, section 2.1.1, word for word.
fn mth(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::of_nothing(),
        [leaf] => *leaf,
        _ => {
            let k = leaves.len().next_power_of_two() / 2;
            Hash::of_children(&mth(&leaves[..k]), &mth(&leaves[k..]))
        }
    }
}

/// PATH of RFC 9162, section 2.1.3.1, word for word.
fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (mut proof, other) = if m < k {
        (path(m, &leaves[..k]), mth(&leaves[k..]))
    } else {
        (path(m - k, &leaves[k..]), mth(&leaves[..k]))
    };
    proof.push(other);
    proof
}

/// SUBPROOF of RFC 9162, section 2.1.4.1, word for word.
fn subproof(m: usize, leaves: &[Hash], is_whole: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if is_whole {
            Vec::new()
        } else {
            vec![mth(leaves)]
        };
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (mut proof, other) = if m <= k {
        (subproof(m, &leaves[..k], is_whole), mth(&leaves[k..]))
    } else {
        (subproof(m - k, &leaves[k..], false), mth(&leaves[..k]))
    };
    proof.push(other);
    proof
}

fn leaves(n: usize) -> Vec<Hash> {
    (0..n).map(|it| Hash::of_leaf(&it.to_be_bytes())).collect()
}

/// The hashes of perfect subtrees, straight from the leaves.
fn node_of(leaves: &[Hash]) -> impl Fn(Node) -> Option<Hash> {
    |node| {
        let first = usize::try_from(node.index << node.level).unwrap();
        Some(mth(&leaves[first..first + (1 << node.level)]))
    }
}

/// Source: the test vectors of certificate-transparency-go, `merkletree/merkle_tree_test.go`, which
/// every implementation of RFC 6962 and 9162 shares.
#[test]
fn the_published_roots_come_out() {
    let inputs = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut tree = Tree::default();
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(hex::encode(tree.root().0), empty);
    for (input, root) in inputs.iter().zip(roots) {
        tree.push(Hash::of_leaf(&hex::decode(input).unwrap()));
        assert_eq!(hex::encode(tree.root().0), root);
    }
}

#[test]
fn every_proof_of_small_trees_is_the_one_of_the_rfc_and_verifies() {
    for size in 1..70 {
        let leaves = leaves(size);
        let root = mth(&leaves);
        for index in 0..size {
            let (at, n) = (index as u64, size as u64);
            let proof = prove_inclusion(at, n, node_of(&leaves)).unwrap();
            assert_eq!(proof, path(index, &leaves));
            verify_inclusion(&leaves[index], at, n, &proof, &root).unwrap();
        }
        for first in 1..=size {
            let (m, n) = (first as u64, size as u64);
            let proof = prove_consistency(m, n, node_of(&leaves)).unwrap();
            assert_eq!(proof, subproof(first, &leaves, true));
            let first_root = mth(&leaves[..first]);
            verify_consistency((m, &first_root), (n, &root), &proof).unwrap();
        }
    }
}

#[test]
fn a_node_is_never_taken_for_a_leaf() {
    let leaves = leaves(2);
    let root = mth(&leaves);
    let bytes = [leaves[0].0, leaves[1].0].concat();
    assert_ne!(Hash::of_leaf(&bytes), root);
    verify_inclusion(&root, 0, 1, &[], &root).unwrap();
    let error = verify_inclusion(&Hash::of_leaf(&bytes), 0, 1, &[], &root);
    assert_eq!(error, Err(ProofError::Root));
}

#[test]
fn the_empty_tree_is_the_beginning_of_every_tree_and_holds_nothing() {
    let (nothing, one) = (Hash::of_nothing(), Hash::of_leaf(b""));
    verify_consistency((0, &nothing), (1, &one), &[]).unwrap();
    verify_consistency((0, &nothing), (0, &nothing), &[]).unwrap();
    let wrong = verify_consistency((0, &one), (1, &one), &[]);
    assert_eq!(wrong, Err(ProofError::Root));
    let backwards = verify_consistency((1, &one), (0, &nothing), &[]);
    assert_eq!(backwards, Err(ProofError::OutOfRange));
    let longer = verify_consistency((0, &nothing), (1, &one), &[one]);
    assert_eq!(longer, Err(ProofError::Length));
    let inside = verify_inclusion(&one, 0, 0, &[], &nothing);
    assert_eq!(inside, Err(ProofError::OutOfRange));
}

proptest! {
    #[test]
    fn a_growing_tree_has_the_root_of_the_definition(size in 0_usize..600) {
        let leaves = leaves(size);
        let mut tree = Tree::default();
        for it in &leaves {
            tree.push(*it);
        }
        prop_assert_eq!(tree.root(), mth(&leaves));
        prop_assert_eq!(tree.size(), size as u64);
        let again = Tree::from_peaks(tree.size(), tree.peaks().to_vec()).unwrap();
        prop_assert_eq!(again, tree);
    }

    #[test]
    fn a_proof_with_anything_changed_shows_nothing(
        size in 2_usize..300, at in any::<prop::sample::Index>(), what in 0..6, bit in 0..8_u8,
        byte in 0..32_usize,
    ) {
        let leaves = leaves(size);
        let root = mth(&leaves);
        let index = at.index(size);
        let (n, mut index, mut leaf) = (size as u64, index as u64, leaves[index]);
        let mut proof = prove_inclusion(index, n, node_of(&leaves)).unwrap();
        let step = at.index(proof.len());
        match what {
            0 => leaf.0[byte] ^= 1 << bit,
            1 => proof[step].0[byte] ^= 1 << bit,
            2 => { proof.remove(step); }
            3 => proof.push(leaf),
            4 => index = (index + 1) % n,
            _ => index = n,
        }
        prop_assert!(verify_inclusion(&leaf, index, n, &proof, &root).is_err());
    }

    #[test]
    fn a_tree_with_another_past_is_not_consistent(
        size in 2_usize..300, at in any::<prop::sample::Index>(), changed in any::<prop::sample::Index>(),
    ) {
        let leaves = leaves(size);
        let first = 1 + at.index(size);
        let mut other = leaves[..first].to_vec();
        other[changed.index(first)].0[0] ^= 1;
        let proof = prove_consistency(first as u64, size as u64, node_of(&leaves)).unwrap();
        let forged = (first as u64, &mth(&other));
        let result = verify_consistency(forged, (size as u64, &mth(&leaves)), &proof);
        prop_assert_eq!(result, Err(ProofError::Root));
    }
}

proptest! {
    // A wide tree has two levels of tiles and takes its time.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn tiles_hold_every_node_and_go_on_after_a_restart(
        sizes in prop::collection::vec(0_usize..700, 1..5), wide in any::<bool>(),
    ) {
        let mut stored: BTreeMap<TileId, Vec<Hash>> = BTreeMap::new();
        let mut tiles = Tiles::default();
        let n_first = if wide { 66_000 } else { 0 };
        let total: usize = n_first + sizes.iter().sum::<usize>();
        let leaves = leaves(total);
        let mut at = 0;
        for n in std::iter::once(n_first).chain(sizes) {
            leaves[at..at + n].iter().for_each(|it| tiles.push(*it));
            at += n;
            let changed = tiles.take_changed();
            stored.extend(changed.into_iter().map(|it| (it.id, it.hashes)));
            prop_assert!(tiles.take_changed().is_empty());
            let again = Tiles::open(at as u64, |id| stored.get(&id).cloned()).unwrap();
            prop_assert_eq!(again.tree(), tiles.tree());
            tiles = again;
        }
        prop_assert_eq!(tiles.tree().root(), mth(&leaves));
        if 0 < total {
            let hash_of = |node| node_of_tile(node, stored.get(&tile_of_node(node))?);
            let index = (total / 3) as u64;
            let proof = prove_inclusion(index, total as u64, hash_of).unwrap();
            prop_assert_eq!(proof, path(total / 3, &leaves));
        }
    }
}
