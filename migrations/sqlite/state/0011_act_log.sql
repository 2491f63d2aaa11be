-- What happens outside workflows: a log for each tenant, in the journal like everything else. A row here is the
-- head of such a log; that a log is no workflow keeps it out of every list, counter, check and retention.

CREATE TABLE act_log (
    log          CHAR(35)    NOT NULL PRIMARY KEY,
    tenant       VARCHAR(64) NOT NULL,
    partition_no SMALLINT    NOT NULL,
    chain        CHAR(64)    NOT NULL, -- head of the hash chain of the audit records
    n_audit      BIGINT      NOT NULL  -- audit records so far
);

-- Which acts of late are recorded: one that is reported again is recorded once.
CREATE TABLE act (
    log         CHAR(35) NOT NULL,
    act         CHAR(32) NOT NULL,
    recorded_ms BIGINT   NOT NULL,
    PRIMARY KEY (log, act)
);
CREATE INDEX act_by_time ON act (log, recorded_ms);
