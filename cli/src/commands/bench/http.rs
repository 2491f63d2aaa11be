//! One kept-alive HTTP/1.1 connection to core.
//!
//! The benchmark shares the machine's cores with what it measures, so its own client does no more than
//! it must: one write a request, one buffer an answer. It speaks to our own server only.

use anyhow::{Context, bail, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest head of an answer, in bytes; core's have about 200.
const HEAD_BYTES_MAX: usize = 16 * 1024;

pub struct Connection {
    stream: TcpStream,
    host: String,
    request: Vec<u8>,
    answer: Vec<u8>,
}

/// An answer's status and body.
pub struct Answer<'c> {
    pub status: u16,
    pub body: &'c [u8],
}

impl Answer<'_> {
    /// The body of a success.
    pub fn json<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        if !(200..300).contains(&self.status) {
            bail!(
                "core answered {}: {}",
                self.status,
                String::from_utf8_lossy(self.body)
            );
        }
        serde_json::from_slice(self.body).context("core's answer is not what it should be")
    }
}

impl Connection {
    /// Connects to `http://host:port`.
    pub async fn open(url: &str) -> anyhow::Result<Self> {
        let host = url
            .strip_prefix("http://")
            .context("the benchmark speaks plain HTTP to this machine")?
            .trim_end_matches('/');
        let stream = TcpStream::connect(host)
            .await
            .with_context(|| format!("cannot connect to {host}"))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            host: host.to_owned(),
            request: Vec::new(),
            answer: Vec::new(),
        })
    }

    pub async fn get(&mut self, path: &str, token: &str) -> anyhow::Result<Answer<'_>> {
        self.write_head("GET", path, token, 0);
        self.exchange().await
    }

    pub async fn post(
        &mut self,
        path: &str,
        token: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<Answer<'_>> {
        let body = serde_json::to_vec(body)?;
        self.write_head("POST", path, token, body.len());
        self.request.extend_from_slice(&body);
        self.exchange().await
    }

    fn write_head(&mut self, method: &str, path: &str, token: &str, n_bytes: usize) {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {n_bytes}\r\n\r\n",
            self.host
        );
        self.request.clear();
        self.request.extend_from_slice(head.as_bytes());
    }

    async fn exchange(&mut self) -> anyhow::Result<Answer<'_>> {
        self.stream.write_all(&self.request).await?;
        self.answer.clear();
        let n_head = loop {
            if let Some(at) = find(&self.answer, b"\r\n\r\n") {
                break at + 4;
            }
            ensure!(
                self.answer.len() < HEAD_BYTES_MAX,
                "core's answer has no end of its head"
            );
            self.read_more().await?;
        };
        let head = std::str::from_utf8(&self.answer[..n_head]).context("a head is text")?;
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|it| it.parse().ok())
            .context("an answer begins with its status")?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().ok())?
        });
        let end = n_head + length.context("core says how long its answers are")?;
        while self.answer.len() < end {
            self.read_more().await?;
        }
        Ok(Answer {
            status,
            body: &self.answer[n_head..end],
        })
    }

    async fn read_more(&mut self) -> anyhow::Result<()> {
        self.answer.reserve(4_096);
        let n_bytes = self.stream.read_buf(&mut self.answer).await?;
        ensure!(0 < n_bytes, "core has closed the connection");
        Ok(())
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|it| it == what)
}
