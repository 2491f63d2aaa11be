//! Parses what is special to each type of state.

use chrono::DateTime;
use serde_json::{Map, Value};

use super::super::reader::Reader;
use super::super::states::{
    Condition, Kind, Language, Machine, Number, Rule, Seconds, Timestamp, Until,
};
use super::super::template::{FieldOf, Template};
use super::{
    COMPENSATION, CONTINUE, KEEP, LABELS, RACE, REWORK, continuation, handlers, level, maps, paths,
    read_assign, read_output, tasks,
};
use crate::expression::Expression;
use crate::finding::at;
use crate::jsonpath::ChoiceRule;
use crate::limits::{BRANCHES_MAX, SECONDS_MAX};

// What each type of state may have beside the fields that all have.
const TASK: &[&str] = &[
    "Resource",
    "Arguments",
    "TimeoutSeconds",
    "HeartbeatSeconds",
    "Retry",
    "Catch",
    "Output",
    "Next",
    "End",
    "InputPath",
    "Parameters",
    "ResultSelector",
    "ResultPath",
    "OutputPath",
    "TimeoutSecondsPath",
    "HeartbeatSecondsPath",
    "Credentials",
    REWORK,
    KEEP,
    COMPENSATION,
    LABELS,
];
const CHOICE: &[&str] = &[
    "Choices",
    "Default",
    "Output",
    "InputPath",
    "OutputPath",
    REWORK,
];
const PASS: &[&str] = &[
    "Output",
    "Next",
    "End",
    "InputPath",
    "Parameters",
    "Result",
    "ResultPath",
    "OutputPath",
    REWORK,
];
const WAIT: &[&str] = &[
    "Seconds",
    "Timestamp",
    "Output",
    "Next",
    "End",
    "InputPath",
    "OutputPath",
    "SecondsPath",
    "TimestampPath",
    REWORK,
];
const SUCCEED: &[&str] = &["Output", "InputPath", "OutputPath", CONTINUE];
const FAIL: &[&str] = &["Error", "Cause", "ErrorPath", "CausePath"];
const PARALLEL: &[&str] = &[
    "Branches",
    "Arguments",
    "Retry",
    "Catch",
    "Output",
    "Next",
    "End",
    "InputPath",
    "Parameters",
    "ResultSelector",
    "ResultPath",
    "OutputPath",
    RACE,
    REWORK,
];
const MAP: &[&str] = &[
    "Items",
    "ItemsPath",
    "ItemSelector",
    "Parameters",
    "ItemProcessor",
    "Iterator",
    "ItemReader",
    "ItemBatcher",
    "ResultWriter",
    "MaxConcurrency",
    "MaxConcurrencyPath",
    "ToleratedFailureCount",
    "ToleratedFailureCountPath",
    "ToleratedFailurePercentage",
    "ToleratedFailurePercentagePath",
    "Label",
    "Retry",
    "Catch",
    "Output",
    "Next",
    "End",
    "InputPath",
    "ResultSelector",
    "ResultPath",
    "OutputPath",
    REWORK,
];

/// The fields of a type of state, beside those that all have; `None` is no type.
pub(super) fn fields(kind: &str) -> Option<&'static [&'static str]> {
    Some(match kind {
        "Task" => TASK,
        "Choice" => CHOICE,
        "Pass" => PASS,
        "Wait" => WAIT,
        "Succeed" => SUCCEED,
        "Fail" => FAIL,
        "Parallel" => PARALLEL,
        "Map" => MAP,
        _ => return None,
    })
}

pub(super) fn read(
    reader: &mut Reader,
    kind: &str,
    fields: &Map<String, Value>,
    pointer: &str,
) -> Option<Kind> {
    let kind = match kind {
        "Task" => Kind::Task(Box::new(tasks::read(reader, fields, pointer)?)),
        "Choice" => Kind::Choice(read_rules(reader, fields, pointer)),
        "Pass" => Kind::Pass {
            parameters: paths::read_template(reader, fields, "Parameters", pointer),
            result: fields.get("Result").cloned().map(Into::into),
        },
        "Wait" => Kind::Wait(read_until(reader, fields, pointer)?),
        "Succeed" => Kind::Succeed {
            decision: read_decision(reader, fields, pointer),
            again: continuation::read(reader, fields, pointer).map(Box::new),
        },
        "Fail" => Kind::Fail {
            error: read_text_template(reader, fields, "Error", pointer),
            cause: read_text_template(reader, fields, "Cause", pointer),
        },
        "Map" => Kind::Map(Box::new(maps::read(reader, fields, pointer)?)),
        _ => read_parallel(reader, fields, pointer)?,
    };
    Some(kind)
}

