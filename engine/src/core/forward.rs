//! Brings a request to the node that owns its workflow.
//!
//! The whole request goes there as it came, with its caller's own token, over one hop and no more: a
//! node that is brought what it does not own says so, and whoever has brought it looks for the owner again.

use std::sync::Arc;
use std::time::Duration;

use poem::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use poem::http::{Method, StatusCode, Uri};
use poem::{Body, Endpoint, IntoResponse, Middleware, Request, Response};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use btrust_schemas::ids::{IncidentId, N_PARTITIONS, PromptId, TaskToken, WorkflowId};

use super::refuse;
use crate::act_log::log_of;
use crate::engine::{Engine, start_key};
use crate::error::EngineError;
use crate::mailbox::partition_of;
use crate::nodes::Destination;
use crate::schedules;

/// Marks a request that another node has brought: it goes no further.
pub const FORWARDED: HeaderName = HeaderName::from_static("x-btrust-forwarded");
/// Marks the answer of a node that does not own what was asked for.
pub const ELSEWHERE: HeaderName = HeaderName::from_static("x-btrust-elsewhere");
/// How long the owner of a partition is looked for before the caller is told to come back.
///
/// Source: a hand-over is done within 5 s of a node's death.
const PATIENCE: Duration = Duration::from_secs(6);
/// The longest pause between two looks for an owner.
const LOOK_MAX: Duration = Duration::from_millis(250);
/// The shortest pause between two tries.
const TRY_PAUSE: Duration = Duration::from_millis(10);
/// The base path of the internal API, within which this works.
pub const BASE: &str = "/internal/v1";
/// Headers that concern one connection only.
const OF_ONE_HOP: [HeaderName; 4] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
];

/// Sends requests on to other nodes; lets everything pass where there are none.
pub struct Forward {
    engine: Arc<Engine>,
    client: reqwest::Client,
}

impl Forward {
    pub fn new(engine: Arc<Engine>, client: reqwest::Client) -> Self {
        Self { engine, client }
    }
}

impl<E: Endpoint> Middleware<E> for Forward {
    type Output = Forwarding<E>;

    fn transform(&self, inner: E) -> Self::Output {
        Forwarding {
            engine: Arc::clone(&self.engine),
            client: self.client.clone(),
            inner,
        }
    }
}

pub struct Forwarding<E> {
    engine: Arc<Engine>,
    client: reqwest::Client,
    inner: E,
}

/// A request that can be made more than once.
struct Repeatable {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: bytes::Bytes,
}

/// What became of a try.
enum Tried {
    Answered(Response),
    /// Nothing has been changed: the partition is not there.
    NotThere,
}

impl<E: Endpoint> Endpoint for Forwarding<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let target = Target::of(request.method(), request.uri());
        let target = target.filter(|_| self.engine.has_neighbours());
        let Some(target) = target else {
            return self.answer(request).await;
        };
        if request.headers().contains_key(FORWARDED) {
            // Whoever has brought it looks again where it belongs; a start says so by itself.
            return match target {
                Target::Partition(partition) if !self.engine.serves(partition) => {
                    Err(refuse(EngineError::Elsewhere))
                }
                _ => self.answer(request).await,
            };
        }
        let (parts, body) = request.into_parts();
        let body = body.into_bytes().await?;
        let repeatable = Repeatable {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            headers: parts.headers.clone(),
            body: body.clone(),
        };
        let Some(partition) = target.partition(&body) else {
            // What has no key is refused by the endpoint, with a reason.
            let request = Request::from_parts(parts, Body::from_bytes(body));
            return self.answer(request).await;
        };
        self.serve(partition, &repeatable).await
    }
}

impl<E: Endpoint> Forwarding<E> {
    async fn answer(&self, request: Request) -> poem::Result<Response> {
        let answer = self.inner.call(request).await;
        answer.map(IntoResponse::into_response)
    }

