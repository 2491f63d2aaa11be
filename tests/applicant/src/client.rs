//! The platform's public API, as a bank's backend and an applicant's app call it.
//!
//! Every call survives a platform that dies and comes back: it is repeated,
//! with the same idempotency key, until `RETRY_MAX` has passed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{sync::Mutex, time::sleep};

use btrust_schemas::core::WorkflowView;
use btrust_schemas::ids::{PromptId, WorkflowId};
use btrust_schemas::object::ObjectRef;
use btrust_schemas::problem::Problem;
use btrust_schemas::prompt::PromptsView;

use crate::platform::{Credentials, Urls};

/// How long a call is repeated while the platform is away: enough to start it again by hand.
const RETRY_MAX: Duration = Duration::from_mins(1);
/// Pause between two tries of a call.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// How long the platform may hold a poll for prompts. Source: the API's own bound.
const POLL_WAIT: Duration = Duration::from_secs(25);
/// How long a call may take: a poll at its longest, and as much again for a slow machine.
const CALL_MAX: Duration = Duration::from_secs(50);

/// Why a call did not give what it should.
#[derive(Debug)]
pub enum CallError {
    /// The platform answered with a problem; repeating the call will not help.
    Refused(Problem),
    /// No usable answer within `RETRY_MAX`.
    Failed(anyhow::Error),
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(problem) => write!(f, "the platform refused: {problem}"),
            Self::Failed(error) => write!(f, "{error:#}"),
        }
    }
}

impl std::error::Error for CallError {}

impl CallError {
    /// The stable code of a refusal.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(problem) => Some(&problem.code),
            Self::Failed(_) => None,
        }
    }
}

/// Whose token a call carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Bank,
    Applicant(WorkflowId),
}

/// A client of one platform, for one workflow at a time.
pub struct Client {
    http: reqwest::Client,
    urls: Urls,
    bank: Credentials,
    bank_token: Mutex<Option<String>>,
    applicant_token: Mutex<Option<String>>,
}

#[derive(Deserialize)]
struct ClientToken {
    access_token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApplicantToken {
    access_token: String,
}

impl Client {
    /// # Errors
    ///
    /// When the HTTP client cannot be set up.
    pub fn new(urls: Urls, bank: Credentials) -> Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(CALL_MAX)
            .build()
            .context("cannot set up HTTP")?;
        Ok(Self {
            http,
            urls,
            bank,
            bank_token: Mutex::default(),
            applicant_token: Mutex::default(),
        })
    }

    /// Starts a workflow; the same `key` never starts a second one.
    pub async fn start(
        &self,
        definition: &str,
        input: &Value,
        key: &str,
    ) -> Result<WorkflowView, CallError> {
        let body =
            json!({ "definition": definition, "input": input, "subjectRef": key, "locale": "en" });
        self.call(Caller::Bank, Method::POST, "/v1/workflows", |request| {
            request.header("Idempotency-Key", key).json(&body)
        })
        .await
    }

    /// How the workflow stands, as the bank sees it.
    pub async fn workflow(&self, id: WorkflowId) -> Result<WorkflowView, CallError> {
        self.call(
            Caller::Bank,
            Method::GET,
            &format!("/v1/workflows/{id}"),
            |it| it,
        )
        .await
    }

    /// What the applicant is asked, once something is newer than `after`.
    pub async fn prompts(&self, id: WorkflowId, after: u64) -> Result<PromptsView, CallError> {
        let path = format!(
            "/v1/workflows/{id}/prompts?after={after}&wait={}",
            POLL_WAIT.as_secs()
        );
        self.call(Caller::Applicant(id), Method::GET, &path, |it| it)
            .await
    }

    /// Uploads a JPEG as evidence of the workflow.
    pub async fn upload(&self, id: WorkflowId, picture: &[u8]) -> Result<ObjectRef, CallError> {
        let path = format!("/v1/workflows/{id}/objects");
        self.call(Caller::Applicant(id), Method::POST, &path, |request| {
            request
                .header(header::CONTENT_TYPE, "image/jpeg")
                .body(picture.to_vec())
        })
        .await
    }

    /// Answers a prompt. The digest of the body is the idempotency key.
    pub async fn submit(&self, prompt: PromptId, body: &Value) -> Result<(), CallError> {
        let path = format!("/v1/prompts/{prompt}/submissions");
        let caller = Caller::Applicant(prompt.workflow);
        let answer: Result<Value, _> = self
            .call(caller, Method::POST, &path, |request| {
                request.json(&json!({ "body": body }))
            })
            .await;
        answer.map(drop)
    }

