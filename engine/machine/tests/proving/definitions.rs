//! Random small definitions, written from random bytes.

use serde_json::{Map, Value, json};

/// What the random bytes decide.
pub struct Source<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Source<'b> {
    pub fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// A number below `n`; 0 when the bytes have run out.
    fn pick(&mut self, n: usize) -> usize {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        usize::from(byte) % n
    }
}

/// One level that is being written.
struct Level {
    prefix: String,
    n_states: usize,
    depth: usize,
    /// The variables of the levels around that may be read.
    around: Vec<String>,
}

impl Level {
    fn name(&self, index: usize) -> String {
        format!("{}S{index}", self.prefix)
    }

    /// A state of the level after `from`, or one of its two ends.
    fn forward(&self, source: &mut Source<'_>, from: usize) -> String {
        let index = from + 1 + source.pick(self.n_states + 1 - from);
        self.target(index)
    }

    fn anywhere(&self, source: &mut Source<'_>) -> String {
        let index = source.pick(self.n_states + 2);
        self.target(index)
    }

    fn target(&self, index: usize) -> String {
        match index.checked_sub(self.n_states) {
            None => self.name(index),
            Some(0) => format!("{}Good", self.prefix),
            Some(_) => format!("{}Bad", self.prefix),
        }
    }

    fn variable(&self, source: &mut Source<'_>) -> String {
        format!("v{}{}", self.prefix, source.pick(2))
    }

    /// A variable to read: mostly one of the level itself.
    fn readable(&self, source: &mut Source<'_>) -> String {
        match source.pick(4) {
            0 if !self.around.is_empty() => self.around[source.pick(self.around.len())].clone(),
            _ => self.variable(source),
        }
    }
}

const WORDS: [&str; 2] = ["verified", "locked"];

/// A whole document: `approved` needs evidence, `rejected` does not.
pub fn document(bytes: &[u8]) -> Value {
    let source = &mut Source::new(bytes);
    let mut tasks = Vec::new();
    let root = Level {
        prefix: String::new(),
        n_states: 2 + source.pick(3),
        depth: 0,
        around: Vec::new(),
    };
    let mut states = states(source, &root, &mut tasks);
    states.insert(
        "Good".to_owned(),
        json!({"Type": "Succeed", "Output": {"decision": "approved"}}),
    );
    states.insert(
        "Bad".to_owned(),
        json!({"Type": "Succeed", "Output": {"decision": "rejected"}}),
    );
    let mut evidence = Map::new();
    for index in 0..3 {
        if !tasks.is_empty() {
            let state = tasks.remove(source.pick(tasks.len()));
            evidence.insert(
                format!("e{index}"),
                json!({"state": state, "outcome": "verified"}),
            );
        }
    }
    let names: Vec<String> = evidence.keys().cloned().collect();
    let sets = match (source.pick(3), names.as_slice()) {
        (_, []) => json!({}),
        (0, [first, others @ ..]) if !others.is_empty() => json!({"anyOf": [[first], others]}),
        (1, [first, ..]) => json!({"anyOf": [[first]]}),
        (_, all) => json!({"anyOf": [all]}),
    };
    json!({"name": "random", "timeoutSeconds": 9_000_000, "evidence": evidence,
        "decisions": {"approved": sets, "rejected": {}},
        "definition": {"StartAt": "S0", "States": states}})
}

fn states(source: &mut Source<'_>, level: &Level, tasks: &mut Vec<String>) -> Map<String, Value> {
    let mut states = Map::new();
    for index in 0..level.n_states {
        let nests = level.depth < 2;
        let state = match source.pick(14) {
            0..=4 => task(source, level, index, tasks),
            5 | 6 => choice(source, level, index),
            7 => json!({"Type": "Pass", "Next": level.forward(source, index)}),
            8..=11 if nests => parallel(source, level, index, tasks),
            12 | 13 if nests => map(source, level, index, tasks),
            _ => task(source, level, index, tasks),
        };
        states.insert(level.name(index), state);
    }
    states
}

fn task(source: &mut Source<'_>, level: &Level, index: usize, tasks: &mut Vec<String>) -> Value {
    tasks.push(level.name(index));
    let mut state = json!({"Type": "Task", "Resource": "kyc:otp", "TimeoutSeconds": 900_000,
        "Arguments": {"channels": [], "phone": "1"}});
    // The first state mostly goes on, so that a definition is not over at once.
    state["Next"] = match source.pick(4) {
        0 => level.anywhere(source).into(),
        _ => level.forward(source, index).into(),
    };
    if source.pick(3) != 0 {
        state["Assign"] = json!({level.variable(source): "{% $states.result.outcome %}"});
    }
    if source.pick(2) == 0 {
        state["BTrust.Compensation"] =
            json!({"Resource": "kyc:consent", "TimeoutSeconds": 900_000});
    }
    if source.pick(6) == 0 && level.depth == 0 {
        state["BTrust.Keep"] = json!(["verified"]);
    }
    if source.pick(4) == 0 && level.depth == 0 {
        state["BTrust.Rework"] = json!(true);
    }
    handle(source, level, index, &mut state);
    state
}

