//! What the operations that operators do to one workflow share.

use poem_openapi::Object;

use btrust_schemas::commands::ActRequest;

use crate::access::{Access, Caller};

/// Why an operator does something.
#[derive(Object)]
#[oai(rename = "Reason", deny_unknown_fields)]
pub struct ReasonBody {
    /// For the history; nothing personal
    #[oai(validator(max_length = 256))]
    pub reason: Option<String>,
}

pub fn request<A: Access>(caller: &Caller<A>, body: ReasonBody) -> ActRequest {
    ActRequest {
        tenant: caller.tenant().to_owned(),
        reason: body.reason,
        actor: caller.claims.sub.clone(),
    }
}
