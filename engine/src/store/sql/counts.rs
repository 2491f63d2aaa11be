//! Counters, read.

use sqlx::QueryBuilder;

use super::rows::get;
use super::{Db, Row, SqlStore, unavailable};
use crate::store::StoreError;
use crate::store::lists::{AuditCount, CountsQuery, CountsRow, Dimension, GROUPS_MAX};

fn column(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Day => "day",
        Dimension::Definition => "definition",
        Dimension::Version => "version",
        Dimension::Status => "status",
        Dimension::Decision => "decision",
    }
}

pub(super) async fn counts(
    store: &SqlStore,
    asked: &CountsQuery,
) -> Result<Vec<CountsRow>, StoreError> {
    let mut dimensions = asked.group_by.clone();
    dimensions.sort_unstable();
    dimensions.dedup();
    let groups: Vec<&str> = dimensions.iter().map(|it| column(*it)).collect();
    let groups = groups.join(", ");
    let mut query = QueryBuilder::<Db>::new("SELECT CAST(COALESCE(SUM(n), 0) AS SIGNED) AS n");
    if !groups.is_empty() {
        query.push(", ").push(&groups);
    }
    query.push(" FROM workflow_count WHERE tenant = ");
    query.push_bind(asked.tenant.clone());
    query.push(" AND basis = ").push_bind(asked.basis.as_str());
    query.push(" AND day >= ").push_bind(asked.days.start);
    query.push(" AND day < ").push_bind(asked.days.end);
    for (condition, text) in [
        (" AND definition = ", &asked.definition),
        (" AND decision = ", &asked.decision),
    ] {
        if let Some(text) = text {
            query.push(condition).push_bind(text.clone());
        }
    }
    if let Some(version) = asked.version {
        query.push(" AND version = ").push_bind(version);
    }
    if !asked.statuses.is_empty() {
        let mut list = query.push(" AND status IN (").separated(", ");
        for status in &asked.statuses {
            list.push_bind(status.clone());
        }
        list.push_unseparated(")");
    }
    if !groups.is_empty() {
        query.push(" GROUP BY ").push(&groups);
        query.push(" HAVING SUM(n) <> 0 ORDER BY ").push(&groups);
        query.push(" LIMIT ").push_bind(GROUPS_MAX + 1);
    }
    let rows = query
        .build()
        .fetch_all(store.pool())
        .await
        .map_err(unavailable)?;
    let has = |it: Dimension| dimensions.contains(&it);
    let read = |row: &Row| {
        let mut sum = CountsRow {
            n: get(row, "n")?,
            ..CountsRow::default()
        };
        if has(Dimension::Day) {
            sum.day = Some(get(row, "day")?);
        }
        if has(Dimension::Definition) {
            sum.definition = Some(get(row, "definition")?);
        }
        if has(Dimension::Version) {
            sum.version = Some(get(row, "version")?);
        }
        if has(Dimension::Status) {
            sum.status = Some(get(row, "status")?);
        }
        if has(Dimension::Decision) {
            sum.decision = Some(get(row, "decision")?);
        }
        Ok(sum)
    };
    rows.iter().map(read).collect()
}

pub(super) async fn audit(store: &SqlStore) -> Result<Vec<AuditCount>, StoreError> {
    let rows = sqlx::query(
        "SELECT tenant, basis, day, definition, version, status, decision, \
         CAST(SUM(n) AS SIGNED) AS n FROM workflow_count \
         GROUP BY tenant, basis, day, definition, version, status, decision HAVING SUM(n) <> 0 \
         ORDER BY tenant, basis, day, definition, version, status, decision",
    )
    .fetch_all(store.pool())
    .await
    .map_err(unavailable)?;
    let read = |row: &Row| {
        Ok(AuditCount {
            tenant: get(row, "tenant")?,
            basis: get(row, "basis")?,
            day: get(row, "day")?,
            definition: get(row, "definition")?,
            version: get(row, "version")?,
            status: get(row, "status")?,
            decision: get(row, "decision")?,
            n: get(row, "n")?,
        })
    };
    rows.iter().map(read).collect()
}
