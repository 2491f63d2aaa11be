//! What the operations on webhooks have in common: their documents.

use poem_openapi::{ApiResponse, Enum, Object, payload::Json};

use btrust_schemas::webhooks::{
    AttemptView, DeliveryView, EndpointRequest, EndpointSpec, EndpointView,
};

/// What an endpoint can be told of.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[oai(rename = "WebhookTopic")]
pub enum TopicWord {
    /// A workflow has ended: `status` is `succeeded`, `cancelled`, `terminated` or `continued`, `decision` what
    /// was decided.
    #[oai(rename = "workflow.closed")]
    Closed,
    /// A workflow waits: `waitingFor` is `applicant`, `portal`, `reviewer` or `operator`.
    #[oai(rename = "workflow.waiting")]
    Waiting,
    /// A workflow has ended by an error or its time limit: `status` is `failed` or `timed_out`.
    #[oai(rename = "workflow.failed")]
    Failed,
}

/// What the bank says of an endpoint.
#[derive(Object)]
#[oai(
    rename = "WebhookEndpointSpec",
    rename_all = "camelCase",
    deny_unknown_fields
)]
pub struct EndpointSpecDocument {
    /// An https URL; all addresses of its host are on the public internet. Redirects are not followed
    #[oai(validator(min_length = 1, max_length = 2048))]
    pub url: String,
    #[oai(validator(min_items = 1, max_items = 3, unique_items))]
    pub topics: Vec<TopicWord>,
    /// For people
    #[oai(default, validator(max_length = 200))]
    pub description: String,
    /// Whether it is called. What happens while it is not is not kept for it; one that the platform has stopped
    /// is called again when this is sent anew
    #[oai(default = "enabled")]
    pub enabled: bool,
}

fn enabled() -> bool {
    true
}

/// An endpoint as it stands.
#[derive(Object)]
#[oai(
    rename = "WebhookEndpoint",
    rename_all = "camelCase",
    skip_serializing_if_is_none
)]
pub struct EndpointDocument {
    pub id: String,
    pub url: String,
    pub topics: Vec<String>,
    pub description: String,
    /// `enabled`; `disabled` by the bank; stopped by the platform: `failing` when nothing was taken for three
    /// days, `gone` when 410 was answered. What happens to a stopped one is kept and can be replayed
    pub status: String,
    /// `sequence` of its latest event
    pub sequence: i64,
    /// RFC 3339; since when nothing was taken
    pub failing_since: Option<String>,
    pub created_by: String,
    /// RFC 3339
    pub created_at: String,
    pub changed_by: String,
    /// RFC 3339
    pub changed_at: String,
}

/// One event for one endpoint.
#[derive(Object)]
#[oai(
    rename = "WebhookDelivery",
    rename_all = "camelCase",
    skip_serializing_if_is_none
)]
pub struct DeliveryDocument {
    /// The header `webhook-id` of its calls
    pub id: String,
    /// Increases by one from event to event of an endpoint; in the body too
    pub sequence: i64,
    /// The `type` in the body
    pub topic: String,
    pub workflow: Option<String>,
    /// When the event happened, RFC 3339
    pub at: String,
    /// `due`, `delivered`, or `failed` when it was given up
    pub state: String,
    /// When the next attempt is due, RFC 3339
    pub due_at: Option<String>,
    pub attempts: i64,
    /// RFC 3339
    pub created_at: String,
    /// RFC 3339
    pub finished_at: Option<String>,
}

/// One call.
#[derive(Object)]
#[oai(
    rename = "WebhookAttempt",
    rename_all = "camelCase",
    skip_serializing_if_is_none
)]
pub struct AttemptDocument {
    /// Counts from 1, over all replays
    pub number: i64,
    /// RFC 3339
    pub at: String,
    pub duration_ms: i64,
    /// The HTTP status that was answered
    pub status: Option<i64>,
    /// Why nothing was answered: `unresolved`, `address_refused`, `connect`, `tls`, `timeout`, `broken`, `secrets`
    pub fault: Option<String>,
}

#[derive(ApiResponse)]
pub enum EndpointResponse {
    /// The endpoint.
    #[oai(status = 200)]
    Found(Json<EndpointDocument>, #[oai(header = "ETag")] String),
}

#[derive(ApiResponse)]
pub enum DeliveryResponse {
    /// The delivery, which is due.
    #[oai(status = 202)]
    Due(Json<DeliveryDocument>),
}

/// The entity tag of an endpoint.
pub fn etag(view: &EndpointView) -> String {
    format!("\"{}\"", view.revision)
}

impl EndpointSpecDocument {
    pub fn into_request(self, actor: String, revision: Option<i64>) -> EndpointRequest {
        let word = |it: TopicWord| match it {
            TopicWord::Closed => "workflow.closed",
            TopicWord::Waiting => "workflow.waiting",
            TopicWord::Failed => "workflow.failed",
        };
        EndpointRequest {
            spec: EndpointSpec {
                url: self.url,
                topics: self
                    .topics
                    .into_iter()
                    .map(|it| word(it).to_owned())
                    .collect(),
                description: self.description,
                enabled: self.enabled,
            },
            revision,
            actor,
        }
    }
}

impl From<EndpointView> for EndpointResponse {
    fn from(view: EndpointView) -> Self {
        let etag = etag(&view);
        Self::Found(Json(view.into()), etag)
    }
}

impl From<EndpointView> for EndpointDocument {
    fn from(it: EndpointView) -> Self {
        Self {
            id: it.id,
            url: it.url,
            topics: it.topics,
            description: it.description,
            status: it.status,
            sequence: it.sequence,
            failing_since: it.failing_since,
            created_by: it.created_by,
            created_at: it.created_at,
            changed_by: it.changed_by,
            changed_at: it.changed_at,
        }
    }
}

impl From<DeliveryView> for DeliveryDocument {
    fn from(it: DeliveryView) -> Self {
        Self {
            id: it.id,
            sequence: it.sequence,
            topic: it.topic,
            workflow: it.workflow,
            at: it.at,
            state: it.state,
            due_at: it.due_at,
            attempts: it.n_attempts,
            created_at: it.created_at,
            finished_at: it.finished_at,
        }
    }
}

impl From<AttemptView> for AttemptDocument {
    fn from(it: AttemptView) -> Self {
        Self {
            number: it.number,
            at: it.at,
            duration_ms: it.duration_ms,
            status: it.status,
            fault: it.fault,
        }
    }
}
