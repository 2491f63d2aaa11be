//! The rows behind one-time codes: sends, guesses and lock-outs, each decided in one transaction.
//!
//! Everything that identifies a person arrives here as an HMAC; the rules
//! themselves are in `rules.rs`.
//!
//! A wrong guess counts twice: for the subject who guesses, and for the address that the code was sent to. So neither
//! a new workflow nor a new subject buys more guesses at one number, nor a new number more guesses for one subject. A
//! right guess clears the counter of its own address only: who knows the code of their own number has not been
//! forgiven their guesses at another's.

use sqlx::{Row, Sqlite, SqlitePool, Transaction};
use subtle::ConstantTimeEq;

use super::rules::{Counter, DAY_MS, HOUR_MS, Pause, SendHistory, SendRefusal, may_send};

/// How long rows of sends and guesses are kept, in milliseconds: longer than a workflow may live.
const KEPT_MS: i64 = 60 * DAY_MS;

/// Whose code it is about, and what for. All but `workflow` and `purpose` are digests.
#[derive(Clone, Debug)]
pub struct Session {
    pub tenant: String,
    pub workflow: String,
    pub subject: String,
    pub purpose: String,
    /// All addresses that the task may send to: a code counts only for the contact it was made for.
    pub contact: String,
    /// Each of those addresses by itself; a lock on any of them is a lock.
    pub addresses: Vec<String>,
}

/// A code that is about to be sent.
#[derive(Clone, Debug)]
pub struct NewSend {
    /// Idempotency key of the turn that sends.
    pub id: String,
    pub channel: String,
    pub address: String,
    pub ip: Option<String>,
    pub code_mac: String,
    pub ttl_ms: i64,
    pub pause: Pause,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendVerdict {
    /// The row is there and every older code is void: send now.
    Begun,
    /// This turn has begun to send before: do not send.
    Repeated,
    Refused(SendRefusal),
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// Written before the send; still there after it when the worker died.
    Started,
    /// The provider took the message and says no more yet.
    Accepted,
    /// The provider says that it was delivered.
    Acknowledged,
    /// The provider did not take the message.
    Failed,
}

impl Delivery {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Accepted => "accepted",
            Self::Acknowledged => "acknowledged",
            Self::Failed => "failed",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "accepted" => Self::Accepted,
            "acknowledged" => Self::Acknowledged,
            "failed" => Self::Failed,
            _ => Self::Started,
        }
    }
}

/// The newest code of a session that is neither used nor void.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Current {
    pub channel: String,
    pub delivery: Delivery,
    pub expires_at_ms: i64,
}

/// How a session stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    pub counter: Counter,
    pub current: Option<Current>,
    /// Times of the sends of this workflow for this purpose, oldest first.
    pub sends: Vec<i64>,
    /// Whether any message of the session may have reached somebody.
    pub may_have_arrived: bool,
}

/// How a guess was judged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Right {
        channel: String,
    },
    Wrong {
        attempts_left: u32,
    },
    /// Not evaluated, or the one that locked.
    Locked {
        until_ms: i64,
    },
    /// Not evaluated: no code is valid now.
    NoCode,
}

/// The relational store of codes and counters.
#[derive(Clone, Debug)]
pub struct Ledger {
    pool: SqlitePool,
}

impl Ledger {
    #[must_use]
    pub fn new(pool: SqlitePool) -> Self {
        Self { pool }
    }

