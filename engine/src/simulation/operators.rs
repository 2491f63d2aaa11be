//! Operators: they pause and resume what runs, and repeat what they are not sure of.

use std::sync::Arc;
use std::time::Duration;

use btrust_machine::Refusal;
use btrust_schemas::commands::ActRequest;
use btrust_schemas::ids::WorkflowId;

use crate::error::EngineError;

use super::client::ask;
use super::network::call;
use super::node;
use super::world::{TENANT, World};

/// How long an operator waits before the same again.
const AGAIN: Duration = Duration::from_millis(700);

/// Pauses one workflow after the other, and resumes whatever nobody else has resumed.
pub async fn interfere(world: Arc<World>) {
    if world.weather.operators == 0 {
        return;
    }
    loop {
        let ms = world.chance.between(500, 6_000);
        tokio::time::sleep(Duration::from_millis(ms)).await;
        let Some(id) = take_one(&world) else {
            continue;
        };
        if !is_paused(&world, id) && world.chance.happens(world.weather.operators) {
            pause(&world, id).await;
            let ms = world.chance.between(200, 40_000);
            tokio::time::sleep(Duration::from_millis(ms)).await;
            judge_pause(&world, id);
        }
        if is_paused(&world, id) || world.memory().doubted.contains(&id) {
            resume(&world, id).await;
        }
        world.memory().operated.remove(&id);
    }
}

/// A running workflow that no other operator has to do with; one that is paused before all others.
fn take_one(world: &World) -> Option<WorkflowId> {
    let started: Vec<WorkflowId> = world.memory().started.values().copied().collect();
    let is_free = |it: &WorkflowId| {
        let is_open = world.state(*it).is_some_and(|it| !it.status().is_closed());
        is_open && !world.memory().operated.contains(it)
    };
    let free: Vec<WorkflowId> = started.into_iter().filter(is_free).collect();
    let left_paused = free.iter().find(|it| is_paused(world, **it)).copied();
    let picked = || (!free.is_empty()).then(|| *world.chance.pick(&free));
    let id = left_paused.or_else(picked)?;
    world.memory().operated.insert(id);
    Some(id)
}

fn is_paused(world: &World, id: WorkflowId) -> bool {
    world.state(id).is_some_and(|it| it.is_paused())
}

fn is_closed(world: &World, id: WorkflowId) -> bool {
    world.state(id).is_none_or(|it| it.status().is_closed())
}

fn request() -> ActRequest {
    ActRequest {
        tenant: TENANT.to_owned(),
        reason: None,
        actor: "operator".to_owned(),
    }
}

/// A pause that is acknowledged is committed; one that is not may come at any time. The answer of a node that
/// stood still comes so late that the workflow may have been cancelled and redriven since.
async fn pause(world: &Arc<World>, id: WorkflowId) {
    let answer = ask!(world, node => node.engine.pause(id, request()));
    world.note(format_args!(
        "an operator pauses {id}: {}",
        answer.is_some()
    ));
    match answer {
        Some(Ok(_)) if world.memory().doubted.contains(&id) => {}
        Some(Ok(_)) => {
            let now_ms = world.elapsed_ms();
            let mut memory = world.memory();
            memory.paused.insert(id, now_ms);
            let is_cancelled = memory.cancelled.contains_key(&id);
            drop(memory);
            if !is_cancelled && !is_paused(world, id) && !is_closed(world, id) {
                world.violated("an acknowledged pause is committed", format_args!("{id}"));
            }
        }
        other => judge_refusal(world, id, other.and_then(Result::err)),
    }
}

/// What is paused does not end, unless somebody ends it.
fn judge_pause(world: &World, id: WorkflowId) {
    let mut memory = world.memory();
    let was_sure = memory.paused.remove(&id).is_some();
    let is_cancelled = memory.cancelled.contains_key(&id);
    drop(memory);
    if was_sure && !is_cancelled && !is_paused(world, id) {
        world.violated("a pause holds", format_args!("{id}"));
    }
}

/// Resumes until somebody says that it is done.
async fn resume(world: &Arc<World>, id: WorkflowId) {
    loop {
        let answer = ask!(world, node => node.engine.resume(id, request()));
        world.note(format_args!(
            "an operator resumes {id}: {}",
            answer.is_some()
        ));
        match answer {
            Some(Ok(_)) => {
                if !world.memory().doubted.contains(&id) && is_paused(world, id) {
                    world.violated("an acknowledged resume is committed", format_args!("{id}"));
                }
                return;
            }
            other => judge_refusal(world, id, other.and_then(Result::err)),
        }
        if is_closed(world, id) {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Nothing is refused but what has ended; what was not answered may still happen.
fn judge_refusal(world: &World, id: WorkflowId, error: Option<EngineError>) {
    match error {
        Some(EngineError::Refused(Refusal::WorkflowClosed)) => {}
        Some(error) if !error.is_transient() => {
            world.violated("no false refusal", format_args!("{id} {error}"));
        }
        _ => {
            world.memory().doubted.insert(id);
        }
    }
}
