//! What fuzzing feeds the machine: mutated definitions, grown expressions, random commands.
//!
//! Everything is made of a list of bytes, the choices, so that proptest can shrink whatever fails
//! without knowing what it means. The three targets return how they went; a panic is caught by who
//! calls them.

use std::path::{Path, PathBuf};
use std::time::Instant;

use btrust_machine::{Command, Definition, Env, Refusal, State, apply, check};
use serde_json::{Value, json};

use crate::support::catalogue;

/// The longest that a transition with one expression may take, in milliseconds of CPU time.
pub const MILLIS_MAX: f64 = 100.0;

/// How one input went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ran {
    /// An evaluation took more than [`MILLIS_MAX`], or the wall-clock guard ended it.
    pub over_limit: bool,
    /// Whether the machine accepted the input at all.
    pub accepted: bool,
    pub millis: f64,
}

/// The choices that make one input; when they are used up, every choice is the first.
struct Choices<'b> {
    bytes: &'b [u8],
    next: usize,
}

impl<'b> Choices<'b> {
    fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, next: 0 }
    }

    fn byte(&mut self) -> u8 {
        let byte = self.bytes.get(self.next).copied().unwrap_or(0);
        self.next += 1;
        byte
    }

    fn is_used_up(&self) -> bool {
        self.bytes.len() <= self.next
    }

    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        let number = usize::from(self.byte());
        if bound <= 256 {
            number % bound.max(1)
        } else {
            (number << 8 | usize::from(self.byte())) % bound
        }
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// The documents that are mutated: what the project ships and, where it is at hand, what was
/// recorded from AWS.
pub fn corpus() -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let recorded = std::env::var_os("ASL_CONFORMANCE").map_or_else(
        || root.join("../../../shared/asl-conformance"),
        PathBuf::from,
    );
    let mut documents = Vec::new();
    for folder in ["../../workflows", "tests/golden/definitions"] {
        documents.extend(read(&root.join(folder)));
    }
    for cases in read(&recorded) {
        let cases = cases.as_array().cloned().unwrap_or_default();
        documents.extend(cases.iter().map(|case| case["definition"].clone()));
    }
    documents
}

/// Parses a document with an envelope, or a bare one.
fn parse(document: &Value) -> Option<Definition> {
    if document.get("definition").is_some() {
        Definition::parse(document).ok()
    } else {
        Definition::parse_states(document).ok()
    }
}

fn read(folder: &Path) -> Vec<Value> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|it| it.path()).collect();
    paths.sort();
    let texts = paths
        .iter()
        .filter(|it| it.extension().is_some_and(|it| it == "json"))
        .filter_map(|it| std::fs::read_to_string(it).ok());
    texts
        .filter_map(|it| serde_json::from_str(&it).ok())
        .collect()
}

/// Scalars that have broken parsers before.
fn any_scalar(choices: &mut Choices<'_>) -> Value {
    match choices.below(24) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(0),
        3 => json!(-1),
        4 => json!(i64::MAX),
        5 => json!(i64::MIN),
        6 => json!(u64::MAX),
        7 => json!(1e308),
        8 => json!(0.1),
        9 => json!(99_999_999),
        10 => json!(""),
        11 => json!("$"),
        12 => json!("$.a[0]"),
        13 => json!("$$.Execution.Id"),
        14 => json!("States.Format('{}', $.a)"),
        15 => json!("States.ALL"),
        16 => json!("\u{1f600}\u{0}\u{feff}e\u{301}"),
        17 => json!("2026-01-01T00:00:00Z"),
        18 => json!("x".repeat(300)),
        19 => json!([]),
        20 => json!({}),
        21 => json!("JSONata"),
        22 => json!("JSONPath"),
        _ => json!(format!("{{% {} %}}", any_expression(choices, 3))),
    }
}

