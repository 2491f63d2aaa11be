//! The snapshot of one workflow: everything that the next transition needs to know.

mod operation;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::effect::{OpenPrompt, OpenTurn, TurnReason};
use crate::evidence::Evidence;
use crate::message::Owed;
use crate::origin::{OnParentClose, Origin};
use crate::payload::Payload;

pub(crate) use operation::{Cancelling, EarlySignal, Held, SignalKey, Wreck};

/// Version of the snapshot's format.
pub(crate) const STATE_VERSION: u32 = 1;

/// The most urgent priority of a workflow; the least urgent one is 0.
pub const PRIORITY_MAX: u8 = 9;
/// Priority of a workflow of which nobody says anything else.
pub const PRIORITY_DEFAULT: u8 = 5;

fn priority_default() -> u8 {
    PRIORITY_DEFAULT
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it by reference"
)]
fn is_priority_default(priority: &u8) -> bool {
    *priority == PRIORITY_DEFAULT
}

/// Where a workflow stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Running,
    Succeeded,
    Failed,
    TimedOut,
    Cancelled,
    /// Another workflow goes on from it.
    Continued,
    /// Ended at once by an operator.
    Terminated,
}

impl Status {
    /// Whether nothing can happen to the workflow any more.
    #[must_use]
    pub fn is_closed(self) -> bool {
        self != Self::Running
    }
}

/// The snapshot of one workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    pub(crate) v: u32,
    pub(crate) workflow: String,
    pub(crate) definition: String,
    pub(crate) version: u32,
    /// How urgent its turns are, 0 to 9; the higher the sooner.
    #[serde(
        default = "priority_default",
        skip_serializing_if = "is_priority_default"
    )]
    pub(crate) priority: u8,
    /// A word for the kind of device that the applicant used last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<String>,
    pub(crate) input: Payload,
    pub(crate) started_ms: i64,
    /// The latest time that a command brought; it never goes back.
    pub(crate) now_ms: i64,
    pub(crate) deadline_ms: Option<i64>,
    pub(crate) status: Status,
    pub(crate) closed: Option<Closing>,
    pub(crate) n_events: u64,
    pub(crate) n_tasks: u32,
    pub(crate) n_prompts: u32,
    pub(crate) n_threads: u32,
    /// The tree of branches, flat: each names its parent; the root is 0.
    pub(crate) threads: BTreeMap<u32, Thread>,
    pub(crate) outcomes: BTreeMap<String, String>,
    /// The latest results of states with `BTrust.Keep`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) kept: BTreeMap<String, Kept>,
    /// How many compensations have been registered.
    #[serde(default)]
    pub(crate) n_compensations: u32,
    /// Whether the workflow has been told that its history is nearly full.
    #[serde(default)]
    pub(crate) history_nearly_full: bool,
    /// Who has started the workflow, when that was no caller.
    #[serde(default, skip_serializing_if = "Origin::is_caller")]
    pub(crate) origin: Origin,
    /// How many messages there have been for other workflows.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) n_messages: u32,
    /// What other workflows have not been told yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) owed: Vec<Owed>,
    pub(crate) closed_turns: VecDeque<ClosedTurn>,
    pub(crate) closed_prompts: VecDeque<ClosedPrompt>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) paused: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cancelling: Option<Cancelling>,
    /// In the order in which they came.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub(crate) signals: VecDeque<EarlySignal>,
    /// Of the latest signals, the latest last.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub(crate) signal_keys: VecDeque<SignalKey>,
    /// Where the workflow goes on when it is redriven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) wreck: Option<Box<Wreck>>,
    /// Whether what the workflow had done was undone before its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) undone: bool,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) n_redrives: u32,
    /// The latest workflow that was started with the input of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) restarted_as: Option<String>,
    /// Of the latest redrive of a snapshot that remembers only that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) redrive_key: Option<String>,
    /// Of the latest redrives, the latest last.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub(crate) redrive_keys: VecDeque<String>,
}

