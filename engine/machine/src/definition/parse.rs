//! Parses the states: the rules of the Amazon States Language.

mod children;
mod continuation;
mod extensions;
mod handlers;
mod kinds;
mod labels;
mod maps;
mod paths;
mod tasks;

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};

pub use labels::TaskLabels;

use super::reader::Reader;
use super::states::{Kind, Language, Machine, Next, StateDef};
use super::template::Template;
use crate::finding::at;
use crate::limits::{STATE_NAME_CHARS_MAX, STATES_MAX};

/// Fields that every state type may have.
const COMMON: [&str; 4] = ["Type", "Comment", "QueryLanguage", "Assign"];

/// Fields that only a JSONPath state has; it has them in place of `Arguments` and `Output`.
const JSONPATH: [&str; 17] = [
    "InputPath",
    "Parameters",
    "ResultSelector",
    "ResultPath",
    "OutputPath",
    "Result",
    "SecondsPath",
    "TimestampPath",
    "TimeoutSecondsPath",
    "HeartbeatSecondsPath",
    "ErrorPath",
    "CausePath",
    "ItemsPath",
    "MaxConcurrencyPath",
    "ToleratedFailureCountPath",
    "ToleratedFailurePercentagePath",
    "Variable",
];

/// Fields that only a JSONata state has.
const JSONATA: [&str; 3] = ["Arguments", "Output", "Items"];

/// Our extensions; a definition without them is plain ASL.
pub(super) const REWORK: &str = "BTrust.Rework";
pub(super) const KEEP: &str = "BTrust.Keep";
pub(super) const COMPENSATION: &str = "BTrust.Compensation";
pub(super) const COMPENSATE: &str = "BTrust.Compensate";
pub(super) const RACE: &str = "BTrust.Race";
pub(super) const LABELS: &str = "BTrust.Labels";
pub(super) const CONTINUE: &str = "BTrust.ContinueAsNew";

/// Parses the whole `definition` and, where the document carries them, the outcomes of its contracts.
pub(super) fn root(
    reader: &mut Reader,
    value: &Value,
    pointer: &str,
    contracts: Option<&Value>,
) -> Option<Machine> {
    let mut machine = level(reader, value, pointer, &["Version", "TimeoutSeconds"])?;
    if !reader.is_bare && value.get("TimeoutSeconds").is_some() {
        reader.error(
            "timeout_misplaced",
            &at(pointer, "TimeoutSeconds"),
            "the time limit of the whole workflow belongs to the envelope",
            "write it as `timeoutSeconds` beside `definition`",
        );
    }
    check_names(reader, &machine, pointer);
    check_scopes(reader, &machine, &BTreeSet::new());
    if let Some(contracts) = contracts {
        read_contracts(reader, contracts, &mut machine);
    }
    extensions::check(reader, &machine, false);
    children::check(reader, &machine);
    Some(machine)
}

/// Parses one level: the definition itself, or a branch.
pub(super) fn level(
    reader: &mut Reader,
    value: &Value,
    pointer: &str,
    more: &[&str],
) -> Option<Machine> {
    let fields = reader.object(value, pointer)?;
    let known = [&["Comment", "QueryLanguage", "StartAt", "States"], more].concat();
    reader.only(fields, pointer, &known);
    let around = reader.language;
    read_language(reader, fields, pointer);
    let start_at = reader
        .required_text(fields, "StartAt", pointer)
        .unwrap_or_default()
        .to_owned();
    let Some(states) = fields.get("States") else {
        reader.missing("States", pointer);
        return None;
    };
    let level_pointer = at(pointer, "States");
    let states = reader.object(states, &level_pointer)?;
    let mut machine = Machine {
        start_at,
        states: Vec::new(),
        by_name: HashMap::new(),
    };
    for (name, state) in states {
        let state_pointer = at(&level_pointer, name);
        if let Some(state) = read_state(reader, name, state, &state_pointer) {
            machine.by_name.insert(name.clone(), machine.states.len());
            machine.states.push(state);
        }
    }
    reader.language = around;
    check_targets(reader, &machine, states, pointer);
    Some(machine)
}

/// Takes the query language that is written here, if one is.
fn read_language(reader: &mut Reader, fields: &Map<String, Value>, pointer: &str) {
    match reader.text(fields, "QueryLanguage", pointer) {
        None => {}
        Some("JSONata") => reader.language = Language::Jsonata,
        Some("JSONPath") => reader.language = Language::JsonPath,
        Some(other) => reader.error(
            "query_language_unknown",
            &at(pointer, "QueryLanguage"),
            format!("there is no query language `{other}`"),
            "write `JSONata` or `JSONPath`",
        ),
    }
}

