//! Lists of workflows: keys from one index, then rows by key.

use std::collections::HashMap;

use sqlx::QueryBuilder;

use btrust_schemas::ids::WorkflowId;

use super::judging;
use super::reads::{COLUMNS, columns};
use super::rows::{get, id};
use super::{Db, Row, SqlStore, led_by, unavailable};
use crate::store::lists::{COUNTED_MAX, Counted, Lead, ListFilter, ListKey, ListedPage, ListedRow};
use crate::store::{StoreError, WorkflowColumns};

/// Lengths of a list of ids: few texts, so that all stay prepared.
const LIST_LENGTHS: [usize; 5] = [1, 16, 64, 256, 1_024];

/// How the stretches of a list become one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Merge {
    InOrder,
    /// For counting.
    AsTheyCome,
}

/// One stretch of an index whose entries are in the order of the list.
struct Stretch<'s> {
    table: &'static str,
    index: &'static str,
    /// Columns that are equal throughout, after the tenant.
    equal: Vec<(&'static str, &'s str)>,
    /// Whether the index is sorted by an attribute's value before the start.
    by_value: bool,
    /// A range of values, the end exclusive.
    values: Option<(&'s str, &'s str)>,
    /// Where the page begins, if this stretch has been entered already.
    after: Option<(i64, WorkflowId)>,
}

pub(super) async fn page(store: &SqlStore, filter: &ListFilter) -> Result<ListedPage, StoreError> {
    let lead = filter.lead();
    let n_wanted = usize::try_from(filter.limit).unwrap_or(usize::MAX);
    if filter.is_decided_by(&lead) {
        // One more than asked for tells whether there is a next page.
        let mut keys = keys(store, filter, &lead, filter.limit.saturating_add(1)).await?;
        let has_next = n_wanted < keys.len();
        keys.truncate(n_wanted);
        let next = keys.last().filter(|_| has_next).cloned();
        let rows = rows(store, &keys).await?;
        return Ok(ListedPage { rows, next });
    }
    let (keys, next) = judging::page(store, filter, n_wanted).await?;
    let mut rows = rows(store, &keys).await?;
    // A row may be another one between the two looks.
    rows.retain(|it| filter.takes(&it.columns));
    Ok(ListedPage { rows, next })
}

pub(super) async fn count(store: &SqlStore, filter: &ListFilter) -> Result<Counted, StoreError> {
    let lead = filter.lead();
    if !filter.is_decided_by(&lead) {
        return judging::count(store, filter).await;
    }
    let n = n_entries(store, filter, &lead, COUNTED_MAX + 1).await?;
    Ok(Counted {
        n: u64::from(n.min(COUNTED_MAX)),
        is_exact: n <= COUNTED_MAX,
    })
}

/// How many entries of an index a list is led through, up to `limit`.
pub(super) async fn n_entries(
    store: &SqlStore,
    filter: &ListFilter,
    lead: &Lead<'_>,
    limit: u32,
) -> Result<u32, StoreError> {
    if lead.finds_nothing() {
        return Ok(0);
    }
    let mut query = QueryBuilder::<Db>::new("SELECT COUNT(*) AS n FROM (");
    push_keys(&mut query, filter, lead, limit, Merge::AsTheyCome);
    query.push(") counted");
    let row = query
        .build()
        .fetch_one(store.pool())
        .await
        .map_err(unavailable)?;
    let n: i64 = get(&row, "n")?;
    Ok(u32::try_from(n).unwrap_or(limit))
}

/// What reads keys of the leading index in the order of the list.
pub(crate) fn keys_query(filter: &ListFilter, lead: &Lead<'_>, limit: u32) -> QueryBuilder<Db> {
    let mut query = QueryBuilder::new("");
    push_keys(&mut query, filter, lead, limit, Merge::InOrder);
    query
}

/// Keys of the leading index in the order of the list.
async fn keys(
    store: &SqlStore,
    filter: &ListFilter,
    lead: &Lead<'_>,
    limit: u32,
) -> Result<Vec<ListKey>, StoreError> {
    if lead.finds_nothing() {
        return Ok(Vec::new());
    }
    let mut query = keys_query(filter, lead, limit);
    let by_value = matches!(lead, Lead::Range { .. });
    let rows = query
        .build()
        .fetch_all(store.pool())
        .await
        .map_err(unavailable)?;
    rows.iter().map(|it| key(it, by_value)).collect()
}

/// The key in a row that has a value where the list is in the order of one.
pub(super) fn key(row: &Row, by_value: bool) -> Result<ListKey, StoreError> {
    Ok(ListKey {
        value: if by_value { get(row, "value")? } else { None },
        started_ms: get(row, "started_ms")?,
        workflow: id(row)?,
    })
}

/// The rows of these keys, in their order; those that are gone are left out.
async fn rows(store: &SqlStore, keys: &[ListKey]) -> Result<Vec<ListedRow>, StoreError> {
    let Some(last) = keys.last() else {
        return Ok(Vec::new());
    };
    let mut query = QueryBuilder::<Db>::new(format!(
        "SELECT workflow, {COLUMNS} FROM workflow WHERE workflow IN ("
    ));
    let lengths = LIST_LENGTHS.into_iter();
    let n_padded = lengths
        .clone()
        .find(|it| keys.len() <= *it)
        .unwrap_or(keys.len());
    let padding = std::iter::repeat_n(last, n_padded - keys.len());
    let mut ids = query.separated(", ");
    for key in keys.iter().chain(padding) {
        ids.push_bind(key.workflow.to_string());
    }
    ids.push_unseparated(")");
    let found = query
        .build()
        .fetch_all(store.pool())
        .await
        .map_err(unavailable)?;
    let mut by_id: HashMap<WorkflowId, WorkflowColumns> = HashMap::with_capacity(found.len());
    for row in &found {
        by_id.insert(id(row)?, columns(row)?);
    }
    let in_order = keys.iter().filter_map(|key| {
        let workflow = key.workflow;
        let columns = by_id.remove(&workflow)?;
        Some(ListedRow { workflow, columns })
    });
    Ok(in_order.collect())
}