/// How a workflow ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Closing {
    pub at_ms: i64,
    pub output: Option<Payload>,
    pub decision: Option<String>,
    pub error: Option<String>,
    pub cause: Option<String>,
    pub evidence: Vec<String>,
    /// The workflow that goes on from this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continued_as: Option<String>,
}

/// One branch of a running workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Thread {
    pub parent: Option<u32>,
    /// The `Parallel` and `Map` states, and the indexes of branch or item, that lead from the root to this branch.
    pub path: Vec<(String, usize)>,
    /// The item of the `Map` that this branch is a run for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Item>,
    /// The distributed item that this branch belongs to; its events carry it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<String>,
    /// What undoes what this branch has done, in the order in which it was done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compensations: Vec<Registered>,
    /// What follows when everything is undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensating: Option<Compensating>,
    pub variables: BTreeMap<String, Payload>,
    pub evidence: Evidence<String>,
    /// The latest event of this branch.
    pub previous: u64,
    pub position: Position,
}

/// Where a branch stands between two commands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum Position {
    /// Between two states; never stored.
    Moving,
    /// In a state that takes no time; never stored.
    Visiting {
        visit: Visit,
    },
    Task(Box<OpenTask>),
    Waiting {
        visit: Visit,
        until_ms: i64,
    },
    Forked {
        visit: Visit,
        branches: Vec<Branch>,
    },
    Mapping(Box<Mapping>),
    /// A `Parallel` or `Map` that will run again.
    BackingOff {
        visit: Visit,
        until_ms: i64,
    },
    /// It may not go on yet.
    Held(Held),
}

/// The item of a `Map` as `$states.context.Map.Item` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Item {
    pub index: usize,
    pub value: Payload,
}

/// A `Map` at work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mapping {
    pub visit: Visit,
    /// Items, or batches of them.
    pub items: Vec<Payload>,
    /// What the runs get when it is not the items themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Vec<Payload>>,
    /// The index of the item that begins next.
    pub next: usize,
    /// At least 1.
    pub concurrency: usize,
    /// How many items may fail.
    pub tolerated: usize,
    pub failed: usize,
    /// Branch to index of its item.
    #[serde(with = "pairs")]
    pub running: BTreeMap<u32, usize>,
    #[serde(with = "pairs")]
    pub outputs: BTreeMap<usize, Payload>,
    #[serde(default)]
    pub output_bytes: usize,
    /// What the ended items have gained together.
    pub evidence: Option<Evidence<String>>,
}

/// Stores a map as an array of pairs.
///
/// A JSON object has texts for keys, and serde does not read them back as numbers inside of an enum
/// that is told by a tag, which [`Position`] is.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        let pairs = Vec::<(K, V)>::deserialize(deserializer)?;
        Ok(pairs.into_iter().collect())
    }
}

/// The latest result of a state with `BTrust.Keep`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Kept {
    pub arguments: Payload,
    pub outcome: String,
    pub output: Payload,
    /// Whether a rework lets the state keep it.
    pub usable: bool,
}

/// A task that undoes another one, ready to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Registered {
    /// Counts the registrations of the workflow.
    pub order: u32,
    /// The state that it undoes.
    pub state: String,
    pub arguments: Payload,
}

/// A branch that undoes what it has done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Compensating {
    pub failed: usize,
    pub then: Then,
}

/// What follows when everything is undone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum Then {
    Fail {
        error: String,
        cause: String,
    },
    TimeOut,
    Cancel {
        reason: Option<String>,
        by: Option<String>,
    },
    /// The catcher with this index goes on.
    Catch {
        visit: Visit,
        catcher: usize,
        error: String,
        cause: String,
    },
}

