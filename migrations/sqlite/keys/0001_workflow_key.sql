-- One data key a workflow, wrapped under its tenant's key. Without its wrapped
-- key nothing that was sealed for the workflow can be read again; the row stays
-- as a tombstone (`wrapped` is null), so that no second key is ever minted.
CREATE TABLE workflow_key (
    tenant   TEXT NOT NULL,
    workflow TEXT NOT NULL,
    key_id   BLOB NOT NULL,
    wrapped  BLOB,
    PRIMARY KEY (tenant, workflow)
) WITHOUT ROWID;
