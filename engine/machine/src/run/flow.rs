//! How a branch goes from state to state.

use serde_json::Value;

use super::evaluate::limit_size;
use super::{Failure, Move, Run, Seen, Trouble};
use crate::command::Refusal;
use crate::definition::{
    Catcher, Condition, Kind, Language, Next, Paths, Placement, Rule, Selection, StateDef,
    Template, Timestamp, Until,
};
use crate::error_name::RUNTIME;
use crate::event::EventKind;
use crate::limits::{HISTORY_EVENTS_CATCHABLE, HISTORY_EVENTS_MAX, HISTORY_EVENTS_RESERVED};
use crate::payload::Payload;
use crate::state::{Held, Position, ROOT, Visit};

const HISTORY_LIMIT_EXCEEDED: &str = "BTrust.HistoryLimitExceeded";

/// Longest that a `Wait` for a timestamp may last, in seconds. Source: the recordings; 24,856 days are too long.
const WAIT_SECONDS_MAX: i64 = i32::MAX as i64;

/// The parts of a state (or of the rule or catcher that was taken) that shape its exit.
pub(super) struct Exit<'a> {
    pub assign: &'a [(String, Template)],
    pub output: Option<&'a Template>,
    pub flow: Flow<'a>,
    pub next: Target<'a>,
    /// Whether the exit goes back for a rework.
    pub rework: bool,
}

/// What a result passes on its way out.
#[derive(Clone, Copy)]
pub(super) enum Flow<'a> {
    /// Nothing: `Output` has seen it all.
    Jsonata,
    JsonPath {
        selector: Option<&'a Template>,
        result: &'a Placement,
        output: &'a Selection,
    },
}

/// Where an exit leads.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    State(&'a str),
    End,
}

impl<'a> Flow<'a> {
    fn of(language: Language, paths: &'a Paths) -> Self {
        match language {
            Language::Jsonata => Self::Jsonata,
            Language::JsonPath => Self::JsonPath {
                selector: paths.selector.as_ref(),
                result: &paths.result,
                output: &paths.output,
            },
        }
    }

    /// What an error passes: `ResultPath` of the catcher, and nothing of the state.
    pub fn of_catcher(state_def: &StateDef, catcher: &'a Catcher) -> Self {
        match state_def.language {
            Language::Jsonata => Self::Jsonata,
            Language::JsonPath => Self::JsonPath {
                selector: None,
                result: &catcher.result,
                output: &Selection::Whole,
            },
        }
    }
}

impl StateDef {
    /// The exit by `Next` (for a `Choice`: by `Default`).
    pub(super) fn exit(&self) -> Exit<'_> {
        let next = match &self.next {
            Next::State(name) => Target::State(name),
            Next::End | Next::None => Target::End,
        };
        Exit {
            assign: &self.assign,
            output: self.output.as_ref(),
            flow: Flow::of(self.language, &self.paths),
            next,
            rework: self.rework,
        }
    }
}

impl<'a> Run<'a> {
    /// Makes moves until every branch waits for something.
    pub(super) fn make_moves(&mut self) -> Result<(), Refusal> {
        loop {
            if HISTORY_EVENTS_MAX - HISTORY_EVENTS_RESERVED <= self.state.n_events
                && !self.state.status.is_closed()
                && !self.state.paused
            {
                let cause = format!(
                    "The workflow reached the maximum number of history events ({HISTORY_EVENTS_MAX})."
                );
                self.close_failed(Failure::new(RUNTIME, cause));
            }
            let Some(step) = self.moves.pop_front() else {
                return Ok(());
            };
            // A branch may have been withdrawn since it was told to move.
            if !self.state.threads.contains_key(&step.thread) {
                continue;
            }
            if self.is_holding() {
                let Move { thread, to, input } = step;
                let state = to.to_owned();
                self.hold(thread, Held::Enter { state, input })?;
            } else {
                self.enter(step)?;
            }
        }
    }

    fn enter(&mut self, step: Move<'a>) -> Result<(), Refusal> {
        let Move { thread, to, input } = step;
        let state_def = self.state_def(thread, to)?;
        let entered = self.emit(
            thread,
            EventKind::StateEntered {
                state_type: state_def.state_type(),
                name: to.to_owned(),
                input: input.clone(),
            },
        );
        let visit = Visit {
            state: to.to_owned(),
            input,
            entered_ms: self.now_ms(),
            entered,
            retries: Vec::new(),
        };
        self.thread_mut(thread)?.position = Position::Visiting {
            visit: visit.clone(),
        };
        if let Some(failure) = self.warn_of_history() {
            return self.fail_state(thread, failure);
        }
        match &state_def.kind {
            Kind::Task(_) => return self.enter_task(thread, visit),
            Kind::Parallel { .. } => return self.fork(thread, state_def, visit),
            Kind::Map(map) => return self.enter_map(thread, state_def, map, visit),
            _ => {}
        }
        let outcome = self
            .effective_input(state_def, thread, &visit)
            .and_then(|input| {
                let seen = Seen::of(thread, &visit).with_data(&input);
                match &state_def.kind {
                    Kind::Pass { parameters, result } => {
                        self.pass(state_def, parameters.as_ref(), result.as_ref(), &seen)
                    }
                    Kind::Choice(rules) => self.choose(state_def, rules, &seen),
                    Kind::Wait(until) => self.wait(state_def, until, &seen),
                    Kind::Succeed {
                        again: Some(again), ..
                    } => self.continue_as_new(state_def, again, &seen),
                    Kind::Succeed { decision, .. } => {
                        self.succeed(state_def, decision.as_deref(), &seen)
                    }
                    Kind::Fail { error, cause } => {
                        Err(self.fail_on_purpose(error.as_ref(), cause.as_ref(), &seen))
                    }
                    Kind::Task(_) | Kind::Parallel { .. } | Kind::Map(_) => Ok(()),
                }
            });
        self.settle(thread, outcome)
    }

