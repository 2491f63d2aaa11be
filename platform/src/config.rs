//! Configuration: environment variables read once into typed structs.
//!
//! An error names the variable and what was expected, never the value: it may
//! be a secret.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use zeroize::Zeroize;

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Where settings come from: the environment, or a table in tests.
///
/// An empty value counts as absent, because container definitions cannot always
/// leave a variable out.
#[derive(Clone)]
pub struct Settings {
    lookup: Arc<Lookup>,
}

impl Settings {
    /// Settings from the environment variables of this process.
    #[must_use]
    pub fn from_env() -> Self {
        Self {
            lookup: Arc::new(|name| std::env::var(name).ok()),
        }
    }

    /// Settings from a table.
    #[must_use]
    pub fn from_table<N: Into<String>, V: Into<String>>(
        table: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let table: BTreeMap<String, String> = table
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        Self {
            lookup: Arc::new(move |name| table.get(name).cloned()),
        }
    }

    /// These settings with those of `table` on top.
    #[must_use]
    pub fn overlaid<N: Into<String>, V: Into<String>>(
        &self,
        table: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let above = Self::from_table(table);
        let below = self.clone();
        Self {
            lookup: Arc::new(move |name| above.get(name).or_else(|| below.get(name))),
        }
    }

    /// The value of a setting, if it is there and not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    /// The value of a setting that must be there.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Missing`] if it is absent or empty.
    pub fn required(&self, name: &str) -> Result<String, ConfigError> {
        self.get(name).ok_or_else(|| ConfigError::Missing {
            name: name.to_owned(),
        })
    }

    /// The parsed value of a setting, or `default` if it is absent.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Invalid`] if it is there and does not parse; `expected`
    /// says in words what would.
    pub fn parsed<T: FromStr>(
        &self,
        name: &str,
        expected: &str,
        default: T,
    ) -> Result<T, ConfigError> {
        let Some(text) = self.get(name) else {
            return Ok(default);
        };
        text.parse().map_err(|_| ConfigError::Invalid {
            name: name.to_owned(),
            expected: expected.to_owned(),
        })
    }

    /// The value of a secret setting, if it is there.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<Secret> {
        self.get(name).map(Secret::new)
    }

    /// The value of a secret setting that must be there.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Missing`] if it is absent or empty.
    pub fn required_secret(&self, name: &str) -> Result<Secret, ConfigError> {
        self.required(name).map(Secret::new)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settings(..)")
    }
}

/// A text that never appears in a log: it prints as `***` and is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. Every call is a place to review.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Why a setting could not be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the setting {name} is missing")]
    Missing { name: String },
    #[error("the setting {name} is not {expected}")]
    Invalid { name: String, expected: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::from_table([
            ("PORT", "eighty"),
            ("LIMIT", "7"),
            ("EMPTY", ""),
            ("KEY", "hunter2"),
        ])
    }

    #[test]
    fn an_error_names_the_setting_and_never_the_value() {
        let error = settings()
            .parsed::<u16>("PORT", "a port number", 80)
            .unwrap_err();
        assert_eq!(error.to_string(), "the setting PORT is not a port number");
        assert!(!format!("{error:?}").contains("eighty"));
    }

    #[test]
    fn an_absent_or_empty_setting_takes_the_default_or_is_missing() {
        assert_eq!(settings().parsed("LIMIT", "a number", 1).unwrap(), 7);
        assert_eq!(settings().parsed("NOTHING", "a number", 1).unwrap(), 1);
        assert_eq!(settings().parsed("EMPTY", "a number", 1).unwrap(), 1);
        let error = settings().required("EMPTY").unwrap_err();
        assert_eq!(
            error,
            ConfigError::Missing {
                name: "EMPTY".to_owned()
            }
        );
    }

    #[test]
    fn an_overlay_wins_over_what_is_below() {
        let both = settings().overlaid([("LIMIT", "8")]);
        assert_eq!(both.get("LIMIT").as_deref(), Some("8"));
        assert_eq!(both.get("PORT").as_deref(), Some("eighty"));
    }

    #[test]
    fn a_secret_prints_as_stars() {
        let secret = settings().required_secret("KEY").unwrap();
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!(settings().secret("NOTHING"), None);
    }
}
