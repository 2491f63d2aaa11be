//! What is done about a workflow and not to it: search attributes and legal holds.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::sync::oneshot;

use btrust_machine::{Annotation, Command};
use btrust_schemas::core::WorkflowView;
use btrust_schemas::ids::WorkflowId;
use btrust_schemas::search::{AttributesRequest, HoldRequest};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::mailbox::{Answer, Request};
use crate::round::Round;
use crate::row_acts::Act;
use crate::search::{self, column_of, of_column};
use crate::workflow::{Workflow, view_of_row};

/// Something that somebody notes about a workflow, open or closed.
pub struct Annotate {
    pub workflow: WorkflowId,
    pub tenant: String,
    pub change: Change,
    pub actor: String,
}

pub enum Change {
    /// Other values of search attributes; null takes one away.
    Attributes(BTreeMap<String, Value>),
    LegalHold(bool),
}

impl Change {
    /// Changes the columns; `None` when they are so already.
    fn make(&self, workflow: &mut Workflow) -> Result<Option<Annotation>, EngineError> {
        let columns = &mut workflow.columns;
        match self {
            Self::Attributes(changes) => {
                let declared = workflow.definition.search_attributes();
                let mut attributes = of_column(columns.attributes.as_deref());
                let names = search::change(declared, &mut attributes, changes)?;
                if names.is_empty() {
                    return Ok(None);
                }
                columns.attributes = column_of(&attributes);
                Ok(Some(Annotation::SearchAttributesChanged { names }))
            }
            Self::LegalHold(hold) if *hold == columns.legal_hold => Ok(None),
            Self::LegalHold(hold) => {
                columns.legal_hold = *hold;
                Ok(Some(if *hold {
                    Annotation::LegalHoldPlaced
                } else {
                    Annotation::LegalHoldReleased
                }))
            }
        }
    }
}

impl Round {
    /// Notes something about the draft of a workflow; there must be one.
    pub fn annotate(
        &mut self,
        annotate: &Annotate,
        now_ms: i64,
        reply: Option<oneshot::Sender<Answer>>,
    ) {
        let id = annotate.workflow;
        let Some(workflow) = self.draft_of(id, &annotate.tenant) else {
            return self.refuse(reply, EngineError::Unknown);
        };
        let before = workflow.columns.clone();
        let annotation = match annotate.change.make(workflow) {
            Ok(Some(annotation)) => annotation,
            Ok(None) => return self.repeat(reply, id),
            Err(error) => return self.refuse(reply, error),
        };
        let command = Command::Annotate {
            annotation,
            by: annotate.actor.clone(),
        };
        if let Err(error) = self.note(id, &command, now_ms) {
            if let Some(workflow) = self.draft_of(id, &annotate.tenant) {
                workflow.columns = before;
            }
            return self.refuse(reply, error);
        }
        self.done(reply, id);
    }
}

impl Engine {
    /// Gives the search attributes of a workflow other values.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unknown`]; `search_attribute_invalid`; `history_full`.
    pub async fn change_attributes(
        &self,
        workflow: WorkflowId,
        request: AttributesRequest,
    ) -> Result<WorkflowView, EngineError> {
        let change = Change::Attributes(request.changes);
        self.annotate(workflow, request.tenant, change, request.actor)
            .await
    }

    /// Places a legal hold on a workflow, or releases it, also on one that cannot be opened any more.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unknown`].
    pub async fn hold(
        &self,
        workflow: WorkflowId,
        request: HoldRequest,
    ) -> Result<WorkflowView, EngineError> {
        let HoldRequest {
            tenant,
            hold,
            actor,
        } = request;
        let change = Change::LegalHold(hold);
        let noted = self
            .annotate(workflow, tenant.clone(), change, actor.clone())
            .await;
        let error = match noted {
            Err(EngineError::Unknown | EngineError::Elsewhere | EngineError::Overloaded)
            | Ok(_) => {
                return noted;
            }
            Err(error) => error,
        };
        // A key that cannot be read looks like one that cannot be reached. To hold what may be well is safe; to
        // let it go without a word in its history is not.
        if !hold && error.is_transient() {
            return Err(error);
        }
        if self.shared.find(workflow).await.is_ok() {
            return Err(error);
        }
        tracing::warn!(
            workflow.id = %workflow, actor, hold, reason = error.code(),
            "a workflow that cannot be opened is held or let go; its history does not tell"
        );
        let act = Act::Hold(hold);
        self.act_on_rows(workflow, Some(tenant), act).await?;
        let record = self.shared.store.load(&[workflow]).await?.pop();
        Ok(view_of_row(&record.ok_or(EngineError::Unknown)?))
    }

    async fn annotate(
        &self,
        workflow: WorkflowId,
        tenant: String,
        change: Change,
        actor: String,
    ) -> Result<WorkflowView, EngineError> {
        let annotate = Annotate {
            workflow,
            tenant,
            change,
            actor,
        };
        let done = self.mailbox.ask(Request::Annotate(Box::new(annotate)));
        Ok(done.await?.workflow.view())
    }
}
