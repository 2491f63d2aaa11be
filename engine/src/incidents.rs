//! Incidents: what stands still until an operator has looked, and what the operator says then.
//!
//! What stands still is in the snapshots (a stuck task) or beside them (the mark of a workflow); the rows
//! here are what operators list. A row that was lost with the process is written again at recovery, and
//! one whose task has gone on by itself is closed when somebody looks.

use std::collections::HashMap;

use btrust_machine::{Command, IncidentAction, StuckTask, TURN_POISONED};
use btrust_platform::clock::rfc3339;
use btrust_schemas::ids::{IncidentId, TaskId, WorkflowId};
use btrust_schemas::incidents::{
    INCIDENT_NOTE_BYTES_MAX, INCIDENTS_LIMIT_DEFAULT, INCIDENTS_LIMIT_MAX, IncidentPage,
    IncidentQuery, IncidentView, ResolutionAction, ResolutionRequest, ResolutionView,
};

use crate::dispatch::queue_of;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::metrics;
use crate::shared::Shared;
use crate::store::operations::{IncidentFilter, IncidentRow, Raised, Resolution};

/// The error of an attempt that an operator fails without naming another one.
const ERROR_INCIDENT: &str = "BTrust.Incident";
/// Whoever closes an incident that has gone on by itself.
const ENGINE: &str = "engine";

/// Notes that a whole workflow stands still.
pub async fn record_workflow(shared: &Shared, workflow: WorkflowId, code: &str) {
    let raised = Raised {
        workflow,
        task: 0,
        code: code.to_owned(),
        state: None,
        step: None,
        attempt: None,
        turn: None,
        at_ms: shared.clock.now_ms(),
    };
    record(shared, &raised).await;
}

/// Notes that a task stands still.
pub async fn record_task(shared: &Shared, workflow: WorkflowId, stuck: &StuckTask) {
    let raised = Raised {
        workflow,
        task: i64::from(stuck.task),
        code: TURN_POISONED.to_owned(),
        state: Some(stuck.state_name.clone()),
        step: Some(queue_of(&stuck.resource).to_owned()),
        attempt: Some(i64::from(stuck.attempt)),
        turn: Some(i64::from(stuck.turn)),
        at_ms: shared.clock.now_ms(),
    };
    record(shared, &raised).await;
}

async fn record(shared: &Shared, raised: &Raised) {
    if let Err(error) = shared.operations.raise_incident(raised).await {
        // The row is for operators; what stands still does so anyway, and recovery notes it again.
        tracing::error!(
            error = &error as &dyn std::error::Error,
            workflow.id = %raised.workflow,
            "cannot note an incident"
        );
    }
}

impl Engine {
    /// A page of a tenant's incidents, the latest first.
    pub async fn incidents(&self, query: IncidentQuery) -> Result<IncidentPage, EngineError> {
        let limit = query
            .limit
            .unwrap_or(INCIDENTS_LIMIT_DEFAULT)
            .clamp(1, INCIDENTS_LIMIT_MAX);
        let filter = IncidentFilter {
            tenant: query.tenant,
            is_open: !query.resolved,
            code: query.code,
            step: query.step,
            definition: query.definition,
            after: query.cursor.as_deref().map(parse_cursor).transpose()?,
            // One more than asked for tells whether there is a next page.
            limit: limit + 1,
        };
        let mut rows = self.shared.operations.incidents(&filter).await?;
        let page_size = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_next = page_size < rows.len();
        rows.truncate(page_size);
        let next = rows.last().filter(|_| has_next).map(cursor);
        if filter.is_open {
            rows = self.without_overtaken(rows).await?;
        }
        Ok(IncidentPage {
            incidents: rows.into_iter().map(view).collect(),
            next,
        })
    }

    /// One incident of a tenant.
    pub async fn incident(
        &self,
        tenant: &str,
        id: IncidentId,
    ) -> Result<IncidentView, EngineError> {
        self.incident_row(tenant, id).await.map(view)
    }

    async fn incident_row(&self, tenant: &str, id: IncidentId) -> Result<IncidentRow, EngineError> {
        let task = i64::from(id.number);
        let row = self.shared.operations.incident(id.workflow, task).await?;
        let row = row.filter(|it| it.tenant == tenant);
        let row = row.ok_or(EngineError::IncidentUnknown)?;
        if row.resolution.is_some() {
            return Ok(row);
        }
        if let Some(row) = self.without_overtaken(vec![row]).await?.pop() {
            return Ok(row);
        }
        let row = self.shared.operations.incident(id.workflow, task).await?;
        row.ok_or(EngineError::IncidentUnknown)
    }

