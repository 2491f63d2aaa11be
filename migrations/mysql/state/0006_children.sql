-- What workflows owe each other, and which children they wait for. A closed workflow that
-- still owes something counts as open here, so that recovery and checks find it.

ALTER TABLE snapshot
    ADD COLUMN n_owed BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN children MEDIUMTEXT CHARACTER SET ascii COLLATE ascii_bin NULL; -- ids, separated by spaces

-- Workflows that start by the clock. Its partition's owner fires a schedule.
CREATE TABLE schedule (
    tenant        VARBINARY(256) NOT NULL,
    name          VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    partition_no  SMALLINT       NOT NULL,
    revision      BIGINT         NOT NULL, -- 1.., one for each change
    definition    VARBINARY(512) NOT NULL,
    version       BIGINT         NULL,     -- null is the live one
    cron          VARCHAR(128)   NOT NULL,
    time_zone     VARCHAR(64)    NOT NULL,
    overlap       VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    catch_up      VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    jitter_s      BIGINT         NOT NULL,
    is_paused     SMALLINT       NOT NULL,
    sealed_input  LONGBLOB       NOT NULL, -- under a key of the tenant
    done_until_ms BIGINT         NOT NULL, -- times up to here are done with
    last_ms       BIGINT         NULL,     -- the latest time that came
    last_workflow CHAR(35) CHARACTER SET ascii COLLATE ascii_bin NULL, -- what was started last
    last_error    VARCHAR(64)    NULL,     -- why nothing was started at last_ms
    created_by    VARCHAR(255)   NOT NULL,
    created_ms    BIGINT         NOT NULL,
    changed_by    VARCHAR(255)   NOT NULL,
    changed_ms    BIGINT         NOT NULL,
    PRIMARY KEY (tenant, name),
    KEY schedule_by_partition (partition_no, tenant, name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
