//! Settings of core.

use std::path::PathBuf;

use btrust_platform::clock::SharedClock;
use btrust_platform::config::{ConfigError, Settings};
use btrust_platform::data_dir::DataDir;
use btrust_platform::database_url::DatabaseUrl;
use btrust_platform::workflow_keys;
use btrust_schemas::task_limits::TaskLimits;

use crate::definitions::SecondPerson;
use crate::retention::RetentionPolicies;
use crate::sequencer::CheckpointSettings;
use crate::store;

/// Where core keeps its state and finds its neighbours.
#[derive(Clone)]
pub struct CoreConfig {
    pub data_dir: DataDir,
    /// `KEYRING`: the keyring's file, which all nodes of one database share; by default in the data folder.
    pub keyring: PathBuf,
    /// `DATABASE_URL`: the engine's state.
    pub state: DatabaseUrl,
    /// `KEYS_DATABASE_URL`: the wrapped keys of workflows, which have backups of their own.
    pub keys: DatabaseUrl,
    /// `AUTH_URL`.
    pub auth_url: String,
    /// `CORE_URL`: where workers reach core.
    pub core_url: String,
    /// `NODE_URL`: where the other nodes, and workers, reach this one; `CORE_URL` where it is not said.
    pub node_url: String,
    pub clock: SharedClock,
    /// `DEFINITIONS_SECOND_PERSON`: tenants, with commas between them, or `*`.
    pub second_person: SecondPerson,
    /// `TASK_LIMITS`: JSON; what operators store later takes its place.
    pub task_limits: TaskLimits,
    /// `RETENTION_POLICIES`: days by the name of the policy, as JSON.
    pub retention: RetentionPolicies,
    /// `AUDIT_CHECKPOINT_EVENTS` and `AUDIT_CHECKPOINT_SECONDS`.
    pub checkpoints: CheckpointSettings,
}

impl CoreConfig {
    /// Reads `AUTH_URL`, `CORE_URL`, `NODE_URL`, `DATABASE_URL` and `KEYS_DATABASE_URL`, each with the default
    /// of one machine, and `DEFINITIONS_SECOND_PERSON` and `TASK_LIMITS`.
    ///
    /// # Errors
    ///
    /// A URL of a database that is not understood, or that [`workflow_keys::location`] refuses.
    pub fn from_settings(
        settings: &Settings,
        data_dir: DataDir,
        clock: SharedClock,
    ) -> Result<Self, ConfigError> {
        let url = |name, port| {
            settings
                .get(name)
                .unwrap_or_else(|| format!("http://localhost:{port}"))
        };
        let retention = match settings.get("RETENTION_POLICIES") {
            None => RetentionPolicies::default(),
            Some(text) => RetentionPolicies::parse(&text).ok_or_else(|| ConfigError::Invalid {
                name: "RETENTION_POLICIES".to_owned(),
                expected: "JSON as {\"aml-5y\": 1827}: days by the name of the policy".to_owned(),
            })?,
        };
        Ok(Self {
            state: store::location(settings, &data_dir)?,
            keys: workflow_keys::location(settings, &data_dir)?,
            retention,
            auth_url: url("AUTH_URL", 5800),
            node_url: settings
                .get("NODE_URL")
                .unwrap_or_else(|| url("CORE_URL", 5002)),
            core_url: url("CORE_URL", 5002),
            keyring: settings
                .get("KEYRING")
                .map_or_else(|| data_dir.keyring(), PathBuf::from),
            data_dir,
            clock,
            second_person: settings
                .get("DEFINITIONS_SECOND_PERSON")
                .map(|it| SecondPerson::parse(&it))
                .unwrap_or_default(),
            task_limits: task_limits(settings)?,
            checkpoints: CheckpointSettings::from_settings(settings)?,
        })
    }
}

