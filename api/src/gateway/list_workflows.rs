//! `GET /v1/workflows`

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, param::Query, payload::Json};
use serde_json::json;

use btrust_platform::clock::parse_rfc3339;
use btrust_schemas::core::{LIST_LIMIT_DEFAULT, ListQuery, Status};

use super::{
    Gateway,
    attribute_parameters::AttributeParameters,
    cursor,
    views::{AudienceWord, ListedDocument, StatusWord},
};
use crate::{
    access::{Caller, WorkflowsRead},
    refusal::{self, Refused},
    refusals,
};

pub struct ListWorkflows(pub Arc<Gateway>);

#[derive(Object)]
struct WorkflowPage {
    workflows: Vec<ListedDocument>,
    /// Send it back as `cursor`, with the same filters; null on the last page. A page with fewer
    /// workflows than asked for, or none, may still have a next one
    next: Option<String>,
}

#[derive(ApiResponse)]
enum ListWorkflowsResponse {
    /// The newest workflows first.
    #[oai(status = 200)]
    Found(Json<WorkflowPage>),
}

refusals! {
    ListWorkflowsRefusals {
        FILTER_TOO_BROAD = 400 "filter_too_broad" "more than three filters by attribute";
        CURSOR_INVALID = 400 "cursor_invalid" "the cursor is not one of a list with these filters";
        SEARCH_ATTRIBUTE_INVALID = 422 "search_attribute_invalid"
            "a filter by attribute names what no attribute can be";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl ListWorkflows {
    /// Lists the workflows of the tenant, the newest first; every filter that is given must hold.
    ///
    /// Search attributes are filtered by parameters of their name: `attribute.branch=NORTH` for a value,
    /// `attribute.amount.from=100` (inclusive) and `attribute.amount.to=500` (exclusive) for numbers and
    /// times. A list by a range and no other attribute's value has the greatest value first.
    /// A page costs a bounded amount of work: where several filters leave little, it may be short or
    /// empty and still have a `next`.
    #[oai(path = "/v1/workflows", method = "get", operation_id = "listWorkflows")]
    #[expect(
        clippy::too_many_arguments,
        reason = "one for each filter of the operation"
    )]
    async fn list_workflows(
        &self,
        caller: Caller<WorkflowsRead>,
        attributes: AttributeParameters,
        status: Query<Option<StatusWord>>,
        /// Open or closed ones only
        #[oai(name = "isOpen")]
        is_open: Query<Option<bool>>,
        definition: Query<Option<String>>,
        decision: Query<Option<String>>,
        /// Whether it is paused; a paused one is found under no `openPrompt`
        paused: Query<Option<bool>>,
        /// Whom an open prompt asks
        #[oai(name = "openPrompt")]
        open_prompt: Query<Option<AudienceWord>>,
        /// RFC 3339
        #[oai(name = "startedAfter")]
        started_after: Query<Option<String>>,
        /// RFC 3339
        #[oai(name = "startedBefore")]
        started_before: Query<Option<String>>,
        /// Workflows on a page; 50 when absent
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u32>>,
        /// `next` of the page before
        cursor: Query<Option<String>>,
    ) -> Result<ListWorkflowsResponse, Refused<ListWorkflowsRefusals>> {
        for time in [&started_after.0, &started_before.0].into_iter().flatten() {
            if parse_rfc3339(time).is_none() {
                let detail = "startedAfter and startedBefore are RFC 3339 times";
                return Err(refusal::MALFORMED_REQUEST.detail(detail));
            }
        }
        let mut query = ListQuery {
            tenant: caller.tenant().to_owned(),
            status: status.0.map(Status::from),
            is_open: is_open.0,
            definition: definition.0,
            attributes: attributes.as_json(),
            decision: decision.0,
            paused: paused.0,
            open_prompt: open_prompt.0.map(Into::into),
            started_after: started_after.0,
            started_before: started_before.0,
            limit: None,
            cursor: None,
        };
        let filters = json!(query);
        query.limit = Some(limit.0.unwrap_or(LIST_LIMIT_DEFAULT));
        if let Some(text) = &cursor.0 {
            let invalid = || CURSOR_INVALID.detail("take `next` of a list with the same filters");
            query.cursor = Some(cursor::unwrap(text, &filters).ok_or_else(invalid)?);
        }

        let page = self.0.core.list(&query).await?;
        Ok(ListWorkflowsResponse::Found(Json(WorkflowPage {
            workflows: page.workflows.into_iter().map(Into::into).collect(),
            next: page.next.map(|at| cursor::wrap(at, &filters)),
        })))
    }
}
