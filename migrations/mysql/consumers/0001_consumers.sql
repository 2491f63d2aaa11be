-- Which process reads which shard for which consumer, and how far. An owner that writes must still have the
-- epoch that it took the shard under.
CREATE TABLE consumer_lease (
    consumer VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    stream   VARCHAR(16)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- audit, analytics
    shard    VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    owner    VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NULL,     -- nobody: free
    epoch    BIGINT       NOT NULL, -- counts the owners, from 0
    until_ms BIGINT       NOT NULL,
    position VARCHAR(256) CHARACTER SET ascii COLLATE ascii_bin NULL,     -- the last record that the consumer has done with
    is_done  SMALLINT     NOT NULL, -- the shard has ended and was read to its end
    PRIMARY KEY (consumer, stream, shard)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The last event of each subject that a consumer has taken, written with what it made of it: what comes again
-- is known by it.
CREATE TABLE consumer_mark (
    consumer    VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    subject     VARBINARY(512) NOT NULL, -- a workflow, or what else events are about
    incarnation BIGINT      NOT NULL,
    sequence    BIGINT      NOT NULL,
    state       MEDIUMTEXT  NULL,     -- what the consumer remembers of the subject, as JSON
    marked_ms   BIGINT      NOT NULL,
    PRIMARY KEY (consumer, subject)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
