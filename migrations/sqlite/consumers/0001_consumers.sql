-- Which process reads which shard for which consumer, and how far. An owner that writes must still have the
-- epoch that it took the shard under.
CREATE TABLE consumer_lease (
    consumer VARCHAR(64)  NOT NULL,
    stream   VARCHAR(16)  NOT NULL, -- audit, analytics
    shard    VARCHAR(128) NOT NULL,
    owner    VARCHAR(64)  NULL,     -- nobody: free
    epoch    BIGINT       NOT NULL, -- counts the owners, from 0
    until_ms BIGINT       NOT NULL,
    position VARCHAR(256) NULL,     -- the last record that the consumer has done with
    is_done  SMALLINT     NOT NULL, -- the shard has ended and was read to its end
    PRIMARY KEY (consumer, stream, shard)
);

-- The last event of each subject that a consumer has taken, written with what it made of it: what comes again
-- is known by it.
CREATE TABLE consumer_mark (
    consumer    VARCHAR(64)  NOT NULL,
    subject     VARCHAR(128) NOT NULL, -- a workflow, or what else events are about
    incarnation BIGINT       NOT NULL,
    sequence    BIGINT       NOT NULL,
    state       TEXT         NULL,     -- what the consumer remembers of the subject, as JSON
    marked_ms   BIGINT       NOT NULL,
    PRIMARY KEY (consumer, subject)
);
