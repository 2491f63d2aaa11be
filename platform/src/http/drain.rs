//! Reads what is left of a refused request's body, so that the caller gets to hear the refusal.
//!
//! A connection that is closed with unread bytes is reset, and a caller in the
//! middle of sending sees a broken pipe instead of the problem body.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use poem::{Body, Endpoint, IntoResponse, Middleware, Request, Response, Result};
use tokio::time::{Instant, timeout_at};

/// Most bytes that are read and thrown away for one refusal.
///
/// Source: twice the largest upload; who sends more is not worth the bandwidth.
const DRAIN_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Longest time spent on it.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

/// Drains the bodies of refused requests.
#[derive(Clone, Copy, Debug)]
pub struct DrainRefused;

impl<E: Endpoint> Middleware<E> for DrainRefused {
    type Output = DrainRefusedEndpoint<E>;

    fn transform(&self, inner: E) -> Self::Output {
        DrainRefusedEndpoint { inner }
    }
}

pub struct DrainRefusedEndpoint<E> {
    inner: E,
}

type Bytestream = BoxStream<'static, io::Result<Bytes>>;

/// A body that its reader and the drain share.
#[derive(Clone)]
struct Shared(Arc<Mutex<Bytestream>>);

impl Stream for Shared {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .poll_next_unpin(context)
    }
}

impl<E: Endpoint> Endpoint for DrainRefusedEndpoint<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let body = request.take_body().into_bytes_stream().fuse().boxed();
        let shared = Shared(Arc::new(Mutex::new(body)));
        request.set_body(Body::from_bytes_stream(shared.clone()));
        let answer = self
            .inner
            .call(request)
            .await
            .map(IntoResponse::into_response);
        let is_refusal = match &answer {
            Ok(response) => !response.status().is_success(),
            Err(_) => true,
        };
        if is_refusal {
            drain(shared).await;
        }
        answer
    }
}

async fn drain(mut body: Shared) {
    let until = Instant::now() + DRAIN_TIME_MAX;
    let mut n_bytes = 0;
    while let Ok(Some(Ok(chunk))) = timeout_at(until, body.next()).await {
        n_bytes += chunk.len();
        if DRAIN_BYTES_MAX < n_bytes {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use poem::http::StatusCode;
    use poem::{EndpointExt, endpoint::make_sync};

    use super::*;

    /// How many of ten chunks are read when the handler answers `status` without reading.
    async fn n_read(status: StatusCode) -> usize {
        let n_read = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&n_read);
        let chunks = stream::iter(0..10).map(move |_| {
            *counted.lock().unwrap() += 1;
            Ok::<_, io::Error>(Bytes::from_static(b"chunk"))
        });
        let endpoint = make_sync(move |_| status.into_response()).with(DrainRefused);
        let request = Request::builder().body(Body::from_bytes_stream(chunks));
        assert_eq!(endpoint.call(request).await.unwrap().status(), status);
        *n_read.lock().unwrap()
    }

    #[tokio::test]
    async fn a_refused_body_is_read_to_its_end_and_an_accepted_one_is_left_alone() {
        assert_eq!(n_read(StatusCode::UNPROCESSABLE_ENTITY).await, 10);
        assert_eq!(n_read(StatusCode::OK).await, 0);
    }
}
