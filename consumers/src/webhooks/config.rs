//! What webhooks are told by their environment.

use std::path::PathBuf;
use std::time::Duration;

use btrust_platform::config::{ConfigError, Settings};

use super::address::Reach;
use super::sender::{CALL_MAX, CALL_MAX_USUAL};

/// The settings of webhooks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// `WEBHOOKS_ALLOW_LOOPBACK`: `true` lets endpoints be on the machine itself, by http too. Development only.
    pub reach: Reach,
    /// `WEBHOOKS_CA_FILE`: certificates in PEM of authorities that are trusted beside those of the web.
    pub authorities: Option<PathBuf>,
    /// `WEBHOOKS_TIMEOUT_SECONDS`: how long a call may take, 1 to 30 s, 15 unless it is said.
    pub call_max: Duration,
}

impl Config {
    /// # Errors
    ///
    /// The first setting that cannot be used.
    pub fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let is_allowed = settings.parsed("WEBHOOKS_ALLOW_LOOPBACK", "`true` or `false`", false)?;
        let name = "WEBHOOKS_TIMEOUT_SECONDS";
        let expected = "a whole number from 1 to 30";
        let seconds = settings.parsed(name, expected, CALL_MAX_USUAL.as_secs())?;
        if seconds < 1 || CALL_MAX.as_secs() < seconds {
            return Err(ConfigError::Invalid {
                name: name.to_owned(),
                expected: expected.to_owned(),
            });
        }
        Ok(Self {
            reach: if is_allowed {
                Reach::Loopback
            } else {
                Reach::Public
            },
            authorities: settings.get("WEBHOOKS_CA_FILE").map(PathBuf::from),
            call_max: Duration::from_secs(seconds),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_reached_unless_it_is_said_otherwise() {
        let none: [(&str, &str); 0] = [];
        let config = Config::from_settings(&Settings::from_table(none)).unwrap();
        assert_eq!(
            (config.reach, config.call_max),
            (Reach::Public, CALL_MAX_USUAL)
        );
        let settings = Settings::from_table([
            ("WEBHOOKS_ALLOW_LOOPBACK", "true"),
            ("WEBHOOKS_TIMEOUT_SECONDS", "2"),
        ]);
        let config = Config::from_settings(&settings).unwrap();
        assert_eq!(
            (config.reach, config.call_max),
            (Reach::Loopback, Duration::from_secs(2))
        );
    }

    #[test]
    fn settings_that_mean_nothing_are_refused_by_name() {
        for (name, value) in [
            ("WEBHOOKS_ALLOW_LOOPBACK", "yes"),
            ("WEBHOOKS_TIMEOUT_SECONDS", "0"),
            ("WEBHOOKS_TIMEOUT_SECONDS", "31"),
        ] {
            let error = Config::from_settings(&Settings::from_table([(name, value)])).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
