//! `DATABASE_URL` and its kind: which database, where, as whom, how protected.
//!
//! Three spellings: `sqlite:path`, `mysql://user:password@host:port/database?..` and the JDBC URL of the
//! deployment guide, `jdbc:mysql://host:port/database?useSSL=..&user=..`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use reqwest::Url;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};

use crate::config::{ConfigError, Secret, Settings};

/// The port of a MySQL server that is not named.
const MYSQL_PORT: u16 = 3306;
/// Longest URL of a database, in bytes.
///
/// Source: JDBC URLs of the guide's kind have some 300 bytes; this bounds what is parsed at start.
const URL_BYTES_MAX: usize = 4_096;

/// Where a store is.
#[derive(Clone, Debug)]
pub enum DatabaseUrl {
    Sqlite(PathBuf),
    MySql(Box<MySqlAddress>),
}

/// A database on a MySQL server and the way to it.
#[derive(Clone)]
pub struct MySqlAddress {
    options: MySqlConnectOptions,
    host: String,
    port: u16,
    database: String,
    /// Whether the operator vouches for a storage that writes pages whole.
    pub storage_writes_whole_pages: bool,
}

impl MySqlAddress {
    /// What the driver connects with.
    #[must_use]
    pub fn options(&self) -> &MySqlConnectOptions {
        &self.options
    }

    /// Whether both name the same database of the same server.
    #[must_use]
    pub fn is_same_database(&self, other: &Self) -> bool {
        self.host.eq_ignore_ascii_case(&other.host)
            && self.port == other.port
            && self.database == other.database
    }

    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }
}

/// Host, port and database; never who or with what password.
impl fmt::Display for MySqlAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.host, self.port, self.database)
    }
}

impl fmt::Debug for MySqlAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MySqlAddress({self})")
    }
}

/// The settings that name one database.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    pub url: &'static str,
    pub user: &'static str,
    pub password: &'static str,
}

/// The database of the engine's state.
pub const DATABASE: Names = Names {
    url: "DATABASE_URL",
    user: "DATABASE_USERNAME",
    password: "DATABASE_PASS",
};

/// The database of the wrapped keys of workflows.
pub const KEYS_DATABASE: Names = Names {
    url: "KEYS_DATABASE_URL",
    user: "KEYS_DATABASE_USERNAME",
    password: "KEYS_DATABASE_PASS",
};

/// Says that the storage below the database writes pages whole, so that it needs no doublewrite.
pub const ATOMIC_WRITES: &str = "DATABASE_ATOMIC_WRITES";

/// Reads where a database is; `None` where the setting is absent.
///
/// A user or password in the URL wins over the settings of their own.
///
/// # Errors
///
/// [`ConfigError::Invalid`], which names the setting and never its value.
pub fn read(settings: &Settings, names: Names) -> Result<Option<DatabaseUrl>, ConfigError> {
    let Some(url) = settings.secret(names.url) else {
        return Ok(None);
    };
    let whole_pages = settings.parsed(ATOMIC_WRITES, "true or false", false)?;
    let user = settings.get(names.user);
    let password = settings.secret(names.password);
    let parsed = parse(url.expose(), user.as_deref(), password.as_ref());
    match parsed {
        Ok(DatabaseUrl::MySql(mut address)) => {
            address.storage_writes_whole_pages = whole_pages;
            Ok(Some(DatabaseUrl::MySql(address)))
        }
        Ok(database) => Ok(Some(database)),
        Err(expected) => Err(ConfigError::Invalid {
            name: names.url.to_owned(),
            expected: expected.to_owned(),
        }),
    }
}

/// What was expected instead, in words.
type Expected = &'static str;

const A_DATABASE: Expected = "a sqlite:, mysql: or jdbc:mysql: URL with a path";
const A_MYSQL_DATABASE: Expected =
    "a URL of the form mysql://host:port/database with one host and one database";
const A_TLS_MODE: Expected =
    "a URL whose sslMode is DISABLED, PREFERRED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY";
const A_FLAG: Expected =
    "a URL whose useSSL, requireSSL and verifyServerCertificate are true or false";
