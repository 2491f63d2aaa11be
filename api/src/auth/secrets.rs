//! Client secrets: how they are made, kept and checked.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use argon2::{
    Argon2, PasswordHash, PasswordHasher as _, PasswordVerifier as _,
    password_hash::{SaltString, rand_core::OsRng},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use rand::Rng as _;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use btrust_platform::config::Secret;

use super::CLIENT_TOKEN_TTL_MS;
use crate::brake::{Brake, BrakeError};

/// Random bits of a generated secret: beyond any guessing, whatever the hash.
const SECRET_BITS: usize = 256;

/// How many argon2 computations run at once. Each takes 19 MiB and some 20 ms of
/// a core, so that a flood of wrong secrets costs at most this.
const HASHES_AT_ONCE_MAX: usize = 2;

/// How many callers may have a computation or wait for it; more are told to come later.
const HASHES_PLACES: usize = 64;

/// How long a secret that was checked or used is known by a cheap digest, in
/// milliseconds: longer than a token lives, so that the renewals of a service need
/// no argon2 and pass a flood of wrong secrets. A withdrawn secret is refused at once all the same: the digest
/// is only good for the very hash that it was checked against.
const CHECKED_FOR_MS: i64 = 4 * CLIENT_TOKEN_TTL_MS;

/// How many checked secrets are known at once.
const CHECKED_MAX: usize = 10_000;

