//! Calls to the internal API of core, with the gateway's own service token.

use std::sync::Arc;

use reqwest::{Method, Response, StatusCode, Url};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use btrust_platform::token::{TokenError, TokenSource};
use btrust_schemas::{
    commands::{
        ActRequest, ManyRequest, ManyView, RedriveRequest, RestartRequest, SignalRequest,
        SignalResponse,
    },
    core::{
        Acknowledgement, CancelRequest, HistoryPage, ListQuery, ResultView, StartRequest,
        StartResponse, SubmissionRequest, SubmissionResponse, TaskFailureRequest,
        TaskHeartbeatRequest, TaskSuccessRequest, WorkflowView,
    },
    definition::{
        DefinitionView, DraftRequest, DraftResponse, LiveRequest, LiveView, MigrationRequest,
        MigrationView, PublicationRequest, RetirementRequest, VersionsView,
    },
    events::{ReportedAct, ReportedActs},
    ids::{IncidentId, PromptId, TaskToken, WorkflowId},
    incidents::{IncidentPage, IncidentQuery, IncidentView, ResolutionRequest},
    problem::Problem,
    prompt::PromptsView,
    schedules::{
        NewScheduleRequest, ScheduleAct, SchedulePage, ScheduleRequest, ScheduleView,
        TriggerRequest, Triggered,
    },
    search::{AttributesRequest, CountQuery, CountsView, DeletionRequest, HoldRequest, ListPage},
    task_limits::{TaskLimitsRequest, TaskLimitsView},
    turn::Audience,
};

use crate::{
    refusal::{self, Refused},
    refusals,
};

/// Largest answer of core that is read, in bytes: a page of history with inputs
/// and outputs of steps.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Why core did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// Core says no, and why; the caller may hear it.
    #[error("core refused: {0}")]
    Refused(Problem),
    /// Core has too much to do, for everybody or for this tenant; the caller may hear it.
    #[error("core is busy: {problem}")]
    Busy {
        problem: Problem,
        /// How long the caller should stay away, s.
        retry_after_s: u32,
    },
    /// Core or auth did not answer; the same call may succeed later.
    #[error("core did not answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Core answered what this program does not understand.
    #[error("core answered {status} and not what was expected")]
    Unexpected { status: u16 },
}

/// Codes of core that say to come back later.
const BUSY: [&str; 2] = ["overloaded", "too_many_requests"];
/// How long a caller should stay away when core does not say, s.
const RETRY_AFTER_S: u32 = 1;

