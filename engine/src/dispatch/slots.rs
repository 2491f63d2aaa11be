//! Open turns by task: who made them, where they wait, and who holds them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use btrust_machine::OpenTurn;
use btrust_schemas::ids::{TaskId, WorkflowId};
use btrust_schemas::turn::TurnKey;

use super::queue::Place;
use super::sessions::SessionNumber;

/// What all turns of a workflow have in common.
#[derive(Debug)]
pub struct Owner {
    pub workflow: WorkflowId,
    pub tenant: String,
    pub subject: String,
    pub locale: String,
}

/// The open turn of one task.
#[derive(Debug)]
pub struct Slot {
    pub owner: Arc<Owner>,
    pub turn: Arc<OpenTurn>,
    pub place: Place,
    /// Its number in its line while it waits for a worker.
    pub waiting: Option<u64>,
    pub lease: Option<SessionNumber>,
    /// The session that has made the turn's checkpoint, is making it, or was given the turn with it.
    pub checkpointer: Option<SessionNumber>,
    /// Results of this turn that are on their way to a commit; while there are any, it is not requeued.
    pub n_reports: u32,
}

impl Slot {
    pub fn key(&self) -> TurnKey {
        let task = TaskId {
            workflow: self.owner.workflow,
            number: self.turn.task,
        };
        TurnKey {
            task,
            attempt: self.turn.attempt,
            turn: self.turn.turn,
        }
    }

    pub fn is(&self, key: TurnKey) -> bool {
        self.turn.attempt == key.attempt && self.turn.turn == key.turn
    }

    /// Whether it may wait for a worker, but does not.
    pub fn is_free(&self) -> bool {
        self.lease.is_none() && self.n_reports == 0 && self.waiting.is_none()
    }
}

/// All open turns of this process; at most one a task.
#[derive(Debug, Default)]
pub struct Slots {
    by_task: HashMap<TaskId, Slot>,
    /// The same tasks in the order of workflows, and so of partitions.
    tasks: BTreeSet<TaskId>,
}

impl Slots {
    pub fn get(&self, task: TaskId) -> Option<&Slot> {
        self.by_task.get(&task)
    }

    /// The slot of a turn, unless its task is at another turn.
    pub fn of(&self, key: TurnKey) -> Option<&Slot> {
        self.by_task.get(&key.task).filter(|it| it.is(key))
    }

    pub fn get_mut(&mut self, task: TaskId) -> Option<&mut Slot> {
        self.by_task.get_mut(&task)
    }

    /// The slot of a turn, unless its task is at another turn.
    pub fn of_mut(&mut self, key: TurnKey) -> Option<&mut Slot> {
        self.by_task.get_mut(&key.task).filter(|it| it.is(key))
    }

    pub fn insert(&mut self, slot: Slot) {
        let task = slot.key().task;
        self.tasks.insert(task);
        self.by_task.insert(task, slot);
    }

    pub fn remove(&mut self, task: TaskId) -> Option<Slot> {
        let slot = self.by_task.remove(&task)?;
        self.tasks.remove(&task);
        Some(slot)
    }

    /// Tasks of a workflow that have an open turn.
    pub fn of_workflow(&self, workflow: WorkflowId) -> Vec<TaskId> {
        self.between(workflow, workflow)
    }

    /// Tasks of a partition that have an open turn.
    pub fn of_partition(&self, partition: u8) -> Vec<TaskId> {
        let first = WorkflowId::new(partition, [0; 15]);
        self.between(first, WorkflowId::new(partition, [u8::MAX; 15]))
    }

    fn between(&self, first: WorkflowId, last: WorkflowId) -> Vec<TaskId> {
        let task = |workflow, number| TaskId { workflow, number };
        let range = task(first, 0)..=task(last, u32::MAX);
        self.tasks.range(range).copied().collect()
    }
}
