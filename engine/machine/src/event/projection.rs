//! The history as AWS Step Functions shows it.

use serde_json::{Map, Value, json};

use super::{Event, EventKind, rfc3339};

impl Event {
    /// The type as the history spells it, such as `TaskStateEntered`.
    #[must_use]
    pub fn type_name(&self) -> String {
        match &self.kind {
            EventKind::StateEntered { state_type, .. } => format!("{state_type:?}StateEntered"),
            EventKind::StateExited { state_type, .. } => format!("{state_type:?}StateExited"),
            kind => match kind.resource() {
                Some(resource) => Family::of(resource).type_name(kind.word()),
                None => kind.word().to_owned(),
            },
        }
    }

    /// The event as AWS Step Functions would show it in a history.
    #[must_use]
    pub fn to_step_functions(&self) -> Value {
        let mut shown = Map::new();
        shown.insert("id".to_owned(), json!(self.id));
        shown.insert("previousEventId".to_owned(), json!(self.previous));
        shown.insert("timestamp".to_owned(), json!(rfc3339(self.at_ms)));
        shown.insert("type".to_owned(), json!(self.type_name()));
        if let Some(child) = &self.child {
            shown.insert("child".to_owned(), json!(child));
        }
        if let Some((key, details)) = self.kind.details() {
            shown.insert(format!("{key}EventDetails"), details);
        }
        Value::Object(shown)
    }
}

