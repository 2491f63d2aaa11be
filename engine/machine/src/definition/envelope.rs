//! Parses the envelope around the states.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::reader::Reader;
use super::states::{Kind, Language, Machine};
use super::{Decision, Definition, EvidenceRule, parse, search};
use crate::catalogue::SIGNAL;
use crate::finding::{Finding, at};
use crate::limits::SECONDS_MAX;

/// The fields of the envelope; `contracts` is written when a definition is published.
const FIELDS: [&str; 12] = [
    "$schema",
    "name",
    "title",
    "inputSchema",
    "timeoutSeconds",
    "locales",
    "retention",
    "searchAttributes",
    "evidence",
    "decisions",
    "definition",
    "contracts",
];

pub(super) fn parse(json: &Value) -> Result<Definition, Vec<Finding>> {
    let mut reader = Reader::default();
    let definition = read(&mut reader, json);
    match definition {
        Some(definition) if reader.findings.is_empty() => Ok(definition),
        _ => Err(reader.findings),
    }
}

fn read(reader: &mut Reader, json: &Value) -> Option<Definition> {
    let fields = reader.object(json, "")?;
    reader.only(fields, "", &FIELDS);
    let name = reader
        .required_text(fields, "name", "")
        .unwrap_or_default()
        .to_owned();
    if !is_name(&name) {
        reader.error(
            "name_invalid",
            "/name",
            "a name is 1 to 64 lower-case letters, digits and hyphens, and begins with a letter",
            "choose such a name",
        );
    }
    let title = reader.text(fields, "title", "").unwrap_or(&name).to_owned();
    let timeout_seconds = reader.whole(fields, "timeoutSeconds", "", 1..=SECONDS_MAX);
    let locales = fields
        .get("locales")
        .map(|it| reader.texts(it, "/locales"))
        .unwrap_or_default();
    let retention = reader.text(fields, "retention", "").map(str::to_owned);
    let input_schema = fields.get("inputSchema").cloned();
    let input_validator = input_schema
        .as_ref()
        .and_then(|it| compile_schema(reader, it, "/inputSchema"));
    let search_attributes = fields
        .get("searchAttributes")
        .map(|it| search::read(reader, it, input_schema.as_ref()))
        .unwrap_or_default();
    let Some(states) = fields.get("definition") else {
        reader.missing("definition", "");
        return None;
    };
    let machine = parse::root(reader, states, "/definition", fields.get("contracts"))?;
    let evidence = fields
        .get("evidence")
        .map(|it| read_evidence(reader, it, &machine))
        .unwrap_or_default();
    let decisions = fields
        .get("decisions")
        .map(|it| read_decisions(reader, it, &evidence))
        .unwrap_or_default();
    check_decisions(reader, &machine, &decisions);
    Some(Definition {
        name,
        title,
        input_schema,
        input_validator,
        timeout_seconds,
        locales,
        retention,
        search_attributes,
        evidence,
        decisions,
        machine,
        errors: super::errors::written(states),
        labels: OnceLock::new(),
        is_bare: false,
    })
}

/// Reads a document that is only states.
pub(super) fn parse_bare(json: &Value) -> Result<Definition, Vec<Finding>> {
    let mut reader = Reader {
        is_bare: true,
        language: Language::JsonPath,
        ..Reader::default()
    };
    let timeout_seconds = json
        .as_object()
        .and_then(|it| reader.whole(it, "TimeoutSeconds", "", 1..=SECONDS_MAX));
    match parse::root(&mut reader, json, "", None) {
        Some(machine) if reader.findings.is_empty() => Ok(Definition {
            name: "states".to_owned(),
            title: "states".to_owned(),
            input_schema: None,
            input_validator: None,
            timeout_seconds,
            locales: Vec::new(),
            retention: None,
            search_attributes: Vec::new(),
            evidence: Vec::new(),
            decisions: BTreeMap::new(),
            machine,
            errors: super::errors::written(json),
            labels: OnceLock::new(),
            is_bare: true,
        }),
        _ => Err(reader.findings),
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|it: char| it.is_ascii_lowercase())
        && name
            .bytes()
            .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-')
}

fn compile_schema(
    reader: &mut Reader,
    schema: &Value,
    pointer: &str,
) -> Option<jsonschema::Validator> {
    match jsonschema::draft202012::new(schema) {
        Ok(validator) => Some(validator),
        Err(error) => {
            let place = format!("{pointer}{}", error.instance_path());
            reader.error(
                "schema_invalid",
                &place,
                error.to_string(),
                "write a JSON Schema of draft 2020-12",
            );
            None
        }
    }
}

