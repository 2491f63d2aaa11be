//! Every definition that is shipped: the three gates against the contracts of the real steps, and its scenarios.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use btrust_machine::simulate::{self, MockFile, Options};
use btrust_machine::{Catalogue, Contract, Definition, Payload, check};
use serde_json::Value;

/// The longest that the gates may take.
///
/// Source: the promise of the product for the shipped definitions.
const GATES_MAX: Duration = Duration::from_secs(1);

/// Runs of the gates, of which the fastest counts: other tests may run beside.
const RUNS: usize = 3;

/// The fewest scenarios of a definition.
const SCENARIOS_MIN: usize = 6;

/// The definitions that have to be there.
const SHIPPED: [&str; 4] = ["age-check", "agent-assisted", "bank-onboarding", "re-kyc"];

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(file: &Path) -> Value {
    let text = std::fs::read_to_string(file).unwrap_or_else(|_| panic!("no {}", file.display()));
    serde_json::from_str(&text).unwrap_or_else(|it| panic!("{}: {it}", file.display()))
}

/// The names of the JSON files of a folder, without their ending.
fn names(folder: &Path) -> BTreeSet<String> {
    let files = std::fs::read_dir(folder).unwrap();
    let files = files.map(|it| it.unwrap().path());
    let json = files.filter(|it| it.extension().is_some_and(|it| it == "json"));
    json.map(|it| it.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect()
}

/// The contracts as they are committed; a test of the schemas proves them fresh.
fn catalogue() -> Catalogue {
    let folder = project().join("schemas/json");
    let mut steps = BTreeMap::new();
    for name in names(&folder) {
        let Some(step) = name.strip_prefix("step-") else {
            continue;
        };
        let contract = read(&folder.join(format!("{name}.json")));
        let outcomes = contract["outcomes"].as_array().unwrap();
        let outcomes = outcomes.iter().map(|it| it.as_str().unwrap().to_owned());
        let contract = Contract {
            step: step.to_owned(),
            major: u32::try_from(contract["major"].as_u64().unwrap()).unwrap(),
            outcomes: outcomes.collect(),
            arguments_schema: contract["arguments"].clone(),
            output_schema: contract["output"].clone(),
            hash: format!("sha256:{step}"),
        };
        steps.insert(step.to_owned(), contract);
    }
    Catalogue { steps }
}

#[test]
fn every_shipped_definition_has_an_input_and_scenarios() {
    let folder = project().join("workflows");
    let shipped = names(&folder);
    assert_eq!(shipped, SHIPPED.map(str::to_owned).into());
    assert_eq!(names(&folder.join("inputs")), shipped);
    assert_eq!(names(&folder.join("scenarios")), shipped);
    for name in shipped {
        let definition = read(&folder.join(format!("{name}.json")));
        assert_eq!(
            definition["name"], name,
            "a file has the name of its definition"
        );
    }
}

#[test]
fn every_shipped_definition_is_valid_sound_and_proven_within_a_second() {
    let catalogue = catalogue();
    let folder = project().join("workflows");
    for name in names(&folder) {
        let document = read(&folder.join(format!("{name}.json")));
        let mut fastest = Duration::MAX;
        for _ in 0..RUNS {
            let began = Instant::now();
            let report = check(&document, &catalogue);
            fastest = fastest.min(began.elapsed());
            assert!(report.findings.is_empty(), "{name}: {:#?}", report.findings);
            let proof = report.proof.unwrap();
            assert_eq!(proof.counterexamples, [], "{name}");
            println!("{name}: {} states in {fastest:?}", proof.states_explored);
        }
        assert!(fastest <= GATES_MAX, "{name}: {fastest:?}");
    }
}

#[test]
fn every_proof_rests_on_the_evidence_of_every_set() {
    let catalogue = catalogue();
    let folder = project().join("workflows");
    for name in names(&folder) {
        let document = read(&folder.join(format!("{name}.json")));
        for evidence in document["evidence"].as_object().unwrap().keys() {
            // A state that never carries this evidence makes the decision unsafe, or the evidence is decoration.
            let mut weakened = document.clone();
            weakened["evidence"][evidence]["with"] = serde_json::json!({"neverThere": true});
            let report = check(&weakened, &catalogue);
            let counterexamples = report.proof.unwrap().counterexamples;
            assert!(
                !counterexamples.is_empty(),
                "{name}: `{evidence}` is not needed"
            );
        }
    }
}

#[test]
fn every_scenario_of_a_shipped_definition_ends_as_expected() {
    let catalogue = catalogue();
    let folder = project().join("workflows");
    let mut failures = Vec::new();
    for name in names(&folder) {
        let definition = Definition::parse(&read(&folder.join(format!("{name}.json"))))
            .and_then(|it| it.with_catalogue(&catalogue))
            .unwrap();
        let input = Payload::from(read(&folder.join(format!("inputs/{name}.json"))));
        let scenarios = MockFile::parse(&read(&folder.join(format!("scenarios/{name}.json"))));
        let cases = scenarios.unwrap().cases;
        assert!(SCENARIOS_MIN <= cases.len(), "{name} has {}", cases.len());
        let mut decided = BTreeSet::new();
        let mut visited = BTreeSet::new();
        for case in &cases {
            let input = case.input.as_ref().unwrap_or(&input);
            let title = format!("{name}, {}", case.name);
            assert_eq!(case.state_machine.as_deref(), Some(name.as_str()));
            assert!(definition.check_input(input).is_ok(), "{title}: the input");
            let ran = simulate::run(&definition, input.clone(), &case.mocks, &Options::default());
            let simulation = ran.unwrap_or_else(|it| panic!("{title}: {it}"));
            let expect = case.expect.as_ref();
            let expect = expect.unwrap_or_else(|| panic!("{title}: expects nothing"));
            let violations = expect.violations(&simulation);
            failures.extend(violations.iter().map(|it| format!("{title}: {it}")));
            decided.extend(simulation.state.decision().map(str::to_owned));
            visited.extend(simulation.events.iter().filter_map(|it| {
                let event = it.to_step_functions();
                let name = event.pointer("/stateEnteredEventDetails/name")?;
                name.as_str().map(str::to_owned)
            }));
        }
        let decisions = read(&folder.join(format!("{name}.json")))["decisions"].take();
        let decisions: BTreeSet<String> = decisions.as_object().unwrap().keys().cloned().collect();
        assert_eq!(decided, decisions, "{name}: every decision has a scenario");
        for (state, _) in definition.steps() {
            assert!(
                visited.contains(state),
                "{name}: no scenario enters {state}"
            );
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
