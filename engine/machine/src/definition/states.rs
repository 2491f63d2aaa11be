//! The states of a definition, parsed.

use std::collections::HashMap;

use super::template::Template;
use crate::event::StateType;
use crate::expression::Expression;
use crate::payload::Payload;

/// The states of one level: the whole definition, or one branch of a `Parallel`.
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
    pub assign: Vec<(String, Template)>,
    pub output: Option<Template>,
    /// For `Choice` this is `Default`.
    pub next: Next,
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
    Pass,
    Wait(Until),
    /// With the literal `decision` of its `Output`.
    Succeed {
        decision: Option<String>,
    },
    Fail {
        error: Option<Template>,
        cause: Option<Template>,
    },
    Parallel {
        branches: Vec<Machine>,
        arguments: Option<Template>,
        handlers: Handlers,
    },
}

#[derive(Debug)]
pub(crate) struct TaskDef {
    /// As written: `kyc:otp` or `kyc:otp@1`.
    pub resource: String,
    /// The published outcomes; `None` before the catalogue is known.
    pub outcomes: Option<Vec<String>>,
    pub arguments: Option<Template>,
    pub timeout: Option<Seconds>,
    pub heartbeat: Option<Seconds>,
    pub handlers: Handlers,
}

/// A time span in seconds, literal or computed.
#[derive(Debug)]
pub(crate) enum Seconds {
    Literal(i64),
    Computed(Expression),
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
    pub next: String,
}

/// One rule of a `Choice`.
#[derive(Debug)]
pub(crate) struct Rule {
    pub condition: Condition,
    pub assign: Vec<(String, Template)>,
    pub output: Option<Template>,
    pub next: String,
}

#[derive(Debug)]
pub(crate) enum Condition {
    Literal(bool),
    Computed(Expression),
}

impl Machine {
    pub fn state(&self, name: &str) -> Option<&StateDef> {
        self.by_name.get(name).map(|index| &self.states[*index])
    }

    /// Every state, branches included, parents first.
    pub fn all(&self) -> Vec<&StateDef> {
        let mut found = Vec::new();
        for state in &self.states {
            found.push(state);
            if let Kind::Parallel { branches, .. } = &state.kind {
                found.extend(branches.iter().flat_map(Machine::all));
            }
        }
        found
    }

    /// Calls `change` with every task, branches included.
    pub fn tasks_mut(&mut self, change: &mut dyn FnMut(&str, &mut TaskDef)) {
        for state in &mut self.states {
            match &mut state.kind {
                Kind::Task(task) => change(&state.pointer, task),
                Kind::Parallel { branches, .. } => {
                    for branch in branches {
                        branch.tasks_mut(change);
                    }
                }
                _ => {}
            }
        }
    }
}

impl StateDef {
    pub fn state_type(&self) -> StateType {
        match self.kind {
            Kind::Task(_) => StateType::Task,
            Kind::Choice(_) => StateType::Choice,
            Kind::Pass => StateType::Pass,
            Kind::Wait(_) => StateType::Wait,
            Kind::Succeed { .. } => StateType::Succeed,
            Kind::Fail { .. } => StateType::Fail,
            Kind::Parallel { .. } => StateType::Parallel,
        }
    }

    pub fn handlers(&self) -> Option<&Handlers> {
        match &self.kind {
            Kind::Task(task) => Some(&task.handlers),
            Kind::Parallel { handlers, .. } => Some(handlers),
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

    /// Visits every expression of the state with its JSON pointer (branches not included).
    pub fn expressions<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Expression)) {
        let at = |field: &str| format!("{}/{field}", self.pointer);
        visit_assign(&self.assign, &at("Assign"), visit);
        visit_template(self.output.as_ref(), &at("Output"), visit);
        match &self.kind {
            Kind::Task(task) => {
                visit_template(task.arguments.as_ref(), &at("Arguments"), visit);
                for (seconds, field) in [
                    (&task.timeout, "TimeoutSeconds"),
                    (&task.heartbeat, "HeartbeatSeconds"),
                ] {
                    if let Some(Seconds::Computed(expression)) = seconds {
                        visit(&at(field), expression);
                    }
                }
            }
            Kind::Choice(rules) => {
                for (index, rule) in rules.iter().enumerate() {
                    let pointer = at(&format!("Choices/{index}"));
                    if let Condition::Computed(expression) = &rule.condition {
                        visit(&format!("{pointer}/Condition"), expression);
                    }
                    visit_assign(&rule.assign, &format!("{pointer}/Assign"), visit);
                    visit_template(rule.output.as_ref(), &format!("{pointer}/Output"), visit);
                }
            }
            Kind::Wait(Until::Seconds(Seconds::Computed(expression))) => {
                visit(&at("Seconds"), expression);
            }
            Kind::Wait(Until::Timestamp(Timestamp::Computed(expression))) => {
                visit(&at("Timestamp"), expression);
            }
            Kind::Fail { error, cause } => {
                visit_template(error.as_ref(), &at("Error"), visit);
                visit_template(cause.as_ref(), &at("Cause"), visit);
            }
            Kind::Parallel { arguments, .. } => {
                visit_template(arguments.as_ref(), &at("Arguments"), visit);
            }
            Kind::Wait(_) | Kind::Pass | Kind::Succeed { .. } => {}
        }
        for (index, catcher) in self
            .handlers()
            .into_iter()
            .flat_map(|it| it.catch.iter().enumerate())
        {
            visit_assign(
                &catcher.assign,
                &at(&format!("Catch/{index}/Assign")),
                visit,
            );
            visit_template(
                catcher.output.as_ref(),
                &at(&format!("Catch/{index}/Output")),
                visit,
            );
        }
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

fn visit_assign<'a>(
    assign: &'a [(String, Template)],
    pointer: &str,
    visit: &mut dyn FnMut(&str, &'a Expression),
) {
    for (name, template) in assign {
        template.expressions(&crate::finding::at(pointer, name), visit);
    }
}

fn visit_template<'a>(
    template: Option<&'a Template>,
    pointer: &str,
    visit: &mut dyn FnMut(&str, &'a Expression),
) {
    if let Some(template) = template {
        template.expressions(pointer, visit);
    }
}

/// The empty object: the default of `Arguments`.
pub(crate) fn no_arguments() -> Payload {
    Payload::from(serde_json::Value::Object(serde_json::Map::new()))
}
