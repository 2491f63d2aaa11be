//! Reading a stream: shards, and records after a position.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::Stream;

/// A part of a stream that is in order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Shard {
    pub id: String,
    /// The shards that were split or merged into this one; those whose records the stream no longer keeps
    /// may be named or left out.
    pub parents: Vec<String>,
}

/// A record as it was published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadRecord {
    pub partition_key: String,
    pub bytes: Bytes,
    /// Where it is in its shard; what comes after it is read by this.
    pub position: String,
}

/// What a reader has met that is no record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble {
    /// Where, as positions of the shard are written.
    pub position: String,
    pub what: &'static str,
}

/// The next records of a shard.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Page {
    pub records: Vec<ReadRecord>,
    /// What was passed over between them.
    pub troubles: Vec<Trouble>,
    /// Where the page ends, which is behind its last record when something was passed over there; `None`
    /// when there was nothing at all.
    pub reached: Option<String>,
    /// The shard has ended and this page with it: nothing will ever come after.
    pub is_closed: bool,
    /// How far this page is behind the end of the shard, ms; 0 when it is the end.
    pub behind_ms: i64,
}

/// Reads streams from the oldest record that they keep.
#[async_trait]
pub trait StreamReader: Send + Sync {
    /// The shards of a stream that have records or may get some.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    async fn shards(&self, stream: Stream) -> Result<Vec<Shard>, ReadError>;

    /// At most `n_max` records of a shard after a position, or from the oldest on. It does not wait for
    /// records; it may wait until it is allowed to ask again.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    async fn read(
        &self,
        stream: Stream,
        shard: &str,
        after: Option<&str>,
        n_max: usize,
    ) -> Result<Page, ReadError>;

    /// How long to wait after a page that had nothing.
    fn idle(&self) -> Duration;
}

/// Why nothing could be read, as the choices of the caller.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The stream keeps no such shard; its records are gone.
    #[error("the stream {} has no shard {shard}", stream.name())]
    NoSuchShard { stream: Stream, shard: String },
    /// The position was not written by this reader.
    #[error("the position {position} is not one of the stream {}", stream.name())]
    NoPosition { stream: Stream, position: String },
    /// The same call may succeed later.
    #[error("the stream {} cannot be read", stream.name())]
    Unavailable {
        stream: Stream,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
