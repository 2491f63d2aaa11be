//! The statements that write act logs, for the commits of all databases.

/// Takes chain, number and log.
pub const UPDATE_ACT_LOG: &str = "UPDATE act_log SET chain = ?, n_audit = ? WHERE log = ?";
/// Takes log, tenant, partition, chain and number.
pub const INSERT_ACT_LOG: &str =
    "INSERT INTO act_log (log, tenant, partition_no, chain, n_audit) VALUES (?, ?, ?, ?, ?)";
/// Takes log, act and time.
pub const INSERT_ACT_SQLITE: &str = "INSERT INTO act (log, act, recorded_ms) VALUES (?, ?, ?)";
/// Is followed by rows of log, act and time.
pub const INSERT_ACTS_MYSQL: &str = "INSERT INTO act (log, act, recorded_ms) ";
/// Takes log and time; some at a time, because the commit of other workflows waits for it.
pub const FORGET_ACTS_SQLITE: &str = "DELETE FROM act WHERE rowid IN \
     (SELECT rowid FROM act WHERE log = ? AND recorded_ms < ? ORDER BY recorded_ms LIMIT 200)";
/// See [`FORGET_ACTS_SQLITE`].
pub const FORGET_ACTS_MYSQL: &str =
    "DELETE FROM act WHERE log = ? AND recorded_ms < ? ORDER BY recorded_ms LIMIT 200";
