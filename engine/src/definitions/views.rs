//! What anybody of a tenant may see of its definitions.

use btrust_platform::clock::rfc3339;
use btrust_schemas::definition::{DefinitionView, LiveView, VERSIONS_LISTED_MAX, VersionsView};

use super::{Definitions, number};
use crate::error::{EngineError, VersionRefusal};
use crate::store::definitions::{LiveRecord, VersionRecord};

impl Definitions {
    /// One version with its envelope; where none is named, the live one, or the newest where none is live.
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
        let record = self.record(tenant, name, version).await?;
        let envelope = self.envelope(tenant, name, number(&record)).await?;
        Ok(DefinitionView {
            envelope: Some(envelope),
            ..view(&record)
        })
    }

    /// What [`Definitions::view`] finds for every name of a tenant, without envelopes.
    pub async fn list(&self, tenant: &str) -> Result<Vec<DefinitionView>, EngineError> {
        let records = self.store.all_definitions(tenant).await?;
        Ok(records.iter().map(view).collect())
    }

    /// The versions of a definition, without envelopes, and the moves of its alias.
    ///
    /// # Errors
    ///
    /// [`EngineError::DefinitionUnknown`].
    pub async fn versions(&self, tenant: &str, name: &str) -> Result<VersionsView, EngineError> {
        let limit = VERSIONS_LISTED_MAX;
        let versions = self.store.versions(tenant, name, limit).await?;
        if versions.is_empty() {
            return Err(EngineError::DefinitionUnknown {
                name: name.to_owned(),
                version: None,
            });
        }
        let moves = self.store.live_moves(tenant, name, limit).await?;
        Ok(VersionsView {
            versions: versions.iter().map(view).collect(),
            moves: moves.iter().map(live_view).collect(),
        })
    }

    /// The version that new workflows get, and how often the alias has moved.
    ///
    /// # Errors
    ///
    /// [`EngineError::DefinitionUnknown`], and [`VersionRefusal::NoneLive`].
    pub async fn live(&self, tenant: &str, name: &str) -> Result<LiveView, EngineError> {
        if let Some(live) = self.live_now(tenant, name).await? {
            return Ok(live_view(&live));
        }
        self.record(tenant, name, None).await?;
        Err(VersionRefusal::NoneLive.into())
    }

    pub(super) async fn live_now(
        &self,
        tenant: &str,
        name: &str,
    ) -> Result<Option<LiveRecord>, EngineError> {
        Ok(self.store.live_moves(tenant, name, 1).await?.pop())
    }
}

pub(super) fn view(record: &VersionRecord) -> DefinitionView {
    DefinitionView {
        name: record.name.clone(),
        version: number(record),
        title: record.title.clone(),
        digest: record.digest.clone(),
        status: record.status,
        author: record.created_by.clone(),
        created_at: rfc3339(record.created_ms),
        publisher: record.published_by.clone(),
        published_at: record.published_ms.map(rfc3339),
        retired_by: record.retired_by.clone(),
        retired_at: record.retired_ms.map(rfc3339),
        live: record.is_live,
        envelope: None,
    }
}

pub(super) fn live_view(record: &LiveRecord) -> LiveView {
    LiveView {
        version: u32::try_from(record.version).unwrap_or(u32::MAX),
        revision: u64::try_from(record.revision).unwrap_or_default(),
        moved_by: record.moved_by.clone(),
        moved_at: rfc3339(record.moved_ms),
    }
}