impl EventKind {
    fn word(&self) -> &'static str {
        match self {
            Self::ExecutionStarted { .. } => "ExecutionStarted",
            Self::StateEntered { .. } => "StateEntered",
            Self::StateExited { .. } => "StateExited",
            Self::TaskScheduled { .. } => "TaskScheduled",
            Self::TaskStarted { .. } => "TaskStarted",
            Self::TaskSucceeded { .. } => "TaskSucceeded",
            Self::TaskFailed { .. } => "TaskFailed",
            Self::TaskTimedOut { .. } => "TaskTimedOut",
            Self::EvaluationFailed { .. } => "EvaluationFailed",
            Self::ParallelStateStarted { .. } => "ParallelStateStarted",
            Self::ParallelStateSucceeded { .. } => "ParallelStateSucceeded",
            Self::ParallelStateFailed { .. } => "ParallelStateFailed",
            Self::ExecutionSucceeded { .. } => "ExecutionSucceeded",
            Self::ExecutionFailed { .. } => "ExecutionFailed",
            Self::ExecutionAborted { .. } => "ExecutionAborted",
            Self::ExecutionTerminated { .. } => "ExecutionTerminated",
            Self::ExecutionRedriven { .. } => "ExecutionRedriven",
            Self::CancellationRequested { .. } => "CancellationRequested",
            Self::WorkflowPaused { .. } => "WorkflowPaused",
            Self::WorkflowRestarted { .. } => "WorkflowRestarted",
            Self::WorkflowResumed { .. } => "WorkflowResumed",
            Self::SignalReceived { .. } => "SignalReceived",
            Self::ExecutionTimedOut {} => "ExecutionTimedOut",
            Self::ExecutionContinued { .. } => "ExecutionContinued",
            Self::TurnScheduled { .. } => "TurnScheduled",
            Self::TaskCheckpointed { .. } => "TaskCheckpointed",
            Self::PromptOpened { .. } => "PromptOpened",
            Self::PromptExtended { .. } => "PromptExtended",
            Self::PromptAnswered { .. } => "PromptAnswered",
            Self::PromptClosed { .. } => "PromptClosed",
            Self::TaskSubmitted { .. } => "TaskSubmitted",
            Self::TaskKept { .. } => "TaskKept",
            Self::MapStateStarted { .. } => "MapStateStarted",
            Self::MapStateSucceeded { .. } => "MapStateSucceeded",
            Self::MapStateFailed { .. } => "MapStateFailed",
            Self::MapIterationStarted { .. } => "MapIterationStarted",
            Self::MapIterationSucceeded { .. } => "MapIterationSucceeded",
            Self::MapIterationFailed { .. } => "MapIterationFailed",
            Self::MapIterationAborted { .. } => "MapIterationAborted",
            Self::MapRunStarted { .. } => "MapRunStarted",
            Self::MapRunSucceeded { .. } => "MapRunSucceeded",
            Self::MapRunFailed { .. } => "MapRunFailed",
            Self::CompensationRegistered { .. } => "CompensationRegistered",
            Self::CompensationStarted { .. } => "CompensationStarted",
            Self::CompensationFailed { .. } => "CompensationFailed",
            Self::CompensationFinished { .. } => "CompensationFinished",
            Self::WorkflowMigrated { .. } => "WorkflowMigrated",
            Self::IncidentRaised { .. } => "IncidentRaised",
            Self::IncidentResolved { .. } => "IncidentResolved",
            Self::WorkflowAnnotated { .. } => "WorkflowAnnotated",
            Self::EvidenceGained { .. } => "EvidenceGained",
            Self::EvidenceRetracted { .. } => "EvidenceRetracted",
        }
    }

    /// The key (without `EventDetails`) and value of the details, where the type has any.
    fn details(&self) -> Option<(&'static str, Value)> {
        let whole = json!({"truncated": false});
        let shown = match self {
            Self::ExecutionStarted { input, origin, .. } => {
                let mut details = json!({"input": input, "inputDetails": whole});
                if !origin.is_caller() {
                    details["origin"] = json!(origin);
                }
                ("executionStarted", details)
            }
            Self::StateEntered { name, input, .. } => (
                "stateEntered",
                json!({"name": name, "input": input, "inputDetails": whole}),
            ),
            Self::StateExited {
                name,
                output,
                assigned,
                ..
            } => {
                let mut details = json!({"name": name, "output": output, "outputDetails": whole});
                if !assigned.is_empty() {
                    let variables: Map<String, Value> = assigned
                        .iter()
                        .map(|(key, it)| (key.clone(), json!(it.to_string())))
                        .collect();
                    details["assignedVariables"] = Value::Object(variables);
                    details["assignedVariablesDetails"] = whole;
                }
                ("stateExited", details)
            }
            Self::ExecutionSucceeded { output, .. } => (
                "executionSucceeded",
                json!({"output": output, "outputDetails": whole}),
            ),
            Self::ExecutionFailed { error, cause } => {
                ("executionFailed", error_details(error, cause))
            }
            Self::ExecutionAborted { reason, .. } => (
                "executionAborted",
                error_details("", reason.as_deref().unwrap_or("")),
            ),
            Self::ExecutionRedriven { redrive, .. } => {
                ("executionRedriven", json!({"redriveCount": redrive}))
            }
            Self::ExecutionTimedOut {} => {
                ("executionTimedOut", error_details("States.Timeout", ""))
            }
            Self::EvaluationFailed {
                name,
                location,
                error,
                cause,
            } => {
                let mut details = json!({"state": name, "error": error, "cause": cause});
                if !location.is_empty() {
                    details["location"] = json!(location);
                }
                ("evaluationFailed", details)
            }
            Self::MapStateStarted { length, .. } => ("mapStateStarted", json!({"length": length})),
            Self::MapIterationStarted { name, index } => {
                ("mapIterationStarted", json!({"name": name, "index": index}))
            }
            Self::MapIterationSucceeded { name, index } => (
                "mapIterationSucceeded",
                json!({"name": name, "index": index}),
            ),
            Self::MapIterationFailed { name, index, .. } => {
                ("mapIterationFailed", json!({"name": name, "index": index}))
            }
            Self::MapIterationAborted { name, index } => {
                ("mapIterationAborted", json!({"name": name, "index": index}))
            }
            Self::MapRunStarted { name, .. } => ("mapRunStarted", json!({"mapRunArn": name})),
            Self::MapRunFailed { error, cause, .. } => {
                ("mapRunFailed", error_details(error, cause))
            }
            Self::ParallelStateStarted { .. }
            | Self::ParallelStateSucceeded { .. }
            | Self::ParallelStateFailed { .. }
            | Self::MapStateSucceeded { .. }
            | Self::MapStateFailed { .. }
            | Self::MapRunSucceeded { .. } => return None,
            _ => return self.task_details().or_else(|| self.own_details()),
        };
        Some(shown)
    }

    fn task_details(&self) -> Option<(&'static str, Value)> {
        let whole = json!({"truncated": false});
        let family = Family::of(self.resource()?);
        let (event, details) = match self {
            Self::TaskScheduled {
                arguments,
                timeout_seconds,
                heartbeat_seconds,
                ..
            } => {
                let mut details = match family {
                    Family::Task => json!({"parameters": arguments}),
                    _ => json!({"input": arguments, "inputDetails": whole}),
                };
                if let Some(seconds) = timeout_seconds {
                    details["timeoutInSeconds"] = json!(seconds);
                }
                if let Some(seconds) = heartbeat_seconds {
                    details["heartbeatInSeconds"] = json!(seconds);
                }
                ("Scheduled", details)
            }
            Self::TaskStarted { .. } => ("Started", json!({})),
            Self::TaskSubmitted { output, .. } => (
                "Submitted",
                json!({"output": output, "outputDetails": whole}),
            ),
            Self::TaskSucceeded {
                outcome, output, ..
            } => {
                let result = match outcome {
                    Some(outcome) => json!({"outcome": outcome, "output": output}),
                    None => output.to_value(),
                };
                (
                    "Succeeded",
                    json!({"output": result, "outputDetails": whole}),
                )
            }
            Self::TaskFailed { error, cause, .. } => ("Failed", error_details(error, cause)),
            Self::TaskTimedOut { error, .. } => ("TimedOut", json!({"error": error})),
            _ => return None,
        };
        family.show(event, self.resource()?, details)
    }

    /// The resource of an event of a task.
    fn resource(&self) -> Option<&str> {
        match self {
            Self::TaskScheduled { resource, .. }
            | Self::TaskStarted { resource, .. }
            | Self::TaskSubmitted { resource, .. }
            | Self::TaskSucceeded { resource, .. }
            | Self::TaskFailed { resource, .. }
            | Self::TaskTimedOut { resource, .. } => Some(resource),
            _ => None,
        }
    }

    /// Ours have no counterpart: they are shown as they are stored.
    fn own_details(&self) -> Option<(&'static str, Value)> {
        let mut stored = serde_json::to_value(self).unwrap_or_default();
        let fields = stored.as_object_mut()?;
        fields.remove("type");
        Some((self.own_key()?, stored))
    }

    fn own_key(&self) -> Option<&'static str> {
        match self {
            Self::TurnScheduled { .. } => Some("turnScheduled"),
            Self::TaskCheckpointed { .. } => Some("taskCheckpointed"),
            Self::PromptOpened { .. } => Some("promptOpened"),
            Self::PromptExtended { .. } => Some("promptExtended"),
            Self::PromptAnswered { .. } => Some("promptAnswered"),
            Self::PromptClosed { .. } => Some("promptClosed"),
            Self::TaskKept { .. } => Some("taskKept"),
            Self::CompensationRegistered { .. } => Some("compensationRegistered"),
            Self::CompensationStarted { .. } => Some("compensationStarted"),
            Self::CompensationFailed { .. } => Some("compensationFailed"),
            Self::CompensationFinished { .. } => Some("compensationFinished"),
            Self::WorkflowMigrated { .. } => Some("workflowMigrated"),
            Self::IncidentRaised { .. } => Some("incidentRaised"),
            Self::IncidentResolved { .. } => Some("incidentResolved"),
            Self::ExecutionContinued { .. } => Some("executionContinued"),
            Self::ExecutionTerminated { .. } => Some("executionTerminated"),
            Self::CancellationRequested { .. } => Some("cancellationRequested"),
            Self::WorkflowPaused { .. } => Some("workflowPaused"),
            Self::WorkflowRestarted { .. } => Some("workflowRestarted"),
            Self::WorkflowResumed { .. } => Some("workflowResumed"),
            Self::SignalReceived { .. } => Some("signalReceived"),
            Self::WorkflowAnnotated { .. } => Some("workflowAnnotated"),
            Self::EvidenceGained { .. } => Some("evidenceGained"),
            Self::EvidenceRetracted { .. } => Some("evidenceRetracted"),
            _ => None,
        }
    }
}

