//! Who may call the service: the gateway only.

use std::sync::Arc;

use poem::{FromRequest, Request, RequestBody};

use super::Streams;

/// Scope of the gateway.
const CALL: &str = "core:call";

/// A caller that may use the whole internal API.
pub struct Gateway;

impl<'a> FromRequest<'a> for Gateway {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        let streams: &Arc<Streams> = request.data().expect("the routes carry the service");
        streams
            .verifier
            .authenticate(request)
            .await?
            .require(CALL)?;
        Ok(Self)
    }
}
