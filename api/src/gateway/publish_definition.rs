//! `POST /v1/definitions`

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, payload::Json, types::Any};
use serde_json::Value;

use btrust_machine::{Finding, check};
use btrust_schemas::core::{PublishRequest, PublishResponse};

use super::{Gateway, canonical};
use crate::{
    access::{Caller, DefinitionsWrite},
    brake::BrakeError,
    refusal::Refused,
    refusals,
};

pub struct PublishDefinition(pub Arc<Gateway>);

/// Definitions that are checked at once. A proof holds up to a million states in
/// memory and a core for seconds.
pub(super) const PROOFS_AT_ONCE_MAX: usize = 2;

/// Definitions that are checked or wait for it; more are told to come later.
pub(super) const PROOFS_PLACES: usize = 6;

/// Seconds that a caller waits when too many definitions are being checked.
const BUSY_RETRY_AFTER_S: u32 = 5;

#[derive(Object)]
#[oai(rename = "Published", rename_all = "camelCase")]
struct Publication {
    name: String,
    version: u32,
    /// RFC 3339
    published_at: String,
    /// Findings that do not refuse, each with a JSON pointer
    warnings: Vec<Any<Value>>,
}

#[derive(ApiResponse)]
enum PublishDefinitionResponse {
    /// A new version.
    #[oai(status = 201)]
    Created(Json<Publication>),
    /// The same content was published before: the same version.
    #[oai(status = 200)]
    Unchanged(Json<Publication>),
}

refusals! {
    PublishDefinitionRefusals {
        DEFINITION_REFUSED = 422 "definition_refused"
            "a gate has found an error; `errors` has every finding with its JSON pointer";
        BUSY = 503 "busy" "too many definitions are being checked; `Retry-After` says when to try again";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl PublishDefinition {
    /// Publishes a definition, if it passes the gates: valid, lint and proof.
    #[oai(
        path = "/v1/definitions",
        method = "post",
        operation_id = "publishDefinition"
    )]
    async fn publish_definition(
        &self,
        caller: Caller<DefinitionsWrite>,
        /// The envelope with the definition in the Amazon States Language
        envelope: Json<Any<Value>>,
    ) -> Result<PublishDefinitionResponse, Refused<PublishDefinitionRefusals>> {
        let gateway = &self.0;
        let envelope = envelope.0.0;
        let catalogue = Arc::clone(&gateway.catalogue);
        let checked = envelope.clone();
        // The proof explores up to a million states: not on a thread that serves.
        let report = gateway
            .proofs
            .run(move || check(&checked, &catalogue))
            .await
            .map_err(unproved)?;
        if !report.is_publishable() {
            let counterexamples = report.proof.iter().flat_map(|it| &it.counterexamples);
            let errors = json(&report.findings)
                .into_iter()
                .chain(json(counterexamples))
                .collect();
            let n_errors = report.findings.iter().filter(|it| it.is_error()).count();
            let detail = format!("the gates have found {n_errors} errors");
            return Err(DEFINITION_REFUSED.detail(detail).with_errors(errors));
        }

        let resolved = report.resolved.unwrap_or(envelope);
        let request = PublishRequest {
            tenant: caller.tenant().to_owned(),
            name: resolved["name"].as_str().unwrap_or_default().to_owned(),
            digest: canonical::digest(&[&resolved]),
            envelope: resolved,
            actor: caller.claims.sub,
        };
        let PublishResponse {
            created,
            definition,
        } = gateway.core.publish(&request).await?;
        let warnings = report
            .findings
            .iter()
            .filter(|it: &&Finding| !it.is_error());
        let published = Json(Publication {
            name: definition.name,
            version: definition.version,
            published_at: definition.published_at,
            warnings: json(warnings).into_iter().map(Any).collect(),
        });
        Ok(if created {
            PublishDefinitionResponse::Created(published)
        } else {
            PublishDefinitionResponse::Unchanged(published)
        })
    }
}

fn unproved(error: BrakeError) -> Refused<PublishDefinitionRefusals> {
    match error {
        BrakeError::Busy => BUSY
            .detail("too many definitions are being checked; try again")
            .retry_after(BUSY_RETRY_AFTER_S),
        BrakeError::Lost => Refused::failed(crate::refusal::INTERNAL, &error),
    }
}

fn json<T: serde::Serialize>(items: impl IntoIterator<Item = T>) -> Vec<Value> {
    items
        .into_iter()
        .filter_map(|it| serde_json::to_value(it).ok())
        .collect()
}