refusals! {
    /// What every operation that calls core can answer.
    ByCore {
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

impl<R> From<CoreError> for Refused<R> {
    fn from(error: CoreError) -> Self {
        match error {
            CoreError::Refused(problem) => Self::new(problem),
            CoreError::Busy {
                problem,
                retry_after_s,
            } => Self::new(problem).retry_after(retry_after_s),
            CoreError::Unavailable(_) => {
                Self::failed(CORE_UNAVAILABLE, &error).retry_after(RETRY_AFTER_S)
            }
            CoreError::Unexpected { .. } => Self::failed(refusal::INTERNAL, &error),
        }
    }
}

/// The gateway's view of core.
pub struct CoreClient {
    http: reqwest::Client,
    base: Url,
    tokens: Arc<TokenSource>,
}

impl CoreClient {
    #[must_use]
    pub fn new(base: Url, tokens: Arc<TokenSource>) -> Self {
        Self {
            http: btrust_platform::http::client(),
            base,
            tokens,
        }
    }

    /// Has acts of a tenant recorded; they are durable when this returns.
    pub async fn record_acts(&self, tenant: &str, acts: &[ReportedAct]) -> Result<(), CoreError> {
        let acts = acts.to_vec();
        self.post(&["tenants", tenant, "acts"], &ReportedActs { acts })
            .await
    }

    pub async fn draft(&self, request: &DraftRequest) -> Result<DraftResponse, CoreError> {
        self.post(&["definitions"], request).await
    }

    pub async fn publish(
        &self,
        name: &str,
        version: u32,
        request: &PublicationRequest,
    ) -> Result<DefinitionView, CoreError> {
        let version = version.to_string();
        let path = ["definitions", name, "versions", &version, "publication"];
        self.post(&path, request).await
    }

    pub async fn retire(
        &self,
        name: &str,
        version: u32,
        request: &RetirementRequest,
    ) -> Result<DefinitionView, CoreError> {
        let version = version.to_string();
        let path = ["definitions", name, "versions", &version, "retirement"];
        self.post(&path, request).await
    }

    /// The version that new workflows get.
    pub async fn live(&self, tenant: &str, name: &str) -> Result<LiveView, CoreError> {
        let query = [("tenant", tenant.to_owned())];
        self.get(&["definitions", name, "live"], &query).await
    }

    pub async fn move_live(
        &self,
        name: &str,
        request: &LiveRequest,
    ) -> Result<LiveView, CoreError> {
        let url = self.url(&["definitions", name, "live"]);
        self.send_json(Method::PUT, url, request).await
    }

    pub async fn migrate(
        &self,
        name: &str,
        request: &MigrationRequest,
    ) -> Result<MigrationView, CoreError> {
        self.post(&["definitions", name, "migrations"], request)
            .await
    }

    pub async fn versions(&self, tenant: &str, name: &str) -> Result<VersionsView, CoreError> {
        let query = [("tenant", tenant.to_owned())];
        self.get(&["definitions", name, "versions"], &query).await
    }

    pub async fn definitions(&self, tenant: &str) -> Result<Vec<DefinitionView>, CoreError> {
        self.get(&["definitions"], &[("tenant", tenant.to_owned())])
            .await
    }

    /// One version; where none is named, the live one, or the newest where none is live.
    pub async fn definition(
        &self,
        tenant: &str,
        name: &str,
        version: Option<u32>,
    ) -> Result<DefinitionView, CoreError> {
        let mut query = vec![("tenant", tenant.to_owned())];
        query.extend(version.map(|it| ("version", it.to_string())));
        self.get(&["definitions", name], &query).await
    }

    pub async fn start(&self, request: &StartRequest) -> Result<StartResponse, CoreError> {
        self.post(&["workflows"], request).await
    }

    pub async fn workflow(&self, tenant: &str, id: WorkflowId) -> Result<WorkflowView, CoreError> {
        self.get(
            &["workflows", &id.to_string()],
            &[("tenant", tenant.to_owned())],
        )
        .await
    }

    pub async fn list(&self, query: &ListQuery) -> Result<ListPage, CoreError> {
        self.get(&["workflows"], &borrowed(&pairs(query))).await
    }

    pub async fn counts(&self, query: &CountQuery) -> Result<CountsView, CoreError> {
        self.get(&["workflows", "counts"], &borrowed(&pairs(query)))
            .await
    }

    pub async fn change_attributes(
        &self,
        id: WorkflowId,
        request: &AttributesRequest,
    ) -> Result<WorkflowView, CoreError> {
        self.post(
            &["workflows", &id.to_string(), "search-attributes"],
            request,
        )
        .await
    }

    pub async fn hold(
        &self,
        id: WorkflowId,
        request: &HoldRequest,
    ) -> Result<WorkflowView, CoreError> {
        self.post(&["workflows", &id.to_string(), "legal-hold"], request)
            .await
    }

    pub async fn delete(&self, id: WorkflowId, request: &DeletionRequest) -> Result<(), CoreError> {
        self.post(&["workflows", &id.to_string(), "deletion"], request)
            .await
    }

    pub async fn result(
        &self,
        tenant: &str,
        id: WorkflowId,
        wait_ms: u64,
    ) -> Result<ResultView, CoreError> {
        let query = [
            ("tenant", tenant.to_owned()),
            ("waitMs", wait_ms.to_string()),
        ];
        self.get(&["workflows", &id.to_string(), "result"], &query)
            .await
    }

    pub async fn history(
        &self,
        tenant: &str,
        id: WorkflowId,
        after: u64,
        limit: u32,
    ) -> Result<HistoryPage, CoreError> {
        let query = [
            ("tenant", tenant.to_owned()),
            ("after", after.to_string()),
            ("limit", limit.to_string()),
        ];
        self.get(&["workflows", &id.to_string(), "history"], &query)
            .await
    }

    pub async fn cancel(
        &self,
        id: WorkflowId,
        request: &CancelRequest,
    ) -> Result<WorkflowView, CoreError> {
        self.post(&["workflows", &id.to_string(), "cancel"], request)
            .await
    }

    pub async fn signal(
        &self,
        id: WorkflowId,
        request: &SignalRequest,
    ) -> Result<SignalResponse, CoreError> {
        self.post(&["workflows", &id.to_string(), "signals"], request)
            .await
    }

    pub async fn pause(
        &self,
        id: WorkflowId,
        request: &ActRequest,
    ) -> Result<WorkflowView, CoreError> {
        self.post(&["workflows", &id.to_string(), "pause"], request)
            .await
    }

    pub async fn resume(
        &self,
        id: WorkflowId,
        request: &ActRequest,
    ) -> Result<WorkflowView, CoreError> {
        self.post(&["workflows", &id.to_string(), "resume"], request)
            .await
    }

    pub async fn terminate(
        &self,
        id: WorkflowId,
        request: &ActRequest,
    ) -> Result<WorkflowView, CoreError> {
        self.post(&["workflows", &id.to_string(), "terminate"], request)
            .await
    }

    pub async fn redrive(
        &self,
        id: WorkflowId,
        request: &RedriveRequest,
    ) -> Result<WorkflowView, CoreError> {
        self.post(&["workflows", &id.to_string(), "redrive"], request)
            .await
    }

    pub async fn restart(
        &self,
        id: WorkflowId,
        request: &RestartRequest,
    ) -> Result<StartResponse, CoreError> {
        self.post(&["workflows", &id.to_string(), "restart"], request)
            .await
    }

    pub async fn act_on_many(&self, request: &ManyRequest) -> Result<ManyView, CoreError> {
        self.post(&["workflow-acts"], request).await
    }

    /// The open prompts of an audience. With `after`, parks until the workflow is
    /// further than that or `wait_ms` have passed.
    pub async fn prompts(
        &self,
        tenant: &str,
        id: WorkflowId,
        audience: Audience,
        after: Option<u64>,
        wait_ms: u64,
    ) -> Result<PromptsView, CoreError> {
        let mut query = vec![("tenant", tenant.to_owned()), ("audience", text(&audience))];
        query.extend(after.map(|it| ("after", it.to_string())));
        query.push(("waitMs", wait_ms.to_string()));
        self.get(&["workflows", &id.to_string(), "prompts"], &query)
            .await
    }

    pub async fn submit(
        &self,
        prompt: PromptId,
        request: &SubmissionRequest,
    ) -> Result<SubmissionResponse, CoreError> {
        self.post(&["prompts", &prompt.to_string(), "submissions"], request)
            .await
    }

    pub async fn succeed_task(
        &self,
        token: TaskToken,
        request: &TaskSuccessRequest,
    ) -> Result<(), CoreError> {
        self.post(&["task-tokens", &token.to_string(), "success"], request)
            .await
    }

    pub async fn fail_task(
        &self,
        token: TaskToken,
        request: &TaskFailureRequest,
    ) -> Result<(), CoreError> {
        self.post(&["task-tokens", &token.to_string(), "failure"], request)
            .await
    }

    pub async fn keep_task(
        &self,
        token: TaskToken,
        request: &TaskHeartbeatRequest,
    ) -> Result<(), CoreError> {
        self.post(&["task-tokens", &token.to_string(), "heartbeat"], request)
            .await
    }

    pub async fn incidents(&self, query: &IncidentQuery) -> Result<IncidentPage, CoreError> {
        self.get(&["incidents"], &borrowed(&pairs(query))).await
    }

    pub async fn incident(&self, tenant: &str, id: IncidentId) -> Result<IncidentView, CoreError> {
        let query = [("tenant", tenant.to_owned())];
        self.get(&["incidents", &id.to_string()], &query).await
    }

    pub async fn resolve_incident(
        &self,
        id: IncidentId,
        request: &ResolutionRequest,
    ) -> Result<IncidentView, CoreError> {
        self.post(&["incidents", &id.to_string(), "resolution"], request)
            .await
    }

    pub async fn task_limits(&self) -> Result<TaskLimitsView, CoreError> {
        self.get(&["task-limits"], &[]).await
    }

    pub async fn put_task_limits(
        &self,
        request: &TaskLimitsRequest,
    ) -> Result<TaskLimitsView, CoreError> {
        self.send_json(Method::PUT, self.url(&["task-limits"]), request)
            .await
    }

    pub async fn acknowledgements(&self, tenant: &str) -> Result<Vec<Acknowledgement>, CoreError> {
        self.get(&["tenants", tenant, "acknowledgements"], &[])
            .await
    }

    pub async fn acknowledge(
        &self,
        tenant: &str,
        acknowledgement: &Acknowledgement,
    ) -> Result<Acknowledgement, CoreError> {
        self.post(&["tenants", tenant, "acknowledgements"], acknowledgement)
            .await
    }

    pub async fn schedules(
        &self,
        tenant: &str,
        after: Option<String>,
        limit: Option<u32>,
    ) -> Result<SchedulePage, CoreError> {
        let mut query = Vec::new();
        query.extend(after.map(|it| ("after", it)));
        query.extend(limit.map(|it| ("limit", it.to_string())));
        self.get(&["tenants", tenant, "schedules"], &query).await
    }

    pub async fn schedule(&self, tenant: &str, name: &str) -> Result<ScheduleView, CoreError> {
        self.get(&["tenants", tenant, "schedules", name], &[]).await
    }

    pub async fn create_schedule(
        &self,
        name: &str,
        request: &NewScheduleRequest,
    ) -> Result<ScheduleView, CoreError> {
        self.post(&["tenants", &request.tenant, "schedules", name], request)
            .await
    }

    pub async fn replace_schedule(
        &self,
        name: &str,
        request: &ScheduleRequest,
    ) -> Result<ScheduleView, CoreError> {
        let url = self.url(&["tenants", &request.tenant, "schedules", name]);
        self.send_json(Method::PUT, url, request).await
    }

    pub async fn pause_schedule(
        &self,
        name: &str,
        act: &ScheduleAct,
    ) -> Result<ScheduleView, CoreError> {
        self.post(&["tenants", &act.tenant, "schedules", name, "pause"], act)
            .await
    }

    pub async fn resume_schedule(
        &self,
        name: &str,
        act: &ScheduleAct,
    ) -> Result<ScheduleView, CoreError> {
        self.post(&["tenants", &act.tenant, "schedules", name, "resume"], act)
            .await
    }

    pub async fn delete_schedule(&self, name: &str, act: &ScheduleAct) -> Result<(), CoreError> {
        let path = ["tenants", &act.tenant, "schedules", name, "deletion"];
        self.post(&path, act).await
    }

    pub async fn trigger_schedule(
        &self,
        name: &str,
        request: &TriggerRequest,
    ) -> Result<Triggered, CoreError> {
        let path = ["tenants", &request.tenant, "schedules", name, "trigger"];
        self.post(&path, request).await
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, CoreError> {
        let mut url = self.url(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.call(Method::GET, url, None).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, CoreError> {
        self.send_json(Method::POST, self.url(path), body).await
    }

    pub(super) async fn send_json<T: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: &impl Serialize,
    ) -> Result<T, CoreError> {
        let body = serde_json::to_vec(body).map_err(|it| CoreError::Unavailable(it.into()))?;
        self.call(method, url, Some(body)).await
    }

    pub(super) fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("a base with a host has a path")
            .pop_if_empty()
            .extend(["internal", "v1"])
            .extend(path);
        url
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: Option<Vec<u8>>,
    ) -> Result<T, CoreError> {
        let mut answer = self.send(&method, &url, body.as_ref()).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            // Auth has new keys, or forgot us: one more try with a new token.
            self.tokens.forget();
            answer = self.send(&method, &url, body.as_ref()).await?;
        }
        let status = answer.status();
        let retry_after_s = retry_after(&answer);
        let bytes = read(answer).await?;
        if status.is_success() {
            let unexpected = |_| CoreError::Unexpected {
                status: status.as_u16(),
            };
            return serde_json::from_slice(&bytes).map_err(unexpected);
        }
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) if BUSY.contains(&problem.code.as_str()) => Err(CoreError::Busy {
                problem,
                retry_after_s,
            }),
            // 401 and 403 of core are about our own token, but for these.
            Ok(problem) if ABOUT_THE_CALLER.contains(&problem.code.as_str()) => {
                Err(CoreError::Refused(problem))
            }
            Ok(problem) if is_the_callers(status) => Err(CoreError::Refused(problem)),
            Ok(problem) if status == StatusCode::SERVICE_UNAVAILABLE => {
                Err(CoreError::Unavailable(problem.into()))
            }
            _ => Err(CoreError::Unexpected {
                status: status.as_u16(),
            }),
        }
    }

    async fn send(
        &self,
        method: &Method,
        url: &Url,
        body: Option<&Vec<u8>>,
    ) -> Result<Response, CoreError> {
        let token = self.tokens.bearer().await.map_err(no_token)?;
        let mut request = self
            .http
            .request(method.clone(), url.clone())
            .bearer_auth(token);
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.clone());
        }
        request
            .send()
            .await
            .map_err(|it| CoreError::Unavailable(it.without_url().into()))
    }
}

