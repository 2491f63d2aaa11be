use std::future::pending;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use poem::error::NotFoundError;
use poem::http::StatusCode;
use poem::test::{TestClient, TestResponse};
use poem::web::{Data, Json, Path};
use poem::{Body, Route, get, handler, post};
use poem_openapi::payload::Json as ApiJson;
use poem_openapi::{OpenApi, OpenApiService};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::server::serve_and_drain;
use super::*;
use crate::problem::{MEDIA_TYPE, problem};

#[handler]
fn echo(Json(body): Json<Value>) -> Json<Value> {
    Json(body)
}

#[handler]
async fn swallow(body: Body) -> String {
    body.into_vec()
        .await
        .map_or_else(|_| "broken".to_owned(), |it| it.len().to_string())
}

#[handler]
fn panics() -> String {
    panic!("with a secret")
}

#[handler]
fn refuses() -> poem::Result<String> {
    Err(problem(
        StatusCode::CONFLICT,
        "prompt_closed",
        "somebody was faster",
    ))
}

#[handler]
fn fails() -> poem::Result<String> {
    let error = std::io::Error::other("the password is hunter2");
    Err(poem::Error::new(error, StatusCode::INTERNAL_SERVER_ERROR))
}

#[handler]
fn lacks() -> poem::Result<String> {
    Err(NotFoundError.into())
}

#[handler]
fn says_id(Data(id): Data<&RequestId>) -> String {
    id.0.clone()
}

#[handler]
fn case(Path(_case): Path<String>) {}

struct Api;

#[OpenApi]
#[expect(clippy::unused_async, reason = "poem-openapi asks for async")]
impl Api {
    #[oai(path = "/things", method = "post")]
    async fn add(&self, body: ApiJson<Vec<u32>>) -> ApiJson<usize> {
        ApiJson(body.0.len())
    }

    #[oai(path = "/things/:number", method = "get")]
    async fn show(&self, number: poem_openapi::param::Path<u32>) -> ApiJson<u32> {
        ApiJson(number.0)
    }
}

fn client() -> TestClient<impl poem::Endpoint> {
    let routes = Route::new()
        .at("/echo", post(echo))
        .at("/limited", post(swallow).with(BodyLimit::new(10)))
        .at("/panics", get(panics))
        .at("/refuses", get(refuses))
        .at("/fails", get(fails))
        .at("/lacks", get(lacks))
        .at("/id", get(says_id))
        .at("/cases/:case", get(case))
        .nest("/api", OpenApiService::new(Api, "test", "0"));
    TestClient::new(wrap("test", routes))
}

async fn check_problem(response: TestResponse, status: u16, code: &str) -> Value {
    response.assert_status(StatusCode::from_u16(status).unwrap());
    response.assert_content_type(MEDIA_TYPE);
    let body: Value = response.json().await.value().deserialize();
    assert_eq!(body["code"], code, "{body}");
    assert_eq!(body["status"], status, "{body}");
    body
}

#[tokio::test]
async fn every_error_of_the_framework_is_a_problem() {
    let client = client();
    check_problem(client.get("/nowhere").send().await, 404, "not_found").await;
    check_problem(client.get("/lacks").send().await, 404, "not_found").await;
    check_problem(client.get("/api/nowhere").send().await, 404, "not_found").await;
    check_problem(client.get("/api/things/x").send().await, 404, "not_found").await;
    check_problem(
        client.delete("/echo").send().await,
        405,
        "method_not_allowed",
    )
    .await;
    check_problem(
        client.delete("/api/things").send().await,
        405,
        "method_not_allowed",
    )
    .await;
    check_problem(
        client.post("/echo").body("{}").send().await,
        415,
        "media_type_unsupported",
    )
    .await;
    for body in ["{", "", "{\"a\":}", "\u{1}"] {
        for path in ["/echo", "/api/things"] {
            let response = client
                .post(path)
                .content_type("application/json")
                .body(body)
                .send();
            check_problem(response.await, 400, "malformed_json").await;
        }
    }
}

#[tokio::test]
async fn a_problem_of_a_handler_is_left_as_it_is() {
    let body = check_problem(client().get("/refuses").send().await, 409, "prompt_closed").await;
    assert_eq!(body["detail"], "somebody was faster");
}

