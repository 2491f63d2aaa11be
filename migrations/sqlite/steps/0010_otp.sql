-- One-time codes. Addresses, IPs, subjects and codes are only here as HMACs
-- under the tenant's own key; times are milliseconds since the epoch.

CREATE TABLE otp_key (
    tenant  VARCHAR(64) NOT NULL PRIMARY KEY,
    wrapped BLOB        NOT NULL
);

-- The lock-out counter. It outlives tasks, attempts, workflows and restarts.
CREATE TABLE otp_counter (
    tenant          VARCHAR(64) NOT NULL,
    subject         CHAR(64)    NOT NULL,
    purpose         VARCHAR(64) NOT NULL,
    failures        INTEGER     NOT NULL,
    last_failure_ms BIGINT      NOT NULL,
    locked_until_ms BIGINT      NOT NULL,
    PRIMARY KEY (tenant, subject, purpose)
);

-- One row a code; also the record of sends that the sending limits count.
-- id is the idempotency key of the turn (and channel) that sent it.
CREATE TABLE otp_code (
    tenant        VARCHAR(64)  NOT NULL,
    id            VARCHAR(160) NOT NULL,
    workflow      VARCHAR(64)  NOT NULL,
    purpose       VARCHAR(64)  NOT NULL,
    contact       CHAR(64)     NOT NULL,
    address       CHAR(64)     NOT NULL,
    ip            CHAR(64)     NULL,
    channel       VARCHAR(16)  NOT NULL,
    code_mac      CHAR(64)     NOT NULL,
    status        VARCHAR(16)  NOT NULL,
    delivery      VARCHAR(16)  NOT NULL,
    sent_at_ms    BIGINT       NOT NULL,
    expires_at_ms BIGINT       NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX otp_code_by_session ON otp_code (tenant, workflow, purpose, sent_at_ms);
CREATE INDEX otp_code_by_address ON otp_code (tenant, address, sent_at_ms);
CREATE INDEX otp_code_by_ip ON otp_code (tenant, ip, sent_at_ms);
CREATE INDEX otp_code_by_age ON otp_code (sent_at_ms);

-- What a turn's guess was judged to be, so that a redelivered turn gets the
-- same judgement and spends no second attempt.
CREATE TABLE otp_guess (
    tenant       VARCHAR(64)  NOT NULL,
    id           VARCHAR(160) NOT NULL,
    verdict      VARCHAR(16)  NOT NULL,
    attempts_left INTEGER     NOT NULL,
    channel      VARCHAR(16)  NOT NULL,
    guessed_at_ms BIGINT      NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX otp_guess_by_age ON otp_guess (guessed_at_ms);
