//! A service's own token, fetched from the auth service and renewed in time.

use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::Mutex;

use super::TokenError;
use crate::config::Secret;

/// A token is renewed this long before it expires.
const RENEW_BEFORE: Duration = Duration::from_mins(1);
/// Pauses while the auth service starts or restarts, 7 s together.
const PAUSES_MS: [u64; 7] = [100, 200, 400, 800, 1_500, 2_000, 2_000];
/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Gets tokens by `client_credentials`; one per process and client, shared.
pub struct TokenSource {
    client: reqwest::Client,
    token_url: String,
    client_id: String,
    client_secret: Secret,
    held: Mutex<Option<Held>>,
}

struct Held {
    token: Secret,
    renew_at: Instant,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: u64,
}

enum Failure {
    Refused,
    /// The service may answer in a moment.
    Away,
}

impl TokenSource {
    #[must_use]
    pub fn new(auth_url: &str, client_id: impl Into<String>, client_secret: Secret) -> Self {
        Self {
            client: crate::http::client(),
            token_url: format!("{}/oauth2/token", auth_url.trim_end_matches('/')),
            client_id: client_id.into(),
            client_secret,
            held: Mutex::default(),
        }
    }

    /// A token that is good for at least a minute, or as long as tokens last if that is shorter.
    ///
    /// # Errors
    ///
    /// [`TokenError::Refused`] when the client's credentials are wrong;
    /// [`TokenError::Unavailable`] when the auth service did not answer for some
    /// seconds.
    pub async fn bearer(&self) -> Result<String, TokenError> {
        let mut held = self.held.lock().await;
        if let Some(held) = &*held
            && Instant::now() < held.renew_at
        {
            return Ok(held.token.expose().to_owned());
        }
        let answer = self.fetch().await?;
        let lifetime = Duration::from_secs(answer.expires_in);
        let renew_after = lifetime.saturating_sub(RENEW_BEFORE).max(lifetime / 2);
        *held = Some(Held {
            token: Secret::new(answer.access_token.clone()),
            renew_at: Instant::now() + renew_after,
        });
        Ok(answer.access_token)
    }

    /// Forgets the held token, after a service has refused it.
    pub async fn forget(&self) {
        *self.held.lock().await = None;
    }

    async fn fetch(&self) -> Result<Answer, TokenError> {
        let mut pauses = PAUSES_MS.iter();
        loop {
            match self.fetch_once().await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Refused) => {
                    return Err(TokenError::Refused {
                        reason: "the client's credentials are wrong",
                    });
                }
                Err(Failure::Away) => {}
            }
            let Some(&pause_ms) = pauses.next() else {
                return Err(TokenError::Unavailable);
            };
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
    }

    async fn fetch_once(&self) -> Result<Answer, Failure> {
        let body = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}",
            form_encoded(&self.client_id),
            form_encoded(self.client_secret.expose())
        );
        let answer = self
            .client
            .post(&self.token_url)
            .header("content-type", "application/x-www-form-urlencoded")
            .timeout(CALL_TIMEOUT)
            .body(body)
            .send()
            .await
            .map_err(|_| Failure::Away)?;
        let status = answer.status();
        if status.is_client_error() && status.as_u16() != 429 {
            return Err(Failure::Refused);
        }
        let answer = answer.error_for_status().map_err(|_| Failure::Away)?;
        answer.json().await.map_err(|_| Failure::Away)
    }
}

/// A value in the form `application/x-www-form-urlencoded`.
fn form_encoded(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";

    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            it => encoded.extend(
                [b'%', HEX[usize::from(it >> 4)], HEX[usize::from(it & 15)]].map(char::from),
            ),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_value_is_escaped() {
        assert_eq!(form_encoded("aZ09-._~"), "aZ09-._~");
        assert_eq!(form_encoded("a b&c=+é"), "a%20b%26c%3D%2B%C3%A9");
    }
}
