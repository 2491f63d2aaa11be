//! The states of a definition, parsed.

use std::collections::{BTreeSet, HashMap};

use super::template::Template;
use crate::event::StateType;
use crate::expression::Expression;
use crate::jsonpath::{ChoiceRule, Path, ReferencePath};
use crate::payload::Payload;

/// How a state spells its queries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Language {
    #[default]
    Jsonata,
    JsonPath,
}

/// The states of one level: the whole definition, a branch of a `Parallel`, or the processor of a `Map`.
#[derive(Debug)]
pub(crate) struct Machine {
    pub start_at: String,
    /// In the order of the document.
    pub states: Vec<StateDef>,
    pub by_name: HashMap<String, usize>,
}

/// One state.
#[derive(Debug)]
pub(crate) struct StateDef {
    pub name: String,
    /// JSON pointer into the document.
    pub pointer: String,
    pub kind: Kind,
    pub language: Language,
    pub assign: Vec<(String, Template)>,
    /// `Output`; never of a JSONPath state.
    pub output: Option<Template>,
    /// What a JSONPath state selects; all of it in a JSONata state.
    pub paths: Paths,
    /// For `Choice` this is `Default`.
    pub next: Next,
    /// `BTrust.Rework`: `next` goes back to be run again, and what is still valid is kept.
    pub rework: bool,
}

/// The data flow of a JSONPath state: input -> `InputPath` -> `Parameters` -> work -> `ResultSelector`
/// -> `ResultPath` -> `OutputPath`.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    pub input: Selection,
    pub selector: Option<Template>,
    pub result: Placement,
    pub output: Selection,
}

/// A path that may be `null`, which selects an empty object.
#[derive(Debug, Default)]
pub(crate) enum Selection {
    #[default]
    Whole,
    Nothing,
    Path(Path),
}

/// Where a result goes in the input.
#[derive(Debug, Default)]
pub(crate) enum Placement {
    /// In place of it.
    #[default]
    Whole,
    /// Nowhere.
    Discard,
    At(ReferencePath),
}

/// Where a state leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    State(String),
    End,
    /// Nowhere: `Fail`, and a `Choice` without `Default`.
    None,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Task(Box<TaskDef>),
    Choice(Vec<Rule>),
    /// With `Parameters` and `Result`, which only JSONPath has.
    Pass {
        parameters: Option<Template>,
        result: Option<Payload>,
    },
    Wait(Until),
    /// With the literal `decision` of its `Output`, or `BTrust.ContinueAsNew`.
    Succeed {
        decision: Option<String>,
        again: Option<Box<Again>>,
    },
    Fail {
        error: Option<Template>,
        cause: Option<Template>,
    },
    Parallel {
        branches: Vec<Machine>,
        arguments: Option<Template>,
        /// `BTrust.Race`: the first branch that ends well wins.
        race: bool,
        handlers: Handlers,
    },
    Map(Box<MapDef>),
}

#[derive(Debug)]
pub(crate) struct TaskDef {
    /// As written, without `.waitForTaskToken`: `kyc:otp` or `kyc:otp@1`; in a bare document any resource.
    pub resource: String,
    /// Whether the attempt ends when somebody sends its token back.
    pub waits_for_token: bool,
    /// The published outcomes; `None` before the catalogue is known, and for what is no step of ours.
    pub outcomes: Option<Vec<String>>,
    pub arguments: Option<Template>,
    pub timeout: Option<Seconds>,
    pub heartbeat: Option<Seconds>,
    pub handlers: Handlers,
    /// `BTrust.Keep`: outcomes that stay valid when a rework leads here again with equal arguments.
    pub keep: Vec<String>,
    /// `BTrust.Labels`: what a worker must offer to be given the task.
    pub labels: BTreeSet<String>,
    /// `BTrust.Compensation`: what undoes the task.
    pub compensation: Option<Box<Compensation>>,
}

/// The next run, which goes on from this one.
#[derive(Debug)]
pub(crate) struct Again {
    pub input: Option<Template>,
    /// The version of this run when there is none.
    pub version: Option<u32>,
}