/// Adds `Catch` and `Retry`, or not.
fn handle(source: &mut Source<'_>, level: &Level, index: usize, state: &mut Value) {
    let is_task = state["Type"] == "Task";
    let next = |source: &mut Source<'_>| {
        // Only a task may go back: without a pause a loop fills the history at once.
        if is_task && source.pick(4) == 0 {
            level.anywhere(source)
        } else {
            level.forward(source, index)
        }
    };
    state["Catch"] = match source.pick(9) {
        0 | 1 => json!([]),
        2 | 3 => json!([{"ErrorEquals": ["Down"], "Next": next(source)}]),
        4 => {
            json!([{"ErrorEquals": ["States.DataLimitExceeded", "Down"], "Next": next(source)}])
        }
        5 | 6 => {
            json!([{"ErrorEquals": ["Down"], "Next": next(source)}, {"ErrorEquals": ["States.ALL"], "Next": next(source)}])
        }
        _ => json!([{"ErrorEquals": ["States.ALL"], "Next": next(source)}]),
    };
    if source.pick(2) == 0 {
        for catcher in state["Catch"].as_array_mut().into_iter().flatten() {
            catcher["BTrust.Compensate"] = json!(true);
        }
    }
    if source.pick(5) == 0 {
        let error = ["Down", "States.ALL"][source.pick(2)];
        state["Retry"] = json!([{"ErrorEquals": [error], "IntervalSeconds": 1, "MaxAttempts": 1}]);
    }
}

fn choice(source: &mut Source<'_>, level: &Level, index: usize) -> Value {
    let (variable, other) = (level.readable(source), level.readable(source));
    let word = WORDS[source.pick(2)];
    json!({"Type": "Choice", "Choices": [
        {"Condition": format!("{{% ${variable} = '{word}' %}}"), "Next": level.forward(source, index)},
        {"Condition": format!("{{% $exists(${other}) and ${other} != 'locked' %}}"), "Next": level.forward(source, index)}],
        "Default": level.forward(source, index)})
}

/// A branch of `around`, or a processor; a distributed one does not see its variables.
fn branch(
    source: &mut Source<'_>,
    around: &Level,
    prefix: String,
    sees_around: bool,
    tasks: &mut Vec<String>,
) -> Value {
    let mut readable = Vec::new();
    if sees_around {
        readable.clone_from(&around.around);
        readable.extend((0..2).map(|it| format!("v{}{it}", around.prefix)));
    }
    let level = Level {
        prefix,
        n_states: 1 + source.pick(2),
        depth: around.depth + 1,
        around: readable,
    };
    let mut states = states(source, &level, tasks);
    let variable = level.variable(source);
    states.insert(
        format!("{}Good", level.prefix),
        json!({"Type": "Succeed", "Output": format!("{{% $exists(${variable}) ? ${variable} : 'none' %}}")}),
    );
    let error = ["Down", "Broken"][source.pick(2)];
    states.insert(
        format!("{}Bad", level.prefix),
        json!({"Type": "Fail", "Error": error}),
    );
    json!({"StartAt": level.name(0), "States": states})
}

fn map(source: &mut Source<'_>, level: &Level, index: usize, tasks: &mut Vec<String>) -> Value {
    let name = level.name(index);
    let is_distributed = source.pick(3) == 0;
    let mut processor = branch(source, level, format!("{name}i"), !is_distributed, tasks);
    if is_distributed {
        processor["ProcessorConfig"] = json!({"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"});
    }
    let items: Value = match source.pick(5) {
        0 => json!([]),
        1 => json!([1, 2]),
        2 => json!("{% $states.context.Execution.Input.items %}"),
        _ => json!([1]),
    };
    let mut state = json!({"Type": "Map", "Items": items, "ItemProcessor": processor, "Next": level.forward(source, index)});
    if source.pick(4) == 0 {
        state["MaxConcurrency"] = json!(1);
    }
    if source.pick(4) == 0 {
        state["ToleratedFailureCount"] = json!(1);
    }
    if is_distributed && source.pick(2) == 0 {
        state["ResultWriter"] = json!({"Resource": "kyc:form"});
    }
    handle(source, level, index, &mut state);
    state
}

fn parallel(
    source: &mut Source<'_>,
    level: &Level,
    index: usize,
    tasks: &mut Vec<String>,
) -> Value {
    let name = level.name(index);
    let n_branches = 1 + source.pick(2);
    let branches: Vec<Value> = (0..n_branches)
        .map(|it| branch(source, level, format!("{name}b{it}"), true, tasks))
        .collect();
    let mut state =
        json!({"Type": "Parallel", "Branches": branches, "Next": level.forward(source, index)});
    let is_race = source.pick(3) == 0;
    if is_race {
        state["BTrust.Race"] = json!(true);
    }
    if source.pick(2) == 0 {
        let value = match source.pick(n_branches) {
            _ if is_race => "{% $states.result %}".to_owned(),
            item => format!("{{% $states.result[{item}] %}}"),
        };
        state["Assign"] = json!({level.variable(source): value});
    }
    handle(source, level, index, &mut state);
    state
}
