//! Servers that tests start themselves, on free ports and folders of their own.
//!
//! They are part of this crate, as the conformance functions are, so that the tests of every crate have
//! them. Nothing of a running service uses them.

mod mariadb;

pub use mariadb::MariaDb;
