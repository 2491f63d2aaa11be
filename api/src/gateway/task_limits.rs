//! `GET` and `PUT /v1/task-limits`

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, param::Header, payload::Json, types::Any};
use serde_json::Value;

use btrust_schemas::task_limits::{TaskLimits, TaskLimitsRequest, TaskLimitsView};

use super::{Gateway, core_client::ByCore};
use crate::{
    access::{Caller, PlatformOperate},
    refusal::{self, Refused},
    refusals,
};

pub struct TaskLimitsOfPlatform(pub Arc<Gateway>);

/// The limits of tasks of the whole platform.
#[derive(Object)]
#[oai(rename = "TaskLimits", rename_all = "camelCase")]
struct TaskLimitsDocument {
    /// Counts the changes; 0 while the setting `TASK_LIMITS` holds
    revision: u64,
    /// `{"steps": {"ocr": {"perSecond", "burst", "concurrent"}}, "tenants": {"<tenant>": {"turns":
    /// {...}, "weight", "labels", "startsPerSecond", "startsBurst"}}, "stepTenants": [{"step",
    /// "tenant", "turns": {...}}]}`; what is not named is not limited
    limits: Any<Value>,
    changed_by: Option<String>,
    /// RFC 3339
    changed_at: Option<String>,
}

#[derive(ApiResponse)]
enum TaskLimitsResponse {
    /// The limits.
    #[oai(status = 200)]
    Found(Json<TaskLimitsDocument>, #[oai(header = "ETag")] String),
}

impl From<TaskLimitsView> for TaskLimitsResponse {
    fn from(view: TaskLimitsView) -> Self {
        let limits = serde_json::to_value(&view.limits).unwrap_or_default();
        let document = TaskLimitsDocument {
            revision: view.revision,
            limits: Any(limits),
            changed_by: view.changed_by,
            changed_at: view.changed_at,
        };
        Self::Found(Json(document), format!("\"{}\"", view.revision))
    }
}

refusals! {
    PutTaskLimitsRefusals {
        TASK_LIMITS_INVALID = 400 "task_limits_invalid" "the limits are not of this shape";
        TASK_LIMITS_CHANGED = 412 "task_limits_changed" "somebody else has changed them";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl TaskLimitsOfPlatform {
    /// Shows how many turns of steps and tenants may begin and run. For the platform's operator.
    #[oai(
        path = "/v1/task-limits",
        method = "get",
        operation_id = "getTaskLimits"
    )]
    async fn get_task_limits(
        &self,
        _caller: Caller<PlatformOperate>,
    ) -> Result<TaskLimitsResponse, Refused<ByCore>> {
        Ok(self.0.core.task_limits().await?.into())
    }

    /// Replaces the limits on all nodes, within seconds. For the platform's operator.
    ///
    /// Each core node enforces its share: the limit divided by the nodes that live, and at
    /// least one turn.
    #[oai(
        path = "/v1/task-limits",
        method = "put",
        operation_id = "putTaskLimits"
    )]
    async fn put_task_limits(
        &self,
        caller: Caller<PlatformOperate>,
        /// The `ETag` that the caller has seen; any when absent or `*`
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
        limits: Json<Any<Value>>,
    ) -> Result<TaskLimitsResponse, Refused<PutTaskLimitsRefusals>> {
        let expected = match if_match.0.as_deref().map(str::trim) {
            None | Some("*") => None,
            Some(etag) => Some(parse_etag(etag).ok_or_else(|| {
                refusal::MALFORMED_REQUEST.detail("`If-Match` is one `ETag` of this resource")
            })?),
        };
        let limits =
            TaskLimits::parse(limits.0.0).map_err(|error| TASK_LIMITS_INVALID.detail(error))?;
        let request = TaskLimitsRequest {
            limits,
            expected,
            actor: caller.claims.sub,
        };
        Ok(self.0.core.put_task_limits(&request).await?.into())
    }
}

/// The revision in an entity tag of ours.
fn parse_etag(etag: &str) -> Option<u64> {
    etag.strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}
