-- The life of a version: draft, published, retired; who did it and when. A version's
-- content never changes. Until now every version was published when it was stored, and
-- nobody noted by whom: those columns are null for such versions.

CREATE TABLE definition_version_2 (
    tenant       VARCHAR(64)  NOT NULL,
    name         VARCHAR(128) NOT NULL,
    version      BIGINT       NOT NULL,
    title        TEXT         NOT NULL,
    digest       CHAR(64)     NOT NULL,
    envelope     TEXT         NOT NULL,
    status       VARCHAR(16)  NOT NULL, -- draft, published, retired
    created_by   VARCHAR(128) NULL,
    created_ms   BIGINT       NOT NULL,
    published_by VARCHAR(128) NULL,
    published_ms BIGINT       NULL,
    retired_by   VARCHAR(128) NULL,
    retired_ms   BIGINT       NULL,
    PRIMARY KEY (tenant, name, version)
);
INSERT INTO definition_version_2
    (tenant, name, version, title, digest, envelope, status, created_ms, published_ms)
SELECT tenant, name, version, COALESCE(json_extract(envelope, '$.title'), name), digest, envelope,
       'published', published_ms, published_ms
FROM definition_version;
DROP TABLE definition_version;
ALTER TABLE definition_version_2 RENAME TO definition_version;
CREATE UNIQUE INDEX definition_by_digest ON definition_version (tenant, name, digest);

-- Which version new workflows get: one row a move, never changed. The highest revision counts.
CREATE TABLE definition_live (
    tenant   VARCHAR(64)  NOT NULL,
    name     VARCHAR(128) NOT NULL,
    revision BIGINT       NOT NULL, -- 1.. without gaps
    version  BIGINT       NOT NULL,
    moved_by VARCHAR(128) NULL,
    moved_ms BIGINT       NOT NULL,
    PRIMARY KEY (tenant, name, revision)
);
INSERT INTO definition_live (tenant, name, revision, version, moved_ms)
SELECT a.tenant, a.name, 1, a.version, v.published_ms
FROM definition_alias a
JOIN definition_version v ON v.tenant = a.tenant AND v.name = a.name AND v.version = a.version
WHERE a.alias = 'live';
DROP TABLE definition_alias;

-- For migrations: the open workflows of one version, page by page.
CREATE INDEX workflow_by_version
    ON workflow (tenant, definition, version, status, started_ms, workflow);