fn read_state(reader: &mut Reader, name: &str, value: &Value, pointer: &str) -> Option<StateDef> {
    let fields = reader.object(value, pointer)?;
    let around = reader.language;
    read_language(reader, fields, pointer);
    let state = read_state_in(reader, name, fields, pointer);
    reader.language = around;
    state
}

/// Reads a state in the query language of the reader.
fn read_state_in(
    reader: &mut Reader,
    name: &str,
    fields: &Map<String, Value>,
    pointer: &str,
) -> Option<StateDef> {
    let kind_name = reader.required_text(fields, "Type", pointer)?;
    let Some(own) = kinds::fields(kind_name) else {
        reader.error(
            "state_type_unknown",
            &at(pointer, "Type"),
            format!("there is no state type `{kind_name}`"),
            "use Task, Choice, Pass, Wait, Succeed, Fail, Parallel or Map",
        );
        return None;
    };
    let language = reader.language;
    let (foreign, other): (&[&str], _) = match language {
        Language::Jsonata => (&JSONPATH, "JSONPath"),
        Language::JsonPath => (&JSONATA, "JSONata"),
    };
    let before = reader.findings.len();
    for field in fields.keys().filter(|it| foreign.contains(&it.as_str())) {
        reader.error(
            "query_language_mismatch",
            &at(pointer, field),
            format!("`{field}` belongs to {other}"),
            format!(
                "write what this state's language has for it, or `\"QueryLanguage\": \"{other}\"`"
            ),
        );
    }
    if reader.findings.len() == before {
        reader.only(fields, pointer, &[&COMMON, own].concat());
    }
    let kind = kinds::read(reader, kind_name, fields, pointer)?;
    let next = read_next(reader, &kind, fields, pointer);
    Some(StateDef {
        name: name.to_owned(),
        pointer: pointer.to_owned(),
        kind,
        language,
        assign: read_assign(reader, fields, pointer),
        output: read_output(reader, fields, pointer),
        paths: paths::read(reader, fields, pointer),
        next,
        rework: reader.flag(fields, REWORK, pointer),
    })
}

fn read_next(reader: &mut Reader, kind: &Kind, fields: &Map<String, Value>, pointer: &str) -> Next {
    match kind {
        Kind::Choice(_) => {
            return match reader.text(fields, "Default", pointer) {
                Some(name) => Next::State(name.to_owned()),
                None => Next::None,
            };
        }
        Kind::Succeed { .. } | Kind::Fail { .. } => return Next::None,
        _ => {}
    }
    let next = reader.text(fields, "Next", pointer).map(str::to_owned);
    let ends = reader.flag(fields, "End", pointer);
    match (next, ends) {
        (Some(next), false) => Next::State(next),
        (None, true) => Next::End,
        (Some(_), true) => {
            reader.error(
                "next_and_end",
                pointer,
                "a state has `Next` or `End`, not both",
                "remove one of them",
            );
            Next::End
        }
        (None, false) => {
            reader.error(
                "next_missing",
                pointer,
                "the state leads nowhere",
                "add `Next`, or `\"End\": true`",
            );
            Next::End
        }
    }
}

/// Parses `Assign`: variable names to values.
pub(super) fn read_assign(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    pointer: &str,
) -> Vec<(String, Template)> {
    let Some(value) = fields.get("Assign") else {
        return Vec::new();
    };
    let pointer = at(pointer, "Assign");
    let Some(variables) = reader.object(value, &pointer) else {
        return Vec::new();
    };
    let mut assign = Vec::with_capacity(variables.len());
    for (key, value) in variables {
        let place = at(&pointer, key);
        let (name, template) = Template::parse_field(reader, key, value, &pointer, 0);
        if !is_variable(&name) {
            reader.error(
                "variable_invalid",
                &place,
                "a variable begins with a letter and has at most 80 letters, digits and underscores; `states` is taken",
                "choose such a name",
            );
        }
        assign.push((name, template));
    }
    assign
}

fn is_variable(name: &str) -> bool {
    name != "states"
        && name.chars().count() <= 80
        && name.starts_with(char::is_alphabetic)
        && name.chars().all(|it| it.is_alphanumeric() || it == '_')
}

/// Parses `Output`.
pub(super) fn read_output(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    pointer: &str,
) -> Option<Template> {
    let value = fields.get("Output")?;
    Some(Template::parse(reader, value, &at(pointer, "Output")))
}

