//! `btrust:workflow`: the attempt of the task is a workflow of its own.

use serde_json::{Value, json};

use super::{Failure, Run, cut};
use crate::catalogue::CHILD_RESOURCE;
use crate::command::{Refusal, TurnResult};
use crate::event::EventKind;
use crate::limits::{
    CHILD_CAUSE_BYTES_MAX, CHILD_DEPTH_MAX, CHILDREN_OPEN_MAX, OWED_BYTES_MAX, OWED_MAX,
};
use crate::message::{ChildEnd, Message};
use crate::origin::{OnParentClose, Origin, Parent};
use crate::payload::Payload;
use crate::state::{OpenChild, OpenTask, Phase, State, Status};

/// The child has not succeeded.
const CHILD_FAILED: &str = "BTrust.ChildFailed";
/// `Arguments` do not say what to start.
const CHILD_INVALID: &str = "BTrust.ChildInvalid";
/// There are too many children, or too many workflows above this one.
const CHILD_LIMIT: &str = "BTrust.ChildLimit";

/// What `Arguments` ask for.
struct Wanted {
    definition: String,
    version: Option<u32>,
    input: Payload,
    spread: bool,
    on_close: OnParentClose,
}

impl Run<'_> {
    /// Begins the attempt: a child has to start.
    pub(super) fn open_child(&mut self, thread: u32) -> Result<(), Refusal> {
        let task = self.task_mut(thread)?;
        task.phase = Phase::Parked;
        let (number, attempt) = (task.task, task.attempt);
        let wanted = match Wanted::read(&task.arguments) {
            Ok(wanted) => wanted,
            Err(cause) => return self.fail_attempt(thread, Failure::new(CHILD_INVALID, cause)),
        };
        if let Some(cause) = self.excess_of_children(&wanted.input) {
            return self.fail_attempt(thread, Failure::new(CHILD_LIMIT, cause));
        }
        let Wanted {
            definition,
            version,
            input,
            spread,
            on_close,
        } = wanted;
        let parent = self.state.workflow.clone();
        let workflow = super::message::derived_id(
            &["btrust child 1", &parent, &format!("{number}.{attempt}")],
            &parent,
            spread,
        );
        self.task_mut(thread)?.child = Some(OpenChild {
            workflow: workflow.clone(),
            run: 0,
            on_close,
            is_started: false,
        });
        let origin = Origin {
            parent: Some(Parent {
                workflow: parent,
                task: number,
                attempt,
                on_close,
            }),
            depth: self.state.origin.depth + 1,
            ..Origin::default()
        };
        let message = Message::Start {
            definition,
            version,
            input,
            origin: Box::new(origin),
        };
        self.owe(workflow, None, message);
        Ok(())
    }

    /// Why no other child may be started now.
    fn excess_of_children(&self, input: &Payload) -> Option<String> {
        let state = &self.state;
        if CHILD_DEPTH_MAX <= state.origin.depth {
            return Some(format!(
                "There are {CHILD_DEPTH_MAX} workflows above it already."
            ));
        }
        let n_open = state.tasks().filter(|it| it.child.is_some()).count();
        if CHILDREN_OPEN_MAX <= n_open {
            return Some(format!("{CHILDREN_OPEN_MAX} children are open already."));
        }
        let waiting = state.owed.iter().map(|it| match &it.message {
            Message::Start { input, .. } => input.size_bytes(),
            _ => 0,
        });
        if OWED_MAX <= state.owed.len()
            || OWED_BYTES_MAX < waiting.sum::<usize>() + input.size_bytes()
        {
            return Some("Too many children have not been started yet.".to_owned());
        }
        None
    }

    /// Nobody waits for the child of this task any more, if it has one.
    pub(super) fn let_go(&mut self, thread: u32) -> Result<(), Refusal> {
        if let Some(child) = self.task_mut(thread)?.child.take() {
            self.close_child(child.workflow, child.on_close);
        }
        Ok(())
    }

    fn close_child(&mut self, child: String, on_close: OnParentClose) {
        let terminate = match on_close {
            OnParentClose::Abandon => return,
            OnParentClose::Cancel => false,
            OnParentClose::Terminate => true,
        };
        self.owe(child, None, Message::Close { terminate });
    }

    /// The child has begun.
    pub(super) fn child_started(&mut self, parent: &Parent) -> Result<(), Refusal> {
        let thread = self.state.thread_of_child(parent.task, parent.attempt);
        match thread {
            Some(thread) => self.note_child(thread),
            None => Ok(()),
        }
    }

    /// Writes that the child has begun, once.
    fn note_child(&mut self, thread: u32) -> Result<(), Refusal> {
        let task = self.task_mut(thread)?;
        let Some(child) = &mut task.child else {
            return Ok(());
        };
        if child.is_started {
            return Ok(());
        }
        child.is_started = true;
        task.started = true;
        let output = json!({"workflow": child.workflow}).into();
        let (number, attempt) = (task.task, task.attempt);
        let (name, resource) = (task.visit.state.clone(), task.resource.clone());
        let started = EventKind::TaskStarted {
            task: number,
            attempt,
            resource: resource.clone(),
        };
        self.emit(thread, started);
        let submitted = EventKind::TaskSubmitted {
            task: number,
            attempt,
            name,
            resource,
            output,
        };
        self.emit(thread, submitted);
        Ok(())
    }

    /// The child could not begin.
    pub(super) fn child_refused(
        &mut self,
        parent: &Parent,
        error: &str,
        cause: &str,
    ) -> Result<(), Refusal> {
        let Some(thread) = self.state.thread_of_child(parent.task, parent.attempt) else {
            return Ok(());
        };
        self.task_mut(thread)?.child = None;
        self.fail_attempt(thread, Failure::new(error, cause))
    }

    /// The child has ended, and with it the attempt.
    pub(super) fn child_ended(
        &mut self,
        task: u32,
        attempt: u32,
        end: &ChildEnd,
    ) -> Result<(), Refusal> {
        let Some(thread) = self.state.thread_of_child(task, attempt) else {
            return Ok(());
        };
        // Its end may be heard before its start is known to have been taken.
        self.note_child(thread)?;
        self.task_mut(thread)?.child = None;
        if end.status != Status::Succeeded {
            return self.fail_attempt(thread, Failure::new(CHILD_FAILED, cause_of(end)));
        }
        let output = json!({
            "workflow": end.workflow,
            "status": end.status,
            "decision": end.decision,
            "output": end.output,
        });
        let result = TurnResult::Output {
            output: output.into(),
        };
        self.conclude(thread, &result)
    }

    /// The child goes on as another workflow.
    pub(super) fn child_continued(
        &mut self,
        (task, attempt): (u32, u32),
        (next, run): (&str, u32),
        on_close: OnParentClose,
    ) -> Result<(), Refusal> {
        let Some(thread) = self.state.thread_of_child(task, attempt) else {
            self.close_child(next.to_owned(), on_close);
            return Ok(());
        };
        self.note_child(thread)?;
        if let Some(child) = &mut self.task_mut(thread)?.child {
            next.clone_into(&mut child.workflow);
            child.run = run;
        }
        Ok(())
    }
}

