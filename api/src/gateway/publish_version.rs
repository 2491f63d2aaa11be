//! `POST /v1/definitions/{name}/versions/{version}/publication`

use std::sync::Arc;

use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Path, Query},
    payload::Json,
};

use btrust_schemas::definition::{DefinitionView, PublicationRequest, VersionStatus};

use super::{Gateway, canonical, gates, views::DefinitionDocument};
use crate::{
    access::{Caller, DefinitionsPublish},
    refusal::Refused,
    refusals,
};

pub struct PublishVersion(pub Arc<Gateway>);

#[derive(ApiResponse)]
enum PublishVersionResponse {
    /// The version, published now or before; without its document.
    #[oai(status = 200)]
    Published(Json<DefinitionDocument>),
}

refusals! {
    PublishVersionRefusals {
        SECOND_PERSON_REQUIRED = 403 "second_person_required"
            "the tenant asks for a second person, and the caller is the author";
        DEFINITION_UNKNOWN = 404 "definition_unknown"
            "the tenant has no definition of this name and version";
        CONTRACTS_CHANGED = 409 "contracts_changed"
            "a step has another contract than when the draft was stored; store the definition again";
        VERSION_RETIRED = 409 "version_retired" "the version is retired";
        DEFINITION_REFUSED = 422 "definition_refused"
            "a gate finds an error today; `errors` has every finding with its JSON pointer";
        BUSY = 503 "busy" "too many definitions are being checked; `Retry-After` says when to try again";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl PublishVersion {
    /// Publishes a draft, if it still passes the gates, and makes it live.
    ///
    /// Where the tenant asks for a second person, somebody else than the author
    /// publishes. A version that is published already is answered as it is.
    #[oai(
        path = "/v1/definitions/:name/versions/:version/publication",
        method = "post",
        operation_id = "publishVersion"
    )]
    async fn publish_version(
        &self,
        caller: Caller<DefinitionsPublish>,
        name: Path<String>,
        version: Path<u32>,
        /// `false` leaves the alias `live` where it is
        live: Query<Option<bool>>,
    ) -> Result<PublishVersionResponse, Refused<PublishVersionRefusals>> {
        let gateway = &self.0;
        let (tenant, version) = (caller.tenant(), version.0);
        let stored = gateway
            .core
            .definition(tenant, &name, Some(version))
            .await?;
        if stored.status == VersionStatus::Draft {
            pass_again(gateway, stored).await?;
        }
        let request = PublicationRequest {
            tenant: tenant.to_owned(),
            live: live.0.unwrap_or(true),
            actor: caller.claims.sub.clone(),
        };
        let published = gateway.core.publish(&name, version, &request).await?;
        Ok(PublishVersionResponse::Published(Json(published.into())))
    }
}

/// The gates have passed the draft when it was stored; the platform may have other steps now.
async fn pass_again(
    gateway: &Gateway,
    stored: DefinitionView,
) -> Result<(), Refused<PublishVersionRefusals>> {
    let passed = gates::pass(gateway, stored.envelope.unwrap_or_default()).await?;
    if canonical::digest(&[&passed.resolved]) != stored.digest {
        let detail = "store the definition again: it gets a new version";
        return Err(CONTRACTS_CHANGED.detail(detail));
    }
    Ok(())
}
