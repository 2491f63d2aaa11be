//! A bound on request bodies, for those that announce their size and those that do not.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use poem::http::{StatusCode, header};
use poem::{Body, Endpoint, IntoResponse, Middleware, Request, Response, Result};

use crate::problem::problem;

/// Refuses request bodies above a number of bytes with 413 `body_too_large`.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimit {
    bytes_max: u64,
}

impl BodyLimit {
    #[must_use]
    pub const fn new(bytes_max: u64) -> Self {
        Self { bytes_max }
    }
}

impl<E: Endpoint> Middleware<E> for BodyLimit {
    type Output = BodyLimitEndpoint<E>;

    fn transform(&self, inner: E) -> Self::Output {
        BodyLimitEndpoint {
            inner,
            bytes_max: self.bytes_max,
        }
    }
}

pub struct BodyLimitEndpoint<E> {
    inner: E,
    bytes_max: u64,
}

impl<E: Endpoint> Endpoint for BodyLimitEndpoint<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let too_large = || {
            let detail = format!("the request body is larger than {} bytes", self.bytes_max);
            problem(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
        };
        let announced = request
            .header(header::CONTENT_LENGTH)
            .and_then(|it| it.parse().ok());
        if announced.is_some_and(|bytes: u64| self.bytes_max < bytes) {
            return Err(too_large());
        }
        if announced.is_some() {
            // The HTTP layer reads no more than was announced.
            return self
                .inner
                .call(request)
                .await
                .map(IntoResponse::into_response);
        }

        let exceeded = Arc::new(AtomicBool::new(false));
        let body = limited(request.take_body(), self.bytes_max, Arc::clone(&exceeded));
        request.set_body(body);
        let result = self.inner.call(request).await;
        // Whatever the handler made of its broken body, this is why it broke.
        if exceeded.load(Ordering::Relaxed) {
            return Err(too_large());
        }
        result.map(IntoResponse::into_response)
    }
}

/// The same body, failing once it has more than `bytes_max` bytes.
fn limited(body: Body, bytes_max: u64, exceeded: Arc<AtomicBool>) -> Body {
    let mut bytes_left = bytes_max;
    Body::from_bytes_stream(body.into_bytes_stream().map(move |chunk| {
        let chunk = chunk?;
        let Some(left) = bytes_left.checked_sub(chunk.len() as u64) else {
            exceeded.store(true, Ordering::Relaxed);
            return Err(io::Error::other("the request body is too large"));
        };
        bytes_left = left;
        Ok(chunk)
    }))
}