/// The codes of core with status 403 that are about our caller's token and not about ours.
const ABOUT_THE_CALLER: &[&str] = &["audience_mismatch", "second_person_required"];

/// Whether a refusal is about what the caller sent, and not about us.
fn is_the_callers(status: StatusCode) -> bool {
    status.is_client_error()
        && status != StatusCode::UNAUTHORIZED
        && status != StatusCode::FORBIDDEN
}

fn no_token(error: TokenError) -> CoreError {
    CoreError::Unavailable(error.into())
}

/// How long core says to stay away, s.
fn retry_after(answer: &Response) -> u32 {
    let said = answer.headers().get("retry-after");
    let said = said.and_then(|it| it.to_str().ok()?.parse().ok());
    said.unwrap_or(RETRY_AFTER_S)
}

async fn read(mut answer: Response) -> Result<Vec<u8>, CoreError> {
    let mut bytes = Vec::new();
    let away = |it: reqwest::Error| CoreError::Unavailable(it.without_url().into());
    while let Some(chunk) = answer.chunk().await.map_err(away)? {
        bytes.extend_from_slice(&chunk);
        if ANSWER_BYTES_MAX < bytes.len() {
            return Err(CoreError::Unexpected {
                status: answer.status().as_u16(),
            });
        }
    }
    Ok(bytes)
}