const KEYS: [&str; 44] = [
    "Type",
    "Next",
    "End",
    "StartAt",
    "States",
    "Choices",
    "Default",
    "Condition",
    "Retry",
    "Catch",
    "ErrorEquals",
    "MaxAttempts",
    "BackoffRate",
    "IntervalSeconds",
    "MaxDelaySeconds",
    "JitterStrategy",
    "Seconds",
    "Timestamp",
    "TimeoutSeconds",
    "HeartbeatSeconds",
    "Assign",
    "Output",
    "Arguments",
    "Items",
    "ItemSelector",
    "ItemProcessor",
    "ProcessorConfig",
    "MaxConcurrency",
    "ToleratedFailurePercentage",
    "Branches",
    "Resource",
    "Parameters",
    "ResultSelector",
    "InputPath",
    "OutputPath",
    "ResultPath",
    "QueryLanguage",
    "BTrust.Race",
    "BTrust.Rework",
    "BTrust.Keep",
    "BTrust.Compensation",
    "evidence",
    "decisions",
    "Variable",
];

const TYPES: [&str; 8] = [
    "Task", "Pass", "Choice", "Wait", "Succeed", "Fail", "Parallel", "Map",
];

/// Changes some places of a document.
fn mutate(document: &mut Value, others: &[Value], choices: &mut Choices<'_>) {
    let n_changes = 1 + choices.below(6).saturating_sub(2);
    for _ in 0..n_changes {
        let mut paths = Vec::new();
        pointers(document, String::new(), &mut paths);
        let path = choices.pick(&paths).clone();
        let change = choices.below(8);
        let donor = choices.pick(others);
        let mut places = Vec::new();
        pointers(donor, String::new(), &mut places);
        let place = choices.pick(&places).clone();
        let Some(value) = document.pointer_mut(&path) else {
            continue;
        };
        match (change, &mut *value) {
            (0, Value::Object(fields)) => {
                let keys: Vec<String> = fields.keys().cloned().collect();
                if !keys.is_empty() {
                    fields.shift_remove(choices.pick(&keys));
                }
            }
            (1, Value::Object(fields)) => {
                fields.insert((*choices.pick(&KEYS)).to_owned(), any_scalar(choices));
            }
            (2, Value::Object(fields)) if fields.contains_key("Type") => {
                fields.insert("Type".to_owned(), json!(choices.pick(&TYPES)));
            }
            (3, Value::Array(items)) if !items.is_empty() => {
                let item = choices.pick(items).clone();
                items.push(item);
            }
            (4, Value::Array(items)) => items.clear(),
            (5, Value::Object(fields)) => {
                let grafted = donor.pointer(&place).cloned().unwrap_or_default();
                fields.insert((*choices.pick(&KEYS)).to_owned(), grafted);
            }
            (6, _) => *value = donor.pointer(&place).cloned().unwrap_or_default(),
            _ => *value = any_scalar(choices),
        }
    }
}

fn pointers(value: &Value, path: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, it) in fields {
                let key = key.replace('~', "~0").replace('/', "~1");
                pointers(it, format!("{path}/{key}"), found);
            }
        }
        Value::Array(items) => {
            for (index, it) in items.iter().enumerate() {
                pointers(it, format!("{path}/{index}"), found);
            }
        }
        _ => {}
    }
    found.push(path);
}

const ATOMS: [&str; 42] = [
    "1",
    "0",
    "-1",
    "0.5",
    "1e300",
    "9007199254740993",
    "'a'",
    "''",
    "'\u{1f600}e\u{301}'",
    "true",
    "false",
    "null",
    "$",
    "$$",
    "$x",
    "$f",
    "a",
    "b",
    "items",
    "*",
    "**",
    "%",
    "$states",
    "$states.input",
    "$states.input.items",
    "$states.input.text",
    "$states.input.deep",
    "$states.context.Execution.Id",
    "/a+/",
    "/(a|b)*c/i",
    "/(?=a)/",
    "[1..100]",
    "[1..10000]",
    "[]",
    "{}",
    "()",
    "'%25'",
    "'[Y0001]-[M]'",
    "'#,##0.00'",
    "'2026-01-01T00:00:00Z'",
    "`a b`",
    "?",
];

const CALLS: [&str; 66] = [
    "abs",
    "append",
    "assert",
    "average",
    "base64decode",
    "base64encode",
    "boolean",
    "ceil",
    "contains",
    "count",
    "decodeUrl",
    "decodeUrlComponent",
    "distinct",
    "each",
    "encodeUrl",
    "encodeUrlComponent",
    "error",
    "exists",
    "filter",
    "floor",
    "formatBase",
    "formatInteger",
    "formatNumber",
    "fromMillis",
    "join",
    "keys",
    "length",
    "lookup",
    "lowercase",
    "map",
    "match",
    "max",
    "merge",
    "millis",
    "min",
    "not",
    "now",
    "number",
    "pad",
    "parseInteger",
    "power",
    "random",
    "reduce",
    "replace",
    "reverse",
    "round",
    "shuffle",
    "sift",
    "single",
    "sort",
    "split",
    "spread",
    "sqrt",
    "string",
    "substring",
    "substringAfter",
    "substringBefore",
    "sum",
    "toMillis",
    "trim",
    "type",
    "uppercase",
    "zip",
    "partition",
    "range",
    "hash",
];

