//! Turns the framework's own errors into problem bodies.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use poem::error::{ParseJsonError, ReadBodyError};
use poem::http::{StatusCode, header};
use poem::{Endpoint, IntoResponse, Middleware, Request, Response, Result};
use poem_openapi::error::{ParsePathError, ParseRequestPayloadError};

use crate::problem::{MEDIA_TYPE, Problem, response};

pub(super) struct ProblemBodies;

impl<E: Endpoint> Middleware<E> for ProblemBodies {
    type Output = ProblemBodiesEndpoint<E>;

    fn transform(&self, inner: E) -> Self::Output {
        ProblemBodiesEndpoint { inner }
    }
}

pub(super) struct ProblemBodiesEndpoint<E> {
    inner: E,
}

impl<E: Endpoint> Endpoint for ProblemBodiesEndpoint<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        match AssertUnwindSafe(self.inner.call(request))
            .catch_unwind()
            .await
        {
            Ok(Ok(answer)) => Ok(answer.into_response()),
            Ok(Err(error)) => Ok(problem_response(error)),
            Err(_panic) => {
                tracing::error!("a handler panicked");
                Ok(response(&internal(StatusCode::INTERNAL_SERVER_ERROR)))
            }
        }
    }
}

/// The answer to an error, as a problem unless the handler has made one.
fn problem_response(error: poem::Error) -> Response {
    let problem = describe(&error);
    if problem.status >= 500 && !error.is_from_response() {
        tracing::error!(%error, "a request failed");
    }
    let original = error.into_response();
    let is_problem = original
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|it| it.as_bytes().starts_with(MEDIA_TYPE.as_bytes()));
    if is_problem {
        return original;
    }
    let mut answer = response(&problem);
    for name in [header::WWW_AUTHENTICATE, header::RETRY_AFTER, header::ALLOW] {
        if let Some(value) = original.headers().get(&name) {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    *answer.extensions_mut() = original.extensions().clone();
    answer
}

/// What the framework's error means to a caller.
fn describe(error: &poem::Error) -> Problem {
    let status = error.status();
    if error.is::<ParseRequestPayloadError>() || is_bad_json(error) {
        return Problem::new(400, "malformed_json", error.to_string());
    }
    if error.is::<ParsePathError>() {
        return Problem::new(404, "not_found", "there is nothing at this path");
    }
    if let Some(ReadBodyError::PayloadTooLarge) = error.downcast_ref() {
        return Problem::new(413, "body_too_large", "the request body is too large");
    }
    let (code, detail) = match status {
        StatusCode::BAD_REQUEST => ("malformed_request", error.to_string()),
        StatusCode::UNAUTHORIZED => (
            "unauthenticated",
            "a valid bearer token is needed".to_owned(),
        ),
        StatusCode::FORBIDDEN => ("forbidden", "the caller may not do this".to_owned()),
        StatusCode::NOT_FOUND => ("not_found", "there is nothing at this path".to_owned()),
        StatusCode::METHOD_NOT_ALLOWED => (
            "method_not_allowed",
            "this path does not answer this method".to_owned(),
        ),
        StatusCode::PAYLOAD_TOO_LARGE => {
            ("body_too_large", "the request body is too large".to_owned())
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ("media_type_unsupported", error.to_string()),
        StatusCode::TOO_MANY_REQUESTS => ("too_many_requests", "try again later".to_owned()),
        it if it.is_client_error() => ("malformed_request", error.to_string()),
        it => return internal(it),
    };
    Problem::new(status.as_u16(), code, detail)
}

fn is_bad_json(error: &poem::Error) -> bool {
    matches!(error.downcast_ref(), Some(ParseJsonError::Parse(_)))
}

/// A failure of ours; its cause goes to the log and never to the caller.
fn internal(status: StatusCode) -> Problem {
    if status == StatusCode::SERVICE_UNAVAILABLE {
        return Problem::new(
            503,
            "unavailable",
            "the service cannot answer now; try again",
        );
    }
    Problem::new(
        status.as_u16(),
        "internal",
        "the service failed; the failure is in its log",
    )
}
