//! Checks the tasks whose attempts are workflows of their own.

use super::super::reader::Reader;
use super::super::states::{Machine, TaskDef};
use super::super::template::Template;
use super::Kind;
use crate::catalogue::CHILD_RESOURCE;
use crate::finding::at;
use crate::origin::OnParentClose;

/// The arguments of the resource.
const FIELDS: [&str; 5] = ["definition", "version", "input", "spread", "onParentClose"];

pub(super) fn check(reader: &mut Reader, machine: &Machine) {
    for state in machine.all() {
        match &state.kind {
            Kind::Task(task) if task.resource == CHILD_RESOURCE => {
                check_task(reader, task, &state.pointer);
            }
            _ => {}
        }
    }
}

fn check_task(reader: &mut Reader, task: &TaskDef, pointer: &str) {
    if task.heartbeat.is_some() {
        reader.error(
            "heartbeat_of_child",
            &at(pointer, "HeartbeatSeconds"),
            "a workflow has no heartbeat",
            "write `TimeoutSeconds`",
        );
    }
    let place = at(pointer, "Arguments");
    match &task.arguments {
        Some(Template::Object(fields)) => {
            let fields = fields.iter().map(|(name, it)| {
                let literal = match it {
                    Template::Literal(value) => Some(&**value),
                    _ => None,
                };
                (name.as_str(), literal)
            });
            check_fields(reader, fields.collect(), &place);
        }
        Some(Template::Literal(value)) => match value.as_object() {
            Some(fields) => {
                let fields = fields.iter().map(|(name, it)| (name.as_str(), Some(it)));
                check_fields(reader, fields.collect(), &place);
            }
            None => refuse(reader, &place, "an object is expected here"),
        },
        // What is computed is checked when it is there.
        Some(_) => {}
        None => refuse(reader, &place, "`definition` is missing"),
    }
}

fn check_fields(
    reader: &mut Reader,
    fields: Vec<(&str, Option<&serde_json::Value>)>,
    pointer: &str,
) {
    if fields.iter().all(|(name, _)| *name != "definition") {
        refuse(reader, pointer, "`definition` is missing");
    }
    for (name, literal) in fields {
        let place = at(pointer, name);
        if !FIELDS.contains(&name) {
            let message = format!("a child workflow has no argument `{name}`");
            refuse(reader, &place, &message);
        }
        let Some(value) = literal else { continue };
        let is_right = match name {
            "definition" => value.is_string(),
            "version" => value.is_null() || value.as_u64().is_some_and(|it| 0 < it),
            "spread" => value.is_boolean(),
            "onParentClose" => value.as_str().and_then(OnParentClose::parse).is_some(),
            _ => true,
        };
        if !is_right {
            let message = format!("`{value}` is no `{name}` of a child workflow");
            refuse(reader, &place, &message);
        }
    }
}

fn refuse(reader: &mut Reader, pointer: &str, message: &str) {
    let fix = "write `definition`, and where wanted `version`, `input`, `spread` (true or false) \
               and `onParentClose` (cancel, abandon or terminate)";
    reader.error("arguments_invalid", pointer, message, fix);
}
