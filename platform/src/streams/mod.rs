//! The two streams of events.

mod jsonl;
mod jsonl_reader;
mod reader;

use async_trait::async_trait;
use bytes::Bytes;

pub use jsonl::{JsonlStreams, SEGMENT_BYTES_MAX, read_jsonl};
pub use jsonl_reader::JsonlReader;
pub use reader::{Page, ReadError, ReadRecord, Shard, StreamReader, Trouble};

/// Which stream.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stream {
    /// Tamper-evident: every state change, decision, read of evidence, admin act.
    Audit,
    /// Funnels: steps and workflows with their durations.
    Analytics,
}

impl Stream {
    /// Its name in files and settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Analytics => "analytics",
        }
    }
}

/// One event: JSON on a single line, published byte for byte.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamRecord {
    /// Records with one key keep their order.
    pub partition_key: String,
    pub bytes: Bytes,
}

/// Publishes events.
#[async_trait]
pub trait Streams: Send + Sync {
    /// Publishes records in their order; all of them are durable when this returns.
    ///
    /// After an error any first part of them may have been published; the caller
    /// publishes all of them again, and consumers drop what they know by its id.
    ///
    /// # Errors
    ///
    /// [`StreamError`].
    async fn append(&self, stream: Stream, records: &[StreamRecord]) -> Result<(), StreamError>;
}

/// Why records were not published.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// Nothing was published, and trying again will not help.
    #[error("record {index} is not one line")]
    NotOneLine { index: usize },
    /// The same call may succeed later.
    #[error("the stream {} does not take records", stream.name())]
    Unavailable {
        stream: Stream,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
