//! What tenants have acknowledged; steps hear of it with every turn.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use btrust_platform::clock::{SharedClock, rfc3339};
use btrust_schemas::core::{ACKNOWLEDGEMENT_KINDS, Acknowledgement};

use crate::error::EngineError;
use crate::store::tenants::{AcknowledgementRecord, TenantStore};

/// How often the statements are read again: another node may have taken one.
///
/// Source: a statement is made once in the life of a tenant, and its steps may hear of it this much later.
pub const REFRESH: Duration = Duration::from_secs(10);

pub struct Acknowledgements {
    store: Arc<dyn TenantStore>,
    clock: SharedClock,
    by_tenant: RwLock<HashMap<String, Vec<AcknowledgementRecord>>>,
}

impl Acknowledgements {
    /// Reads what every tenant has said so far.
    pub async fn load(
        store: Arc<dyn TenantStore>,
        clock: SharedClock,
    ) -> Result<Self, EngineError> {
        let it = Self {
            store,
            clock,
            by_tenant: RwLock::default(),
        };
        it.reload().await?;
        Ok(it)
    }

    /// Records a statement; the first one of a kind stays.
    ///
    /// # Errors
    ///
    /// `acknowledgement_unknown` for a kind that there is not.
    pub async fn put(
        &self,
        tenant: &str,
        kind: &str,
        statement: &str,
        by: &str,
    ) -> Result<Acknowledgement, EngineError> {
        if !ACKNOWLEDGEMENT_KINDS.contains(&kind) {
            let detail = format!("the kinds are {}", ACKNOWLEDGEMENT_KINDS.join(", "));
            return Err(EngineError::Invalid {
                code: "acknowledgement_unknown",
                detail,
            });
        }
        let record = AcknowledgementRecord {
            tenant: tenant.to_owned(),
            kind: kind.to_owned(),
            statement: statement.to_owned(),
            by: by.to_owned(),
            at_ms: self.clock.now_ms(),
        };
        self.store.acknowledge(&record).await?;
        self.reload().await?;
        tracing::info!(tenant, kind, by, "a tenant has acknowledged a limit");
        let kept = self.of(tenant).into_iter().find(|it| it.kind == kind);
        kept.ok_or(EngineError::Unavailable)
    }

    /// Everything that a tenant has acknowledged on any node.
    pub async fn current(&self, tenant: &str) -> Result<Vec<Acknowledgement>, EngineError> {
        self.reload().await?;
        Ok(self.of(tenant))
    }

    /// Everything that a tenant has acknowledged, as this node knows it.
    fn of(&self, tenant: &str) -> Vec<Acknowledgement> {
        let by_tenant = self
            .by_tenant
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let records = by_tenant.get(tenant).map(Vec::as_slice).unwrap_or_default();
        let view = |it: &AcknowledgementRecord| Acknowledgement {
            kind: it.kind.clone(),
            statement: it.statement.clone(),
            by: it.by.clone(),
            at: rfc3339(it.at_ms),
        };
        records.iter().map(view).collect()
    }

    /// The kinds alone, as turns carry them.
    pub fn kinds(&self, tenant: &str) -> Vec<String> {
        let by_tenant = self
            .by_tenant
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        by_tenant
            .get(tenant)
            .into_iter()
            .flatten()
            .map(|it| it.kind.clone())
            .collect()
    }

    /// Reads what every tenant has said, whichever node has taken it.
    pub async fn reload(&self) -> Result<(), EngineError> {
        let mut by_tenant: HashMap<String, Vec<_>> = HashMap::new();
        for record in self.store.acknowledgements().await? {
            by_tenant
                .entry(record.tenant.clone())
                .or_default()
                .push(record);
        }
        *self
            .by_tenant
            .write()
            .unwrap_or_else(PoisonError::into_inner) = by_tenant;
        Ok(())
    }
}