    /// Has the request answered here or by the owner, however often that changes within [`PATIENCE`].
    async fn serve(&self, partition: u8, request: &Repeatable) -> poem::Result<Response> {
        let until = Instant::now() + PATIENCE;
        loop {
            let tried = match self.engine.destination(partition) {
                Destination::Here => {
                    let answer = self.inner.call(request.again()).await;
                    let answer =
                        answer.map_or_else(poem::Error::into_response, IntoResponse::into_response);
                    tried(answer)
                }
                Destination::There(url) => self.bring(partition, &url, request).await?,
                Destination::Nobody => Tried::NotThere,
            };
            if let Tried::Answered(answer) = tried {
                return Ok(answer);
            }
            if until <= Instant::now() {
                return Err(refuse(EngineError::Elsewhere));
            }
            sleep(TRY_PAUSE).await;
            self.engine.look_for_owners(LOOK_MAX).await;
        }
    }

    /// Brings the request to another node, for as long as that node owns the partition.
    async fn bring(
        &self,
        partition: u8,
        url: &Arc<str>,
        request: &Repeatable,
    ) -> poem::Result<Tried> {
        let path = request.uri.path_and_query().map_or("/", |it| it.as_str());
        let sent = self
            .client
            .request(
                request.method.clone(),
                format!("{}{BASE}{path}", url.trim_end_matches('/')),
            )
            .headers(request.headers_for_next_hop())
            .body(request.body.clone())
            .send();
        let answer = tokio::select! {
            biased;
            answer = sent => answer,
            () = self.moves_away(partition, url) => {
                return request.uncertain();
            }
        };
        match answer {
            Ok(answer) => received(answer).await,
            Err(error) if error.is_connect() => Ok(Tried::NotThere),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a node did not answer what was brought to it"
                );
                request.uncertain()
            }
        }
    }

    /// Waits until the partition is not at `url` any more.
    async fn moves_away(&self, partition: u8, url: &Arc<str>) {
        while self.engine.destination(partition) == Destination::There(Arc::clone(url)) {
            sleep(LOOK_MAX).await;
        }
    }
}

impl Repeatable {
    fn again(&self) -> Request {
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(self.uri.clone())
            .body(Body::from_bytes(self.body.clone()));
        *request.headers_mut() = self.headers.clone();
        request
    }

    fn headers_for_next_hop(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        for name in OF_ONE_HOP {
            headers.remove(name);
        }
        headers.insert(FORWARDED, HeaderValue::from_static("1"));
        headers
    }

    /// After a call whose end nobody knows: a read is made again, a command is the caller's to repeat.
    fn uncertain(&self) -> poem::Result<Tried> {
        if self.method == Method::GET {
            Ok(Tried::NotThere)
        } else {
            Err(refuse(EngineError::Unavailable))
        }
    }
}

fn tried(answer: Response) -> Tried {
    if answer.headers().contains_key(ELSEWHERE) {
        Tried::NotThere
    } else {
        Tried::Answered(answer)
    }
}

/// The answer of another node as this one's.
async fn received(answer: reqwest::Response) -> poem::Result<Tried> {
    let status = answer.status();
    let mut headers = answer.headers().clone();
    for name in OF_ONE_HOP {
        headers.remove(name);
    }
    let Ok(body) = answer.bytes().await else {
        return Err(refuse(EngineError::Unavailable));
    };
    let mut response = Response::builder()
        .status(StatusCode::from_u16(status.as_u16()).unwrap_or(StatusCode::BAD_GATEWAY))
        .body(Body::from_bytes(body));
    response.headers_mut().extend(headers);
    Ok(tried(response))
}

/// What says which partition a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Partition(u8),
    /// The key of a start, which is in the body.
    StartKey,
}

/// The part of a start that says where it belongs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Keyed {
    tenant: String,
    idempotency_key: String,
}

