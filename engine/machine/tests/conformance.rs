//! Executions that AWS has recorded; the folder is not part of the project.

use std::path::{Path, PathBuf};

use btrust_machine::conformance::{Case, Exclusions, Summary};

/// The share of the recorded executions that must pass, in percent.
const PASSED_PERCENT_MIN: usize = 98;

/// The most that may be excluded.
const EXCLUDED_MAX: usize = 10;

/// `ASL_CONFORMANCE`, else the folder beside the project.
fn folder() -> PathBuf {
    std::env::var_os("ASL_CONFORMANCE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/asl-conformance"),
        PathBuf::from,
    )
}

#[test]
fn recorded_executions_happen_again() {
    let folder = folder();
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("skipped: there is no folder {}", folder.display());
        return;
    };
    let mut files: Vec<PathBuf> = entries
        .map(|it| it.unwrap().path())
        .filter(|it| it.extension().is_some_and(|it| it == "json"))
        .collect();
    files.sort();
    let exclusions: Exclusions =
        serde_json::from_str(include_str!("conformance-exclusions.json")).unwrap();
    let mut summary = Summary::default();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        let cases: Vec<Case> = serde_json::from_str(&text).unwrap();
        let name = file.file_name().unwrap().to_string_lossy();
        summary.add(&name, &cases, &exclusions);
    }
    println!("{:#}", serde_json::to_value(&summary).unwrap());
    assert!(
        summary.total * PASSED_PERCENT_MIN <= summary.passed * 100,
        "{} of {} passed",
        summary.passed,
        summary.total
    );
    assert!(
        summary.excluded <= EXCLUDED_MAX,
        "{} are excluded",
        summary.excluded
    );
    assert!(
        summary.stale_exclusions.is_empty(),
        "these pass and need no exclusion: {:?}",
        summary.stale_exclusions
    );
}
