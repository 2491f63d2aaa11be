//! Listening, serving, draining.

use std::io;
use std::time::Duration;

use poem::http::uri::Scheme;
use poem::listener::Acceptor;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{IntoEndpoint, Server};
use tokio::net::{TcpListener, TcpStream};

use super::{Shutdown, wrap};

/// How long requests may go on after the shutdown was triggered.
///
/// Source: design decision; container schedulers kill 30 s after they asked.
pub const DRAIN_MAX: Duration = Duration::from_secs(10);

/// A connection without a byte in either direction for this long is closed;
/// above the longest long poll (25 s).
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// Pause after a failed accept, so that a lack of file descriptors is not a busy loop.
const ACCEPT_RETRY_AFTER: Duration = Duration::from_millis(100);

/// Serves `routes` (inside [`wrap`]) until `shutdown`, then drains for at most [`DRAIN_MAX`].
///
/// New connections are refused from the trigger on; requests that have begun
/// are answered. A handler that parks for long should watch the same shutdown.
///
/// # Errors
///
/// What the system says when the listener is not usable.
pub async fn serve<E>(
    name: &'static str,
    listener: TcpListener,
    routes: E,
    shutdown: Shutdown,
) -> io::Result<()>
where
    E: IntoEndpoint,
    E::Endpoint: 'static,
{
    serve_and_drain(name, listener, routes, shutdown, DRAIN_MAX).await
}

pub(super) async fn serve_and_drain<E>(
    name: &'static str,
    listener: TcpListener,
    routes: E,
    shutdown: Shutdown,
    drain_max: Duration,
) -> io::Result<()>
where
    E: IntoEndpoint,
    E::Endpoint: 'static,
{
    let local_addr = LocalAddr(listener.local_addr()?.into());
    Server::new_with_acceptor(PromptAcceptor {
        listener,
        local_addr,
    })
    .name(name)
    .idle_timeout(IDLE_TIMEOUT)
    .run_with_graceful_shutdown(
        wrap(name, routes),
        async move { shutdown.wait().await },
        Some(drain_max),
    )
    .await
}

/// Accepts TCP connections that send small answers at once (`TCP_NODELAY`).
struct PromptAcceptor {
    listener: TcpListener,
    local_addr: LocalAddr,
}

impl Acceptor for PromptAcceptor {
    type Io = TcpStream;

    fn local_addr(&self) -> Vec<LocalAddr> {
        vec![self.local_addr.clone()]
    }

    async fn accept(&mut self) -> io::Result<(TcpStream, LocalAddr, RemoteAddr, Scheme)> {
        match self.listener.accept().await {
            Ok((stream, remote)) => {
                stream.set_nodelay(true)?;
                Ok((
                    stream,
                    self.local_addr.clone(),
                    RemoteAddr(remote.into()),
                    Scheme::HTTP,
                ))
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY_AFTER).await;
                Err(error)
            }
        }
    }
}
