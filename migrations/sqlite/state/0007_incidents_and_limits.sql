-- Incidents as operators see them, and the limits that they set. A row describes the latest
-- incident of a task, or with task 0 of the whole workflow; what stands still is in the snapshots.

CREATE TABLE incident (
    workflow     CHAR(35)     NOT NULL,
    task         BIGINT       NOT NULL, -- 0: the whole workflow stands still
    tenant       VARCHAR(64)  NOT NULL,
    definition   VARCHAR(128) NOT NULL,
    version      BIGINT       NOT NULL,
    code         VARCHAR(64)  NOT NULL,
    state        VARCHAR(255) NULL,
    step         VARCHAR(128) NULL,
    attempt      BIGINT       NULL,
    turn         BIGINT       NULL,
    raised_ms    BIGINT       NOT NULL,
    is_open      SMALLINT     NOT NULL,
    resolved_ms  BIGINT       NULL,
    resolved_by  VARCHAR(128) NULL,
    action       VARCHAR(16)  NULL,     -- retry, fail, terminate, or overtaken: it went on by itself
    note         TEXT         NULL,
    PRIMARY KEY (workflow, task)
);
CREATE INDEX incident_by_time ON incident (tenant, is_open, raised_ms, workflow, task);

-- At most one row: the limits of the platform, as JSON.
CREATE TABLE task_limits (
    id         SMALLINT     NOT NULL PRIMARY KEY, -- always 1
    revision   BIGINT       NOT NULL,             -- counts the changes, from 1
    document   TEXT         NOT NULL,
    changed_by VARCHAR(128) NOT NULL,
    changed_ms BIGINT       NOT NULL
);
