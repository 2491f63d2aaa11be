//! Moves a running workflow to another version of its definition.

use std::collections::BTreeSet;

use crate::Env;
use crate::catalogue::Catalogue;
use crate::check::prove_from;
use crate::command::Reply;
use crate::definition::{Definition, EvidenceRule, Kind, StateDef};
use crate::effect::Effect;
use crate::event::{Event, EventKind};
use crate::finding::{Finding, Gate};
use crate::run::Applied;
use crate::state::{Position, ROOT, Role, State, Thread};

/// Moves a workflow to the definition `to`, published as `version`.
///
/// The workflow stays in the state where it stands; what it has open stays open. Evidence whose rule
/// has changed is retracted, and the definition is proven again from the workflow's position with
/// what it knows and holds. Retry counters begin anew; `timeoutSeconds` counts from the start of the
/// workflow. Nothing happens to a workflow that cannot move, so a dry run is the same call with the
/// result thrown away.
///
/// # Errors
///
/// Every reason why it cannot move, each with a stable code that begins with `migration_`, and the
/// counterexamples of the proof.
pub fn migrate(
    from: &Definition,
    to: &Definition,
    version: u32,
    catalogue: &Catalogue,
    state: &State,
    env: &Env,
) -> Result<Applied, Vec<Finding>> {
    let root = standing(state, version).map_err(|it| vec![it])?;
    let mut findings = Vec::new();
    check_position(to, root, &mut findings);
    check_variables(to, root, &mut findings);
    for registered in &root.compensations {
        let undoes = match to.state_anywhere(&registered.state).map(|it| &it.kind) {
            Some(Kind::Task(task)) => task.compensation.is_some(),
            _ => false,
        };
        if !undoes {
            let message = format!(
                "`{}` would have to be undone, and the new version has no compensation for it",
                registered.state
            );
            findings.push(refuse("migration_compensation_missing", message));
        }
    }
    if !findings.is_empty() {
        return Err(findings);
    }
    let mut moved = Moved::new(state, env);
    moved.take_version(version);
    moved.retract_changed(from, to);
    moved.begin_new_carriers(from, to);
    moved.forget_kept(from, to);
    moved.set_deadline(to);
    let explored = moved
        .state
        .threads
        .get(&ROOT)
        .map(|root| prove_from(to, catalogue, root));
    let unproven: Vec<Finding> = explored
        .into_iter()
        .flatten()
        .filter(Finding::is_error)
        .map(|it| Finding {
            code: "migration_unproven",
            ..it
        })
        .collect();
    if unproven.is_empty() {
        Ok(moved.finish())
    } else {
        Err(unproven)
    }
}

fn refuse(code: &'static str, message: impl Into<String>) -> Finding {
    let fix = "let the workflow go on with its version, or change the new one";
    Finding::error(Gate::Proof, code, "", message, fix)
}

/// The branch of a workflow that may be moved.
fn standing(state: &State, version: u32) -> Result<&Thread, Finding> {
    if state.status.is_closed() {
        return Err(refuse("migration_closed", "the workflow is closed"));
    }
    if state.version == version {
        let message = "the workflow runs this version already";
        return Err(refuse("migration_same_version", message));
    }
    let Some(root) = state.threads.get(&ROOT) else {
        return Err(refuse("migration_position", "the workflow stands nowhere"));
    };
    if state.cancelling.is_some() {
        let message = "the workflow is being cancelled";
        return Err(refuse("migration_cancelling", message));
    }
    let place = root.position.visit().map_or("", |it| it.state.as_str());
    if root.compensating.is_some() {
        let message = "the workflow is undoing what it has done";
        return Err(refuse("migration_compensating", message));
    }
    match &root.position {
        Position::Forked { .. } | Position::Mapping(_) => {
            let message =
                format!("the workflow is inside `{place}`; it may move when it has left it");
            Err(refuse("migration_inside", message))
        }
        Position::Moving | Position::Visiting { .. } | Position::Held(_) => Err(refuse(
            "migration_position",
            "the workflow is between two states",
        )),
        _ => Ok(root),
    }
}

/// The state where the workflow stands must be the same kind of work in the new version.
fn check_position(to: &Definition, root: &Thread, findings: &mut Vec<Finding>) {
    let Some(visit) = root.position.visit() else {
        return;
    };
    let name = &visit.state;
    let Some(found) = to.machine.state(name) else {
        let message = format!("the new version has no state `{name}`, where the workflow stands");
        findings.push(refuse("migration_state_missing", message));
        return;
    };
    let fits = match (&root.position, &found.kind) {
        (Position::Task(open), Kind::Task(task)) => open.resource == task.resource,
        (Position::Task(open), Kind::Map(map)) => {
            let reader = map.reader.as_ref();
            open.role == Role::Read && reader.is_some_and(|it| it.resource == open.resource)
        }
        (Position::Waiting { .. }, Kind::Wait(_)) => true,
        (Position::BackingOff { .. }, Kind::Parallel { .. } | Kind::Map(_) | Kind::Task(_)) => true,
        _ => false,
    };
    if !fits {
        let message =
            format!("`{name}`, where the workflow stands, is other work in the new version");
        findings.push(refuse("migration_state_changed", message));
    }
}

