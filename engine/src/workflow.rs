//! A workflow as the engine holds it between two commits.

use std::collections::BTreeMap;
use std::sync::Arc;

use btrust_machine::{Definition, OpenPrompt, State, Status as MachineStatus};
use btrust_platform::clock::rfc3339;
use btrust_platform::sealing::Sealer;
use btrust_schemas::children::Lineage;
use btrust_schemas::core::{ResultView, Status, WorkflowView};
use btrust_schemas::ids::{PromptId, WorkflowId};
use btrust_schemas::prompt::{PromptView, PromptsView};
use btrust_schemas::turn::Audience;

use crate::search::of_column;
use crate::store::{SnapshotColumns, WorkflowColumns, WorkflowRecord};

/// The head of a hash chain before its first record.
pub const CHAIN_START: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Whom a paused workflow waits for, in the column `waiting_for`.
pub const OPERATOR: &str = "operator";

/// Everything about one workflow that the next command needs.
#[derive(Clone)]
pub struct Workflow {
    pub id: WorkflowId,
    pub definition: Arc<Definition>,
    pub sealer: Arc<Sealer>,
    pub columns: WorkflowColumns,
    /// Head of the hash chain of the audit records, hex.
    pub chain: String,
    pub n_audit: i64,
    pub n_analytics: i64,
    pub state: State,
}

impl Workflow {
    /// The digest under which steps know the person, or the workflow where the bank named none.
    pub fn subject(&self) -> String {
        self.columns
            .subject
            .clone()
            .unwrap_or_else(|| self.id.to_string())
    }

    /// What anybody who may see the workflow sees.
    pub fn view(&self) -> WorkflowView {
        let state = &self.state;
        WorkflowView {
            id: self.id,
            definition: self.columns.definition.clone(),
            version: u32::try_from(self.columns.version).unwrap_or(u32::MAX),
            status: status(state.status()),
            waiting_for: waiting_for(state),
            decision: state.decision().map(str::to_owned),
            outcomes: state.outcomes().clone(),
            search_attributes: shown_attributes(&self.columns),
            legal_hold: self.columns.legal_hold,
            error: state.error().map(str::to_owned),
            cause: state.cause().map(str::to_owned),
            started_at: rfc3339(self.columns.started_ms),
            closed_at: state.closed_ms().map(rfc3339),
            sequence: state.n_events(),
            running: Vec::new(),
            lineage: self.lineage(),
            paused: state.is_paused(),
            cancelling: state.is_cancelling(),
            redrives: state.n_redrives(),
            restart_of: self.columns.restart_of,
            restarted_as: state.restarted_as().and_then(|it| it.parse().ok()),
        }
    }

    /// Where the workflow comes from and where it goes on.
    fn lineage(&self) -> Lineage {
        let id = |text: &str| text.parse().ok();
        let origin = self.state.origin();
        Lineage {
            parent: origin.parent.as_ref().and_then(|it| id(&it.workflow)),
            continued_from: origin.continued_from.as_deref().and_then(id),
            continued_as: self.state.continued_as().and_then(id),
            schedule: origin.schedule.clone(),
        }
    }

    /// How the workflow ended, or that it runs.
    pub fn result(&self) -> ResultView {
        ResultView {
            status: status(self.state.status()),
            decision: self.state.decision().map(str::to_owned),
            output: self.state.output().map(btrust_machine::Payload::to_value),
            error: self.state.error().map(str::to_owned),
            cause: self.state.cause().map(str::to_owned),
            continued_as: self.lineage().continued_as,
        }
    }

    /// The open prompts, for one audience or for all.
    pub fn prompts(&self, audience: Option<Audience>) -> PromptsView {
        let open = self.state.open_prompts();
        let prompts = open.iter().filter_map(|it| self.prompt(it));
        PromptsView {
            prompts: prompts
                .filter(|it| audience.is_none_or(|wanted| wanted == it.audience))
                .collect(),
            sequence: self.state.n_events(),
            status: status(self.state.status()),
            decision: self.state.decision().map(str::to_owned),
        }
    }

    fn prompt(&self, prompt: &OpenPrompt) -> Option<PromptView> {
        let mut steps = self.definition.steps();
        let resource = steps
            .find(|(state, _)| *state == prompt.state_name)?
            .1
            .to_owned();
        Some(PromptView {
            id: PromptId {
                workflow: self.id,
                number: prompt.prompt,
            },
            workflow: self.id,
            state_name: prompt.state_name.clone(),
            resource,
            audience: parse_audience(&prompt.audience)?,
            kind: prompt.kind.clone(),
            body: prompt.body.to_value(),
            locale: self.columns.locale.clone(),
            opened_at: rfc3339(prompt.opened_ms),
            expires_at: rfc3339(prompt.expires_ms),
        })
    }

