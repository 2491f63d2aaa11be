//! The routes of a service, with the acts that their operations are.

use std::sync::Arc;

use poem::error::InternalServerError;
use poem::{Endpoint, IntoResponse, Middleware, Request, Response};
use tracing::Instrument as _;

use btrust_platform::http::RequestId;
use btrust_schemas::events::ActOutcome;

use super::{ACT_NOT_RECORDED, Delivery, Desk, Ongoing, Proof, Recorded, Routes};
use crate::refusal::Refused;

/// What a service needs to have its acts recorded.
#[derive(Clone)]
pub struct Recorder {
    pub desk: Desk,
    pub core: Arc<dyn Delivery>,
}

/// Reports what the operations of these routes do.
pub struct Reported {
    routes: Arc<Routes>,
    recorder: Recorder,
}

impl Reported {
    #[must_use]
    pub fn new(routes: Routes, recorder: Recorder) -> Self {
        Self {
            routes: Arc::new(routes),
            recorder,
        }
    }
}

impl<E: Endpoint + 'static> Middleware<E> for Reported {
    type Output = ReportedEndpoint<E>;

    fn transform(&self, inner: E) -> Self::Output {
        ReportedEndpoint {
            routes: Arc::clone(&self.routes),
            recorder: self.recorder.clone(),
            inner: Arc::new(inner),
        }
    }
}

pub struct ReportedEndpoint<E> {
    routes: Arc<Routes>,
    recorder: Recorder,
    inner: Arc<E>,
}

impl<E: Endpoint + 'static> Endpoint for ReportedEndpoint<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let found = self.routes.find(request.method(), request.uri().path());
        let Some((route, mut target)) = found else {
            return Ok(self.inner.call(request).await?.into_response());
        };
        target.after = after(&request).filter(|_| route.proof == Proof::Committed);
        let request_id = request.data::<RequestId>();
        let act = Ongoing::new(&self.recorder.desk, route, target, request_id);
        let act = Arc::new(act);
        request.set_data(Arc::clone(&act));
        let (inner, recorder) = (Arc::clone(&self.inner), self.recorder.clone());
        let doing = async move {
            let answer = inner.call(request).await;
            let answer = answer.map(IntoResponse::into_response);
            let status = match &answer {
                Ok(answer) => answer.status(),
                Err(error) => error.status(),
            };
            match recorder.end(&act, status.as_u16()).await {
                Ok(()) => answer,
                Err(refused) => Err(refused.into()),
            }
        };
        // A caller who goes away ends no act: it is carried to its end and noted.
        let done = tokio::spawn(doing.in_current_span()).await;
        done.map_err(InternalServerError)?
    }
}

impl Recorder {
    /// Has it recorded how an act ended, or noted at least, as its proof asks for.
    async fn end(&self, act: &Ongoing, status: u16) -> Result<(), Refused<Recorded>> {
        let outcome = match status {
            ..400 => ActOutcome::Done,
            400..500 => ActOutcome::Refused,
            _ => ActOutcome::Failed,
        };
        let Some((tenant, reported)) = act.reported(outcome, Some(status)) else {
            return Ok(());
        };
        let outbox = &self.desk.outbox;
        if act.known().has_begun {
            if let Err(error) = outbox.settle(&reported).await {
                // It is noted that it began; after the next start its end counts as unknown.
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, act.id = reported.id, "cannot note how an act ended");
            }
            return Ok(());
        }
        if outcome == ActOutcome::Done && act.proof == Proof::Committed {
            let brought = self.core.bring(&tenant, &[reported]).await;
            return brought.map_err(|error| Refused::failed(ACT_NOT_RECORDED, &error));
        }
        match outbox.put(&tenant, &reported).await {
            Ok(()) => Ok(()),
            // Nothing was done and nothing was read.
            Err(error) if outcome != ActOutcome::Done => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, act.id = reported.id, "cannot note a refused act");
                Ok(())
            }
            Err(error) => Err(Refused::failed(ACT_NOT_RECORDED, &error)),
        }
    }
}

/// From where on somebody reads a history.
fn after(request: &Request) -> Option<u64> {
    let query = request.uri().query().unwrap_or_default();
    let mut values = query.split('&').filter_map(|it| it.strip_prefix("after="));
    values.next()?.parse().ok()
}