fn read_evidence(reader: &mut Reader, value: &Value, machine: &Machine) -> Vec<EvidenceRule> {
    let Some(entries) = reader.object(value, "/evidence") else {
        return Vec::new();
    };
    let mut rules = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        let pointer = at("/evidence", name);
        let Some(fields) = reader.object(entry, &pointer) else {
            continue;
        };
        reader.only(fields, &pointer, &["state", "outcome", "with"]);
        let state = reader
            .required_text(fields, "state", &pointer)
            .unwrap_or_default()
            .to_owned();
        let outcome = reader
            .required_text(fields, "outcome", &pointer)
            .unwrap_or_default()
            .to_owned();
        let with = match fields.get("with") {
            None => Map::new(),
            Some(with) => reader
                .object(with, &at(&pointer, "with"))
                .cloned()
                .unwrap_or_default(),
        };
        check_evidence_state(reader, machine, &state, &outcome, &pointer);
        rules.push(EvidenceRule {
            name: name.clone(),
            state,
            outcome,
            with,
        });
    }
    rules
}

fn check_evidence_state(
    reader: &mut Reader,
    machine: &Machine,
    state: &str,
    outcome: &str,
    pointer: &str,
) {
    let found = machine.all().into_iter().find(|it| it.name == state);
    let Some(found) = found else {
        reader.error(
            "evidence_state_unknown",
            &at(pointer, "state"),
            format!("there is no state `{state}`"),
            "name a task state of this definition",
        );
        return;
    };
    let Kind::Task(task) = &found.kind else {
        reader.error(
            "evidence_state_not_task",
            &at(pointer, "state"),
            format!("`{state}` is not a task state, so it has no outcome"),
            "name a task state of this definition",
        );
        return;
    };
    if task.resource == SIGNAL {
        reader.error(
            "evidence_state_signal",
            &at(pointer, "state"),
            format!("`{state}` waits for a signal; what somebody sends proves nothing"),
            "name a state whose step publishes its outcomes",
        );
    }
    if task
        .outcomes
        .as_ref()
        .is_some_and(|it| !it.iter().any(|it| it == outcome))
    {
        reader.error(
            "evidence_outcome_unknown",
            &at(pointer, "outcome"),
            format!("`{}` never ends with `{outcome}`", task.resource),
            format!(
                "name one of {}",
                task.outcomes
                    .as_ref()
                    .map(|it| it.join(", "))
                    .unwrap_or_default()
            ),
        );
    }
}

fn read_decisions(
    reader: &mut Reader,
    value: &Value,
    evidence: &[EvidenceRule],
) -> BTreeMap<String, Decision> {
    let mut decisions = BTreeMap::new();
    let Some(entries) = reader.object(value, "/decisions") else {
        return decisions;
    };
    for (name, entry) in entries {
        let pointer = at("/decisions", name);
        let Some(fields) = reader.object(entry, &pointer) else {
            continue;
        };
        reader.only(fields, &pointer, &["anyOf"]);
        let mut decision = Decision::default();
        if let Some(sets) = fields.get("anyOf") {
            let pointer = at(&pointer, "anyOf");
            decision.any_of = read_sets(reader, sets, &pointer, evidence);
        }
        decisions.insert(name.clone(), decision);
    }
    decisions
}

fn read_sets(
    reader: &mut Reader,
    value: &Value,
    pointer: &str,
    evidence: &[EvidenceRule],
) -> Vec<Vec<String>> {
    let Some(sets) = value.as_array().filter(|it| !it.is_empty()) else {
        reader.error(
            "wrong_type",
            pointer,
            "`anyOf` is an array of at least one set of evidence",
            "write an array of arrays of names, or leave `anyOf` out where nothing is needed",
        );
        return Vec::new();
    };
    let mut read = Vec::with_capacity(sets.len());
    for (index, set) in sets.iter().enumerate() {
        let pointer = format!("{pointer}/{index}");
        let names = reader.texts(set, &pointer);
        for (index, name) in names.iter().enumerate() {
            if !evidence.iter().any(|it| it.name == *name) {
                reader.error(
                    "evidence_unknown",
                    &format!("{pointer}/{index}"),
                    format!("there is no evidence `{name}`"),
                    "declare it in `evidence`",
                );
            }
        }
        read.push(names);
    }
    read
}

/// Every decision that a `Succeed` takes must be declared.
fn check_decisions(reader: &mut Reader, machine: &Machine, decisions: &BTreeMap<String, Decision>) {
    for state in machine.all() {
        let Kind::Succeed {
            decision: Some(decision),
            ..
        } = &state.kind
        else {
            continue;
        };
        if !decisions.contains_key(decision) {
            reader.error(
                "decision_unknown",
                &format!("{}/Output/decision", state.pointer),
                format!("`{decision}` is not among `decisions`"),
                "declare it, with the evidence that it needs",
            );
        }
    }
}