const OPERATORS: [&str; 22] = [
    "+", "-", "*", "/", "%", "&", "=", "!=", "<", "<=", ">", ">=", " and ", " or ", " in ", "..",
    "~>", ".", "??", "?:", "^", ":=",
];

/// An expression that mostly parses, nested at most `depth` levels.
fn any_expression(choices: &mut Choices<'_>, depth: usize) -> String {
    if depth == 0 || choices.is_used_up() {
        return (*choices.pick(&ATOMS)).to_owned();
    }
    let inner = |choices: &mut Choices<'_>| any_expression(choices, depth - 1);
    match choices.below(24) {
        0..=3 => (*choices.pick(&ATOMS)).to_owned(),
        4..=7 => {
            let name = *choices.pick(&CALLS);
            let n_args = choices.below(4);
            let args: Vec<String> = (0..n_args).map(|_| inner(choices)).collect();
            format!("${name}({})", args.join(", "))
        }
        8..=10 => {
            let left = inner(choices);
            let operator = *choices.pick(&OPERATORS);
            format!("{left}{operator}{}", inner(choices))
        }
        11 => format!("{}.{}", inner(choices), inner(choices)),
        12 => format!("{}[{}]", inner(choices), inner(choices)),
        13 => format!("({}; {})", inner(choices), inner(choices)),
        14 => format!("[{}, {}]", inner(choices), inner(choices)),
        15 => format!("{{'a': {}, 'b': {}}}", inner(choices), inner(choices)),
        16 => format!(
            "{}{{$string({}): {}}}",
            inner(choices),
            inner(choices),
            inner(choices)
        ),
        17 => format!(
            "{} ? {} : {}",
            inner(choices),
            inner(choices),
            inner(choices)
        ),
        18 => format!("($x := {}; {})", inner(choices), inner(choices)),
        19 => format!(
            "($f := function($x) {{ {} }}; $f({}))",
            inner(choices),
            inner(choices)
        ),
        20 => {
            let name =
                *choices.pick(&["map", "filter", "reduce", "sort", "sift", "each", "single"]);
            format!(
                "${name}({}, function($x, $i) {{ {} }})",
                inner(choices),
                inner(choices)
            )
        }
        21 => format!("{}^(>{})", inner(choices), inner(choices)),
        22 => format!(
            "{} ~> |{}|{}|",
            inner(choices),
            inner(choices),
            inner(choices)
        ),
        _ => format!(
            "{}@$x.{}#$i[{}]",
            inner(choices),
            inner(choices),
            inner(choices)
        ),
    }
}

/// Damages a source as a typing error, or an attacker, would.
fn damage(source: &str, choices: &mut Choices<'_>) -> String {
    let mut characters: Vec<char> = source.chars().collect();
    // Most sources stay whole: what does not parse tests only the parser.
    for _ in 0..choices.below(8).saturating_sub(5) {
        let at = choices.below(characters.len() + 1);
        match choices.below(4) {
            0 if at < characters.len() => {
                characters.remove(at);
            }
            1 => characters.insert(
                at,
                *choices.pick(&[
                    '(', ')', '[', '{', '|', '$', '\'', '/', '\\', '`', '\u{0}', 'é',
                ]),
            ),
            2 => {
                let token: Vec<char> = choices.pick(&ATOMS).chars().collect();
                characters.splice(at..at, token);
            }
            _ => {
                let end = (at + choices.below(8)).min(characters.len());
                let copy: Vec<char> = characters[at..end].to_vec();
                characters.splice(at..at, copy);
            }
        }
    }
    characters.into_iter().collect()
}

