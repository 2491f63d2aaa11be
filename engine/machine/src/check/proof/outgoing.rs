//! How a state is left: what it assigns, and what it passes on.

use super::Prover;
use super::steps::Here;
use super::walk::{Ending, Node, Onward, Standing};
use crate::check::paths::{place, select};
use crate::check::value::{Abstract, Scope, is_sure, of_template};
use crate::definition::{Catcher, Language, Next, Placement, Selection, StateDef, Template};

/// How a state is left.
pub(super) struct Leaving<'s> {
    pub assign: &'s [(String, Template)],
    pub output: Option<&'s Template>,
    pub flow: Flow<'s>,
    /// What is passed on where there is no `Output`: a result, an error, or the input.
    pub passed: &'s Abstract,
    pub next: &'s Next,
}

/// What is passed on goes through these.
#[derive(Clone, Copy)]
pub(super) enum Flow<'s> {
    Jsonata,
    JsonPath {
        selector: Option<&'s Template>,
        placement: &'s Placement,
        output: &'s Selection,
    },
}

/// Where a state that was left leads, if it can be left, and whether it surely can.
pub(super) struct Left {
    pub onward: Option<Onward>,
    pub is_sure: bool,
}

/// The variables that are assigned, and the output.
struct Outgoing {
    assigned: Vec<(String, Abstract)>,
    output: Abstract,
    is_sure: bool,
}

impl<'s> Flow<'s> {
    pub fn of(state: &'s StateDef) -> Self {
        match state.language {
            Language::Jsonata => Self::Jsonata,
            Language::JsonPath => Self::JsonPath {
                selector: state.paths.selector.as_ref(),
                placement: &state.paths.result,
                output: &state.paths.output,
            },
        }
    }

    pub fn of_catcher(state: &StateDef, catcher: &'s Catcher) -> Self {
        match state.language {
            Language::Jsonata => Self::Jsonata,
            Language::JsonPath => Self::JsonPath {
                selector: None,
                placement: &catcher.result,
                output: &Selection::Whole,
            },
        }
    }
}

impl Prover<'_> {
    pub(super) fn leave(
        &self,
        here: Here<'_>,
        scope: &Scope<'_>,
        leaving: &Leaving<'_>,
        mut standing: Standing,
    ) -> Left {
        let level = &self.levels.all[here.level];
        let to = match leaving.next {
            Next::State(next) => level.machine.by_name.get(next).copied(),
            Next::End => None,
            Next::None => {
                return Left {
                    onward: None,
                    is_sure: true,
                };
            }
        };
        let Some(outgoing) = outgoing(&here.node.input, scope, leaving) else {
            return Left {
                onward: None,
                is_sure: false,
            };
        };
        let Outgoing {
            assigned,
            output,
            is_sure,
        } = outgoing;
        let Some(to) = to else {
            let output = if level.needs_output {
                output
            } else {
                Abstract::Unknown
            };
            return Left {
                onward: Some(Onward::Ended(Ending { output, standing })),
                is_sure,
            };
        };
        let mut variables = here.node.variables.clone();
        variables.extend(assigned);
        variables.retain(|name, _| level.live[to].contains(name.as_str()));
        let can_run = &level.can_run[to];
        standing.evidence.settle(|it| can_run[usize::from(*it)]);
        let node = Node {
            state: to,
            input: if level.reads_input[to] {
                output
            } else {
                Abstract::Unknown
            },
            variables,
            evidence: standing.evidence,
            undoable: standing.undoable,
            tries: Vec::new(),
        };
        Left {
            onward: Some(Onward::To(Box::new(node))),
            is_sure,
        }
    }
}

/// `None` when something surely cannot be evaluated.
fn outgoing(input: &Abstract, scope: &Scope<'_>, leaving: &Leaving<'_>) -> Option<Outgoing> {
    let Flow::JsonPath {
        selector,
        placement,
        output,
    } = leaving.flow
    else {
        let (assigned, assigns_surely) = assigned(leaving.assign, scope)?;
        return Some(match leaving.output {
            None => Outgoing {
                assigned,
                output: leaving.passed.clone(),
                is_sure: assigns_surely,
            },
            Some(template) => Outgoing {
                assigned,
                output: of_template(template, scope)?,
                is_sure: assigns_surely && is_sure(template, scope),
            },
        });
    };
    let over = |data| Scope { data, ..*scope };
    let (result, selects_surely) = match selector {
        None => (leaving.passed.clone(), true),
        Some(template) => {
            let scope = over(leaving.passed);
            (of_template(template, &scope)?, is_sure(template, &scope))
        }
    };
    let (assigned, assigns_surely) = assigned(leaving.assign, &over(&result))?;
    let placed = place(placement, input, result.clone()).bounded(0);
    if placed == Abstract::Undefined {
        return None;
    }
    let is_object = matches!(input, Abstract::Object { .. }) || is_known_object(input);
    let is_placed = is_object || !matches!(placement, Placement::At(_));
    let selected = select(output, &over(&placed));
    if selected == Abstract::Undefined {
        return None;
    }
    let is_selected = !matches!(output, Selection::Path(_))
        || !matches!(selected, Abstract::Unknown | Abstract::Not(_));
    Some(Outgoing {
        assigned,
        output: selected,
        is_sure: selects_surely && assigns_surely && is_placed && is_selected,
    })
}

fn assigned(
    assign: &[(String, Template)],
    scope: &Scope<'_>,
) -> Option<(Vec<(String, Abstract)>, bool)> {
    let mut assigned = Vec::with_capacity(assign.len());
    for (name, template) in assign {
        assigned.push((name.clone(), of_template(template, scope)?));
    }
    let assigns_surely = assign.iter().all(|(_, it)| is_sure(it, scope));
    Some((assigned, assigns_surely))
}

fn is_known_object(value: &Abstract) -> bool {
    matches!(value, Abstract::Known(it) if it.is_object())
}
