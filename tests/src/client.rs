//! A caller of the public API with one bearer token.

use serde_json::{Value, json};

/// What an endpoint answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub body: Value,
}

impl Answer {
    /// The stable code of a problem body.
    #[must_use]
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or("no code")
    }

    /// Asserts status, media type and code of a refusal.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code()), (status, code), "{}", self.body);
        assert_eq!(self.content_type, "application/problem+json");
    }

    /// The body of a success.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!(
            (200..300).contains(&self.status),
            "{} {}",
            self.status,
            self.body
        );
        self.body
    }
}

/// One caller.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    gateway: String,
    auth: String,
    token: String,
}

impl Client {
    /// A caller who shows `token` to the gateway and to auth.
    #[must_use]
    pub fn of_token(gateway: &str, auth: &str, token: &str) -> Self {
        Self {
            http: reqwest::Client::new(),
            gateway: gateway.to_owned(),
            auth: auth.to_owned(),
            token: token.to_owned(),
        }
    }

    /// A caller who gets a token for client credentials.
    ///
    /// # Panics
    ///
    /// When auth refuses.
    pub async fn of_credentials(gateway: &str, auth: &str, id: &str, secret: &str) -> Self {
        let answer: Value = reqwest::Client::new()
            .post(format!("{auth}/oauth2/token"))
            .basic_auth(id, Some(secret))
            .header("content-type", "application/x-www-form-urlencoded")
            .body("grant_type=client_credentials")
            .send()
            .await
            .expect("auth answers")
            .json()
            .await
            .expect("auth answers JSON");
        let token = answer["access_token"]
            .as_str()
            .unwrap_or_else(|| panic!("auth refused: {answer}"));
        Self::of_token(gateway, auth, token)
    }

    /// The same addresses with another token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: token.to_owned(),
            ..self.clone()
        }
    }

    /// A client with the token of the applicant of `workflow`.
    pub async fn applicant(&self, workflow: &str) -> Self {
        let answer = self
            .post_auth("/v1/applicant-tokens", json!({"workflow": workflow}))
            .await
            .ok();
        self.with_token(answer["accessToken"].as_str().expect("a token"))
    }

    /// The token that this caller shows.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    pub async fn get(&self, path: &str) -> Answer {
        answer(
            self.http
                .get(format!("{}{path}", self.gateway))
                .bearer_auth(&self.token),
        )
        .await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        answer(
            self.http
                .post(format!("{}{path}", self.gateway))
                .bearer_auth(&self.token)
                .json(&body),
        )
        .await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        let url = format!("{}{path}", self.gateway);
        answer(self.http.delete(url).bearer_auth(&self.token)).await
    }

    pub async fn post_auth(&self, path: &str, body: Value) -> Answer {
        answer(
            self.http
                .post(format!("{}{path}", self.auth))
                .bearer_auth(&self.token)
                .json(&body),
        )
        .await
    }

    /// Posts to a service that the public never talks to.
    pub async fn post_to(&self, url: &str, body: Value) -> Answer {
        answer(self.http.post(url).bearer_auth(&self.token).json(&body)).await
    }

    /// Posts bytes as they are.
    pub async fn post_bytes(&self, path: &str, media_type: &str, bytes: Vec<u8>) -> Answer {
        let request = self
            .http
            .post(format!("{}{path}", self.gateway))
            .header("content-type", media_type);
        answer(request.bearer_auth(&self.token).body(bytes)).await
    }

    /// Starts a workflow under an idempotency key.
    pub async fn start(&self, key: &str, definition: &str, input: Value) -> Answer {
        self.start_with(key, json!({"definition": definition, "input": input}))
            .await
    }

    /// The same with a body of one's own.
    pub async fn start_with(&self, key: &str, body: Value) -> Answer {
        let request = self
            .http
            .post(format!("{}/v1/workflows", self.gateway))
            .header("idempotency-key", key);
        answer(request.bearer_auth(&self.token).json(&body)).await
    }

    /// Waits until the workflow has a prompt for the caller and returns it.
    ///
    /// # Panics
    ///
    /// When none comes within 30 s or the workflow closes.
    pub async fn prompt(&self, workflow: &str) -> Value {
        let mut after = 0;
        for _ in 0..30 {
            let view = self
                .get(&format!(
                    "/v1/workflows/{workflow}/prompts?after={after}&wait=1"
                ))
                .await
                .ok();
            if let Some(prompt) = view["prompts"].as_array().and_then(|it| it.first()) {
                return prompt.clone();
            }
            assert_eq!(view["status"], "running", "{view}");
            after = view["sequence"].as_u64().expect("a sequence");
        }
        panic!("no prompt came for {workflow}");
    }

    /// Answers a prompt.
    pub async fn submit(&self, prompt: &Value, body: Value) -> Answer {
        let id = prompt["id"].as_str().expect("a prompt has an id");
        self.post(
            &format!("/v1/prompts/{id}/submissions"),
            json!({"body": body}),
        )
        .await
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.expect("the server answers");
    let status = response.status().as_u16();
    let header = response
        .headers()
        .get("content-type")
        .and_then(|it| it.to_str().ok())
        .unwrap_or_default();
    let content_type = header.split(';').next().unwrap_or_default().to_owned();
    let text = response.text().await.expect("the body arrives");
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer {
        status,
        content_type,
        body,
    }
}
