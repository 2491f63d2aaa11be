//! The statements that take a workflow away, for the commits of all databases.

/// Each takes the workflow.
pub const DELETIONS: [&str; 5] = [
    "DELETE FROM journal WHERE workflow = ?",
    "DELETE FROM snapshot WHERE workflow = ?",
    "DELETE FROM workflow WHERE workflow = ?",
    DELETE_ATTRIBUTES,
    "DELETE FROM incident WHERE workflow = ?",
];
/// Takes the workflow.
pub const DELETE_ATTRIBUTES: &str = "DELETE FROM search_attribute WHERE workflow = ?";
/// Takes the time of the start, the workflow and the hash of its owed key, which stays: who delivers such a
/// start again would otherwise begin a second workflow with the id of the first.
pub const DELETE_START_KEY: &str =
    "DELETE FROM start_key WHERE created_ms = ? AND workflow = ? AND key_hash <> ?";
/// Takes partition, batch, workflow and tenant.
pub const INSERT_DELETED: &str =
    "INSERT INTO deleted_workflow (partition_no, batch, workflow, tenant) VALUES (?, ?, ?, ?)";
