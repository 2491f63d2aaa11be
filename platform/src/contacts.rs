//! The contact that a person has proven to hold, to which a resume code may go.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use btrust_schemas::ids::WorkflowId;
use serde::{Deserialize, Serialize};

use crate::documents::{DocumentError, Documents, SqliteDocuments};
use crate::messages::Channel;
use crate::sqlite::DbError;
use crate::workflow_keys::WorkflowKeys;

/// A telephone number or an e-mail address; its address never prints.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contact {
    pub channel: Channel,
    pub address: String,
}

impl fmt::Debug for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Contact({:?}, ***)", self.channel)
    }
}

/// One verified contact a workflow, sealed with the workflow's key.
#[async_trait]
pub trait VerifiedContacts: Send + Sync {
    /// Remembers the contact that was verified last.
    ///
    /// # Errors
    ///
    /// As [`Documents::put`].
    async fn put(
        &self,
        tenant: &str,
        workflow: WorkflowId,
        contact: Contact,
    ) -> Result<(), DocumentError>;

    /// The contact that was verified last; `None` if there is none, or if the workflow was erased.
    ///
    /// # Errors
    ///
    /// As [`Documents::get`].
    async fn get(
        &self,
        tenant: &str,
        workflow: WorkflowId,
    ) -> Result<Option<Contact>, DocumentError>;
}

/// The document kind under which a contact is kept.
const KIND: &str = "verified-contact";

/// Verified contacts as sealed documents.
pub struct SqliteVerifiedContacts {
    documents: SqliteDocuments,
}

impl SqliteVerifiedContacts {
    /// Opens the file, and creates it if it is not there.
    ///
    /// # Errors
    ///
    /// [`DbError`] as [`crate::sqlite::open`] says.
    pub async fn open(
        steps_db: &Path,
        workflow_keys: Arc<dyn WorkflowKeys>,
    ) -> Result<Self, DbError> {
        Ok(Self {
            documents: SqliteDocuments::open(steps_db, workflow_keys).await?,
        })
    }
}

#[async_trait]
impl VerifiedContacts for SqliteVerifiedContacts {
    async fn put(
        &self,
        tenant: &str,
        workflow: WorkflowId,
        contact: Contact,
    ) -> Result<(), DocumentError> {
        let document = serde_json::to_value(contact).expect("a contact is plain JSON");
        self.documents.put(tenant, workflow, KIND, &document).await
    }

    async fn get(
        &self,
        tenant: &str,
        workflow: WorkflowId,
    ) -> Result<Option<Contact>, DocumentError> {
        let Some(document) = self.documents.get(tenant, workflow, KIND).await? else {
            return Ok(None);
        };
        let contact = serde_json::from_value(document)
            .map_err(|error| DocumentError::Corrupt(error.into()))?;
        Ok(Some(contact))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::tests::open;

    #[tokio::test]
    async fn the_sqlite_contacts_conform() {
        let dir = tempfile::tempdir().unwrap();
        let (_, workflow_keys) = open(dir.path()).await;
        let steps_db = dir.path().join("steps.sqlite");
        let contacts = SqliteVerifiedContacts::open(&steps_db, workflow_keys.clone())
            .await
            .unwrap();
        crate::conformance::contacts(&contacts, workflow_keys.as_ref()).await;
    }

    #[test]
    fn an_address_never_prints() {
        let contact = Contact {
            channel: Channel::Sms,
            address: "+491701234567".to_owned(),
        };
        assert_eq!(format!("{contact:?}"), "Contact(Sms, ***)");
    }
}
