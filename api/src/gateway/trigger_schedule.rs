//! `POST /v1/schedules/{name}/trigger`

use std::sync::Arc;

use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Header, Path},
    payload::Json,
};

use btrust_schemas::schedules::TriggerRequest;

use super::{Gateway, views::WorkflowDocument};
use crate::{
    access::{Caller, WorkflowsOperate},
    refusal::Refused,
    refusals,
};

pub struct TriggerSchedule(pub Arc<Gateway>);

#[derive(ApiResponse)]
enum TriggerScheduleResponse {
    /// The workflow that this key has started, now or before.
    #[oai(status = 200)]
    Started(Json<WorkflowDocument>, #[oai(header = "Location")] String),
}

refusals! {
    TriggerScheduleRefusals {
        SCHEDULE_UNKNOWN = 404 "schedule_unknown" "the tenant has no schedule of this name";
        SCHEDULE_NOT_STARTED = 409 "schedule_not_started"
            "nothing starts on the definition now, or it does not take the input";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl TriggerSchedule {
    /// Starts what a schedule starts, now, whatever else runs; once for each key.
    ///
    /// The times of the schedule stay as they are, paused or not.
    #[oai(
        path = "/v1/schedules/:name/trigger",
        method = "post",
        operation_id = "triggerSchedule"
    )]
    async fn trigger_schedule(
        &self,
        caller: Caller<WorkflowsOperate>,
        name: Path<String>,
        /// Chosen by the caller, one for each workflow that it wants
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255))]
        idempotency_key: Header<String>,
    ) -> Result<TriggerScheduleResponse, Refused<TriggerScheduleRefusals>> {
        let request = TriggerRequest {
            tenant: caller.tenant().to_owned(),
            idempotency_key: idempotency_key.0,
            actor: caller.claims.sub,
        };
        let triggered = self.0.core.trigger_schedule(&name, &request).await?;
        let location = format!("/v1/workflows/{}", triggered.workflow.id);
        let body = Json(triggered.workflow.into());
        Ok(TriggerScheduleResponse::Started(body, location))
    }
}