/// What the fuzzed expressions see.
fn input() -> Value {
    let mut deep = json!("end");
    for _ in 0..40 {
        deep = json!({"a": [deep]});
    }
    let items: Vec<Value> = (0..200)
        .map(|it| json!({"a": it, "b": format!("b{}", it % 5), "items": [it, null, "x"]}))
        .collect();
    json!({"items": items, "text": "aab ".repeat(500), "deep": deep, "a": {"b": [1, [2, 3]]}, "b": null})
}

fn env(choices: &mut Choices<'_>, now_ms: i64) -> Env {
    Env {
        now_ms,
        seed: u64::from(choices.byte()),
    }
}

fn start(input: Value) -> Command {
    Command::Start {
        workflow: "wf_00000000000000000000000000000001".to_owned(),
        definition: "fuzzed".to_owned(),
        version: 1,
        input: input.into(),
        origin: btrust_machine::Origin::default(),
    }
}

/// The CPU time of this thread in milliseconds where Linux says it, else the time of day.
fn thread_millis(since: Instant) -> f64 {
    let used = std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|it| it.split(' ').next()?.parse::<f64>().ok());
    used.map_or(since.elapsed().as_secs_f64() * 1e3, |it| it / 1e6)
}

/// Carries a command out, and says whether that took longer than it may.
fn timed(
    ran: &mut Ran,
    definition: &Definition,
    state: Option<&State>,
    command: &Command,
    env: &Env,
) -> Option<State> {
    let started = Instant::now();
    let applied = apply(definition, state.cloned(), command, env);
    let mut millis = started.elapsed().as_secs_f64() * 1e3;
    if MILLIS_MAX < millis {
        // The machine may have been busy with something else: again, by the thread's own clock.
        let before = thread_millis(started);
        let _ = apply(definition, state.cloned(), command, env);
        millis = thread_millis(started) - before;
    }
    ran.millis = ran.millis.max(millis);
    ran.over_limit |=
        MILLIS_MAX < millis || matches!(applied, Err(Refusal::EvaluationLimit { .. }));
    applied.ok().map(|it| it.state)
}

/// A mutated definition is parsed, checked and, if it is valid, started.
pub fn run_definition(corpus: &[Value], bytes: &[u8]) -> Ran {
    let mut choices = Choices::new(bytes);
    let mut document = choices.pick(corpus).clone();
    mutate(&mut document, corpus, &mut choices);
    let report = check(&document, &catalogue());
    // What a report says can always be written.
    assert!(serde_json::to_string(&report.findings).is_ok());
    let mut ran = Ran::default();
    if let Some(definition) = parse(&document) {
        ran.accepted = true;
        let env = env(&mut choices, 1_767_225_600_000);
        timed(&mut ran, &definition, None, &start(input()), &env);
    }
    ran
}

/// The source that these bytes stand for.
pub fn expression_source(bytes: &[u8]) -> String {
    let mut choices = Choices::new(bytes);
    let source = any_expression(&mut choices, 5);
    damage(&source, &mut choices)
}

/// An expression is parsed and evaluated twice, with the same ending.
pub fn run_expression(input: &Value, bytes: &[u8]) -> Ran {
    let source = expression_source(bytes);
    let document = json!({"name": "fuzzed", "definition": {"StartAt": "S", "States": {
        "S": {"Type": "Pass", "Output": {"out": format!("{{% {source} %}}")}, "End": true}}}});
    let mut ran = Ran::default();
    let Ok(definition) = Definition::parse(&document) else {
        return ran;
    };
    ran.accepted = true;
    let env = Env {
        now_ms: 1_767_225_600_000,
        seed: 3,
    };
    let first = timed(&mut ran, &definition, None, &start(input.clone()), &env);
    if bytes.len().is_multiple_of(8) {
        let second = timed(&mut ran, &definition, None, &start(input.clone()), &env);
        assert_eq!(first, second, "the same every time");
    }
    if let Some(state) = first {
        // A snapshot can be read back, however deep what the expression gave is.
        let text = serde_json::to_string(&state).expect("a state can be written");
        let read: State = serde_json::from_str(&text).expect("a state can be read back");
        assert_eq!(read.status(), state.status());
    }
    ran
}

const ENDINGS: [&str; 8] = [
    "verified",
    "locked",
    "accepted",
    "unreadable",
    "match",
    "approved",
    "resubmit",
    "nonsense",
];

