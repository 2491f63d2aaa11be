-- A hand-off goes on with a sitting and does not start one. Open codes, which live
-- five minutes, are dropped: nobody noted when their sitting ends.
DELETE FROM handoff;
ALTER TABLE handoff ADD COLUMN session_end BIGINT NOT NULL DEFAULT 0;  -- seconds

-- Codes are paced by contact and no longer by link.
ALTER TABLE resume_link DROP COLUMN n_sends;
ALTER TABLE resume_link DROP COLUMN sent_at;
CREATE INDEX resume_link_by_workflow ON resume_link (tenant, workflow, expires_at);
CREATE TABLE contact_sends (
    contact   TEXT    NOT NULL PRIMARY KEY,   -- keyed digest, never the address itself
    n         INTEGER NOT NULL,
    latest_at BIGINT  NOT NULL
);
CREATE INDEX contact_sends_by_time ON contact_sends (latest_at);