/// A new secret from the system's random source, in base64url.
#[must_use]
pub fn generate_secret() -> Secret {
    let mut bytes = [0; SECRET_BITS / 8];
    rand::rng().fill_bytes(&mut bytes);
    Secret::new(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// Why a secret could not be judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SecretError {
    /// Too many callers wait already; the same call may succeed later.
    #[error("too many secrets are being checked")]
    Busy,
    /// The stored hash is not an argon2 hash, or the computation failed.
    #[error("the stored hash cannot be used")]
    Unusable,
}

/// Checks secrets against their argon2id hashes, with bounded work.
pub struct SecretCheck {
    /// Keys the digests in `checked`; drawn anew by every process.
    digest_key: [u8; 32],
    checked: Mutex<HashMap<String, Checked>>,
    brake: Brake,
    /// What the secret of an unknown client is checked against, so that it takes
    /// as long as a wrong one.
    decoy_hash: String,
}

struct Checked {
    digest: [u8; 32],
    secret_hash: String,
    until_ms: i64,
}

impl SecretCheck {
    /// # Errors
    ///
    /// [`SecretError`] if nothing can be hashed here.
    pub async fn new() -> Result<Self, SecretError> {
        let mut digest_key = [0; 32];
        rand::rng().fill_bytes(&mut digest_key);
        let mut check = Self {
            digest_key,
            checked: Mutex::default(),
            brake: Brake::new(HASHES_AT_ONCE_MAX, HASHES_PLACES),
            decoy_hash: String::new(),
        };
        check.decoy_hash = check.hash(&generate_secret()).await?;
        Ok(check)
    }

    /// Hashes a secret for the store.
    ///
    /// # Errors
    ///
    /// [`SecretError`]
    pub async fn hash(&self, secret: &Secret) -> Result<String, SecretError> {
        let secret = secret.clone();
        self.bounded(move || {
            let salt = SaltString::generate(&mut OsRng);
            let hash = Argon2::default().hash_password(secret.expose().as_bytes(), &salt);
            hash.map(|it| it.to_string())
                .map_err(|_| SecretError::Unusable)
        })
        .await
    }

    /// Whether `secret` is the one behind `secret_hash`. `None` is an unknown
    /// client: the answer is no, and takes as long.
    ///
    /// # Errors
    ///
    /// [`SecretError`]
    pub async fn verify(
        &self,
        client: &str,
        secret_hash: Option<&str>,
        secret: &Secret,
        now_ms: i64,
    ) -> Result<bool, SecretError> {
        let is_known = secret_hash.is_some();
        let hash = secret_hash.unwrap_or(&self.decoy_hash).to_owned();
        if self.is_checked(client, secret_hash, secret, now_ms) {
            return Ok(true);
        }
        let digest = self.digest(secret);
        let (candidate, stored) = (secret.clone(), hash.clone());
        let is_right = self
            .bounded(move || {
                let parsed = PasswordHash::new(&stored).map_err(|_| SecretError::Unusable)?;
                let verdict =
                    Argon2::default().verify_password(candidate.expose().as_bytes(), &parsed);
                Ok(verdict.is_ok())
            })
            .await?;
        if is_right && is_known {
            self.remember(client, hash, digest, now_ms);
        }
        Ok(is_right && is_known)
    }

    /// Notes that `secret` is the one behind `secret_hash`: it was hashed just now.
    pub fn trust(&self, client: &str, secret_hash: &str, secret: &Secret, now_ms: i64) {
        self.remember(client, secret_hash.to_owned(), self.digest(secret), now_ms);
    }

    fn digest(&self, secret: &Secret) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.digest_key)
            .expect("HMAC takes keys of any length");
        mac.update(secret.expose().as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// Whether `secret` was checked against this very hash before: no argon2 is
    /// needed. It is known for longer then.
    pub fn is_checked(
        &self,
        client: &str,
        secret_hash: Option<&str>,
        secret: &Secret,
        now_ms: i64,
    ) -> bool {
        let digest = self.digest(secret);
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(it) = checked.get_mut(client) else {
            return false;
        };
        let is_it = now_ms < it.until_ms
            && secret_hash == Some(it.secret_hash.as_str())
            && bool::from(it.digest.ct_eq(&digest));
        if is_it {
            it.until_ms = now_ms + CHECKED_FOR_MS;
        }
        is_it
    }

    fn remember(&self, client: &str, secret_hash: String, digest: [u8; 32], now_ms: i64) {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if CHECKED_MAX <= checked.len() {
            checked.retain(|_, it| now_ms < it.until_ms);
        }
        if CHECKED_MAX <= checked.len() {
            checked.clear();
        }
        let until_ms = now_ms + CHECKED_FOR_MS;
        checked.insert(
            client.to_owned(),
            Checked {
                digest,
                secret_hash,
                until_ms,
            },
        );
    }

    /// Runs a computation on a blocking thread, few at a time.
    async fn bounded<T: Send + 'static>(
        &self,
        compute: impl FnOnce() -> Result<T, SecretError> + Send + 'static,
    ) -> Result<T, SecretError> {
        self.brake.run(compute).await.map_err(|error| match error {
            BrakeError::Busy => SecretError::Busy,
            BrakeError::Lost => SecretError::Unusable,
        })?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_secret_of_a_known_client_is_accepted() {
        let check = SecretCheck::new().await.unwrap();
        let (right, wrong) = (generate_secret(), generate_secret());
        let hash = check.hash(&right).await.unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");

        assert!(check.verify("a", Some(&hash), &right, 0).await.unwrap());
        assert!(!check.verify("a", Some(&hash), &wrong, 0).await.unwrap());
        assert!(!check.verify("a", None, &right, 0).await.unwrap());
    }

    #[tokio::test]
    async fn a_checked_secret_is_known_without_argon2_until_its_hash_changes() {
        let check = SecretCheck::new().await.unwrap();
        let secret = generate_secret();
        let hash = check.hash(&secret).await.unwrap();
        check.trust("a", &hash, &secret, 0);

        let other_hash = check.hash(&generate_secret()).await.unwrap();
        assert!(
            !check
                .verify("a", Some(&other_hash), &secret, 1)
                .await
                .unwrap()
        );

        // From here on nothing can be computed.
        check.brake.close();
        assert!(check.verify("a", Some(&hash), &secret, 1).await.unwrap());
        // Every use makes it known for longer.
        for renewal in 1..=10 {
            let now_ms = renewal * CLIENT_TOKEN_TTL_MS;
            let verdict = check.verify("a", Some(&hash), &secret, now_ms).await;
            assert_eq!(verdict, Ok(true));
        }
        let later = 10 * CLIENT_TOKEN_TTL_MS + CHECKED_FOR_MS;
        let later = check.verify("a", Some(&hash), &secret, later).await;
        assert_eq!(later, Err(SecretError::Busy));
    }
}
