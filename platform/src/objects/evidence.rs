//! Evidence by reference: the object store together with the workflows' keys.

use std::sync::Arc;

use btrust_schemas::ids::{ObjectId, WorkflowId};
use btrust_schemas::object::ObjectRef;
use bytes::Bytes;
use rand::RngExt;
use sha2::{Digest, Sha256};

use super::{ByteStream, ObjectError, ObjectKey, Objects};
use crate::sealing::Sealer;
use crate::workflow_keys::WorkflowKeys;

/// Stores and reads the evidence of workflows.
#[derive(Clone)]
pub struct EvidenceStore {
    objects: Arc<dyn Objects>,
    workflow_keys: Arc<dyn WorkflowKeys>,
}

impl EvidenceStore {
    #[must_use]
    pub fn new(objects: Arc<dyn Objects>, workflow_keys: Arc<dyn WorkflowKeys>) -> Self {
        Self {
            objects,
            workflow_keys,
        }
    }

    /// Stores new evidence of a workflow and names it.
    ///
    /// # Errors
    ///
    /// [`ObjectError::Erased`] without a key, otherwise as [`Objects::put`].
    pub async fn put(
        &self,
        tenant: &str,
        workflow: WorkflowId,
        media_type: &str,
        bytes: ByteStream,
    ) -> Result<ObjectRef, ObjectError> {
        let object = ObjectId {
            workflow,
            random: rand::rng().random(),
        };
        self.put_as(tenant, object, media_type, bytes).await
    }

    /// Stores evidence under an id that the caller has chosen, in place of what is there.
    ///
    /// For an effect that may be repeated: the same id leaves one object.
    ///
    /// # Errors
    ///
    /// As [`Self::put`].
    pub async fn put_as(
        &self,
        tenant: &str,
        object: ObjectId,
        media_type: &str,
        bytes: ByteStream,
    ) -> Result<ObjectRef, ObjectError> {
        let workflow = object.workflow;
        let sealer = self.sealer(tenant, workflow).await?;
        let key = ObjectKey {
            tenant: tenant.to_owned(),
            workflow,
            object,
        };
        let stored = self.objects.put(&key, bytes, &sealer).await?;
        Ok(ObjectRef {
            object,
            sha256: stored.sha256,
            media_type: media_type.to_owned(),
            bytes: stored.bytes,
        })
    }

    /// The bytes that a reference names, checked against its digest.
    ///
    /// # Errors
    ///
    /// [`ObjectError::Missing`] also for a reference to another workflow's
    /// object; [`ObjectError::OtherContent`] when the digest differs.
    pub async fn get(
        &self,
        tenant: &str,
        workflow: WorkflowId,
        reference: &ObjectRef,
    ) -> Result<Bytes, ObjectError> {
        let bytes = self.get_object(tenant, workflow, reference.object).await?;
        let sha256 = hex::encode(Sha256::digest(&bytes));
        if bytes.len() as u64 != reference.bytes || sha256 != reference.sha256 {
            return Err(ObjectError::OtherContent);
        }
        Ok(bytes)
    }

    /// The bytes of an object, for a caller that has only its id.
    ///
    /// # Errors
    ///
    /// As [`Self::get`], without the digest.
    pub async fn get_object(
        &self,
        tenant: &str,
        workflow: WorkflowId,
        object: ObjectId,
    ) -> Result<Bytes, ObjectError> {
        if object.workflow != workflow {
            return Err(ObjectError::Missing);
        }
        let sealer = self.sealer(tenant, workflow).await?;
        let key = ObjectKey {
            tenant: tenant.to_owned(),
            workflow,
            object,
        };
        self.objects.get(&key, &sealer).await
    }

    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    ///
    /// [`ObjectError::Unavailable`].
    pub async fn delete(
        &self,
        tenant: &str,
        workflow: WorkflowId,
        object: ObjectId,
    ) -> Result<(), ObjectError> {
        let key = ObjectKey {
            tenant: tenant.to_owned(),
            workflow,
            object,
        };
        self.objects.delete(&key).await
    }

    async fn sealer(&self, tenant: &str, workflow: WorkflowId) -> Result<Arc<Sealer>, ObjectError> {
        self.workflow_keys
            .sealer(tenant, workflow)
            .await?
            .ok_or(ObjectError::Erased)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::LocalKeyring;
    use crate::objects::{FileObjects, byte_stream};
    use crate::workflow_keys::SqliteWorkflowKeys;

    struct World {
        evidence: EvidenceStore,
        workflow_keys: Arc<SqliteWorkflowKeys>,
        _dir: tempfile::TempDir,
    }

    async fn world() -> World {
        let dir = tempfile::tempdir().unwrap();
        let keyring = LocalKeyring::open(&dir.path().join("keyring.json")).unwrap();
        let keys_db = dir.path().join("keys.sqlite");
        let workflow_keys = Arc::new(
            SqliteWorkflowKeys::open(&keys_db, Arc::new(keyring))
                .await
                .unwrap(),
        );
        let owners = [("t".to_owned(), ours()), ("t".to_owned(), theirs())];
        workflow_keys.create_many(&owners).await.unwrap();
        let objects = Arc::new(FileObjects::new(dir.path().join("objects")));
        let evidence = EvidenceStore::new(objects, workflow_keys.clone());
        World {
            evidence,
            workflow_keys,
            _dir: dir,
        }
    }

    fn ours() -> WorkflowId {
        WorkflowId::new(1, [1; 15])
    }

    fn theirs() -> WorkflowId {
        WorkflowId::new(1, [2; 15])
    }

    #[tokio::test]
    async fn evidence_comes_back_by_its_reference() {
        let World { evidence, .. } = &world().await;
        let stored = evidence
            .put("t", ours(), "image/jpeg", byte_stream("abc"))
            .await
            .unwrap();
        assert_eq!(stored.bytes, 3);
        assert_eq!(stored.media_type, "image/jpeg");
        assert_eq!(
            stored.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(evidence.get("t", ours(), &stored).await.unwrap(), "abc");
    }

    #[tokio::test]
    async fn a_reference_opens_neither_another_workflow_nor_another_content() {
        let World { evidence, .. } = &world().await;
        let stored = evidence
            .put("t", ours(), "image/jpeg", byte_stream("abc"))
            .await
            .unwrap();

        let error = evidence.get("t", theirs(), &stored).await.unwrap_err();
        assert!(matches!(error, ObjectError::Missing), "{error:?}");
        let error = evidence.get("other", ours(), &stored).await.unwrap_err();
        assert!(matches!(error, ObjectError::Erased), "{error:?}");

        let lying = ObjectRef {
            sha256: "0".repeat(64),
            ..stored
        };
        let error = evidence.get("t", ours(), &lying).await.unwrap_err();
        assert!(matches!(error, ObjectError::OtherContent), "{error:?}");
    }

    #[tokio::test]
    async fn evidence_of_an_erased_workflow_is_gone() {
        let World {
            evidence,
            workflow_keys,
            ..
        } = &world().await;
        let stored = evidence
            .put("t", ours(), "image/jpeg", byte_stream("abc"))
            .await
            .unwrap();
        workflow_keys.destroy("t", ours()).await.unwrap();
        let error = evidence.get("t", ours(), &stored).await.unwrap_err();
        assert!(matches!(error, ObjectError::Erased), "{error:?}");
        let error = evidence
            .put("t", ours(), "image/jpeg", byte_stream("x"))
            .await
            .unwrap_err();
        assert!(matches!(error, ObjectError::Erased), "{error:?}");
    }
}
