//! `GET /v1/tenant/acknowledgements`

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, payload::Json};

use super::{Gateway, core_client::ByCore, views::AcknowledgementDocument};
use crate::{
    access::{Caller, TenantRead},
    refusal::Refused,
};

pub struct ListAcknowledgements(pub Arc<Gateway>);

#[derive(Object)]
struct Acknowledgements {
    acknowledgements: Vec<AcknowledgementDocument>,
}

#[derive(ApiResponse)]
enum ListAcknowledgementsResponse {
    /// What the tenant has stated.
    #[oai(status = 200)]
    Found(Json<Acknowledgements>),
}

#[OpenApi]
impl ListAcknowledgements {
    /// Lists the limits that the tenant has accepted.
    #[oai(
        path = "/v1/tenant/acknowledgements",
        method = "get",
        operation_id = "listAcknowledgements"
    )]
    async fn list_acknowledgements(
        &self,
        caller: Caller<TenantRead>,
    ) -> Result<ListAcknowledgementsResponse, Refused<ByCore>> {
        let kept = self.0.core.acknowledgements(caller.tenant()).await?;
        let acknowledgements = kept.into_iter().map(Into::into).collect();
        Ok(ListAcknowledgementsResponse::Found(Json(
            Acknowledgements { acknowledgements },
        )))
    }
}
