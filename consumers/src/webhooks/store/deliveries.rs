//! Deliveries and their attempts: how they come about, are shown, replayed and forgotten.

use std::collections::{BTreeMap, BTreeSet};

use btrust_platform::relational::{Row, Transaction, VALUES_MAX, Value, places};

use super::{NEVER_MS, Status, Store, StoreError, endpoints};
use crate::webhooks::delivery::{DELIVERED, DUE, FAILED};
use crate::webhooks::event::Happening;
use crate::webhooks::ids;

/// One row of `webhook_delivery`, as its owner sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeliveryRecord {
    pub id: String,
    pub sequence: i64,
    pub topic: String,
    pub workflow: Option<String>,
    pub at_ms: i64,
    pub state: String,
    /// When it is due; 0 when it is not.
    pub due_ms: i64,
    pub n_attempts: i64,
    pub created_ms: i64,
    pub finished_ms: Option<i64>,
}

/// One row of `webhook_attempt`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttemptRecord {
    pub number: i64,
    pub at_ms: i64,
    pub duration_ms: i64,
    pub status: Option<i64>,
    pub fault: Option<String>,
}

/// What is sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replay<'r> {
    One(&'r str),
    /// Everything that happened at this time or later, ms.
    All {
        since_ms: i64,
    },
    /// Of that, what was given up.
    Failed {
        since_ms: i64,
    },
}

const COLUMNS: &str =
    "id, sequence, topic, workflow, at_ms, state, due_ms, n_attempts, created_ms, finished_ms";
/// Values of a new row.
const N_INSERTED: usize = 13;
/// Rows that the sweep looks at in one go.
const SWEPT_AT_ONCE: i64 = 500;
/// Most tenants, or deliveries, that one statement names.
const NAMED_MAX: usize = 500;

impl Store {
    /// Makes a delivery of each happening for each endpoint of its tenant that asks for its topic and was
    /// there when it happened. What is known already, by its id, stays as it is. How many are new.
    pub async fn enqueue(
        &self,
        happenings: &[Happening],
        now_ms: i64,
    ) -> Result<usize, StoreError> {
        let tenants: BTreeSet<&str> = happenings.iter().map(|it| it.tenant.as_str()).collect();
        let tenants: Vec<&str> = tenants.into_iter().collect();
        let mut n_new = 0;
        for tenants in tenants.chunks(NAMED_MAX) {
            n_new += self.enqueue_for(tenants, happenings, now_ms).await?;
        }
        Ok(n_new)
    }

    async fn enqueue_for(
        &self,
        tenants: &[&str],
        happenings: &[Happening],
        now_ms: i64,
    ) -> Result<usize, StoreError> {
        let sql = format!(
            "SELECT {} FROM webhook_endpoint WHERE tenant IN {} AND status <> 'disabled' ORDER BY id",
            endpoints::COLUMNS,
            places(1, tenants.len())
        );
        let values: Vec<Value<'_>> = tenants.iter().map(|&it| it.into()).collect();
        // Most tenants have none: what they do costs no lock.
        if self.db.fetch(&sql, &values).await?.is_empty() {
            return Ok(0);
        }
        let mut transaction = self.db.begin().await?;
        let rows = transaction.fetch_locked(&sql, &values).await?;
        let mut n_new = 0;
        for row in &rows {
            let endpoint = endpoints::read(row)?;
            let wanted = happenings.iter().filter(|it| {
                it.tenant == endpoint.tenant
                    && endpoint.topics.contains(&it.topic)
                    && endpoint.created_ms <= it.at_ms
            });
            n_new += insert(&mut transaction, row, wanted, now_ms).await?;
        }
        transaction.commit().await?;
        Ok(n_new)
    }

    /// Makes a delivery for one endpoint, whatever it asks for; `false` unless it is enabled.
    pub async fn enqueue_one(
        &self,
        endpoint: &str,
        happening: &Happening,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.db.begin().await?;
        let sql = format!(
            "SELECT {} FROM webhook_endpoint WHERE id = ? AND tenant = ? AND status = 'enabled'",
            endpoints::COLUMNS
        );
        let values = [endpoint.into(), (&happening.tenant).into()];
        let rows = transaction.fetch_locked(&sql, &values).await?;
        let Some(row) = rows.first() else {
            return Ok(false);
        };
        insert(&mut transaction, row, std::iter::once(happening), now_ms).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Deliveries of an endpoint before a sequence, the latest first.
    pub async fn deliveries(
        &self,
        endpoint: &str,
        state: Option<&str>,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        let mut sql =
            format!("SELECT {COLUMNS} FROM webhook_delivery WHERE endpoint = ? AND sequence < ?");
        let mut values: Vec<Value<'_>> = vec![endpoint.into(), before.unwrap_or(i64::MAX).into()];
        if let Some(state) = state {
            sql.push_str(" AND state = ?");
            values.push(state.into());
        }
        sql.push_str(" ORDER BY sequence DESC LIMIT ?");
        values.push(limit.into());
        let rows = self.db.fetch(&sql, &values).await?;
        rows.iter().map(read).collect()
    }

    /// One delivery with its attempts, the first one first.
    pub async fn delivery(
        &self,
        endpoint: &str,
        id: &str,
    ) -> Result<Option<(DeliveryRecord, Vec<AttemptRecord>)>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM webhook_delivery WHERE endpoint = ? AND id = ?");
        let rows = self.db.fetch(&sql, &[endpoint.into(), id.into()]).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let delivery = read(row)?;
        let sql = "SELECT number, at_ms, duration_ms, status, fault FROM webhook_attempt \
                   WHERE endpoint = ? AND delivery = ? ORDER BY number";
        let rows = self.db.fetch(sql, &[endpoint.into(), id.into()]).await?;
        let mut attempts = Vec::with_capacity(rows.len());
        for row in &rows {
            attempts.push(AttemptRecord {
                number: row.int(0)?,
                at_ms: row.int(1)?,
                duration_ms: row.int(2)?,
                status: row.int_if_any(3)?,
                fault: row.text_if_any(4)?,
            });
        }
        Ok(Some((delivery, attempts)))
    }