/// One visit to a state: what `$states` needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Visit {
    pub state: String,
    pub input: Payload,
    pub entered_ms: i64,
    /// The event that entered the state.
    pub entered: u64,
    /// How often each entry of `Retry` has been used.
    pub retries: Vec<u32>,
}

/// A branch as its `Parallel` sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum Branch {
    Running {
        thread: u32,
    },
    Finished {
        output: Payload,
        evidence: Evidence<String>,
    },
    /// It has dropped out of a race.
    Failed {
        evidence: Evidence<String>,
    },
}

/// What a task is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Role {
    /// The work of a `Task` state.
    #[default]
    Work,
    /// `ItemReader`.
    Read,
    /// `ResultWriter`.
    Write,
    /// `BTrust.Compensation`.
    Compensate,
}

impl Role {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde calls it by reference"
    )]
    fn is_work(&self) -> bool {
        *self == Self::Work
    }
}

/// A task between its scheduling and its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OpenTask {
    pub task: u32,
    #[serde(default, skip_serializing_if = "Role::is_work")]
    pub role: Role,
    pub visit: Visit,
    pub resource: String,
    pub arguments: Payload,
    pub attempt: u32,
    pub turn: u32,
    /// Whether `TaskStarted` of this attempt has been written.
    pub started: bool,
    pub scheduled_ms: i64,
    pub deadline_ms: Option<i64>,
    pub heartbeat_seconds: Option<i64>,
    pub parked: Option<Payload>,
    pub prompt: Option<OpenPrompt>,
    pub wake_ms: Option<i64>,
    /// What has to be sent back to end a `.waitForTaskToken` attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Name of the signal that ends the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// When the holder of the token has been silent for too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_ms: Option<i64>,
    /// The workflow that the attempt is, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<OpenChild>,
    /// What a `ResultWriter` has to write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<Payload>,
    /// Leases of the open turn that were lost without a result.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub n_lost: u32,
    /// Whether the open turn stands still until somebody has looked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_stuck: bool,
    pub phase: Phase,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it by reference"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A task whose turn stands still until somebody has looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StuckTask {
    pub task: u32,
    pub attempt: u32,
    pub turn: u32,
    pub state_name: String,
    pub resource: String,
}

/// A workflow that a task waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OpenChild {
    pub workflow: String,
    /// How many runs have gone before this one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub run: u32,
    pub on_close: OnParentClose,
    /// Whether it is known to have begun.
    pub is_started: bool,
}

