//! The beginning of a workflow.

use std::collections::{BTreeMap, VecDeque};

use super::{Applied, Move, Run};
use crate::Env;
use crate::command::{Command, Refusal};
use crate::definition::Definition;
use crate::event::EventKind;
use crate::evidence::Evidence;
use crate::state::{PRIORITY_DEFAULT, Position, ROOT, STATE_VERSION, State, Status, Thread};

pub(super) fn start(
    definition: &Definition,
    command: &Command,
    env: &Env,
) -> Result<Applied, Refusal> {
    let Command::Start {
        workflow,
        definition: name,
        version,
        input,
        origin,
    } = command
    else {
        return Err(Refusal::WorkflowUnknown);
    };
    if let Some(excess) = input.excess() {
        return Err(excess.into());
    }
    let root = Thread {
        parent: None,
        path: Vec::new(),
        variables: BTreeMap::new(),
        evidence: Evidence::default(),
        previous: 0,
        position: Position::Moving,
        item: None,
        child: None,
        compensations: Vec::new(),
        compensating: None,
    };
    let state = State {
        v: STATE_VERSION,
        workflow: workflow.clone(),
        definition: name.clone(),
        version: *version,
        priority: PRIORITY_DEFAULT,
        device: None,
        input: input.clone(),
        started_ms: env.now_ms,
        now_ms: env.now_ms,
        deadline_ms: None,
        status: Status::Running,
        closed: None,
        n_events: 0,
        n_tasks: 0,
        n_prompts: 0,
        n_threads: 1,
        threads: BTreeMap::from([(ROOT, root)]),
        outcomes: BTreeMap::new(),
        kept: BTreeMap::new(),
        n_compensations: 0,
        history_nearly_full: false,
        origin: origin.clone(),
        n_messages: 0,
        owed: Vec::new(),
        closed_turns: VecDeque::new(),
        closed_prompts: VecDeque::new(),
        paused: false,
        cancelling: None,
        signals: VecDeque::new(),
        signal_keys: VecDeque::new(),
        wreck: None,
        undone: false,
        n_redrives: 0,
        restarted_as: None,
        redrive_key: None,
        redrive_keys: VecDeque::new(),
    };
    let mut run = Run::new(definition, state, env);
    run.state.deadline_ms = definition
        .timeout_seconds
        .map(|it| run.now_ms().saturating_add(it * 1000));
    let started = EventKind::ExecutionStarted {
        definition: name.clone(),
        version: *version,
        input: input.clone(),
        origin: origin.clone(),
    };
    // As AWS numbers it: the first state has no event before it.
    run.emit_after(0, started);
    run.moves.push_back(Move {
        thread: ROOT,
        to: &definition.machine.start_at,
        input: input.clone(),
    });
    run.finish()
}
