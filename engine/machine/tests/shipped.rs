//! Every definition that is shipped: the three gates against the contracts of the real steps, and its scenarios.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use btrust_machine::simulate::{self, MockFile, Options, Simulation};
use btrust_machine::{Catalogue, Contract, Definition, EventKind, Payload, check};
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

/// Every state of a level, with those of its branches, by name.
fn states_of(level: &Value) -> Vec<(String, &Value)> {
    let mut states = Vec::new();
    for (name, state) in level["States"].as_object().unwrap() {
        states.push((name.clone(), state));
        let branches = state["Branches"].as_array();
        states.extend(branches.into_iter().flatten().flat_map(states_of));
    }
    states
}

#[test]
fn a_question_expires_before_its_attempt_times_out() {
    let folder = project().join("workflows");
    for name in names(&folder) {
        let document = read(&folder.join(format!("{name}.json")));
        for (state, fields) in states_of(&document["definition"]) {
            let (ttl, timeout) = (
                &fields["Arguments"]["ttlSeconds"],
                &fields["TimeoutSeconds"],
            );
            if let Some(ttl) = ttl.as_u64() {
                assert!(ttl < timeout.as_u64().unwrap(), "{name}: `{state}`");
            }
        }
    }
}

/// What the scenarios of a definition have shown together.
#[derive(Default)]
struct Shown {
    decisions: BTreeSet<String>,
    states: BTreeSet<String>,
    /// State and outcome of every step that has ended.
    outcomes: BTreeSet<(String, String)>,
}

impl Shown {
    fn add(&mut self, simulation: &Simulation) {
        let decision = simulation.state.decision().map(str::to_owned);
        self.decisions.extend(decision);
        for event in &simulation.events {
            match &event.kind {
                EventKind::StateEntered { name, .. } => {
                    self.states.insert(name.clone());
                }
                EventKind::TaskSucceeded {
                    name,
                    outcome: Some(outcome),
                    ..
                } => {
                    self.outcomes.insert((name.clone(), outcome.clone()));
                }
                _ => {}
            }
        }
    }
}

#[test]
fn every_scenario_of_a_shipped_definition_ends_as_expected() {
    let catalogue = catalogue();
    let folder = project().join("workflows");
    let mut failures = Vec::new();
    for name in names(&folder) {
        let document = read(&folder.join(format!("{name}.json")));
        let definition = Definition::parse(&document);
        let definition = definition.and_then(|it| it.with_catalogue(&catalogue));
        let definition = definition.unwrap();
        let input = Payload::from(read(&folder.join(format!("inputs/{name}.json"))));
        let scenarios = MockFile::parse(&read(&folder.join(format!("scenarios/{name}.json"))));
        let cases = scenarios.unwrap().cases;
        assert!(SCENARIOS_MIN <= cases.len(), "{name} has {}", cases.len());
        let mut shown = Shown::default();
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
            shown.add(&simulation);
        }
        failures.extend(not_shown(&document, &definition, &catalogue, &shown));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Every decision, state and outcome that no scenario of a definition has.
fn not_shown(
    document: &Value,
    definition: &Definition,
    catalogue: &Catalogue,
    shown: &Shown,
) -> Vec<String> {
    let name = definition.name();
    let decisions = document["decisions"].as_object().unwrap().keys();
    let missing = decisions.filter(|it| !shown.decisions.contains(*it));
    let mut gaps: Vec<String> = missing
        .map(|it| format!("{name}: no scenario decides `{it}`"))
        .collect();
    let states = states_of(&document["definition"]);
    let missing = states.iter().filter(|it| !shown.states.contains(&it.0));
    gaps.extend(missing.map(|(it, _)| format!("{name}: no scenario enters `{it}`")));
    for (state, resource) in definition.steps() {
        for outcome in &catalogue.resolve(resource).unwrap().outcomes {
            let pair = (state.to_owned(), outcome.clone());
            if !shown.outcomes.contains(&pair) {
                gaps.push(format!("{name}: `{state}` never ends with `{outcome}`"));
            }
        }
    }
    gaps
}