    #[cfg(test)]
    pub(super) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Records a send before it happens, if every limit permits it, and voids the older codes.
    pub async fn begin_send(
        &self,
        session: &Session,
        send: &NewSend,
        now_ms: i64,
    ) -> Result<SendVerdict, sqlx::Error> {
        let mut tx = self.begin().await?;
        let repeated = sqlx::query("SELECT 1 FROM otp_code WHERE tenant = ? AND id = ?")
            .bind(&session.tenant)
            .bind(&send.id)
            .fetch_optional(&mut *tx)
            .await?
            .is_some();
        if repeated {
            return Ok(SendVerdict::Repeated);
        }
        prune(&mut tx, now_ms).await?;
        let history = SendHistory {
            session: session_sends(&mut tx, session).await?,
            address_day: sends_since(
                &mut tx,
                "address",
                &session.tenant,
                &send.address,
                now_ms - DAY_MS,
            )
            .await?,
            ip_hour: match &send.ip {
                Some(ip) => {
                    sends_since(&mut tx, "ip", &session.tenant, ip, now_ms - HOUR_MS).await?
                }
                None => Vec::new(),
            },
        };
        if let Err(refusal) = may_send(&history, send.pause, now_ms) {
            return Ok(SendVerdict::Refused(refusal));
        }
        sqlx::query("UPDATE otp_code SET status = 'void' WHERE tenant = ? AND workflow = ? AND purpose = ? AND status = 'current'")
            .bind(&session.tenant)
            .bind(&session.workflow)
            .bind(&session.purpose)
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "INSERT INTO otp_code (tenant, id, workflow, purpose, contact, address, ip, channel, code_mac, status,
             delivery, sent_at_ms, expires_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'current', ?, ?, ?)",
        )
        .bind(&session.tenant)
        .bind(&send.id)
        .bind(&session.workflow)
        .bind(&session.purpose)
        .bind(&session.contact)
        .bind(&send.address)
        .bind(&send.ip)
        .bind(&send.channel)
        .bind(&send.code_mac)
        .bind(Delivery::Started.as_str())
        .bind(now_ms)
        .bind(now_ms.saturating_add(send.ttl_ms))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(SendVerdict::Begun)
    }

    /// Records what became of a send.
    pub async fn note_delivery(
        &self,
        tenant: &str,
        id: &str,
        delivery: Delivery,
    ) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE otp_code SET delivery = ? WHERE tenant = ? AND id = ?")
            .bind(delivery.as_str())
            .bind(tenant)
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Judges a guess: at most once for an `id`, never past the lock, and a right one only once.
    ///
    /// `id` is the idempotency key of the turn; a redelivered turn gets the same verdict.
    pub async fn guess(
        &self,
        session: &Session,
        id: &str,
        guess_mac: &str,
        attempts_max: u32,
        now_ms: i64,
    ) -> Result<Verdict, sqlx::Error> {
        let mut tx = self.begin().await?;
        let counter = strictest(&mut tx, session, now_ms).await?;
        if let Some(verdict) = earlier_verdict(&mut tx, session, id, counter).await? {
            return Ok(verdict);
        }
        if counter.is_locked(now_ms) {
            return Ok(Verdict::Locked {
                until_ms: counter.locked_until_ms,
            });
        }
        let code = sqlx::query(
            "SELECT id, code_mac, channel, address FROM otp_code WHERE tenant = ? AND workflow = ? AND purpose = ?
             AND contact = ? AND status = 'current' AND ? < expires_at_ms",
        )
        .bind(&session.tenant)
        .bind(&session.workflow)
        .bind(&session.purpose)
        .bind(&session.contact)
        .bind(now_ms)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(code) = code else {
            return Ok(Verdict::NoCode);
        };
        let code_mac: String = code.try_get("code_mac")?;
        let is_right = bool::from(code_mac.as_bytes().ct_eq(guess_mac.as_bytes()));
        let channel: String = code.try_get("channel")?;

        let address: String = code.try_get("address")?;
        if is_right {
            write_counter(&mut tx, session, &address, Counter::default()).await?;
        } else {
            for whom in [&session.subject, &address] {
                let before = counter_of(&mut tx, session, whom).await?.at(now_ms);
                let after = before.after_wrong(attempts_max, now_ms);
                write_counter(&mut tx, session, whom, after).await?;
            }
        }
        let counter = strictest(&mut tx, session, now_ms).await?;
        let attempts_left = counter.attempts_left(attempts_max);
        if is_right {
            sqlx::query("UPDATE otp_code SET status = 'used' WHERE tenant = ? AND id = ?")
                .bind(&session.tenant)
                .bind(code.try_get::<String, _>("id")?)
                .execute(&mut *tx)
                .await?;
        }
        sqlx::query("INSERT INTO otp_guess (tenant, id, verdict, attempts_left, channel, guessed_at_ms) VALUES (?, ?, ?, ?, ?, ?)")
            .bind(&session.tenant)
            .bind(id)
            .bind(if is_right { "right" } else { "wrong" })
            .bind(attempts_left)
            .bind(&channel)
            .bind(now_ms)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(if is_right {
            Verdict::Right { channel }
        } else if counter.is_locked(now_ms) {
            Verdict::Locked {
                until_ms: counter.locked_until_ms,
            }
        } else {
            Verdict::Wrong { attempts_left }
        })
    }

    /// Reads how the session stands at `now_ms`.
    pub async fn view(&self, session: &Session, now_ms: i64) -> Result<View, sqlx::Error> {
        let mut tx = self.pool.begin().await?;
        let counter = strictest(&mut tx, session, now_ms).await?;
        let sends = session_sends(&mut tx, session).await?;
        let current = sqlx::query(
            "SELECT channel, delivery, expires_at_ms FROM otp_code
             WHERE tenant = ? AND workflow = ? AND purpose = ? AND contact = ? AND status = 'current'",
        )
        .bind(&session.tenant)
        .bind(&session.workflow)
        .bind(&session.purpose)
        .bind(&session.contact)
        .fetch_optional(&mut *tx)
        .await?;
        let current = match current {
            Some(row) => Some(Current {
                channel: row.try_get("channel")?,
                delivery: Delivery::parse(row.try_get("delivery")?),
                expires_at_ms: row.try_get("expires_at_ms")?,
            }),
            None => None,
        };
        let arrived = sqlx::query(
            "SELECT 1 FROM otp_code WHERE tenant = ? AND workflow = ? AND purpose = ? AND delivery <> 'failed' LIMIT 1",
        )
        .bind(&session.tenant)
        .bind(&session.workflow)
        .bind(&session.purpose)
        .fetch_optional(&mut *tx)
        .await?;
        Ok(View {
            counter,
            current,
            sends,
            may_have_arrived: arrived.is_some(),
        })
    }

    /// A transaction that holds the write lock from its first statement, so that what it reads stays true.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.pool.begin_with("BEGIN IMMEDIATE").await
    }
}

