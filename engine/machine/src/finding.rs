//! What a gate has to say about a definition.

use serde::Serialize;

/// The gate that speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Gate {
    Valid,
    Lint,
    Proof,
}

/// Whether a finding refuses publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    Error,
    Warning,
}

/// One thing that is wrong, or doubtful, at one place of a definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    pub gate: Gate,
    pub severity: Severity,
    /// Stable, for programs.
    pub code: &'static str,
    /// JSON pointer (RFC 6901) into the whole document.
    pub pointer: String,
    /// For people: what is wrong.
    pub message: String,
    /// For people: what to do about it.
    pub fix: String,
}

impl Finding {
    pub(crate) fn error(
        gate: Gate,
        code: &'static str,
        pointer: impl Into<String>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            gate,
            severity: Severity::Error,
            code,
            pointer: pointer.into(),
            message: message.into(),
            fix: fix.into(),
        }
    }

    pub(crate) fn warning(
        gate: Gate,
        code: &'static str,
        pointer: impl Into<String>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(gate, code, pointer, message, fix)
        }
    }

    /// Whether this finding refuses publication.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// Appends `token` to a JSON pointer, escaped as RFC 6901 asks.
pub(crate) fn at(pointer: &str, token: &str) -> String {
    format!("{pointer}/{}", token.replace('~', "~0").replace('/', "~1"))
}
