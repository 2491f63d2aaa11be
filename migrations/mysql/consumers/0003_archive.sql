-- Records of the audit stream that no sealed segment has yet.
CREATE TABLE archive_record (
    tenant   VARBINARY(256) NOT NULL,
    id       VARBINARY(640) NOT NULL, -- of the event
    bytes    MEDIUMBLOB     NOT NULL,
    PRIMARY KEY (tenant, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Checkpoints that no sealed segment has yet, in as many parts as they were told in.
CREATE TABLE archive_checkpoint (
    tenant      VARBINARY(256) NOT NULL,
    incarnation BIGINT         NOT NULL, -- of the log, as number and size
    number      BIGINT         NOT NULL,
    chunk       BIGINT         NOT NULL, -- from 0
    n_chunks    BIGINT         NOT NULL,
    size        BIGINT         NOT NULL, -- leaves of the log up to it
    root        VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- of the tree, base64
    note        MEDIUMTEXT     NOT NULL,
    leaves      MEDIUMTEXT     NOT NULL, -- ids of records in their order, as JSON
    told_ms     BIGINT         NOT NULL, -- when it was taken
    PRIMARY KEY (tenant, incarnation, number, chunk)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Objects that hold the log of a tenant, without gaps: each ends with a checkpoint.
CREATE TABLE archive_segment (
    tenant      VARBINARY(256) NOT NULL,
    incarnation BIGINT         NOT NULL,
    last_number BIGINT         NOT NULL, -- of the checkpoint at its end
    first_number BIGINT        NOT NULL,
    first_leaf  BIGINT         NOT NULL, -- from 0
    size        BIGINT         NOT NULL, -- leaves of the log up to its end
    object      VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    n_bytes     BIGINT         NOT NULL,
    sha256      CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    peaks       BLOB           NOT NULL, -- of the tree up to its end, what the next one goes on from
    sealed_ms   BIGINT         NOT NULL,
    PRIMARY KEY (tenant, incarnation, last_number)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
