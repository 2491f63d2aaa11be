//! Published definitions, compiled once and shared.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use btrust_machine::Definition;
use btrust_platform::clock::{SharedClock, rfc3339};
use btrust_schemas::core::{DefinitionView, PublishRequest, PublishResponse};

use crate::error::EngineError;
use crate::store::tenants::{DefinitionRecord, DefinitionStore, NewDefinition};

/// Compiled definitions kept; above it the cache starts anew.
///
/// Source: a tenant has tens of definitions, each of some 100 kB when compiled.
pub const COMPILED_MAX: usize = 1_000;

/// A published version, ready to run.
#[derive(Clone)]
pub struct Published {
    pub version: u32,
    pub compiled: Arc<Definition>,
}

type Key = (String, String, u32);

pub struct Definitions {
    store: Arc<dyn DefinitionStore>,
    clock: SharedClock,
    compiled: Mutex<HashMap<Key, Arc<Definition>>>,
}

impl Definitions {
    pub fn new(store: Arc<dyn DefinitionStore>, clock: SharedClock) -> Self {
        Self {
            store,
            clock,
            compiled: Mutex::default(),
        }
    }

    /// Stores the next version of a definition, or finds the version with the same digest.
    ///
    /// # Errors
    ///
    /// `definition_refused` for an envelope that does not parse: the gateway checks before it asks.
    pub async fn publish(&self, request: PublishRequest) -> Result<PublishResponse, EngineError> {
        let compiled =
            Definition::parse(&request.envelope).map_err(|findings| EngineError::Invalid {
                code: "definition_refused",
                detail: format!("the envelope has {} faults", findings.len()),
            })?;
        if compiled.name() != request.name {
            let detail = "the envelope names another definition".to_owned();
            return Err(EngineError::Invalid {
                code: "definition_refused",
                detail,
            });
        }
        let new = NewDefinition {
            tenant: request.tenant,
            name: request.name,
            digest: request.digest,
            envelope: request.envelope.to_string(),
            published_ms: self.clock.now_ms(),
        };
        let (record, created) = self.store.publish(&new).await?;
        if created {
            tracing::info!(
                definition.name = record.name,
                definition.version = record.version,
                actor = request.actor,
                "published a definition"
            );
        }
        Ok(PublishResponse {
            created,
            definition: view(&record, true)?,
        })
    }

    /// A version ready to run, the live one where none is named.
    ///
    /// # Errors
    ///
    /// [`EngineError::DefinitionUnknown`].
    pub async fn get(
        &self,
        tenant: &str,
        name: &str,
        version: Option<u32>,
    ) -> Result<Published, EngineError> {
        if let Some(version) = version {
            let key = (tenant.to_owned(), name.to_owned(), version);
            let compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(compiled) = compiled.get(&key) {
                return Ok(Published {
                    version,
                    compiled: Arc::clone(compiled),
                });
            }
        }
        let record = self.record(tenant, name, version).await?;
        let version = u32::try_from(record.version).unwrap_or(u32::MAX);
        let key = (tenant.to_owned(), name.to_owned(), version);
        if let Some(compiled) = self
            .compiled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
        {
            return Ok(Published {
                version,
                compiled: Arc::clone(compiled),
            });
        }
        let envelope: Value = parse(&record)?;
        let compiled = Definition::parse(&envelope).map_err(|_| broken(&record))?;
        let compiled = Arc::new(compiled);
        let mut cache = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if COMPILED_MAX <= cache.len() {
            cache.clear();
        }
        cache.insert(key, Arc::clone(&compiled));
        Ok(Published { version, compiled })
    }

    /// What anybody of the tenant may see of a version.
    ///
    /// # Errors
    ///
    /// [`EngineError::DefinitionUnknown`].
    pub async fn view(
        &self,
        tenant: &str,
        name: &str,
        version: Option<u32>,
    ) -> Result<DefinitionView, EngineError> {
        view(&self.record(tenant, name, version).await?, true)
    }

    /// The live version of every definition of a tenant, without envelopes.
    pub async fn list(&self, tenant: &str) -> Result<Vec<DefinitionView>, EngineError> {
        let records = self.store.live_definitions(tenant).await?;
        records.iter().map(|it| view(it, false)).collect()
    }

    async fn record(
        &self,
        tenant: &str,
        name: &str,
        version: Option<u32>,
    ) -> Result<DefinitionRecord, EngineError> {
        let record = self
            .store
            .definition(tenant, name, version.map(i64::from))
            .await?;
        record.ok_or_else(|| EngineError::DefinitionUnknown {
            name: name.to_owned(),
            version,
        })
    }
}

fn view(record: &DefinitionRecord, with_envelope: bool) -> Result<DefinitionView, EngineError> {
    let envelope = parse(record)?;
    let title = envelope["title"]
        .as_str()
        .unwrap_or(&record.name)
        .to_owned();
    Ok(DefinitionView {
        name: record.name.clone(),
        version: u32::try_from(record.version).unwrap_or(u32::MAX),
        title,
        digest: record.digest.clone(),
        published_at: rfc3339(record.published_ms),
        live: record.is_live,
        envelope: with_envelope.then_some(envelope),
    })
}

fn parse(record: &DefinitionRecord) -> Result<Value, EngineError> {
    serde_json::from_str(&record.envelope).map_err(|_| broken(record))
}

/// A stored definition that this program cannot read: it was written by a newer one.
fn broken(record: &DefinitionRecord) -> EngineError {
    tracing::error!(
        definition.name = record.name,
        definition.version = record.version,
        "cannot read a definition"
    );
    EngineError::Incident {
        code: "definition_unreadable".to_owned(),
    }
}
