//! `GET /v1/workflows/counts`

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, param::Query, payload::Json};

use btrust_platform::clock::parse_rfc3339;
use btrust_schemas::core::Status;
use btrust_schemas::search::{CountGroup, CountQuery, CountsView};

use super::{
    Gateway,
    attribute_parameters::AttributeParameters,
    views::{AudienceWord, StatusWord},
};
use crate::{
    access::{Caller, WorkflowsRead},
    refusal::{self, Refused},
    refusals,
};

pub struct CountWorkflows(pub Arc<Gateway>);

/// How many workflows there are
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct WorkflowCounts {
    /// All that were asked for; where `isExact` is false, there are at least so many
    count: u64,
    is_exact: bool,
    /// Empty where nothing was grouped
    groups: Vec<WorkflowCount>,
}

/// One group; only what it is grouped by is there
#[derive(Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
struct WorkflowCount {
    /// A day in UTC, as `2026-05-31`
    day: Option<String>,
    definition: Option<String>,
    version: Option<u32>,
    status: Option<StatusWord>,
    /// Absent also where there is none
    decision: Option<String>,
    count: u64,
}

impl From<CountGroup> for WorkflowCount {
    fn from(it: CountGroup) -> Self {
        Self {
            day: it.day,
            definition: it.definition,
            version: it.version,
            status: it.status.map(Into::into),
            decision: it.decision,
            count: it.count,
        }
    }
}

impl From<CountsView> for WorkflowCounts {
    fn from(it: CountsView) -> Self {
        Self {
            count: it.count,
            is_exact: it.is_exact,
            groups: it.groups.into_iter().map(Into::into).collect(),
        }
    }
}

#[derive(ApiResponse)]
enum CountWorkflowsResponse {
    /// The counts.
    #[oai(status = 200)]
    Counted(Json<WorkflowCounts>),
}

refusals! {
    CountWorkflowsRefusals {
        COUNT_INVALID = 400 "count_invalid" "these parameters do not go together";
        FILTER_TOO_BROAD = 400 "filter_too_broad" "too many days, groups or attributes";
        TIME_INVALID = 400 "time_invalid" "`from` or `to` is not a date";
        SEARCH_ATTRIBUTE_INVALID = 422 "search_attribute_invalid"
            "a filter by attribute names what no attribute can be";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl CountWorkflows {
    /// Counts the workflows of the tenant.
    ///
    /// By status, definition, version, decision and day the counts are exact. They are of what is stored
    /// now, or with `from` and `to` of what was started (or, with `basis=closed`, closed) on these days,
    /// as it stands now; days also count what has been deleted since.
    /// Filters by `openPrompt`, `startedAfter`, `startedBefore` and `attribute.<name>` (see `listWorkflows`)
    /// count one by one and stop at 10,000: then `isExact` is false.
    #[oai(
        path = "/v1/workflows/counts",
        method = "get",
        operation_id = "countWorkflows"
    )]
    #[expect(
        clippy::too_many_arguments,
        reason = "one for each filter of the operation"
    )]
    async fn count_workflows(
        &self,
        caller: Caller<WorkflowsRead>,
        attributes: AttributeParameters,
        /// `status`, `definition`, `version`, `decision`, `day`, with commas between them
        #[oai(name = "groupBy", validator(max_length = 64))]
        group_by: Query<Option<String>>,
        /// Whose day counts: `started` when absent, or `closed`
        #[oai(validator(max_length = 16))]
        basis: Query<Option<String>>,
        /// The first day in UTC, as `2026-05-01`
        #[oai(validator(max_length = 16))]
        from: Query<Option<String>>,
        /// The day after the last
        #[oai(validator(max_length = 16))]
        to: Query<Option<String>>,
        status: Query<Option<StatusWord>>,
        /// Open or closed ones only
        #[oai(name = "isOpen")]
        is_open: Query<Option<bool>>,
        definition: Query<Option<String>>,
        version: Query<Option<u32>>,
        decision: Query<Option<String>>,
        /// Whom an open prompt asks
        #[oai(name = "openPrompt")]
        open_prompt: Query<Option<AudienceWord>>,
        /// RFC 3339
        #[oai(name = "startedAfter")]
        started_after: Query<Option<String>>,
        /// RFC 3339
        #[oai(name = "startedBefore")]
        started_before: Query<Option<String>>,
    ) -> Result<CountWorkflowsResponse, Refused<CountWorkflowsRefusals>> {
        for time in [&started_after.0, &started_before.0].into_iter().flatten() {
            if parse_rfc3339(time).is_none() {
                let detail = "startedAfter and startedBefore are RFC 3339 times";
                return Err(refusal::MALFORMED_REQUEST.detail(detail));
            }
        }
        let query = CountQuery {
            tenant: caller.tenant().to_owned(),
            basis: basis.0,
            group_by: group_by.0,
            from: from.0,
            to: to.0,
            status: status.0.map(Status::from),
            is_open: is_open.0,
            definition: definition.0,
            version: version.0,
            decision: decision.0,
            open_prompt: open_prompt.0.map(Into::into),
            started_after: started_after.0,
            started_before: started_before.0,
            attributes: attributes.as_json(),
        };
        let counts = self.0.core.counts(&query).await?;
        Ok(CountWorkflowsResponse::Counted(Json(counts.into())))
    }
}
