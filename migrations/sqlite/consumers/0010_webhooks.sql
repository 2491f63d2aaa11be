-- Endpoints of tenants that are told what happens to their workflows, and every call to them.

CREATE TABLE webhook_endpoint (
    id               TEXT    NOT NULL PRIMARY KEY,
    tenant           TEXT    NOT NULL,
    url              TEXT    NOT NULL,
    -- What it asks for, apart by spaces.
    topics           TEXT    NOT NULL,
    description      TEXT    NOT NULL,
    -- enabled; disabled by its owner; failing or gone: stopped by us.
    status           TEXT    NOT NULL,
    -- Counts its changes.
    revision         INTEGER NOT NULL,
    -- Number of its latest delivery.
    sequence         INTEGER NOT NULL,
    -- When its next delivery is due; far away when none is.
    next_due_ms      INTEGER NOT NULL,
    -- Since when nothing was taken; null when the latest was.
    failing_since_ms INTEGER NULL,
    created_by       TEXT    NOT NULL,
    created_ms       INTEGER NOT NULL,
    changed_by       TEXT    NOT NULL,
    changed_ms       INTEGER NOT NULL
) STRICT;
CREATE INDEX webhook_endpoint_of_tenant ON webhook_endpoint (tenant, id);
CREATE INDEX webhook_endpoint_due ON webhook_endpoint (status, next_due_ms);

-- What signs the calls of an endpoint, sealed under a key that is wrapped under its tenant's.
CREATE TABLE webhook_secret (
    endpoint    TEXT    NOT NULL,
    number      INTEGER NOT NULL,
    wrapped_key BLOB    NOT NULL,
    sealed      BLOB    NOT NULL,
    created_ms  INTEGER NOT NULL,
    -- Null for the current one.
    expires_ms  INTEGER NULL,
    PRIMARY KEY (endpoint, number)
) STRICT;
CREATE INDEX webhook_secret_expired ON webhook_secret (expires_ms);

-- One event for one endpoint.
CREATE TABLE webhook_delivery (
    endpoint       TEXT    NOT NULL,
    -- Follows from the endpoint and the event, so that a stream that is read again makes none twice.
    id             TEXT    NOT NULL,
    sequence       INTEGER NOT NULL,
    topic          TEXT    NOT NULL,
    workflow       TEXT    NULL,
    -- When the event happened.
    at_ms          INTEGER NOT NULL,
    body           TEXT    NOT NULL,
    state          TEXT    NOT NULL,
    -- When it is due, or until when whoever sends it has it; 0 when it is not due any more.
    due_ms         INTEGER NOT NULL,
    -- The attempts of all rounds; those of this one that were not taken; when this one began.
    n_attempts     INTEGER NOT NULL,
    n_failed       INTEGER NOT NULL,
    round_began_ms INTEGER NOT NULL,
    created_ms     INTEGER NOT NULL,
    finished_ms    INTEGER NULL,
    PRIMARY KEY (endpoint, id)
) STRICT;
CREATE UNIQUE INDEX webhook_delivery_sequence ON webhook_delivery (endpoint, sequence);
CREATE INDEX webhook_delivery_due ON webhook_delivery (endpoint, state, due_ms);
CREATE INDEX webhook_delivery_age ON webhook_delivery (created_ms);

CREATE TABLE webhook_attempt (
    endpoint    TEXT    NOT NULL,
    delivery    TEXT    NOT NULL,
    number      INTEGER NOT NULL,
    at_ms       INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    -- What was answered, or why nothing was.
    status      INTEGER NULL,
    fault       TEXT    NULL,
    PRIMARY KEY (endpoint, delivery, number)
) STRICT;
