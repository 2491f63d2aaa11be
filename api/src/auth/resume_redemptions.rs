//! `POST /v1/resume-links/{link}/redemptions`

use std::sync::Arc;

use poem::Request;
use poem_openapi::{Object, OpenApi, param::Path, payload::Json};

use super::{Auth, acts, applicant_tokens::ApplicantTokenResponse};
use crate::{refusal::Refused, refusals};

pub struct RedeemResumeCode(pub Arc<Auth>);

#[derive(Object)]
struct ResumeRedemption {
    /// Six digits
    #[oai(validator(max_length = 16))]
    code: String,
}

refusals! {
    RedeemResumeCodeRefusals {
        RESUME_REFUSED = 401 "resume_refused"
            "the link is unknown, or the code is wrong, used, too old or locked";
    }
}

#[OpenApi]
impl RedeemResumeCode {
    /// Trades a code for a token with a new device.
    ///
    /// Five wrong codes lock the contact for a day, whatever link they came by.
    #[oai(
        path = "/v1/resume-links/:link/redemptions",
        method = "post",
        operation_id = "redeemResumeCode"
    )]
    async fn redeem_resume_code(
        &self,
        request: &Request,
        link: Path<String>,
        redemption: Json<ResumeRedemption>,
    ) -> Result<ApplicantTokenResponse, Refused<RedeemResumeCodeRefusals>> {
        let redeemed = self.0.codes.redeem(&link, redemption.code.trim()).await?;
        let to = redeemed.ok_or_else(|| RESUME_REFUSED.detail("ask for a new code"))?;
        acts::by_applicant(request, &to);
        Ok(self.0.signing.mint_for_applicant(&to, None)?.into())
    }
}