    /// The list columns as the state now asks for them.
    pub fn current_columns(&self) -> WorkflowColumns {
        WorkflowColumns {
            status: status(self.state.status()).as_str().to_owned(),
            waiting_for: if self.state.is_paused() {
                Some(OPERATOR.to_owned())
            } else {
                waiting_for(&self.state).map(|it| audience_text(it).to_owned())
            },
            decision: self.state.decision().map(str::to_owned),
            closed_ms: self.state.closed_ms(),
            retention: self.definition.retention().map(str::to_owned),
            ..self.columns.clone()
        }
    }

    /// What recovery and `engine check` need to know without opening the snapshot.
    pub fn snapshot_columns(&self) -> SnapshotColumns {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let children = self.state.children();
        SnapshotColumns {
            chain: self.chain.clone(),
            n_audit: self.n_audit,
            n_analytics: self.n_analytics,
            is_open: !self.state.status().is_closed() || !self.state.owed().is_empty(),
            // A turn that stands still keeps its workflow alive as well, and recovery looks at it.
            n_turns: count(self.state.open_turns().len() + self.state.stuck_tasks().len()),
            n_prompts: count(self.state.open_prompts().len()),
            n_signals: count(
                self.state.awaited_signals().len() + usize::from(self.state.is_paused()),
            ),
            wake_at_ms: self.state.wake_at(),
            n_owed: count(self.state.owed().len()),
            children: (!children.is_empty()).then(|| children.join(" ")),
        }
    }
}

/// What is left to be seen of a workflow that cannot be opened: what its row says.
pub fn view_of_row(record: &WorkflowRecord) -> WorkflowView {
    let columns = &record.columns;
    let waiting_for = columns.waiting_for.as_deref();
    WorkflowView {
        id: record.workflow,
        definition: columns.definition.clone(),
        version: u32::try_from(columns.version).unwrap_or(u32::MAX),
        status: Status::parse(&columns.status).unwrap_or(Status::Running),
        waiting_for: waiting_for.and_then(parse_audience),
        decision: columns.decision.clone(),
        outcomes: BTreeMap::new(),
        search_attributes: shown_attributes(columns),
        legal_hold: columns.legal_hold,
        error: None,
        cause: None,
        started_at: rfc3339(columns.started_ms),
        closed_at: columns.closed_ms.map(rfc3339),
        sequence: u64::try_from(record.sequence).unwrap_or_default(),
        running: Vec::new(),
        lineage: Lineage::default(),
        paused: waiting_for == Some(OPERATOR),
        cancelling: false,
        redrives: 0,
        restart_of: columns.restart_of,
        restarted_as: None,
    }
}

/// The search attributes of a workflow as JSON.
pub fn shown_attributes(columns: &WorkflowColumns) -> BTreeMap<String, serde_json::Value> {
    let attributes = of_column(columns.attributes.as_deref());
    let shown = attributes
        .into_iter()
        .map(|(name, it)| (name, it.to_json()));
    shown.collect()
}

/// A number of the machine as a column; none of ours comes near the end of the range.
pub fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The wire's word for a status of the machine.
pub fn status(status: MachineStatus) -> Status {
    match status {
        MachineStatus::Running => Status::Running,
        MachineStatus::Succeeded => Status::Succeeded,
        MachineStatus::Failed => Status::Failed,
        MachineStatus::TimedOut => Status::TimedOut,
        MachineStatus::Cancelled => Status::Cancelled,
        MachineStatus::Continued => Status::Continued,
        MachineStatus::Terminated => Status::Terminated,
    }
}

/// Whom the oldest open prompt asks.
fn waiting_for(state: &State) -> Option<Audience> {
    let prompts = state.open_prompts();
    let oldest = prompts.iter().min_by_key(|it| it.prompt)?;
    parse_audience(&oldest.audience)
}

pub fn parse_audience(text: &str) -> Option<Audience> {
    match text {
        "applicant" => Some(Audience::Applicant),
        "portal" => Some(Audience::Portal),
        "reviewer" => Some(Audience::Reviewer),
        _ => None,
    }
}

pub fn audience_text(audience: Audience) -> &'static str {
    match audience {
        Audience::Applicant => "applicant",
        Audience::Portal => "portal",
        Audience::Reviewer => "reviewer",
    }
}
