-- One data key a workflow, wrapped under its tenant's key. Without its wrapped
-- key nothing that was sealed for the workflow can be read again; the row stays
-- as a tombstone (`wrapped` is null), so that no second key is ever minted.
-- The row of the tenant without a name is how nodes compare their master keys.
CREATE TABLE workflow_key (
    tenant   VARBINARY(256)  NOT NULL,
    workflow CHAR(35) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    key_id   VARBINARY(8)    NOT NULL,
    wrapped  VARBINARY(1024) NULL,
    PRIMARY KEY (tenant, workflow)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
