//! `POST /v1/handoffs/redemptions`: the other device takes over.

use std::sync::Arc;

use poem::Request;
use poem_openapi::{Object, OpenApi, payload::Json};

use super::{Auth, acts, applicant_tokens::ApplicantTokenResponse, signing::digest};
use crate::{refusal::Refused, refusals};

pub struct RedeemHandoff(pub Arc<Auth>);

#[derive(Object)]
struct HandoffRedemption {
    #[oai(validator(max_length = 64))]
    code: String,
}

refusals! {
    RedeemHandoffRefusals {
        HANDOFF_REFUSED = 401 "handoff_refused" "the code is wrong, used or too old";
    }
}

#[OpenApi]
impl RedeemHandoff {
    /// Trades a hand-off code for a token with a new device, in the same sitting.
    #[oai(
        path = "/v1/handoffs/redemptions",
        method = "post",
        operation_id = "redeemHandoff"
    )]
    async fn redeem_handoff(
        &self,
        request: &Request,
        redemption: Json<HandoffRedemption>,
    ) -> Result<ApplicantTokenResponse, Refused<RedeemHandoffRefusals>> {
        let auth = &self.0;
        let code_digest = digest(&redemption.code);
        let taken = auth
            .store
            .take_handoff(&code_digest, auth.clock.now_ms())
            .await?;
        let (to, session_end) =
            taken.ok_or_else(|| HANDOFF_REFUSED.detail("ask for a new code"))?;
        acts::by_applicant(request, &to);
        Ok(auth
            .signing
            .mint_for_applicant(&to, Some(session_end))?
            .into())
    }
}
