//! Definitions: their versions, compiled once and shared, and the life of each version.

mod acts;
mod recent;
mod second_person;
mod views;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use btrust_machine::Definition;
use btrust_platform::clock::SharedClock;
use btrust_schemas::definition::VersionStatus;

use crate::error::{EngineError, VersionRefusal};
use crate::retention::RetentionPolicies;
use crate::store::definitions::{DefinitionStore, VersionKey, VersionRecord};

pub use second_person::SecondPerson;

use recent::{Acting, Recent};

/// Compiled definitions kept; above it the cache starts anew.
///
/// Source: a tenant has tens of definitions, each of some 100 kB when compiled.
pub const COMPILED_MAX: usize = 1_000;

/// A version, ready to run.
#[derive(Clone)]
pub struct Published {
    pub version: u32,
    pub compiled: Arc<Definition>,
}

type Key = (String, String, u32);

pub struct Definitions {
    store: Arc<dyn DefinitionStore>,
    clock: SharedClock,
    second_person: SecondPerson,
    retention: RetentionPolicies,
    compiled: Mutex<HashMap<Key, Arc<Definition>>>,
    /// `None` where other nodes change versions too.
    recent: Option<Recent>,
}

impl Definitions {
    pub fn new(
        store: Arc<dyn DefinitionStore>,
        clock: SharedClock,
        second_person: SecondPerson,
        retention: RetentionPolicies,
        is_alone: bool,
    ) -> Self {
        Self {
            store,
            clock,
            second_person,
            retention,
            compiled: Mutex::default(),
            recent: is_alone.then(Recent::default),
        }
    }

    /// The version that a new workflow gets: the named one if it is published, the live one where none is named.
    ///
    /// # Errors
    ///
    /// [`EngineError::DefinitionUnknown`], and [`EngineError::Version`] for one that nothing starts on.
    pub async fn startable(
        &self,
        tenant: &str,
        name: &str,
        version: Option<u32>,
    ) -> Result<Published, EngineError> {
        let record = self.asked_for(tenant, name, version).await?;
        let number = number(&record);
        match record.status {
            _ if version.is_none() && !record.is_live => {
                return Err(VersionRefusal::NoneLive.into());
            }
            VersionStatus::Draft => {
                return Err(VersionRefusal::NotPublished { version: number }.into());
            }
            VersionStatus::Retired => {
                return Err(VersionRefusal::Retired { version: number }.into());
            }
            VersionStatus::Published => {}
        }
        let compiled = self.compiled(tenant, name, number).await?;
        Ok(Published {
            version: number,
            compiled,
        })
    }

    /// The record that a start asks for, which may be some moments old where nobody else can change it.
    async fn asked_for(
        &self,
        tenant: &str,
        name: &str,
        version: Option<u32>,
    ) -> Result<VersionRecord, EngineError> {
        let Some(recent) = &self.recent else {
            return self.record(tenant, name, version).await;
        };
        let asked = (tenant.to_owned(), name.to_owned(), version);
        let now_ms = self.clock.now_ms();
        let (known, n_acts) = recent.get(&asked, now_ms);
        if let Some(record) = known {
            return Ok(record);
        }
        let record = self.record(tenant, name, version).await?;
        if record.status == VersionStatus::Published {
            recent.put(asked, record.clone(), n_acts, now_ms);
        }
        Ok(record)
    }

    /// Held by whoever changes a version.
    fn acting(&self) -> Option<Acting<'_>> {
        self.recent.as_ref().map(Recent::acting)
    }

    /// A version ready to run, whatever its status: what has started on it goes on.
    ///
    /// # Errors
    ///
    /// [`EngineError::DefinitionUnknown`].
    pub async fn compiled(
        &self,
        tenant: &str,
        name: &str,
        version: u32,
    ) -> Result<Arc<Definition>, EngineError> {
        let key = (tenant.to_owned(), name.to_owned(), version);
        let known = self.cache().get(&key).map(Arc::clone);
        if let Some(compiled) = known {
            return Ok(compiled);
        }
        let envelope = self.envelope(tenant, name, version).await?;
        let compiled = Definition::parse(&envelope).map_err(|_| broken(name, version))?;
        let compiled = Arc::new(compiled);
        let mut cache = self.cache();
        if COMPILED_MAX <= cache.len() {
            cache.clear();
        }
        cache.insert(key, Arc::clone(&compiled));
        Ok(compiled)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<Definition>>> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn envelope(&self, tenant: &str, name: &str, version: u32) -> Result<Value, EngineError> {
        let key = VersionKey {
            tenant,
            name,
            version: i64::from(version),
        };
        let text = self.store.envelope(key).await?;
        let text = text.ok_or_else(|| EngineError::DefinitionUnknown {
            name: name.to_owned(),
            version: Some(version),
        })?;
        serde_json::from_str(&text).map_err(|_| broken(name, version))
    }

    /// One version; where none is named, the live one, or the newest where none is live.
    async fn record(
        &self,
        tenant: &str,
        name: &str,
        version: Option<u32>,
    ) -> Result<VersionRecord, EngineError> {
        let record = self
            .store
            .version(tenant, name, version.map(i64::from))
            .await?;
        record.ok_or_else(|| EngineError::DefinitionUnknown {
            name: name.to_owned(),
            version,
        })
    }
}

fn number(record: &VersionRecord) -> u32 {
    u32::try_from(record.version).unwrap_or(u32::MAX)
}

/// A stored definition that this program cannot read: it was written by a newer one.
fn broken(name: &str, version: u32) -> EngineError {
    tracing::error!(
        definition.name = name,
        definition.version = version,
        "cannot read a definition"
    );
    EngineError::Incident {
        code: "definition_unreadable".to_owned(),
    }
}
