//! Who may call core: services only.

use std::sync::Arc;

use poem::http::StatusCode;
use poem::{FromRequest, Request, RequestBody};

use btrust_platform::problem::problem;
use btrust_platform::token::{Claims, Kind};

use super::Core;
use crate::error::QUEUE_FORBIDDEN;
use crate::queues::Queues;

/// Scope of the gateway.
const CALL: &str = "core:call";

/// Scope of services that report acts and need nothing else of core.
const REPORT: &str = "acts:write";

/// A caller that may use the whole internal API.
pub struct Gateway;

/// A caller that may report acts.
pub struct Reporter;

/// A service that may take and report the turns of some steps.
pub struct Worker {
    /// Its name in tokens.
    pub client: String,
    pub queues: Arc<Queues>,
}

impl<'a> FromRequest<'a> for Gateway {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        authenticate(request).await?.require(CALL)?;
        Ok(Self)
    }
}

impl<'a> FromRequest<'a> for Reporter {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        let claims = authenticate(request).await?;
        if claims.kind != Kind::Service || !claims.has_scope(CALL) {
            claims.require(REPORT)?;
        }
        Ok(Self)
    }
}

impl<'a> FromRequest<'a> for Worker {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        let claims = authenticate(request).await?;
        let queues = Queues::of_scopes(&claims.scope).filter(|_| claims.kind == Kind::Service);
        let Some(queues) = queues else {
            let detail = "this needs a service's token that opens a queue";
            return Err(problem(StatusCode::FORBIDDEN, QUEUE_FORBIDDEN, detail));
        };
        Ok(Self {
            client: claims.sub,
            queues: Arc::new(queues),
        })
    }
}

impl Worker {
    /// Refuses a worker that asks for the tasks of a step that its token does not name.
    pub fn require_queues(&self, queues: &[String]) -> poem::Result<()> {
        for queue in queues {
            if !self.queues.allows(queue) {
                let detail = format!("this token does not open the queue of the step `{queue}`");
                return Err(problem(StatusCode::FORBIDDEN, QUEUE_FORBIDDEN, detail));
            }
        }
        Ok(())
    }
}

async fn authenticate(request: &Request) -> poem::Result<Claims> {
    let core: &Arc<Core> = request.data().expect("the routes carry the core");
    core.verifier.authenticate(request).await
}
