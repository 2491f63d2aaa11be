//! `JSONPath` as the Amazon States Language uses it: paths, reference paths, intrinsic functions
//! and the comparisons of a `Choice` state.
//!
//! Step Functions evaluates paths as Jayway's library does: a definite path (names and single
//! indexes) is the value itself and fails where there is none, any other path is the array of its
//! matches, which may be empty. The crates `serde_json_path` 0.7 and `jsonpath-rust` 1 follow RFC
//! 9535: measured on the 104 paths of the recorded executions, both refuse 26 (`$$`, variables,
//! `$.delivery-partner`, a `\` in a quoted name), and where they answer, every path is a list and a
//! missing member is no error. So the language is read and evaluated here.
//!
//! **Architecture invariant:** work is counted, not timed: a path that is too costly fails the same
//! way everywhere.

mod call;
mod choice;
mod cursor;
mod describe;
mod evaluation;
mod filter;
mod hash;
mod intrinsic;
mod path;
#[cfg(test)]
mod recordings;
mod reference;
mod value;

use serde_json::Value;

use crate::payload::Payload;

pub(crate) use call::PathExpression;
pub(crate) use choice::{ChoiceRule, Operand, Relation, Sort, Test};
pub(crate) use path::Path;
pub(crate) use reference::ReferencePath;
pub(crate) use value::timestamp;

/// What a path may see.
pub(crate) trait PathScope {
    /// What `$` stands for.
    fn data(&self) -> &Value;
    /// What `$$` stands for: the context object.
    fn context(&self) -> Payload;
    /// An assigned variable.
    fn variable(&self, name: &str) -> Option<&Payload>;
}

/// Why a path or an intrinsic function gave no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PathError {
    /// A definite path led nowhere; Step Functions fails with `States.Runtime`.
    NotFound {
        /// As written.
        path: String,
        /// As Jayway words it, for example `No results for path: $['x']`.
        detail: String,
        /// The intrinsic call, as written, whose argument the path is.
        call: Option<String>,
    },
    /// A variable that has no value.
    NoVariable(String),
    /// `States.IntrinsicFailure`, with the cause.
    Intrinsic(String),
    /// `States.ResultPathMatchFailure`, with the cause.
    NoMatch(String),
    /// The evaluation was stopped by a limit.
    Invalid(String),
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A scope of fixed values, for the tests of this module.
    pub(super) struct Fixed {
        pub data: Value,
        pub context: Value,
        pub variables: BTreeMap<String, Payload>,
    }

    impl Fixed {
        pub fn new(data: Value) -> Self {
            Self {
                data,
                context: Value::Null,
                variables: BTreeMap::new(),
            }
        }
    }

    impl PathScope for Fixed {
        fn data(&self) -> &Value {
            &self.data
        }

        fn context(&self) -> Payload {
            self.context.clone().into()
        }

        fn variable(&self, name: &str) -> Option<&Payload> {
            self.variables.get(name)
        }
    }
}
