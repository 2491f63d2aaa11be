//! What has to hold when everything is over.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};

use btrust_machine::{Definition, Status};
use btrust_platform::streams::Stream;
use btrust_schemas::ids::WorkflowId;

use crate::check;
use crate::seal::{self, Binding};
use crate::stream_events::{ANALYTICS_PREFIX, AUDIT_PREFIX};
use crate::workflow::CHAIN_START;

use super::database::Journalled;
use super::node::Process;
use super::reference::{Expected, expected};
use super::store::SimulatedStore;
use super::world::World;

/// Judges the end of a simulation; `labels` are the workflows that clients have started.
pub async fn judge(
    world: &Arc<World>,
    definitions: &BTreeMap<&str, Definition>,
    labels: &[(String, &str)],
) {
    for (label, name) in labels {
        let id = world.memory().started.get(label).copied();
        match id {
            Some(id) => judge_workflow(world, id, &definitions[name], label),
            None => world.violated("every workflow starts", format_args!("{label}")),
        }
    }
    judge_starts(world, labels.len());
    judge_batches(world);
    judge_effects(world);
    judge_check(world).await;
}

fn judge_workflow(world: &World, id: WorkflowId, definition: &Definition, label: &str) {
    let Some(state) = world.state(id) else {
        return world.violated("a started workflow is there", format_args!("{id}"));
    };
    let is_cancelled = world.memory().cancelled.get(&id).copied();
    let is_redriven = world.memory().redriven.contains(&id);
    let expected = expected(world.seed, definition, label);
    let actual = Expected {
        effects: expected.effects.clone(),
        answers: expected.answers.clone(),
        ..Expected::of(&state)
    };
    match (state.status(), is_cancelled) {
        (Status::Cancelled, Some(_)) => {}
        (_, Some(true)) if !is_redriven => {
            world.violated("a cancelled workflow is cancelled", format_args!("{id}"));
        }
        _ if actual != expected => world.violated(
            "a workflow ends as the pure machine does",
            format_args!("{id} {label} {actual:?} instead of {expected:?}"),
        ),
        // A redrive enters states again that were under way, and they cause their effects again.
        _ if is_redriven => {}
        _ => judge_counts(world, id, &expected),
    }
    judge_journal(world, id);
    judge_public(world, id);
}

/// As many effects and answers as the pure machine needs.
fn judge_counts(world: &World, id: WorkflowId, expected: &Expected) {
    let mut effects: BTreeMap<String, usize> = BTreeMap::new();
    for (key, caused) in &*world.outside.ledger() {
        if key.task.workflow == id {
            *effects.entry(caused.state_name.clone()).or_default() += 1;
        }
    }
    if effects != expected.effects {
        world.violated(
            "no effect is lost or doubled",
            format_args!("{id} {effects:?} instead of {:?}", expected.effects),
        );
    }
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    for (prompt, state_name) in &world.memory().answered {
        if prompt.workflow == id {
            *answers.entry(state_name.clone()).or_default() += 1;
        }
    }
    // An answer whose acknowledgement was lost is not counted; one too many would be.
    let is_too_many = |(state_name, n): (&String, &usize)| {
        expected
            .answers
            .get(state_name)
            .copied()
            .unwrap_or_default()
            < *n
    };
    if answers.iter().any(is_too_many) {
        world.violated(
            "nobody is asked twice",
            format_args!("{id} {answers:?} instead of {:?}", expected.answers),
        );
    }
}

fn rows_of(world: &World, id: WorkflowId) -> Vec<Journalled> {
    let tables = world.database.tables();
    tables.journal.get(&id).cloned().unwrap_or_default()
}

/// The journal has every event, and the snapshot is where it ends.
fn judge_journal(world: &World, id: WorkflowId) {
    let broken = |how: &str| {
        world.violated("the journal is whole", format_args!("{id} {how}"));
    };
    let (record, state) = {
        let record = world.database.tables().workflows.get(&id).cloned();
        (record, world.state(id))
    };
    let (Some(record), Some(state)) = (record, state) else {
        return broken("no snapshot");
    };
    let Some(sealer) = world.keys.find(&record.columns.tenant, id) else {
        return broken("no key");
    };
    let mut next = 1;
    for it in rows_of(world, id) {
        let binding = Binding {
            tenant: &record.columns.tenant,
            workflow: id,
            sequence: u64::try_from(it.row.sequence).unwrap_or_default(),
        };
        let Ok(events) = seal::open_events(&sealer, binding, &it.row.sealed_events) else {
            return broken("events do not open");
        };
        for event in events {
            if event.id != next {
                return broken("an event is missing or doubled");
            }
            next += 1;
        }
    }
    let columns = &record.columns;
    let is_same = state.n_events() + 1 == next
        && columns.status == crate::workflow::status(state.status()).as_str()
        && columns.closed_ms == state.closed_ms()
        && record.snapshot.is_open != state.status().is_closed()
        && record.snapshot.wake_at_ms == state.wake_at();
    if !is_same {
        broken("the snapshot is not where the journal ends");
    }
}