    /// Makes deliveries due again, with their ids, bodies and sequences; how many, or `None` unless the
    /// endpoint is enabled. What is due already stays as it is.
    pub async fn replay(
        &self,
        endpoint: &str,
        which: Replay<'_>,
        now_ms: i64,
    ) -> Result<Option<u64>, StoreError> {
        let mut transaction = self.db.begin().await?;
        let locked = endpoints::locked(&mut transaction, endpoint).await?;
        if !locked.is_some_and(|it| it.status == Status::Enabled) {
            return Ok(None);
        }
        let sql = "UPDATE webhook_delivery SET state = 'due', due_ms = ?, n_failed = 0, round_began_ms = ?, \
                   finished_ms = NULL WHERE endpoint = ?";
        let mut values: Vec<Value<'_>> = vec![now_ms.into(), now_ms.into(), endpoint.into()];
        let (condition, value) = match which {
            Replay::One(id) => ("state <> 'due' AND id = ?", id.into()),
            Replay::All { since_ms } => ("state <> 'due' AND at_ms >= ?", since_ms.into()),
            Replay::Failed { since_ms } => ("state = 'failed' AND at_ms >= ?", since_ms.into()),
        };
        values.push(value);
        let n_due = transaction
            .execute(&format!("{sql} AND {condition}"), &values)
            .await?;
        if 0 < n_due {
            hasten(&mut transaction, endpoint, now_ms).await?;
        }
        transaction.commit().await?;
        Ok(Some(n_due))
    }

    /// Forgets deliveries made before a time, with their attempts; `true` while there may be more.
    pub async fn sweep(&self, before_ms: i64) -> Result<bool, StoreError> {
        let sql = "SELECT endpoint, id FROM webhook_delivery WHERE created_ms < ? ORDER BY created_ms LIMIT ?";
        let rows = self
            .db
            .fetch(sql, &[before_ms.into(), SWEPT_AT_ONCE.into()])
            .await?;
        let mut by_endpoint = BTreeMap::<String, Vec<String>>::new();
        for row in &rows {
            by_endpoint
                .entry(row.text(0)?)
                .or_default()
                .push(row.text(1)?);
        }
        let mut transaction = self.db.begin().await?;
        for (endpoint, ids) in &by_endpoint {
            delete(&mut transaction, endpoint, ids).await?;
        }
        transaction.commit().await?;
        Ok(i64::try_from(rows.len()).unwrap_or(i64::MAX) == SWEPT_AT_ONCE)
    }
}

/// Inserts what is new of `wanted` at a locked endpoint, and counts its sequence on.
async fn insert<'h>(
    transaction: &mut Transaction,
    endpoint: &Row,
    wanted: impl Iterator<Item = &'h Happening>,
    now_ms: i64,
) -> Result<usize, StoreError> {
    let endpoint = endpoints::read(endpoint)?;
    let mut seen = BTreeSet::new();
    let wanted: Vec<(String, &Happening)> = wanted
        .map(|it| (ids::delivery(&endpoint.id, &it.source_id), it))
        .filter(|(id, _)| seen.insert(id.clone()))
        .collect();
    let mut n_new = 0;
    for wanted in wanted.chunks((VALUES_MAX / N_INSERTED).min(NAMED_MAX)) {
        let known = known(transaction, &endpoint.id, wanted).await?;
        let new = wanted.iter().filter(|(id, _)| !known.contains(id));
        let first = endpoint.sequence + i64::try_from(n_new).unwrap_or(i64::MAX);
        n_new += insert_rows(transaction, &endpoint, first, new, now_ms).await?;
    }
    if n_new == 0 {
        return Ok(0);
    }
    let sequence = endpoint.sequence + i64::try_from(n_new).unwrap_or(i64::MAX);
    let sql = "UPDATE webhook_endpoint SET sequence = ? WHERE id = ?";
    transaction
        .execute(sql, &[sequence.into(), (&endpoint.id).into()])
        .await?;
    if endpoint.status == Status::Enabled {
        hasten(transaction, &endpoint.id, now_ms).await?;
    }
    Ok(n_new)
}

