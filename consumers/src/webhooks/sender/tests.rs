//! Calls to real receivers on this machine.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// A resolver that gives one answer after the other, the last one for ever.
struct Scripted {
    answers: Vec<Vec<&'static str>>,
    n_asked: AtomicUsize,
}

#[async_trait]
impl Resolver for Scripted {
    async fn resolve(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let number = self.n_asked.fetch_add(1, Ordering::SeqCst);
        let answer = &self.answers[number.min(self.answers.len() - 1)];
        Ok(answer
            .iter()
            .map(|it| SocketAddr::new(it.parse().unwrap(), port))
            .collect())
    }
}

fn scripted(answers: &[&[&'static str]]) -> Arc<Scripted> {
    Arc::new(Scripted {
        answers: answers.iter().map(|it| it.to_vec()).collect(),
        n_asked: AtomicUsize::new(0),
    })
}

fn sender(resolver: Arc<dyn Resolver>, reach: Reach) -> Sender {
    Sender::new(resolver, reach, None, CALL_MAX_USUAL).unwrap()
}

async fn send(sender: &Sender, url: &str) -> Outcome {
    let target = Target::parse(url, sender.reach()).unwrap();
    let secrets = [SigningSecret::from_bytes(vec![7; 32])];
    let call = Call {
        target: &target,
        id: "msg_1",
        timestamp_s: 1_700_000_000,
        body: "{}",
        secrets: &secrets,
    };
    sender.send(&call).await
}

/// A receiver that answers every connection with `answer` and remembers what it was sent.
async fn receiver(answer: &'static str) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut bytes = vec![0; 4_096];
                let mut n = 0;
                while !String::from_utf8_lossy(&bytes[..n]).contains("\r\n\r\n{}") {
                    match stream.read(&mut bytes[n..]).await {
                        Ok(more) if 0 < more => n += more,
                        _ => return,
                    }
                }
                seen.lock()
                    .unwrap()
                    .push(String::from_utf8_lossy(&bytes[..n]).into_owned());
                let _ = stream.write_all(answer.as_bytes()).await;
                // An answer without an end is never closed by this side.
                if !answer.contains("content-length") {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    (port, requests)
}

fn answered(status: u16) -> Outcome {
    Outcome::Answered {
        status,
        retry_after_ms: None,
    }
}

#[tokio::test]
async fn a_call_is_a_signed_post_to_path_and_query() {
    let (port, requests) = receiver("HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n").await;
    let sender = sender(Arc::new(SystemResolver), Reach::Loopback);
    assert_eq!(
        send(&sender, &format!("http://127.0.0.1:{port}/a?b=c")).await,
        answered(204)
    );
    let request = requests.lock().unwrap()[0].clone();
    assert!(request.starts_with("POST /a?b=c HTTP/1.1\r\n"), "{request}");
    for line in [
        format!("host: 127.0.0.1:{port}"),
        "webhook-id: msg_1".to_owned(),
        "webhook-timestamp: 1700000000".to_owned(),
        "webhook-signature: v1,".to_owned(),
        "content-type: application/json".to_owned(),
    ] {
        assert!(
            request.contains(&format!("\r\n{line}")),
            "{line}\n{request}"
        );
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let (inside, requests) = receiver("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let location = format!(
        "HTTP/1.1 307 Go\r\nlocation: http://127.0.0.1:{inside}/\r\ncontent-length: 0\r\n\r\n"
    );
    let (port, _) = receiver(location.leak()).await;
    let sender = sender(Arc::new(SystemResolver), Reach::Loopback);
    assert_eq!(
        send(&sender, &format!("http://127.0.0.1:{port}/")).await,
        answered(307)
    );
    assert!(requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_receiver_can_say_when_to_come_back() {
    let busy = "HTTP/1.1 503 Busy\r\nretry-after: 120\r\ncontent-length: 0\r\n\r\n";
    let (port, _) = receiver(busy).await;
    let sender = sender(Arc::new(SystemResolver), Reach::Loopback);
    let expected = Outcome::Answered {
        status: 503,
        retry_after_ms: Some(120_000),
    };
    assert_eq!(
        send(&sender, &format!("http://127.0.0.1:{port}/")).await,
        expected
    );
}

#[tokio::test]
async fn a_name_with_any_private_address_is_refused_before_a_connection() {
    let (port, requests) = receiver("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    for addresses in [
        &["127.0.0.1"][..],
        &["169.254.169.254"],
        &["10.0.0.1"],
        &["8.8.8.8", "127.0.0.1"],
        &["::1"],
        &["::ffff:127.0.0.1"],
        &["64:ff9b::7f00:1"],
        &["2002:7f00:1::"],
        &["fd00:ec2::254"],
        &["0.0.0.0"],
        &["100.64.0.1"],
    ] {
        let sender = sender(scripted(&[addresses]), Reach::Public);
        let outcome = send(&sender, &format!("https://rebind.example:{port}/")).await;
        assert_eq!(
            outcome,
            Outcome::Unanswered(Fault::Address),
            "{addresses:?}"
        );
    }
    assert!(requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_address_that_was_checked_is_the_one_that_is_connected_to() {
    let (port, requests) = receiver("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    // The second answer would lead elsewhere; nobody asks for it.
    let resolver = scripted(&[&["127.0.0.1"], &["169.254.169.254"]]);
    let sender = sender(Arc::clone(&resolver) as _, Reach::Loopback);
    assert_eq!(
        send(&sender, &format!("http://localhost:{port}/")).await,
        answered(200)
    );
    assert_eq!(resolver.n_asked.load(Ordering::SeqCst), 1);
    assert_eq!(requests.lock().unwrap().len(), 1);
    // At the next call it would, and is refused.
    let outcome = send(&sender, &format!("http://localhost:{port}/")).await;
    assert_eq!(outcome, Outcome::Unanswered(Fault::Address));
}

#[tokio::test]
async fn a_host_without_an_address_or_a_listener_is_not_answered() {
    let sender_of = |answers: &[&[&'static str]]| sender(scripted(answers), Reach::Loopback);
    let outcome = send(&sender_of(&[&[]]), "https://gone.example/").await;
    assert_eq!(outcome, Outcome::Unanswered(Fault::Address));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let outcome = send(
        &sender_of(&[&["127.0.0.1"]]),
        &format!("http://localhost:{port}/"),
    )
    .await;
    assert_eq!(outcome, Outcome::Unanswered(Fault::Connect));
}

#[tokio::test]
async fn a_receiver_that_drips_its_headers_is_cut() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // A byte now and then, for ever.
        for byte in b"HTTP/1.1 200 OK\r\nx-slow: "
            .iter()
            .chain(std::iter::repeat(&b'a'))
        {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let call_max = Duration::from_millis(500);
    let sender = Sender::new(Arc::new(SystemResolver), Reach::Loopback, None, call_max).unwrap();
    let began = Instant::now();
    let outcome = send(&sender, &format!("http://127.0.0.1:{port}/")).await;
    assert_eq!(outcome, Outcome::Unanswered(Fault::Timeout));
    assert!(call_max <= began.elapsed());
}

#[tokio::test]
async fn an_answer_without_an_end_counts_by_its_status_and_is_cut() {
    let (port, _) =
        receiver("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    let sender = sender(Arc::new(SystemResolver), Reach::Loopback);
    let began = Instant::now();
    assert_eq!(
        send(&sender, &format!("http://127.0.0.1:{port}/")).await,
        answered(200)
    );
    assert!(began.elapsed() < CALL_MAX);
}

#[tokio::test]
async fn an_answer_that_is_no_http_or_has_a_huge_head_is_broken() {
    let huge = format!(
        "HTTP/1.1 200 OK\r\nx: {}\r\n\r\n",
        "a".repeat(HEAD_BYTES_MAX)
    );
    for answer in ["SSH-2.0-OpenSSH\r\n\r\n", huge.leak()] {
        let (port, _) = receiver(answer).await;
        let sender = sender(Arc::new(SystemResolver), Reach::Loopback);
        let outcome = send(&sender, &format!("http://127.0.0.1:{port}/")).await;
        assert_eq!(outcome, Outcome::Unanswered(Fault::Broken));
    }
}

mod tls {
    use rcgen::{CertificateParams, CertifiedKey, KeyPair};
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// A TLS receiver for `name`, and the file with its certificate.
    async fn receiver(folder: &Path, name: &str) -> (u16, std::path::PathBuf) {
        let signing_key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let cert = params.self_signed(&signing_key).unwrap();
        let made = CertifiedKey { cert, signing_key };
        let path = folder.join(format!("{name}.pem"));
        std::fs::write(&path, made.cert.pem()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key =
            rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut bytes = [0; 4_096];
                let _ = stream.read(&mut bytes).await;
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                    .await;
            }
        });
        (port, path)
    }

    #[tokio::test]
    async fn only_a_trusted_certificate_of_the_right_name_is_talked_to() {
        let folder = tempfile::tempdir().unwrap();
        let (port, trusted) = receiver(folder.path(), "bank.example").await;
        let resolver = || scripted(&[&["127.0.0.1"]]);
        let trusting =
            Sender::new(resolver(), Reach::Loopback, Some(&trusted), CALL_MAX_USUAL).unwrap();
        let strict = Sender::new(resolver(), Reach::Loopback, None, CALL_MAX_USUAL).unwrap();
        let here = format!("https://bank.example:{port}/");
        assert_eq!(send(&trusting, &here).await, answered(200));
        assert_eq!(send(&strict, &here).await, Outcome::Unanswered(Fault::Tls));
        let elsewhere = format!("https://other.example:{port}/");
        assert_eq!(
            send(&trusting, &elsewhere).await,
            Outcome::Unanswered(Fault::Tls)
        );
    }

    #[test]
    fn a_file_without_certificates_of_use_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none.pem");
        let resolver = || scripted(&[&["127.0.0.1"]]);
        assert!(Sender::new(resolver(), Reach::Public, Some(&path), CALL_MAX).is_err());
        std::fs::write(
            &path,
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        assert!(Sender::new(resolver(), Reach::Public, Some(&path), CALL_MAX).is_err());
    }
}
