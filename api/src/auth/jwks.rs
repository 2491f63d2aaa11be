//! `GET /.well-known/jwks.json`

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, payload::Json, types::Any};
use serde_json::Value;

use super::Auth;

pub struct GetJwks(pub Arc<Auth>);

/// A JSON Web Key Set (RFC 7517).
#[derive(Object)]
#[oai(rename = "Jwks")]
struct JwksView {
    keys: Vec<Any<Value>>,
}

#[derive(ApiResponse)]
enum GetJwksResponse {
    /// The public keys that verify tokens, by `kid`.
    #[oai(status = 200)]
    Found(Json<JwksView>, #[oai(header = "Cache-Control")] String),
}

/// How long a verifier may keep the keys: a rotation publishes before it signs.
const CACHE_CONTROL: &str = "public, max-age=300";

#[OpenApi]
impl GetJwks {
    /// Shows the keys that verify tokens.
    #[oai(
        path = "/.well-known/jwks.json",
        method = "get",
        operation_id = "getJwks"
    )]
    #[expect(
        clippy::unused_async,
        reason = "poem-openapi wants operations to be async"
    )]
    async fn get_jwks(&self) -> GetJwksResponse {
        let keys = self.0.signing.jwks().keys.iter();
        let keys = keys
            .filter_map(|it| serde_json::to_value(it).ok())
            .map(Any)
            .collect();
        GetJwksResponse::Found(Json(JwksView { keys }), CACHE_CONTROL.to_owned())
    }
}
