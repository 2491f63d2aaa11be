//! Calls to the streams service, with the gateway's own service token.

use std::sync::Arc;

use reqwest::Url;

use btrust_platform::token::TokenSource;
use btrust_schemas::analytics::{FunnelQuery, FunnelsView};

use super::core_client::{CoreClient, CoreError, borrowed, pairs};
use crate::refusal::{self, Refusal, Refused};

/// How long a caller should stay away when the service does not answer, s.
const RETRY_AFTER_S: u32 = 1;

/// Why the streams service did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StreamsError(#[from] CoreError);

/// What every operation that calls the streams service can answer, and lists among its own.
const STREAMS_UNAVAILABLE: Refusal = Refusal {
    status: 503,
    code: "streams_unavailable",
    when: "the streams service does not answer; try again",
};

impl<R> From<StreamsError> for Refused<R> {
    fn from(StreamsError(error): StreamsError) -> Self {
        match error {
            CoreError::Unavailable(_) => {
                Self::failed(STREAMS_UNAVAILABLE, &error).retry_after(RETRY_AFTER_S)
            }
            CoreError::Unexpected { .. } => Self::failed(refusal::INTERNAL, &error),
            error => error.into(),
        }
    }
}

/// The gateway's view of the streams service, which speaks as core does.
pub struct StreamsClient(pub(super) CoreClient);

impl StreamsClient {
    #[must_use]
    pub fn new(base: Url, tokens: Arc<TokenSource>) -> Self {
        Self(CoreClient::new(base, tokens))
    }

    pub async fn funnels(&self, query: &FunnelQuery) -> Result<FunnelsView, StreamsError> {
        let pairs = pairs(query);
        let query = borrowed(&pairs);
        Ok(self.0.get(&["analytics", "funnels"], &query).await?)
    }
}