const KNOWN_PARAMETERS: Expected =
    "a mysql: URL with no parameters but ssl-mode, ssl-ca, ssl-cert, ssl-key and socket";
const A_MODE_THAT_VERIFIES: Expected =
    "a URL whose ssl-mode uses its ssl-ca: VERIFY_IDENTITY, or no ssl-mode at all";
const PEM_FILES: Expected =
    "a URL without Java key stores: name PEM files with ssl-ca, ssl-cert and ssl-key";

fn parse(
    text: &str,
    user: Option<&str>,
    password: Option<&Secret>,
) -> Result<DatabaseUrl, Expected> {
    if URL_BYTES_MAX < text.len() {
        return Err(A_DATABASE);
    }
    if let Some(path) = text.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() {
            return Err(A_DATABASE);
        }
        return Ok(DatabaseUrl::Sqlite(PathBuf::from(path)));
    }
    let is_jdbc = text.starts_with("jdbc:");
    let text = text.strip_prefix("jdbc:").unwrap_or(text);
    let is_mysql = ["mysql://", "mariadb://"]
        .iter()
        .any(|it| text.starts_with(it));
    if !is_mysql {
        return Err(A_DATABASE);
    }
    let url = Url::parse(text).map_err(|_| A_MYSQL_DATABASE)?;
    let address = mysql_address(&url, is_jdbc, user, password)?;
    Ok(DatabaseUrl::MySql(Box::new(address)))
}

fn mysql_address(
    url: &Url,
    is_jdbc: bool,
    user: Option<&str>,
    password: Option<&Secret>,
) -> Result<MySqlAddress, Expected> {
    let host = url.host_str().filter(|it| !it.contains(','));
    let host = host.ok_or(A_MYSQL_DATABASE)?.to_owned();
    let database = url.path().trim_start_matches('/').to_owned();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-$".contains(&byte);
    if database.is_empty() || !database.bytes().all(is_name) {
        return Err(A_MYSQL_DATABASE);
    }
    // The driver decodes host, user, password and database; parameters are read here, so that a
    // misspelt one cannot leave a connection unprotected.
    let mut bare = url.clone();
    bare.set_query(None);
    let mut options = MySqlConnectOptions::from_str(bare.as_str()).map_err(|_| A_MYSQL_DATABASE)?;
    let parameters = Parameters::read(url, is_jdbc)?;
    if let Some(user) = parameters.user.as_deref().or(user)
        && url.username().is_empty()
    {
        options = options.username(user);
    }
    let password = parameters.password.as_ref().or(password);
    if let Some(password) = password
        && url.password().is_none()
    {
        options = options.password(password.expose());
    }
    options = options.ssl_mode(parameters.tls_mode()?);
    if let Some(path) = &parameters.socket {
        options = options.socket(path);
    }
    for (path, set) in [
        (
            &parameters.ca,
            MySqlConnectOptions::ssl_ca as fn(MySqlConnectOptions, PathBuf) -> MySqlConnectOptions,
        ),
        (&parameters.cert, MySqlConnectOptions::ssl_client_cert),
        (&parameters.key, MySqlConnectOptions::ssl_client_key),
    ] {
        if let Some(path) = path {
            options = set(options, path.clone());
        }
    }
    Ok(MySqlAddress {
        options,
        host,
        port: url.port().unwrap_or(MYSQL_PORT),
        database,
        storage_writes_whole_pages: false,
    })
}

/// What a URL says beside where the database is.
#[derive(Default)]
struct Parameters {
    user: Option<String>,
    password: Option<Secret>,
    mode: Option<MySqlSslMode>,
    uses_tls: Option<bool>,
    requires_tls: bool,
    verifies: bool,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    socket: Option<PathBuf>,
}

