//! What a MySQL server must promise before anything is written to it.
//!
//! Each rule says what would be lost without it. A server that does not promise it is refused by name, with
//! what was found and what is needed.

use std::collections::BTreeMap;

use sqlx::{Connection, MySqlConnection, Row};

use super::MySqlError;

/// Least `max_allowed_packet`, in bytes: one row has to fit into it.
///
/// Source: MariaDB's default, 16 MiB (MySQL 8: 64 MiB); the largest snapshots are some 10 MB (forty
/// branches with payloads of 256 KiB).
pub const PACKET_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// The first version of MySQL that is served.
///
/// Source: the deployment guide, "Version 8.0+".
const MYSQL_MIN: (u32, u32) = (8, 0);
/// The first version of MariaDB that is served.
///
/// Source: the oldest long-term release with `SKIP LOCKED`.
const MARIADB_MIN: (u32, u32) = (10, 6);

/// What a server has said about itself.
#[derive(Clone, Debug, Default)]
pub struct Server {
    pub is_mariadb: bool,
    version: String,
    variables: BTreeMap<String, String>,
}

impl Server {
    /// The largest packet that the server takes, in bytes.
    #[must_use]
    pub fn packet_bytes_max(&self) -> usize {
        self.get("max_allowed_packet")
            .and_then(|it| it.parse().ok())
            .unwrap_or(0)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    fn has(&self, name: &str, value: &str) -> bool {
        self.get(name)
            .is_some_and(|it| it.eq_ignore_ascii_case(value))
    }

    fn logs_binary(&self) -> bool {
        self.has("log_bin", "ON") || self.has("log_bin", "1")
    }
}

/// One promise.
struct Rule {
    setting: &'static str,
    needed: &'static str,
    why: &'static str,
    /// Judges what was found; a setting that the server does not know is judged as `None`.
    is_met: fn(&Server, Option<&str>) -> bool,
}

const RULES: &[Rule] = &[
    Rule {
        setting: "innodb_flush_log_at_trx_commit",
        needed: "1",
        why: "otherwise a second of acknowledged commits is lost when the machine loses power",
        // 3 is MariaDB's stricter spelling of 1.
        is_met: |_, found| matches!(found, Some("1" | "3")),
    },
    Rule {
        setting: "sync_binlog",
        needed: "1 while log_bin is on",
        why: "recovery rolls back what is missing from the binary log, acknowledged or not",
        is_met: |server, found| !server.logs_binary() || found == Some("1"),
    },
    Rule {
        setting: "binlog_format",
        needed: "ROW or MIXED while log_bin is on",
        why: "READ COMMITTED cannot be logged as statements",
        is_met: |server, found| {
            !server.logs_binary() || !found.is_some_and(|it| it.eq_ignore_ascii_case("STATEMENT"))
        },
    },
    Rule {
        setting: "innodb_doublewrite",
        needed: "ON, or DATABASE_ATOMIC_WRITES=true here where the storage writes pages whole",
        why: "a page that is half written when power fails cannot be repaired",
        is_met: |server, found| {
            let is_on = |it: &str| ["ON", "1", "DETECT_AND_RECOVER"].contains(&it);
            // Aurora's storage has no pages that could tear.
            server.get("aurora_version").is_some() || found.is_some_and(is_on)
        },
    },
    Rule {
        setting: "innodb_flush_method",
        needed: "one that flushes",
        why: "nosync and littlesync acknowledge what only the page cache has",
        is_met: |_, found| {
            !found.is_some_and(|it| ["nosync", "littlesync"].contains(&it.to_lowercase().as_str()))
        },
    },
    Rule {
        setting: "debug_no_sync",
        needed: "OFF",
        why: "it turns every flush into nothing",
        is_met: |_, found| !found.is_some_and(is_on),
    },
    Rule {
        setting: "innodb_redo_log_enabled",
        needed: "ON",
        why: "without its redo log the server cannot recover from a crash",
        is_met: |_, found| found.is_none_or(is_on),
    },
    Rule {
        setting: "innodb_force_recovery",
        needed: "0",
        why: "a server that is being repaired gives no promises",
        is_met: |_, found| found.is_none_or(|it| it == "0"),
    },
    Rule {
        setting: "wsrep_on",
        needed: "OFF",
        why: "a Galera cluster locks rows on one node only, so a lease would fence nobody",
        is_met: |_, found| !found.is_some_and(is_on),
    },
    Rule {
        setting: "group_replication_single_primary_mode",
        needed: "ON",
        why: "with several primaries a lease would fence nobody",
        is_met: |_, found| found.is_none_or(is_on),
    },
    Rule {
        setting: "read_only",
        needed: "OFF",
        why: "a replica takes no writes: name the primary",
        is_met: |_, found| !found.is_some_and(is_on),
    },
    Rule {
        setting: "super_read_only",
        needed: "OFF",
        why: "a replica takes no writes: name the primary",
        is_met: |_, found| !found.is_some_and(is_on),
    },
    Rule {
        setting: "innodb_read_only",
        needed: "OFF",
        why: "a replica takes no writes: name the primary",
        is_met: |_, found| !found.is_some_and(is_on),
    },
    Rule {
        setting: "default_storage_engine",
        needed: "InnoDB",
        why: "other engines have no transactions, or none that survive a crash",
        is_met: |_, found| found.is_some_and(|it| it.eq_ignore_ascii_case("InnoDB")),
    },
    Rule {
        setting: "character_set_database",
        needed: "utf8mb4",
        why: "other character sets lose letters",
        is_met: |_, found| found == Some("utf8mb4"),
    },
    Rule {
        setting: "max_allowed_packet",
        needed: "at least 16777216",
        why: "a row that does not fit stops its workflow",
        is_met: |_, found| {
            found
                .and_then(|it| it.parse().ok())
                .is_some_and(|it: u64| PACKET_BYTES_MIN <= it)
        },
    },
];

fn is_on(found: &str) -> bool {
    found.eq_ignore_ascii_case("ON") || found == "1"
}

/// Refuses a server that does not promise what is needed.
///
/// # Errors
///
/// [`MySqlError::Unsafe`] for the first rule that it breaks.
pub(super) fn check(server: &Server, storage_writes_whole_pages: bool) -> Result<(), MySqlError> {
    check_version(server)?;
    for rule in RULES {
        if storage_writes_whole_pages && rule.setting == "innodb_doublewrite" {
            continue;
        }
        let found = server.get(rule.setting);
        if !(rule.is_met)(server, found) {
            return Err(MySqlError::Unsafe {
                setting: rule.setting,
                found: found.unwrap_or("absent").to_owned(),
                needed: rule.needed,
                why: rule.why,
            });
        }
    }
    Ok(())
}

fn check_version(server: &Server) -> Result<(), MySqlError> {
    let mut numbers = server
        .version
        .split(|it: char| !it.is_ascii_digit())
        .map(|it| it.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (least, needed) = if server.is_mariadb {
        (MARIADB_MIN, "MariaDB 10.6 or MySQL 8.0, or later")
    } else {
        (MYSQL_MIN, "MySQL 8.0 or MariaDB 10.6, or later")
    };
    if least <= version {
        return Ok(());
    }
    Err(MySqlError::Unsafe {
        setting: "version",
        found: server.version.clone(),
        needed,
        why: "earlier ones do not skip locked rows",
    })
}

/// Asks a server about itself.
pub(super) async fn ask(connection: &mut MySqlConnection) -> Result<Server, sqlx::Error> {
    // In one transaction's snapshot or not does not matter: these change by an operator's hand only.
    connection.ping().await?;
    let version: String = text(
        sqlx::query("SELECT VERSION()")
            .fetch_one(&mut *connection)
            .await?,
        0,
    )?;
    let names: Vec<String> = RULES
        .iter()
        .map(|it| it.setting)
        .chain(["log_bin", "aurora_version"])
        .map(|it| format!("'{it}'"))
        .collect();
    let names = names.join(", ");
    let mut variables = BTreeMap::new();
    for what in ["VARIABLES", "STATUS"] {
        let show = format!("SHOW GLOBAL {what} WHERE Variable_name IN ({names})");
        let rows = sqlx::query(sqlx::AssertSqlSafe(show))
            .fetch_all(&mut *connection)
            .await?;
        for row in rows {
            let name: String = row.try_get_unchecked(0)?;
            variables.insert(name.to_ascii_lowercase(), row.try_get_unchecked(1)?);
        }
    }
    // The global value is the server's; what counts is the database's own.
    let of_database = sqlx::query("SELECT @@character_set_database")
        .fetch_one(&mut *connection)
        .await?;
    variables.insert("character_set_database".to_owned(), text(of_database, 0)?);
    Ok(Server {
        is_mariadb: version.to_ascii_lowercase().contains("mariadb"),
        version,
        variables,
    })
}

fn text(row: sqlx::mysql::MySqlRow, index: usize) -> Result<String, sqlx::Error> {
    row.try_get_unchecked(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(changes: &[(&str, &str)]) -> Server {
        let good = [
            ("innodb_flush_log_at_trx_commit", "1"),
            ("log_bin", "ON"),
            ("sync_binlog", "1"),
            ("binlog_format", "ROW"),
            ("innodb_doublewrite", "ON"),
            ("innodb_flush_method", "O_DIRECT"),
            ("innodb_force_recovery", "0"),
            ("read_only", "OFF"),
            ("default_storage_engine", "InnoDB"),
            ("character_set_database", "utf8mb4"),
            ("max_allowed_packet", "67108864"),
        ];
        let all = good.iter().chain(changes);
        Server {
            is_mariadb: false,
            version: "8.0.36".to_owned(),
            variables: all
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn a_server_as_delivered_is_taken() {
        check(&server(&[]), false).unwrap();
        assert_eq!(server(&[]).packet_bytes_max(), 67_108_864);
    }

    #[test]
    fn each_unsafe_setting_is_refused_by_name() {
        for (setting, value) in [
            ("innodb_flush_log_at_trx_commit", "2"),
            ("innodb_flush_log_at_trx_commit", "0"),
            ("sync_binlog", "0"),
            ("sync_binlog", "100"),
            ("binlog_format", "STATEMENT"),
            ("innodb_doublewrite", "OFF"),
            ("innodb_doublewrite", "DETECT_ONLY"),
            ("innodb_flush_method", "nosync"),
            ("debug_no_sync", "ON"),
            ("innodb_redo_log_enabled", "OFF"),
            ("innodb_force_recovery", "3"),
            ("wsrep_on", "ON"),
            ("group_replication_single_primary_mode", "OFF"),
            ("read_only", "ON"),
            ("super_read_only", "ON"),
            ("innodb_read_only", "ON"),
            ("default_storage_engine", "MyISAM"),
            ("character_set_database", "utf8mb3"),
            ("max_allowed_packet", "1048576"),
        ] {
            let error = check(&server(&[(setting, value)]), false).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(setting) && text.contains(value), "{text}");
        }
    }

    #[test]
    fn what_does_not_apply_is_not_asked_for() {
        let no_log = [("log_bin", "OFF"), ("sync_binlog", "0")];
        check(&server(&no_log), false).unwrap();
        check(&server(&[("innodb_doublewrite", "OFF")]), true).unwrap();
        let aurora = [("innodb_doublewrite", "OFF"), ("aurora_version", "3.05.2")];
        check(&server(&aurora), false).unwrap();
    }

    #[test]
    fn old_versions_are_refused() {
        for (version, is_mariadb, is_taken) in [
            ("5.7.44-log", false, false),
            ("8.0.11-TiDB-v7.5.0", false, true),
            ("8.4.0", false, true),
            ("10.5.22-MariaDB", true, false),
            ("10.6.1-MariaDB", true, true),
            ("11.4.2-MariaDB-log", true, true),
        ] {
            let server = Server {
                version: version.to_owned(),
                is_mariadb,
                ..server(&[])
            };
            assert_eq!(check(&server, false).is_ok(), is_taken, "{version}");
        }
    }
}
