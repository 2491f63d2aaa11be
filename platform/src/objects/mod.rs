//! Evidence: pictures and recordings, sealed chunk by chunk.

mod evidence;
mod file;

use std::io;
use std::pin::Pin;

use async_trait::async_trait;
use btrust_schemas::ids::{ObjectId, WorkflowId};
use bytes::Bytes;
use futures_util::Stream;

use crate::keys::KeyError;
use crate::sealing::{SealError, Sealer, aad};

pub use evidence::EvidenceStore;
pub use file::FileObjects;

/// Largest object in plain bytes, 64 MiB: a reader holds a whole object in memory.
pub const OBJECT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The plain bytes of an object on their way in.
pub type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Bytes at hand, as a stream.
pub fn byte_stream(bytes: impl Into<Bytes>) -> ByteStream {
    let bytes = bytes.into();
    Box::pin(futures_util::stream::iter([Ok(bytes)]))
}

/// Where an object is kept.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ObjectKey {
    pub tenant: String,
    pub workflow: WorkflowId,
    pub object: ObjectId,
}

impl ObjectKey {
    /// What binds the sealed bytes to their place.
    #[must_use]
    pub fn aad(&self) -> Vec<u8> {
        aad(&[
            "object",
            &self.tenant,
            &self.workflow.to_string(),
            &self.object.to_string(),
        ])
    }
}

/// What was stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Plain bytes.
    pub bytes: u64,
    /// SHA-256 of the plain bytes, 64 hex digits.
    pub sha256: String,
}

/// Sealed objects by key.
#[async_trait]
pub trait Objects: Send + Sync {
    /// Stores an object; it is complete and durable when this returns, and absent if it fails.
    ///
    /// # Errors
    ///
    /// [`ObjectError::Source`] when the stream fails, [`ObjectError::TooLarge`],
    /// [`ObjectError::Unavailable`].
    async fn put(
        &self,
        key: &ObjectKey,
        bytes: ByteStream,
        sealer: &Sealer,
    ) -> Result<Stored, ObjectError>;

    /// The plain bytes of an object, once every chunk is authenticated.
    ///
    /// # Errors
    ///
    /// [`ObjectError::Missing`], [`ObjectError::Tampered`], [`ObjectError::Unavailable`].
    async fn get(&self, key: &ObjectKey, sealer: &Sealer) -> Result<Bytes, ObjectError>;

    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    ///
    /// [`ObjectError::Unavailable`].
    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError>;
}

/// Why an object was not stored or is not released.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    #[error("there is no such object")]
    Missing,
    /// The workflow's key was destroyed, or never made.
    #[error("the workflow has no key: it was erased or never started")]
    Erased,
    #[error("the stored bytes are not those that were stored")]
    Tampered(#[source] SealError),
    /// The bytes are authentic and not those that the reference names.
    #[error("the object is not the one that the reference names")]
    OtherContent,
    #[error("the object is larger than {OBJECT_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the bytes of the object could not be read to their end")]
    Source(#[source] io::Error),
    /// The same call may succeed later.
    #[error("the object store does not answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<KeyError> for ObjectError {
    fn from(error: KeyError) -> Self {
        Self::Unavailable(error.into())
    }
}
