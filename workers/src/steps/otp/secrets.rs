//! The keyed digests of one-time codes and of the people and addresses behind them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, Mac};
use rand::RngExt;
use sha2::Sha256;
use sqlx::{Row, SqlitePool};
use tokio::sync::Mutex;

use btrust_platform::keys::{DataKey, Keys, WrappedKey};

use super::rules::CODE_DIGITS;
use crate::runtime::Fault;

/// Tenants whose keys are held in memory; more than one installation serves at once.
const CACHED_MAX: usize = 1_024;

/// A code on its way to a person; it prints as stars.
#[derive(Clone, PartialEq, Eq)]
pub struct Code(String);

impl Code {
    /// The code of a number below 10^[`CODE_DIGITS`].
    #[must_use]
    pub fn new(number: u32) -> Self {
        Self(format!("{number:0width$}", width = CODE_DIGITS as usize))
    }

    /// What a person typed, without the spaces and dashes that keyboards add; `None` if it cannot be a code.
    #[must_use]
    pub fn typed(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|it| !matches!(it, ' ' | '-')).collect();
        let fits =
            digits.len() == CODE_DIGITS as usize && digits.bytes().all(|it| it.is_ascii_digit());
        fits.then_some(Self(digits))
    }

    /// The digits. Every call is a place to review: the message, and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("******")
    }
}

/// Where codes come from: the operating system's generator, or a list in tests.
pub type CodeSource = Arc<dyn Fn() -> Code + Send + Sync>;

/// Codes from a cryptographic generator, each of the million equally likely.
#[must_use]
pub fn random_codes() -> CodeSource {
    Arc::new(|| Code::new(rand::rng().random_range(0..10_u32.pow(CODE_DIGITS))))
}

/// One tenant's HMAC key.
#[derive(Clone)]
pub struct MacKey(Arc<DataKey>);

impl MacKey {
    /// The keyed digest of `parts` within `domain`, 64 hex digits.
    ///
    /// Every part is preceded by its length, so that no two lists of parts look alike.
    pub fn digest(&self, domain: &str, parts: &[&str]) -> String {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(self.0.expose())
            .expect("HMAC takes keys of any length");
        for part in [&[domain], parts].concat() {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        hex::encode(mac.finalize().into_bytes())
    }

    /// What is kept of a code: bound to its session and purpose, so that it opens nothing else.
    pub fn code_mac(&self, code: &Code, session: &str, purpose: &str) -> String {
        self.digest("code", &[code.expose(), session, purpose])
    }
}

/// Every tenant's HMAC key, stored wrapped beside the rows and opened by the key service.
pub struct MacKeys {
    pool: SqlitePool,
    keys: Arc<dyn Keys>,
    cached: Mutex<HashMap<String, MacKey>>,
}

impl MacKeys {
    #[must_use]
    pub fn new(pool: SqlitePool, keys: Arc<dyn Keys>) -> Self {
        Self {
            pool,
            keys,
            cached: Mutex::default(),
        }
    }

    /// The tenant's key; made and stored when it is asked for the first time.
    pub async fn of(&self, tenant: &str) -> Result<MacKey, Fault> {
        let mut cached = self.cached.lock().await;
        if let Some(key) = cached.get(tenant) {
            return Ok(key.clone());
        }
        let wrapped = match self.stored(tenant).await? {
            Some(wrapped) => wrapped,
            None => self.create(tenant).await?,
        };
        let key = self
            .keys
            .unwrap(tenant, &wrapped)
            .await
            .map_err(|error| Fault::store("the key service", &error))?;
        let key = MacKey(Arc::new(key));
        if CACHED_MAX <= cached.len() {
            cached.clear();
        }
        cached.insert(tenant.to_owned(), key.clone());
        Ok(key)
    }

    async fn stored(&self, tenant: &str) -> Result<Option<WrappedKey>, Fault> {
        let row = sqlx::query("SELECT wrapped FROM otp_key WHERE tenant = ?")
            .bind(tenant)
            .fetch_optional(&self.pool)
            .await
            .and_then(|row| {
                row.map(|row| row.try_get::<Vec<u8>, _>("wrapped"))
                    .transpose()
            })
            .map_err(|error| Fault::store("the code store", &error))?;
        Ok(row.map(WrappedKey))
    }

    /// Stores a new key, unless another process was quicker: then that one counts.
    async fn create(&self, tenant: &str) -> Result<WrappedKey, Fault> {
        let wrapped = self.keys.wrap(tenant, &DataKey::generate()).await;
        let wrapped = wrapped.map_err(|error| Fault::store("the key service", &error))?;
        let inserted = sqlx::query("INSERT INTO otp_key (tenant, wrapped) VALUES (?, ?)")
            .bind(tenant)
            .bind(&wrapped.0)
            .execute(&self.pool)
            .await;
        match inserted {
            Ok(_) => Ok(wrapped),
            Err(error)
                if error
                    .as_database_error()
                    .is_some_and(sqlx::error::DatabaseError::is_unique_violation) =>
            {
                self.stored(tenant)
                    .await?
                    .ok_or_else(|| Fault::worker("a stored key is gone again"))
            }
            Err(error) => Err(Fault::store("the code store", &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_six_digits_and_prints_as_stars() {
        assert_eq!(Code::new(42).expose(), "000042");
        assert_eq!(format!("{:?}", Code::new(123_456)), "******");
        assert_eq!(Code::typed("123 456"), Some(Code::new(123_456)));
        for text in ["12345", "1234567", "12345a", "١٢٣٤٥٦", ""] {
            assert_eq!(Code::typed(text), None, "{text}");
        }
    }

    #[test]
    fn random_codes_use_their_whole_range() {
        let source = random_codes();
        let codes: Vec<String> = (0..2_000).map(|_| source().expose().to_owned()).collect();
        for digit in '0'..='9' {
            assert!(
                codes.iter().any(|it| it.starts_with(digit)),
                "none of 2,000 codes starts with {digit}"
            );
        }
    }

    #[test]
    fn a_code_is_bound_to_its_session_and_purpose() {
        let key = MacKey(Arc::new(DataKey::generate()));
        let code = Code::new(123_456);
        let mac = key.code_mac(&code, "wf_1", "onboarding");
        assert_eq!(mac, key.code_mac(&code, "wf_1", "onboarding"));
        for other in [
            key.code_mac(&Code::new(123_457), "wf_1", "onboarding"),
            key.code_mac(&code, "wf_2", "onboarding"),
            key.code_mac(&code, "wf_1", "login"),
            key.code_mac(&code, "wf_1o", "nboarding"),
            MacKey(Arc::new(DataKey::generate())).code_mac(&code, "wf_1", "onboarding"),
        ] {
            assert_ne!(mac, other);
        }
    }
}
