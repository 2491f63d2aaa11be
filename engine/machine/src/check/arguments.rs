//! Checks what is literal in `Arguments` against the step's schema.

use serde_json::Value;

use crate::catalogue::Contract;
use crate::definition::{StateDef, TaskDef, Template, no_arguments};
use crate::finding::{Finding, Gate, at};

pub(super) fn check(
    state: &StateDef,
    task: &TaskDef,
    contract: &Contract,
    findings: &mut Vec<Finding>,
) {
    let pointer = at(&state.pointer, "Arguments");
    let schema = &contract.arguments_schema;
    let nothing = Template::Literal(no_arguments());
    let template = task.arguments.as_ref().unwrap_or(&nothing);
    check_template(template, schema, schema, &pointer, findings);
}

fn report(findings: &mut Vec<Finding>, pointer: &str, message: String) {
    let fix = "write what the step's arguments schema asks for";
    findings.push(Finding::error(
        Gate::Lint,
        "arguments_invalid",
        pointer,
        message,
        fix,
    ));
}

fn check_template(
    template: &Template,
    schema: &Value,
    root: &Value,
    pointer: &str,
    findings: &mut Vec<Finding>,
) {
    let schema = dereference(schema, root);
    match template {
        Template::Expression(_) | Template::Path(_) => {}
        Template::Literal(value) => check_literal(value, schema, root, pointer, findings),
        Template::Array(items) => {
            if let Some(of_items) = schema.get("items") {
                for (index, item) in items.iter().enumerate() {
                    check_template(
                        item,
                        of_items,
                        root,
                        &format!("{pointer}/{index}"),
                        findings,
                    );
                }
            }
        }
        Template::Object(fields) => {
            for name in required(schema).filter(|name| !fields.iter().any(|(key, _)| key == name)) {
                report(findings, pointer, format!("`{name}` is missing"));
            }
            for (key, value) in fields {
                let place = at(pointer, key);
                match schema.get("properties").and_then(|it| it.get(key)) {
                    Some(schema) => check_template(value, schema, root, &place, findings),
                    None if schema.get("additionalProperties") == Some(&Value::Bool(false)) => {
                        report(
                            findings,
                            &place,
                            format!("the step has no argument `{key}`"),
                        );
                    }
                    None => {}
                }
            }
        }
    }
}

fn check_literal(
    value: &Value,
    schema: &Value,
    root: &Value,
    pointer: &str,
    findings: &mut Vec<Finding>,
) {
    let mut schema = schema.clone();
    if let (Some(fields), Some(definitions)) = (schema.as_object_mut(), root.get("$defs")) {
        fields.entry("$defs").or_insert_with(|| definitions.clone());
    }
    // A contract whose schema does not compile is the platform's fault, not the author's.
    let Ok(validator) = jsonschema::draft202012::new(&schema) else {
        return;
    };
    for error in validator.iter_errors(value) {
        let place = format!("{pointer}{}", error.instance_path());
        report(findings, &place, error.to_string());
    }
}

fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// Follows a local `$ref`; at most as many as a sane schema nests.
pub(super) fn dereference<'s>(mut schema: &'s Value, root: &'s Value) -> &'s Value {
    for _ in 0..16 {
        let Some(target) = schema.get("$ref").and_then(Value::as_str) else {
            return schema;
        };
        let Some(found) = target.strip_prefix('#').and_then(|it| root.pointer(it)) else {
            return schema;
        };
        schema = found;
    }
    schema
}
