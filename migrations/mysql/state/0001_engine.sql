-- The engine's state: leases, journal, snapshots, list columns, dedupe of starts,
-- relay cursors, acknowledgements. Times are milliseconds since the epoch.
--
-- What is compared compares as bytes: ids and digests, which are ASCII and never end in
-- a space, are `ascii_bin`; names that people choose (tenants, definitions) are VARBINARY,
-- because every character collation that both MySQL and MariaDB have takes 'a' and 'a '
-- for the same. Read them with `sql::rows::get`.

CREATE TABLE store_meta (
    name  VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- Bumped by a restore, so that a restored past never reuses a published event id.
INSERT INTO store_meta (name, value) VALUES ('incarnation', 1);

CREATE TABLE partition_lease (
    partition_no   SMALLINT NOT NULL PRIMARY KEY,
    owner          VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    epoch          BIGINT NOT NULL,
    lease_until_ms BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- A row that is not there cannot be locked, so every partition has one from the beginning.
INSERT INTO partition_lease (partition_no, owner, epoch, lease_until_ms)
SELECT high.n * 16 + low.n, '', 0, 0
FROM (SELECT 0 AS n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4
      UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8
      UNION ALL SELECT 9 UNION ALL SELECT 10 UNION ALL SELECT 11 UNION ALL SELECT 12
      UNION ALL SELECT 13 UNION ALL SELECT 14 UNION ALL SELECT 15) AS high
CROSS JOIN
     (SELECT 0 AS n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4
      UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8
      UNION ALL SELECT 9 UNION ALL SELECT 10 UNION ALL SELECT 11 UNION ALL SELECT 12
      UNION ALL SELECT 13 UNION ALL SELECT 14 UNION ALL SELECT 15) AS low;

-- One row per (workflow, commit). It is history and outbox at once, and lies in the order
-- of the outbox, so that commits append.
CREATE TABLE journal (
    workflow       CHAR(35) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    sequence       BIGINT     NOT NULL, -- id of the last event packed here
    first_sequence BIGINT     NOT NULL,
    partition_no   SMALLINT   NOT NULL,
    batch          BIGINT     NOT NULL, -- 1.. without gaps in a partition
    committed_ms   BIGINT     NOT NULL,
    sealed         LONGBLOB   NOT NULL, -- the packed events, private
    public         LONGTEXT   NOT NULL, -- one public event a line, ready for the streams
    PRIMARY KEY (partition_no, batch),
    UNIQUE KEY journal_workflow (workflow, sequence)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE workflow (
    workflow     CHAR(35) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    tenant       VARBINARY(256) NOT NULL,
    definition   VARBINARY(512) NOT NULL,
    version      BIGINT         NOT NULL,
    subject      CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL, -- keyed digest of the bank's own reference
    locale       VARCHAR(255)   NOT NULL,
    status       VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    waiting_for  VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NULL,
    decision     VARCHAR(255)   NULL,
    started_ms   BIGINT         NOT NULL,
    closed_ms    BIGINT         NULL,
    KEY workflow_by_start (tenant, started_ms, workflow),
    KEY workflow_by_status (tenant, status, started_ms, workflow),
    KEY workflow_by_wait (tenant, waiting_for, started_ms, workflow)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE snapshot (
    workflow     CHAR(35) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    partition_no SMALLINT NOT NULL,
    sequence     BIGINT   NOT NULL,
    chain        CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- head of the hash chain of the audit records
    n_audit      BIGINT   NOT NULL, -- audit records so far
    n_analytics  BIGINT   NOT NULL, -- analytics records so far
    is_open      SMALLINT NOT NULL,
    n_turns      BIGINT   NOT NULL, -- turns that a worker owes
    n_prompts    BIGINT   NOT NULL, -- answers that a person owes
    wake_at_ms   BIGINT   NULL,
    incident     VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL, -- code of the fault that stopped this workflow
    sealed       LONGBLOB NOT NULL,
    KEY snapshot_open (partition_no, is_open, workflow),
    KEY snapshot_wake (partition_no, wake_at_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE start_key (
    tenant     VARBINARY(256) NOT NULL,
    key_hash   CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    digest     CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- of the request that first used the key
    workflow   CHAR(35) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant, key_hash)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- A key per tenant under which references to persons are digested, wrapped by the tenant's key.
CREATE TABLE tenant_digest_key (
    tenant  VARBINARY(256)  NOT NULL PRIMARY KEY,
    wrapped VARBINARY(1024) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE relay_cursor (
    partition_no SMALLINT NOT NULL PRIMARY KEY,
    batch        BIGINT   NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE acknowledgement (
    tenant          VARBINARY(256) NOT NULL,
    kind            VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    statement       MEDIUMTEXT   NOT NULL,
    acknowledged_by VARCHAR(255) NOT NULL,
    acknowledged_ms BIGINT       NOT NULL,
    PRIMARY KEY (tenant, kind)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
