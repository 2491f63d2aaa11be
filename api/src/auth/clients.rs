//! `POST /v1/clients`

use std::sync::Arc;

use poem_openapi::{ApiResponse, Enum, Object, OpenApi, payload::Json};

use btrust_platform::token::Claims;

use super::{Auth, ClientKind, generate_secret, signing::random_hex, store::clients::ClientRow};
use crate::{
    access::{Caller, ClientsWrite, scope},
    acts,
    refusal::Refused,
    refusals,
};

pub struct CreateClient(pub Arc<Auth>);

/// How many clients one tenant may have; each person and system has one.
pub const CLIENTS_OF_TENANT_MAX: i64 = 1_000;

#[derive(Object)]
struct NewClient {
    /// For people; nothing is found by it
    #[oai(validator(min_length = 1, max_length = 100))]
    name: String,
    kind: NewClientKind,
    #[oai(validator(min_items = 1, max_items = 32, unique_items))]
    scopes: Vec<String>,
}

#[derive(Enum, Clone, Copy)]
#[oai(rename = "ClientKind", rename_all = "lowercase")]
enum NewClientKind {
    /// A system of the bank
    Client,
    /// A person who decides reviews
    Reviewer,
}

#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct ClientCredentials {
    client_id: String,
    /// Shown once: only its hash is kept
    client_secret: String,
}

#[derive(ApiResponse)]
enum CreateClientResponse {
    /// The client and its secret.
    #[oai(status = 201)]
    Created(
        Json<ClientCredentials>,
        #[oai(header = "Cache-Control")] String,
    ),
}

refusals! {
    CreateClientRefusals {
        SCOPE_REFUSED = 403 "scope_refused"
            "a client of this kind cannot have that scope, or the caller may not give it";
        TOO_MANY_CLIENTS = 409 "too_many_clients" "the tenant has as many clients as it may have";
    }
}

#[OpenApi]
impl CreateClient {
    /// Makes a client of the caller's tenant.
    ///
    /// A caller gives the scopes that it has, and those of a backend
    /// (`definitions:read`, `workflows:read`, `workflows:write`, `tasks:write`,
    /// `applicant-tokens:write`). A reviewer is made with `reviewers:write`: four
    /// eyes rest on who has that scope.
    #[oai(path = "/v1/clients", method = "post", operation_id = "createClient")]
    async fn create_client(
        &self,
        caller: Caller<ClientsWrite>,
        client: Json<NewClient>,
    ) -> Result<CreateClientResponse, Refused<CreateClientRefusals>> {
        let auth = &self.0;
        let (kind, permitted) = match client.kind {
            NewClientKind::Client => (ClientKind::Client, scope::OF_CLIENTS),
            NewClientKind::Reviewer => (ClientKind::Reviewer, scope::OF_REVIEWERS),
        };
        if let Some(refused) = client
            .scopes
            .iter()
            .find(|it| !permitted.contains(&it.as_str()))
        {
            let kind = kind.as_str();
            let detail = format!("a {kind} cannot have the scope `{refused}`");
            return Err(SCOPE_REFUSED.detail(detail));
        }
        if let Some(refused) = not_given(&caller.claims, kind, &client.scopes) {
            let detail = format!("the caller cannot give that: it needs the scope `{refused}`");
            return Err(SCOPE_REFUSED.detail(detail));
        }
        if CLIENTS_OF_TENANT_MAX <= auth.store.n_clients(caller.tenant()).await? {
            return Err(TOO_MANY_CLIENTS.detail("delete a client first"));
        }

        let secret = generate_secret();
        let scopes: Vec<&str> = client.scopes.iter().map(String::as_str).collect();
        let row = ClientRow {
            id: format!("cli_{}", random_hex()),
            tenant: caller.tenant().to_owned(),
            name: client.name.clone(),
            kind,
            scopes: super::server::sorted_scopes(&scopes),
            secret_hash: auth.secrets.hash(&secret).await?,
            created_at: auth.clock.now_ms(),
        };
        auth.store.put_client(&row).await?;
        acts::about(caller.act.as_ref(), |it| {
            it.client = Some(row.id.clone());
            it.scope = Some(row.scopes.clone());
        });
        tracing::info!(client = row.id, by = caller.claims.sub, "made a client");
        let client_secret = secret.expose().to_owned();
        let body = ClientCredentials {
            client_id: row.id,
            client_secret,
        };
        Ok(CreateClientResponse::Created(
            Json(body),
            "no-store".to_owned(),
        ))
    }
}

/// The scope that the caller lacks to make such a client.
fn not_given<'a>(caller: &Claims, kind: ClientKind, scopes: &'a [String]) -> Option<&'a str> {
    if kind == ClientKind::Reviewer {
        let may = caller.has_scope(scope::REVIEWERS_WRITE);
        return (!may).then_some(scope::REVIEWERS_WRITE);
    }
    let scopes = scopes.iter().map(String::as_str);
    let mut lacked = scopes.filter(|it| !scope::OF_BACKENDS.contains(it) && !caller.has_scope(it));
    lacked.next()
}
