-- One data key a workflow, wrapped under its tenant's key. Destroying the row
-- makes everything that was sealed with the key unreadable. `destroyed_at` stays
-- as a tombstone, so that a key is never minted twice for one workflow.
CREATE TABLE workflow_key (
    tenant       TEXT    NOT NULL,
    workflow     TEXT    NOT NULL,
    key_id       BLOB    NOT NULL,
    wrapped      BLOB,
    created_at   BIGINT  NOT NULL,
    destroyed_at BIGINT,
    PRIMARY KEY (tenant, workflow)
) WITHOUT ROWID;
