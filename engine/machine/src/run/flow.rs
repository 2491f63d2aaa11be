//! How a branch goes from state to state.

use chrono::DateTime;
use serde_json::{Value, json};

use super::evaluate::{Seen, limit_size, unexpected};
use super::{Failure, Move, Run, Trouble};
use crate::command::Refusal;
use crate::definition::{Catcher, Condition, Jitter, Kind, Next, Retrier, Rule, StateDef, Template, Timestamp, Until};
use crate::event::EventKind;
use crate::limits::{HISTORY_EVENTS_MAX, HISTORY_EVENTS_RESERVED, SECONDS_MAX};
use crate::payload::Payload;
use crate::state::{Phase, Position, ROOT, Visit};

pub(super) const TIMEOUT: &str = "States.Timeout";
const RUNTIME: &str = "States.Runtime";

/// The parts of a state (or of the rule or catcher that was taken) that shape its exit.
pub(super) struct Exit<'a> {
    pub assign: &'a [(String, Template)],
    pub output: Option<&'a Template>,
    pub next: Target<'a>,
}

/// Where an exit leads.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    State(&'a str),
    End,
}

impl<'a> Run<'a> {
    /// Makes moves until every branch waits for something.
    pub(super) fn make_moves(&mut self) -> Result<(), Refusal> {
        loop {
            if HISTORY_EVENTS_MAX - HISTORY_EVENTS_RESERVED <= self.state.n_events && !self.state.status.is_closed() {
                let cause = format!("The workflow reached the maximum number of history events ({HISTORY_EVENTS_MAX}).");
                self.close_failed(Failure::new(RUNTIME, cause));
            }
            let Some(step) = self.moves.pop_front() else { return Ok(()) };
            // A branch may have been withdrawn since it was told to move.
            if self.state.threads.contains_key(&step.thread) {
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
        let visit =
            Visit { state: to.to_owned(), input, entered_ms: self.now_ms(), entered, retries: Vec::new() };
        self.thread_mut(thread)?.position = Position::Visiting { visit: visit.clone() };
        let seen = Seen { thread, visit: &visit, result: None, error_output: None };
        let outcome = match &state_def.kind {
            Kind::Task(_) => return self.enter_task(thread, state_def, visit),
            Kind::Parallel { .. } => return self.fork(thread, state_def, visit),
            Kind::Pass => self.leave(state_def.exit(), &seen, &visit.input),
            Kind::Choice(rules) => self.choose(state_def, rules, &seen),
            Kind::Wait(until) => self.wait(state_def, until, &seen),
            Kind::Succeed { decision } => self.succeed(state_def, decision.as_deref(), &seen),
            Kind::Fail { error, cause } => Err(self.fail_on_purpose(error.as_ref(), cause.as_ref(), &seen)),
        };
        self.settle(thread, outcome)
    }

    /// Deals with the trouble that a state has had.
    pub(super) fn settle(&mut self, thread: u32, outcome: Result<(), Trouble>) -> Result<(), Refusal> {
        match outcome {
            Ok(()) => Ok(()),
            Err(Trouble::Stop(refusal)) => Err(refusal),
            Err(Trouble::Failure(failure)) => self.fail_state(thread, failure),
        }
    }

    /// Exits a state: evaluates `Assign` and `Output`, and moves on.
    pub(super) fn leave(&mut self, exit: Exit<'a>, seen: &Seen<'_>, default: &Payload) -> Result<(), Trouble> {
        let assigned = self.assignments(exit.assign, seen)?;
        let output = match exit.output {
            Some(template) => self.template(template, "Output", seen)?,
            None => default.clone(),
        };
        limit_size(&output, "the output", seen.visit)?;
        self.gain_evidence(seen)?;
        let state_type = self.state_def(seen.thread, &seen.visit.state)?.state_type();
        self.assign(seen.thread, &assigned)?;
        let name = seen.visit.state.clone();
        self.emit(seen.thread, EventKind::StateExited { state_type, name, output: output.clone(), assigned });
        self.thread_mut(seen.thread)?.position = Position::Moving;
        match exit.next {
            Target::State(to) => self.moves.push_back(Move { thread: seen.thread, to, input: output }),
            Target::End if seen.thread == ROOT => self.close_succeeded(output, None),
            Target::End => self.finish_branch(seen.thread, output)?,
        }
        Ok(())
    }

    fn choose(&mut self, state_def: &'a StateDef, rules: &'a [Rule], seen: &Seen<'_>) -> Result<(), Trouble> {
        for (index, rule) in rules.iter().enumerate() {
            let holds = match &rule.condition {
                Condition::Literal(holds) => *holds,
                Condition::Computed(expression) => {
                    let location = format!("Choices/{index}/Condition");
                    let value = self.expression(expression, &location, seen)?;
                    match value.as_bool() {
                        Some(holds) => holds,
                        None => return Err(unexpected(expression, &location, seen, "boolean", &value)),
                    }
                }
            };
            if holds {
                let exit =
                    Exit { assign: &rule.assign, output: rule.output.as_ref(), next: Target::State(&rule.next) };
                return self.leave(exit, seen, &seen.visit.input);
            }
        }
        if state_def.next == Next::None {
            let cause = format!("No rule of the state '{}' matched, and it has no Default.", state_def.name);
            return Err(Failure::new("States.NoChoiceMatched", cause).into());
        }
        self.leave(state_def.exit(), seen, &seen.visit.input)
    }

    fn wait(&mut self, state_def: &'a StateDef, until: &Until, seen: &Seen<'_>) -> Result<(), Trouble> {
        let until_ms = match until {
            Until::Seconds(seconds) => {
                self.now_ms().saturating_add(self.seconds(seconds, "Seconds", 0, seen)? * 1000)
            }
            Until::Timestamp(Timestamp::Literal(at_ms)) => *at_ms,
            Until::Timestamp(Timestamp::Computed(expression)) => {
                let value = self.expression(expression, "Timestamp", seen)?;
                let time = value.as_str().and_then(|it| DateTime::parse_from_rfc3339(it).ok());
                match time {
                    Some(time) => time.timestamp_millis(),
                    None => return Err(unexpected(expression, "Timestamp", seen, "RFC 3339 time", &value)),
                }
            }
        };
        if until_ms <= self.now_ms() {
            return self.leave(state_def.exit(), seen, &seen.visit.input);
        }
        self.thread_mut(seen.thread)?.position = Position::Waiting { visit: seen.visit.clone(), until_ms };
        Ok(())
    }

    /// The time of a `Wait` has come.
    pub(super) fn end_wait(&mut self, thread: u32) -> Result<(), Refusal> {
        let Position::Waiting { visit, .. } = &self.thread(thread)?.position else { return Ok(()) };
        let visit = visit.clone();
        let state_def = self.state_def(thread, &visit.state)?;
        let seen = Seen { thread, visit: &visit, result: None, error_output: None };
        let outcome = self.leave(state_def.exit(), &seen, &visit.input);
        self.settle(thread, outcome)
    }

    fn succeed(&mut self, state_def: &'a StateDef, decision: Option<&str>, seen: &Seen<'_>) -> Result<(), Trouble> {
        let output = match &state_def.output {
            Some(template) => self.template(template, "Output", seen)?,
            None => seen.visit.input.clone(),
        };
        limit_size(&output, "the output", seen.visit)?;
        let decision = if seen.thread == ROOT { decision } else { None };
        if let Some(decision) = decision {
            self.guard(decision, seen)?;
        }
        let assigned = self.assignments(&state_def.assign, seen)?;
        self.assign(seen.thread, &assigned)?;
        let state_type = state_def.state_type();
        let name = seen.visit.state.clone();
        self.emit(seen.thread, EventKind::StateExited { state_type, name, output: output.clone(), assigned });
        if seen.thread == ROOT {
            self.close_succeeded(output, decision.map(str::to_owned));
        } else {
            self.finish_branch(seen.thread, output)?;
        }
        Ok(())
    }

    fn fail_on_purpose(&self, error: Option<&Template>, cause: Option<&Template>, seen: &Seen<'_>) -> Trouble {
        let text = |template: Option<&Template>, location: &str| match template {
            None => Ok(String::new()),
            Some(template) => {
                let value = self.template(template, location, seen)?;
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                Ok::<_, Trouble>(text)
            }
        };
        match (text(error, "Error"), text(cause, "Cause")) {
            (Ok(error), Ok(cause)) => Failure::new(&error, cause).into(),
            (Err(trouble), _) | (_, Err(trouble)) => trouble,
        }
    }

    /// A state has failed: its `Retry` and `Catch` decide, or its branch fails.
    pub(super) fn fail_state(&mut self, thread: u32, failure: Failure) -> Result<(), Refusal> {
        let Some(visit) = self.thread(thread)?.position.visit().cloned() else {
            return Err(super::mismatch("a branch between two states cannot fail".to_owned()));
        };
        let state_def = self.state_def(thread, &visit.state)?;
        if let Some(location) = &failure.location {
            self.emit(
                thread,
                EventKind::EvaluationFailed {
                    name: visit.state.clone(),
                    location: location.clone(),
                    error: failure.error.clone(),
                    cause: failure.cause.clone(),
                },
            );
        }
        if let Some(handlers) = state_def.handlers() {
            let retrier = handlers.retry.iter().enumerate().find(|(_, it)| matches_error(&it.errors, &failure.error));
            if let Some((index, retrier)) = retrier
                && visit.retries.get(index).copied().unwrap_or(0) < retrier.attempts_max
            {
                return self.retry(thread, index, retrier);
            }
            if let Some(catcher) = handlers.catch.iter().find(|it| matches_error(&it.errors, &failure.error)) {
                return self.catch(thread, &visit, catcher, failure);
            }
        }
        self.fail_branch(thread, failure)
    }

    fn retry(&mut self, thread: u32, index: usize, retrier: &Retrier) -> Result<(), Refusal> {
        let (now_ms, random) = (self.now_ms(), std::rc::Rc::clone(&self.random));
        let position = &mut self.thread_mut(thread)?.position;
        let visit = match position {
            Position::Task(task) => &mut task.visit,
            Position::Visiting { visit } => visit,
            _ => return Ok(()),
        };
        if visit.retries.len() <= index {
            visit.retries.resize(index + 1, 0);
        }
        let until_ms = now_ms.saturating_add(delay_ms(retrier, visit.retries[index], &random));
        visit.retries[index] += 1;
        match position {
            Position::Task(task) => {
                task.phase = Phase::BackingOff { until_ms };
                task.deadline_ms = None;
                task.wake_ms = None;
            }
            other => {
                if let Some(visit) = other.visit().cloned() {
                    *other = Position::BackingOff { visit, until_ms };
                }
            }
        }
        Ok(())
    }

    fn catch(&mut self, thread: u32, visit: &Visit, catcher: &'a Catcher, failure: Failure) -> Result<(), Refusal> {
        let error_output: Payload = json!({"Error": failure.error, "Cause": failure.cause}).into();
        let seen = Seen { thread, visit, result: None, error_output: Some(&error_output) };
        self.thread_mut(thread)?.position = Position::Visiting { visit: visit.clone() };
        let exit = Exit {
            assign: &catcher.assign,
            output: catcher.output.as_ref(),
            next: Target::State(&catcher.next),
        };
        match self.leave(exit, &seen, &error_output) {
            Ok(()) => Ok(()),
            Err(Trouble::Stop(refusal)) => Err(refusal),
            // What a catcher itself gets wrong is not caught.
            Err(Trouble::Failure(failure)) => self.fail_branch(thread, failure),
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
        Exit { assign: &self.assign, output: self.output.as_ref(), next }
    }
}

/// Whether `ErrorEquals` names the error. Source: states-language.net, "Errors".
fn matches_error(names: &[String], error: &str) -> bool {
    names.iter().any(|name| match name.as_str() {
        "States.ALL" => error != RUNTIME && error != super::evaluate::DATA_LIMIT_EXCEEDED,
        "States.TaskFailed" => {
            error != TIMEOUT && error != RUNTIME && error != super::evaluate::DATA_LIMIT_EXCEEDED
        }
        TIMEOUT => error == TIMEOUT || error == "States.HeartbeatTimeout",
        name => name == error,
    })
}

/// How long to wait before the retry that follows `n_used` earlier ones.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "bounded by SECONDS_MAX")]
fn delay_ms(retrier: &Retrier, n_used: u32, random: &crate::expression::Random) -> i64 {
    let exponent = i32::try_from(n_used).unwrap_or(i32::MAX);
    let grown = retrier.interval_seconds as f64 * retrier.backoff_rate.powi(exponent);
    let seconds_max = retrier.delay_max_seconds.unwrap_or(SECONDS_MAX) as f64;
    let bounded_ms = grown.min(seconds_max) * 1000.0;
    match retrier.jitter {
        Jitter::None => bounded_ms as i64,
        Jitter::Full => (bounded_ms * random.unit()) as i64,
    }
}

impl Run<'_> {
    /// The run of the state has ended well: what it proves is held from now on.
    fn gain_evidence(&mut self, seen: &Seen<'_>) -> Result<(), Refusal> {
        let Some(result) = seen.result else { return Ok(()) };
        let definition = self.definition;
        for rule in definition.evidence.iter().filter(|it| it.state == seen.visit.state) {
            if rule.is_gained(result) {
                self.thread_mut(seen.thread)?.evidence.gain(rule.name.clone());
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
