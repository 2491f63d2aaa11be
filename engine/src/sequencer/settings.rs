//! How often logs are signed.

use btrust_platform::config::{ConfigError, Settings};

/// Events after which a checkpoint is made.
///
/// Source: the design of the streams.
const N_EVENTS: i64 = 1_000;
/// How long an event waits for a checkpoint at most, s.
const AGE_S: i64 = 60;
/// The longest that may be asked for, s: a day.
const AGE_S_MAX: i64 = 24 * 3_600;

/// When a checkpoint is made: whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointSettings {
    /// Commits that are not covered yet.
    pub n_events: i64,
    /// How long one of them has waited, ms.
    pub age_ms: i64,
}

impl Default for CheckpointSettings {
    fn default() -> Self {
        Self {
            n_events: N_EVENTS,
            age_ms: AGE_S * 1_000,
        }
    }
}

impl CheckpointSettings {
    /// Reads `AUDIT_CHECKPOINT_EVENTS` and `AUDIT_CHECKPOINT_SECONDS`.
    ///
    /// # Errors
    ///
    /// The setting that is no whole number within its limits.
    pub fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let number = |name: &str, default: i64, max: i64| match settings.get(name) {
            None => Ok(default),
            Some(text) => match text.parse() {
                Ok(number) if (1..=max).contains(&number) => Ok(number),
                _ => Err(ConfigError::Invalid {
                    name: name.to_owned(),
                    expected: format!("a whole number from 1 to {max}"),
                }),
            },
        };
        Ok(Self {
            n_events: number("AUDIT_CHECKPOINT_EVENTS", N_EVENTS, 100 * N_EVENTS)?,
            age_ms: 1_000 * number("AUDIT_CHECKPOINT_SECONDS", AGE_S, AGE_S_MAX)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_wrong_ones_refused_by_name() {
        let read = |table: &[(&str, &str)]| {
            CheckpointSettings::from_settings(&Settings::from_table(table.iter().copied()))
        };
        assert_eq!(read(&[]).unwrap(), CheckpointSettings::default());
        let both = [
            ("AUDIT_CHECKPOINT_EVENTS", "7"),
            ("AUDIT_CHECKPOINT_SECONDS", "2"),
        ];
        assert_eq!(
            read(&both).unwrap(),
            CheckpointSettings {
                n_events: 7,
                age_ms: 2_000
            }
        );
        for (name, value) in [
            ("AUDIT_CHECKPOINT_EVENTS", "0"),
            ("AUDIT_CHECKPOINT_SECONDS", "soon"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
