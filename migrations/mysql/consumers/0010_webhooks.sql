-- Endpoints of tenants that are told what happens to their workflows, and every call to them.

CREATE TABLE webhook_endpoint (
    id               VARBINARY(36)   NOT NULL PRIMARY KEY,
    tenant           VARBINARY(256)  NOT NULL,
    url              VARBINARY(2048) NOT NULL,
    -- What it asks for, apart by spaces.
    topics           VARCHAR(256)    NOT NULL,
    description      VARCHAR(256)    NOT NULL,
    -- enabled; disabled by its owner; failing or gone: stopped by us.
    status           VARCHAR(16)     NOT NULL,
    -- Counts its changes.
    revision         BIGINT          NOT NULL,
    -- Number of its latest delivery.
    sequence         BIGINT          NOT NULL,
    -- When its next delivery is due; far away when none is.
    next_due_ms      BIGINT          NOT NULL,
    -- Since when nothing was taken; null when the latest was.
    failing_since_ms BIGINT          NULL,
    created_by       VARCHAR(256)    NOT NULL,
    created_ms       BIGINT          NOT NULL,
    changed_by       VARCHAR(256)    NOT NULL,
    changed_ms       BIGINT          NOT NULL,
    KEY webhook_endpoint_of_tenant (tenant, id),
    KEY webhook_endpoint_due (status, next_due_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What signs the calls of an endpoint, sealed under a key that is wrapped under its tenant's.
CREATE TABLE webhook_secret (
    endpoint    VARBINARY(36)   NOT NULL,
    number      BIGINT          NOT NULL,
    wrapped_key VARBINARY(1024) NOT NULL,
    sealed      VARBINARY(512)  NOT NULL,
    created_ms  BIGINT          NOT NULL,
    -- Null for the current one.
    expires_ms  BIGINT          NULL,
    PRIMARY KEY (endpoint, number),
    KEY webhook_secret_expired (expires_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- One event for one endpoint.
CREATE TABLE webhook_delivery (
    endpoint       VARBINARY(36) NOT NULL,
    -- Follows from the endpoint and the event, so that a stream that is read again makes none twice.
    id             VARBINARY(36) NOT NULL,
    sequence       BIGINT        NOT NULL,
    topic          VARCHAR(32)   NOT NULL,
    workflow       VARBINARY(35) NULL,
    -- When the event happened.
    at_ms          BIGINT        NOT NULL,
    body           TEXT          NOT NULL,
    state          VARCHAR(16)   NOT NULL,
    -- When it is due, or until when whoever sends it has it; 0 when it is not due any more.
    due_ms         BIGINT        NOT NULL,
    -- The attempts of all rounds; those of this one that were not taken; when this one began.
    n_attempts     BIGINT        NOT NULL,
    n_failed       BIGINT        NOT NULL,
    round_began_ms BIGINT        NOT NULL,
    created_ms     BIGINT        NOT NULL,
    finished_ms    BIGINT        NULL,
    PRIMARY KEY (endpoint, id),
    UNIQUE KEY webhook_delivery_sequence (endpoint, sequence),
    KEY webhook_delivery_due (endpoint, state, due_ms),
    KEY webhook_delivery_age (created_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE webhook_attempt (
    endpoint    VARBINARY(36) NOT NULL,
    delivery    VARBINARY(36) NOT NULL,
    number      BIGINT        NOT NULL,
    at_ms       BIGINT        NOT NULL,
    duration_ms BIGINT        NOT NULL,
    -- What was answered, or why nothing was.
    status      BIGINT        NULL,
    fault       VARCHAR(32)   NULL,
    PRIMARY KEY (endpoint, delivery, number)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
