//! JSON documents of workflows: what a step keeps beside its output.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use btrust_schemas::ids::WorkflowId;
use serde_json::Value;
use sqlx::SqlitePool;

use crate::keys::KeyError;
use crate::sealing::{Sealer, aad};
use crate::sqlite::{self, DbError, STEPS_MIGRATIONS};
use crate::workflow_keys::WorkflowKeys;

/// Documents by tenant, workflow and kind, sealed with the workflow's key.
#[async_trait]
pub trait Documents: Send + Sync {
    /// Writes a document over whatever was there.
    ///
    /// # Errors
    ///
    /// [`DocumentError::Erased`] without a key, [`DocumentError::Unavailable`].
    async fn put(
        &self,
        tenant: &str,
        workflow: WorkflowId,
        kind: &str,
        document: &Value,
    ) -> Result<(), DocumentError>;

    /// Reads a document; `None` if there is none, or if the workflow was erased.
    ///
    /// # Errors
    ///
    /// [`DocumentError::Corrupt`] for bytes that were not written by us for this
    /// place, [`DocumentError::Unavailable`].
    async fn get(
        &self,
        tenant: &str,
        workflow: WorkflowId,
        kind: &str,
    ) -> Result<Option<Value>, DocumentError>;
}

/// Why a document was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The workflow's key was destroyed, or never made.
    #[error("the workflow has no key: it was erased or never started")]
    Erased,
    #[error("the stored document is not the one that was stored")]
    Corrupt(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The same call may succeed later.
    #[error("the document store does not answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<KeyError> for DocumentError {
    fn from(error: KeyError) -> Self {
        Self::Unavailable(error.into())
    }
}

impl From<sqlx::Error> for DocumentError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(error.into())
    }
}

/// Sealed documents in an SQLite file.
pub struct SqliteDocuments {
    pool: SqlitePool,
    workflow_keys: Arc<dyn WorkflowKeys>,
}

impl SqliteDocuments {
    /// Opens the file, and creates it if it is not there.
    ///
    /// # Errors
    ///
    /// [`DbError`] as [`sqlite::open`] says.
    pub async fn open(
        steps_db: &Path,
        workflow_keys: Arc<dyn WorkflowKeys>,
    ) -> Result<Self, DbError> {
        Ok(Self::new(
            sqlite::open(steps_db, &STEPS_MIGRATIONS).await?,
            workflow_keys,
        ))
    }

    /// Documents in a file that is open already.
    #[must_use]
    pub fn new(pool: SqlitePool, workflow_keys: Arc<dyn WorkflowKeys>) -> Self {
        Self {
            pool,
            workflow_keys,
        }
    }

    async fn sealer(
        &self,
        tenant: &str,
        workflow: WorkflowId,
    ) -> Result<Option<Arc<Sealer>>, DocumentError> {
        Ok(self.workflow_keys.sealer(tenant, workflow).await?)
    }
}

#[async_trait]
impl Documents for SqliteDocuments {
    async fn put(
        &self,
        tenant: &str,
        workflow: WorkflowId,
        kind: &str,
        document: &Value,
    ) -> Result<(), DocumentError> {
        let sealer = self
            .sealer(tenant, workflow)
            .await?
            .ok_or(DocumentError::Erased)?;
        let workflow = workflow.to_string();
        let plain = serde_json::to_vec(document).expect("a JSON value can be written");
        let ciphertext = sealer.seal(&aad(&["document", tenant, &workflow, kind]), &plain);
        sqlx::query(
            "INSERT INTO document (tenant, workflow, kind, sealed) VALUES (?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET sealed = excluded.sealed",
        )
        .bind(tenant)
        .bind(workflow)
        .bind(kind)
        .bind(ciphertext)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    async fn get(
        &self,
        tenant: &str,
        workflow: WorkflowId,
        kind: &str,
    ) -> Result<Option<Value>, DocumentError> {
        let Some(sealer) = self.sealer(tenant, workflow).await? else {
            return Ok(None);
        };
        let workflow = workflow.to_string();
        let row: Option<(Vec<u8>,)> = sqlx::query_as(
            "SELECT sealed FROM document WHERE tenant = ? AND workflow = ? AND kind = ?",
        )
        .bind(tenant)
        .bind(&workflow)
        .bind(kind)
        .fetch_optional(&self.pool)
        .await?;
        let Some((ciphertext,)) = row else {
            return Ok(None);
        };
        let plain = sealer
            .open(&aad(&["document", tenant, &workflow, kind]), &ciphertext)
            .map_err(|error| DocumentError::Corrupt(error.into()))?;
        let document =
            serde_json::from_slice(&plain).map_err(|error| DocumentError::Corrupt(error.into()))?;
        Ok(Some(document))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;
    use crate::keys::LocalKeyring;
    use crate::workflow_keys::SqliteWorkflowKeys;

    /// Documents whose workflows of partition 1 have keys for the tenants `a` and `b`.
    pub(crate) async fn open(dir: &Path) -> (SqliteDocuments, Arc<SqliteWorkflowKeys>) {
        let keyring = LocalKeyring::open(&dir.join("keyring.json")).unwrap();
        let workflow_keys = SqliteWorkflowKeys::open(&dir.join("keys.sqlite"), Arc::new(keyring))
            .await
            .unwrap();
        let workflow_keys = Arc::new(workflow_keys);
        let steps_db = dir.join("steps.sqlite");
        (
            SqliteDocuments::open(&steps_db, workflow_keys.clone())
                .await
                .unwrap(),
            workflow_keys,
        )
    }

    #[tokio::test]
    async fn the_sqlite_documents_conform() {
        let dir = tempfile::tempdir().unwrap();
        let (documents, workflow_keys) = open(dir.path()).await;
        crate::conformance::documents(&documents, workflow_keys.as_ref()).await;
    }

    #[tokio::test]
    async fn a_document_is_sealed_and_cannot_be_moved() {
        let dir = tempfile::tempdir().unwrap();
        let (documents, workflow_keys) = open(dir.path()).await;
        let workflow = WorkflowId::new(1, [1; 15]);
        workflow_keys
            .create_many(&[("t".to_owned(), workflow)])
            .await
            .unwrap();
        documents
            .put("t", workflow, "a", &json!({ "name": "Erika" }))
            .await
            .unwrap();

        let (sealed,): (Vec<u8>,) = sqlx::query_as("SELECT sealed FROM document")
            .fetch_one(&documents.pool)
            .await
            .unwrap();
        assert!(!sealed.windows(5).any(|it| it == b"Erika"));

        sqlx::query("UPDATE document SET kind = 'b'")
            .execute(&documents.pool)
            .await
            .unwrap();
        let error = documents.get("t", workflow, "b").await.unwrap_err();
        assert!(matches!(error, DocumentError::Corrupt(_)), "{error:?}");
    }
}
