//! Whether a service works: `/actuator/health`, `/actuator/health/readiness`, `/metrics`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use poem::http::{StatusCode, header};
use poem::web::{Data, Json};
use poem::{EndpointExt, IntoResponse, Response, Route, get, handler};
use serde_json::{Map, Value, json};
use sqlx::SqlitePool;

/// How long one component may take to answer.
pub const CHECK_MAX: Duration = Duration::from_secs(1);

/// Asks one component whether it works.
#[async_trait]
pub trait Check: Send + Sync {
    /// Nothing, or why it does not work: a text for the log, without secrets.
    async fn check(&self) -> Result<(), String>;

    /// Numbers and words about the component, for people.
    fn details(&self) -> Map<String, Value> {
        Map::new()
    }
}

#[async_trait]
impl<C: Check + ?Sized> Check for Arc<C> {
    async fn check(&self) -> Result<(), String> {
        (**self).check().await
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Belongs {
    Own,
    Neighbour,
}

struct Component {
    name: &'static str,
    belongs: Belongs,
    check: Arc<dyn Check>,
}

/// The components of one service.
pub struct Health {
    service: &'static str,
    components: Vec<Component>,
}

impl Health {
    #[must_use]
    pub fn new(service: &'static str) -> Self {
        Self {
            service,
            components: Vec::new(),
        }
    }

    /// Adds something of the service's own; without it the service is not ready.
    #[must_use]
    pub fn own(mut self, name: &'static str, check: impl Check + 'static) -> Self {
        self.components.push(Component {
            name,
            belongs: Belongs::Own,
            check: Arc::new(check),
        });
        self
    }

    /// Adds another service; its failure shows in health and leaves readiness as it is.
    #[must_use]
    pub fn neighbour(mut self, name: &'static str, check: impl Check + 'static) -> Self {
        let check = Arc::new(check);
        self.components.push(Component {
            name,
            belongs: Belongs::Neighbour,
            check,
        });
        self
    }

    /// The same as [`Health::own`].
    #[must_use]
    pub fn with(self, name: &'static str, check: impl Check + 'static) -> Self {
        self.own(name, check)
    }

    /// Adds the three routes to those of the service.
    #[must_use]
    pub fn install(self, routes: Route) -> Route {
        let health = Arc::new(self);
        routes
            .at("/actuator/health", get(all).data(Arc::clone(&health)))
            .at("/actuator/health/readiness", get(readiness).data(health))
            .at("/metrics", get(metrics))
    }

    async fn report(&self, counts: impl Fn(&Component) -> bool) -> Response {
        let asked: Vec<&Component> = self.components.iter().filter(|it| counts(it)).collect();
        let answers = join_all(asked.iter().map(|it| ask(it.check.as_ref()))).await;

        let mut components = Map::new();
        let mut is_up = true;
        for (component, answer) in asked.iter().zip(answers) {
            if let Err(reason) = &answer {
                is_up = false;
                let (service, component) = (self.service, component.name);
                tracing::warn!(service, component, reason, "a component is down");
            }
            let mut shown = json!({ "status": word(answer.is_ok()) });
            let details = component.check.details();
            if !details.is_empty() {
                shown["details"] = Value::Object(details);
            }
            components.insert(component.name.to_owned(), shown);
        }
        let status = if is_up {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        let body = json!({ "status": word(is_up), "components": Value::Object(components) });
        Json(body).with_status(status).into_response()
    }
}

fn word(is_up: bool) -> &'static str {
    if is_up { "UP" } else { "DOWN" }
}

async fn ask(check: &dyn Check) -> Result<(), String> {
    match tokio::time::timeout(CHECK_MAX, check.check()).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} ms", CHECK_MAX.as_millis())),
    }
}

#[handler]
async fn all(Data(health): Data<&Arc<Health>>) -> Response {
    health.report(|_| true).await
}

#[handler]
async fn readiness(Data(health): Data<&Arc<Health>>) -> Response {
    health.report(|it| it.belongs == Belongs::Own).await
}

#[handler]
fn metrics() -> Response {
    Response::builder()
        .header(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)
        .body(crate::telemetry::metrics_text())
}

/// Checks that a database file answers.
pub struct SqliteCheck(pub SqlitePool);

#[async_trait]
impl Check for SqliteCheck {
    async fn check(&self) -> Result<(), String> {
        let answered = sqlx::query("SELECT 1").execute(&self.0).await;
        answered.map(|_| ()).map_err(|error| error.to_string())
    }
}

/// Checks that a MySQL database answers.
pub struct MySqlCheck(pub sqlx::MySqlPool);

#[async_trait]
impl Check for MySqlCheck {
    async fn check(&self) -> Result<(), String> {
        let answered = sqlx::query("SELECT 1").execute(&self.0).await;
        answered.map(|_| ()).map_err(|error| error.to_string())
    }
}

/// Checks that another service is ready, by its base URL.
pub struct ServiceCheck {
    client: reqwest::Client,
    url: String,
}

impl ServiceCheck {
    #[must_use]
    pub fn new(client: reqwest::Client, base_url: &str) -> Self {
        let url = format!(
            "{}/actuator/health/readiness",
            base_url.trim_end_matches('/')
        );
        Self { client, url }
    }
}

