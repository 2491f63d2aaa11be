//! `DELETE /v1/clients/{clientId}`

use std::sync::Arc;

use poem_openapi::{ApiResponse, OpenApi, param::Path};

use super::Auth;
use crate::{
    access::{Caller, ClientsWrite},
    refusal::Refused,
    refusals,
};

pub struct DeleteClient(pub Arc<Auth>);

#[derive(ApiResponse)]
enum DeleteClientResponse {
    /// It gets no token any more; those that it has end within 15 minutes.
    #[oai(status = 204)]
    Deleted,
}

refusals! {
    DeleteClientRefusals {
        CLIENT_UNKNOWN = 404 "client_unknown" "the tenant has no such client";
    }
}

#[OpenApi]
impl DeleteClient {
    /// Withdraws a client of the caller's tenant.
    #[oai(
        path = "/v1/clients/:clientId",
        method = "delete",
        operation_id = "deleteClient"
    )]
    async fn delete_client(
        &self,
        caller: Caller<ClientsWrite>,
        #[oai(name = "clientId")] client_id: Path<String>,
    ) -> Result<DeleteClientResponse, Refused<DeleteClientRefusals>> {
        let store = &self.0.store;
        if !store.delete_client(caller.tenant(), &client_id).await? {
            return Err(CLIENT_UNKNOWN.detail("there is no such client"));
        }
        tracing::info!(
            client = client_id.0,
            by = caller.claims.sub,
            "withdrew a client"
        );
        Ok(DeleteClientResponse::Deleted)
    }
}