    /// The one warning that the history is nearly full: an error that a `Catch` may catch.
    fn warn_of_history(&mut self) -> Option<Failure> {
        let is_near = HISTORY_EVENTS_MAX - HISTORY_EVENTS_CATCHABLE <= self.state.n_events;
        if !is_near || self.state.history_nearly_full {
            return None;
        }
        self.state.history_nearly_full = true;
        let cause = format!(
            "The workflow has {} events; it may have {HISTORY_EVENTS_MAX}.",
            self.state.n_events
        );
        Some(Failure::new(HISTORY_LIMIT_EXCEEDED, cause))
    }

    /// Exits a state: evaluates `Assign` and `Output`, and moves on.
    pub(super) fn leave(
        &mut self,
        exit: Exit<'a>,
        seen: &Seen<'_>,
        default: &Payload,
    ) -> Result<(), Trouble> {
        let (assigned, output) = self.outgoing(&exit, seen, default)?;
        limit_size(&output, "the output", seen.visit)?;
        self.gain_evidence(seen)?;
        let state_type = self.state_def(seen.thread, &seen.visit.state)?.state_type();
        self.assign(seen.thread, &assigned)?;
        let name = seen.visit.state.clone();
        self.emit(
            seen.thread,
            EventKind::StateExited {
                state_type,
                name,
                output: output.clone(),
                assigned,
            },
        );
        self.thread_mut(seen.thread)?.position = Position::Moving;
        match exit.next {
            Target::State(to) => {
                if exit.rework {
                    self.begin_rework(to);
                }
                self.moves.push_back(Move {
                    thread: seen.thread,
                    to,
                    input: output,
                });
            }
            Target::End if seen.thread == ROOT && self.is_holding() => {
                self.hold(ROOT, Held::Succeed { output })?;
            }
            Target::End if seen.thread == ROOT => self.close_succeeded(output, None),
            Target::End => self.finish_branch(seen.thread, output)?,
        }
        Ok(())
    }

    fn pass(
        &mut self,
        state_def: &'a StateDef,
        parameters: Option<&'a Template>,
        result: Option<&'a Payload>,
        seen: &Seen<'_>,
    ) -> Result<(), Trouble> {
        let passed = match (result, parameters) {
            (Some(result), _) => result.clone(),
            (None, Some(template)) => self.template(template, "Parameters", seen)?,
            (None, None) => seen.data.clone(),
        };
        let seen = seen.with_data(&passed);
        self.leave(state_def.exit(), &seen, &passed)
    }

    fn choose(
        &mut self,
        state_def: &'a StateDef,
        rules: &'a [Rule],
        seen: &Seen<'_>,
    ) -> Result<(), Trouble> {
        for (index, rule) in rules.iter().enumerate() {
            if self.holds(&rule.condition, index, seen)? {
                let exit = Exit {
                    assign: &rule.assign,
                    output: rule.output.as_ref(),
                    flow: Flow::of(state_def.language, &state_def.paths),
                    next: Target::State(&rule.next),
                    rework: rule.rework,
                };
                return self.leave(exit, seen, seen.data);
            }
        }
        if state_def.next == Next::None {
            let cause = format!(
                "No rule of the state '{}' matched, and it has no Default.",
                state_def.name
            );
            return Err(Failure::new("States.NoChoiceMatched", cause).into());
        }
        self.leave(state_def.exit(), seen, seen.data)
    }

    fn holds(&self, condition: &Condition, index: usize, seen: &Seen<'_>) -> Result<bool, Trouble> {
        match condition {
            Condition::Literal(holds) => Ok(*holds),
            Condition::Compared(rule) => self.compare(rule, seen),
            Condition::Computed(expression) => {
                let location = format!("Choices/{index}/Condition");
                let value = self.expression(expression, &location, seen)?;
                value.as_bool().ok_or_else(|| {
                    super::evaluate::unexpected(expression, &location, seen, "boolean", &value)
                })
            }
        }
    }

