//! `POST /oauth2/token`: client credentials (RFC 6749, section 4.4).

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use poem::{Request, http::header};
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    payload::{Form, Json},
};
use serde::Deserialize;

use btrust_platform::{config::Secret, token::Kind};

use super::{
    Auth, AuthError, ClientKind, acts,
    secrets::SecretError,
    signing::{Grant, Minted},
    store::clients::ClientRow,
};
use crate::{
    address,
    refusal::{NoOthers, Refused},
};

pub struct CreateToken(pub Arc<Auth>);

#[derive(Object, Deserialize)]
struct TokenForm {
    /// `client_credentials`
    grant_type: Option<String>,
    /// Unless HTTP Basic carries it
    client_id: Option<String>,
    /// Unless HTTP Basic carries it
    client_secret: Option<String>,
    /// Space separated; a part of the client's own, all of them when absent
    scope: Option<String>,
}

#[derive(Object)]
struct TokenBody {
    access_token: String,
    /// `Bearer`
    token_type: String,
    /// Seconds
    expires_in: i64,
    /// Space separated
    scope: String,
}

/// RFC 6749, section 5.2, with our own stable code.
#[derive(Object, Debug)]
struct OAuthError {
    error: String,
    error_description: String,
    code: String,
}

#[derive(ApiResponse)]
#[oai(bad_request_handler = "unreadable")]
enum CreateTokenResponse {
    /// A token.
    #[oai(status = 200)]
    Created(Json<TokenBody>, #[oai(header = "Cache-Control")] String),
    /// `invalid_request`, `unsupported_grant_type` or `invalid_scope`.
    #[oai(status = 400)]
    BadRequest(Json<OAuthError>, #[oai(header = "Cache-Control")] String),
    /// `invalid_client`: unknown, or the secret is wrong.
    #[oai(status = 401)]
    WrongClient(
        Json<OAuthError>,
        #[oai(header = "Cache-Control")] String,
        #[oai(header = "WWW-Authenticate")] String,
    ),
    /// `too_many_failures`: too many wrong secrets, or too many callers at once.
    #[oai(status = 429)]
    TooMany(
        Json<OAuthError>,
        #[oai(header = "Cache-Control")] String,
        #[oai(header = "Retry-After")] i64,
    ),
}

/// Seconds that a caller waits when too many secrets are being checked.
const BUSY_RETRY_AFTER_S: i64 = 1;

/// Longest client id or secret that is looked at, in bytes; ours have 43.
const CREDENTIAL_BYTES_MAX: usize = 256;

#[OpenApi]
impl CreateToken {
    /// Gives a client a token.
    ///
    /// Credentials come in the form or by HTTP Basic, not both.
    #[oai(path = "/oauth2/token", method = "post", operation_id = "createToken")]
    async fn create_token(
        &self,
        request: &Request,
        form: Form<TokenForm>,
    ) -> Result<CreateTokenResponse, Refused<NoOthers>> {
        let auth = &self.0;
        let basic = request.header(header::AUTHORIZATION);
        let (id, secret) = match credentials(basic, &form) {
            Ok(credentials) => credentials,
            Err(refusal) => return Ok(refusal),
        };
        let address = address::of(request).unwrap_or_else(|| "unknown".to_owned());
        let now_ms = auth.clock.now_ms();
        if let Some(wait_ms) = auth.failures.wait_ms(&id, &address, now_ms) {
            return Ok(too_many("too many wrong secrets", wait_ms / 1_000 + 1));
        }

        let client = auth.store.client(&id).await?;
        // Whoever names no client that there is has said nothing that could be recorded.
        if let Some(client) = &client {
            acts::about_client(request, client, None);
        }
        let hash = client.as_ref().map(|it| it.secret_hash.as_str());
        // Who has proved itself before is not held up by others of its address.
        if !auth.secrets.is_checked(&id, hash, &secret, now_ms)
            && let Some(wait_ms) = auth.failures.wait_of_address_ms(&address, now_ms)
        {
            return Ok(too_many("too many wrong secrets", wait_ms / 1_000 + 1));
        }
        let verdict = auth.secrets.verify(&id, hash, &secret, now_ms).await;
        let client = match (verdict, client) {
            (Ok(true), Some(client)) => client,
            (Ok(_), _) => {
                auth.failures.count(&id, &address, now_ms);
                return Ok(wrong_client());
            }
            (Err(SecretError::Busy), _) => {
                return Ok(too_many("too many callers at once", BUSY_RETRY_AFTER_S));
            }
            (Err(error @ SecretError::Unusable), _) => return Err(error.into()),
        };
        acts::by_client(request, &client);
        let granted = grant(auth, &client, &form)?;
        if let CreateTokenResponse::Created(body, _) = &granted {
            acts::about_client(request, &client, Some(&body.scope));
        }
        Ok(granted)
    }
}

/// What a client that has proved itself gets.
fn grant(
    auth: &Auth,
    client: &ClientRow,
    form: &TokenForm,
) -> Result<CreateTokenResponse, AuthError> {
    match form.grant_type.as_deref() {
        Some("client_credentials") => {}
        Some(_) => {
            return Ok(refuse(
                "unsupported_grant_type",
                "only client_credentials is",
            ));
        }
        None => return Ok(refuse("invalid_request", "grant_type is missing")),
    }
    let scope = match form.scope.as_deref().map(str::trim) {
        None | Some("") => client.scopes.clone(),
        Some(wanted) => {
            let own: Vec<&str> = client.scopes.split(' ').collect();
            let wanted: Vec<&str> = wanted.split(' ').filter(|it| !it.is_empty()).collect();
            if wanted.iter().any(|it| !own.contains(it)) {
                return Ok(refuse(
                    "invalid_scope",
                    "the client does not have that scope",
                ));
            }
            super::server::sorted_scopes(&wanted)
        }
    };
    let kind = match client.kind {
        ClientKind::Client => Kind::Client,
        ClientKind::Reviewer => Kind::Reviewer,
        ClientKind::Service => Kind::Service,
    };
    let Minted { token, expires_in } = auth.signing.mint(Grant {
        subject: &client.id,
        tenant: &client.tenant,
        kind,
        scope: &scope,
        workflow: None,
        device: None,
        session_end: None,
    })?;
    let token_type = "Bearer".to_owned();
    let body = TokenBody {
        access_token: token,
        token_type,
        expires_in,
        scope,
    };
    Ok(CreateTokenResponse::Created(Json(body), no_store()))
}

/// The id and secret of the form or of HTTP Basic.
fn credentials(
    basic: Option<&str>,
    form: &TokenForm,
) -> Result<(String, Secret), CreateTokenResponse> {
    let from_form = form.client_id.clone().zip(form.client_secret.clone());
    let (id, secret) = match (basic.map(parse_basic), from_form) {
        (None, Some(credentials)) => credentials,
        (Some(Some(credentials)), None) => credentials,
        (Some(None), _) => return Err(refuse("invalid_request", "Authorization is not readable")),
        (Some(_), Some(_)) => return Err(refuse("invalid_request", "credentials come once")),
        (None, None) => return Err(wrong_client()),
    };
    if CREDENTIAL_BYTES_MAX < id.len().max(secret.len()) {
        return Err(wrong_client());
    }
    Ok((id, Secret::new(secret)))
}

/// `Basic base64(id:secret)`. Our ids and secrets need no form encoding.
fn parse_basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

fn no_store() -> String {
    "no-store".to_owned()
}

fn refuse(error: &str, description: &str) -> CreateTokenResponse {
    CreateTokenResponse::BadRequest(Json(oauth_error(error, error, description)), no_store())
}

/// One answer for an unknown client and a wrong secret.
fn wrong_client() -> CreateTokenResponse {
    let description = "the client is unknown or its secret is wrong";
    let body = oauth_error("invalid_client", "invalid_client", description);
    let challenge = "Basic realm=\"btrust\"".to_owned();
    CreateTokenResponse::WrongClient(Json(body), no_store(), challenge)
}

fn too_many(description: &str, retry_after_s: i64) -> CreateTokenResponse {
    let body = oauth_error("slow_down", "too_many_failures", description);
    CreateTokenResponse::TooMany(Json(body), no_store(), retry_after_s)
}

fn unreadable(_error: poem::Error) -> CreateTokenResponse {
    refuse(
        "invalid_request",
        "the body is not a form that this operation takes",
    )
}

fn oauth_error(error: &str, code: &str, description: &str) -> OAuthError {
    OAuthError {
        error: error.to_owned(),
        error_description: description.to_owned(),
        code: code.to_owned(),
    }
}
