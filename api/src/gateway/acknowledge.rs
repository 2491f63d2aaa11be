//! `POST /v1/tenant/acknowledgements`

use std::sync::Arc;

use poem_openapi::{ApiResponse, Enum, Object, OpenApi, payload::Json};

use btrust_platform::clock::rfc3339;
use btrust_schemas::core::{Acknowledgement, SPECIMEN_DOCUMENTS, UNCERTIFIED_LIVENESS};

use super::{Gateway, core_client::ByCore, views::AcknowledgementDocument};
use crate::{
    access::{Caller, TenantWrite},
    acts,
    refusal::Refused,
};

pub struct Acknowledge(pub Arc<Gateway>);

#[derive(Enum, Clone, Copy)]
#[oai(rename = "AcknowledgementKind", rename_all = "snake_case")]
enum Kind {
    /// Liveness models are uncertified; decisions may rest on them all the same
    UncertifiedLiveness,
    /// Specimen documents (issuing state UTO) count as documents; for test tenants only
    SpecimenDocuments,
}

#[derive(Object)]
struct NewAcknowledgement {
    kind: Kind,
    /// In the tenant's own words
    #[oai(validator(min_length = 1, max_length = 2000))]
    statement: String,
}

#[derive(ApiResponse)]
enum AcknowledgeResponse {
    /// The statement, as it is kept.
    #[oai(status = 201)]
    Created(Json<AcknowledgementDocument>),
}

#[OpenApi]
impl Acknowledge {
    /// States that the tenant knows of a limit and accepts it.
    #[oai(
        path = "/v1/tenant/acknowledgements",
        method = "post",
        operation_id = "acknowledge"
    )]
    async fn acknowledge(
        &self,
        caller: Caller<TenantWrite>,
        acknowledgement: Json<NewAcknowledgement>,
    ) -> Result<AcknowledgeResponse, Refused<ByCore>> {
        let gateway = &self.0;
        let kind = match acknowledgement.kind {
            Kind::UncertifiedLiveness => UNCERTIFIED_LIVENESS,
            Kind::SpecimenDocuments => SPECIMEN_DOCUMENTS,
        };
        acts::about(caller.act.as_ref(), |it| {
            it.acknowledgement = Some(kind.to_owned());
        });
        let acknowledgement = Acknowledgement {
            kind: kind.to_owned(),
            statement: acknowledgement.0.statement,
            by: caller.claims.sub.clone(),
            at: rfc3339(gateway.clock.now_ms()),
        };
        let kept = gateway
            .core
            .acknowledge(caller.tenant(), &acknowledgement)
            .await?;
        Ok(AcknowledgeResponse::Created(Json(kept.into())))
    }
}