/// Every variable that is read from here on must be there, or be assigned on the way.
fn check_variables(to: &Definition, root: &Thread, findings: &mut Vec<Finding>) {
    let Some(visit) = root.position.visit() else {
        return;
    };
    let ahead = states_ahead(to, &visit.state);
    let assigned: BTreeSet<&str> = ahead
        .iter()
        .flat_map(|it| it.assigned())
        .chain(root.variables.keys().map(String::as_str))
        .collect();
    let written_anywhere: BTreeSet<&str> = to
        .machine
        .all()
        .into_iter()
        .flat_map(StateDef::assigned)
        .collect();
    let missing: BTreeSet<&str> = ahead
        .iter()
        .flat_map(|it| it.reads())
        // A name that no state assigns is bound inside an expression.
        .filter(|it| written_anywhere.contains(it) && !assigned.contains(it))
        .collect();
    for name in missing {
        let message = format!(
            "`${name}` is read ahead, and no state that the workflow has passed or will pass assigns it"
        );
        findings.push(refuse("migration_variable_missing", message));
    }
}

/// The states that can be entered from here on, inner levels included.
fn states_ahead<'d>(to: &'d Definition, from: &str) -> Vec<&'d StateDef> {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut open = vec![from];
    let mut ahead = Vec::new();
    while let Some(name) = open.pop() {
        let Some(state) = to.machine.state(name) else {
            continue;
        };
        if seen.insert(state.name.as_str()) {
            open.extend(state.successors());
            ahead.push(state);
            ahead.extend(state.levels().into_iter().flat_map(|it| it.all()));
        }
    }
    ahead
}

/// A workflow on its way to another version.
struct Moved {
    state: State,
    events: Vec<Event>,
    wake_at_before: Option<i64>,
}

impl Moved {
    fn new(state: &State, env: &Env) -> Self {
        let mut state = state.clone();
        state.now_ms = state.now_ms.max(env.now_ms);
        Self {
            wake_at_before: state.wake_at(),
            events: Vec::new(),
            state,
        }
    }

    fn emit(&mut self, kind: EventKind) {
        self.state.n_events += 1;
        let id = self.state.n_events;
        let previous = self.state.threads.get(&ROOT).map_or(0, |it| it.previous);
        self.events.push(Event {
            id,
            previous,
            at_ms: self.state.now_ms,
            child: None,
            kind,
        });
        if let Some(root) = self.state.threads.get_mut(&ROOT) {
            root.previous = id;
        }
    }

    fn take_version(&mut self, version: u32) {
        let from = self.state.version;
        self.state.version = version;
        if let Some(root) = self.state.threads.get_mut(&ROOT) {
            root.position.begin_retries_anew();
        }
        self.emit(EventKind::WorkflowMigrated { from, to: version });
    }

    /// What a rule proved that is no more, or asks for something else or of another step, is held no more.
    fn retract_changed(&mut self, from: &Definition, to: &Definition) {
        let stays = |name: &String| {
            let rule = |it: &Definition| -> Option<(EvidenceRule, String)> {
                let rule = it.evidence.iter().find(|it| it.name == *name)?;
                match &it.state_anywhere(&rule.state)?.kind {
                    Kind::Task(task) => Some((rule.clone(), task.resource.clone())),
                    _ => None,
                }
            };
            rule(from).is_some() && rule(from) == rule(to)
        };
        let Some(root) = self.state.threads.get_mut(&ROOT) else {
            return;
        };
        for evidence in root.evidence.keep_only(stays) {
            let rule = from.evidence.iter().find(|it| it.name == evidence);
            let name = rule.map_or_else(String::new, |it| it.state.clone());
            self.emit(EventKind::EvidenceRetracted { evidence, name });
        }
    }

    /// States that carry evidence only in the new version have run all the same: running one of
    /// them again must retract what was gained since.
    fn begin_new_carriers(&mut self, from: &Definition, to: &Definition) {
        let Self { state, .. } = self;
        let Some(root) = state.threads.get_mut(&ROOT) else {
            return;
        };
        let carries = |it: &Definition, name: &str| it.evidence.iter().any(|it| it.state == name);
        let standing = root.position.visit().map(|it| it.state.clone());
        let mut names: BTreeSet<&String> = state.outcomes.keys().collect();
        names.extend(&standing);
        for name in names {
            if !carries(to, name) || carries(from, name) {
                continue;
            }
            if standing.as_ref() == Some(name) {
                root.evidence.begin(name);
            } else {
                root.evidence.begin_before_all(name);
            }
        }
    }

    /// A result is kept for a rework only where the new version would keep it too.
    fn forget_kept(&mut self, from: &Definition, to: &Definition) {
        self.state.kept.retain(|name, kept| {
            let task = |it: &Definition| match it.state_anywhere(name).map(|it| &it.kind) {
                Some(Kind::Task(task)) => {
                    Some((task.resource.clone(), task.keep.contains(&kept.outcome)))
                }
                _ => None,
            };
            match (task(from), task(to)) {
                (Some((before, _)), Some((after, keeps))) => keeps && before == after,
                _ => false,
            }
        });
    }

    fn set_deadline(&mut self, to: &Definition) {
        let started_ms = self.state.started_ms;
        self.state.deadline_ms = to
            .timeout_seconds
            .map(|it| started_ms.saturating_add(it * 1000));
    }

    fn finish(self) -> Applied {
        let wake_at = self.state.wake_at();
        let mut effects = Vec::new();
        if wake_at != self.wake_at_before {
            effects.push(Effect::WakeAt { at_ms: wake_at });
        }
        Applied {
            state: self.state,
            events: self.events,
            effects,
            reply: Reply::Done,
        }
    }
}
