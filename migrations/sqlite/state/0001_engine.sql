-- The engine's state: leases, journal, snapshots, list columns, dedupe of starts,
-- relay cursors, definitions. Times are milliseconds since the epoch; ids compare
-- as bytes. Column types are spelt so that MySQL takes them too.

CREATE TABLE store_meta (
    name  VARCHAR(64) NOT NULL PRIMARY KEY,
    value BIGINT      NOT NULL
);
-- Bumped by a restore, so that a restored past never reuses a published event id.
INSERT INTO store_meta (name, value) VALUES ('incarnation', 1);

CREATE TABLE partition_lease (
    partition_no   SMALLINT    NOT NULL PRIMARY KEY,
    owner          VARCHAR(64) NOT NULL,
    epoch          BIGINT      NOT NULL,
    lease_until_ms BIGINT      NOT NULL
);

-- One row per (workflow, commit). It is history and outbox at once.
CREATE TABLE journal (
    workflow       CHAR(35)    NOT NULL,
    sequence       BIGINT      NOT NULL, -- id of the last event packed here
    first_sequence BIGINT      NOT NULL,
    partition_no   SMALLINT    NOT NULL,
    batch          BIGINT      NOT NULL, -- 1.. without gaps in a partition
    committed_ms   BIGINT      NOT NULL,
    sealed         BLOB        NOT NULL, -- the packed events, private
    public         TEXT        NOT NULL, -- one public event a line, ready for the streams
    PRIMARY KEY (workflow, sequence)
);
CREATE UNIQUE INDEX journal_batch ON journal (partition_no, batch);

CREATE TABLE workflow (
    workflow     CHAR(35)     NOT NULL PRIMARY KEY,
    tenant       VARCHAR(64)  NOT NULL,
    definition   VARCHAR(128) NOT NULL,
    version      BIGINT       NOT NULL,
    subject      CHAR(64)     NULL,     -- keyed digest of the bank's own reference
    locale       VARCHAR(35)  NOT NULL,
    status       VARCHAR(16)  NOT NULL,
    waiting_for  VARCHAR(16)  NULL,
    decision     VARCHAR(64)  NULL,
    started_ms   BIGINT       NOT NULL,
    closed_ms    BIGINT       NULL
);
CREATE INDEX workflow_by_start ON workflow (tenant, started_ms, workflow);
CREATE INDEX workflow_by_status ON workflow (tenant, status, started_ms, workflow);
CREATE INDEX workflow_by_wait ON workflow (tenant, waiting_for, started_ms, workflow);

CREATE TABLE snapshot (
    workflow     CHAR(35)    NOT NULL PRIMARY KEY,
    partition_no SMALLINT    NOT NULL,
    sequence     BIGINT      NOT NULL,
    chain        CHAR(64)    NOT NULL, -- head of the hash chain of the audit records
    n_audit      BIGINT      NOT NULL, -- audit records so far
    n_analytics  BIGINT      NOT NULL, -- analytics records so far
    is_open      SMALLINT    NOT NULL,
    n_turns      BIGINT      NOT NULL, -- turns that a worker owes
    n_prompts    BIGINT      NOT NULL, -- answers that a person owes
    wake_at_ms   BIGINT      NULL,
    incident     VARCHAR(64) NULL,     -- code of the fault that stopped this workflow
    sealed       BLOB        NOT NULL
);
CREATE INDEX snapshot_open ON snapshot (partition_no, is_open, workflow);
CREATE INDEX snapshot_wake ON snapshot (partition_no, wake_at_ms);

CREATE TABLE start_key (
    tenant     VARCHAR(64) NOT NULL,
    key_hash   CHAR(64)    NOT NULL,
    digest     CHAR(64)    NOT NULL, -- of the request that first used the key
    workflow   CHAR(35)    NOT NULL,
    created_ms BIGINT      NOT NULL,
    PRIMARY KEY (tenant, key_hash)
);

-- A key per tenant under which references to persons are digested, wrapped by the tenant's key.
CREATE TABLE tenant_digest_key (
    tenant  VARCHAR(64) NOT NULL PRIMARY KEY,
    wrapped BLOB        NOT NULL
);

CREATE TABLE relay_cursor (
    partition_no SMALLINT NOT NULL PRIMARY KEY,
    batch        BIGINT   NOT NULL
);

CREATE TABLE definition_version (
    tenant       VARCHAR(64)  NOT NULL,
    name         VARCHAR(128) NOT NULL,
    version      BIGINT       NOT NULL,
    digest       CHAR(64)     NOT NULL,
    envelope     TEXT         NOT NULL,
    published_ms BIGINT       NOT NULL,
    PRIMARY KEY (tenant, name, version)
);
CREATE UNIQUE INDEX definition_by_digest ON definition_version (tenant, name, digest);

CREATE TABLE definition_alias (
    tenant  VARCHAR(64)  NOT NULL,
    name    VARCHAR(128) NOT NULL,
    alias   VARCHAR(64)  NOT NULL,
    version BIGINT       NOT NULL,
    PRIMARY KEY (tenant, name, alias)
);

CREATE TABLE acknowledgement (
    tenant          VARCHAR(64)  NOT NULL,
    kind            VARCHAR(64)  NOT NULL,
    statement       TEXT         NOT NULL,
    acknowledged_by VARCHAR(128) NOT NULL,
    acknowledged_ms BIGINT       NOT NULL,
    PRIMARY KEY (tenant, kind)
);
