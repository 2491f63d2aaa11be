//! The names of errors, and which of them `ErrorEquals` means: one rule for run time and proof.

pub(crate) const ALL: &str = "States.ALL";
pub(crate) const TASK_FAILED: &str = "States.TaskFailed";
pub(crate) const TIMEOUT: &str = "States.Timeout";
pub(crate) const HEARTBEAT_TIMEOUT: &str = "States.HeartbeatTimeout";
pub(crate) const RUNTIME: &str = "States.Runtime";
pub(crate) const DATA_LIMIT_EXCEEDED: &str = "States.DataLimitExceeded";

/// Whether no wildcard catches the error. Source: states-language.net, "Errors".
pub(crate) fn is_terminal(error: &str) -> bool {
    error == RUNTIME || error == DATA_LIMIT_EXCEEDED
}

/// Whether `ErrorEquals` names the error. Source: states-language.net, "Errors".
///
/// Source: the Step Functions developer guide says of `States.Runtime` that it always fails the
/// execution, so not even its own name catches it.
pub(crate) fn is_among(error: &str, names: &[String]) -> bool {
    error != RUNTIME
        && names.iter().any(|name| match name.as_str() {
            ALL => !is_terminal(error),
            TASK_FAILED => error != TIMEOUT && !is_terminal(error),
            TIMEOUT => error == TIMEOUT || error == HEARTBEAT_TIMEOUT,
            name => name == error,
        })
}
