//! A service's own token, fetched from the auth service and renewed in time.

use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::Mutex;

use super::TokenError;
use crate::config::Secret;

/// A token is renewed this long before it expires.
const RENEW_BEFORE: Duration = Duration::from_mins(1);
/// Pauses while the auth service starts or restarts, 7 s together.
const PAUSES_MS: [u64; 7] = [100, 200, 400, 800, 1_500, 2_000, 2_000];
/// After a failure nobody asks again for this long: those who wait hear of it at once.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Gets tokens by `client_credentials`; one per process and client, shared.
pub struct TokenSource {
    client: reqwest::Client,
    token_url: String,
    client_id: String,
    client_secret: Secret,
    held: std::sync::Mutex<Option<Held>>,
    /// Held by the one caller that asks the auth service; when that last failed, and how.
    renewing: Mutex<Option<(Instant, TokenError)>>,
}

struct Held {
    token: Secret,
    renew_at: Instant,
    expires_at: Instant,
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

impl From<Failure> for TokenError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused => Self::Refused {
                reason: "the client's credentials are wrong",
            },
            Failure::Away => Self::Unavailable,
        }
    }
}

impl TokenSource {
    #[must_use]
    pub fn new(auth_url: &str, client_id: impl Into<String>, client_secret: Secret) -> Self {
        Self {
            client: crate::http::client(),
            token_url: format!("{}/oauth2/token", auth_url.trim_end_matches('/')),
            client_id: client_id.into(),
            client_secret,
            held: std::sync::Mutex::default(),
            renewing: Mutex::default(),
        }
    }

    /// A token that is good for at least a minute, or as long as tokens last if that
    /// is shorter; for less only while the auth service does not renew it.
    ///
    /// # Errors
    ///
    /// [`TokenError::Refused`] when the client's credentials are wrong;
    /// [`TokenError::Unavailable`] when the auth service did not answer for some
    /// seconds.
    pub async fn bearer(&self) -> Result<String, TokenError> {
        if let Some(token) = self.token(|it| it.renew_at) {
            return Ok(token);
        }
        // While somebody else renews, the token in hand is as good as it was.
        let in_hand = self.token(|it| it.expires_at);
        let mut failed = match (&in_hand, self.renewing.try_lock()) {
            (_, Ok(failed)) => failed,
            (Some(token), Err(_)) => return Ok(token.clone()),
            (None, Err(_)) => self.renewing.lock().await,
        };
        if let Some(token) = self.token(|it| it.renew_at) {
            return Ok(token);
        }
        if let Some((at, error)) = &*failed
            && at.elapsed() < RETRY_AFTER
        {
            return in_hand.ok_or_else(|| error.clone());
        }
        let fetched = match &in_hand {
            Some(_) => self.fetch_once().await.map_err(TokenError::from),
            None => self.fetch().await,
        };
        match fetched {
            Ok(answer) => {
                *failed = None;
                Ok(self.hold(answer))
            }
            Err(error) => {
                *failed = Some((Instant::now(), error.clone()));
                in_hand.ok_or(error)
            }
        }
    }

    /// Forgets the held token, after a service has refused it.
    pub fn forget(&self) {
        *self.held() = None;
    }

    /// The held token, if that moment of it has not come yet.
    fn token(&self, until: impl Fn(&Held) -> Instant) -> Option<String> {
        let held = self.held();
        let held = held.as_ref().filter(|it| Instant::now() < until(it))?;
        Some(held.token.expose().to_owned())
    }

    fn hold(&self, answer: Answer) -> String {
        let lifetime = Duration::from_secs(answer.expires_in);
        let renew_after = lifetime.saturating_sub(RENEW_BEFORE).max(lifetime / 2);
        *self.held() = Some(Held {
            token: Secret::new(answer.access_token.clone()),
            renew_at: Instant::now() + renew_after,
            expires_at: Instant::now() + lifetime,
        });
        answer.access_token
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch(&self) -> Result<Answer, TokenError> {
        let mut pauses = PAUSES_MS.iter();
        loop {
            match self.fetch_once().await {
                Ok(answer) => return Ok(answer),
                Err(error @ Failure::Refused) => return Err(error.into()),
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

    /// A source whose auth service is not there, holding a token until `expires_at`.
    async fn alone(expires_at: Option<Instant>) -> TokenSource {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let source = TokenSource::new(&url, "core", Secret::new("secret"));
        *source.held() = expires_at.map(|expires_at| Held {
            token: Secret::new("held"),
            renew_at: Instant::now(),
            expires_at,
        });
        source
    }

    #[tokio::test]
    async fn a_token_that_cannot_be_renewed_is_used_until_it_expires() {
        let source = alone(Some(Instant::now() + Duration::from_hours(1))).await;
        assert_eq!(source.bearer().await, Ok("held".to_owned()));
        assert!(source.renewing.lock().await.is_some(), "it was tried");
        *source.held() = None;
        assert_eq!(source.bearer().await, Err(TokenError::Unavailable));
    }

    #[tokio::test]
    async fn nobody_waits_for_a_renewal_while_the_token_is_good() {
        let source = alone(Some(Instant::now() + Duration::from_hours(1))).await;
        let _renewal = source.renewing.lock().await;
        assert_eq!(source.bearer().await, Ok("held".to_owned()));
    }

    #[tokio::test]
    async fn those_who_come_just_after_a_failure_are_told_at_once() {
        let source = alone(None).await;
        *source.renewing.lock().await = Some((Instant::now(), TokenError::Unavailable));
        let started = Instant::now();
        let answers = futures_util::future::join_all((0..20).map(|_| source.bearer())).await;
        assert!(answers.iter().all(|it| *it == Err(TokenError::Unavailable)));
        assert!(started.elapsed() < RETRY_AFTER);
    }

    #[test]
    fn a_form_value_is_escaped() {
        assert_eq!(form_encoded("aZ09-._~"), "aZ09-._~");
        assert_eq!(form_encoded("a b&c=+é"), "a%20b%26c%3D%2B%C3%A9");
    }
}
