//! One log line, the metrics and the id of every request.

use std::sync::LazyLock;
use std::time::Instant;

use poem::http::{HeaderName, HeaderValue, Method};
use poem::{Endpoint, IntoResponse, Middleware, PathPattern, Request, Response, Result};
use prometheus::{HistogramVec, IntCounterVec, register_histogram_vec, register_int_counter_vec};
use rand::RngExt;
use tracing::Instrument;

/// Carries the id of a request from its caller, and back.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A caller's request id above this length is replaced by one of ours.
const REQUEST_ID_CHARS_MAX: usize = 64;

/// Upper bounds of the duration histogram in seconds: from one local round trip to a long poll.
const DURATION_BUCKETS: [f64; 11] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0,
];

/// Paths of probes and of our own services, many a second; logged only when one asks for it.
const QUIET: [&str; 3] = ["/actuator/", "/metrics", "/internal/"];

static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "http_requests_total",
        "HTTP requests that were answered.",
        &["service", "method", "path", "status"]
    )
    .expect("the metric is registered once")
});

static DURATIONS: LazyLock<HistogramVec> = LazyLock::new(|| {
    register_histogram_vec!(
        "http_request_duration_seconds",
        "Time from the request's head to the answer's head.",
        &["service", "method", "path"],
        DURATION_BUCKETS.to_vec()
    )
    .expect("the metric is registered once")
});

/// The id under which a request appears in logs; the caller's own when it sent a usable one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestId(pub String);

impl RequestId {
    fn of(request: &Request) -> Self {
        let usable = |id: &&str| {
            (1..=REQUEST_ID_CHARS_MAX).contains(&id.len())
                && id
                    .bytes()
                    .all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it))
        };
        match request.header(REQUEST_ID).filter(usable) {
            Some(id) => Self(id.to_owned()),
            None => Self(hex::encode(rand::rng().random::<[u8; 16]>())),
        }
    }
}

pub(super) struct Observe {
    pub service: &'static str,
}

impl<E: Endpoint<Output = Response>> Middleware<E> for Observe {
    type Output = ObserveEndpoint<E>;

    fn transform(&self, inner: E) -> Self::Output {
        ObserveEndpoint {
            inner,
            service: self.service,
        }
    }
}

pub(super) struct ObserveEndpoint<E> {
    inner: E,
    service: &'static str,
}

impl<E: Endpoint<Output = Response>> Endpoint for ObserveEndpoint<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let started = Instant::now();
        let id = RequestId::of(&request);
        let method = method_label(request.method());
        request.set_data(id.clone());

        let span = tracing::info_span!("request", service = self.service, request.id = %id.0);
        let mut answer = match self.inner.call(request).instrument(span.clone()).await {
            Ok(answer) => answer,
            Err(error) => error.into_response(),
        };
        let id = HeaderValue::from_str(&id.0).expect("an id has only visible ASCII characters");
        answer.headers_mut().insert(REQUEST_ID, id);

        let path = match answer.data::<PathPattern>() {
            Some(pattern) => pattern.0.to_string(),
            None => "unmatched".to_owned(),
        };
        let duration = started.elapsed();
        let status = answer.status().as_u16();
        REQUESTS
            .with_label_values(&[self.service, method, &path, answer.status().as_str()])
            .inc();
        DURATIONS
            .with_label_values(&[self.service, method, &path])
            .observe(duration.as_secs_f64());
        let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        span.in_scope(|| {
            if status >= 500 {
                tracing::warn!(method, path, status, duration_ms, "request");
            } else if QUIET.iter().any(|it| path.starts_with(it)) {
                tracing::debug!(method, path, status, duration_ms, "request");
            } else {
                tracing::info!(method, path, status, duration_ms, "request");
            }
        });
        Ok(answer.into_response())
    }
}

/// A method as a metric label; a caller cannot mint new label values.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}