/// What a task waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every phase is the large one"
)]
pub(crate) enum Phase {
    /// A worker.
    Open {
        reason: TurnReason,
        scheduled_ms: i64,
        checkpoint: Option<Payload>,
        /// An answer that came while a woken turn was open; it becomes the next turn.
        answer: Option<TurnReason>,
    },
    /// A person.
    Parked,
    /// The next attempt.
    BackingOff { until_ms: i64 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClosedTurn {
    pub task: u32,
    pub attempt: u32,
    pub turn: u32,
    pub digest: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClosedPrompt {
    pub prompt: u32,
    pub digest: String,
}

impl State {
    /// Every turn that a restarted engine must dispatch again, by task.
    #[must_use]
    pub fn open_turns(&self) -> Vec<OpenTurn> {
        let tasks = self.tasks().filter(|it| !it.is_stuck());
        tasks.filter_map(OpenTask::open_turn).collect()
    }

    /// Every task whose turn stands still until somebody has looked.
    #[must_use]
    pub fn stuck_tasks(&self) -> Vec<StuckTask> {
        let stuck = self.tasks().filter(|it| it.is_stuck());
        let stuck = stuck.map(|it| StuckTask {
            task: it.task,
            attempt: it.attempt,
            turn: it.turn,
            state_name: it.visit.state.clone(),
            resource: it.resource.clone(),
        });
        stuck.collect()
    }

    /// The tokens that may be sent back, by task.
    #[must_use]
    pub fn open_tokens(&self) -> Vec<&str> {
        self.tasks().filter_map(|it| it.token.as_deref()).collect()
    }

    /// Every prompt that may be answered, by task.
    #[must_use]
    pub fn open_prompts(&self) -> Vec<OpenPrompt> {
        self.tasks().filter_map(|it| it.prompt.clone()).collect()
    }

    /// The earliest time at which a deadline, wait, retry, expiry or wake-up is due.
    #[must_use]
    pub fn wake_at(&self) -> Option<i64> {
        if self.status.is_closed() || self.paused {
            return None;
        }
        if let Some(until_ms) = self.grace_until_ms() {
            let under_way = self.tasks().filter(|it| it.is_under_way());
            return under_way
                .filter_map(OpenTask::wake_at)
                .chain([until_ms])
                .min();
        }
        let threads = self.threads.values().filter_map(Thread::wake_at).min();
        threads.into_iter().chain(self.deadline_ms).min()
    }

    #[must_use]
    pub fn workflow(&self) -> &str {
        &self.workflow
    }

    /// Name and version of the definition that the workflow runs.
    #[must_use]
    pub fn definition(&self) -> (&str, u32) {
        (&self.definition, self.version)
    }

    /// A word for the kind of device that the applicant has answered with last.
    #[must_use]
    pub fn device(&self) -> Option<&str> {
        self.device.as_deref()
    }

    /// How urgent its turns are, 0 to [`PRIORITY_MAX`]; the higher the sooner.
    #[must_use]
    pub fn priority(&self) -> u8 {
        self.priority
    }

    /// Says how urgent its turns are. For whoever starts the workflow: nothing else depends on it.
    pub fn set_priority(&mut self, priority: u8) {
        self.priority = priority.min(PRIORITY_MAX);
    }

    #[must_use]
    pub fn input(&self) -> &Payload {
        &self.input
    }

    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    #[must_use]
    pub fn started_ms(&self) -> i64 {
        self.started_ms
    }

    #[must_use]
    pub fn closed_ms(&self) -> Option<i64> {
        self.closed.as_ref().map(|it| it.at_ms)
    }

    /// The result of the workflow: the literal `decision` of the `Succeed` state that it ended in.
    #[must_use]
    pub fn decision(&self) -> Option<&str> {
        self.closed.as_ref()?.decision.as_deref()
    }

    #[must_use]
    pub fn output(&self) -> Option<&Payload> {
        self.closed.as_ref()?.output.as_ref()
    }

    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.closed.as_ref()?.error.as_deref()
    }

    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.closed.as_ref()?.cause.as_deref()
    }

    /// The latest outcome of every task state that has had one.
    #[must_use]
    pub fn outcomes(&self) -> &BTreeMap<String, String> {
        &self.outcomes
    }

    /// The evidence that the workflow holds (its branches not counted before they join).
    #[must_use]
    pub fn evidence(&self) -> &[String] {
        match (&self.closed, self.threads.get(&ROOT)) {
            (Some(closing), _) => &closing.evidence,
            (None, Some(root)) => root.evidence.held(),
            (None, None) => &[],
        }
    }

    /// The number of events so far; the id of the latest one.
    #[must_use]
    pub fn n_events(&self) -> u64 {
        self.n_events
    }

    /// The names of the states that the branches stand in.
    #[must_use]
    pub fn positions(&self) -> Vec<&str> {
        self.threads
            .values()
            .filter_map(|it| it.position.visit())
            .map(|it| it.state.as_str())
            .collect()
    }

    pub(crate) fn tasks(&self) -> impl Iterator<Item = &OpenTask> {
        self.threads.values().filter_map(|it| match &it.position {
            Position::Task(task) => Some(&**task),
            _ => None,
        })
    }

    /// The branch that a task belongs to.
    pub(crate) fn thread_of_task(&self, task: u32) -> Option<u32> {
        self.threads.iter().find_map(|(id, it)| match &it.position {
            Position::Task(open) if open.task == task => Some(*id),
            _ => None,
        })
    }

    /// The branch whose task waits for this token.
    pub(crate) fn thread_of_token(&self, token: &str) -> Option<u32> {
        self.threads.iter().find_map(|(id, it)| match &it.position {
            Position::Task(open) if open.token.as_deref() == Some(token) => Some(*id),
            _ => None,
        })
    }

    /// The branch whose task has this prompt open.
    pub(crate) fn thread_of_prompt(&self, prompt: u32) -> Option<u32> {
        self.threads.iter().find_map(|(id, it)| match &it.position {
            Position::Task(open) if open.prompt.as_ref().is_some_and(|it| it.prompt == prompt) => {
                Some(*id)
            }
            _ => None,
        })
    }
}

/// The branch that every workflow starts with.
pub(crate) const ROOT: u32 = 0;

impl Thread {
    fn wake_at(&self) -> Option<i64> {
        match &self.position {
            Position::Task(task) => task.wake_at(),
            Position::Waiting { until_ms, .. } | Position::BackingOff { until_ms, .. } => {
                Some(*until_ms)
            }
            Position::Forked { .. }
            | Position::Mapping(_)
            | Position::Visiting { .. }
            | Position::Held(_)
            | Position::Moving => None,
        }
    }
}

impl Position {
    pub(crate) fn visit(&self) -> Option<&Visit> {
        match self {
            Self::Task(task) => Some(&task.visit),
            Self::Mapping(mapping) => Some(&mapping.visit),
            Self::Visiting { visit }
            | Self::Waiting { visit, .. }
            | Self::Forked { visit, .. }
            | Self::BackingOff { visit, .. } => Some(visit),
            Self::Held(Held::Write { visit, .. }) => Some(visit),
            Self::Held(_) | Self::Moving => None,
        }
    }
}

impl Position {
    /// Forgets how often the retriers of the state have been used.
    pub(crate) fn begin_retries_anew(&mut self) {
        match self {
            Self::Task(task) => task.visit.retries.clear(),
            Self::BackingOff { visit, .. } => visit.retries.clear(),
            _ => {}
        }
    }
}

impl OpenTask {
    pub(crate) fn is_stuck(&self) -> bool {
        self.is_stuck && matches!(self.phase, Phase::Open { .. })
    }

