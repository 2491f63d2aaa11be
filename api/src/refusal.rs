//! Refusals: every problem that an operation can answer with, declared once and
//! so both raised and documented.

use std::marker::PhantomData;

use poem::http::header::RETRY_AFTER;
use poem_openapi::{
    ApiResponse, Object,
    payload::{Json, Payload},
    registry::{MetaMediaType, MetaResponse, MetaResponses, Registry},
    types::Any,
};
use serde_json::Value;

use btrust_schemas::problem::{self, Problem};

/// One way in which an operation can refuse.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// HTTP status code.
    pub status: u16,
    /// Stable, for programs.
    pub code: &'static str,
    /// When it happens; for the API document.
    pub when: &'static str,
}

/// Declares refusals and, by `list`, what an operation documents.
#[macro_export]
macro_rules! refusals {
    ($(#[$doc:meta])* $list:ident { $($name:ident = $status:literal $code:literal $when:literal;)* }) => {
        $(pub(crate) const $name: $crate::refusal::Refusal =
            $crate::refusal::Refusal { status: $status, code: $code, when: $when };)*

        $(#[$doc])*
        pub struct $list;
        impl $crate::refusal::Refusals for $list {
            const ALL: &'static [$crate::refusal::Refusal] = &[$($name),*];
        }
    };
}

/// The refusals of one operation.
pub trait Refusals: Send + Sync + 'static {
    const ALL: &'static [Refusal];
}

refusals! {
    /// What an operation with a token can always answer.
    WithToken {
        UNAUTHENTICATED = 401 "unauthenticated" "there is no valid token";
        SCOPE_MISSING = 403 "scope_missing" "the token lacks the scope of the operation";
        AUTH_UNAVAILABLE = 503 "auth_unavailable" "the auth service does not answer";
    }
}

refusals! {
    /// What any operation can answer.
    Anywhere {
        MALFORMED_REQUEST = 400 "malformed_request" "a parameter cannot be read";
        INTERNAL = 500 "internal" "our fault; the log says more";
    }
}

refusals! {
    /// What an operation with a body can always answer.
    WithBody {
        MALFORMED_JSON = 400 "malformed_json" "the body is not JSON or not of this shape";
        BODY_TOO_LARGE = 413 "body_too_large" "the request body is too large";
    }
}

refusals! {
    /// For operations that answer with nothing beside what [`Anywhere`] lists.
    NoOthers {}
}

impl Refusal {
    /// The refusal with a sentence for people. No personal data belongs in it.
    #[must_use]
    pub fn detail<R>(self, detail: impl Into<String>) -> Refused<R> {
        Refused::new(Problem::new(self.status, self.code, detail))
    }
}

/// A refusal that is on its way to the caller, as one of those that `R` documents.
#[derive(Debug)]
pub struct Refused<R> {
    pub problem: Box<Problem>,
    /// `Retry-After` of the answer, in seconds.
    retry_after_s: Option<u32>,
    operation: PhantomData<fn() -> R>,
}

impl<R> Refused<R> {
    #[must_use]
    pub fn new(problem: Problem) -> Self {
        Self {
            problem: Box::new(problem),
            retry_after_s: None,
            operation: PhantomData,
        }
    }

    /// The same refusal, saying when another try is worth it.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The same refusal with the single findings that caused it.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<Value>) -> Self {
        self.problem.errors = errors;
        self
    }
}

impl<R> Refused<R> {
    /// Our own failure: the cause goes to the log, here and once, and never to
    /// the caller.
    #[must_use]
    pub fn failed(refusal: Refusal, error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, code = refusal.code, "an operation failed");
        refusal.detail(refusal.when)
    }
}

impl Refused<Anywhere> {
    /// For extractors, which answer with poem's own error.
    #[must_use]
    pub fn into_error(self) -> poem::Error {
        self.into()
    }
}

impl<R> From<Refused<R>> for poem::Error {
    fn from(refused: Refused<R>) -> Self {
        let mut answer = btrust_platform::problem::response(&refused.problem);
        if let Some(seconds) = refused.retry_after_s {
            answer.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        poem::Error::from_response(answer)
    }
}

impl<R: Refusals> ApiResponse for Refused<R> {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: meta(R::ALL),
        }
    }

    fn register(registry: &mut Registry) {
        <ProblemDocument as poem_openapi::types::Type>::register(registry);
    }
}

/// One `OpenAPI` response for each status; its description lists the codes.
/// poem-openapi wants descriptions that live for ever: this runs a few times in
/// the life of a process.
fn meta(refusals: &[Refusal]) -> Vec<MetaResponse> {
    statuses(refusals)
        .into_iter()
        .map(|status| MetaResponse {
            description: String::leak(describe(refusals, status)),
            status: Some(status),
            status_range: None,
            content: vec![MetaMediaType {
                content_type: problem::MEDIA_TYPE,
                schema: Json::<ProblemDocument>::schema_ref(),
            }],
            headers: Vec::new(),
        })
        .collect()
}

/// The status codes of some refusals, each once, in order.
pub(crate) fn statuses(refusals: &[Refusal]) -> Vec<u16> {
    let mut statuses: Vec<u16> = refusals.iter().map(|it| it.status).collect();
    statuses.sort_unstable();
    statuses.dedup();
    statuses
}

/// The codes of one status, each with when it happens.
pub(crate) fn describe(refusals: &[Refusal], status: u16) -> String {
    let of_status = refusals.iter().filter(|it| it.status == status);
    of_status
        .map(|it| format!("`{}`: {}.", it.code, it.when))
        .collect::<Vec<_>>()
        .join(" ")
}

/// What went wrong (RFC 9457); `code` is stable and for programs, `detail` is for people.
#[derive(Object)]
#[oai(rename = "Problem")]
struct ProblemDocument {
    /// `urn:btrust:problem:<code>`
    #[oai(rename = "type")]
    kind: String,
    title: String,
    /// HTTP status code
    status: u16,
    code: String,
    detail: String,
    /// The single findings of a refused document, each with a JSON pointer
    errors: Option<Vec<Any<Value>>>,
}
