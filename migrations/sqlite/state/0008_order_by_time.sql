-- Ids of workflows begin with the time of their start, so that the rows of what runs lie together.

-- The partition is another byte of an id now, so a database that has workflows of the earlier form is refused.
CREATE TABLE earlier_form (
    n BIGINT NOT NULL,
    CONSTRAINT workflows_of_an_earlier_form_start_with_an_empty_database CHECK (n = 0)
);
INSERT INTO earlier_form (n) SELECT COUNT(*) FROM workflow;
DROP TABLE earlier_form;

-- Nobody asks for snapshots by their next time: recovery reads the open ones of a partition, and the
-- timers are in memory. The index was written twice at every step.
DROP INDEX snapshot_wake;
-- Only what is open is asked for, and that is little.
DROP INDEX snapshot_open;
CREATE INDEX snapshot_open ON snapshot (partition_no, workflow) WHERE is_open = 1;
