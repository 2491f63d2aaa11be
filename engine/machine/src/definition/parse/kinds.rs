//! Parses what only one state type has.

use chrono::DateTime;
use serde_json::{Map, Value};

use super::super::reader::Reader;
use super::super::states::{Condition, Kind, Rule, Seconds, TaskDef, Timestamp, Until};
use super::super::template::{FieldOf, Template};
use super::{handlers, level, read_assign, read_output};
use crate::catalogue::split_resource;
use crate::expression::Expression;
use crate::finding::at;
use crate::limits::{BRANCHES_MAX, SECONDS_MAX};

pub(super) fn read(
    reader: &mut Reader,
    kind: &str,
    fields: &Map<String, Value>,
    pointer: &str,
) -> Option<Kind> {
    let kind = match kind {
        "Task" => Kind::Task(Box::new(read_task(reader, fields, pointer)?)),
        "Choice" => Kind::Choice(read_rules(reader, fields, pointer)),
        "Pass" => Kind::Pass,
        "Wait" => Kind::Wait(read_until(reader, fields, pointer)?),
        "Succeed" => Kind::Succeed {
            decision: read_decision(reader, fields, pointer),
        },
        "Fail" => Kind::Fail {
            error: read_text_template(reader, fields, "Error", pointer),
            cause: read_text_template(reader, fields, "Cause", pointer),
        },
        _ => read_parallel(reader, fields, pointer)?,
    };
    Some(kind)
}

fn read_task(reader: &mut Reader, fields: &Map<String, Value>, pointer: &str) -> Option<TaskDef> {
    let resource = reader.required_text(fields, "Resource", pointer)?;
    if split_resource(resource).is_none() {
        reader.error(
            "resource_invalid",
            &at(pointer, "Resource"),
            format!("`{resource}` does not name a step"),
            "write `kyc:<step>` or `kyc:<step>@<major>`, such as `kyc:otp@1`",
        );
    }
    Some(TaskDef {
        resource: resource.to_owned(),
        outcomes: None,
        arguments: read_arguments(reader, fields, pointer),
        timeout: read_seconds(reader, fields, "TimeoutSeconds", pointer),
        heartbeat: read_seconds(reader, fields, "HeartbeatSeconds", pointer),
        handlers: handlers::read(reader, fields, pointer),
    })
}

fn read_arguments(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    pointer: &str,
) -> Option<Template> {
    let value = fields.get("Arguments")?;
    Some(Template::parse(reader, value, &at(pointer, "Arguments")))
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
    for state in branches.iter().flat_map(|it| &it.states) {
        if let Kind::Succeed { decision: Some(_) } = &state.kind {
            reader.error(
                "decision_in_branch",
                &format!("{}/Output/decision", state.pointer),
                "a branch does not decide: its `Succeed` only ends the branch",
                "decide in a `Succeed` after the `Parallel` state",
            );
        }
    }
    if branches.len() < written.len() {
        return None;
    }
    Some(Kind::Parallel {
        branches,
        arguments: read_arguments(reader, fields, pointer),
        handlers: handlers::read(reader, fields, pointer),
    })
}

/// A literal or computed number of seconds.
pub(super) fn read_seconds(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    name: &str,
    pointer: &str,
) -> Option<Seconds> {
    let value = fields.get(name)?;
    if let Value::String(text) = value {
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
    match (fields.get("Seconds"), fields.get("Timestamp")) {
        (Some(_), None) => read_seconds(reader, fields, "Seconds", pointer).map(Until::Seconds),
        (None, Some(Value::String(text))) => {
            read_timestamp(reader, text, &at(pointer, "Timestamp"))
        }
        _ => {
            reader.error(
                "wait_invalid",
                pointer,
                "a `Wait` has either `Seconds` or `Timestamp`",
                "write exactly one of them",
            );
            None
        }
    }
}

fn read_timestamp(reader: &mut Reader, text: &str, pointer: &str) -> Option<Until> {
    if text.starts_with("{%") {
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
        reader.only(
            fields,
            &pointer,
            &["Condition", "Next", "Assign", "Output", "Comment"],
        );
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
        });
    }
    rules
}

fn read_condition(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    pointer: &str,
) -> Option<Condition> {
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
    reader.text(fields, name, pointer)?;
    Some(Template::parse(
        reader,
        fields.get(name)?,
        &at(pointer, name),
    ))
}

/// The decision of a `Succeed`: it must be literal, so that it can be proven.
fn read_decision(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    pointer: &str,
) -> Option<String> {
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