/// Which of these deliveries are there already.
async fn known(
    transaction: &mut Transaction,
    endpoint: &str,
    wanted: &[(String, &Happening)],
) -> Result<BTreeSet<String>, StoreError> {
    let sql = format!(
        "SELECT id FROM webhook_delivery WHERE endpoint = ? AND id IN {}",
        places(1, wanted.len())
    );
    let mut values: Vec<Value<'_>> = vec![endpoint.into()];
    values.extend(wanted.iter().map(|(id, _)| Value::from(id)));
    let rows = transaction.fetch(&sql, &values).await?;
    let mut known = BTreeSet::new();
    for row in &rows {
        known.insert(row.text(0)?);
    }
    Ok(known)
}

async fn insert_rows<'h>(
    transaction: &mut Transaction,
    endpoint: &super::EndpointRecord,
    mut sequence: i64,
    new: impl Iterator<Item = &'h (String, &'h Happening)>,
    now_ms: i64,
) -> Result<usize, StoreError> {
    // Of an endpoint that we have stopped nothing is lost, and nothing is sent.
    let (state, due_ms, finished_ms) = match endpoint.status {
        Status::Enabled => (DUE, now_ms, None),
        Status::Disabled | Status::Stopped(_) => (FAILED, 0, Some(now_ms)),
    };
    let mut texts = Vec::new();
    for (id, happening) in new {
        sequence += 1;
        let workflow = happening.workflow().map(|it| it.to_string());
        texts.push((id, *happening, sequence, workflow, happening.body(sequence)));
    }
    if texts.is_empty() {
        return Ok(0);
    }
    let mut values: Vec<Value<'_>> = Vec::with_capacity(texts.len() * N_INSERTED);
    for (id, happening, sequence, workflow, body) in &texts {
        values.extend([
            Value::from(&endpoint.id),
            (*id).into(),
            (*sequence).into(),
            happening.topic.as_str().into(),
            workflow.as_deref().into(),
            happening.at_ms.into(),
            body.into(),
            state.into(),
            due_ms.into(),
            now_ms.into(),
            now_ms.into(),
            finished_ms.into(),
            0_i64.into(),
        ]);
    }
    let sql = format!(
        "INSERT INTO webhook_delivery (endpoint, id, sequence, topic, workflow, at_ms, body, state, due_ms, \
         round_began_ms, created_ms, finished_ms, n_attempts, n_failed) VALUES {}",
        vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)"; texts.len()].join(", ")
    );
    transaction.execute(&sql, &values).await?;
    Ok(texts.len())
}

/// Sees to it that an endpoint is looked at by `due_ms`.
pub(super) async fn hasten(
    transaction: &mut Transaction,
    endpoint: &str,
    due_ms: i64,
) -> Result<(), StoreError> {
    let sql = "UPDATE webhook_endpoint SET next_due_ms = ? WHERE id = ? AND next_due_ms > ?";
    let values = [due_ms.into(), endpoint.into(), due_ms.into()];
    transaction.execute(sql, &values).await?;
    Ok(())
}

/// When the next delivery of an endpoint is due, looked up.
pub(super) async fn next_due(
    transaction: &mut Transaction,
    endpoint: &str,
) -> Result<i64, StoreError> {
    let sql = "SELECT due_ms FROM webhook_delivery WHERE endpoint = ? AND state = 'due' \
               ORDER BY due_ms LIMIT 1";
    let rows = transaction.fetch(sql, &[endpoint.into()]).await?;
    Ok(rows
        .first()
        .map(|it| it.int(0))
        .transpose()?
        .unwrap_or(NEVER_MS))
}

/// Deletes deliveries of one endpoint with their attempts.
pub(super) async fn delete(
    transaction: &mut Transaction,
    endpoint: &str,
    deliveries: &[String],
) -> Result<(), StoreError> {
    for deliveries in deliveries.chunks(NAMED_MAX) {
        let named = places(1, deliveries.len());
        let mut values: Vec<Value<'_>> = vec![endpoint.into()];
        values.extend(deliveries.iter().map(Value::from));
        for sql in [
            format!("DELETE FROM webhook_attempt WHERE endpoint = ? AND delivery IN {named}"),
            format!("DELETE FROM webhook_delivery WHERE endpoint = ? AND id IN {named}"),
        ] {
            transaction.execute(&sql, &values).await?;
        }
    }
    Ok(())
}

/// Whether a word is a state that lists can be narrowed to.
#[must_use]
pub fn is_state(word: &str) -> bool {
    [DUE, DELIVERED, FAILED].contains(&word)
}

fn read(row: &Row) -> Result<DeliveryRecord, StoreError> {
    Ok(DeliveryRecord {
        id: row.text(0)?,
        sequence: row.int(1)?,
        topic: row.text(2)?,
        workflow: row.text_if_any(3)?,
        at_ms: row.int(4)?,
        state: row.text(5)?,
        due_ms: row.int(6)?,
        n_attempts: row.int(7)?,
        created_ms: row.int(8)?,
        finished_ms: row.int_if_any(9)?,
    })
}