/// A command, mostly aimed at what is open.
fn any_command(state: &State, choices: &mut Choices<'_>) -> Option<Command> {
    let turns = state.open_turns();
    let prompts = state.open_prompts();
    let aims = choices.below(8) != 0;
    let (task, attempt, turn) = if aims && !turns.is_empty() {
        let open = choices.pick(&turns);
        (open.task, open.attempt, open.turn)
    } else {
        let mut any = || u32::try_from(1 + choices.below(5)).unwrap_or(1);
        (any(), any(), any())
    };
    let prompt = if aims && !prompts.is_empty() {
        choices.pick(&prompts).prompt
    } else {
        u32::try_from(choices.below(6)).unwrap_or(0)
    };
    let tokens = state.open_tokens();
    let token = if aims && !tokens.is_empty() {
        (*choices.pick(&tokens)).to_owned()
    } else {
        String::new()
    };
    let digest = format!("{:064}", choices.below(3));
    let payload = any_scalar(choices);
    let result = match choices.below(6) {
        0..=2 => json!({"type": "complete", "outcome": choices.pick(&ENDINGS), "output": payload}),
        3 => {
            json!({"type": "ask", "audience": "applicant", "kind": "code", "body": payload, "state": {},
            "expiresInMs": 1000 * i64::try_from(choices.below(400)).unwrap_or(1), "wakeInMs": (choices.below(2) == 0).then_some(5_000)})
        }
        4 => json!({"type": "output", "output": payload}),
        _ => {
            json!({"type": "fail", "error": choices.pick(&["Down", "States.Timeout", ""]), "cause": "c"})
        }
    };
    let command = match choices.below(12) {
        0..=5 => {
            json!({"type": "turnResult", "task": task, "attempt": attempt, "turn": turn, "digest": digest, "result": result})
        }
        6 => {
            json!({"type": "checkpoint", "task": task, "attempt": attempt, "turn": turn, "state": payload})
        }
        7 | 8 => json!({"type": "submit", "prompt": prompt, "digest": digest, "body": payload,
            "submitter": {"kind": "applicant", "id": "a"}}),
        9 => match choices.below(4) {
            0 => json!({"type": "tokenFailure", "token": token, "error": "Down", "cause": "c"}),
            1 => json!({"type": "tokenHeartbeat", "token": token}),
            2 => json!({"type": "heartbeatMissed", "task": task, "attempt": attempt, "turn": turn}),
            _ => json!({"type": "tokenSuccess", "token": token, "result": payload}),
        },
        10 => json!({"type": "cancel", "reason": null}),
        _ => json!({"type": "tick"}),
    };
    serde_json::from_value(command).ok()
}

/// Random commands on a definition, which may be a mutated one.
pub fn run_events(corpus: &[Value], bytes: &[u8]) -> Ran {
    let mut choices = Choices::new(bytes);
    let mut ran = Ran::default();
    let mut document = choices.pick(corpus).clone();
    if choices.below(2) == 0 {
        mutate(&mut document, corpus, &mut choices);
    }
    let Some(definition) = parse(&document) else {
        return ran;
    };
    ran.accepted = true;
    let mut now_ms = 1_767_225_600_000;
    let first = env(&mut choices, now_ms);
    let Some(mut state) = timed(&mut ran, &definition, None, &start(input()), &first) else {
        return ran;
    };
    while !choices.is_used_up() {
        now_ms += 1000 * i64::try_from(choices.below(300)).unwrap_or(0);
        let Some(command) = any_command(&state, &mut choices) else {
            continue;
        };
        let env = env(&mut choices, now_ms);
        if let Some(next) = timed(&mut ran, &definition, Some(&state), &command, &env) {
            state = next;
        }
    }
    ran
}

/// Which of the three to run, with what it needs.
pub struct Target {
    pub name: &'static str,
    corpus: Vec<Value>,
    input: Value,
}

impl Target {
    pub const NAMES: [&'static str; 3] = ["definition", "expression", "events"];

    pub fn new(name: &'static str) -> Self {
        let corpus = corpus();
        assert!(!corpus.is_empty(), "there are definitions to begin with");
        Self {
            name,
            corpus,
            input: input(),
        }
    }

    pub fn run(&self, bytes: &[u8]) -> Ran {
        match self.name {
            "definition" => run_definition(&self.corpus, bytes),
            "expression" => run_expression(&self.input, bytes),
            _ => run_events(&self.corpus, bytes),
        }
    }
}
