//! `GET /v1/analytics/funnels`

use std::collections::BTreeMap;
use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, param::Query, payload::Json};

use btrust_schemas::analytics::{
    DurationsView, FunnelQuery, FunnelStepView, FunnelView, FunnelsView,
};

use super::Gateway;
use crate::{
    access::{AnalyticsRead, Caller},
    refusal::Refused,
    refusals,
};

pub struct GetFunnels(pub Arc<Gateway>);

/// Funnels in the order of definition, version and what else they are grouped by
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct Funnels {
    /// How far quantiles may be from the true ones, as a part of them; counts are exact
    relative_error: f64,
    funnels: Vec<Funnel>,
}

/// One funnel; only what it is grouped by is there
#[derive(Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
struct Funnel {
    definition: String,
    /// That the workflows were started on
    version: i64,
    /// The hour in which the workflows were started
    hour: Option<String>,
    /// `phone`, `tablet`, `desktop`, `other`, or `unknown` where no applicant has answered
    device: Option<String>,
    language: Option<String>,
    started: i64,
    /// Workflows that have ended, by status
    closed: BTreeMap<String, i64>,
    decisions: BTreeMap<String, i64>,
    /// Decisions to approve or reject without a review on the way
    decided_automatically: i64,
    /// The same as a part of all decisions; absent where there are none
    auto_decision_rate: Option<f64>,
    /// How often workflows were brought back from their failure
    redriven: i64,
    /// From start to end
    durations: Option<Durations>,
    /// In the order in which workflows come to them
    steps: Vec<FunnelStep>,
}

/// A state of the definition that runs a step
#[derive(Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
struct FunnelStep {
    state: String,
    /// The steps that it has run, with their versions
    steps: Vec<String>,
    /// Runs begun; a state that is entered again is another run, a retry is not
    entered: i64,
    /// Runs that have ended, by outcome
    finished: BTreeMap<String, i64>,
    /// Runs whose last attempt has failed
    failed: i64,
    /// Attempts that have failed, by error
    errors: BTreeMap<String, i64>,
    retries: i64,
    /// Runs that were under way when their workflow ended
    dropped_off: i64,
    /// The same as a part of those entered; absent where there are none
    drop_off_rate: Option<f64>,
    in_progress: i64,
    /// Of runs with an outcome
    durations: Option<Durations>,
}

/// How long things took, in ms
#[derive(Object)]
#[oai(rename = "FunnelDurations", rename_all = "camelCase")]
struct Durations {
    count: i64,
    p50_ms: f64,
    p95_ms: f64,
}

impl From<DurationsView> for Durations {
    fn from(it: DurationsView) -> Self {
        Self {
            count: it.count,
            p50_ms: it.p50_ms,
            p95_ms: it.p95_ms,
        }
    }
}

impl From<FunnelStepView> for FunnelStep {
    fn from(it: FunnelStepView) -> Self {
        Self {
            state: it.state,
            steps: it.steps,
            entered: it.entered,
            finished: it.finished,
            failed: it.failed,
            errors: it.errors,
            retries: it.retries,
            dropped_off: it.dropped_off,
            drop_off_rate: it.drop_off_rate,
            in_progress: it.in_progress,
            durations: it.durations.map(Into::into),
        }
    }
}

impl From<FunnelView> for Funnel {
    fn from(it: FunnelView) -> Self {
        Self {
            definition: it.definition,
            version: it.version,
            hour: it.hour,
            device: it.device,
            language: it.language,
            started: it.started,
            closed: it.closed,
            decisions: it.decisions,
            decided_automatically: it.decided_automatically,
            auto_decision_rate: it.auto_decision_rate,
            redriven: it.redriven,
            durations: it.durations.map(Into::into),
            steps: it.steps.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<FunnelsView> for Funnels {
    fn from(it: FunnelsView) -> Self {
        Self {
            relative_error: it.relative_error,
            funnels: it.funnels.into_iter().map(Into::into).collect(),
        }
    }
}

#[derive(ApiResponse)]
enum GetFunnelsResponse {
    /// The funnels.
    #[oai(status = 200)]
    Found(Json<Funnels>),
}

refusals! {
    GetFunnelsRefusals {
        FUNNEL_QUERY_INVALID = 400 "funnel_query_invalid"
            "`from` or `to` is not a time, or `groupBy` has another word";
        FILTER_TOO_BROAD = 400 "filter_too_broad" "the answer would be too long";
        STREAMS_UNAVAILABLE = 503 "streams_unavailable" "the streams service does not answer; try again";
    }
}

#[OpenApi]
impl GetFunnels {
    /// How workflows of the tenant get along: who starts, who comes to which step, how it ends there.
    ///
    /// Counts are exact, a few seconds behind; durations are quantiles within `relativeError`. A workflow
    /// counts in the hour, version and language of its start, and on the device that its applicant first
    /// answers from.
    #[oai(
        path = "/v1/analytics/funnels",
        method = "get",
        operation_id = "getFunnels"
    )]
    async fn get_funnels(
        &self,
        caller: Caller<AnalyticsRead>,
        #[oai(validator(max_length = 128))] definition: Query<Option<String>>,
        version: Query<Option<u32>>,
        /// RFC 3339: workflows started in the hour of this time or later
        #[oai(validator(max_length = 40))]
        from: Query<Option<String>>,
        /// RFC 3339: workflows started before this time, which is a whole hour
        #[oai(validator(max_length = 40))]
        to: Query<Option<String>>,
        /// `hour`, `device`, `language`, with commas between them
        #[oai(name = "groupBy", validator(max_length = 64))]
        group_by: Query<Option<String>>,
    ) -> Result<GetFunnelsResponse, Refused<GetFunnelsRefusals>> {
        let query = FunnelQuery {
            tenant: caller.tenant().to_owned(),
            definition: definition.0,
            version: version.0.map(i64::from),
            from: from.0,
            to: to.0,
            group_by: group_by.0,
        };
        let funnels = self.0.streams.funnels(&query).await?;
        Ok(GetFunnelsResponse::Found(Json(funnels.into())))
    }
}
