-- Incidents as operators see them, and the limits that they set. A row describes the latest
-- incident of a task, or with task 0 of the whole workflow; what stands still is in the snapshots.

CREATE TABLE incident (
    workflow     CHAR(35) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    task         BIGINT       NOT NULL, -- 0: the whole workflow stands still
    tenant       VARBINARY(256) NOT NULL,
    definition   VARBINARY(512) NOT NULL,
    version      BIGINT       NOT NULL,
    code         VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    state        VARCHAR(255) NULL,
    step         VARBINARY(128) NULL,
    attempt      BIGINT       NULL,
    turn         BIGINT       NULL,
    raised_ms    BIGINT       NOT NULL,
    is_open      SMALLINT     NOT NULL,
    resolved_ms  BIGINT       NULL,
    resolved_by  VARCHAR(255) NULL,
    action       VARCHAR(16)  NULL,     -- retry, fail, terminate, or overtaken: it went on by itself
    note         TEXT         NULL,
    PRIMARY KEY (workflow, task)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE INDEX incident_by_time ON incident (tenant, is_open, raised_ms, workflow, task);

-- At most one row: the limits of the platform, as JSON.
CREATE TABLE task_limits (
    id         SMALLINT     NOT NULL PRIMARY KEY, -- always 1
    revision   BIGINT       NOT NULL,             -- counts the changes, from 1
    document   LONGTEXT     NOT NULL,
    changed_by VARCHAR(255) NOT NULL,
    changed_ms BIGINT       NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
