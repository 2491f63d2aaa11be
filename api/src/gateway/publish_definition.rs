//! `POST /v1/definitions`

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, param::Query, payload::Json, types::Any};
use serde_json::Value;

use btrust_schemas::definition::{DraftRequest, DraftResponse, Publish};

use super::{Gateway, canonical, gates, views::VersionStatusWord};
use crate::{
    access::{Caller, DefinitionsWrite, scope},
    acts,
    refusal::{self, Refused},
    refusals,
};

pub struct PublishDefinition(pub Arc<Gateway>);

#[derive(Object)]
#[oai(rename = "Published", rename_all = "camelCase")]
struct Publication {
    name: String,
    version: u32,
    /// `draft` where it still has to be published
    status: VersionStatusWord,
    /// Whether new workflows get it
    live: bool,
    /// RFC 3339; null for a draft
    published_at: Option<String>,
    /// Findings that do not refuse, each with a JSON pointer
    warnings: Vec<Any<Value>>,
}

#[derive(ApiResponse)]
enum PublishDefinitionResponse {
    /// A new version; `status` says whether it is published.
    #[oai(status = 201)]
    Created(Json<Publication>),
    /// The same content was stored before: the same version.
    #[oai(status = 200)]
    Unchanged(Json<Publication>),
}

refusals! {
    PublishDefinitionRefusals {
        SECOND_PERSON_REQUIRED = 403 "second_person_required"
            "it was to be published at once, but somebody else has to publish it; nothing is stored";
        VERSION_RETIRED = 409 "version_retired"
            "it was to be published, but a version with this content is retired already";
        DEFINITION_REFUSED = 422 "definition_refused"
            "a gate has found an error; `errors` has every finding with its JSON pointer";
        BUSY = 503 "busy" "too many definitions are being checked; `Retry-After` says when to try again";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl PublishDefinition {
    /// Stores a version of a definition, if it passes the gates: valid, lint and proof.
    ///
    /// Without `publish` it is published and live at once where the caller has
    /// `definitions:publish` and the tenant does not ask for a second person;
    /// otherwise it is a draft. Content that was stored before keeps its version,
    /// and its status if it is no draft any more.
    #[oai(
        path = "/v1/definitions",
        method = "post",
        operation_id = "publishDefinition"
    )]
    async fn publish_definition(
        &self,
        caller: Caller<DefinitionsWrite>,
        /// `false` keeps a draft; `true` publishes (scope `definitions:publish`) or refuses
        publish: Query<Option<bool>>,
        /// The envelope with the definition in the Amazon States Language
        envelope: Json<Any<Value>>,
    ) -> Result<PublishDefinitionResponse, Refused<PublishDefinitionRefusals>> {
        let gateway = &self.0;
        let may_publish = caller.claims.has_scope(scope::DEFINITIONS_PUBLISH);
        let publish = match publish.0 {
            Some(true) if !may_publish => {
                let detail = "to publish, the token needs the scope `definitions:publish`";
                return Err(refusal::SCOPE_MISSING.detail(detail));
            }
            Some(true) => Publish::Yes,
            None if may_publish => Publish::IfAllowed,
            Some(false) | None => Publish::No,
        };
        let passed = gates::pass(gateway, envelope.0.0).await?;
        let request = DraftRequest {
            tenant: caller.tenant().to_owned(),
            name: passed.resolved["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            digest: canonical::digest(&[&passed.resolved]),
            envelope: passed.resolved,
            publish,
            actor: caller.claims.sub,
        };
        let DraftResponse {
            created,
            definition,
        } = gateway.core.draft(&request).await?;
        acts::about(caller.act.as_ref(), |it| {
            it.definition = Some(definition.name.clone());
            it.version = Some(definition.version);
        });
        let stored = Json(Publication {
            name: definition.name,
            version: definition.version,
            status: definition.status.into(),
            live: definition.live,
            published_at: definition.published_at,
            warnings: passed.warnings.into_iter().map(Any).collect(),
        });
        Ok(if created {
            PublishDefinitionResponse::Created(stored)
        } else {
            PublishDefinitionResponse::Unchanged(stored)
        })
    }
}
