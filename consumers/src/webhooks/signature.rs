//! Signatures as Standard Webhooks has them, so that a receiver checks ours with a library it already has.
//!
//! Source: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use btrust_platform::config::Secret;
use btrust_platform::random::{self, RandomSource};

/// Name of the header with the stable id of a call.
pub const ID_HEADER: &str = "webhook-id";
/// Name of the header with the time of this attempt, s since the epoch.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// Name of the header with one signature for each live secret, apart by spaces.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// What the text form of a secret begins with.
const SECRET_PREFIX: &str = "whsec_";
/// Random bytes of a secret.
///
/// Source: the specification asks for 24 to 64.
pub const SECRET_BYTES: usize = 32;

/// What signs the calls of one endpoint; never printed, wiped when dropped.
#[derive(Clone)]
pub struct SigningSecret(Zeroizing<Vec<u8>>);

impl SigningSecret {
    /// A new secret.
    #[must_use]
    pub fn generate(random: &dyn RandomSource) -> Self {
        let bytes = Zeroizing::new(random::bytes::<SECRET_BYTES>(random));
        Self(Zeroizing::new(bytes.to_vec()))
    }

    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves, to be sealed.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// What the owner of the endpoint is shown, once: `whsec_<base64>`.
    #[must_use]
    pub fn text(&self) -> Secret {
        Secret::new(format!(
            "{SECRET_PREFIX}{}",
            BASE64_STANDARD.encode(&*self.0)
        ))
    }

    /// The signature of one attempt: `v1,<base64 HMAC-SHA-256 of id.timestamp.body>`.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{timestamp_s}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl std::fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningSecret(***)")
    }
}

/// The value of [`SIGNATURE_HEADER`]: while a secret rotates, receivers with either can check the call.
#[must_use]
pub fn signatures(secrets: &[SigningSecret], id: &str, timestamp_s: i64, body: &[u8]) -> String {
    let all = secrets.iter().map(|it| it.sign(id, timestamp_s, body));
    all.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use btrust_platform::random::SystemRandom;

    use super::*;

    #[test]
    fn the_example_of_the_specification_has_its_signature() {
        let secret = BASE64_STANDARD
            .decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
            .unwrap();
        let signature = SigningSecret::from_bytes(secret).sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secrets_are_new_long_enough_and_never_printed() {
        let (one, other) = (
            SigningSecret::generate(&SystemRandom),
            SigningSecret::generate(&SystemRandom),
        );
        assert_ne!(one.expose(), other.expose());
        assert_eq!(one.expose().len(), SECRET_BYTES);
        assert!(one.text().expose().starts_with(SECRET_PREFIX));
        assert_eq!(
            format!("{one:?} {:?}", one.text()),
            "SigningSecret(***) ***"
        );
    }

    /// What the public package of Rust makes of a call of ours.
    fn is_accepted(secret: &SigningSecret, body: &[u8], signatures: &str) -> bool {
        let receiver = standardwebhooks::Webhook::new(secret.text().expose()).unwrap();
        let now_s =
            btrust_platform::clock::Clock::now_ms(&btrust_platform::clock::SystemClock) / 1_000;
        let mut headers = poem::http::HeaderMap::new();
        headers.insert(ID_HEADER, "msg_1".parse().unwrap());
        headers.insert(TIMESTAMP_HEADER, now_s.to_string().parse().unwrap());
        headers.insert(SIGNATURE_HEADER, signatures.parse().unwrap());
        receiver.verify(body, &headers).is_ok()
    }

    #[test]
    fn the_public_package_accepts_both_secrets_of_a_rotation_and_no_third() {
        let now_s =
            btrust_platform::clock::Clock::now_ms(&btrust_platform::clock::SystemClock) / 1_000;
        let secrets = [0; 3].map(|_| SigningSecret::generate(&SystemRandom));
        let body = br#"{"type":"workflow.closed"}"#;
        let both = signatures(&secrets[..2], "msg_1", now_s, body);
        let accepted = [0, 1, 2].map(|it| is_accepted(&secrets[it], body, &both));
        assert_eq!(accepted, [true, true, false]);
        assert!(!is_accepted(&secrets[0], b"{}", &both));
    }
}