/// The task that undoes another one.
#[derive(Debug)]
pub(crate) struct Compensation {
    pub resource: String,
    pub outcomes: Option<Vec<String>>,
    /// Evaluated when the task that it undoes has ended.
    pub arguments: Option<Template>,
    pub timeout_seconds: Option<i64>,
    pub retry: Vec<Retrier>,
}

/// A `Map`: the same states for every item.
#[derive(Debug)]
pub(crate) struct MapDef {
    pub items: Items,
    pub reader: Option<Transfer>,
    /// `ItemSelector`, or `Parameters` in its older spelling.
    pub selector: Option<Template>,
    pub batcher: Option<Batcher>,
    pub processor: Machine,
    /// Whether the items are on their own: no variables of the states around, failures may be tolerated.
    pub is_distributed: bool,
    /// 0 is no limit.
    pub concurrency: Number,
    pub tolerated_count: Option<Number>,
    /// From 0 to 100.
    pub tolerated_percentage: Option<Number>,
    pub writer: Option<Transfer>,
    pub handlers: Handlers,
}

/// Where the items of a `Map` come from when there is no reader.
#[derive(Debug)]
pub(crate) enum Items {
    /// The effective input.
    Input,
    /// `Items`.
    Template(Template),
    /// `ItemsPath`.
    Path(Path),
}

/// `ItemBatcher`: several items for one run of the processor.
#[derive(Debug)]
pub(crate) struct Batcher {
    pub items_max: Option<Number>,
    pub bytes_max: Option<Number>,
    pub input: Option<Template>,
}

/// `ItemReader` or `ResultWriter`: a task that moves items from or to the object store.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub resource: String,
    pub outcomes: Option<Vec<String>>,
    pub config: Payload,
    pub arguments: Option<Template>,
}

/// A number, literal or computed.
#[derive(Debug)]
pub(crate) enum Number {
    Literal(f64),
    Computed(Expression),
    Path(Path),
}

/// A time span in seconds, literal or computed.
#[derive(Debug)]
pub(crate) enum Seconds {
    Literal(i64),
    Computed(Expression),
    Path(Path),
}

#[derive(Debug)]
pub(crate) enum Until {
    Seconds(Seconds),
    Timestamp(Timestamp),
}

#[derive(Debug)]
pub(crate) enum Timestamp {
    /// Milliseconds since the epoch.
    Literal(i64),
    Computed(Expression),
    Path(Path),
}

/// What happens when a state fails.
#[derive(Debug, Default)]
pub(crate) struct Handlers {
    pub retry: Vec<Retrier>,
    pub catch: Vec<Catcher>,
}

#[derive(Debug)]
pub(crate) struct Retrier {
    pub errors: Vec<String>,
    pub interval_seconds: i64,
    pub attempts_max: u32,
    pub backoff_rate: f64,
    pub delay_max_seconds: Option<i64>,
    pub jitter: Jitter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Jitter {
    None,
    Full,
}

#[derive(Debug)]
pub(crate) struct Catcher {
    pub errors: Vec<String>,
    pub assign: Vec<(String, Template)>,
    pub output: Option<Template>,
    /// `ResultPath` of the error.
    pub result: Placement,
    pub next: String,
    pub rework: bool,
    /// `BTrust.Compensate`: undoes what has been done before it goes on.
    pub compensate: bool,
}

/// One rule of a `Choice`.
#[derive(Debug)]
pub(crate) struct Rule {
    pub condition: Condition,
    pub assign: Vec<(String, Template)>,
    pub output: Option<Template>,
    pub next: String,
    pub rework: bool,
}

#[derive(Debug)]
pub(crate) enum Condition {
    Literal(bool),
    Computed(Expression),
    Compared(ChoiceRule),
}

/// Takes the JSON pointer of a resource, the resource and its outcomes.
type ChangeResource<'c> = &'c mut dyn FnMut(&str, &mut String, &mut Option<Vec<String>>);

impl Machine {
    pub fn state(&self, name: &str) -> Option<&StateDef> {
        self.by_name.get(name).map(|index| &self.states[*index])
    }

