//! `POST /v1/resume-links`: a way back after days.

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, payload::Json};

use btrust_platform::clock::rfc3339;

use super::{
    Auth, RESUME_LINK_TTL_MS,
    applicant_tokens::workflow_id,
    signing::{digest, random_hex},
    store::handoffs::Destination,
};
use crate::{
    access::{Caller, ResumeLinksWrite},
    acts,
    refusal::Refused,
    refusals,
};

pub struct CreateResumeLink(pub Arc<Auth>);

#[derive(Object)]
struct NewResumeLink {
    /// Needed from a client; an applicant's is always their own
    workflow: Option<String>,
}

#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct ResumeLink {
    /// 32 hex digits; says nothing by itself
    link: String,
    url: String,
    /// RFC 3339
    expires_at: String,
}

#[derive(ApiResponse)]
enum CreateResumeLinkResponse {
    /// A link that leads back to the workflow, with a code to its verified contact.
    #[oai(status = 201)]
    Created(Json<ResumeLink>, #[oai(header = "Cache-Control")] String),
}

refusals! {
    CreateResumeLinkRefusals {
        WORKFLOW_MISSING = 422 "workflow_missing" "a client has to say which workflow";
        WORKFLOW_ID_INVALID = 422 "workflow_id_invalid" "that is not the id of a workflow";
        WORKFLOW_UNKNOWN = 404 "workflow_unknown" "the caller's token opens no such workflow";
        TOO_MANY_RESUME_LINKS = 429 "too_many_resume_links" "the workflow has enough open links";
    }
}

#[OpenApi]
impl CreateResumeLink {
    /// Makes a resume link.
    #[oai(
        path = "/v1/resume-links",
        method = "post",
        operation_id = "createResumeLink"
    )]
    async fn create_resume_link(
        &self,
        caller: Caller<ResumeLinksWrite>,
        wanted: Json<NewResumeLink>,
    ) -> Result<CreateResumeLinkResponse, Refused<CreateResumeLinkRefusals>> {
        let auth = &self.0;
        let workflow = match (caller.own_workflow(), wanted.workflow.as_deref()) {
            (Some(own), None) => own,
            (None, None) => return Err(WORKFLOW_MISSING.detail("send `workflow`")),
            (_, Some(wanted)) => workflow_id(wanted)?,
        };
        acts::about_workflow(caller.act.as_ref(), workflow);
        if !caller.opens(workflow) {
            return Err(WORKFLOW_UNKNOWN.detail("there is no such workflow"));
        }
        let link = random_hex();
        let now_ms = auth.clock.now_ms();
        let expires_at = now_ms + RESUME_LINK_TTL_MS;
        let to = Destination {
            tenant: caller.tenant().to_owned(),
            workflow,
        };
        let written = auth
            .store
            .put_resume_link(&digest(&link), &to, expires_at, now_ms)
            .await?;
        if !written {
            return Err(TOO_MANY_RESUME_LINKS.detail("use one of the open links"));
        }
        let url = format!("{}/resume#{link}", auth.config.onboarding_url);
        let body = ResumeLink {
            link,
            url,
            expires_at: rfc3339(expires_at),
        };
        Ok(CreateResumeLinkResponse::Created(
            Json(body),
            "no-store".to_owned(),
        ))
    }
}