    fn wait(
        &mut self,
        state_def: &'a StateDef,
        until: &Until,
        seen: &Seen<'_>,
    ) -> Result<(), Trouble> {
        let until_ms = match until {
            Until::Seconds(seconds) => self
                .now_ms()
                .saturating_add(self.seconds(seconds, "Seconds", 0, seen)? * 1000),
            Until::Timestamp(timestamp) => self.timestamp(timestamp, seen)?,
        };
        if WAIT_SECONDS_MAX * 1000 < until_ms.saturating_sub(self.now_ms()) {
            return Err(super::evaluate::cannot_run(
                seen,
                "Wait state delay is too long.",
            ));
        }
        if until_ms <= self.now_ms() {
            return self.leave(state_def.exit(), seen, seen.data);
        }
        self.thread_mut(seen.thread)?.position = Position::Waiting {
            visit: seen.visit.clone(),
            until_ms,
        };
        Ok(())
    }

    fn timestamp(&self, timestamp: &Timestamp, seen: &Seen<'_>) -> Result<i64, Trouble> {
        let (value, path) = match timestamp {
            Timestamp::Literal(at_ms) => return Ok(*at_ms),
            Timestamp::Computed(it) => (self.expression(it, "Timestamp", seen)?, None),
            Timestamp::Path(it) => (self.path(it, seen)?, Some(it)),
        };
        let shown = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let time = value.as_str().and_then(crate::jsonpath::timestamp);
        match (time, path) {
            (Some(time), _) => Ok(time.timestamp_millis()),
            (None, Some(path)) => Err(super::evaluate::cannot_run(
                seen,
                &format!(
                    "The TimestampPath parameter does not reference a valid ISO-8601 extended \
                     offset date-time format string: {} == {shown}",
                    path.source()
                ),
            )),
            (None, None) => Err(super::evaluate::misread(
                "Timestamp",
                seen,
                &format!(
                    "The Timestamp field cannot be parsed as an ISO-8601 extended offset \
                     date-time format string: {shown}"
                ),
            )),
        }
    }

    /// The time of a `Wait` has come.
    pub(super) fn end_wait(&mut self, thread: u32) -> Result<(), Refusal> {
        let Position::Waiting { visit, .. } = &self.thread(thread)?.position else {
            return Ok(());
        };
        let visit = visit.clone();
        let state_def = self.state_def(thread, &visit.state)?;
        let outcome = self
            .effective_input(state_def, thread, &visit)
            .and_then(|input| {
                let seen = Seen::of(thread, &visit).with_data(&input);
                self.leave(state_def.exit(), &seen, &input)
            });
        self.settle(thread, outcome)
    }

    fn succeed(
        &mut self,
        state_def: &'a StateDef,
        decision: Option<&str>,
        seen: &Seen<'_>,
    ) -> Result<(), Trouble> {
        let (assigned, output) = self.outgoing(&state_def.exit(), seen, seen.data)?;
        limit_size(&output, "the output", seen.visit)?;
        let decision = if seen.thread == ROOT { decision } else { None };
        if let Some(decision) = decision {
            self.guard(decision, seen)?;
        }
        self.assign(seen.thread, &assigned)?;
        let state_type = state_def.state_type();
        let name = seen.visit.state.clone();
        self.emit(
            seen.thread,
            EventKind::StateExited {
                state_type,
                name,
                output: output.clone(),
                assigned,
            },
        );
        if seen.thread == ROOT {
            self.close_succeeded(output, decision.map(str::to_owned));
        } else {
            self.finish_branch(seen.thread, output)?;
        }
        Ok(())
    }

    fn fail_on_purpose(
        &self,
        error: Option<&Template>,
        cause: Option<&Template>,
        seen: &Seen<'_>,
    ) -> Trouble {
        let text = |template: Option<&Template>, location: &str| match template {
            None => Ok(String::new()),
            Some(template) => {
                let location = match template {
                    Template::Path(_) => format!("{location}Path"),
                    _ => location.to_owned(),
                };
                let value = self.template(template, &location, seen)?;
                let text = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                Ok::<_, Trouble>(text)
            }
        };
        match (text(error, "Error"), text(cause, "Cause")) {
            (Ok(error), Ok(cause)) => Failure::new(&error, cause).into(),
            (Err(trouble), _) | (_, Err(trouble)) => trouble,
        }
    }
}

impl Run<'_> {
    /// The run of the state has ended well: what it proves is held from now on.
    fn gain_evidence(&mut self, seen: &Seen<'_>) -> Result<(), Refusal> {
        let Some(result) = seen.result else {
            return Ok(());
        };
        let definition = self.definition;
        for rule in definition
            .evidence
            .iter()
            .filter(|it| it.state == seen.visit.state)
        {
            if rule.is_gained(result) {
                self.thread_mut(seen.thread)?
                    .evidence
                    .gain(rule.name.clone());
                let (evidence, name) = (rule.name.clone(), rule.state.clone());
                self.emit(seen.thread, EventKind::EvidenceGained { evidence, name });
            }
        }
        Ok(())
    }
}

impl crate::definition::EvidenceRule {
    /// Whether a result `{outcome, output}` of the rule's state is what the rule asks for.
    fn is_gained(&self, result: &Value) -> bool {
        result.get("outcome").and_then(Value::as_str) == Some(self.outcome.as_str())
            && self.with.iter().all(|(field, expected)| {
                let found = result.get("output").and_then(|it| it.get(field));
                found.is_some_and(|it| crate::expression::equal(it, expected))
            })
    }
}