    /// Every state, branches included, parents first.
    pub fn all(&self) -> Vec<&StateDef> {
        let mut found = Vec::new();
        for state in &self.states {
            found.push(state);
            found.extend(state.levels().into_iter().flat_map(Machine::all));
        }
        found
    }

    /// Calls `change` with the JSON pointer of every resource, the resource, and its outcomes.
    pub fn resources_mut(&mut self, change: ChangeResource<'_>) {
        for state in &mut self.states {
            let at = |field: &str| format!("{}/{field}", state.pointer);
            match &mut state.kind {
                Kind::Task(task) => {
                    change(&at("Resource"), &mut task.resource, &mut task.outcomes);
                    if let Some(it) = &mut task.compensation {
                        let pointer = at("BTrust.Compensation/Resource");
                        change(&pointer, &mut it.resource, &mut it.outcomes);
                    }
                }
                Kind::Parallel { branches, .. } => {
                    for branch in branches {
                        branch.resources_mut(change);
                    }
                }
                Kind::Map(map) => {
                    for (transfer, field) in [
                        (&mut map.reader, "ItemReader/Resource"),
                        (&mut map.writer, "ResultWriter/Resource"),
                    ] {
                        if let Some(it) = transfer {
                            change(&at(field), &mut it.resource, &mut it.outcomes);
                        }
                    }
                    map.processor.resources_mut(change);
                }
                _ => {}
            }
        }
    }
}

impl StateDef {
    /// The levels inside the state: branches, or the processor.
    pub fn levels(&self) -> Vec<&Machine> {
        match &self.kind {
            Kind::Parallel { branches, .. } => branches.iter().collect(),
            Kind::Map(map) => vec![&map.processor],
            _ => Vec::new(),
        }
    }

    pub fn state_type(&self) -> StateType {
        match self.kind {
            Kind::Task(_) => StateType::Task,
            Kind::Choice(_) => StateType::Choice,
            Kind::Pass { .. } => StateType::Pass,
            Kind::Wait(_) => StateType::Wait,
            Kind::Succeed { .. } => StateType::Succeed,
            Kind::Fail { .. } => StateType::Fail,
            Kind::Parallel { .. } => StateType::Parallel,
            Kind::Map(_) => StateType::Map,
        }
    }

    pub fn handlers(&self) -> Option<&Handlers> {
        match &self.kind {
            Kind::Task(task) => Some(&task.handlers),
            Kind::Parallel { handlers, .. } => Some(handlers),
            Kind::Map(map) => Some(&map.handlers),
            _ => None,
        }
    }

    /// Every state of the same level that may follow.
    pub fn successors(&self) -> Vec<&str> {
        let mut found: Vec<&str> = Vec::new();
        if let Kind::Choice(rules) = &self.kind {
            found.extend(rules.iter().map(|it| it.next.as_str()));
        }
        if let Next::State(next) = &self.next {
            found.push(next);
        }
        if let Some(handlers) = self.handlers() {
            found.extend(handlers.catch.iter().map(|it| it.next.as_str()));
        }
        found
    }

    /// Every variable that the state may assign.
    pub fn assigned(&self) -> Vec<&str> {
        let mut found: Vec<&str> = self.assign.iter().map(|(name, _)| name.as_str()).collect();
        if let Kind::Choice(rules) = &self.kind {
            found.extend(
                rules
                    .iter()
                    .flat_map(|it| it.assign.iter().map(|(name, _)| name.as_str())),
            );
        }
        for catcher in self.handlers().into_iter().flat_map(|it| &it.catch) {
            found.extend(catcher.assign.iter().map(|(name, _)| name.as_str()));
        }
        found
    }
}

/// The empty object: the default of `Arguments`.
pub(crate) fn no_arguments() -> Payload {
    Payload::from(serde_json::Value::Object(serde_json::Map::new()))
}