    /// Calls the gateway until it answers.
    async fn call<T: DeserializeOwned>(
        &self,
        caller: Caller,
        method: Method,
        path: &str,
        complete: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<T, CallError> {
        let url = format!("{}{path}", self.urls.gateway.trim_end_matches('/'));
        let deadline = Instant::now() + RETRY_MAX;
        let mut renewed = false;
        loop {
            let token = self.token(caller).await?;
            let request = complete(self.http.request(method.clone(), &url).bearer_auth(token));
            let answered = answer(request).await;
            if let Err(Trouble::Refused(problem)) = &answered
                && problem.status == StatusCode::UNAUTHORIZED.as_u16()
                && !renewed
            {
                // The token ran out, or was signed by a key that is no longer known.
                renewed = true;
                *self.kept_token(caller).lock().await = None;
                continue;
            }
            if let Some(end) = settled(answered, deadline) {
                return end;
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    fn kept_token(&self, caller: Caller) -> &Mutex<Option<String>> {
        match caller {
            Caller::Bank => &self.bank_token,
            Caller::Applicant(_) => &self.applicant_token,
        }
    }

    async fn token(&self, caller: Caller) -> Result<String, CallError> {
        if let Some(token) = self.kept_token(caller).lock().await.as_ref() {
            return Ok(token.clone());
        }
        let token = match caller {
            Caller::Bank => self.fetch_bank_token().await?,
            Caller::Applicant(workflow) => Box::pin(self.fetch_applicant_token(workflow)).await?,
        };
        *self.kept_token(caller).lock().await = Some(token.clone());
        Ok(token)
    }

    async fn fetch_bank_token(&self) -> Result<String, CallError> {
        let url = format!("{}/oauth2/token", self.urls.auth.trim_end_matches('/'));
        let token: ClientToken = repeat(|| {
            self.http
                .post(&url)
                .basic_auth(&self.bank.client_id, Some(&self.bank.client_secret))
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body("grant_type=client_credentials")
        })
        .await?;
        Ok(token.access_token)
    }

    async fn fetch_applicant_token(&self, workflow: WorkflowId) -> Result<String, CallError> {
        let url = format!(
            "{}/v1/applicant-tokens",
            self.urls.auth.trim_end_matches('/')
        );
        let bank_token = self.token(Caller::Bank).await?;
        let asked = |bank_token: String| {
            let body = json!({ "workflow": workflow });
            let (http, url) = (&self.http, &url);
            async move {
                let token: Result<ApplicantToken, _> =
                    repeat(|| http.post(url).bearer_auth(&bank_token).json(&body)).await;
                token
            }
        };
        let token = match asked(bank_token).await {
            Err(CallError::Refused(problem))
                if problem.status == StatusCode::UNAUTHORIZED.as_u16() =>
            {
                *self.bank_token.lock().await = None;
                asked(self.token(Caller::Bank).await?).await?
            }
            answered => answered?,
        };
        Ok(token.access_token)
    }
}

/// What one try of a call came to, when it brought no value.
enum Trouble {
    Refused(Problem),
    /// The platform is away or in trouble; another try may find it well.
    Away(anyhow::Error),
}

/// Tries a call until it is settled.
async fn repeat<T: DeserializeOwned>(build: impl Fn() -> RequestBuilder) -> Result<T, CallError> {
    let deadline = Instant::now() + RETRY_MAX;
    loop {
        if let Some(end) = settled(answer(build()).await, deadline) {
            return end;
        }
        sleep(RETRY_PAUSE).await;
    }
}

/// The end of a call, or `None` if it should be tried again.
fn settled<T>(answered: Result<T, Trouble>, deadline: Instant) -> Option<Result<T, CallError>> {
    match answered {
        Ok(value) => Some(Ok(value)),
        Err(Trouble::Refused(problem)) => Some(Err(CallError::Refused(problem))),
        Err(Trouble::Away(_)) if Instant::now() < deadline => None,
        Err(Trouble::Away(error)) => Some(Err(CallError::Failed(
            error.context("the platform stayed away too long"),
        ))),
    }
}

/// Sends once and reads the answer.
async fn answer<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, Trouble> {
    let response = request
        .send()
        .await
        .map_err(|error| Trouble::Away(error.into()))?;
    let status = response.status();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(Trouble::Away(anyhow!("the platform answered {status}")));
    }
    if !status.is_success() {
        return Err(Trouble::Refused(problem_of(response).await));
    }
    // A connection that breaks inside the body is a platform that went away.
    let body = response
        .bytes()
        .await
        .map_err(|error| Trouble::Away(error.into()))?;
    serde_json::from_slice(&body).map_err(|error| {
        Trouble::Refused(Problem::new(
            status.as_u16(),
            "answer_unreadable",
            error.to_string(),
        ))
    })
}

/// The problem that a refusal carries, or one that says there was none.
async fn problem_of(response: Response) -> Problem {
    let status = response.status();
    let body = response.bytes().await.unwrap_or_default();
    serde_json::from_slice(&body).unwrap_or_else(|_| {
        Problem::new(
            status.as_u16(),
            "refused_without_problem",
            format!("the platform answered {status}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex as StdMutex};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const WORKFLOW: &str = r#"{"id":"wf_07070707070707070707070707070707","definition":"d","version":1,"status":"running",
        "waitingFor":null,"decision":null,"outcomes":{},"searchAttributes":{},"legalHold":false,"error":null,"cause":null,
        "startedAt":"2026-03-01T00:00:00Z","closedAt":null,"sequence":1}"#;

    /// A platform that gives the `answers` (status, body) one after another, and
    /// drops the connection where the status is 0. Returns its URL and what it was asked.
    async fn platform(answers: Vec<(u16, &'static str)>) -> (String, Arc<StdMutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(StdMutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        tokio::spawn(async move {
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                kept.lock().unwrap().push(request);
                if status != 0 {
                    let head = format!(
                        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                        body.len()
                    );
                    stream
                        .write_all(format!("{head}{body}").as_bytes())
                        .await
                        .unwrap();
                }
            }
        });
        (url, requests)
    }

    async fn read_request(stream: &mut TcpStream) -> String {
        let mut request = String::new();
        loop {
            let mut buffer = [0; 4096];
            let n_bytes = stream.read(&mut buffer).await.unwrap();
            request.push_str(std::str::from_utf8(&buffer[..n_bytes]).unwrap());
            let Some((head, body)) = request.split_once("\r\n\r\n") else {
                continue;
            };
            let announced = head
                .lines()
                .find_map(|it| {
                    it.to_lowercase()
                        .strip_prefix("content-length: ")
                        .map(str::to_owned)
                })
                .map_or(0, |it| it.parse().unwrap());
            if announced <= body.len() {
                return request;
            }
        }
    }

    fn client(url: String) -> Client {
        let bank = Credentials {
            client_id: "bank".to_owned(),
            client_secret: "secret".to_owned(),
        };
        Client::new(
            Urls {
                gateway: url.clone(),
                auth: url,
            },
            bank,
        )
        .unwrap()
    }

    const TOKEN: (u16, &str) = (
        200,
        r#"{"access_token":"first","token_type":"Bearer","expires_in":600}"#,
    );
    const NEXT_TOKEN: (u16, &str) = (
        200,
        r#"{"access_token":"second","token_type":"Bearer","expires_in":600}"#,
    );

    #[tokio::test]
    async fn a_platform_that_went_away_is_asked_again_with_the_same_key() {
        let (url, requests) = platform(vec![TOKEN, (503, ""), (0, ""), (201, WORKFLOW)]).await;
        let view = client(url).start("d", &json!({}), "key-1").await.unwrap();
        assert_eq!(view.status.as_str(), "running");
        let requests = requests.lock().unwrap();
        assert_eq!(requests.len(), 4);
        for request in &requests[1..] {
            assert!(
                request.to_lowercase().contains("idempotency-key: key-1"),
                "{request}"
            );
        }
        assert_eq!(requests[1], requests[3]);
    }

    #[tokio::test]
    async fn a_token_that_is_no_longer_known_is_renewed_once() {
        let (url, requests) = platform(vec![TOKEN, (401, ""), NEXT_TOKEN, (201, WORKFLOW)]).await;
        client(url).start("d", &json!({}), "key-1").await.unwrap();
        let requests = requests.lock().unwrap();
        assert!(requests[1].contains("Bearer first"), "{}", requests[1]);
        assert!(requests[3].contains("Bearer second"), "{}", requests[3]);
    }

    #[tokio::test]
    async fn a_refusal_keeps_its_code_and_is_not_repeated() {
        let problem = r#"{"type":"urn:btrust:problem:definition_unknown","title":"x","status":404,
            "code":"definition_unknown","detail":"there is no such definition"}"#;
        let (url, requests) = platform(vec![TOKEN, (404, problem)]).await;
        let error = client(url)
            .start("d", &json!({}), "key-1")
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some("definition_unknown"));
        assert_eq!(requests.lock().unwrap().len(), 2);
    }
}
