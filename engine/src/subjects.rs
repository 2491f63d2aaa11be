//! The bank's own names for persons, kept only as digests under a key of the tenant.

use std::collections::HashMap;
use std::sync::Arc;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use tokio::sync::Mutex;

use btrust_platform::keys::{DataKey, Keys, WrappedKey};
use btrust_platform::random::{self, SharedRandom};
use btrust_platform::sealing::Sealer;

use crate::error::EngineError;
use crate::shared::unavailable;
use crate::store::tenants::TenantStore;

pub struct Subjects {
    store: Arc<dyn TenantStore>,
    keys: Arc<dyn Keys>,
    random: SharedRandom,
    /// One small key a tenant.
    opened: Mutex<HashMap<String, DataKey>>,
}

impl Subjects {
    pub fn new(store: Arc<dyn TenantStore>, keys: Arc<dyn Keys>, random: SharedRandom) -> Self {
        Self {
            store,
            keys,
            random,
            opened: Mutex::default(),
        }
    }

    /// The digest of a reference, hex; equal for equal references of one tenant, and nowhere else.
    pub async fn digest(&self, tenant: &str, reference: &str) -> Result<String, EngineError> {
        let key = self.key(tenant).await?;
        let mut mac =
            Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes a key of any length");
        mac.update(b"subject\0");
        mac.update(reference.as_bytes());
        Ok(hex::encode(mac.finalize().into_bytes()))
    }

    /// What seals texts of a tenant that belong to no workflow, such as the inputs of its schedules.
    pub async fn sealer(&self, tenant: &str, purpose: &str) -> Result<Sealer, EngineError> {
        Ok(sealer(&self.key(tenant).await?, purpose))
    }

    /// The same, for a tenant that may not be there: nothing is minted.
    pub async fn find_sealer(
        &self,
        tenant: &str,
        purpose: &str,
    ) -> Result<Option<Sealer>, EngineError> {
        let is_opened = self.opened.lock().await.contains_key(tenant);
        if !is_opened && self.store.find_digest_key(tenant).await?.is_none() {
            return Ok(None);
        }
        self.sealer(tenant, purpose).await.map(Some)
    }

    async fn key(&self, tenant: &str) -> Result<DataKey, EngineError> {
        let mut opened = self.opened.lock().await;
        if !opened.contains_key(tenant) {
            opened.insert(tenant.to_owned(), self.open(tenant).await?);
        }
        Ok(opened[tenant].clone())
    }

    /// The tenant's digest key, minted at its first use.
    async fn open(&self, tenant: &str) -> Result<DataKey, EngineError> {
        let wrapped = if let Some(wrapped) = self.store.find_digest_key(tenant).await? {
            wrapped
        } else {
            let key = DataKey::from_bytes(random::bytes(&*self.random));
            let minted = self.keys.wrap(tenant, &key).await.map_err(unavailable)?;
            self.store.digest_key(tenant, &minted.0).await?
        };
        self.keys
            .unwrap(tenant, &WrappedKey(wrapped))
            .await
            .map_err(unavailable)
    }
}

fn sealer(key: &DataKey, purpose: &str) -> Sealer {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes a key of any length");
    mac.update(b"sealer\0");
    mac.update(purpose.as_bytes());
    let derived = DataKey::from_bytes(mac.finalize().into_bytes().into());
    // There is one of its kind; a store of several would number them here.
    Sealer::new(derived, [0; 8])
}
