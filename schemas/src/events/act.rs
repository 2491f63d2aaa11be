//! Acts: what happens outside workflows, or about many of them: logins, acts of operators, reads of evidence.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{IncidentId, PromptId, WorkflowId};

/// Longest id of a request in an act, in bytes.
///
/// Source: what servers of ours take as a request's id.
pub const REQUEST_ID_CHARS_MAX: usize = 64;

/// Declares the kinds of acts: their words after `com.btrust.act.`, and what each means.
macro_rules! kinds {
    ($($name:ident = $word:literal $meaning:literal;)+) => {
        /// What somebody did.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum ActKind {
            $(#[doc = $meaning] #[serde(rename = $word)] $name,)+
        }

        impl ActKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The type of its event.
            #[must_use]
            pub const fn event_type(self) -> &'static str {
                match self { $(Self::$name => concat!("com.btrust.act.", $word),)+ }
            }

            /// What it means, in a few words.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)+ }
            }
        }
    };
}

kinds! {
    TokenIssued = "token.issued" "a client has proved itself and got a token";
    TokenRefused = "token.refused" "a client was refused a token: a wrong secret, or a scope that it does not have";
    ApplicantTokenIssued = "applicant-token.issued" "a client got a token for the applicant of a workflow";
    ClientCreated = "client.created" "a client was made";
    ClientChanged = "client.changed" "the operator gave a client other scopes or another secret";
    ClientDeleted = "client.deleted" "a client was withdrawn";
    HandoffCreated = "handoff.created" "an applicant got a code for another device";
    HandoffRedeemed = "handoff.redeemed" "another device has taken over";
    ResumeLinkCreated = "resume-link.created" "a link back to a workflow was made";
    ResumeLinkRedeemed = "resume-link.redeemed" "somebody came back by a link and a code";
    DefinitionStored = "definition.stored" "a version of a definition was stored, or published at once";
    DefinitionPublished = "definition.published" "a draft was published";
    DefinitionRetired = "definition.retired" "nothing starts on a version any more";
    LiveMoved = "definition.live-moved" "new workflows get another version";
    WorkflowsMigrated = "workflows.migrated" "running workflows were moved to another version";
    WorkflowsPaused = "workflows.paused" "the workflows that a filter finds were paused";
    WorkflowsResumed = "workflows.resumed" "the workflows that a filter finds were resumed";
    WorkflowPaused = "workflow.paused" "a workflow was paused";
    WorkflowResumed = "workflow.resumed" "a workflow was resumed";
    WorkflowCancelled = "workflow.cancelled" "a workflow was cancelled";
    WorkflowTerminated = "workflow.terminated" "a workflow was ended at once";
    WorkflowRedriven = "workflow.redriven" "a workflow goes on from where it failed";
    WorkflowRestarted = "workflow.restarted" "a workflow was started again as a new one";
    WorkflowDeleted = "workflow.deleted" "a workflow was deleted before its time was over, or after it";
    AttributesChanged = "attributes.changed" "a workflow is found by other search attributes";
    HoldPlaced = "hold.placed" "nothing of a workflow is deleted any more";
    HoldReleased = "hold.released" "a workflow may be deleted when its time is over";
    AcknowledgementGiven = "acknowledgement.given" "a tenant has taken a responsibility";
    ScheduleCreated = "schedule.created" "a schedule was made";
    ScheduleReplaced = "schedule.replaced" "a schedule was changed";
    ScheduleDeleted = "schedule.deleted" "a schedule was deleted";
    SchedulePaused = "schedule.paused" "a schedule starts nothing any more";
    ScheduleResumed = "schedule.resumed" "a schedule starts workflows again";
    ScheduleTriggered = "schedule.triggered" "a schedule was run by hand";
    IncidentResolved = "incident.resolved" "somebody has said how a workflow goes on that stood still";
    TaskLimitsChanged = "task-limits.changed" "the operator has changed how many tasks run";
    WebhookCreated = "webhook.created" "an endpoint was made that is told what happens, and its secret was shown";
    WebhookChanged = "webhook.changed" "an endpoint was changed, enabled or disabled";
    WebhookDeleted = "webhook.deleted" "an endpoint and its secrets were deleted";
    WebhookSecretRotated = "webhook.secret-rotated" "an endpoint got another secret, which was shown; those before end";
    WebhookTested = "webhook.tested" "an endpoint was sent a test";
    WebhookReplayed = "webhook.replayed" "an endpoint was sent again what it was told since a time";
    WebhookDeliveryReplayed = "webhook.delivery-replayed" "an endpoint was sent one delivery again";
    HistoryRead = "history.read" "the history of a workflow, with its data, was read";
    ResultRead = "result.read" "the result of a workflow was read";
    PromptsRead = "prompts.read" "the open prompts of a workflow were read by somebody else than its applicant";
}

/// Who acted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ActorKind {
    /// A system or an administrator of the bank.
    Client,
    /// A person of the bank who decides reviews.
    Reviewer,
    /// Another service of the platform.
    Service,
    /// The person being verified, who has no id but the workflow.
    Applicant,
    /// Whoever runs the platform, at its command line.
    Operator,
    /// Nobody who has proved who they are.
    Unknown,
}

/// Who acted, by the name that tokens have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActBy {
    pub kind: ActorKind,
    /// Id of the client. Absent for applicants, and for whoever named no client that there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// What became of an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ActOutcome {
    Done,
    Refused,
    /// It ended with a fault of ours.
    Failed,
    /// The process ended before it knew; what it was about says more.
    Unknown,
}

/// What an act was about: ids and names of ours only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActTarget {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<WorkflowId>,
    /// The workflow that began by the act.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<WorkflowId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<PromptId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Scopes of a token or a client, separated by spaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The kind of an acknowledgement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledgement: Option<String>,
    /// An endpoint of webhooks: `whe_...`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Whether the endpoint is called from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// A delivery of a webhook: `msg_...`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<String>,
    /// Number of the last event that a reader of a history knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// An act as services report it to core.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReportedAct {
    /// 32 hex digits; core records an id once.
    pub id: String,
    pub kind: ActKind,
    #[serde(flatten)]
    pub act: Act,
}

/// What a service says about an act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Act {
    /// When the service saw it, ms since the epoch; the record's own time is when it was recorded.
    pub at_ms: i64,
    pub by: ActBy,
    pub outcome: ActOutcome,
    /// HTTP status of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Id of the request in the logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// `gateway` or `auth`.
    pub service: String,
    #[serde(default)]
    pub target: ActTarget,
}

/// Acts of one tenant, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportedActs {
    pub acts: Vec<ReportedAct>,
}

/// Data of the audit record of an act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActData {
    /// The id that the service gave it.
    pub act: String,
    #[serde(flatten)]
    pub said: Act,
    /// SHA-256 hex of what is sealed of the act: nothing, so of `-`.
    pub sealed_sha256: String,
    /// The hash of the log's record before this one; 64 zeros in the first.
    pub previous_hash: String,
    /// SHA-256 hex of the record's bytes before `,"hash"`.
    pub hash: String,
}