    /// Does what an operator says about an incident.
    ///
    /// # Errors
    ///
    /// `incident_closed` when it has been resolved before or has gone on by itself.
    pub async fn resolve_incident(
        &self,
        id: IncidentId,
        request: ResolutionRequest,
    ) -> Result<IncidentView, EngineError> {
        let note = request.note.as_deref().unwrap_or_default();
        if INCIDENT_NOTE_BYTES_MAX < note.len() {
            return Err(EngineError::Invalid {
                code: "note_too_long",
                detail: format!("a note has at most {INCIDENT_NOTE_BYTES_MAX} bytes"),
            });
        }
        let row = self.incident_row(&request.tenant, id).await?;
        if row.resolution.is_some() {
            return Err(EngineError::IncidentClosed);
        }
        let action = request.action.as_str();
        tracing::info!(
            incident.id = %id, actor = request.actor, action,
            "somebody resolves an incident"
        );
        let command = command(id, &request);
        self.command(request.tenant.clone(), id.workflow, command)
            .await?;
        metrics::INCIDENTS_RESOLVED
            .with_label_values(&[action])
            .inc();
        let resolution = Resolution {
            at_ms: self.shared.clock.now_ms(),
            by: request.actor,
            action: action.to_owned(),
            note: request.note,
        };
        let task = i64::from(id.number);
        let operations = &self.shared.operations;
        operations
            .close_incident(id.workflow, task, &resolution)
            .await?;
        let row = operations.incident(id.workflow, task).await?;
        row.map(view).ok_or(EngineError::IncidentUnknown)
    }

    /// Closes those of `rows` whose workflow has gone on by itself; returns the others.
    async fn without_overtaken(
        &self,
        rows: Vec<IncidentRow>,
    ) -> Result<Vec<IncidentRow>, EngineError> {
        let mut ids: Vec<WorkflowId> = rows.iter().map(|it| it.workflow).collect();
        ids.dedup();
        // What cannot be read stands still for sure.
        let Ok(records) = self.shared.store.load(&ids).await else {
            return Ok(rows);
        };
        let mut standing: HashMap<WorkflowId, Vec<i64>> = HashMap::new();
        for record in records {
            let (id, mark) = (record.workflow, record.incident.is_some());
            let Ok(workflow) = self.shared.open(record).await else {
                continue;
            };
            let stuck = workflow.state.stuck_tasks().into_iter();
            let mut tasks: Vec<i64> = stuck.map(|it| i64::from(it.task)).collect();
            tasks.extend(mark.then_some(0));
            standing.insert(id, tasks);
        }
        let mut open = Vec::with_capacity(rows.len());
        for row in rows {
            let is_open = standing
                .get(&row.workflow)
                .is_none_or(|it| it.contains(&row.task));
            if is_open {
                open.push(row);
                continue;
            }
            let overtaken = Resolution {
                at_ms: self.shared.clock.now_ms(),
                by: ENGINE.to_owned(),
                action: "overtaken".to_owned(),
                note: None,
            };
            let operations = &self.shared.operations;
            operations
                .close_incident(row.workflow, row.task, &overtaken)
                .await?;
        }
        Ok(open)
    }
}

fn command(id: IncidentId, request: &ResolutionRequest) -> Command {
    let action = match request.action {
        ResolutionAction::Terminate => {
            return Command::Terminate {
                reason: request.note.clone(),
                by: Some(request.actor.clone()),
            };
        }
        ResolutionAction::Retry => IncidentAction::Retry,
        ResolutionAction::Fail => IncidentAction::Fail {
            error: request
                .error
                .clone()
                .unwrap_or_else(|| ERROR_INCIDENT.to_owned()),
            cause: request.cause.clone().unwrap_or_default(),
        },
    };
    Command::ResolveIncident {
        task: (id.number != 0).then_some(id.number),
        action,
        by: request.actor.clone(),
    }
}

fn view(row: IncidentRow) -> IncidentView {
    let number = |it: i64| u32::try_from(it).unwrap_or(u32::MAX);
    let workflow = row.workflow;
    let id = IncidentId {
        workflow,
        number: number(row.task),
    };
    let task = TaskId {
        workflow,
        number: id.number,
    };
    IncidentView {
        id,
        workflow,
        definition: row.definition,
        version: number(row.version),
        code: row.code,
        task: (id.number != 0).then_some(task),
        state: row.state,
        step: row.step,
        attempt: row.attempt.map(number),
        turn: row.turn.map(number),
        raised_at: rfc3339(row.raised_ms),
        resolution: row.resolution.map(|it| ResolutionView {
            action: it.action,
            by: it.by,
            note: it.note,
            at: rfc3339(it.at_ms),
        }),
    }
}

fn cursor(row: &IncidentRow) -> String {
    format!("{:x}-{}-{:x}", row.raised_ms, row.workflow, row.task)
}

fn parse_cursor(text: &str) -> Result<(i64, WorkflowId, i64), EngineError> {
    let parsed = || {
        let mut parts = text.split('-');
        let raised_ms = i64::from_str_radix(parts.next()?, 16).ok()?;
        let workflow = parts.next()?.parse().ok()?;
        let task = i64::from_str_radix(parts.next()?, 16).ok()?;
        parts
            .next()
            .is_none()
            .then_some((raised_ms, workflow, task))
    };
    parsed().ok_or_else(|| EngineError::Invalid {
        code: "cursor_invalid",
        detail: "the cursor is not one that a page has named".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text_form_and_others_are_refused() {
        let id = WorkflowId::new(3, [9; 15]);
        let text = format!("{:x}-{id}-{:x}", 1_769_903_999_123_i64, 17);
        assert_eq!(parse_cursor(&text), Ok((1_769_903_999_123, id, 17)));
        for text in ["", "--", "1-wf_0-1", "zz-zz-zz"] {
            assert_eq!(parse_cursor(text).unwrap_err().code(), "cursor_invalid");
        }
    }
}
