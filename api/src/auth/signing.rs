//! The keys of the auth service and the tokens that they sign.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ed25519_dalek::{SigningKey, pkcs8::EncodePrivateKey as _};
use hmac::{Hmac, Mac as _};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::JwkSet};
use rand::Rng as _;
use sha2::{Digest as _, Sha256};

use btrust_platform::{
    clock::SharedClock,
    keys::{DataKey, Keys, WrappedKey},
    sealing::{Sealer, aad},
    token::{AUDIENCE, Claims, Kind},
};

use super::{
    APPLICANT_SESSION_MAX_MS, APPLICANT_TOKEN_TTL_MS, AuthError, CLIENT_TOKEN_TTL_MS,
    store::{
        Store,
        handoffs::Destination,
        keys::{KeyPurpose, KeyRow},
    },
};
use crate::access::scope;

/// The owner of auth's own keys in the keyring: no tenant's, the platform's.
const KEYRING_OWNER: &str = "btrust:auth";

/// Key id in the header of what is sealed here: each data key seals one thing.
const SEALING_KEY_ID: [u8; 8] = *b"auth-key";

/// Signs tokens, and authenticates codes.
pub struct Signing {
    kid: String,
    encoding_key: EncodingKey,
    jwks: JwkSet,
    mac_key: [u8; 32],
    issuer: String,
    clock: SharedClock,
}

/// A token on its way out.
pub struct Minted {
    pub token: String,
    /// Seconds until it is no longer good.
    pub expires_in: i64,
}

/// What a token is to say, apart from times and ids.
pub struct Grant<'a> {
    pub subject: &'a str,
    pub tenant: &'a str,
    pub kind: Kind,
    pub scope: &'a str,
    pub workflow: Option<&'a str>,
    pub device: Option<String>,
    /// Seconds since the epoch; the token is good for no longer.
    pub session_end: Option<i64>,
}

impl Signing {
    /// Takes the keys from the store; on the first start it makes them.
    ///
    /// Keys that were retired are still published while a token that they signed
    /// may live, so that a rotation interrupts nobody.
    pub async fn open(
        store: &Store,
        keys: &Arc<dyn Keys>,
        issuer: String,
        clock: SharedClock,
    ) -> Result<Self, AuthError> {
        if store.keys(KeyPurpose::Sign).await?.is_empty() {
            rotate(store, keys, &clock).await?;
        }
        if store.keys(KeyPurpose::Mac).await?.is_empty() {
            let mut secret = [0; 32];
            rand::rng().fill_bytes(&mut secret);
            put_key(store, keys, KeyPurpose::Mac, &[], &secret, clock.now_ms()).await?;
        }

        let published_since = clock.now_ms() - CLIENT_TOKEN_TTL_MS.max(APPLICANT_TOKEN_TTL_MS);
        let signing = store.keys(KeyPurpose::Sign).await?;
        let jwks = jwks(
            signing
                .iter()
                .filter(|it| it.retired_at.is_none_or(|at| published_since < at)),
        )?;
        let current = current(signing)?;
        let private = unseal(keys, &current).await?;
        let mac = current_secret(store, keys, KeyPurpose::Mac).await?;
        Ok(Self {
            kid: current.kid,
            encoding_key: EncodingKey::from_ed_der(&private),
            jwks,
            mac_key: mac.try_into().map_err(|_| AuthError::KeyUnusable)?,
            issuer,
            clock,
        })
    }

    /// The public keys, as `/.well-known/jwks.json` shows them.
    pub fn jwks(&self) -> &JwkSet {
        &self.jwks
    }

    /// Signs a token.
    pub fn mint(&self, grant: Grant<'_>) -> Result<Minted, AuthError> {
        let ttl_ms = match grant.kind {
            Kind::Applicant => APPLICANT_TOKEN_TTL_MS,
            Kind::Client | Kind::Reviewer | Kind::Service => CLIENT_TOKEN_TTL_MS,
        };
        let now_s = self.clock.now_ms() / 1_000;
        let session_left = grant.session_end.map_or(i64::MAX, |it| it - now_s);
        let expires_in = (ttl_ms / 1_000).min(session_left);
        let claims = Claims {
            sub: grant.subject.to_owned(),
            tenant: grant.tenant.to_owned(),
            scope: grant.scope.to_owned(),
            kind: grant.kind,
            workflow: grant.workflow.map(str::to_owned),
            device: grant.device,
            session_end: grant.session_end,
            exp: now_s + expires_in,
            iat: now_s,
            iss: self.issuer.clone(),
            aud: AUDIENCE.to_owned(),
            jti: random_hex(),
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.kid.clone());
        let token = jsonwebtoken::encode(&header, &claims, &self.encoding_key)
            .map_err(|_| AuthError::KeyUnusable)?;
        Ok(Minted { token, expires_in })
    }

