//! Which operations of auth are acts, who does them, and how they reach core.

use std::sync::Arc;

use async_trait::async_trait;
use poem::Request;
use poem::http::StatusCode;
use serde::Deserialize;

use btrust_platform::token::Kind;
use btrust_schemas::events::{ActBy, ActKind, ActorKind, ReportedAct, ReportedActs};

use super::{
    AuthError, ClientKind,
    signing::{Grant, Signing},
    store::{clients::ClientRow, handoffs::Destination},
};
use crate::access::scope;
use crate::acts::{DeliverError, Delivery, Ongoing, Proof, Route, Routes, about, about_workflow};

/// Auth's own name in the token under which it reports.
const SUBJECT: &str = "auth";
/// The platform itself, which is no bank's tenant.
const PLATFORM: &str = "btrust";

const fn post(path: &'static str, kind: ActKind, proof: Proof) -> Route {
    Route {
        method: "POST",
        path,
        kind,
        proof,
    }
}

/// Every operation that is an act.
pub const ROUTES: Routes = Routes(&[
    post("/oauth2/token", ActKind::TokenIssued, Proof::Answer),
    post("/v1/clients", ActKind::ClientCreated, Proof::Before),
    Route {
        method: "DELETE",
        path: "/v1/clients/{clientId}",
        kind: ActKind::ClientDeleted,
        proof: Proof::Before,
    },
    post(
        "/v1/applicant-tokens",
        ActKind::ApplicantTokenIssued,
        Proof::Answer,
    ),
    post("/v1/handoffs", ActKind::HandoffCreated, Proof::Answer),
    post(
        "/v1/handoffs/redemptions",
        ActKind::HandoffRedeemed,
        Proof::Answer,
    ),
    post(
        "/v1/resume-links",
        ActKind::ResumeLinkCreated,
        Proof::Answer,
    ),
    post(
        "/v1/resume-links/{link}/redemptions",
        ActKind::ResumeLinkRedeemed,
        Proof::Answer,
    ),
]);

/// Says that somebody asks for a client's token who has not proved to be it yet.
pub fn about_client(request: &Request, client: &ClientRow, granted: Option<&str>) {
    let Some(act) = Ongoing::of(request) else {
        return;
    };
    if granted.is_none() {
        act.by(
            &client.tenant,
            ActBy {
                kind: ActorKind::Unknown,
                id: None,
            },
        );
    }
    about(Some(act), |it| {
        it.client = Some(client.id.clone());
        it.scope = granted.map(str::to_owned);
    });
}

/// Says that a client has proved itself.
pub fn by_client(request: &Request, client: &ClientRow) {
    let kind = match client.kind {
        ClientKind::Client => ActorKind::Client,
        ClientKind::Reviewer => ActorKind::Reviewer,
        ClientKind::Service => ActorKind::Service,
    };
    let id = Some(client.id.clone());
    if let Some(act) = Ongoing::of(request) {
        act.by(&client.tenant, ActBy { kind, id });
    }
}

/// Says that the applicant of a workflow acts, who has proved that by a code.
pub fn by_applicant(request: &Request, to: &Destination) {
    let Some(act) = Ongoing::of(request) else {
        return;
    };
    act.by(
        &to.tenant,
        ActBy {
            kind: ActorKind::Applicant,
            id: None,
        },
    );
    about_workflow(Some(act), to.workflow);
}

/// The way to core, under tokens that auth makes for itself.
pub struct Reports {
    http: reqwest::Client,
    core_url: String,
    signing: Arc<Signing>,
}

impl Reports {
    pub fn to(core_url: &str, signing: Arc<Signing>) -> Self {
        Self {
            http: btrust_platform::http::client(),
            core_url: core_url.to_owned(),
            signing,
        }
    }

    fn token(&self) -> Result<String, AuthError> {
        let minted = self.signing.mint(Grant {
            subject: SUBJECT,
            tenant: PLATFORM,
            kind: Kind::Service,
            scope: scope::ACTS_WRITE,
            workflow: None,
            device: None,
            session_end: None,
        })?;
        Ok(minted.token)
    }

    fn url(&self, tenant: &str) -> Option<reqwest::Url> {
        let mut url = reqwest::Url::parse(&self.core_url).ok()?;
        url.path_segments_mut()
            .ok()?
            .pop_if_empty()
            .extend(["internal", "v1", "tenants", tenant, "acts"]);
        Some(url)
    }
}

/// The part of a refusal that is for programs.
#[derive(Deserialize)]
struct Code {
    code: String,
}

#[async_trait]
impl Delivery for Reports {
    async fn bring(&self, tenant: &str, acts: &[ReportedAct]) -> Result<(), DeliverError> {
        let unavailable =
            |error: Box<dyn std::error::Error + Send + Sync>| DeliverError::Unavailable(error);
        let token = self.token().map_err(|it| unavailable(it.into()))?;
        let url = self
            .url(tenant)
            .ok_or_else(|| unavailable("CORE_URL is no URL".into()))?;
        let body = serde_json::to_vec(&ReportedActs {
            acts: acts.to_vec(),
        });
        let body = body.expect("acts are plain JSON");
        let sent = self
            .http
            .post(url)
            .bearer_auth(token)
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await;
        let answer = sent.map_err(|it| unavailable(it.into()))?;
        let status = answer.status();
        // A token may be refused for as long as core does not know auth's keys.
        if status.is_success() {
            return Ok(());
        }
        if !matches!(
            status,
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY
        ) {
            return Err(unavailable(format!("core answered {status}").into()));
        }
        let body = answer.bytes().await.map_err(|it| unavailable(it.into()))?;
        let code = serde_json::from_slice(&body).map_or_else(|_| String::new(), |it: Code| it.code);
        Err(DeliverError::Refused { code })
    }
}
