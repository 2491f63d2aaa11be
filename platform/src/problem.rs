//! Errors as HTTP bodies (RFC 9457), the only place where they are made.

use poem::http::{StatusCode, header};
use poem::{Body, Response};

pub use btrust_schemas::problem::{MEDIA_TYPE, Problem};

/// An error that answers with a problem body.
///
/// `code` is stable and for programs; `detail` is for people and never repeats
/// personal data.
pub fn problem(status: StatusCode, code: &str, detail: impl Into<String>) -> poem::Error {
    error(&Problem::new(status.as_u16(), code, detail))
}

/// The error that answers with this problem.
pub fn error(problem: &Problem) -> poem::Error {
    poem::Error::from_response(response(problem))
}

/// The answer that carries this problem.
///
/// # Panics
///
/// Never in practice: a problem has nothing that JSON cannot say.
pub fn response(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(problem).expect("a problem is plain JSON");
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, MEDIA_TYPE)
        .header(header::CACHE_CONTROL, "no-store")
        .body(Body::from(body))
}
