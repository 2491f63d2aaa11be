-- Signals, pauses, restarts.

-- Signals that a workflow waits for; one that is paused waits for an operator.
ALTER TABLE snapshot ADD COLUMN n_signals BIGINT NOT NULL DEFAULT 0;

-- The workflow whose input it started with.
ALTER TABLE workflow ADD COLUMN restart_of CHAR(35) CHARACTER SET ascii COLLATE ascii_bin NULL;
