-- The nodes of core that share this database. A node lives until `seen_until_ms` by the database's
-- clock; after that its partitions are free.
CREATE TABLE node (
    node          CHAR(32)     NOT NULL PRIMARY KEY, -- random name of one entry
    url           VARCHAR(255) NOT NULL,             -- where the others reach it
    started_ms    BIGINT       NOT NULL,
    seen_until_ms BIGINT       NOT NULL
);

-- A row for every partition from the first day, so that whoever takes one has a row to lock.
INSERT INTO partition_lease (partition_no, owner, epoch, lease_until_ms)
WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 255)
SELECT n, '', 0, 0 FROM numbers WHERE n NOT IN (SELECT partition_no FROM partition_lease);
