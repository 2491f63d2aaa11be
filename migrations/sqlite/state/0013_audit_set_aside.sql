-- What is set aside: records of a tenant in a partition, from a batch on, that are not in its log until what is
-- damaged is mended. The cursors of partitions are beyond them.
CREATE TABLE audit_set_aside (
    tenant       VARCHAR(64) NOT NULL,
    partition_no SMALLINT    NOT NULL,
    batch        BIGINT      NOT NULL, -- the first that has no place
    code         VARCHAR(64) NOT NULL,
    since_ms     BIGINT      NOT NULL,
    PRIMARY KEY (tenant, partition_no)
);

-- When the latest checkpoint of all logs was signed: a key does not end before that.
ALTER TABLE audit_sequencer ADD COLUMN signed_ms BIGINT NOT NULL DEFAULT 0;
UPDATE audit_sequencer SET signed_ms = COALESCE((SELECT MAX(at_ms) FROM audit_checkpoint), 0);
