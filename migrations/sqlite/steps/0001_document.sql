-- Sealed JSON documents of workflows: what a step keeps beside its output.
CREATE TABLE document (
    tenant     TEXT   NOT NULL,
    workflow   TEXT   NOT NULL,
    kind       TEXT   NOT NULL,
    sealed     BLOB   NOT NULL,
    written_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, workflow, kind)
) WITHOUT ROWID;