impl State {
    /// The branch whose task has a child for this attempt.
    pub(super) fn thread_of_child(&self, task: u32, attempt: u32) -> Option<u32> {
        let thread = self.thread_of_task(task)?;
        let open = self.tasks().find(|it| it.task == task)?;
        (open.attempt == attempt && open.child.is_some()).then_some(thread)
    }

    /// Whether a child that goes on as `next` is known to do so, or of no interest.
    pub(super) fn knows_next(
        &self,
        (task, attempt): (u32, u32),
        (next, run): (&str, u32),
        on_close: OnParentClose,
    ) -> bool {
        if self.thread_of_child(task, attempt).is_some() {
            let open = self.tasks().find(|it| it.task == task);
            let child = open.and_then(|it| it.child.as_ref());
            // An earlier run may be heard of after a later one, since each run tells for itself.
            return child.is_some_and(|it| it.workflow == next || (0 < run && run <= it.run));
        }
        on_close == OnParentClose::Abandon || self.owed.iter().any(|it| it.to == next)
    }
}

impl OpenTask {
    /// Whether the attempt is a workflow of its own.
    pub(super) fn is_child(&self) -> bool {
        self.resource == CHILD_RESOURCE
    }
}

impl Wanted {
    fn read(arguments: &Value) -> Result<Self, String> {
        let fields = arguments
            .as_object()
            .ok_or("Arguments must be an object with `definition`.")?;
        if let Some(unknown) = fields.keys().find(|it| !FIELDS.contains(&it.as_str())) {
            return Err(format!("Arguments have no field `{unknown}`."));
        }
        let definition = match fields.get("definition") {
            Some(Value::String(name)) => name.clone(),
            _ => return Err("Arguments must have a text `definition`.".to_owned()),
        };
        let version = match fields.get("version") {
            None | Some(Value::Null) => None,
            Some(it) => Some(whole(it).ok_or("`version` must be a whole number above 0.")?),
        };
        let spread = match fields.get("spread") {
            None => false,
            Some(it) => it.as_bool().ok_or("`spread` must be true or false.")?,
        };
        let on_close = match fields.get("onParentClose") {
            None => OnParentClose::default(),
            Some(it) => it
                .as_str()
                .and_then(OnParentClose::parse)
                .ok_or("`onParentClose` must be `cancel`, `abandon` or `terminate`.")?,
        };
        let input = fields.get("input").cloned();
        Ok(Self {
            definition,
            version,
            input: input.unwrap_or_else(|| json!({})).into(),
            spread,
            on_close,
        })
    }
}

/// The arguments of the resource.
const FIELDS: [&str; 5] = ["definition", "version", "input", "spread", "onParentClose"];

/// A version; expressions may make a float of it.
fn whole(value: &Value) -> Option<u32> {
    let version = if let Some(version) = value.as_u64() {
        u32::try_from(version).ok()?
    } else {
        let version = value.as_f64().filter(|it| it.fract() == 0.0)?;
        format!("{version:.0}").parse().ok()?
    };
    (0 < version).then_some(version)
}

/// Names the child and why it has not succeeded.
fn cause_of(end: &ChildEnd) -> String {
    let mut cause = end.cause.clone().unwrap_or_default();
    cut(&mut cause, CHILD_CAUSE_BYTES_MAX);
    json!({
        "workflow": end.workflow,
        "status": end.status,
        "error": end.error,
        "cause": cause,
    })
    .to_string()
}
