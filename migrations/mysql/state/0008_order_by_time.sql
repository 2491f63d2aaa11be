-- Ids of workflows begin with the time of their start, so that the rows of what runs lie together.

-- The partition is another byte of an id now, so a database that has workflows of the earlier form is refused:
-- a second row of this name is. Before the first DDL, so that nothing of a refused migration stays.
INSERT INTO store_meta (name, value) VALUES ('workflows_of_an_earlier_form_start_with_an_empty_database', 0);
INSERT INTO store_meta (name, value)
SELECT 'workflows_of_an_earlier_form_start_with_an_empty_database', 0 FROM workflow LIMIT 1;
DELETE FROM store_meta WHERE name = 'workflows_of_an_earlier_form_start_with_an_empty_database';

-- Nobody asks for snapshots by their next time: recovery reads the open ones of a partition, and the
-- timers are in memory. The index was written twice at every step.
DROP INDEX snapshot_wake ON snapshot;

-- The public events are packed.
ALTER TABLE journal MODIFY public LONGBLOB NOT NULL;
