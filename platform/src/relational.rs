//! A relational database of either kind behind one text of each statement.
//!
//! For stores beside the engine's: what consumers of the streams keep. The statements are written once, in
//! text that SQLite, MySQL 8 and MariaDB take: `?`, `REPLACE INTO`, `INSERT` and [`RelationalError::Taken`]
//! instead of `ON CONFLICT`, no `RETURNING`, no functions of JSON or dates. The `Any` driver of sqlx would do
//! as much, but opens its own connections: without our limits of a session, our TLS and `BEGIN IMMEDIATE`.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::migrate::Migrator;
use sqlx::mysql::{MySql, MySqlArguments, MySqlPool, MySqlRow};
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Decode, Row as _, Type};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::database_url::DatabaseUrl;
use crate::health::Check;
use crate::mysql::{self, CALL_MAX, CONNECTIONS_MAX, MySqlError, timed_out};
use crate::sqlite::{self, DbError};

/// Most values that one statement binds.
///
/// Source: `SQLITE_MAX_VARIABLE_NUMBER` is 32,766 and MySQL allows 65,535; this keeps a statement short.
pub const VALUES_MAX: usize = 4_096;

/// A value of a statement.
#[derive(Clone, Copy, Debug)]
pub enum Value<'v> {
    Null,
    Int(i64),
    Text(&'v str),
    Bytes(&'v [u8]),
}

impl From<i64> for Value<'_> {
    fn from(it: i64) -> Self {
        Self::Int(it)
    }
}

impl<'v> From<&'v str> for Value<'v> {
    fn from(it: &'v str) -> Self {
        Self::Text(it)
    }
}

impl<'v> From<&'v String> for Value<'v> {
    fn from(it: &'v String) -> Self {
        Self::Text(it)
    }
}

impl<'v> From<&'v [u8]> for Value<'v> {
    fn from(it: &'v [u8]) -> Self {
        Self::Bytes(it)
    }
}

impl<'v, T: Into<Value<'v>>> From<Option<T>> for Value<'v> {
    fn from(it: Option<T>) -> Self {
        it.map_or(Self::Null, Into::into)
    }
}