/// `Arguments`, or `Parameters` in JSONPath.
pub(super) fn read_arguments(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    pointer: &str,
) -> Option<Template> {
    let name = match reader.language {
        Language::Jsonata => "Arguments",
        Language::JsonPath => "Parameters",
    };
    paths::read_template(reader, fields, name, pointer)
}

fn read_parallel(reader: &mut Reader, fields: &Map<String, Value>, pointer: &str) -> Option<Kind> {
    let branches_pointer = at(pointer, "Branches");
    let Some(written) = fields
        .get("Branches")
        .and_then(Value::as_array)
        .filter(|it| !it.is_empty())
    else {
        reader.error(
            "branches_missing",
            &branches_pointer,
            "`Branches` is an array of at least one branch",
            "add objects with `StartAt` and `States`",
        );
        return None;
    };
    if BRANCHES_MAX < written.len() {
        let message = format!("{} branches are more than {BRANCHES_MAX}", written.len());
        reader.error(
            "limit_exceeded",
            &branches_pointer,
            message,
            "use fewer branches",
        );
    }
    let branches: Vec<_> = written
        .iter()
        .enumerate()
        .filter_map(|(index, it)| level(reader, it, &format!("{branches_pointer}/{index}"), &[]))
        .collect();
    for branch in &branches {
        refuse_decisions(reader, branch);
    }
    if branches.len() < written.len() {
        return None;
    }
    Some(Kind::Parallel {
        branches,
        arguments: read_arguments(reader, fields, pointer),
        race: reader.flag(fields, RACE, pointer),
        handlers: handlers::read(reader, fields, pointer),
    })
}

/// Inside a `Parallel` or a `Map` nothing is decided.
pub(super) fn refuse_decisions(reader: &mut Reader, level: &Machine) {
    for state in &level.states {
        if let Kind::Succeed { again: Some(_), .. } = &state.kind {
            reader.error(
                "continue_in_branch",
                &format!("{}/{CONTINUE}", state.pointer),
                "a branch does not end the workflow: its `Succeed` only ends the branch",
                "continue in a `Succeed` after the `Parallel` or `Map` state",
            );
        }
        if let Kind::Succeed {
            decision: Some(_), ..
        } = &state.kind
        {
            reader.error(
                "decision_in_branch",
                &format!("{}/Output/decision", state.pointer),
                "a branch does not decide: its `Succeed` only ends the branch",
                "decide in a `Succeed` after the `Parallel` or `Map` state",
            );
        }
    }
}

/// A number, literal or computed, of at least 0.
pub(super) fn read_number(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    name: &str,
    most: f64,
    pointer: &str,
) -> Option<Number> {
    let path_name = format!("{name}Path");
    if fields.contains_key(&path_name) {
        return paths::read_path(reader, fields, &path_name, pointer).map(Number::Path);
    }
    let place = at(pointer, name);
    match fields.get(name)? {
        Value::String(text) if reader.language == Language::Jsonata => {
            read_expression(reader, text, &place).map(Number::Computed)
        }
        Value::Number(it) if it.as_f64().is_some_and(|it| (0.0..=most).contains(&it)) => {
            it.as_f64().map(Number::Literal)
        }
        _ => {
            let message = format!("`{name}` is a number from 0 to {most}");
            reader.error("wrong_type", &place, message, "write such a number");
            None
        }
    }
}

/// A literal or computed number of seconds.
pub(super) fn read_seconds(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    name: &str,
    pointer: &str,
) -> Option<Seconds> {
    let path_name = format!("{name}Path");
    if fields.contains_key(&path_name) {
        return paths::read_path(reader, fields, &path_name, pointer).map(Seconds::Path);
    }
    let value = fields.get(name)?;
    if let (Value::String(text), Language::Jsonata) = (value, reader.language) {
        return read_expression(reader, text, &at(pointer, name)).map(Seconds::Computed);
    }
    let least = i64::from(name != "Seconds");
    reader
        .whole(fields, name, pointer, least..=SECONDS_MAX)
        .map(Seconds::Literal)
}

fn read_expression(reader: &mut Reader, text: &str, pointer: &str) -> Option<Expression> {
    if let Template::Expression(expression) =
        Template::parse(reader, &Value::String(text.to_owned()), pointer)
    {
        Some(expression)
    } else {
        reader.error(
            "wrong_type",
            pointer,
            "an expression is expected here",
            "write `{% ... %}`",
        );
        None
    }
}