async fn session_sends(
    tx: &mut Transaction<'_, Sqlite>,
    session: &Session,
) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT sent_at_ms FROM otp_code WHERE tenant = ? AND workflow = ? AND purpose = ? ORDER BY sent_at_ms, id",
    )
    .bind(&session.tenant)
    .bind(&session.workflow)
    .bind(&session.purpose)
    .fetch_all(&mut **tx)
    .await
}

async fn sends_since(
    tx: &mut Transaction<'_, Sqlite>,
    by: &'static str,
    tenant: &str,
    digest: &str,
    since_ms: i64,
) -> Result<Vec<i64>, sqlx::Error> {
    let statement = match by {
        "ip" => {
            "SELECT sent_at_ms FROM otp_code WHERE tenant = ? AND ip = ? AND ? < sent_at_ms ORDER BY sent_at_ms"
        }
        _ => {
            "SELECT sent_at_ms FROM otp_code WHERE tenant = ? AND address = ? AND ? < sent_at_ms ORDER BY sent_at_ms"
        }
    };
    sqlx::query_scalar(statement)
        .bind(tenant)
        .bind(digest)
        .bind(since_ms)
        .fetch_all(&mut **tx)
        .await
}

/// What the counters of the subject and of every address permit together at `now_ms`.
async fn strictest(
    tx: &mut Transaction<'_, Sqlite>,
    session: &Session,
    now_ms: i64,
) -> Result<Counter, sqlx::Error> {
    let mut joined = counter_of(tx, session, &session.subject).await?.at(now_ms);
    for address in &session.addresses {
        joined = joined.joined(counter_of(tx, session, address).await?.at(now_ms));
    }
    Ok(joined)
}

/// The counter of `whom`: the digest of a subject or of an address, which the column `subject` holds alike.
async fn counter_of(
    tx: &mut Transaction<'_, Sqlite>,
    session: &Session,
    whom: &str,
) -> Result<Counter, sqlx::Error> {
    let row = sqlx::query(
        "SELECT failures, last_failure_ms, locked_until_ms FROM otp_counter WHERE tenant = ? AND subject = ? AND purpose = ?",
    )
    .bind(&session.tenant)
    .bind(whom)
    .bind(&session.purpose)
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = row else {
        return Ok(Counter::default());
    };
    Ok(Counter {
        failures: row.try_get("failures")?,
        last_failure_ms: row.try_get("last_failure_ms")?,
        locked_until_ms: row.try_get("locked_until_ms")?,
    })
}

async fn write_counter(
    tx: &mut Transaction<'_, Sqlite>,
    session: &Session,
    whom: &str,
    counter: Counter,
) -> Result<(), sqlx::Error> {
    let updated = sqlx::query(
        "UPDATE otp_counter SET failures = ?, last_failure_ms = ?, locked_until_ms = ? WHERE tenant = ? AND subject = ? AND purpose = ?",
    )
    .bind(counter.failures)
    .bind(counter.last_failure_ms)
    .bind(counter.locked_until_ms)
    .bind(&session.tenant)
    .bind(whom)
    .bind(&session.purpose)
    .execute(&mut **tx)
    .await?;
    if 0 < updated.rows_affected() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO otp_counter (failures, last_failure_ms, locked_until_ms, tenant, subject, purpose) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(counter.failures)
    .bind(counter.last_failure_ms)
    .bind(counter.locked_until_ms)
    .bind(&session.tenant)
    .bind(whom)
    .bind(&session.purpose)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The verdict that this very turn got before, if it got one.
async fn earlier_verdict(
    tx: &mut Transaction<'_, Sqlite>,
    session: &Session,
    id: &str,
    counter: Counter,
) -> Result<Option<Verdict>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT verdict, attempts_left, channel FROM otp_guess WHERE tenant = ? AND id = ?",
    )
    .bind(&session.tenant)
    .bind(id)
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let attempts_left: u32 = row.try_get("attempts_left")?;
    Ok(Some(match row.try_get::<String, _>("verdict")?.as_str() {
        "right" => Verdict::Right {
            channel: row.try_get("channel")?,
        },
        _ if attempts_left == 0 => Verdict::Locked {
            until_ms: counter.locked_until_ms,
        },
        _ => Verdict::Wrong { attempts_left },
    }))
}

/// Drops rows that no limit counts any more.
async fn prune(tx: &mut Transaction<'_, Sqlite>, now_ms: i64) -> Result<(), sqlx::Error> {
    for statement in [
        "DELETE FROM otp_code WHERE sent_at_ms < ?",
        "DELETE FROM otp_guess WHERE guessed_at_ms < ?",
    ] {
        sqlx::query(statement)
            .bind(now_ms - KEPT_MS)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}
