-- Numbers of the analytics stream, each event counted once.
CREATE TABLE funnel_group (
    id         BIGINT       NOT NULL PRIMARY KEY, -- 63 bits of a digest of the rest
    tenant     VARCHAR(64)  NOT NULL,
    definition VARCHAR(128) NOT NULL,
    version    BIGINT       NOT NULL,             -- that the workflow was started on
    device     VARCHAR(16)  NOT NULL,
    language   VARCHAR(16)  NOT NULL
);
CREATE INDEX funnel_group_by_tenant ON funnel_group (tenant, definition, version);

CREATE TABLE funnel_count (
    funnel_group BIGINT       NOT NULL,
    hour_ms      BIGINT       NOT NULL, -- in which the workflow was started
    state        VARCHAR(80)  NOT NULL, -- of the definition; empty for the workflow as a whole
    measure      VARCHAR(160) NOT NULL, -- started, closed:<status>, outcome:<outcome>, ms:<bucket>, ...
    n            BIGINT       NOT NULL,
    PRIMARY KEY (funnel_group, hour_ms, state, measure)
) WITHOUT ROWID;