fn task_limits(settings: &Settings) -> Result<TaskLimits, ConfigError> {
    let name = "TASK_LIMITS";
    let Some(text) = settings.get(name) else {
        return Ok(TaskLimits::default());
    };
    let invalid = |expected: String| ConfigError::Invalid {
        name: name.to_owned(),
        expected,
    };
    let document = serde_json::from_str(&text)
        .map_err(|_| invalid("a JSON object with steps, tenants and stepTenants".to_owned()))?;
    TaskLimits::parse(document).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use btrust_platform::clock::SystemClock;

    use super::*;

    fn read(table: &[(&str, &str)]) -> Result<CoreConfig, ConfigError> {
        let settings = Settings::from_table(table.iter().copied());
        CoreConfig::from_settings(&settings, DataDir::new("/data"), Arc::new(SystemClock))
    }

    #[test]
    fn one_machine_needs_no_settings() {
        let config = read(&[]).unwrap();
        let path = |it| match it {
            DatabaseUrl::Sqlite(path) => path,
            DatabaseUrl::MySql(address) => panic!("{address}"),
        };
        assert_eq!(path(config.state), PathBuf::from("/data/state.sqlite"));
        assert_eq!(path(config.keys), PathBuf::from("/data/keys.sqlite"));
        assert_eq!(config.auth_url, "http://localhost:5800");
        assert_eq!(config.core_url, "http://localhost:5002");
        assert_eq!(config.node_url, config.core_url);
        assert_eq!(config.keyring, PathBuf::from("/data/keyring.json"));
        assert_eq!(config.second_person, SecondPerson::Nowhere);
    }

    #[test]
    fn a_node_among_others_says_where_it_is() {
        let balanced = ("CORE_URL", "http://core.internal:5002");
        let shared = ("KEYRING", "/shared/keyring.json");
        let config = read(&[balanced, shared, ("NODE_URL", "http://10.0.0.7:5002")]).unwrap();
        assert_eq!(config.keyring, PathBuf::from(shared.1));
        assert_eq!(config.core_url, balanced.1);
        assert_eq!(config.node_url, "http://10.0.0.7:5002");
    }

    #[test]
    fn the_operator_names_the_tenants_that_want_a_second_person() {
        let config = read(&[("DEFINITIONS_SECOND_PERSON", "one,two")]).unwrap();
        assert!(config.second_person.is_asked_by("two"));
        assert!(!config.second_person.is_asked_by("three"));
    }

    #[test]
    fn limits_of_tasks_are_read_and_wrong_ones_refused() {
        let limits = r#"{"steps":{"ocr":{"concurrent":2}}}"#;
        let config = read(&[("TASK_LIMITS", limits)]).unwrap();
        assert_eq!(config.task_limits.steps["ocr"].concurrent, Some(2));
        for wrong in ["{", "[]", r#"{"tenants":{"acme":{"weight":0}}}"#] {
            assert!(read(&[("TASK_LIMITS", wrong)]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_operator_says_what_policies_mean() {
        let config = read(&[("RETENTION_POLICIES", r#"{"aml-5y": 2557}"#)]).unwrap();
        assert_ne!(config.retention, RetentionPolicies::default());
        assert_eq!(read(&[]).unwrap().retention, RetentionPolicies::default());
        let error = read(&[("RETENTION_POLICIES", "five years")]).err().unwrap();
        assert!(error.to_string().contains("RETENTION_POLICIES"), "{error}");
    }

    #[test]
    fn a_database_that_core_does_not_know_is_refused_by_name() {
        for url in ["postgres://host/db", "sqlite:"] {
            let error = read(&[("DATABASE_URL", url)]).err().unwrap();
            assert!(error.to_string().contains("DATABASE_URL"), "{error}");
        }
        let alone = [("DATABASE_URL", "jdbc:mysql://host/state")];
        let error = read(&alone).err().unwrap();
        assert_eq!(
            error.to_string(),
            "the setting KEYS_DATABASE_URL is missing"
        );
        let both = [alone[0], ("KEYS_DATABASE_URL", "jdbc:mysql://host/keys")];
        let config = read(&both).unwrap();
        assert!(matches!(config.state, DatabaseUrl::MySql(_)));
    }
}