impl Target {
    /// `None` for what any node can answer: definitions, lists, and reads that do not wait, which come
    /// from the store.
    fn of(method: &Method, uri: &Uri) -> Option<Self> {
        let path = uri.path().trim_start_matches('/');
        if method == Method::GET && !waits(uri) {
            return None;
        }
        let mut segments = path.split('/');
        let partition = match (segments.next()?, segments.next()) {
            ("workflows", None) if method == Method::POST => return Some(Self::StartKey),
            ("workflows", Some(id)) => id.parse::<WorkflowId>().ok()?.partition(),
            ("incidents", Some(id)) => id.parse::<IncidentId>().ok()?.workflow.partition(),
            ("prompts", Some(id)) => id.parse::<PromptId>().ok()?.workflow.partition(),
            ("task-tokens", Some(token)) => {
                token.parse::<TaskToken>().ok()?.task.workflow.partition()
            }
            ("tenants", Some(tenant)) => match segments.next() {
                Some("schedules") => {
                    let name = decoded(segments.next()?)?;
                    schedules::partition_of(&decoded(tenant)?, &name)
                }
                // Databases of several nodes use every partition.
                Some("acts") => log_of(&decoded(tenant)?, N_PARTITIONS).partition(),
                _ => return None,
            },
            _ => return None,
        };
        Some(Self::Partition(partition))
    }

    fn partition(self, body: &[u8]) -> Option<u8> {
        match self {
            Self::Partition(partition) => Some(partition),
            Self::StartKey => {
                let keyed: Keyed = serde_json::from_slice(body).ok()?;
                Some(partition_of(&start_key(
                    &keyed.tenant,
                    &keyed.idempotency_key,
                )))
            }
        }
    }
}

/// A segment of a path without its percent signs.
fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => {
                let digit = |it: &u8| char::from(*it).to_digit(16);
                digit(high).zip(digit(low))
            }
            _ => None,
        };
        if let Some((high, low)) = escaped {
            bytes.push(u8::try_from(16 * high + low).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

/// Whether a read parks, which it can do at the owner only.
fn waits(uri: &Uri) -> bool {
    let pairs = uri.query().unwrap_or_default().split('&');
    let mut waits = pairs.filter_map(|it| it.strip_prefix("waitMs="));
    waits.any(|it| it != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: Method, path: &str, expected: Option<Target>) {
        let uri: Uri = format!("/{path}").parse().unwrap();
        assert_eq!(Target::of(&method, &uri), expected, "{path}");
    }

    #[test]
    fn a_command_goes_where_its_workflow_is() {
        let workflow = WorkflowId::new(7, [1; 15]);
        let prompt = PromptId {
            workflow,
            number: 3,
        };
        let incident = IncidentId {
            workflow,
            number: 0,
        };
        let token = format!(
            "tkn_{}00000001{}",
            &workflow.to_string()[3..],
            "05".repeat(16)
        );
        for path in [
            format!("workflows/{workflow}/cancel"),
            format!("prompts/{prompt}/submissions"),
            format!("incidents/{incident}/resolution"),
            format!("task-tokens/{token}/success"),
        ] {
            check(Method::POST, &path, Some(Target::Partition(7)));
        }
        check(Method::POST, "workflows", Some(Target::StartKey));
        check(Method::POST, "workflows/nonsense/cancel", None);
        check(Method::POST, "definitions", None);
        check(Method::POST, "tasks/exchange", None);
    }

    #[test]
    fn what_is_done_to_a_schedule_goes_where_it_is_fired() {
        let expected = Some(Target::Partition(schedules::partition_of("a b", "nightly")));
        for path in ["nightly", "nightly/pause", "%6eightly/trigger"] {
            check(
                Method::POST,
                &format!("tenants/a%20b/schedules/{path}"),
                expected,
            );
        }
        check(Method::GET, "tenants/acme/schedules/nightly", None);
        check(Method::POST, "tenants/acme/acknowledgements", None);
    }

    #[test]
    fn only_reads_that_wait_go_to_the_owner() {
        let workflow = WorkflowId::new(7, [1; 15]);
        let path = format!("workflows/{workflow}/result?tenant=a");
        check(Method::GET, &path, None);
        check(Method::GET, &format!("{path}&waitMs=0"), None);
        check(
            Method::GET,
            &format!("{path}&waitMs=25000"),
            Some(Target::Partition(7)),
        );
        check(Method::GET, "workflows?tenant=a", None);
    }

    #[test]
    fn a_start_goes_where_its_key_is() {
        let body = br#"{"tenant":"acme","idempotencyKey":"k","input":{}}"#;
        let expected = partition_of(&start_key("acme", "k"));
        assert_eq!(Target::StartKey.partition(body), Some(expected));
        assert_eq!(Target::StartKey.partition(b"{}"), None);
    }
}
