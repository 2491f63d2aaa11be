-- What happens outside workflows: a log for each tenant, in the journal like everything else. A row here is the
-- head of such a log; that a log is no workflow keeps it out of every list, counter, check and retention.

CREATE TABLE act_log (
    log          CHAR(35) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    tenant       VARBINARY(256) NOT NULL,
    partition_no SMALLINT NOT NULL,
    chain        CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- head of the hash chain of the audit records
    n_audit      BIGINT   NOT NULL  -- audit records so far
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Which acts of late are recorded: one that is reported again is recorded once.
CREATE TABLE act (
    log         CHAR(35) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    act         CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    recorded_ms BIGINT   NOT NULL,
    PRIMARY KEY (log, act),
    KEY act_by_time (log, recorded_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
