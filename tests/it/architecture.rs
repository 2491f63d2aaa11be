//! The diagram of ARCHITECTURE.md, executable: who may depend on whom, what stays pure, what may be linked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

/// Edges that may exist between our crates.
const ALLOWED: &[(&str, &[&str])] = &[
    ("btrust-integrity", &[]),
    ("btrust-machine", &[]),
    ("btrust-schemas", &[]),
    ("btrust-vision", &[]),
    ("btrust-platform", &["btrust-schemas"]),
    ("btrust-cloud", &["btrust-platform", "btrust-schemas"]),
    (
        "btrust-engine",
        &[
            "btrust-integrity",
            "btrust-machine",
            "btrust-schemas",
            "btrust-platform",
        ],
    ),
    (
        "btrust-workers",
        &["btrust-schemas", "btrust-platform", "btrust-vision"],
    ),
    (
        "btrust-api",
        &[
            "btrust-integrity",
            "btrust-schemas",
            "btrust-platform",
            "btrust-machine",
        ],
    ),
    (
        "btrust-consumers",
        &["btrust-integrity", "btrust-schemas", "btrust-platform"],
    ),
    ("btrust-demo", &["btrust-schemas", "btrust-vision"]),
    ("btrust-disk-faults", &[]),
    (
        "btrust",
        &[
            "btrust-integrity",
            "btrust-machine",
            "btrust-schemas",
            "btrust-vision",
            "btrust-platform",
            "btrust-cloud",
            "btrust-engine",
            "btrust-workers",
            "btrust-api",
            "btrust-consumers",
        ],
    ),
];
/// Tests may use everything.
const TESTS: &str = "btrust-tests";
/// Crates whose whole dependency tree must stay free of I/O.
const PURE: &[&str] = &["btrust-integrity", "btrust-machine", "btrust-schemas"];
const IO_CRATES: &[&str] = &[
    "tokio",
    "sqlx",
    "sqlx-core",
    "poem",
    "reqwest",
    "hyper",
    "ort",
    "mongodb",
    "redis",
    "async-std",
    "smol",
    "mio",
];
/// Licences that a dependency may be had under; one alternative of an `OR` is enough.
const LICENCES: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MPL-2.0",
    "Zlib",
    "Unicode-3.0",
    "CDLA-Permissive-2.0",
    "Unlicense",
    "CC0-1.0",
    "BSL-1.0",
    "0BSD",
];
/// Two TLS stacks for one job are a mistake.
const BANNED: &[(&str, &str)] = &[
    ("openssl", "TLS is rustls"),
    ("native-tls", "TLS is rustls"),
    ("aws-lc-sys", "rustls uses ring here"),
];
/// Longest file that a person writes, lines.
const FILE_LINES_MAX: usize = 800;

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .other_options(
            [
                "--locked",
                "--offline",
                "--filter-platform",
                "x86_64-unknown-linux-gnu",
            ]
            .map(str::to_owned)
            .to_vec(),
        )
        .exec()
        .expect("cargo metadata answers")
}

/// Normal dependencies of each package of the resolved graph.
fn edges(metadata: &Metadata) -> BTreeMap<PackageId, Vec<PackageId>> {
    let resolve = metadata
        .resolve
        .as_ref()
        .expect("metadata has a resolved graph");
    resolve
        .nodes
        .iter()
        .map(|node| {
            let normal = node
                .deps
                .iter()
                .filter(|it| {
                    it.dep_kinds
                        .iter()
                        .any(|kind| kind.kind == DependencyKind::Normal)
                })
                .map(|it| it.pkg.clone())
                .collect();
            (node.id.clone(), normal)
        })
        .collect()
}

#[test]
fn every_arrow_between_our_crates_is_allowed() {
    let metadata = metadata();
    let ours: BTreeSet<&str> = metadata
        .workspace_packages()
        .iter()
        .map(|it| it.name.as_str())
        .collect();
    for package in metadata.workspace_packages() {
        if package.name.as_str() == TESTS {
            continue;
        }
        let (_, allowed) = ALLOWED
            .iter()
            .find(|(name, _)| *name == package.name.as_str())
            .unwrap_or_else(|| panic!("{} is not in the table of arrows", package.name));
        for dependency in package
            .dependencies
            .iter()
            .filter(|it| it.kind == DependencyKind::Normal)
        {
            let is_ours = ours.contains(dependency.name.as_str());
            assert!(
                !is_ours || allowed.contains(&dependency.name.as_str()),
                "{} must not depend on {}",
                package.name,
                dependency.name
            );
        }
    }
}

#[test]
fn the_pure_crates_reach_no_io_crate() {
    let metadata = metadata();
    let edges = edges(&metadata);
    let name = |id: &PackageId| metadata[id].name.to_string();
    for pure in PURE {
        let root = &metadata
            .workspace_packages()
            .into_iter()
            .find(|it| it.name.as_str() == *pure)
            .unwrap()
            .id;
        let mut seen = BTreeSet::from([root.clone()]);
        let mut open = vec![root.clone()];
        while let Some(id) = open.pop() {
            let found = name(&id);
            assert!(
                !IO_CRATES.contains(&found.as_str()),
                "{pure} reaches {found}"
            );
            for next in &edges[&id] {
                if seen.insert(next.clone()) {
                    open.push(next.clone());
                }
            }
        }
        assert!(2 < seen.len(), "{pure} has dependencies to look at");
    }
}

#[test]
fn every_dependency_has_a_licence_that_a_bank_can_take() {
    let metadata = metadata();
    for package in &metadata.packages {
        let licence = package
            .license
            .clone()
            .unwrap_or_default()
            .replace('/', " OR ");
        let acceptable = licence.split(" OR ").any(|choice| {
            choice
                .split(" AND ")
                .all(|it| LICENCES.contains(&it.trim().trim_matches(['(', ')'])))
        });
        assert!(
            acceptable,
            "{} {} is under `{licence}`",
            package.name, package.version
        );
        assert!(
            package
                .source
                .as_ref()
                .is_none_or(|it| it.repr.starts_with("registry+")),
            "{} does not come from a registry",
            package.name
        );
    }
}

#[test]
fn no_banned_crate_is_linked() {
    let metadata = metadata();
    let edges = edges(&metadata);
    let reachable: BTreeSet<&PackageId> = edges.values().flatten().collect();
    for id in reachable {
        let package = &metadata[id];
        let banned = BANNED
            .iter()
            .find(|(name, _)| *name == package.name.as_str());
        assert_eq!(banned, None, "{} {}", package.name, package.version);
    }
}

#[test]
fn no_written_file_is_too_big_to_find_anything_in() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut open = vec![root.to_path_buf()];
    let mut n_files = 0;
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !matches!(name.as_str(), "target" | "var" | ".git" | "node_modules") {
                    open.push(path);
                }
            } else if path
                .extension()
                .is_some_and(|it| it == "rs" || it == "sql" || it == "ts")
            {
                n_files += 1;
                let n_lines = std::fs::read_to_string(&path).unwrap().lines().count();
                assert!(
                    n_lines <= FILE_LINES_MAX,
                    "{} has {n_lines} lines",
                    path.display()
                );
            }
        }
    }
    assert!(20 < n_files);
}
