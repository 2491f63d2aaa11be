-- What was uploaded through the gateway: which references a submission may name,
-- and which objects nobody named and are therefore deleted.
-- Times are milliseconds since the epoch.

CREATE TABLE upload (
    object      TEXT   NOT NULL PRIMARY KEY,
    tenant      TEXT   NOT NULL,
    workflow    TEXT   NOT NULL,
    media_type  TEXT   NOT NULL,
    sha256      TEXT,                         -- NULL while the bytes still come
    bytes       BIGINT,
    uploaded_at BIGINT NOT NULL,
    named_at    BIGINT                        -- when a submission first named it
);
CREATE INDEX upload_by_workflow ON upload (workflow, named_at);
CREATE INDEX upload_by_age ON upload (named_at, uploaded_at);
