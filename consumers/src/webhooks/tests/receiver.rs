//! A receiver of calls: a real server, and the public package of Rust as the judge of signatures.

use std::sync::{Arc, Mutex};

use poem::http::{HeaderMap, StatusCode};
use poem::listener::{Acceptor as _, Listener as _, TcpListener};
use poem::{Endpoint, Request, Server};
use serde_json::Value;
use tokio::sync::Notify;

use crate::webhooks::signature::{ID_HEADER, TIMESTAMP_HEADER};

/// One call as it arrived.
#[derive(Clone)]
pub struct Received {
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Received {
    pub fn id(&self) -> &str {
        self.headers[ID_HEADER].to_str().unwrap()
    }

    pub fn timestamp_s(&self) -> i64 {
        self.headers[TIMESTAMP_HEADER]
            .to_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Whether a receiver with this secret accepts the call.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let receiver = standardwebhooks::Webhook::new(secret).unwrap();
        receiver.verify(self.body.as_bytes(), &self.headers).is_ok()
    }
}

pub struct Receiver {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    calls: Mutex<Vec<Received>>,
    /// What the next calls are answered with, the last one for ever; never, when there is none.
    statuses: Mutex<Vec<u16>>,
    heard: Notify,
}

impl Receiver {
    /// A receiver that answers one call after the other with `statuses`, the last one for ever.
    pub async fn start(statuses: &[u16]) -> Self {
        let shared = Arc::new(Shared::default());
        *shared.statuses.lock().unwrap() = statuses.to_vec();
        let acceptor = TcpListener::bind("127.0.0.1:0")
            .into_acceptor()
            .await
            .unwrap();
        let port = acceptor.local_addr()[0].as_socket_addr().unwrap().port();
        let serving = Server::new_with_acceptor(acceptor).run(Endless(Arc::clone(&shared)));
        tokio::spawn(serving);
        Self { port, shared }
    }

    /// A receiver that never answers.
    pub async fn silent() -> Self {
        Self::start(&[]).await
    }

    pub fn answer(&self, statuses: &[u16]) {
        *self.shared.statuses.lock().unwrap() = statuses.to_vec();
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn calls(&self) -> Vec<Received> {
        self.shared.calls.lock().unwrap().clone()
    }

    /// Waits until so many calls have arrived.
    pub async fn heard(&self, n_calls: usize) {
        while self.calls().len() < n_calls {
            self.shared.heard.notified().await;
        }
    }
}

struct Endless(Arc<Shared>);

impl Endpoint for Endless {
    type Output = StatusCode;

    async fn call(&self, mut request: Request) -> poem::Result<StatusCode> {
        let received = Received {
            path: request.original_uri().to_string(),
            headers: request.headers().clone(),
            body: request.take_body().into_string().await?,
        };
        self.0.calls.lock().unwrap().push(received);
        self.0.heard.notify_one();
        let status = {
            let mut statuses = self.0.statuses.lock().unwrap();
            if 1 < statuses.len() {
                Some(statuses.remove(0))
            } else {
                statuses.first().copied()
            }
        };
        match status {
            Some(status) => Ok(StatusCode::from_u16(status).unwrap()),
            None => std::future::pending().await,
        }
    }
}