#[async_trait]
impl Check for ServiceCheck {
    async fn check(&self) -> Result<(), String> {
        let answer = self.client.get(&self.url).send().await;
        let answer = answer.map_err(|error| error.without_url().to_string())?;
        if answer.status().is_success() {
            Ok(())
        } else {
            Err(format!("it answered {}", answer.status().as_u16()))
        }
    }
}

/// A check made of an async closure.
pub struct CheckFn<F>(pub F);

#[async_trait]
impl<F, A> Check for CheckFn<F>
where
    F: Fn() -> A + Send + Sync,
    A: Future<Output = Result<(), String>> + Send,
{
    async fn check(&self) -> Result<(), String> {
        (self.0)().await
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Instant;

    use poem::test::TestClient;
    use poem_openapi::payload::PlainText;
    use poem_openapi::{OpenApi, OpenApiService};

    use super::*;

    struct Api;

    #[OpenApi]
    #[expect(clippy::unused_async, reason = "poem-openapi asks for async")]
    impl Api {
        #[oai(path = "/hello", method = "get")]
        async fn hello(&self) -> PlainText<&'static str> {
            PlainText("hello")
        }
    }

    fn up() -> impl Check {
        CheckFn(|| async { Ok(()) })
    }

    fn down() -> impl Check {
        CheckFn(|| async { Err("the password hunter2 is wrong".to_owned()) })
    }

    async fn check(health: Health, path: &str, status: u16, expected: Value) {
        let client = TestClient::new(health.install(Route::new()));
        let response = client.get(path).send().await;
        response.assert_status(StatusCode::from_u16(status).unwrap());
        response.assert_json(expected).await;
    }

    #[tokio::test]
    async fn a_service_whose_components_work_is_up() {
        let health = || Health::new("test").with("db", up()).neighbour("auth", up());
        let expected = json!({ "status": "UP", "components": { "db": { "status": "UP" }, "auth": { "status": "UP" } } });
        check(health(), "/actuator/health", 200, expected).await;
        let expected = json!({ "status": "UP", "components": { "db": { "status": "UP" } } });
        check(health(), "/actuator/health/readiness", 200, expected).await;
    }

    #[tokio::test]
    async fn a_failing_neighbour_shows_in_health_and_leaves_the_service_ready() {
        let health = || {
            Health::new("test")
                .own("db", up())
                .neighbour("auth", down())
        };
        let expected = json!({ "status": "DOWN", "components": { "db": { "status": "UP" }, "auth": { "status": "DOWN" } } });
        check(health(), "/actuator/health", 503, expected).await;
        let expected = json!({ "status": "UP", "components": { "db": { "status": "UP" } } });
        check(health(), "/actuator/health/readiness", 200, expected).await;
    }

    #[tokio::test]
    async fn a_failing_store_of_its_own_takes_the_service_out() {
        let health = || {
            Health::new("test")
                .own("db", down())
                .neighbour("auth", up())
        };
        let expected = json!({ "status": "DOWN", "components": { "db": { "status": "DOWN" } } });
        check(health(), "/actuator/health/readiness", 503, expected).await;
    }

    #[tokio::test]
    async fn components_that_hang_are_down_after_one_bound_for_all() {
        let hangs = || CheckFn(|| async { pending().await });
        let health = Health::new("test").own("db", hangs()).own("keys", hangs());
        let started = Instant::now();
        let expected = json!({ "status": "DOWN", "components": { "db": { "status": "DOWN" }, "keys": { "status": "DOWN" } } });
        check(health, "/actuator/health", 503, expected).await;
        assert!(started.elapsed() < 2 * CHECK_MAX);
    }

    #[tokio::test]
    async fn a_database_is_down_once_it_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.sqlite");
        let pool = crate::sqlite::open(&path, &crate::sqlite::KEYS_MIGRATIONS)
            .await
            .unwrap();
        let check = SqliteCheck(pool.clone());
        assert_eq!(check.check().await, Ok(()));
        pool.close().await;
        assert!(check.check().await.is_err());
    }

    #[tokio::test]
    async fn another_service_is_asked_whether_it_is_ready() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let routes = Health::new("test")
            .own("db", up())
            .neighbour("auth", down());
        let shutdown = crate::http::Shutdown::new();
        let serving = tokio::spawn(crate::http::serve(
            "test",
            listener,
            routes.install(Route::new()),
            shutdown.clone(),
        ));
        let check = ServiceCheck::new(crate::http::client(), &url);
        assert_eq!(check.check().await, Ok(()));
        shutdown.trigger();
        serving.await.unwrap().unwrap();
        assert!(check.check().await.is_err());
    }

    #[tokio::test]
    async fn the_routes_live_beside_an_api_at_the_root() {
        let routes = Route::new().nest("/", OpenApiService::new(Api, "test", "0"));
        let client = TestClient::new(Health::new("test").with("db", up()).install(routes));
        client.get("/hello").send().await.assert_text("hello").await;
        client
            .get("/actuator/health")
            .send()
            .await
            .assert_status_is_ok();
        let response = client.get("/metrics").send().await;
        response.assert_status_is_ok();
        let text = response.0.into_body().into_string().await.unwrap();
        assert!(text.contains("process_cpu_seconds_total"), "{text}");
    }
}