/// The hash chain holds, and the streams have every public event once and in order.
fn judge_public(world: &World, id: WorkflowId) {
    let rows = rows_of(world, id);
    let mut chain = CHAIN_START.to_owned();
    let mut lines: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for row in &rows {
        for line in row.public.lines() {
            if let Some(record) = line.strip_prefix(AUDIT_PREFIX) {
                match follow(&chain, record, &row.row.sealed_events) {
                    Some(next) => chain = next,
                    None => world.violated("the hash chain holds", format_args!("{id} {record}")),
                }
                let of_stream = lines.entry(Stream::Audit.name()).or_default();
                of_stream.push(record.to_owned());
            } else if let Some(record) = line.strip_prefix(ANALYTICS_PREFIX) {
                let of_stream = lines.entry(Stream::Analytics.name()).or_default();
                of_stream.push(record.to_owned());
            }
        }
    }
    let published = world.outside.published();
    let mut missing = Vec::new();
    for (stream, lines) in lines {
        let place = (id.to_string(), stream);
        let there = published.records.get(&place);
        if there != Some(&lines) {
            let n_there = there.map_or(0, Vec::len);
            missing.push(format!("{stream} has {n_there} of {}", lines.len()));
        }
    }
    drop(published);
    if !missing.is_empty() {
        world.violated(
            "the streams have everything in order",
            format_args!("{id} {missing:?}"),
        );
    }
}

/// The hash of an audit record, if it follows the one before and names what was sealed.
fn follow(chain: &str, record: &str, sealed: &[u8]) -> Option<String> {
    let (hashed, rest) = record.rsplit_once(",\"hash\":\"")?;
    let hash = hex::encode(Sha256::digest(hashed));
    let event: Value = serde_json::from_str(record).ok()?;
    let data = &event["data"];
    let is_whole = rest == format!("{hash}\"}}}}")
        && data["previousHash"] == chain
        && data["sealedSha256"] == hex::encode(Sha256::digest(sealed));
    is_whole.then_some(hash)
}

/// A key starts one workflow, and nothing else starts one.
fn judge_starts(world: &World, n_expected: usize) {
    let tables = world.database.tables();
    let n_found = (tables.starts.len(), tables.workflows.len());
    drop(tables);
    if n_found != (n_expected, n_expected) {
        world.violated(
            "one workflow a key",
            format_args!("{n_found:?} instead of {n_expected}"),
        );
    }
}

/// The batches of a partition have no gaps.
fn judge_batches(world: &World) {
    let mut last: BTreeMap<u8, i64> = BTreeMap::new();
    let tables = world.database.tables();
    let mut broken = None;
    for (partition, batch) in tables.batches.keys() {
        let last = last.entry(*partition).or_default();
        if *batch != *last + 1 {
            broken = Some((*partition, *batch));
        }
        *last = *batch;
    }
    drop(tables);
    if let Some((partition, batch)) = broken {
        world.violated(
            "batches have no gaps",
            format_args!("partition {partition}, batch {batch}"),
        );
    }
}

/// An effect behind a checkpoint happens once; never, only where whoever meant to cause it has died.
fn judge_effects(world: &World) {
    let mut broken = Vec::new();
    for (key, caused) in &*world.outside.ledger() {
        let is_right = match caused.n_times {
            0 => caused.may_be_lost || world.memory().cancelled.contains_key(&key.task.workflow),
            n_times => n_times == 1,
        };
        if !is_right {
            broken.push(format!("{key:?} {caused:?}"));
        }
    }
    if !broken.is_empty() {
        world.violated("an effect happens once", format_args!("{broken:?}"));
    }
}

async fn judge_check(world: &Arc<World>) {
    let process = Arc::new(Process::new("check".to_owned()));
    let store = SimulatedStore::new(Arc::clone(world), process);
    match check::check(&store).await {
        Ok(checked) if checked.n_open == 0 && checked.offenders.is_empty() => {}
        checked => world.violated("the check is clean", format_args!("{checked:?}")),
    }
}
