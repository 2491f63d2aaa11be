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
        Self { service, components: Vec::new() }
    }

    /// Adds something of the service's own; without it the service is not ready.
    #[must_use]
    pub fn own(mut self, name: &'static str, check: impl Check + 'static) -> Self {
        self.components.push(Component { name, belongs: Belongs::Own, check: Arc::new(check) });
        self
    }

    /// Adds another service; its failure shows in health and leaves readiness as it is.
    #[must_use]
    pub fn neighbour(mut self, name: &'static str, check: impl Check + 'static) -> Self {
        let check = Arc::new(check);
        self.components.push(Component { name, belongs: Belongs::Neighbour, check });
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
            components.insert(component.name.to_owned(), json!({ "status": word(answer.is_ok()) }));
        }
        let status = if is_up { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
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

/// Checks that a database file answers and can be written.
pub struct SqliteCheck(pub SqlitePool);

#[async_trait]
impl Check for SqliteCheck {
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
        let url = format!("{}/actuator/health/readiness", base_url.trim_end_matches('/'));
        Self { client, url }
    }
}

#[async_trait]
impl Check for ServiceCheck {
    async fn check(&self) -> Result<(), String> {
        let answer = self.client.get(&self.url).send().await;
        let answer = answer.map_err(|error| error.without_url().to_string())?;
        match answer.status().is_success() {
            true => Ok(()),
            false => Err(format!("it answered {}", answer.status().as_u16())),
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