impl Parameters {
    /// JDBC has hundreds of parameters for Java's driver; those that are not about who and how protected
    /// mean nothing here and are passed over.
    fn read(url: &Url, is_jdbc: bool) -> Result<Self, Expected> {
        let mut it = Self::default();
        let pairs: BTreeMap<String, String> = url
            .query_pairs()
            .map(|(name, value)| {
                (
                    name.to_ascii_lowercase().replace(['-', '_'], ""),
                    value.into(),
                )
            })
            .collect();
        for (name, value) in pairs {
            match name.as_str() {
                "sslmode" => it.mode = Some(tls_mode(&value)?),
                "sslca" => it.ca = Some(value.into()),
                "sslcert" => it.cert = Some(value.into()),
                "sslkey" => it.key = Some(value.into()),
                "socket" => it.socket = Some(value.into()),
                "user" if is_jdbc => it.user = Some(value),
                "password" if is_jdbc => it.password = Some(Secret::new(value)),
                "usessl" if is_jdbc => it.uses_tls = Some(flag(&value)?),
                "requiressl" if is_jdbc => it.requires_tls = flag(&value)?,
                "verifyservercertificate" if is_jdbc => it.verifies = flag(&value)?,
                "trustcertificatekeystoreurl"
                | "clientcertificatekeystoreurl"
                | "serversslcert"
                | "truststore"
                | "keystore"
                    if is_jdbc =>
                {
                    return Err(PEM_FILES);
                }
                _ if is_jdbc => {}
                _ => return Err(KNOWN_PARAMETERS),
            }
        }
        Ok(it)
    }

    /// Source: Connector/J 8, `sslMode` and what it says `useSSL`, `requireSSL` and
    /// `verifyServerCertificate` are short for.
    ///
    /// The driver trusts the public authorities beside the one that is named, so a certificate is worth
    /// nothing without the name of the host in it: who asks for one check gets both.
    fn tls_mode(&self) -> Result<MySqlSslMode, Expected> {
        let mode = match (self.mode, self.uses_tls) {
            (Some(mode), _) => mode,
            (None, Some(false)) => MySqlSslMode::Disabled,
            (None, _) if self.verifies || self.ca.is_some() => MySqlSslMode::VerifyIdentity,
            (None, _) if self.requires_tls => MySqlSslMode::Required,
            // Who says `useSSL=true` does not mean "unless the server would rather not".
            (None, Some(true)) => MySqlSslMode::Required,
            (None, None) => MySqlSslMode::Preferred,
        };
        match mode {
            MySqlSslMode::VerifyCa | MySqlSslMode::VerifyIdentity => {
                Ok(MySqlSslMode::VerifyIdentity)
            }
            _ if self.ca.is_some() => Err(A_MODE_THAT_VERIFIES),
            mode => Ok(mode),
        }
    }
}

fn tls_mode(value: &str) -> Result<MySqlSslMode, Expected> {
    value
        .replace('-', "_")
        .parse()
        .map_err(|_: sqlx::Error| A_TLS_MODE)
}

