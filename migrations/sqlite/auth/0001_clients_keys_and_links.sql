-- The store of the auth service: who may ask for a token, with which key tokens
-- are signed, and the single-use links that lead a person back to a workflow.
-- Times are milliseconds since the epoch. Secrets, codes and links are kept only
-- as digests: whoever reads this file can use none of them.

CREATE TABLE client (
    id          TEXT   NOT NULL PRIMARY KEY,
    tenant      TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    kind        TEXT   NOT NULL CHECK (kind IN ('client', 'reviewer', 'service')),
    scopes      TEXT   NOT NULL,              -- space separated, sorted
    secret_hash TEXT   NOT NULL,              -- argon2id, PHC string
    created_at  BIGINT NOT NULL
);
CREATE INDEX client_by_tenant ON client (tenant, id);

-- Private halves are sealed under a data key that the platform keyring wraps.
CREATE TABLE auth_key (
    kid         TEXT   NOT NULL PRIMARY KEY,
    purpose     TEXT   NOT NULL CHECK (purpose IN ('sign', 'mac')),
    public_key  BLOB   NOT NULL,              -- empty for a MAC key
    wrapped_key BLOB   NOT NULL,
    sealed_key  BLOB   NOT NULL,
    created_at  BIGINT NOT NULL,
    retired_at  BIGINT
);

CREATE TABLE handoff (
    code_digest TEXT   NOT NULL PRIMARY KEY,  -- SHA-256 of the code, hex
    tenant      TEXT   NOT NULL,
    workflow    TEXT   NOT NULL,
    expires_at  BIGINT NOT NULL
);
CREATE INDEX handoff_by_expiry ON handoff (expires_at);

CREATE TABLE resume_link (
    link_digest     TEXT   NOT NULL PRIMARY KEY,  -- SHA-256 of the link, hex
    tenant          TEXT   NOT NULL,
    workflow        TEXT   NOT NULL,
    expires_at      BIGINT NOT NULL,
    n_sends         INTEGER NOT NULL DEFAULT 0,
    sent_at         BIGINT,
    contact         TEXT,                         -- keyed digest of the address of the code
    code_mac        BLOB,                         -- HMAC(code, link, purpose); NULL = no open code
    code_expires_at BIGINT
);
CREATE INDEX resume_link_by_expiry ON resume_link (expires_at);

-- What guards a contact or an address against guessing and pumping. It belongs to
-- the subject and not to a link, so that a new link brings no new guesses.
CREATE TABLE counter (
    subject   TEXT   NOT NULL,                -- keyed digest, never the address itself
    purpose   TEXT   NOT NULL,
    n         INTEGER NOT NULL,
    resets_at BIGINT NOT NULL,
    PRIMARY KEY (subject, purpose)
);
CREATE INDEX counter_by_reset ON counter (resets_at);
