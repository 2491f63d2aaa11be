-- JSON documents of workflows, sealed with the workflow's key: what a step keeps
-- beside its output, and the contact that a person has proven to hold.
CREATE TABLE document (
    tenant   TEXT NOT NULL,
    workflow TEXT NOT NULL,
    kind     TEXT NOT NULL,
    sealed   BLOB NOT NULL,
    PRIMARY KEY (tenant, workflow, kind)
) WITHOUT ROWID;
