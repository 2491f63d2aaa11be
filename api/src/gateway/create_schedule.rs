//! `POST /v1/schedules`

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, payload::Json, types::Any};
use serde_json::Value;

use btrust_schemas::schedules::{NewScheduleRequest, ScheduleSpec};

use super::{
    Gateway,
    schedules::{CatchUpWord, OverlapWord, ScheduleDocument, SpecDocument, etag},
};
use crate::{
    access::{Caller, WorkflowsOperate},
    acts,
    refusal::Refused,
    refusals,
};

pub struct CreateSchedule(pub Arc<Gateway>);

#[derive(Object)]
#[oai(rename_all = "camelCase", deny_unknown_fields)]
struct NewSchedule {
    /// Letters, digits, hyphens, dots and underscores of ASCII
    #[oai(validator(min_length = 1, max_length = 64))]
    name: String,
    /// Name of a published definition
    #[oai(validator(min_length = 1, max_length = 128))]
    definition: String,
    /// The version that is live at the time when absent
    version: Option<u32>,
    /// Checked against the definition's `inputSchema`
    input: Any<Value>,
    /// Five fields, as in `ScheduleSpec`
    #[oai(validator(min_length = 9, max_length = 128))]
    cron: String,
    /// Name in the tz database, such as `Asia/Jerusalem`
    #[oai(validator(min_length = 1, max_length = 64))]
    time_zone: String,
    #[oai(default)]
    overlap: OverlapWord,
    #[oai(default)]
    catch_up: CatchUpWord,
    /// Every time is put off by a part of so many seconds, always the same part for one schedule
    #[oai(default, validator(maximum(value = "3600")))]
    jitter_seconds: u32,
}

#[derive(ApiResponse)]
enum CreateScheduleResponse {
    /// The new schedule.
    #[oai(status = 201)]
    Created(
        Json<ScheduleDocument>,
        #[oai(header = "Location")] String,
        #[oai(header = "ETag")] String,
    ),
}

refusals! {
    CreateScheduleRefusals {
        SCHEDULE_EXISTS = 409 "schedule_exists" "the tenant has a schedule of this name";
        SCHEDULES_TOO_MANY = 409 "schedules_too_many" "the tenant has as many as it may have";
        SCHEDULE_NAME_INVALID = 422 "schedule_name_invalid"
            "the name is not made of letters, digits, hyphens, dots and underscores";
        DEFINITION_UNKNOWN = 404 "definition_unknown"
            "the tenant has no definition of this name and version";
        DEFINITION_NOT_LIVE = 404 "definition_not_live"
            "no version is named, and the definition has none that is live";
        VERSION_NOT_PUBLISHED = 409 "version_not_published" "the version is a draft";
        VERSION_RETIRED = 409 "version_retired" "nothing starts on the version any more";
        INPUT_INVALID = 422 "input_invalid"
            "the input does not fit the definition's `inputSchema`; `errors` says where";
        CRON_INVALID = 422 "cron_invalid" "`cron` has not the five fields of a cron expression";
        CRON_NEVER = 422 "cron_never" "the times of `cron` never come";
        TIME_ZONE_INVALID = 422 "time_zone_invalid" "there is no time zone of this name";
        JITTER_INVALID = 422 "jitter_invalid" "`jitterSeconds` is too large";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl CreateSchedule {
    /// Starts workflows by the clock from now on.
    #[oai(
        path = "/v1/schedules",
        method = "post",
        operation_id = "createSchedule"
    )]
    async fn create_schedule(
        &self,
        caller: Caller<WorkflowsOperate>,
        schedule: Json<NewSchedule>,
    ) -> Result<CreateScheduleResponse, Refused<CreateScheduleRefusals>> {
        let NewSchedule {
            name,
            definition,
            version,
            input,
            cron,
            time_zone,
            overlap,
            catch_up,
            jitter_seconds,
        } = schedule.0;
        let spec = SpecDocument {
            definition,
            version,
            input,
            cron,
            time_zone,
            overlap,
            catch_up,
            jitter_seconds,
        };
        let tenant = caller.tenant().to_owned();
        let request = NewScheduleRequest {
            tenant,
            spec: ScheduleSpec::from(spec),
            actor: caller.claims.sub,
        };
        let created = self.0.core.create_schedule(&name, &request).await?;
        acts::about(caller.act.as_ref(), |it| it.schedule = Some(name.clone()));
        let (location, etag) = (format!("/v1/schedules/{name}"), etag(&created));
        Ok(CreateScheduleResponse::Created(
            Json(created.into()),
            location,
            etag,
        ))
    }
}
