-- Namings are counted, so that a refused submission takes back its own only; and
-- a row stays, marked, until the bytes of its object are gone.

ALTER TABLE upload ADD COLUMN n_namings INTEGER NOT NULL DEFAULT 0;
ALTER TABLE upload ADD COLUMN deleting_at BIGINT;
UPDATE upload SET n_namings = 1 WHERE named_at IS NOT NULL;
