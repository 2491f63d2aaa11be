//! `PUT /v1/definitions/{name}/live`

use std::sync::Arc;

use poem_openapi::{
    Object, OpenApi,
    param::{Header, Path},
    payload::Json,
};

use btrust_schemas::definition::LiveRequest;

use super::{Gateway, get_live_version::LiveVersionResponse};
use crate::{
    access::{Caller, DefinitionsPublish},
    acts,
    refusal::{self, Refused},
    refusals,
};

pub struct MoveLiveVersion(pub Arc<Gateway>);

#[derive(Object)]
#[oai(deny_unknown_fields)]
struct NewLiveVersion {
    /// A published one
    version: u32,
}

refusals! {
    MoveLiveVersionRefusals {
        DEFINITION_UNKNOWN = 404 "definition_unknown"
            "the tenant has no definition of this name and version";
        VERSION_NOT_PUBLISHED = 409 "version_not_published" "the version is a draft";
        VERSION_RETIRED = 409 "version_retired" "the version is retired";
        LIVE_MOVED = 412 "live_moved" "the alias is not any more where `If-Match` says";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl MoveLiveVersion {
    /// Names the version that new workflows get: roll out, or roll back.
    ///
    /// Where it is live already, nothing moves, whatever `If-Match` says.
    #[oai(
        path = "/v1/definitions/:name/live",
        method = "put",
        operation_id = "moveLiveVersion"
    )]
    async fn move_live_version(
        &self,
        caller: Caller<DefinitionsPublish>,
        name: Path<String>,
        /// The `ETag` that the caller has seen; any when absent or `*`
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
        live: Json<NewLiveVersion>,
    ) -> Result<LiveVersionResponse, Refused<MoveLiveVersionRefusals>> {
        let revision = match if_match.0.as_deref().map(str::trim) {
            None | Some("*") => None,
            Some(etag) => Some(parse_etag(etag).ok_or_else(|| {
                refusal::MALFORMED_REQUEST.detail("`If-Match` is one `ETag` of this resource")
            })?),
        };
        acts::about(caller.act.as_ref(), |it| it.version = Some(live.version));
        let request = LiveRequest {
            tenant: caller.tenant().to_owned(),
            version: live.version,
            revision,
            actor: caller.claims.sub,
        };
        Ok(self.0.core.move_live(&name, &request).await?.into())
    }
}

/// The revision in an entity tag of ours.
fn parse_etag(etag: &str) -> Option<u64> {
    etag.strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}
