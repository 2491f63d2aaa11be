//! The engine's statements, written once and compiled for each database.
//!
//! `sqlite.rs` and `mysql.rs` both have a `mod sql;` that points here, so every file of this folder
//! exists twice: against `Db = Sqlite` and against `Db = MySql`. To add a query:
//!
//! 1. Write it in the file of its concern, or in a new file with a line below. Import the driver's side
//!    from `super` only ([`Db`], [`SqlStore`], [`BEGIN`], [`FOR_UPDATE`]), never from a driver.
//! 2. Read with [`SqlStore::pool`], inside [`SqlStore::bounded`]. Write with [`SqlStore::writer`] and say
//!    [`Writer::keep`] once all has gone well. What is read in order to be written again is read inside a
//!    transaction with [`FOR_UPDATE`] at the end: SQLite has one writer, MySQL has many. Rows are locked in
//!    the order of their keys, leases before everything else, so that nobody waits in a circle.
//! 3. Take columns with [`rows::get`]: keys are `VARBINARY` on MySQL, which compares them as bytes, and
//!    tuples of `query_as` cannot read those as text. Bind text, numbers and bytes as they are.
//! 4. Text that both take: `?`, `REPLACE INTO` for rows without other indexes, `INSERT` and
//!    `is_unique_violation` instead of `ON CONFLICT`, no `RETURNING`, no `||`, no function of JSON or dates.
//!    A test prepares every statement of the migrations' tables on both by running the conformance suites.
//! 5. A table is a migration in `migrations/sqlite/state` and one of the same name in
//!    `migrations/mysql/state`.

mod act_logs;
mod audit_aside;
mod audit_log;
mod audit_rounds;
mod counts;
mod cursors;
mod definitions;
mod incidents;
pub(crate) mod judging;
pub(crate) mod leases;
pub(crate) mod lists;
mod nodes;
mod operations;
mod reads;
mod restore;
mod retention;
mod rows;
mod schedules;
mod store;
mod tenants;

use super::{
    BEGIN, Connection, Db, FOR_UPDATE, FOR_UPDATE_OF_FREE, N_LANES, N_PARTITIONS, Row,
    SELECT_NOW_MS, SqlStore, WRITE_ANYTHING, decode, led_by, unavailable,
};
