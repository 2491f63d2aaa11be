//! Bearer tokens: what they say, how they are checked, how a service gets its own.

mod source;
mod verifier;

use poem::http::{StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::problem::{Problem, problem, response};

pub use source::TokenSource;
pub use verifier::{LEEWAY_S, Verifier};

/// The audience of every token of this platform.
pub const AUDIENCE: &str = "btrust";

/// Who a token speaks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A bank's backend.
    Client,
    /// The person being verified; the token opens exactly one workflow.
    Applicant,
    /// Another service of the platform.
    Service,
    /// A person of the bank who decides reviews.
    Reviewer,
}

/// What a token says. Times are seconds since the epoch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Claims {
    pub sub: String,
    pub tenant: String,
    /// Scopes, separated by spaces.
    pub scope: String,
    pub kind: Kind,
    /// The one workflow that an applicant's token opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// The device that an applicant's token was minted for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// When an applicant's sitting ends, however often it goes on with another device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_end: Option<i64>,
    pub exp: i64,
    pub iat: i64,
    pub iss: String,
    pub aud: String,
    pub jti: String,
}

impl Claims {
    /// Whether the token has this scope; `queue:*` stands for every `queue:<step>`.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scope
            .split(' ')
            .any(|held| held == scope || (held == "queue:*" && scope.starts_with("queue:")))
    }

    /// Refuses a caller whose token lacks a scope.
    ///
    /// # Errors
    ///
    /// 403 `scope_missing`.
    pub fn require(&self, scope: &str) -> poem::Result<()> {
        if self.has_scope(scope) {
            return Ok(());
        }
        let detail = format!("this needs the scope {scope}");
        Err(problem(StatusCode::FORBIDDEN, "scope_missing", detail))
    }
}

/// Why there is no answer about a token, or no token.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// The token or the client's credentials are no good; trying again will not help.
    #[error("the credentials are refused: {reason}")]
    Refused { reason: &'static str },
    /// The auth service did not answer in time; try again later.
    #[error("the auth service does not answer")]
    Unavailable,
}

impl From<TokenError> for poem::Error {
    fn from(refusal: TokenError) -> Self {
        match refusal {
            TokenError::Refused { reason } => unauthenticated(reason),
            TokenError::Unavailable => {
                let detail = "the auth service does not answer; try again";
                problem(StatusCode::SERVICE_UNAVAILABLE, "auth_unavailable", detail)
            }
        }
    }
}

/// The bearer token of a request, if it has one.
#[must_use]
pub fn bearer(request: &poem::Request) -> Option<&str> {
    let (scheme, token) = request.header(header::AUTHORIZATION)?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim())
        .filter(|it| !it.is_empty())
}

/// 401 `unauthenticated` with the challenge that RFC 6750 asks for.
fn unauthenticated(reason: &str) -> poem::Error {
    let body = Problem::new(
        401,
        "unauthenticated",
        format!("a valid token is needed: {reason}"),
    );
    let mut answer = response(&body);
    let challenge = header::HeaderValue::from_static("Bearer");
    answer
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, challenge);
    poem::Error::from_response(answer)
}

#[cfg(test)]
mod tests;
