-- The Merkle log of each tenant's audit records, as the sequencer keeps it. Never a row for each record.

-- One row: who gives records their places. Every write of the sequencer checks the epoch under its lock.
CREATE TABLE audit_sequencer (
    name           VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    owner          VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    epoch          BIGINT      NOT NULL,
    lease_until_ms BIGINT      NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
INSERT INTO audit_sequencer (name, owner, epoch, lease_until_ms) VALUES ('sequencer', '', 0, 0);

-- How far each partition has been taken into the logs.
CREATE TABLE audit_cursor (
    partition_no SMALLINT NOT NULL PRIMARY KEY,
    batch        BIGINT   NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- A log is begun anew by every incarnation of the database, which may have forgotten what was signed.
CREATE TABLE audit_log (
    tenant        VARBINARY(256) NOT NULL,
    incarnation   BIGINT      NOT NULL,
    size          BIGINT      NOT NULL, -- leaves
    n_checkpoints BIGINT      NOT NULL,
    n_events      BIGINT      NOT NULL, -- events that have told of checkpoints
    key_number    BIGINT      NOT NULL, -- of the key that has signed last
    PRIMARY KEY (tenant, incarnation)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- 256 hashes a row; only the last of each level is ever written again.
CREATE TABLE audit_tile (
    tenant      VARBINARY(256) NOT NULL,
    incarnation BIGINT      NOT NULL,
    level       SMALLINT    NOT NULL,
    place       BIGINT      NOT NULL,
    hashes      MEDIUMBLOB        NOT NULL,
    PRIMARY KEY (tenant, incarnation, level, place)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Which batches of a partition are which leaves.
CREATE TABLE audit_range (
    tenant       VARBINARY(256) NOT NULL,
    incarnation  BIGINT      NOT NULL,
    first_leaf   BIGINT      NOT NULL,
    n_leaves     BIGINT      NOT NULL,
    partition_no SMALLINT    NOT NULL,
    first_batch  BIGINT      NOT NULL,
    last_batch   BIGINT      NOT NULL,
    PRIMARY KEY (tenant, incarnation, first_leaf)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE INDEX audit_range_by_batch ON audit_range (tenant, partition_no, first_batch);

CREATE TABLE audit_checkpoint (
    tenant      VARBINARY(256) NOT NULL,
    incarnation BIGINT      NOT NULL,
    number      BIGINT      NOT NULL, -- 1.. without gaps in a log
    size        BIGINT      NOT NULL,
    at_ms       BIGINT      NOT NULL,
    note        MEDIUMTEXT        NOT NULL,
    PRIMARY KEY (tenant, incarnation, number)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Events of checkpoints that the stream may not have yet.
CREATE TABLE audit_untold (
    tenant      VARBINARY(256) NOT NULL,
    incarnation BIGINT      NOT NULL,
    number      BIGINT      NOT NULL,
    events      MEDIUMBLOB        NOT NULL, -- packed as in the journal
    PRIMARY KEY (tenant, incarnation, number)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The keys that sign, the highest number now; the private half of one that has ended is gone.
CREATE TABLE audit_key (
    number     BIGINT       NOT NULL PRIMARY KEY,
    public_key VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    wrapped    MEDIUMBLOB         NOT NULL,
    sealed     MEDIUMBLOB         NOT NULL,
    statement  MEDIUMTEXT         NULL,     -- signed by the key before and by this one
    created_ms BIGINT       NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
