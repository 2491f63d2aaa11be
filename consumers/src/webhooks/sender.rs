//! Makes one call: resolves the host, checks every address, connects to a checked one, and sends.
//!
//! There is one connection a call, to an address that was checked and never looked up again, so that a name
//! cannot change its meaning between check and connection. No proxy, no redirect, no pool.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::address::Reach;
use super::delivery::{Fault, Outcome};
use super::signature::{ID_HEADER, SIGNATURE_HEADER, SigningSecret, TIMESTAMP_HEADER, signatures};
use super::target::Target;

/// How long a whole call may take, from the name to the last header of the answer, unless a setting says
/// otherwise; and the longest that it may say.
///
/// Source: Standard Webhooks asks for 15 to 30 s.
pub const CALL_MAX_USUAL: Duration = Duration::from_secs(15);
pub const CALL_MAX: Duration = Duration::from_secs(30);
/// How much of that an address may take to connect, so that the next one of the host has its chance.
const CONNECT_MAX: Duration = Duration::from_secs(4);
/// Addresses of one host that are tried.
const ADDRESSES_MAX: usize = 3;
/// Addresses that one name may have; a longer list is refused instead of checked.
const ANSWERS_MAX: usize = 64;
/// How much of an answer's body is read before the connection is closed, in bytes, and for how long.
///
/// Its content does not count. It is read so that a receiver that is done soon is not cut off.
const BODY_BYTES_MAX: usize = 16 * 1024;
const BODY_MAX: Duration = Duration::from_secs(1);
/// Largest head of an answer, in bytes, and its number of headers.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
/// How we call ourselves.
const AGENT: &str = concat!("BTrust-Webhooks/", env!("CARGO_PKG_VERSION"));

/// Finds the addresses of a name.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// All addresses of `host`, each with `port`.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The resolver of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

/// One call, as it leaves.
pub struct Call<'c> {
    pub target: &'c Target,
    /// The same for every attempt.
    pub id: &'c str,
    /// The time of this attempt, s since the epoch.
    pub timestamp_s: i64,
    pub body: &'c str,
    pub secrets: &'c [SigningSecret],
}

/// Why a sender cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    #[error("the certificates in {path} cannot be read")]
    Certificates {
        path: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// Makes calls.
#[derive(Clone)]
pub struct Sender {
    resolver: Arc<dyn Resolver>,
    tls: TlsConnector,
    reach: Reach,
    call_max: Duration,
}

impl Sender {
    /// A sender that trusts the authorities of the web, and those in the PEM file `more_authorities`; a whole
    /// call takes `call_max`, which is at most [`CALL_MAX`].
    ///
    /// # Errors
    ///
    /// [`SenderError`]
    pub fn new(
        resolver: Arc<dyn Resolver>,
        reach: Reach,
        more_authorities: Option<&Path>,
        call_max: Duration,
    ) -> Result<Self, SenderError> {
        let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned();
        let mut roots: RootCertStore = roots.collect();
        if let Some(path) = more_authorities {
            let failed =
                |source: Box<dyn std::error::Error + Send + Sync>| SenderError::Certificates {
                    path: path.display().to_string(),
                    source,
                };
            let read = CertificateDer::pem_file_iter(path).map_err(|it| failed(it.into()))?;
            for certificate in read {
                let certificate = certificate.map_err(|it| failed(it.into()))?;
                roots.add(certificate).map_err(|it| failed(it.into()))?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            resolver,
            tls: Arc::new(tls).into(),
            reach,
            call_max,
        })
    }

    #[must_use]
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// Sends `call`; everything that may happen is an [`Outcome`].
    pub async fn send(&self, call: &Call<'_>) -> Outcome {
        let until = Instant::now() + self.call_max;
        match timeout_at(until, self.answer(call)).await {
            Ok(Ok(answer)) => {
                let outcome = Outcome::Answered {
                    status: answer.status().as_u16(),
                    retry_after_ms: retry_after_ms(answer.headers()),
                };
                discard(answer.into_body()).await;
                outcome
            }
            Ok(Err(fault)) => Outcome::Unanswered(fault),
            Err(_) => Outcome::Unanswered(Fault::Timeout),
        }
    }

    /// The addresses of a target, all of which may be called.
    ///
    /// # Errors
    ///
    /// [`Fault::Address`] if there is none or a single one may not: a name that also means something inside is
    /// not trusted.
    pub async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, Fault> {
        let (host, port) = (target.host(), target.port());
        let found = if let Ok(address) = host.parse::<IpAddr>() {
            vec![SocketAddr::new(address, port)]
        } else {
            let found = self.resolver.resolve(host, port).await;
            found.map_err(|_| Fault::Address)?
        };
        if found.is_empty() {
            return Err(Fault::Address);
        }
        if ANSWERS_MAX < found.len() || !found.iter().all(|it| self.reach.includes(it.ip())) {
            tracing::warn!(host, "a webhook's host has an address that is not called");
            return Err(Fault::Address);
        }
        Ok(found)
    }

    async fn answer(&self, call: &Call<'_>) -> Result<Response<Incoming>, Fault> {
        let stream = self.connect(call.target).await?;
        if !call.target.is_https() {
            return exchange(stream, call).await;
        }
        let name = ServerName::try_from(call.target.host().to_owned()).map_err(|_| Fault::Tls)?;
        let stream = self
            .tls
            .connect(name, stream)
            .await
            .map_err(|_| Fault::Tls)?;
        exchange(stream, call).await
    }

    async fn connect(&self, target: &Target) -> Result<TcpStream, Fault> {
        let mut fault = Fault::Connect;
        for address in self
            .addresses(target)
            .await?
            .into_iter()
            .take(ADDRESSES_MAX)
        {
            match timeout(CONNECT_MAX, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(_)) => fault = Fault::Connect,
                Err(_) => fault = Fault::Timeout,
            }
        }
        Err(fault)
    }
}