/// Every target must exist at its own level; a name that did not parse has its own finding already.
fn check_targets(
    reader: &mut Reader,
    machine: &Machine,
    written: &Map<String, Value>,
    pointer: &str,
) {
    if !machine.start_at.is_empty() && !written.contains_key(&machine.start_at) {
        reader.error(
            "start_at_unknown",
            &at(pointer, "StartAt"),
            format!("there is no state `{}`", machine.start_at),
            "name a state of `States`",
        );
    }
    if written.is_empty() {
        reader.error(
            "states_missing",
            &at(pointer, "States"),
            "there are no states",
            "add at least one",
        );
    }
    for state in &machine.states {
        for (place, next) in targets(state) {
            if !written.contains_key(next) {
                reader.error(
                    "next_unknown",
                    &format!("{}/{place}", state.pointer),
                    format!(
                        "`{}` leads to `{next}`, which does not exist at its level",
                        state.name
                    ),
                    "name a state of the same `States`",
                );
            }
        }
    }
}

/// Every state that may follow, and where that is written.
fn targets(state: &StateDef) -> Vec<(String, &str)> {
    let mut found = Vec::new();
    if let Kind::Choice(rules) = &state.kind {
        let rules = rules.iter().enumerate();
        found.extend(rules.map(|(index, it)| (format!("Choices/{index}/Next"), it.next.as_str())));
    }
    if let Next::State(next) = &state.next {
        let key = match state.kind {
            Kind::Choice(_) => "Default",
            _ => "Next",
        };
        found.push((key.to_owned(), next.as_str()));
    }
    let catchers = state.handlers().into_iter();
    for (index, catcher) in catchers.flat_map(|it| it.catch.iter().enumerate()) {
        found.push((format!("Catch/{index}/Next"), catcher.next.as_str()));
    }
    found
}

/// Names are unique in the whole document, branches included, and not too long or many.
fn check_names(reader: &mut Reader, machine: &Machine, pointer: &str) {
    let all = machine.all();
    if STATES_MAX < all.len() {
        let message = format!("{} states are more than {STATES_MAX}", all.len());
        reader.error("limit_exceeded", pointer, message, "split the definition");
    }
    let mut seen = BTreeSet::new();
    for state in all {
        if !seen.insert(state.name.as_str()) {
            reader.error(
                "state_name_taken",
                &state.pointer,
                format!("another state is called `{}`", state.name),
                "give every state of the document its own name",
            );
        }
        if state.name.is_empty() || STATE_NAME_CHARS_MAX < state.name.chars().count() {
            let message = format!("a state's name has 1 to {STATE_NAME_CHARS_MAX} characters");
            reader.error(
                "state_name_invalid",
                &state.pointer,
                message,
                "choose such a name",
            );
        }
    }
}

/// A branch reads the variables around it but may not assign to their names.
fn check_scopes(reader: &mut Reader, machine: &Machine, around: &BTreeSet<&str>) {
    let mut own: BTreeSet<&str> = around.clone();
    for state in &machine.states {
        for name in state.assigned() {
            if around.contains(name) {
                reader.error(
                    "variable_scope",
                    &state.pointer,
                    format!("`${name}` belongs to the states around this branch"),
                    "assign to another name and pass the value out by `Output`",
                );
            }
            own.insert(name);
        }
    }
    let nothing = BTreeSet::new();
    for state in &machine.states {
        // What is distributed sees no variables around, and so cannot mistake them for its own.
        let is_apart = matches!(&state.kind, Kind::Map(map) if map.is_distributed);
        for inner in state.levels() {
            check_scopes(reader, inner, if is_apart { &nothing } else { &own });
        }
    }
}

/// Reads what publishing has stored about the steps: their outcomes.
fn read_contracts(reader: &mut Reader, value: &Value, machine: &mut Machine) {
    let Some(contracts) = reader.object(value, "/contracts") else {
        return;
    };
    let mut outcomes: HashMap<&str, Vec<String>> = HashMap::new();
    for (resource, contract) in contracts {
        let pointer = at("/contracts", resource);
        let Some(fields) = reader.object(contract, &pointer) else {
            continue;
        };
        reader.only(fields, &pointer, &["hash", "outcomes"]);
        match fields.get("outcomes") {
            Some(value) => {
                let texts = reader.texts(value, &at(&pointer, "outcomes"));
                outcomes.insert(resource.as_str(), texts);
            }
            None => reader.missing("outcomes", &pointer),
        }
    }
    machine.resources_mut(&mut |_, resource, known| {
        *known = outcomes.get(resource.as_str()).cloned();
    });
}
