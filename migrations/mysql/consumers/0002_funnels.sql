-- Numbers of the analytics stream, each event counted once.
CREATE TABLE funnel_group (
    id         BIGINT         NOT NULL PRIMARY KEY, -- 63 bits of a digest of the rest
    tenant     VARBINARY(256) NOT NULL,
    definition VARBINARY(512) NOT NULL,
    version    BIGINT         NOT NULL,             -- that the workflow was started on
    device     VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    language   VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE INDEX funnel_group_by_tenant ON funnel_group (tenant, definition, version);

CREATE TABLE funnel_count (
    funnel_group BIGINT         NOT NULL,
    hour_ms      BIGINT         NOT NULL, -- in which the workflow was started
    state        VARBINARY(320) NOT NULL, -- of the definition; empty for the workflow as a whole
    measure      VARBINARY(160) NOT NULL, -- started, closed:<status>, outcome:<outcome>, ms:<bucket>, ...
    n            BIGINT         NOT NULL,
    PRIMARY KEY (funnel_group, hour_ms, state, measure)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