/// Why a database did not do what was asked, as the choices of the caller.
#[derive(Debug, thiserror::Error)]
pub enum RelationalError {
    /// A row with this key is there already.
    #[error("a row with this key is there already")]
    Taken,
    /// A row that this program cannot read.
    #[error("the column {column} holds what cannot be read")]
    Unreadable {
        column: usize,
        #[source]
        source: sqlx::Error,
    },
    /// The same call may succeed later; whether a commit was carried out is not known.
    #[error("the database did not answer")]
    Unavailable(#[source] sqlx::Error),
}

impl From<sqlx::Error> for RelationalError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(cause) if cause.is_unique_violation() => Self::Taken,
            error => Self::Unavailable(error),
        }
    }
}

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Sqlite(#[from] DbError),
    #[error(transparent)]
    MySql(#[from] MySqlError),
}

/// An open database; clones share its connections.
#[derive(Clone)]
pub struct Relational(Pool);

#[derive(Clone)]
enum Pool {
    /// A file has one writer: those of this process stand in a line.
    Sqlite(SqlitePool, Arc<Mutex<()>>),
    MySql(MySqlPool),
}

impl Relational {
    /// Opens a database and brings its tables up to date.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; nothing of it goes away by itself but a server that does not answer.
    pub async fn open(
        location: &DatabaseUrl,
        of_sqlite: &'static Migrator,
        of_mysql: &'static Migrator,
    ) -> Result<Self, OpenError> {
        Ok(Self(match location {
            DatabaseUrl::Sqlite(path) => {
                Pool::Sqlite(sqlite::open(path, of_sqlite).await?, Arc::default())
            }
            DatabaseUrl::MySql(address) => {
                let database = mysql::Database::open((**address).clone(), of_mysql).await?;
                Pool::MySql(database.pool(CONNECTIONS_MAX))
            }
        }))
    }

    /// The rows of a `SELECT`, read outside of any transaction.
    ///
    /// # Errors
    ///
    /// [`RelationalError::Unavailable`].
    pub async fn fetch(
        &self,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, RelationalError> {
        match &self.0 {
            Pool::Sqlite(pool, _) => {
                let rows = of_sqlite(sql, values).fetch_all(pool).await?;
                Ok(rows.into_iter().map(Row::of_sqlite).collect())
            }
            Pool::MySql(pool) => {
                let rows = bounded(of_mysql(sql, values).fetch_all(pool)).await?;
                Ok(rows.into_iter().map(Row::of_mysql).collect())
            }
        }
    }

    /// One statement in a transaction of its own; how many rows it has found to change.
    ///
    /// # Errors
    ///
    /// [`RelationalError`].
    pub async fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, RelationalError> {
        let mut transaction = self.begin().await?;
        let n_rows = transaction.execute(sql, values).await?;
        transaction.commit().await?;
        Ok(n_rows)
    }

    /// Begins to write; dropped without [`Transaction::commit`], nothing has happened.
    ///
    /// # Errors
    ///
    /// [`RelationalError::Unavailable`].
    pub async fn begin(&self) -> Result<Transaction, RelationalError> {
        match &self.0 {
            Pool::Sqlite(pool, line) => {
                let turn = Arc::clone(line).lock_owned().await;
                // At once: a reader that becomes a writer may find that it cannot.
                let begun = pool.begin_with("BEGIN IMMEDIATE").await?;
                Ok(Transaction(Open::Sqlite(begun, turn)))
            }
            Pool::MySql(pool) => Ok(Transaction(Open::MySql(bounded(pool.begin()).await?))),
        }
    }
}

#[async_trait]
impl Check for Relational {
    async fn check(&self) -> Result<(), String> {
        let answered = self.fetch("SELECT 1", &[]).await;
        answered.map(|_| ()).map_err(|error| {
            let causes = crate::telemetry::causes(&error);
            format!("{error}: {causes}")
        })
    }
}

/// Statements that all happen or none.
pub struct Transaction(Open);

enum Open {
    Sqlite(sqlx::Transaction<'static, Sqlite>, OwnedMutexGuard<()>),
    MySql(sqlx::Transaction<'static, MySql>),
}

impl Transaction {
    /// How many rows a statement has found to change.
    ///
    /// # Errors
    ///
    /// [`RelationalError`]; after [`RelationalError::Taken`] the transaction may go on.
    pub async fn execute(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<u64, RelationalError> {
        match &mut self.0 {
            Open::Sqlite(open, _) => {
                let done = of_sqlite(sql, values).execute(&mut **open).await?;
                Ok(done.rows_affected())
            }
            Open::MySql(open) => {
                let done = bounded(of_mysql(sql, values).execute(&mut **open)).await?;
                Ok(done.rows_affected())
            }
        }
    }

    /// The rows of a `SELECT`.
    ///
    /// # Errors
    ///
    /// [`RelationalError::Unavailable`].
    pub async fn fetch(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, RelationalError> {
        match &mut self.0 {
            Open::Sqlite(open, _) => {
                let rows = of_sqlite(sql, values).fetch_all(&mut **open).await?;
                Ok(rows.into_iter().map(Row::of_sqlite).collect())
            }
            Open::MySql(open) => {
                let rows = bounded(of_mysql(sql, values).fetch_all(&mut **open)).await?;
                Ok(rows.into_iter().map(Row::of_mysql).collect())
            }
        }
    }

    /// The rows of a `SELECT`, which nobody else writes until this transaction ends.
    ///
    /// Rows that are not there are not locked on MySQL: who adds them by `INSERT` hears
    /// [`RelationalError::Taken`] when somebody else was faster.
    ///
    /// # Errors
    ///
    /// [`RelationalError::Unavailable`].
    pub async fn fetch_locked(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, RelationalError> {
        match &self.0 {
            // `BEGIN IMMEDIATE` has locked the file.
            Open::Sqlite(..) => self.fetch(sql, values).await,
            Open::MySql(_) => self.fetch(&format!("{sql} FOR UPDATE"), values).await,
        }
    }

    /// Makes everything durable.
    ///
    /// # Errors
    ///
    /// [`RelationalError::Unavailable`]: whether it has happened is not known.
    pub async fn commit(self) -> Result<(), RelationalError> {
        match self.0 {
            Open::Sqlite(open, _turn) => open.commit().await?,
            Open::MySql(open) => bounded(open.commit()).await?,
        }
        Ok(())
    }
}

/// A row; columns are counted from 0.
pub struct Row(Columns);

enum Columns {
    Sqlite(SqliteRow),
    MySql(MySqlRow),
}

impl Row {
    fn of_sqlite(row: SqliteRow) -> Self {
        Self(Columns::Sqlite(row))
    }

    fn of_mysql(row: MySqlRow) -> Self {
        Self(Columns::MySql(row))
    }

    /// A whole number.
    ///
    /// # Errors
    ///
    /// [`RelationalError::Unreadable`].
    pub fn int(&self, column: usize) -> Result<i64, RelationalError> {
        self.column(column)
    }

    /// A whole number, if there is one.
    ///
    /// # Errors
    ///
    /// [`RelationalError::Unreadable`].
    pub fn int_if_any(&self, column: usize) -> Result<Option<i64>, RelationalError> {
        self.column(column)
    }

    /// A text; keys of MySQL, which are bytes, as text too.
    ///
    /// # Errors
    ///
    /// [`RelationalError::Unreadable`].
    pub fn text(&self, column: usize) -> Result<String, RelationalError> {
        self.column(column)
    }

    /// A text, if there is one.
    ///
    /// # Errors
    ///
    /// [`RelationalError::Unreadable`].
    pub fn text_if_any(&self, column: usize) -> Result<Option<String>, RelationalError> {
        self.column(column)
    }

    /// Bytes.
    ///
    /// # Errors
    ///
    /// [`RelationalError::Unreadable`].
    pub fn bytes(&self, column: usize) -> Result<Vec<u8>, RelationalError> {
        self.column(column)
    }

    fn column<'r, T>(&'r self, column: usize) -> Result<T, RelationalError>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, MySql> + Type<MySql>,
    {
        let found = match &self.0 {
            Columns::Sqlite(row) => row.try_get(column),
            Columns::MySql(row) => row.try_get_unchecked(column),
        };
        found.map_err(|source| RelationalError::Unreadable { column, source })
    }
}

/// `(?, ?, ?), (?, ?, ?)`: the places of so many rows of so many values.
#[must_use]
pub fn places(n_rows: usize, n_columns: usize) -> String {
    let row = format!("({})", vec!["?"; n_columns].join(", "));
    vec![row.as_str(); n_rows].join(", ")
}

/// A statement with its values, for one of the databases: each has a type of its own for both.
macro_rules! bound {
    ($sql:expr, $values:expr) => {{
        // The texts are ours; what comes from outside is bound.
        let mut query = sqlx::query(AssertSqlSafe($sql.to_owned()));
        for value in $values {
            query = match *value {
                Value::Null => query.bind(None::<i64>),
                Value::Int(it) => query.bind(it),
                Value::Text(it) => query.bind(it),
                Value::Bytes(it) => query.bind(it),
            };
        }
        query
    }};
}

fn of_sqlite<'q>(sql: &str, values: &[Value<'_>]) -> Query<'q, Sqlite, SqliteArguments> {
    bound!(sql, values)
}

fn of_mysql<'q>(sql: &str, values: &[Value<'_>]) -> Query<'q, MySql, MySqlArguments> {
    bound!(sql, values)
}

/// Ends a call that hangs.
async fn bounded<T>(
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, RelationalError> {
    let ended = tokio::time::timeout(CALL_MAX, work).await;
    Ok(ended.unwrap_or_else(|_| Err(timed_out()))?)
}
