//! `btrust workflow test`: the simulator, on files.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use btrust_machine::simulate::{self, MockFile, Options, Simulation, TestCase};
use btrust_machine::{Definition, Event, Payload, Status};
use clap::Args;
use serde_json::{Value, json};

use super::{read_definition, read_json};

#[derive(Args)]
pub struct Test {
    file: PathBuf,
    /// The input of every case that has none of its own
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// What the tasks answer, and what is expected of the workflow
    #[arg(long, value_name = "FILE")]
    mocks: PathBuf,
    /// Run only this case
    #[arg(long, value_name = "NAME")]
    case: Option<String>,
    /// When the workflow starts, in milliseconds since 1970
    #[arg(long, value_name = "MS")]
    start: Option<i64>,
    /// Seed of jitter and random functions
    #[arg(long)]
    seed: Option<u64>,
    /// Print every case with its whole history as JSON
    #[arg(long)]
    json: bool,
}

/// A case that has run.
struct Outcome {
    case: TestCase,
    simulation: Simulation,
    violations: Vec<String>,
}

impl Test {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let definition = read_definition(&self.file)?;
        let input = match &self.input {
            Some(file) => Some(Payload::from(read_json(file)?)),
            None => None,
        };
        let mocks = MockFile::parse(&read_json(&self.mocks)?)
            .with_context(|| format!("{} has no mocks", self.mocks.display()))?;
        let mut outcomes = Vec::new();
        for case in self.choose(&definition, mocks)? {
            let name = case.name.clone();
            let outcome = self
                .run_case(&definition, input.as_ref(), case)
                .with_context(|| format!("case `{name}`"))?;
            outcomes.push(outcome);
        }
        if self.json {
            let shown: Vec<Value> = outcomes.iter().map(to_json).collect();
            say!("{:#}", Value::Array(shown));
        } else if let [outcome] = outcomes.as_slice() {
            print!("{}", simulate::timeline(&definition, &outcome.simulation));
            print_violations(outcome);
        } else {
            print_table(&outcomes);
        }
        Ok(if outcomes.iter().all(Outcome::is_good) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    /// The cases of this definition, or the one that was asked for.
    fn choose(&self, definition: &Definition, mocks: MockFile) -> anyhow::Result<Vec<TestCase>> {
        let belongs = |case: &TestCase| match &case.state_machine {
            None => true,
            // A bare state machine has no name.
            Some(machine) => definition.is_bare() || machine == definition.name(),
        };
        let cases: Vec<TestCase> = mocks.cases.into_iter().filter(|it| belongs(it)).collect();
        ensure!(
            !cases.is_empty(),
            "{} has no test case for `{}`",
            self.mocks.display(),
            definition.name()
        );
        let Some(name) = &self.case else {
            return Ok(cases);
        };
        let names: Vec<String> = cases.iter().map(|it| it.name.clone()).collect();
        let chosen: Vec<TestCase> = cases.into_iter().filter(|it| it.name == *name).collect();
        ensure!(
            !chosen.is_empty(),
            "there is no case `{name}`; there are {}",
            names.join(", ")
        );
        Ok(chosen)
    }

    fn run_case(
        &self,
        definition: &Definition,
        input: Option<&Payload>,
        case: TestCase,
    ) -> anyhow::Result<Outcome> {
        let Some(input) = case.input.as_ref().or(input) else {
            bail!("neither `--input` nor the case has an input");
        };
        if let Err(findings) = definition.check_input(input) {
            let shown: Vec<String> = findings.iter().map(super::show).collect();
            bail!(
                "the input does not fit `inputSchema`:\n{}",
                shown.join("\n")
            );
        }
        for state in case.mocks.states() {
            ensure!(
                definition.steps().any(|(it, _)| it == state),
                "there is no task `{state}` to mock"
            );
        }
        let mut options = Options::default();
        options.start_ms = self.start.unwrap_or(options.start_ms);
        options.seed = self.seed.unwrap_or(options.seed);
        let simulation = simulate::run(definition, input.clone(), &case.mocks, &options)?;
        let violations = match &case.expect {
            Some(expect) => expect.violations(&simulation),
            None => Vec::new(),
        };
        Ok(Outcome {
            case,
            simulation,
            violations,
        })
    }
}

impl Outcome {
    /// A case with expectations is good when they are met; one without, when its workflow succeeds.
    fn is_good(&self) -> bool {
        match self.case.expect {
            Some(_) => self.violations.is_empty(),
            None => self.simulation.state.status() == Status::Succeeded,
        }
    }

    /// How the workflow ended, in a few words.
    fn ending(&self) -> String {
        let state = &self.simulation.state;
        let status = simulate::status_word(state.status());
        match state.decision().or(state.error()) {
            Some(detail) => format!("{status}: {detail}"),
            None => status.to_owned(),
        }
    }

    fn took_ms(&self) -> i64 {
        let state = &self.simulation.state;
        state.closed_ms().unwrap_or_default() - state.started_ms()
    }
}

fn print_violations(outcome: &Outcome) {
    for violation in &outcome.violations {
        say!("    expectation not met: {violation}");
    }
}

fn print_table(outcomes: &[Outcome]) {
    let widest = |texts: &dyn Fn(&Outcome) -> String| {
        let widths = outcomes.iter().map(|it| texts(it).chars().count());
        widths.max().unwrap_or_default()
    };
    let names = widest(&|it| it.case.name.clone());
    let endings = widest(&Outcome::ending);
    for outcome in outcomes {
        say!(
            "{:4}  {:names$}  {:endings$}  {}",
            if outcome.is_good() { "ok" } else { "FAIL" },
            outcome.case.name,
            outcome.ending(),
            simulate::span(outcome.took_ms()),
        );
        print_violations(outcome);
    }
    let n_good = outcomes.iter().filter(|it| it.is_good()).count();
    say!("{n_good} of {} cases as expected", outcomes.len());
}

fn to_json(outcome: &Outcome) -> Value {
    let state = &outcome.simulation.state;
    let events: Vec<Value> = outcome
        .simulation
        .events
        .iter()
        .map(Event::to_step_functions)
        .collect();
    json!({
        "case": outcome.case.name,
        "ok": outcome.is_good(),
        "status": simulate::status_word(state.status()),
        "decision": state.decision(),
        "output": state.output(),
        "error": state.error(),
        "cause": state.cause(),
        "evidence": state.evidence(),
        "tookMs": outcome.took_ms(),
        "violations": outcome.violations,
        "events": events,
    })
}
