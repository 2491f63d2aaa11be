//! What is due, who has it, and what became of it.

use btrust_platform::relational::{Value, places};

use super::{Status, Store, StoreError, deliveries, endpoints};
use crate::webhooks::delivery::{Change, Outcome, Round, State, after_attempt};

/// An endpoint that has something due.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DueEndpoint {
    pub id: String,
    pub tenant: String,
    pub url: String,
    /// Whether the latest call was not taken.
    pub is_failing: bool,
}

/// A delivery that this process has until `until_ms`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    pub endpoint: String,
    pub id: String,
    pub sequence: i64,
    pub body: String,
    pub until_ms: i64,
    n_attempts: i64,
    round: Round,
}

/// What became of an attempt in the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recorded {
    Changed(Change),
    /// The claim had ended, or the endpoint or its delivery is gone: somebody else tells of it.
    Lost,
}

impl Store {
    /// Endpoints that have something due, the longest first.
    pub async fn due_endpoints(
        &self,
        now_ms: i64,
        limit: i64,
    ) -> Result<Vec<DueEndpoint>, StoreError> {
        let sql = "SELECT id, tenant, url, failing_since_ms FROM webhook_endpoint \
                   WHERE status = 'enabled' AND next_due_ms <= ? ORDER BY next_due_ms LIMIT ?";
        let rows = self.db.fetch(sql, &[now_ms.into(), limit.into()]).await?;
        let mut due = Vec::with_capacity(rows.len());
        for row in &rows {
            due.push(DueEndpoint {
                id: row.text(0)?,
                tenant: row.text(1)?,
                url: row.text(2)?,
                is_failing: row.int_if_any(3)?.is_some(),
            });
        }
        Ok(due)
    }

    /// Takes what is due at an endpoint, the longest first, until `until_ms`, after which it is due again.
    pub async fn claim(
        &self,
        endpoint: &str,
        now_ms: i64,
        until_ms: i64,
        limit: i64,
    ) -> Result<Vec<Claim>, StoreError> {
        let mut transaction = self.db.begin().await?;
        let locked = endpoints::locked(&mut transaction, endpoint).await?;
        if !locked.is_some_and(|it| it.status == Status::Enabled) {
            return Ok(Vec::new());
        }
        let sql = "SELECT id, sequence, body, n_attempts, n_failed, round_began_ms FROM webhook_delivery \
                   WHERE endpoint = ? AND state = 'due' AND due_ms <= ? ORDER BY due_ms, sequence LIMIT ?";
        let values = [endpoint.into(), now_ms.into(), limit.into()];
        let rows = transaction.fetch(sql, &values).await?;
        let mut claims = Vec::with_capacity(rows.len());
        for row in &rows {
            claims.push(Claim {
                endpoint: endpoint.to_owned(),
                id: row.text(0)?,
                sequence: row.int(1)?,
                body: row.text(2)?,
                until_ms,
                n_attempts: row.int(3)?,
                round: Round {
                    n_failed: u32::try_from(row.int(4)?).unwrap_or(u32::MAX),
                    began_ms: row.int(5)?,
                },
            });
        }
        if !claims.is_empty() {
            let sql = format!(
                "UPDATE webhook_delivery SET due_ms = ? WHERE endpoint = ? AND id IN {}",
                places(1, claims.len())
            );
            let mut values: Vec<Value<'_>> = vec![until_ms.into(), endpoint.into()];
            values.extend(claims.iter().map(|it| Value::from(&it.id)));
            transaction.execute(&sql, &values).await?;
        }
        let next_due_ms = deliveries::next_due(&mut transaction, endpoint).await?;
        let sql = "UPDATE webhook_endpoint SET next_due_ms = ? WHERE id = ?";
        transaction
            .execute(sql, &[next_due_ms.into(), endpoint.into()])
            .await?;
        transaction.commit().await?;
        Ok(claims)
    }

    /// Writes down how the attempt of a claim has ended, at `now_ms`.
    pub async fn record(
        &self,
        claim: &Claim,
        outcome: Outcome,
        began_ms: i64,
        now_ms: i64,
        draw: u64,
    ) -> Result<Recorded, StoreError> {
        let mut transaction = self.db.begin().await?;
        let locked = endpoints::locked(&mut transaction, &claim.endpoint).await?;
        let Some(endpoint) = locked else {
            return Ok(Recorded::Lost);
        };
        let change = after_attempt(
            claim.round,
            endpoint.failing_since_ms,
            outcome,
            now_ms,
            draw,
        );
        let (due_ms, finished_ms) = match change.state {
            State::Due { due_ms } => (due_ms, None),
            State::Delivered | State::Failed => (0, Some(now_ms)),
        };
        let n_failed = i64::from(claim.round.n_failed) + i64::from(!outcome.is_taken());
        let sql = "UPDATE webhook_delivery SET state = ?, due_ms = ?, finished_ms = ?, n_attempts = ?, \
                   n_failed = ? WHERE endpoint = ? AND id = ? AND state = 'due' AND due_ms = ?";
        let values: [Value<'_>; 8] = [
            change.state.as_str().into(),
            due_ms.into(),
            finished_ms.into(),
            (claim.n_attempts + 1).into(),
            n_failed.into(),
            (&claim.endpoint).into(),
            (&claim.id).into(),
            claim.until_ms.into(),
        ];
        if transaction.execute(sql, &values).await? == 0 {
            return Ok(Recorded::Lost);
        }
        let (status, fault) = match outcome {
            Outcome::Answered { status, .. } => (Some(i64::from(status)), None),
            Outcome::Unanswered(fault) => (None, Some(fault.as_str())),
        };
        let sql = "INSERT INTO webhook_attempt (endpoint, delivery, number, at_ms, duration_ms, status, fault) \
                   VALUES (?, ?, ?, ?, ?, ?, ?)";
        let values: [Value<'_>; 7] = [
            (&claim.endpoint).into(),
            (&claim.id).into(),
            (claim.n_attempts + 1).into(),
            began_ms.into(),
            (now_ms - began_ms).into(),
            status.into(),
            fault.into(),
        ];
        transaction.execute(sql, &values).await?;
        let sql = "UPDATE webhook_endpoint SET failing_since_ms = ? WHERE id = ?";
        let values = [change.failing_since_ms.into(), (&claim.endpoint).into()];
        transaction.execute(sql, &values).await?;
        // While it is claimed its end is what the endpoint waits for; now it is this.
        let next_due_ms = deliveries::next_due(&mut transaction, &claim.endpoint).await?;
        let sql = "UPDATE webhook_endpoint SET next_due_ms = ? WHERE id = ?";
        transaction
            .execute(sql, &[next_due_ms.into(), (&claim.endpoint).into()])
            .await?;
        if let Some(stop) = change.stop {
            let sql = "UPDATE webhook_endpoint SET status = ?, revision = revision + 1, changed_by = ?, \
                       changed_ms = ? WHERE id = ? AND status = 'enabled'";
            let values = [
                stop.as_str().into(),
                "platform".into(),
                now_ms.into(),
                (&claim.endpoint).into(),
            ];
            transaction.execute(sql, &values).await?;
            endpoints::give_up(&mut transaction, &claim.endpoint, now_ms).await?;
        }
        transaction.commit().await?;
        Ok(Recorded::Changed(change))
    }
}