fn flag(value: &str) -> Result<bool, Expected> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(A_FLAG),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read_url(url: &str) -> Result<DatabaseUrl, ConfigError> {
        read_all(&[("DATABASE_URL", url)])
    }

    fn read_all(table: &[(&str, &str)]) -> Result<DatabaseUrl, ConfigError> {
        let settings = Settings::from_table(table.iter().copied());
        read(&settings, DATABASE).map(|it| it.expect("the setting is there"))
    }

    #[track_caller]
    fn mysql(database: Result<DatabaseUrl, ConfigError>) -> MySqlAddress {
        match database.unwrap() {
            DatabaseUrl::MySql(address) => *address,
            DatabaseUrl::Sqlite(path) => panic!("a file: {}", path.display()),
        }
    }

    /// What the driver was told, but for the password.
    fn told(address: &MySqlAddress) -> String {
        let options = address.options();
        let mode = match options.get_ssl_mode() {
            MySqlSslMode::Disabled => "disabled",
            MySqlSslMode::Preferred => "preferred",
            MySqlSslMode::Required => "required",
            MySqlSslMode::VerifyCa => "verify_ca",
            MySqlSslMode::VerifyIdentity => "verify_identity",
        };
        format!(
            "{}@{}:{}/{} {mode}",
            options.get_username(),
            options.get_host(),
            options.get_port(),
            options.get_database().unwrap_or_default(),
        )
    }

    #[test]
    fn a_file_is_named_by_its_path() {
        for (url, path) in [
            ("sqlite:state.sqlite", "state.sqlite"),
            ("sqlite:///other/state.sqlite", "/other/state.sqlite"),
            ("sqlite://relative/state.sqlite", "relative/state.sqlite"),
        ] {
            let database = read_url(url).unwrap();
            assert!(matches!(database, DatabaseUrl::Sqlite(it) if it == Path::new(path)));
        }
    }

    #[test]
    fn both_spellings_of_mysql_say_the_same() {
        for url in [
            "mysql://bank:p%40ss@db.example:3307/btrust?ssl-mode=VERIFY_CA",
            "mysql://bank:p%40ss@db.example:3307/btrust?sslMode=verify-ca",
            "jdbc:mysql://db.example:3307/btrust?user=bank&password=p%40ss&sslMode=VERIFY_CA",
            "jdbc:mysql://db.example:3307/btrust?user=bank&password=p%40ss&useSSL=true&verifyServerCertificate=true&serverTimezone=UTC",
        ] {
            let address = mysql(read_url(url));
            assert_eq!(
                told(&address),
                "bank@db.example:3307/btrust verify_identity",
                "{url}"
            );
            assert_eq!(address.to_string(), "db.example:3307/btrust");
        }
    }

    #[test]
    fn the_guides_settings_name_user_and_password() {
        let table = [
            ("DATABASE_URL", "jdbc:mysql://db/btrust?useSSL=false"),
            ("DATABASE_USERNAME", "bank"),
            ("DATABASE_PASS", "hunter2"),
        ];
        let address = mysql(read_all(&table));
        assert_eq!(told(&address), "bank@db:3306/btrust disabled");
        assert!(!format!("{address:?}").contains("hunter2"));
    }

    #[test]
    fn tls_is_as_strict_as_the_url_asks_for() {
        for (parameters, mode) in [
            ("", "preferred"),
            ("?useSSL=false", "disabled"),
            ("?useSSL=true", "required"),
            ("?requireSSL=true", "required"),
            ("?useSSL=true&sslMode=VERIFY_IDENTITY", "verify_identity"),
            ("?sslCa=/ca.pem", "verify_identity"),
        ] {
            let address = mysql(read_url(&format!("jdbc:mysql://db/btrust{parameters}")));
            assert_eq!(told(&address), format!("root@db:3306/btrust {mode}"));
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_without_its_value() {
        for (url, expected) in [
            ("postgres://hunter2@host/db", A_DATABASE),
            ("sqlite:", A_DATABASE),
            ("mysql:hunter2", A_DATABASE),
            ("mysql://hunter2@host", A_MYSQL_DATABASE),
            ("mysql://host/hunter2/other", A_MYSQL_DATABASE),
            ("jdbc:mysql://hunter2,other/db", A_MYSQL_DATABASE),
            ("mysql://host/db?ssl-mode=hunter2", A_TLS_MODE),
            ("jdbc:mysql://host/db?useSSL=hunter2", A_FLAG),
            ("mysql://host/db?ssl-mod=hunter2", KNOWN_PARAMETERS),
            (
                "jdbc:mysql://host/db?trustCertificateKeyStoreUrl=hunter2",
                PEM_FILES,
            ),
            ("jdbc:mariadb://host/db?serverSslCert=hunter2", PEM_FILES),
            (
                "mysql://host/db?ssl-mode=REQUIRED&ssl-ca=hunter2",
                A_MODE_THAT_VERIFIES,
            ),
        ] {
            let error = read_url(url).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("the setting DATABASE_URL is not {expected}"),
                "{url}"
            );
        }
    }

    #[test]
    fn a_database_is_the_same_whoever_connects() {
        let address = |url| mysql(read_url(url));
        let one = address("mysql://a:b@DB/btrust");
        assert!(one.is_same_database(&address("jdbc:mysql://db:3306/btrust?user=other")));
        assert!(!one.is_same_database(&address("mysql://db/keys")));
    }
}
