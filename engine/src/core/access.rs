//! Who may call core: services only.

use std::sync::Arc;

use poem::http::StatusCode;
use poem::{FromRequest, Request, RequestBody};

use btrust_platform::problem::problem;
use btrust_platform::token::Claims;

use super::Core;

/// Scope of the gateway.
const CALL: &str = "core:call";

/// A caller that may use the whole internal API.
pub struct Gateway;

/// A caller that may poll for tasks of some steps.
pub struct Worker(pub Claims);

impl<'a> FromRequest<'a> for Gateway {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        authenticate(request).await?.require(CALL)?;
        Ok(Self)
    }
}

impl<'a> FromRequest<'a> for Worker {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(Self(authenticate(request).await?))
    }
}

impl Worker {
    /// Refuses a worker that asks for the tasks of a step that its token does not name.
    pub fn require_queues(&self, queues: &[String]) -> poem::Result<()> {
        for queue in queues {
            if !self.0.has_scope(&format!("queue:{queue}")) {
                let detail = format!("this token does not open the queue of the step `{queue}`");
                return Err(problem(StatusCode::FORBIDDEN, "queue_forbidden", detail));
            }
        }
        Ok(())
    }
}

async fn authenticate(request: &Request) -> poem::Result<Claims> {
    let core: &Arc<Core> = request.data().expect("the routes carry the core");
    core.verifier.authenticate(request).await
}