    pub(crate) fn open_turn(&self) -> Option<OpenTurn> {
        let Phase::Open {
            reason,
            scheduled_ms,
            checkpoint,
            ..
        } = &self.phase
        else {
            return None;
        };
        Some(OpenTurn {
            checkpoint: checkpoint.clone(),
            reason: reason.clone(),
            scheduled_ms: *scheduled_ms,
            ..self.as_turn()
        })
    }

    /// The attempt as a turn, whether or not a worker has to take it.
    pub(crate) fn as_turn(&self) -> OpenTurn {
        OpenTurn {
            task: self.task,
            attempt: self.attempt,
            turn: self.turn,
            state_name: self.visit.state.clone(),
            resource: self.resource.clone(),
            arguments: self.arguments.clone(),
            parked: self.parked.clone(),
            checkpoint: None,
            reason: TurnReason::First,
            scheduled_ms: self.scheduled_ms,
            deadline_ms: self.deadline_ms,
            heartbeat_seconds: self.heartbeat_seconds,
        }
    }

    fn wake_at(&self) -> Option<i64> {
        let expires_ms = self.prompt.as_ref().map(|it| it.expires_ms);
        match &self.phase {
            Phase::BackingOff { until_ms } => Some(*until_ms),
            Phase::Open { .. } => self.deadline_ms.into_iter().chain(expires_ms).min(),
            Phase::Parked => self
                .deadline_ms
                .into_iter()
                .chain(expires_ms)
                .chain(self.wake_ms)
                .chain(self.heartbeat_ms)
                .min(),
        }
    }
}
