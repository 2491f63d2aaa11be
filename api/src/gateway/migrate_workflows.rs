//! `POST /v1/definitions/{name}/migrations`

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, param::Path, payload::Json};
use serde_json::json;

use btrust_schemas::definition::{MigrationReason, MigrationRequest, MigrationView};

use super::{Gateway, cursor};
use crate::{
    access::{Caller, DefinitionsPublish},
    acts,
    refusal::Refused,
    refusals,
};

pub struct MigrateWorkflows(pub Arc<Gateway>);

#[derive(Object)]
#[oai(rename_all = "camelCase", deny_unknown_fields)]
struct NewMigration {
    from: u32,
    /// A published version
    to: u32,
    /// `true` changes nothing and says what would happen
    dry_run: bool,
    /// Workflows that this call looks at; 200 when absent
    #[oai(validator(minimum(value = "1"), maximum(value = "500")))]
    limit: Option<u32>,
    /// `next` of the call before
    cursor: Option<String>,
}

/// Why some workflows cannot move.
#[derive(Object)]
#[oai(rename = "MigrationReason")]
struct ReasonDocument {
    code: String,
    message: String,
    count: u64,
    /// A few of them
    examples: Vec<String>,
}

impl From<MigrationReason> for ReasonDocument {
    fn from(it: MigrationReason) -> Self {
        Self {
            code: it.code,
            message: it.message,
            count: it.count,
            examples: it.examples.iter().map(ToString::to_string).collect(),
        }
    }
}

/// What one call has looked at.
#[derive(Object)]
#[oai(rename = "Migrated")]
struct MigrationDocument {
    /// Workflows that have moved, or would
    #[oai(rename = "move")]
    moved: u64,
    /// Workflows that stay where they are; on several nodes one may be counted in two pages, if a node
    /// runs out of time for its part of the first
    cannot: u64,
    reasons: Vec<ReasonDocument>,
    /// Send it back as `cursor` for the rest; null when there is none
    next: Option<String>,
}

#[derive(ApiResponse)]
enum MigrateWorkflowsResponse {
    /// How many have moved, and why the others cannot.
    #[oai(status = 200)]
    Migrated(Json<MigrationDocument>),
}

refusals! {
    MigrateWorkflowsRefusals {
        CURSOR_INVALID = 400 "cursor_invalid" "the cursor is not one of this migration";
        DEFINITION_UNKNOWN = 404 "definition_unknown"
            "the tenant has no definition of this name and versions";
        VERSION_NOT_PUBLISHED = 409 "version_not_published" "the version to move to is a draft";
        VERSION_RETIRED = 409 "version_retired" "the version to move to is retired";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl MigrateWorkflows {
    /// Moves running workflows to another version, each from where it stands.
    ///
    /// A workflow moves only where the new version is proven from its position
    /// and the evidence that it holds. One call looks at a page of them.
    #[oai(
        path = "/v1/definitions/:name/migrations",
        method = "post",
        operation_id = "migrateWorkflows"
    )]
    async fn migrate_workflows(
        &self,
        caller: Caller<DefinitionsPublish>,
        name: Path<String>,
        migration: Json<NewMigration>,
    ) -> Result<MigrateWorkflowsResponse, Refused<MigrateWorkflowsRefusals>> {
        let NewMigration {
            from,
            to,
            dry_run,
            limit,
            cursor,
        } = migration.0;
        acts::about(caller.act.as_ref(), |it| it.version = Some(to));
        let tenant = caller.tenant().to_owned();
        let of = json!({ "tenant": tenant, "name": name.0, "from": from });
        let invalid = || CURSOR_INVALID.detail("take `next` of the same migration");
        let cursor = match &cursor {
            None => None,
            Some(text) => Some(cursor::unwrap(text, &of).ok_or_else(invalid)?),
        };
        let request = MigrationRequest {
            tenant,
            from,
            to,
            dry_run,
            limit,
            cursor,
            actor: caller.claims.sub,
        };
        let MigrationView {
            moved,
            cannot,
            reasons,
            next,
        } = self.0.core.migrate(&name, &request).await?;
        Ok(MigrateWorkflowsResponse::Migrated(Json(
            MigrationDocument {
                moved,
                cannot,
                reasons: reasons.into_iter().map(Into::into).collect(),
                next: next.map(|at| cursor::wrap(at, &of)),
            },
        )))
    }
}