/// Sends the request on a connection and reads the head of the answer.
async fn exchange<S>(stream: S, call: &Call<'_>) -> Result<Response<Incoming>, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Fault::Broken)?;
    let signature = signatures(
        call.secrets,
        call.id,
        call.timestamp_s,
        call.body.as_bytes(),
    );
    let request = Request::builder()
        .method(Method::POST)
        .uri(call.target.path())
        .header(HOST, call.target.authority())
        .header(USER_AGENT, AGENT)
        .header(CONTENT_TYPE, "application/json")
        .header("connection", "close")
        .header(ID_HEADER, call.id)
        .header(TIMESTAMP_HEADER, call.timestamp_s)
        .header(SIGNATURE_HEADER, signature)
        .body(Full::new(Bytes::copy_from_slice(call.body.as_bytes())))
        .map_err(|_| Fault::Broken)?;
    let answering = sender.send_request(request);
    driven(connection, answering)
        .await
        .map_err(|_| Fault::Broken)
}

/// Runs `work` while the connection is served, which goes on until it is dropped or ends.
async fn driven<S, T>(
    connection: http1::Connection<TokioIo<S>, Full<Bytes>>,
    work: impl Future<Output = T>,
) -> T
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // What is left of the answer is read while the connection is driven; it ends with the body's reader.
    tokio::spawn(async move {
        // How it ended is what the caller sees of the answer.
        let _ = timeout(CALL_MAX + BODY_MAX, connection).await;
    });
    work.await
}

/// Reads what is left of an answer, within limits, and closes.
async fn discard(mut body: Incoming) {
    let until = Instant::now() + BODY_MAX;
    let mut n_bytes = 0;
    while n_bytes < BODY_BYTES_MAX {
        match timeout_at(until, body.frame()).await {
            Ok(Some(Ok(frame))) => n_bytes += frame.data_ref().map_or(0, Bytes::len),
            _ => return,
        }
    }
}

/// How long the receiver asks us to stay away, where it says so in seconds.
fn retry_after_ms(headers: &HeaderMap) -> Option<i64> {
    let seconds: i64 = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(seconds.saturating_mul(1_000))
}

#[cfg(test)]
mod tests;
