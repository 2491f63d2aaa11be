//! Checks tokens against the public keys of the auth service.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::{AUDIENCE, Claims, TokenError, bearer, unauthenticated};
use crate::clock::SharedClock;

/// How far the clocks of two machines may differ, in seconds.
pub const LEEWAY_S: i64 = 30;

/// Least time between two fetches of the keys that answered, so that tokens
/// with invented key ids cannot make us flood the auth service.
const REFETCH_AFTER_MS: i64 = 10_000;
/// Least time between two fetches of which the first failed.
const RETRY_AFTER_MS: i64 = 1_000;
/// Pauses within one fetch; together they cover a restart of the auth service.
const FETCH_PAUSES_MS: [u64; 5] = [50, 100, 200, 400, 800];
/// How long one call may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
/// Tokens whose signature is remembered, about 1 KiB each; when there are more, all are forgotten.
const CLAIMS_MAX: usize = 4_096;
/// Longest token that is looked at, in bytes; ours have about 600.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Largest JWKS document that is read, in bytes; ours has about 200 a key.
const JWKS_BYTES_MAX: usize = 64 * 1024;

/// Checks bearer tokens; one per process, shared.
///
/// It needs no contact with the auth service until the first token arrives, and
/// keeps working with the keys it knows while that service is away.
pub struct Verifier {
    client: reqwest::Client,
    /// `None` for a verifier with fixed keys.
    jwks_url: Option<String>,
    clock: SharedClock,
    known: RwLock<Known>,
    last_fetch: Mutex<Option<Fetch>>,
}

/// The keys, and what was signed by them.
#[derive(Default)]
struct Known {
    keys: HashMap<String, DecodingKey>,
    /// Claims by the SHA-256 of their token, so that a signature is computed once.
    claims: HashMap<[u8; 32], Claims>,
}

#[derive(Clone, Copy)]
struct Fetch {
    at_ms: i64,
    has_answered: bool,
}

impl Verifier {
    /// A verifier that takes its keys from `<auth_url>/.well-known/jwks.json`.
    #[must_use]
    pub fn new(auth_url: &str, clock: SharedClock) -> Self {
        let jwks_url = format!("{}/.well-known/jwks.json", auth_url.trim_end_matches('/'));
        Self {
            client: crate::http::client(),
            jwks_url: Some(jwks_url),
            clock,
            known: RwLock::default(),
            last_fetch: Mutex::default(),
        }
    }

    /// A verifier with fixed keys, for the auth service itself.
    #[must_use]
    pub fn with_keys(jwks: &JwkSet, clock: SharedClock) -> Self {
        Self {
            client: crate::http::client(),
            jwks_url: None,
            clock,
            known: RwLock::new(Known {
                keys: usable_keys(jwks),
                claims: HashMap::new(),
            }),
            last_fetch: Mutex::default(),
        }
    }

    /// What a token says, if it is ours and still good.
    ///
    /// # Errors
    ///
    /// [`TokenError::Refused`] for a token that is not EdDSA, not signed by a
    /// current key, not meant for us or expired; [`TokenError::Unavailable`]
    /// when its key is not known and the auth service does not answer.
    pub async fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        if TOKEN_BYTES_MAX < token.len() {
            return Err(TokenError::Refused {
                reason: "it is too long",
            });
        }
        let digest: [u8; 32] = Sha256::digest(token).into();
        let known = self.read().claims.get(&digest).cloned();
        let claims = match known {
            Some(claims) => claims,
            None => self.verify_signature(token, digest).await?,
        };