#[tokio::test]
async fn a_failure_or_panic_is_answered_without_its_cause() {
    for path in ["/fails", "/panics"] {
        let body = check_problem(client().get(path).send().await, 500, "internal").await;
        let text = body.to_string();
        assert!(
            !text.contains("hunter2") && !text.contains("secret"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_whether_it_announces_its_size_or_not() {
    let client = client();
    let response = client.post("/limited").body("0123456789").send().await;
    response.assert_text("10").await;
    let announced = client
        .post("/limited")
        .header("content-length", "11")
        .body("01234567890");
    check_problem(announced.send().await, 413, "body_too_large").await;

    let pieces = |n: usize| {
        futures_util::stream::iter((0..n).map(|_| Ok::<_, std::io::Error>(Bytes::from("12345"))))
    };
    let response = client
        .post("/limited")
        .body(Body::from_bytes_stream(pieces(2)))
        .send()
        .await;
    response.assert_text("10").await;
    let chunked = client
        .post("/limited")
        .body(Body::from_bytes_stream(pieces(3)));
    check_problem(chunked.send().await, 413, "body_too_large").await;
}

#[tokio::test]
async fn a_request_keeps_its_id_or_gets_one() {
    let client = client();
    let response = client
        .get("/id")
        .header("x-request-id", "abc-1.2_3")
        .send()
        .await;
    response.assert_header("x-request-id", "abc-1.2_3");
    response.assert_text("abc-1.2_3").await;

    let too_long = "a".repeat(65);
    for unusable in ["", "a b", "a\"b", &too_long] {
        let response = client
            .get("/nowhere")
            .header("x-request-id", unusable)
            .send()
            .await;
        let id = response.0.header("x-request-id").unwrap().to_owned();
        assert_eq!(id.len(), 32, "{id}");
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_log_line_and_a_metric_name_the_template_and_nothing_that_was_sent() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let client = client();
    client
        .get("/cases/case-of-erika?phone=%2B4917")
        .header("x-request-id", "id-1")
        .send()
        .await;
    let body = r#"[1, "mustermann"]"#;
    client
        .post("/api/things")
        .content_type("application/json")
        .body(body)
        .send()
        .await;
    drop(guard);

    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let requests: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["fields"]["message"] == "request")
        .collect();
    assert_eq!(requests.len(), 2, "{text}");
    assert_eq!(requests[0]["fields"]["path"], "/cases/:case");
    assert_eq!(requests[0]["fields"]["method"], "GET");
    assert_eq!(requests[0]["fields"]["status"], 200);
    assert_eq!(requests[0]["span"]["request.id"], "id-1");
    assert_eq!(requests[0]["span"]["service"], "test");
    assert_eq!(requests[1]["fields"]["path"], "/api/things");
    assert!(requests[1]["fields"]["duration_ms"].is_u64());

    let metrics = crate::telemetry::metrics_text();
    let line =
        r#"http_requests_total{method="GET",path="/cases/:case",service="test",status="200"} "#;
    assert!(metrics.contains(line), "{metrics}");
    assert!(
        metrics.contains(r#"path="/api/things",service="test",status="400"}"#),
        "{metrics}"
    );
    for text in [text, metrics] {
        assert!(
            !text.contains("erika") && !text.contains("4917") && !text.contains("muster"),
            "{text}"
        );
    }
}

struct Parked {
    has_begun: Notify,
    may_end: Notify,
}

#[handler]
async fn parks(Data(parked): Data<&Arc<Parked>>) -> &'static str {
    parked.has_begun.notify_one();
    parked.may_end.notified().await;
    "done"
}

#[handler]
async fn hangs(Data(parked): Data<&Arc<Parked>>) {
    parked.has_begun.notify_one();
    pending::<()>().await;
}

/// A running server whose handlers tell when they have begun.
async fn server(
    drain_max: Duration,
) -> (
    String,
    Arc<Parked>,
    Shutdown,
    tokio::task::JoinHandle<std::io::Result<()>>,
) {
    let parked = Arc::new(Parked {
        has_begun: Notify::new(),
        may_end: Notify::new(),
    });
    let routes = Route::new()
        .at("/parks", get(parks))
        .at("/hangs", get(hangs))
        .data(Arc::clone(&parked));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = Shutdown::new();
    let serving = tokio::spawn(serve_and_drain(
        "test",
        listener,
        routes,
        shutdown.clone(),
        drain_max,
    ));
    (url, parked, shutdown, serving)
}

#[tokio::test]
async fn a_shutdown_answers_what_has_begun_and_takes_nothing_new() {
    let (url, parked, shutdown, serving) = server(DRAIN_MAX).await;
    let begun = tokio::spawn(super::client().get(format!("{url}/parks")).send());
    parked.has_begun.notified().await;
    shutdown.trigger();
    shutdown.wait().await;
    assert!(shutdown.is_triggered());
    // The listener is closed once connections are refused.
    while tokio::net::TcpStream::connect(url.trim_start_matches("http://"))
        .await
        .is_ok()
    {
        tokio::task::yield_now().await;
    }
    parked.may_end.notify_one();
    assert_eq!(begun.await.unwrap().unwrap().text().await.unwrap(), "done");
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_ever() {
    let (url, parked, shutdown, serving) = server(Duration::from_millis(50)).await;
    let begun = tokio::spawn(super::client().get(format!("{url}/hangs")).send());
    parked.has_begun.notified().await;
    let started = Instant::now();
    shutdown.trigger();
    serving.await.unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(begun.await.unwrap().is_err());
}

#[tokio::test]
async fn a_signal_starts_the_shutdown() {
    let shutdown = Shutdown::on_signals().unwrap();
    assert!(!shutdown.is_triggered());
    let pid = std::process::id().to_string();
    let status = std::process::Command::new("sh")
        .args(["-c", "kill -TERM \"$0\"", &pid])
        .status();
    assert!(status.unwrap().success());
    shutdown.wait().await;
}
