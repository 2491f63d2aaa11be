//! Secrets of endpoints: made, sealed for the database, and opened to sign.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use btrust_platform::keys::{DataKey, KeyError, Keys, WrappedKey};
use btrust_platform::random::{self, SharedRandom};
use btrust_platform::sealing::{SealError, Sealer, aad};

use super::signature::SigningSecret;
use super::store::SecretRecord;

/// Id of the data key in a sealed secret, which has only one.
const SEALING_KEY_ID: [u8; 8] = *b"webhook1";
/// Opened secrets that are remembered, so that a call needs no key service.
const OPENED_MAX: usize = 1_000;

/// Why a secret could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("the key of a webhook's secret cannot be had")]
    Key(#[from] KeyError),
    /// Trying again will not help.
    #[error("a webhook's secret cannot be opened")]
    Sealed(#[from] SealError),
}

/// Seals and opens.
pub struct Secrets {
    keys: Arc<dyn Keys>,
    random: SharedRandom,
    /// By endpoint and number, which never mean another secret.
    opened: Mutex<HashMap<(String, i64), SigningSecret>>,
}

impl Secrets {
    #[must_use]
    pub fn new(keys: Arc<dyn Keys>, random: SharedRandom) -> Self {
        Self {
            keys,
            random,
            opened: Mutex::default(),
        }
    }

    /// A new secret for an endpoint, and its row.
    ///
    /// # Errors
    ///
    /// [`SecretError::Key`]
    pub async fn make(
        &self,
        tenant: &str,
        endpoint: &str,
        number: i64,
        now_ms: i64,
    ) -> Result<(SigningSecret, SecretRecord), SecretError> {
        let secret = SigningSecret::generate(&*self.random);
        let data_key = DataKey::from_bytes(random::bytes(&*self.random));
        let wrapped = self.keys.wrap(tenant, &data_key).await?;
        let sealer = Sealer::with_random(data_key, SEALING_KEY_ID, Arc::clone(&self.random));
        let record = SecretRecord {
            endpoint: endpoint.to_owned(),
            number,
            wrapped_key: wrapped.0,
            sealed: sealer.seal(&bound(tenant, endpoint, number), secret.expose()),
            created_ms: now_ms,
            expires_ms: None,
        };
        Ok((secret, record))
    }

    /// The secret of a row.
    ///
    /// # Errors
    ///
    /// [`SecretError`]
    pub async fn open(
        &self,
        tenant: &str,
        record: &SecretRecord,
    ) -> Result<SigningSecret, SecretError> {
        let name = (record.endpoint.clone(), record.number);
        if let Some(secret) = self.opened().get(&name) {
            return Ok(secret.clone());
        }
        let wrapped = WrappedKey(record.wrapped_key.clone());
        let data_key = self.keys.unwrap(tenant, &wrapped).await?;
        let bound = bound(tenant, &record.endpoint, record.number);
        let opened = Sealer::new(data_key, SEALING_KEY_ID).open(&bound, &record.sealed)?;
        let secret = SigningSecret::from_bytes(opened);
        let mut all = self.opened();
        if OPENED_MAX <= all.len() {
            all.clear();
        }
        all.insert(name, secret.clone());
        Ok(secret)
    }

    fn opened(&self) -> std::sync::MutexGuard<'_, HashMap<(String, i64), SigningSecret>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bound(tenant: &str, endpoint: &str, number: i64) -> Vec<u8> {
    aad(&["webhook secret", tenant, endpoint, &number.to_string()])
}

#[cfg(test)]
mod tests {
    use btrust_platform::keys::LocalKeyring;
    use btrust_platform::random::SystemRandom;

    use super::*;

    #[tokio::test]
    async fn a_secret_opens_for_its_tenant_its_endpoint_and_its_number_only() {
        let folder = tempfile::tempdir().unwrap();
        let keyring = LocalKeyring::open(&folder.path().join("keyring.json")).unwrap();
        let keys: Arc<dyn Keys> = Arc::new(keyring);
        let secrets = || Secrets::new(Arc::clone(&keys), SystemRandom::shared());
        let (secret, record) = secrets().make("bank", "whe_1", 2, 0).await.unwrap();
        assert!(
            !record
                .sealed
                .windows(8)
                .any(|it| it == &secret.expose()[..8])
        );
        let opened = secrets().open("bank", &record).await.unwrap();
        assert_eq!(opened.expose(), secret.expose());

        let moved = SecretRecord {
            endpoint: "whe_2".to_owned(),
            ..record.clone()
        };
        let renumbered = SecretRecord {
            number: 3,
            ..record.clone()
        };
        for (tenant, record) in [("other", &record), ("bank", &moved), ("bank", &renumbered)] {
            assert!(secrets().open(tenant, record).await.is_err());
        }
    }
}