/// The stretches whose merge is the list.
fn stretches<'s>(filter: &'s ListFilter, lead: &'s Lead<'_>) -> Vec<Stretch<'s>> {
    let after = filter.after.as_ref().map(|it| (it.started_ms, it.workflow));
    let workflows = |index: &'static str, equal: Vec<(&'static str, &'s str)>| Stretch {
        table: "workflow",
        index,
        equal,
        by_value: false,
        values: None,
        after,
    };
    let attributes = |equal: Vec<(&'static str, &'s str)>| Stretch {
        table: "search_attribute",
        index: "search_attribute_by_value",
        by_value: false,
        equal,
        values: None,
        after,
    };
    match lead {
        Lead::Values { name, values } => {
            let stretch =
                |value: &'s String| attributes(vec![("name", *name), ("value", value.as_str())]);
            values.iter().map(stretch).collect()
        }
        Lead::Range { name, from, until } => {
            let seen = filter.after.as_ref().and_then(|it| it.value.as_deref());
            // Only a cursor of another list is beyond the end.
            let seen = seen.filter(|it| *it < until.as_str());
            let rest = Stretch {
                by_value: true,
                values: Some((from.as_str(), seen.unwrap_or(until.as_str()))),
                after: None,
                ..attributes(vec![("name", *name)])
            };
            // First what is left of the value that the page before has ended with.
            let same = seen.map(|value| attributes(vec![("name", *name), ("value", value)]));
            same.into_iter().chain([rest]).collect()
        }
        Lead::WaitingFor(audience) => {
            vec![workflows(
                "workflow_by_wait",
                vec![("waiting_for", *audience)],
            )]
        }
        Lead::Decision(decision) => {
            vec![workflows(
                "workflow_by_decision",
                vec![("decision", *decision)],
            )]
        }
        Lead::Definition { name, statuses } => {
            let stretch = |status: &&'s str| {
                workflows(
                    "workflow_by_definition",
                    vec![("definition", *name), ("status", *status)],
                )
            };
            statuses.iter().map(stretch).collect()
        }
        Lead::Statuses(statuses) => {
            let stretch =
                |status: &&'s str| workflows("workflow_by_status", vec![("status", *status)]);
            statuses.iter().map(stretch).collect()
        }
    }
}

/// Adds the statement that reads keys: the stretches, each cut at `limit`, merged. There has to be one.
pub(super) fn push_keys(
    query: &mut QueryBuilder<Db>,
    filter: &ListFilter,
    lead: &Lead<'_>,
    limit: u32,
    merge: Merge,
) {
    let by_value = matches!(lead, Lead::Range { .. });
    let shown = if by_value {
        "value, started_ms, workflow"
    } else {
        "started_ms, workflow"
    };
    let stretches = stretches(filter, lead);
    if let [stretch] = stretches.as_slice() {
        return push_stretch(query, filter, stretch, shown, limit);
    }
    for (number, stretch) in stretches.iter().enumerate() {
        if 0 < number {
            query.push(" UNION ALL ");
        }
        query.push("SELECT ").push(shown).push(" FROM (");
        push_stretch(query, filter, stretch, shown, limit);
        query.push(") s").push(number);
    }
    if merge == Merge::InOrder {
        query.push(order(by_value));
    }
    query.push(" LIMIT ").push_bind(limit);
}

fn push_stretch(
    query: &mut QueryBuilder<Db>,
    filter: &ListFilter,
    stretch: &Stretch<'_>,
    shown: &str,
    limit: u32,
) {
    query.push("SELECT ").push(shown).push(" FROM ");
    query.push(stretch.table).push(led_by(stretch.index));
    query
        .push(" WHERE tenant = ")
        .push_bind(filter.tenant.clone());
    for (column, value) in &stretch.equal {
        query.push(" AND ").push(*column).push(" = ");
        query.push_bind((*value).to_owned());
    }
    if let Some((from, until)) = stretch.values {
        query.push(" AND value >= ").push_bind(from.to_owned());
        query.push(" AND value < ").push_bind(until.to_owned());
    }
    // Behind a range of values these would be looked for row by row, without a bound.
    if let Some(from_ms) = filter.started_from_ms.filter(|_| stretch.values.is_none()) {
        query.push(" AND started_ms >= ").push_bind(from_ms);
    }
    if let Some(until_ms) = filter.started_until_ms.filter(|_| stretch.values.is_none()) {
        query.push(" AND started_ms < ").push_bind(until_ms);
    }
    if let Some((started_ms, workflow)) = stretch.after {
        // The first half is a range of the index; a row comparison is none to MySQL.
        query.push(" AND started_ms <= ").push_bind(started_ms);
        query.push(" AND (started_ms < ").push_bind(started_ms);
        query
            .push(" OR workflow < ")
            .push_bind(workflow.to_string())
            .push(")");
    }
    query
        .push(order(stretch.by_value))
        .push(" LIMIT ")
        .push_bind(limit);
}

fn order(by_value: bool) -> &'static str {
    if by_value {
        " ORDER BY value DESC, started_ms DESC, workflow DESC"
    } else {
        " ORDER BY started_ms DESC, workflow DESC"
    }
}
