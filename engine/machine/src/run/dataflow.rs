//! The data flow of JSONPath states, and what takes its place in JSONata ones.

use serde_json::{Map, Value};

use super::flow::{Exit, Flow};
use super::{Run, Seen, Trouble};
use crate::definition::{Placement, Selection, StateDef, Template};
use crate::payload::Payload;
use crate::state::Visit;

type Outgoing = (Vec<(String, Payload)>, Payload);

impl Run<'_> {
    /// The input as the state's work sees it: what `InputPath` selects.
    pub(super) fn effective_input(
        &self,
        state_def: &StateDef,
        thread: u32,
        visit: &Visit,
    ) -> Result<Payload, Trouble> {
        self.select(&state_def.paths.input, &Seen::of(thread, visit))
    }

    /// What a path of the whole, such as `InputPath`, selects from `$`.
    fn select(&self, selection: &Selection, seen: &Seen<'_>) -> Result<Payload, Trouble> {
        match selection {
            Selection::Whole => Ok(seen.data.clone()),
            Selection::Nothing => Ok(Value::Object(Map::new()).into()),
            Selection::Path(path) => self.path(path, seen),
        }
    }

    /// What a `Task`, `Parallel` or processor is given: `Arguments` or `Parameters` over the effective input.
    pub(super) fn arguments(
        &self,
        template: Option<&Template>,
        seen: &Seen<'_>,
    ) -> Result<Payload, Trouble> {
        match template {
            None => Ok(seen.data.clone()),
            Some(template) => {
                let arguments = self.template(template, "Arguments", seen)?;
                super::evaluate::limit_size(&arguments, "the value of Arguments", seen.visit)?;
                Ok(arguments)
            }
        }
    }

    /// The variables that an exit assigns, and its output.
    pub(super) fn outgoing(
        &self,
        exit: &Exit<'_>,
        seen: &Seen<'_>,
        result: &Payload,
    ) -> Result<Outgoing, Trouble> {
        match exit.flow {
            Flow::Jsonata => {
                let assigned = self.assignments(exit.assign, seen)?;
                let output = match exit.output {
                    Some(template) => self.template(template, "Output", seen)?,
                    None => result.clone(),
                };
                Ok((assigned, output))
            }
            Flow::JsonPath {
                selector,
                result: placement,
                output,
            } => {
                let result = match selector {
                    Some(template) => {
                        self.template(template, "ResultSelector", &seen.with_data(result))?
                    }
                    None => result.clone(),
                };
                let assigned = self.assignments(exit.assign, &seen.with_data(&result))?;
                let placed = place(placement, seen, result)?;
                Ok((assigned, self.select(output, &seen.with_data(&placed))?))
            }
        }
    }
}

/// Puts a result where `ResultPath` says, in the state's raw input.
fn place(placement: &Placement, seen: &Seen<'_>, result: Payload) -> Result<Payload, Trouble> {
    match placement {
        Placement::Whole => Ok(result),
        Placement::Discard => Ok(seen.visit.input.clone()),
        Placement::At(path) => {
            let mut input = seen.visit.input.to_value();
            path.set(&mut input, result.to_value())
                .map_err(|it| super::evaluate::unplaced(it, path, seen))?;
            Ok(input.into())
        }
    }
}
