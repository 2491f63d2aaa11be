-- The nodes of core that share this database. A node lives until `seen_until_ms` by the database's
-- clock; after that its partitions are free.
CREATE TABLE node (
    node          CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY, -- random name of one entry
    url           VARCHAR(255) NOT NULL, -- where the others reach it
    started_ms    BIGINT       NOT NULL,
    seen_until_ms BIGINT       NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
