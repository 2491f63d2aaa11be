//! Acts of people and systems, on their way into the audit stream.
//!
//! A service wraps its routes in [`Reported`]. For each operation of its table an [`Ongoing`] act travels with the
//! request; the caller's token names who acts ([`crate::access::Caller`] does that), and the answer says what
//! became of it. An act that changes something is noted on disk before it begins, and one that lets somebody read
//! evidence is recorded by core before the answer leaves.

mod delivery;
mod outbox;
mod routes;
#[cfg(test)]
mod tests;
mod wrapper;

use std::sync::{Arc, Mutex, PoisonError};

use btrust_platform::clock::SharedClock;
use btrust_platform::http::RequestId;
use btrust_platform::token::{Claims, Kind};
use btrust_schemas::events::{Act, ActBy, ActKind, ActOutcome, ActTarget, ActorKind, ReportedAct};
use btrust_schemas::ids::WorkflowId;

pub use delivery::{DeliverError, Delivery, deliver};
pub use outbox::{Outbox, OutboxError};
pub use routes::{Proof, Route, Routes};
pub use wrapper::{Recorder, Reported};

use crate::{refusal::Refused, refusals};

refusals! {
    /// What an operation can answer whose act has to be recorded.
    Recorded {
        ACT_NOT_RECORDED = 503 "act_not_recorded"
            "what the caller does cannot be recorded now, so it is not done; try again";
    }
}

/// Who reports.
#[derive(Clone)]
pub struct Desk {
    /// `gateway` or `auth`.
    pub service: &'static str,
    pub outbox: Outbox,
    pub clock: SharedClock,
}

impl Desk {
    /// What the operator of the platform does at its command line.
    #[must_use]
    pub fn by_operator(&self, kind: ActKind, target: ActTarget) -> ReportedAct {
        let by = ActBy {
            kind: ActorKind::Operator,
            id: None,
        };
        let act = Act {
            at_ms: self.clock.now_ms(),
            by,
            outcome: ActOutcome::Done,
            status: None,
            request_id: None,
            service: self.service.to_owned(),
            target,
        };
        let id = random_id();
        ReportedAct { id, kind, act }
    }
}

/// An act, from its request to its answer.
pub struct Ongoing {
    desk: Desk,
    id: String,
    kind: ActKind,
    proof: Proof,
    request_id: Option<String>,
    known: Mutex<Known>,
}

/// What is known of an act by now.
#[derive(Default)]
struct Known {
    tenant: Option<String>,
    by: Option<ActBy>,
    target: ActTarget,
    /// Whether it is noted on disk that the act has begun.
    has_begun: bool,
    /// Whether it is none that anybody wants to hear of.
    is_dropped: bool,
}

impl Ongoing {
    fn new(desk: &Desk, route: &Route, target: ActTarget, request_id: Option<&RequestId>) -> Self {
        Self {
            desk: desk.clone(),
            id: random_id(),
            kind: route.kind,
            proof: route.proof,
            request_id: request_id.map(|it| it.0.clone()),
            known: Mutex::new(Known {
                target,
                ..Known::default()
            }),
        }
    }

    /// The act that goes with a request, where its operation has one.
    pub fn of(request: &poem::Request) -> Option<&Arc<Self>> {
        request.data::<Arc<Self>>()
    }

    /// Says who acts, by a token that was verified.
    pub fn seen(&self, claims: &Claims) {
        let kind = match claims.kind {
            Kind::Client => ActorKind::Client,
            Kind::Reviewer => ActorKind::Reviewer,
            Kind::Service => ActorKind::Service,
            Kind::Applicant => ActorKind::Applicant,
        };
        let is_applicant = kind == ActorKind::Applicant;
        let id = (!is_applicant).then(|| claims.sub.clone());
        self.by(&claims.tenant, ActBy { kind, id });
        let mut known = self.known();
        if let Some(workflow) = claims.workflow.as_ref().filter(|_| is_applicant) {
            known.target.workflow = workflow.parse().ok();
            // What is the applicant's own is no evidence of somebody else.
            known.is_dropped |= self.kind == ActKind::PromptsRead;
        }
    }

    /// Says who acts, where no token does.
    pub fn by(&self, tenant: &str, by: ActBy) {
        let mut known = self.known();
        known.tenant = Some(tenant.to_owned());
        known.by = Some(by);
    }

    /// Says more about what the act is about.
    pub fn about(&self, say: impl FnOnce(&mut ActTarget)) {
        say(&mut self.known().target);
    }

    /// Notes that the act begins, if it changes something: the caller may do it.
    ///
    /// # Errors
    ///
    /// `act_not_recorded`
    pub async fn begin(&self) -> Result<(), Refused<Recorded>> {
        if self.proof != Proof::Before {
            return Ok(());
        }
        let noted = self.reported(ActOutcome::Unknown, None);
        let Some((tenant, act)) = noted else {
            return Ok(());
        };
        let begun = self.desk.outbox.begin(&tenant, &act).await;
        begun.map_err(|error| Refused::failed(ACT_NOT_RECORDED, &error))?;
        self.known().has_begun = true;
        Ok(())
    }

    /// The act as it is reported, unless nobody did it or nobody wants to hear of it.
    fn reported(&self, outcome: ActOutcome, status: Option<u16>) -> Option<(String, ReportedAct)> {
        let known = self.known();
        let (tenant, by) = known.tenant.clone().zip(known.by.clone())?;
        if known.is_dropped {
            return None;
        }
        let mut target = known.target.clone();
        let is_token = self.kind == ActKind::TokenIssued;
        if outcome != ActOutcome::Done {
            // There may be no such thing, and then its name is the caller's words.
            target.definition = None;
            target.schedule = None;
            target.client = target.client.filter(|_| is_token);
        }
        let act = Act {
            at_ms: self.desk.clock.now_ms(),
            by,
            outcome,
            status,
            request_id: self.request_id.clone(),
            service: self.desk.service.to_owned(),
            target,
        };
        let is_refused = is_token && outcome == ActOutcome::Refused;
        let kind = if is_refused {
            ActKind::TokenRefused
        } else {
            self.kind
        };
        let id = self.id.clone();
        Some((tenant, ReportedAct { id, kind, act }))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says more about the act of a request, where there is one.
pub fn about(act: Option<&Arc<Ongoing>>, say: impl FnOnce(&mut ActTarget)) {
    if let Some(act) = act {
        act.about(say);
    }
}

/// Says which workflow the act of a request is about.
pub fn about_workflow(act: Option<&Arc<Ongoing>>, workflow: WorkflowId) {
    about(act, |it| it.workflow = Some(workflow));
}

/// An id that no other act has.
pub fn random_id() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}
