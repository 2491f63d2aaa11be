//! `GET /v1/definitions/{name}/versions/{from}/diff/{to}`

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, param::Path, payload::Json, types::Any};
use serde_json::Value;

use btrust_machine::{Difference, diff};

use super::Gateway;
use crate::{
    access::{Caller, DefinitionsRead},
    refusal::Refused,
    refusals,
};

pub struct DiffVersions(pub Arc<Gateway>);

/// One difference at one place.
#[derive(Object)]
#[oai(rename = "Difference")]
struct DifferenceDocument {
    /// `state_added`, `evidence_changed`, ..: what it is about, and what has happened to it
    op: String,
    /// JSON pointer: into the earlier document for what is removed, else into the later one
    pointer: String,
    /// Left out where there was nothing
    #[oai(skip_serializing_if_is_none)]
    before: Option<Any<Value>>,
    /// Left out where there is nothing any more
    #[oai(skip_serializing_if_is_none)]
    after: Option<Any<Value>>,
}

impl From<Difference> for DifferenceDocument {
    fn from(it: Difference) -> Self {
        Self {
            op: it.op.as_str().to_owned(),
            pointer: it.pointer,
            before: it.before.map(Any),
            after: it.after.map(Any),
        }
    }
}

#[derive(Object)]
#[oai(rename = "Differences")]
struct Comparison {
    from: u32,
    to: u32,
    /// Empty where the contents are the same
    differences: Vec<DifferenceDocument>,
}

#[derive(ApiResponse)]
enum DiffVersionsResponse {
    /// What `to` has made different from `from`.
    #[oai(status = 200)]
    Compared(Json<Comparison>),
}

refusals! {
    DiffVersionsRefusals {
        DEFINITION_UNKNOWN = 404 "definition_unknown"
            "the tenant has no definition of this name and version";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl DiffVersions {
    /// Compares two versions: states, evidence, decisions, schema and contracts.
    #[oai(
        path = "/v1/definitions/:name/versions/:from/diff/:to",
        method = "get",
        operation_id = "diffVersions"
    )]
    async fn diff_versions(
        &self,
        caller: Caller<DefinitionsRead>,
        name: Path<String>,
        from: Path<u32>,
        to: Path<u32>,
    ) -> Result<DiffVersionsResponse, Refused<DiffVersionsRefusals>> {
        let core = &self.0.core;
        let read = async |version: u32| {
            let found = core.definition(caller.tenant(), &name, Some(version));
            found.await.map(|it| it.envelope.unwrap_or_default())
        };
        let (before, after) = (read(from.0).await?, read(to.0).await?);
        let differences = diff(&before, &after);
        Ok(DiffVersionsResponse::Compared(Json(Comparison {
            from: from.0,
            to: to.0,
            differences: differences.into_iter().map(Into::into).collect(),
        })))
    }
}