fn read_until(reader: &mut Reader, fields: &Map<String, Value>, pointer: &str) -> Option<Until> {
    let names = ["Seconds", "SecondsPath", "Timestamp", "TimestampPath"];
    let written: Vec<&str> = names
        .into_iter()
        .filter(|it| fields.contains_key(*it))
        .collect();
    match (written.as_slice(), fields.get("Timestamp")) {
        (["Seconds" | "SecondsPath"], _) => {
            read_seconds(reader, fields, "Seconds", pointer).map(Until::Seconds)
        }
        (["TimestampPath"], _) => paths::read_path(reader, fields, "TimestampPath", pointer)
            .map(|it| Until::Timestamp(Timestamp::Path(it))),
        (["Timestamp"], Some(Value::String(text))) => {
            read_timestamp(reader, text, &at(pointer, "Timestamp"))
        }
        _ => {
            let fix = "write exactly one of them";
            let message = "a `Wait` has either `Seconds` or `Timestamp`";
            reader.error("wait_invalid", pointer, message, fix);
            None
        }
    }
}

fn read_timestamp(reader: &mut Reader, text: &str, pointer: &str) -> Option<Until> {
    if text.starts_with("{%") && reader.language == Language::Jsonata {
        let expression = read_expression(reader, text, pointer)?;
        return Some(Until::Timestamp(Timestamp::Computed(expression)));
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        Some(Until::Timestamp(Timestamp::Literal(
            time.timestamp_millis(),
        )))
    } else {
        reader.error(
            "timestamp_invalid",
            pointer,
            "a timestamp is written as RFC 3339",
            "write it like `2026-03-14T01:59:00Z`",
        );
        None
    }
}

fn read_rules(reader: &mut Reader, fields: &Map<String, Value>, pointer: &str) -> Vec<Rule> {
    let pointer = at(pointer, "Choices");
    let Some(written) = fields
        .get("Choices")
        .and_then(Value::as_array)
        .filter(|it| !it.is_empty())
    else {
        reader.error(
            "choices_missing",
            &pointer,
            "`Choices` is an array of at least one rule",
            "add objects with `Condition` and `Next`",
        );
        return Vec::new();
    };
    let mut rules = Vec::with_capacity(written.len());
    for (index, rule) in written.iter().enumerate() {
        let pointer = format!("{pointer}/{index}");
        let Some(fields) = reader.object(rule, &pointer) else {
            continue;
        };
        let Some(next) = reader.required_text(fields, "Next", &pointer) else {
            continue;
        };
        let Some(condition) = read_condition(reader, fields, &pointer) else {
            continue;
        };
        rules.push(Rule {
            condition,
            assign: read_assign(reader, fields, &pointer),
            output: read_output(reader, fields, &pointer),
            next: next.to_owned(),
            rework: reader.flag(fields, REWORK, &pointer),
        });
    }
    rules
}

fn read_condition(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    pointer: &str,
) -> Option<Condition> {
    if reader.language == Language::JsonPath {
        return ChoiceRule::parse(reader, fields, pointer).map(Condition::Compared);
    }
    let known = ["Condition", "Next", "Assign", "Output", "Comment", REWORK];
    reader.only(fields, pointer, &known);
    match fields.get("Condition") {
        Some(Value::Bool(it)) => Some(Condition::Literal(*it)),
        Some(Value::String(text)) => {
            read_expression(reader, text, &at(pointer, "Condition")).map(Condition::Computed)
        }
        Some(_) => {
            let place = at(pointer, "Condition");
            reader.error(
                "wrong_type",
                &place,
                "a condition is an expression",
                "write `{% ... %}`",
            );
            None
        }
        None => {
            reader.missing("Condition", pointer);
            None
        }
    }
}

fn read_text_template(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    name: &str,
    pointer: &str,
) -> Option<Template> {
    let path_name = format!("{name}Path");
    if let Some(path) = fields.get(&path_name) {
        return Some(Template::parse_path(reader, path, &at(pointer, &path_name)));
    }
    reader.text(fields, name, pointer)?;
    paths::read_template(reader, fields, name, pointer)
}

/// The decision of a `Succeed`: it must be literal, so that it can be proven.
fn read_decision(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    pointer: &str,
) -> Option<String> {
    if reader.is_bare {
        return None;
    }
    let before = reader.findings.len();
    let output = read_output(reader, fields, pointer)?;
    // `read_output` will run again for the state itself; its findings are reported there.
    reader.findings.truncate(before);
    match output.field("decision")? {
        FieldOf::Literal(Value::String(decision)) => Some(decision.clone()),
        FieldOf::Literal(_) | FieldOf::Computed => {
            reader.error(
                "decision_not_literal",
                &format!("{pointer}/Output/decision"),
                "a decision is a literal text, so that it can be proven",
                "write one `Succeed` state for each decision and choose between them before",
            );
            None
        }
    }
}