        let now_s = self.clock.now_ms() / 1000;
        if claims.exp.saturating_add(LEEWAY_S) <= now_s {
            return Err(TokenError::Refused {
                reason: "it has expired",
            });
        }
        if now_s.saturating_add(LEEWAY_S) < claims.iat {
            return Err(TokenError::Refused {
                reason: "it is from the future",
            });
        }
        Ok(claims)
    }

    /// The claims of a token that one of our keys has signed for us, whenever that was.
    async fn verify_signature(&self, token: &str, digest: [u8; 32]) -> Result<Claims, TokenError> {
        let malformed = |_| TokenError::Refused {
            reason: "it is no token",
        };
        let header = jsonwebtoken::decode_header(token).map_err(malformed)?;
        if header.alg != Algorithm::EdDSA {
            return Err(TokenError::Refused {
                reason: "its algorithm is not EdDSA",
            });
        }
        let kid = header.kid.ok_or(TokenError::Refused {
            reason: "it names no key",
        })?;
        let key = self.key(&kid).await?;

        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "aud"]);
        // Judged by the caller, by the injected clock.
        validation.validate_exp = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation)
            .map_err(|_| TokenError::Refused {
                reason: "it is not ours",
            })?
            .claims;

        let mut known = self.write();
        if !known.keys.contains_key(&kid) {
            return Err(TokenError::Refused {
                reason: "its key is not known",
            });
        }
        if CLAIMS_MAX <= known.claims.len() {
            known.claims.clear();
        }
        known.claims.insert(digest, claims.clone());
        Ok(claims)
    }

    /// What the token of a request says.
    ///
    /// # Errors
    ///
    /// 401 `unauthenticated` without a good token, 503 `auth_unavailable` when
    /// nobody can tell.
    pub async fn authenticate(&self, request: &poem::Request) -> poem::Result<Claims> {
        let token = bearer(request).ok_or_else(|| unauthenticated("the request has none"))?;
        Ok(self.verify(token).await?)
    }

    async fn key(&self, kid: &str) -> Result<DecodingKey, TokenError> {
        if let Some(key) = self.known_key(kid) {
            return Ok(key);
        }
        let unknown = TokenError::Refused {
            reason: "its key is not known",
        };
        let Some(jwks_url) = &self.jwks_url else {
            return Err(unknown);
        };

        // One fetch at a time; whoever waited looks again first.
        let mut last_fetch = self.last_fetch.lock().await;
        if let Some(key) = self.known_key(kid) {
            return Ok(key);
        }
        if let Some(last) = *last_fetch {
            let since_ms = self.clock.now_ms().abs_diff(last.at_ms);
            match last.has_answered {
                true if since_ms < REFETCH_AFTER_MS.unsigned_abs() => return Err(unknown),
                false if since_ms < RETRY_AFTER_MS.unsigned_abs() => {
                    return Err(TokenError::Unavailable);
                }
                _ => {}
            }
        }
        let fetched = self.fetch(jwks_url).await;
        let has_answered = fetched.is_some();
        *last_fetch = Some(Fetch {
            at_ms: self.clock.now_ms(),
            has_answered,
        });
        let Some(jwks) = fetched else {
            return Err(TokenError::Unavailable);
        };
        *self.write() = Known {
            keys: usable_keys(&jwks),
            claims: HashMap::new(),
        };
        self.known_key(kid).ok_or(unknown)
    }

    fn known_key(&self, kid: &str) -> Option<DecodingKey> {
        self.read().keys.get(kid).cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The published keys, after a few attempts; `None` if none of them worked.
    async fn fetch(&self, jwks_url: &str) -> Option<JwkSet> {
        let mut pauses = FETCH_PAUSES_MS.iter();
        loop {
            let reason = match fetch_once(&self.client, jwks_url).await {
                Ok(jwks) => return Some(jwks),
                Err(reason) => reason,
            };
            let Some(&pause_ms) = pauses.next() else {
                tracing::warn!(reason, "cannot fetch the keys of the auth service");
                return None;
            };
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
    }
}

async fn fetch_once(client: &reqwest::Client, jwks_url: &str) -> Result<JwkSet, String> {
    let words = |error: reqwest::Error| error.without_url().to_string();
    let answer = client
        .get(jwks_url)
        .timeout(FETCH_TIMEOUT)
        .send()
        .await
        .map_err(words)?;
    let mut answer = answer.error_for_status().map_err(words)?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(words)? {
        body.extend_from_slice(&chunk);
        if JWKS_BYTES_MAX < body.len() {
            return Err("the key document is too large".to_owned());
        }
    }
    serde_json::from_slice(&body).map_err(|error| error.to_string())
}

/// The Ed25519 keys of a set; every other kind is ignored.
fn usable_keys(jwks: &JwkSet) -> HashMap<String, DecodingKey> {
    jwks.keys
        .iter()
        .filter(|jwk| is_ed25519(jwk))
        .filter_map(|jwk| Some((jwk.common.key_id.clone()?, DecodingKey::from_jwk(jwk).ok()?)))
        .collect()
}

fn is_ed25519(jwk: &Jwk) -> bool {
    matches!(&jwk.algorithm, AlgorithmParameters::OctetKeyPair(it) if it.curve == EllipticCurve::Ed25519)
}
