-- Acts that core has not recorded yet. One that changes something is noted before it begins, and settled when its
-- answer is known.
CREATE TABLE act_outbox (
    place      INTEGER     PRIMARY KEY AUTOINCREMENT, -- in the order of their beginning
    act        CHAR(32)    NOT NULL UNIQUE,
    tenant     VARCHAR(64) NOT NULL,
    noted_ms   BIGINT      NOT NULL,
    is_settled SMALLINT    NOT NULL, -- 0 while its end is not known, 2 when core will never take it
    reported   TEXT        NOT NULL
);
CREATE INDEX act_outbox_by_place ON act_outbox (is_settled, place);
