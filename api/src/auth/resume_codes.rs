//! `POST /v1/resume-links/{link}/codes`

use std::sync::Arc;

use poem::Request;
use poem_openapi::{ApiResponse, Object, OpenApi, param::Path, payload::Json};

use super::{
    Auth,
    contact_codes::CODE_DIGITS,
    server::{BUSY, Bounded, CodeRequest},
};
use crate::{address, refusal::Refused};

pub struct RequestResumeCode(pub Arc<Auth>);

#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct ResumeCodeRequested {
    code_length: usize,
}

#[derive(ApiResponse)]
enum RequestResumeCodeResponse {
    /// Always the same answer: whether there is such a link, a contact behind it,
    /// and a send left, is not said.
    #[oai(status = 202)]
    Accepted(Json<ResumeCodeRequested>),
}

#[OpenApi]
impl RequestResumeCode {
    /// Asks for a code to the verified contact of the link's workflow.
    #[oai(
        path = "/v1/resume-links/:link/codes",
        method = "post",
        operation_id = "requestResumeCode"
    )]
    #[expect(
        clippy::unused_async,
        reason = "poem-openapi wants operations to be async"
    )]
    async fn request_resume_code(
        &self,
        request: &Request,
        link: Path<String>,
    ) -> Result<RequestResumeCodeResponse, Refused<Bounded>> {
        let address = address::of(request).unwrap_or_else(|| "unknown".to_owned());
        let request = CodeRequest {
            link: link.0,
            address,
        };
        if self.0.code_requests.try_send(request).is_err() {
            return Err(BUSY.detail("too many codes are being sent; try again"));
        }
        let body = ResumeCodeRequested {
            code_length: CODE_DIGITS,
        };
        Ok(RequestResumeCodeResponse::Accepted(Json(body)))
    }
}
