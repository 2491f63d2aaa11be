//! What every HTTP server and client of ours has in common.

mod drain;
mod errors;
mod limit;
mod observe;
mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use poem::{Endpoint, EndpointExt, IntoEndpoint, Response};
use tokio::sync::Notify;

pub use limit::BodyLimit;
pub use observe::{REQUEST_ID, RequestId};
pub use server::{DRAIN_MAX, serve};

/// Largest request body that any service takes, in bytes; routes set lower limits by [`BodyLimit`].
///
/// Source: a short video statement in good quality; pictures are limited to 15 MiB.
pub const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How long a client of ours waits for a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a client of ours waits for a whole answer; above the longest long poll (25 s).
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(40);

/// A client for calls between services: pooled, bounded in time, without redirects.
///
/// # Panics
///
/// Never in practice: building a client without TLS has nothing that can fail.
#[must_use]
pub fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(RESPONSE_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client without TLS needs nothing that can be missing")
}

/// Wraps the routes of a service in what every service has; [`serve`] does it by itself.
///
/// Request ids, one log line and the metrics of each request, problem bodies
/// for the errors of the framework, a body limit, and 500 instead of a dropped
/// connection when a handler panics.
pub fn wrap<E>(service: &'static str, routes: E) -> impl Endpoint<Output = Response> + 'static
where
    E: IntoEndpoint,
    E::Endpoint: 'static,
{
    routes
        .into_endpoint()
        .with(BodyLimit::new(BODY_BYTES_MAX))
        .with(drain::DrainRefused)
        .with(errors::ProblemBodies)
        .with(observe::Observe { service })
}

/// Tells every server and loop of a process to finish; clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(Arc<Bell>);

/// Wakes whoever waits in the order of their coming, which a `watch` does not.
#[derive(Debug, Default)]
struct Bell {
    is_rung: AtomicBool,
    waiting: Notify,
}

impl Shutdown {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A shutdown that SIGTERM and SIGINT trigger. Needs a running runtime.
    ///
    /// # Errors
    ///
    /// What the system says when a signal handler cannot be installed.
    pub fn on_signals() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        let shutdown = Self::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let trigger = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            trigger.trigger();
        });
        Ok(shutdown)
    }

    /// Starts the shutdown; calling it again changes nothing.
    pub fn trigger(&self) {
        self.0.is_rung.store(true, Ordering::SeqCst);
        self.0.waiting.notify_waiters();
    }

    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.0.is_rung.load(Ordering::SeqCst)
    }

    /// Returns once the shutdown has been triggered, at once if it was before.
    pub async fn wait(&self) {
        // Begun before the look, so that no ringing falls between the two.
        let rung = self.0.waiting.notified();
        if !self.is_triggered() {
            rung.await;
        }
    }
}

#[cfg(test)]
mod tests;
