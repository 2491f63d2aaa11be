-- The contact that a person has proven to hold, sealed with the workflow's key.
CREATE TABLE verified_contact (
    tenant     TEXT   NOT NULL,
    workflow   TEXT   NOT NULL,
    sealed     BLOB   NOT NULL,
    written_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, workflow)
) WITHOUT ROWID;