/// The fields of a flat structure as query pairs; absent ones are left out.
pub(super) fn pairs(query: &impl Serialize) -> Vec<(String, String)> {
    let Ok(Value::Object(fields)) = serde_json::to_value(query) else {
        return Vec::new();
    };
    let pair = |(name, value): (String, Value)| match value {
        Value::Null => None,
        Value::String(text) => Some((name, text)),
        other => Some((name, other.to_string())),
    };
    fields.into_iter().filter_map(pair).collect()
}

pub(super) fn borrowed(pairs: &[(String, String)]) -> Vec<(&str, String)> {
    pairs
        .iter()
        .map(|(name, text)| (name.as_str(), text.clone()))
        .collect()
}

/// The wire form of a value that is spelled as a string.
fn text(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => text,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use btrust_schemas::core::Status;

    use super::*;

    #[test]
    fn every_filter_of_a_list_reaches_core() {
        let query = ListQuery {
            tenant: "t".to_owned(),
            status: Some(Status::TimedOut),
            is_open: Some(false),
            definition: Some("d".to_owned()),
            attributes: Some("[]".to_owned()),
            decision: Some("approved".to_owned()),
            paused: Some(true),
            open_prompt: Some(Audience::Reviewer),
            started_after: Some("a".to_owned()),
            started_before: Some("b".to_owned()),
            limit: Some(7),
            cursor: Some("c".to_owned()),
        };
        let fields = serde_json::to_value(&query).unwrap();
        let pairs = pairs(&query);
        assert_eq!(pairs.len(), fields.as_object().unwrap().len());
        let has = |name: &str, text: &str| pairs.contains(&(name.to_owned(), text.to_owned()));
        assert!(has("status", "timed_out"));
        assert!(has("openPrompt", "reviewer"));
        assert!(has("limit", "7"));
        assert!(has("isOpen", "false"));
    }
}