/// How AWS names the events of a resource.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    /// A function that is called by its ARN.
    LambdaFunction,
    /// A worker that polls.
    Activity,
    Task,
}

impl Family {
    pub fn of(resource: &str) -> Self {
        let mut parts = resource.split(':').skip(2);
        match (parts.next(), parts.nth(2)) {
            (Some("lambda"), Some("function")) => Self::LambdaFunction,
            (Some("states"), Some("activity")) => Self::Activity,
            _ => Self::Task,
        }
    }

    /// The name of an event of this family: `TaskFailed` is `LambdaFunctionFailed` of a function.
    pub fn type_name(self, task_event: &str) -> String {
        match (self, task_event.strip_prefix("Task")) {
            (Self::LambdaFunction, Some(event)) => format!("LambdaFunction{event}"),
            (Self::Activity, Some(event)) => format!("Activity{event}"),
            _ => task_event.to_owned(),
        }
    }

    /// The details of an event with what AWS says of the resource.
    fn show(
        self,
        event: &str,
        resource: &str,
        mut details: Value,
    ) -> Option<(&'static str, Value)> {
        match (self, event) {
            (Self::LambdaFunction, "Started") => return None,
            (Self::LambdaFunction | Self::Activity, "Scheduled") => {
                details["resource"] = json!(resource);
            }
            (Self::Task, _) => {
                let (kind, name) = split(resource);
                details["resourceType"] = json!(kind);
                details["resource"] = json!(name);
            }
            _ => {}
        }
        let key = match (self, event) {
            (Self::LambdaFunction, "Scheduled") => "lambdaFunctionScheduled",
            (Self::LambdaFunction, "Succeeded") => "lambdaFunctionSucceeded",
            (Self::LambdaFunction, "Failed") => "lambdaFunctionFailed",
            (Self::LambdaFunction, _) => "lambdaFunctionTimedOut",
            (Self::Activity, "Scheduled") => "activityScheduled",
            (Self::Activity, "Started") => "activityStarted",
            (Self::Activity, "Succeeded") => "activitySucceeded",
            (Self::Activity, "Failed") => "activityFailed",
            (Self::Activity, _) => "activityTimedOut",
            (Self::Task, "Scheduled") => "taskScheduled",
            (Self::Task, "Started") => "taskStarted",
            (Self::Task, "Submitted") => "taskSubmitted",
            (Self::Task, "Succeeded") => "taskSucceeded",
            (Self::Task, "Failed") => "taskFailed",
            (Self::Task, _) => "taskTimedOut",
        };
        Some((key, details))
    }
}

/// Type and name of a resource as AWS splits it: `kyc:otp@1` is `otp@1` of type `kyc`, and
/// `arn:aws:states:::lambda:invoke` is `invoke` of type `lambda`.
fn split(resource: &str) -> (&str, &str) {
    let service = resource
        .strip_prefix("arn:")
        .and_then(|it| it.splitn(5, ':').nth(4));
    let service = service.unwrap_or(resource);
    service.rsplit_once(':').unwrap_or(("", service))
}

/// Error and cause as AWS shows them: absent where empty.
fn error_details(error: &str, cause: &str) -> Value {
    let mut details = Map::new();
    for (key, text) in [("error", error), ("cause", cause)] {
        if !text.is_empty() {
            details.insert(key.to_owned(), json!(text));
        }
    }
    Value::Object(details)
}
