-- The latest requests of a key that let it mean another workflow, each with the workflow that it has
-- started, separated by spaces: a repeated one is answered with that. Null where there was none.
ALTER TABLE start_key ADD COLUMN requests VARCHAR(1024) NULL;
