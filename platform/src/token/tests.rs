use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use poem::http::StatusCode;
use poem::web::{Data, Json};
use poem::{EndpointExt, Request, Route, get, handler, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::clock::{ManualClock, SharedClock};
use crate::config::Secret;
use crate::http::{Shutdown, serve};

const NOW_S: i64 = 1_800_000_000;

fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn jwks(keys: &[(&str, u8)]) -> Value {
    let jwk = |(kid, n): &(&str, u8)| {
        let x = URL_SAFE_NO_PAD.encode(key(*n).verifying_key().as_bytes());
        json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": x })
    };
    json!({ "keys": keys.iter().map(jwk).collect::<Vec<_>>() })
}

fn claims() -> Claims {
    Claims {
        sub: "bank".to_owned(),
        tenant: "t".to_owned(),
        scope: "workflows:read workflows:write".to_owned(),
        kind: Kind::Client,
        workflow: None,
        device: None,
        session_end: None,
        exp: NOW_S + 600,
        iat: NOW_S,
        iss: "http://auth".to_owned(),
        aud: AUDIENCE.to_owned(),
        jti: "1".to_owned(),
    }
}

fn sign(kid: &str, n: u8, claims: &Claims) -> String {
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some(kid.to_owned());
    let der = key(n).to_pkcs8_der().unwrap();
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_ed_der(der.as_bytes())).unwrap()
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(NOW_S * 1000))
}

fn fixed_verifier() -> Verifier {
    let jwks: JwkSet = serde_json::from_value(jwks(&[("one", 1)])).unwrap();
    Verifier::with_keys(&jwks, clock())
}

#[tokio::test]
async fn a_good_token_says_what_was_signed() {
    let applicant = Claims {
        kind: Kind::Applicant,
        workflow: Some("wf_1".to_owned()),
        device: Some("d".to_owned()),
        ..claims()
    };
    for claims in [claims(), applicant] {
        assert_eq!(
            fixed_verifier().verify(&sign("one", 1, &claims)).await,
            Ok(claims)
        );
    }
}

#[tokio::test]
async fn a_token_is_good_until_its_expiry_and_the_difference_of_two_clocks() {
    for (exp, iat, is_good) in [
        (NOW_S - LEEWAY_S + 1, NOW_S - 600, true),
        (NOW_S - LEEWAY_S, NOW_S - 600, false),
        (NOW_S + 600, NOW_S + LEEWAY_S, true),
        (NOW_S + 600, NOW_S + LEEWAY_S + 1, false),
        (i64::MAX, i64::MIN, true),
        (i64::MIN, NOW_S, false),
    ] {
        let token = sign(
            "one",
            1,
            &Claims {
                exp,
                iat,
                ..claims()
            },
        );
        let answer = fixed_verifier().verify(&token).await;
        assert_eq!(answer.is_ok(), is_good, "{exp} {iat} {answer:?}");
    }
}

#[tokio::test]
async fn a_token_that_is_not_ours_is_refused() {
    let good = sign("one", 1, &claims());
    let (head, payload_and_signature) = good.split_once('.').unwrap();
    let (payload, signature) = payload_and_signature.split_once('.').unwrap();
    let encoded = |header: Value| URL_SAFE_NO_PAD.encode(header.to_string());
    // The classic confusion: the public key used as a shared secret.
    let public = key(1).verifying_key().to_bytes();
    let mut hs256 = Header::new(Algorithm::HS256);
    hs256.kid = Some("one".to_owned());
    let confused =
        jsonwebtoken::encode(&hs256, &claims(), &EncodingKey::from_secret(&public)).unwrap();
    let none = encoded(json!({ "alg": "none", "kid": "one" }));
    let no_kid = encoded(json!({ "alg": "EdDSA" }));
    let other_payload = encoded(json!({ "sub": "me", "exp": NOW_S + 600, "aud": AUDIENCE }));
    for token in [
        String::new(),
        "nonsense".to_owned(),
        format!("{head}.{payload}"),
        format!("{head}.{payload}."),
        format!("{none}.{payload}."),
        format!("{none}.{payload}.{signature}"),
        format!("{no_kid}.{payload}.{signature}"),
        format!("{head}.{other_payload}.{signature}"),
        confused,
        sign("one", 2, &claims()),
        sign("two", 1, &claims()),
        sign(
            "one",
            1,
            &Claims {
                aud: "another".to_owned(),
                ..claims()
            },
        ),
        "a".repeat(1_000_000),
    ] {
        let answer = fixed_verifier().verify(&token).await;
        assert!(
            matches!(answer, Err(TokenError::Refused { .. })),
            "{token:.80} {answer:?}"
        );
    }
}

