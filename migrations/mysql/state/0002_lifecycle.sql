-- The life of a version: draft, published, retired; who did it and when. A version's
-- content never changes.

CREATE TABLE definition_version (
    tenant       VARBINARY(256) NOT NULL,
    name         VARBINARY(512) NOT NULL,
    version      BIGINT         NOT NULL,
    title        MEDIUMTEXT     NOT NULL,
    digest       CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    envelope     LONGTEXT       NOT NULL,
    status       VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- draft, published, retired
    created_by   VARCHAR(255)   NULL,
    created_ms   BIGINT         NOT NULL,
    published_by VARCHAR(255)   NULL,
    published_ms BIGINT         NULL,
    retired_by   VARCHAR(255)   NULL,
    retired_ms   BIGINT         NULL,
    PRIMARY KEY (tenant, name, version),
    UNIQUE KEY definition_by_digest (tenant, name, digest)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Which version new workflows get: one row a move, never changed. The highest revision counts.
CREATE TABLE definition_live (
    tenant   VARBINARY(256) NOT NULL,
    name     VARBINARY(512) NOT NULL,
    revision BIGINT         NOT NULL, -- 1.. without gaps
    version  BIGINT         NOT NULL,
    moved_by VARCHAR(255)   NULL,
    moved_ms BIGINT         NOT NULL,
    PRIMARY KEY (tenant, name, revision)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- For migrations: the open workflows of one version, page by page.
CREATE INDEX workflow_by_version
    ON workflow (tenant, definition, version, status, started_ms, workflow);
