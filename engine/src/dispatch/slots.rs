//! Open turns by task: who made them, where they wait, and who holds them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use btrust_machine::{OpenTurn, TaskLabels};
use btrust_schemas::exchange::Progress;
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
    /// 0 to 9; the higher the sooner.
    pub priority: u8,
    /// The labels that its tasks ask for, by state.
    pub labels: Option<Arc<TaskLabels>>,
}

/// The open turn of one task.
#[derive(Debug)]
pub struct Slot {
    pub owner: Arc<Owner>,
    pub turn: Arc<OpenTurn>,
    pub place: Place,
    /// Its number in its line while it waits for a worker.
    pub waiting: Option<u64>,
    pub lease: Option<Lease>,
    /// The session that has made the turn's checkpoint, is making it, or was given the turn with it.
    pub checkpointer: Option<SessionNumber>,
    /// Whether its workflow is being cancelled: whoever has it may end it, and nobody else gets it.
    pub is_cancelled: bool,
    /// Results of this turn, or the loss of its lease, that are on their way to a commit; while there are
    /// any, it is not requeued.
    pub n_reports: u32,
    /// For the metrics; nothing is decided by it.
    pub put_at: Instant,
}

/// Who holds a turn.
#[derive(Debug)]
pub struct Lease {
    pub session: SessionNumber,
    /// The call of the session that it began with.
    pub generation: u64,
    pub since_ms: i64,
    pub told: Option<Box<Told>>,
}

/// What a step has told last of its turn.
#[derive(Debug)]
pub struct Told {
    pub progress: Progress,
    pub at_ms: i64,
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

    pub fn is_held_by(&self, session: SessionNumber) -> bool {
        self.lease.as_ref().is_some_and(|it| it.session == session)
    }

    pub fn is(&self, key: TurnKey) -> bool {
        self.turn.attempt == key.attempt && self.turn.turn == key.turn
    }

    /// Whether it may wait for a worker, but does not.
    pub fn is_free(&self) -> bool {
        self.lease.is_none() && self.n_reports == 0 && self.waiting.is_none() && !self.is_cancelled
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

    /// Every task that has an open turn.
    pub fn all(&self) -> Vec<TaskId> {
        self.tasks.iter().copied().collect()
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