#[test]
fn a_scope_is_held_as_a_whole_word_and_a_star_holds_every_queue() {
    let holder = Claims {
        scope: "workflows:read queue:*".to_owned(),
        ..claims()
    };
    assert!(holder.has_scope("workflows:read"));
    assert!(holder.has_scope("queue:otp"));
    for lacked in ["workflows", "workflows:write", "core:call", ""] {
        assert!(!holder.has_scope(lacked), "{lacked}");
    }
    assert!(!claims().has_scope("queue:otp"));
    assert_eq!(
        claims().require("core:call").unwrap_err().status(),
        StatusCode::FORBIDDEN
    );
}

#[test]
fn a_bearer_token_is_found_in_its_header_only() {
    let token = |value: &'static str| {
        bearer(&Request::builder().header("authorization", value).finish()).map(str::to_owned)
    };
    assert_eq!(token("Bearer abc").as_deref(), Some("abc"));
    assert_eq!(token("bearer abc").as_deref(), Some("abc"));
    for value in ["Basic abc", "Bearer", "Bearer ", "abc"] {
        assert_eq!(token(value), None, "{value}");
    }
    assert_eq!(bearer(&Request::builder().finish()), None);
}

#[tokio::test]
async fn a_caller_without_a_good_token_is_asked_for_one() {
    for request in [
        Request::builder().finish(),
        Request::builder()
            .header("authorization", "Bearer nonsense")
            .finish(),
    ] {
        let error = fixed_verifier().authenticate(&request).await.unwrap_err();
        let answer = error.into_response();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
}

/// An auth service that loses its first connections, as one that restarts does.
struct Auth {
    url: String,
    shutdown: Shutdown,
    n_calls: Arc<AtomicUsize>,
    has_second_key: Arc<AtomicBool>,
}

#[derive(Clone)]
struct AuthState {
    n_calls: Arc<AtomicUsize>,
    has_second_key: Arc<AtomicBool>,
}

#[handler]
fn publish_keys(Data(state): Data<&AuthState>) -> Json<Value> {
    state.n_calls.fetch_add(1, Ordering::SeqCst);
    let keys = &[("one", 1), ("two", 2)];
    let n_keys = if state.has_second_key.load(Ordering::SeqCst) {
        2
    } else {
        1
    };
    Json(jwks(&keys[..n_keys]))
}

#[handler]
fn mint(Data(state): Data<&AuthState>, body: String) -> poem::Result<Json<Value>> {
    let n_call = state.n_calls.fetch_add(1, Ordering::SeqCst);
    if body != "grant_type=client_credentials&client_id=core&client_secret=s%2Bcret" {
        return Err(poem::Error::from_status(StatusCode::UNAUTHORIZED));
    }
    if n_call == 0 {
        return Err(poem::Error::from_status(StatusCode::SERVICE_UNAVAILABLE));
    }
    let token = format!("token-{n_call}");
    Ok(Json(
        json!({ "access_token": token, "token_type": "Bearer", "expires_in": 600 }),
    ))
}

async fn auth(n_lost: usize) -> Auth {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let n_calls = Arc::new(AtomicUsize::new(0));
    let has_second_key = Arc::new(AtomicBool::new(false));
    let state = AuthState {
        n_calls: n_calls.clone(),
        has_second_key: has_second_key.clone(),
    };
    let routes = Route::new()
        .at("/.well-known/jwks.json", get(publish_keys))
        .at("/oauth2/token", post(mint))
        .data(state);
    let shutdown = Shutdown::new();
    let until = shutdown.clone();
    tokio::spawn(async move {
        for _ in 0..n_lost {
            drop(listener.accept().await);
        }
        serve("auth", listener, routes, until).await
    });
    Auth {
        url,
        shutdown,
        n_calls,
        has_second_key,
    }
}

#[tokio::test]
async fn a_verifier_waits_for_an_auth_service_that_is_starting() {
    let auth = auth(2).await;
    let verifier = Verifier::new(&auth.url, clock());
    assert_eq!(
        verifier.verify(&sign("one", 1, &claims())).await,
        Ok(claims())
    );
    assert_eq!(auth.n_calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn many_requests_at_once_fetch_the_keys_once() {
    let auth = auth(0).await;
    let verifier = Verifier::new(&auth.url, clock());
    let token = sign("one", 1, &claims());
    let answers = futures_util::future::join_all((0..50).map(|_| verifier.verify(&token))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(auth.n_calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_unknown_key_is_looked_up_again_at_most_every_ten_seconds() {
    let auth = auth(0).await;
    let clock = clock();
    let verifier = Verifier::new(&auth.url, clock.clone() as SharedClock);
    let token = sign("two", 2, &claims());
    let unknown = Err(TokenError::Refused {
        reason: "its key is not known",
    });
    assert_eq!(verifier.verify(&token).await, unknown);
    auth.has_second_key.store(true, Ordering::SeqCst);
    clock.advance(9_999);
    assert_eq!(verifier.verify(&token).await, unknown);
    assert_eq!(auth.n_calls.load(Ordering::SeqCst), 1);
    clock.advance(1);
    assert_eq!(verifier.verify(&token).await, Ok(claims()));
    assert_eq!(auth.n_calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn known_keys_go_on_working_while_the_auth_service_is_away() {
    let auth = auth(0).await;
    let clock = clock();
    let verifier = Verifier::new(&auth.url, clock.clone() as SharedClock);
    let token = sign("one", 1, &claims());
    assert_eq!(verifier.verify(&token).await, Ok(claims()));
    auth.shutdown.trigger();
    clock.advance(60_000);
    assert_eq!(verifier.verify(&token).await, Ok(claims()));
}

#[tokio::test]
async fn a_verifier_that_never_reached_the_auth_service_says_so() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let verifier = Verifier::new(&format!("http://{closed}"), clock());
    let token = sign("one", 1, &claims());
    assert_eq!(verifier.verify(&token).await, Err(TokenError::Unavailable));
    // The next one is told at once.
    let started = std::time::Instant::now();
    assert_eq!(verifier.verify(&token).await, Err(TokenError::Unavailable));
    assert!(started.elapsed().as_millis() < 500);
}

#[tokio::test]
async fn a_service_gets_its_token_through_a_restart_of_auth_and_keeps_it() {
    let auth = auth(2).await;
    let source = TokenSource::new(&auth.url, "core", Secret::new("s+cret"));
    // Two lost connections and one 503 before.
    assert_eq!(source.bearer().await, Ok("token-1".to_owned()));
    assert_eq!(source.bearer().await, Ok("token-1".to_owned()));
    source.forget();
    assert_eq!(source.bearer().await, Ok("token-2".to_owned()));
    assert_eq!(auth.n_calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn wrong_credentials_are_refused_at_once() {
    let auth = auth(0).await;
    let source = TokenSource::new(&auth.url, "core", Secret::new("wrong"));
    let refused = Err(TokenError::Refused {
        reason: "the client's credentials are wrong",
    });
    assert_eq!(source.bearer().await, refused);
    assert_eq!(auth.n_calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_token_that_was_good_before_still_expires() {
    let clock = clock();
    let jwks: JwkSet = serde_json::from_value(jwks(&[("one", 1)])).unwrap();
    let verifier = Verifier::with_keys(&jwks, clock.clone() as SharedClock);
    let token = sign("one", 1, &claims());
    assert_eq!(verifier.verify(&token).await, Ok(claims()));
    clock.advance((600 + LEEWAY_S) * 1000 - 1);
    assert_eq!(verifier.verify(&token).await, Ok(claims()));
    clock.advance(1);
    let expired = Err(TokenError::Refused {
        reason: "it has expired",
    });
    assert_eq!(verifier.verify(&token).await, expired);
}

#[tokio::test]
async fn a_token_of_a_withdrawn_key_is_refused_although_it_was_good_before() {
    let auth = auth(0).await;
    auth.has_second_key.store(true, Ordering::SeqCst);
    let clock = clock();
    let verifier = Verifier::new(&auth.url, clock.clone() as SharedClock);
    let token = sign("two", 2, &claims());
    assert_eq!(verifier.verify(&token).await, Ok(claims()));

    auth.has_second_key.store(false, Ordering::SeqCst);
    clock.advance(10_000);
    let unknown = Err(TokenError::Refused {
        reason: "its key is not known",
    });
    assert_eq!(verifier.verify(&sign("three", 1, &claims())).await, unknown);
    assert_eq!(verifier.verify(&token).await, unknown);
}
