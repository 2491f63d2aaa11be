-- Finding workflows again among many that have closed: search attributes, indexes that keep open
-- and closed apart, exact counters; and letting them go: retention, legal hold, deletion.

ALTER TABLE workflow ADD COLUMN attributes TEXT NULL;         -- JSON, each value as its index has it
ALTER TABLE workflow ADD COLUMN retention VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL;   -- the policy that the definition names
ALTER TABLE workflow ADD COLUMN legal_hold SMALLINT NOT NULL DEFAULT 0;

-- Every list is read from one of these, the latest start first. A list of several statuses is the
-- merge of one list for each, so that what is open is never looked for among what is closed.
DROP INDEX workflow_by_start ON workflow;
DROP INDEX workflow_by_wait ON workflow;
DROP INDEX workflow_by_version ON workflow;
CREATE INDEX workflow_by_definition ON workflow (tenant, definition, status, started_ms, workflow);
CREATE INDEX workflow_by_wait ON workflow (tenant, waiting_for, started_ms, workflow);
CREATE INDEX workflow_by_decision ON workflow (tenant, decision, started_ms, workflow);
-- For retention: what a policy keeps, the longest closed first.
CREATE INDEX workflow_by_end ON workflow (retention, closed_ms, workflow);

CREATE TABLE search_attribute (
    workflow   CHAR(35) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    name       VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    tenant     VARBINARY(256) NOT NULL,
    value      VARCHAR(72) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- a letter for the type, then a text that sorts as the value does
    started_ms BIGINT      NOT NULL,
    PRIMARY KEY (workflow, name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE INDEX search_attribute_by_value
    ON search_attribute (tenant, name, value, started_ms, workflow);

-- How many workflows there are, written in the commit that changes it; the sum over shards counts.
CREATE TABLE workflow_count (
    tenant     VARBINARY(256) NOT NULL,
    basis      CHAR(1) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- S by the day of the start, C by the day of the end, D deleted
    day        BIGINT       NOT NULL, -- days since the epoch, UTC; -1 is all days
    definition VARBINARY(512) NOT NULL,
    version    BIGINT       NOT NULL,
    status     VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    decision   VARCHAR(255) NOT NULL, -- '' where there is none
    shard      SMALLINT     NOT NULL, -- a partition of the writer, so that writers do not wait for each other
    n          BIGINT       NOT NULL,
    PRIMARY KEY (tenant, basis, day, definition, version, status, decision, shard)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
INSERT INTO workflow_count (tenant, basis, day, definition, version, status, decision, shard, n)
SELECT tenant, 'S', -1, definition, version, status, COALESCE(decision, ''), 0, COUNT(*)
FROM workflow GROUP BY tenant, definition, version, status, COALESCE(decision, '');
INSERT INTO workflow_count (tenant, basis, day, definition, version, status, decision, shard, n)
SELECT tenant, 'S', started_ms DIV 86400000, definition, version, status, COALESCE(decision, ''), 0, COUNT(*)
FROM workflow GROUP BY tenant, started_ms DIV 86400000, definition, version, status, COALESCE(decision, '');
INSERT INTO workflow_count (tenant, basis, day, definition, version, status, decision, shard, n)
SELECT tenant, 'C', closed_ms DIV 86400000, definition, version, status, COALESCE(decision, ''), 0, COUNT(*)
FROM workflow WHERE closed_ms IS NOT NULL
GROUP BY tenant, closed_ms DIV 86400000, definition, version, status, COALESCE(decision, '');

-- A deleted workflow until the streams have heard of it and its key is destroyed.
CREATE TABLE deleted_workflow (
    partition_no SMALLINT    NOT NULL,
    batch        BIGINT      NOT NULL, -- of the row in the journal that tells of the deletion
    workflow     CHAR(35) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    tenant       VARBINARY(256) NOT NULL,
    PRIMARY KEY (partition_no, batch)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- The last batch whose row was purged: numbers of batches never repeat.
CREATE TABLE partition_floor (
    partition_no SMALLINT NOT NULL PRIMARY KEY,
    batch        BIGINT   NOT NULL,
    committed_ms BIGINT   NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- A start's key is made at the time of its workflow's start.
CREATE INDEX start_key_by_start ON start_key (created_ms, workflow);