    /// Signs an applicant's token for one workflow and a device of its own: a
    /// capture challenge is bound to the device that it was issued to. Starts a
    /// sitting, or goes on with one until `session_end`.
    pub fn mint_for_applicant(
        &self,
        to: &Destination,
        session_end: Option<i64>,
    ) -> Result<Minted, AuthError> {
        let new_end = || (self.clock.now_ms() + APPLICANT_SESSION_MAX_MS) / 1_000;
        let workflow = to.workflow.to_string();
        self.mint(Grant {
            subject: &format!("applicant:{workflow}"),
            tenant: &to.tenant,
            kind: Kind::Applicant,
            scope: &scope::OF_APPLICANTS.join(" "),
            workflow: Some(&workflow),
            device: Some(format!("dev_{}", random_hex())),
            session_end: Some(session_end.unwrap_or_else(new_end)),
        })
    }

    /// HMAC-SHA-256 of `parts` under the MAC key; each part is length-prefixed, so
    /// that no two lists of parts give the same input.
    pub fn mac(&self, purpose: &str, parts: &[&str]) -> [u8; 32] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.mac_key).expect("HMAC takes keys of any length");
        for part in std::iter::once(&purpose).chain(parts) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }
}

/// Makes a new signing key the one in use. It signs from the next start on; the
/// one before is published until no token of it can live.
pub async fn rotate(
    store: &Store,
    keys: &Arc<dyn Keys>,
    clock: &SharedClock,
) -> Result<(), AuthError> {
    let mut seed = [0; 32];
    rand::rng().fill_bytes(&mut seed);
    let signing_key = SigningKey::from_bytes(&seed);
    let private = signing_key
        .to_pkcs8_der()
        .map_err(|_| AuthError::KeyUnusable)?;
    let public = signing_key.verifying_key().to_bytes();
    put_key(
        store,
        keys,
        KeyPurpose::Sign,
        &public,
        private.as_bytes(),
        clock.now_ms(),
    )
    .await
}

/// 128 random bits in hex: ids, codes and links.
#[must_use]
pub fn random_hex() -> String {
    let mut bytes = [0; 16];
    rand::rng().fill_bytes(&mut bytes);
    hex::encode(bytes)
}

/// How a code or link of 128 random bits is kept: by its digest.
#[must_use]
pub fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

async fn put_key(
    store: &Store,
    keys: &Arc<dyn Keys>,
    purpose: KeyPurpose,
    public_key: &[u8],
    secret: &[u8],
    now_ms: i64,
) -> Result<(), AuthError> {
    let kid = random_hex();
    let data_key = DataKey::generate();
    let wrapped_key = keys.wrap(KEYRING_OWNER, &data_key).await?;
    let sealed_key =
        Sealer::new(data_key, SEALING_KEY_ID).seal(&aad(&[KEYRING_OWNER, &kid]), secret);
    let row = KeyRow {
        kid,
        public_key: public_key.to_vec(),
        wrapped_key: wrapped_key.0,
        sealed_key,
        created_at: now_ms,
        retired_at: None,
    };
    store.put_key(purpose, &row).await?;
    Ok(())
}

async fn current_secret(
    store: &Store,
    keys: &Arc<dyn Keys>,
    purpose: KeyPurpose,
) -> Result<Vec<u8>, AuthError> {
    unseal(keys, &current(store.keys(purpose).await?)?).await
}

fn current(rows: Vec<KeyRow>) -> Result<KeyRow, AuthError> {
    rows.into_iter()
        .find(|it| it.retired_at.is_none())
        .ok_or(AuthError::KeyUnusable)
}

async fn unseal(keys: &Arc<dyn Keys>, row: &KeyRow) -> Result<Vec<u8>, AuthError> {
    let data_key = keys
        .unwrap(KEYRING_OWNER, &WrappedKey(row.wrapped_key.clone()))
        .await?;
    Sealer::new(data_key, SEALING_KEY_ID)
        .open(&aad(&[KEYRING_OWNER, &row.kid]), &row.sealed_key)
        .map_err(|_| AuthError::KeyUnusable)
}

fn jwks<'a>(rows: impl Iterator<Item = &'a KeyRow>) -> Result<JwkSet, AuthError> {
    let keys: Vec<_> = rows
        .map(|row| {
            serde_json::json!({
                "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
                "kid": row.kid, "x": BASE64_URL_SAFE_NO_PAD.encode(&row.public_key),
            })
        })
        .collect();
    serde_json::from_value(serde_json::json!({ "keys": keys })).map_err(|_| AuthError::KeyUnusable)
}
