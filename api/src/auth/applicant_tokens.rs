//! `POST /v1/applicant-tokens`

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, payload::Json};

use btrust_schemas::ids::WorkflowId;

use super::{Auth, signing::Minted, store::handoffs::Destination};
use crate::{
    access::{ApplicantTokensWrite, Caller},
    acts,
    refusal::Refused,
    refusals,
};

pub struct CreateApplicantToken(pub Arc<Auth>);

#[derive(Object)]
struct NewApplicantToken {
    /// `wf_` and 32 hex digits
    workflow: String,
}

/// A token that opens one workflow.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub struct ApplicantToken {
    access_token: String,
    /// Seconds
    expires_in: i64,
}

impl From<Minted> for ApplicantToken {
    fn from(Minted { token, expires_in }: Minted) -> Self {
        Self {
            access_token: token,
            expires_in,
        }
    }
}

#[derive(ApiResponse)]
pub enum ApplicantTokenResponse {
    /// A token for the applicant, and for a device of its own.
    #[oai(status = 201)]
    Created(
        Json<ApplicantToken>,
        #[oai(header = "Cache-Control")] String,
    ),
}

impl From<Minted> for ApplicantTokenResponse {
    fn from(minted: Minted) -> Self {
        Self::Created(Json(minted.into()), "no-store".to_owned())
    }
}

refusals! {
    CreateApplicantTokenRefusals {
        WORKFLOW_ID_INVALID = 422 "workflow_id_invalid" "that is not the id of a workflow";
    }
}

#[OpenApi]
impl CreateApplicantToken {
    /// Makes a token for the applicant of one workflow.
    ///
    /// Auth knows no workflows: the token carries the caller's tenant, and the
    /// gateway opens a workflow only for a token of the workflow's own tenant.
    #[oai(
        path = "/v1/applicant-tokens",
        method = "post",
        operation_id = "createApplicantToken"
    )]
    #[expect(
        clippy::unused_async,
        reason = "poem-openapi wants operations to be async"
    )]
    async fn create_applicant_token(
        &self,
        caller: Caller<ApplicantTokensWrite>,
        wanted: Json<NewApplicantToken>,
    ) -> Result<ApplicantTokenResponse, Refused<CreateApplicantTokenRefusals>> {
        let workflow = workflow_id(&wanted.workflow)?;
        acts::about_workflow(caller.act.as_ref(), workflow);
        let to = Destination {
            tenant: caller.tenant().to_owned(),
            workflow,
        };
        Ok(self.0.signing.mint_for_applicant(&to, None)?.into())
    }
}

/// The id, or a refusal.
pub fn workflow_id<R>(text: &str) -> Result<WorkflowId, Refused<R>> {
    text.parse()
        .map_err(|_| WORKFLOW_ID_INVALID.detail("expected `wf_` and 32 hex digits"))
}
