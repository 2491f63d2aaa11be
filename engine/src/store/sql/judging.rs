//! Lists and counts that no index decides alone: the entries of one, judged by the database.
//!
//! An entry is judged by keys only: `search_attribute` by workflow and name for each attribute that the
//! leading index does not decide, then `workflow` for everything else. Each join hangs on the one before
//! it, so that what one filter refuses the next is not asked about.

use sqlx::QueryBuilder;

use super::lists::{Merge, key, n_entries, push_keys};
use super::rows::get;
use super::{Db, SqlStore, unavailable};
use crate::store::StoreError;
use crate::store::lists::{COUNT_EXAMINED_MAX, Counted, EXAMINED_MAX, Lead, ListFilter, ListKey};
use crate::workflow::OPERATOR;

/// Entries that are judged together at first; then twice as many each time.
///
/// Source: a page of 50 of which every third is taken needs 150.
const FIRST_CHUNK: u32 = 256;

/// What was found among some entries of an index.
struct Judged {
    /// Those whose workflow every filter takes, in the order of the index.
    taken: Vec<ListKey>,
    /// The last that was judged, where there may be more.
    last: Option<ListKey>,
}

/// Keys of at most `n_wanted` workflows that every filter takes, in the order of the list; and where to
/// go on, if there may be more.
pub(super) async fn page(
    store: &SqlStore,
    filter: &ListFilter,
    n_wanted: usize,
) -> Result<(Vec<ListKey>, Option<ListKey>), StoreError> {
    let lead = fewest(store, filter, EXAMINED_MAX).await?;
    if filter.is_in_order_of(&lead) {
        return in_order(store, filter, &lead, n_wanted).await;
    }
    match sorted(store, filter, &lead, n_wanted).await? {
        Some(page) => Ok(page),
        // There are more of them by now.
        None => in_order(store, filter, &filter.lead(), n_wanted).await,
    }
}

pub(super) async fn count(store: &SqlStore, filter: &ListFilter) -> Result<Counted, StoreError> {
    let lead = fewest(store, filter, COUNT_EXAMINED_MAX).await?;
    if lead.finds_nothing() {
        return Ok(Counted {
            n: 0,
            is_exact: true,
        });
    }
    let rest = filter.rest(&lead);
    let mut query = QueryBuilder::<Db>::new("SELECT COUNT(*) AS n_examined, CAST(COALESCE(SUM(");
    push_taken(&mut query, &rest);
    query.push("), 0) AS SIGNED) AS n_taken FROM (");
    let limit = COUNT_EXAMINED_MAX + 1;
    push_keys(&mut query, filter, &lead, limit, Merge::AsTheyCome);
    query.push(") k");
    push_joins(&mut query, &rest);
    let row = query
        .build()
        .fetch_one(store.pool())
        .await
        .map_err(unavailable)?;
    let n_examined: i64 = get(&row, "n_examined")?;
    let n_taken: i64 = get(&row, "n_taken")?;
    Ok(Counted {
        n: u64::try_from(n_taken).unwrap_or_default(),
        is_exact: n_examined <= i64::from(COUNT_EXAMINED_MAX),
    })
}

/// The index that leads through the fewest entries. It is in the order of the list, or has at most
/// `examined_max`.
async fn fewest<'f>(
    store: &SqlStore,
    filter: &'f ListFilter,
    examined_max: u32,
) -> Result<Lead<'f>, StoreError> {
    let from_the_start = from_the_start(filter);
    let mut best = filter.lead();
    let leads = filter.leads();
    if leads.len() == 1 {
        return Ok(best);
    }
    let mut n_best = u32::MAX;
    for lead in leads {
        let is_in_order = filter.is_in_order_of(&lead);
        let counted = if is_in_order { filter } else { &from_the_start };
        let n = n_entries(store, counted, &lead, examined_max + 1).await?;
        if n < n_best && (is_in_order || n <= examined_max) {
            (best, n_best) = (lead, n);
        }
    }
    Ok(best)
}

/// The page, read from an index that is in the order of the list; at most [`EXAMINED_MAX`] entries.
async fn in_order(
    store: &SqlStore,
    filter: &ListFilter,
    lead: &Lead<'_>,
    n_wanted: usize,
) -> Result<(Vec<ListKey>, Option<ListKey>), StoreError> {
    let mut filter = filter.clone();
    let mut taken = Vec::new();
    let mut n_left = EXAMINED_MAX;
    let mut chunk = FIRST_CHUNK;
    loop {
        let limit = chunk.min(n_left);
        let judged = judged(store, &filter, lead, limit).await?;
        taken.extend(judged.taken);
        if n_wanted < taken.len() {
            taken.truncate(n_wanted);
            let next = taken.last().cloned();
            return Ok((taken, next));
        }
        if judged.last.is_none() {
            return Ok((taken, None));
        }
        filter.after = judged.last;
        n_left -= limit;
        if n_left == 0 || n_wanted == taken.len() {
            return Ok((taken, filter.after));
        }
        chunk *= 2;
    }
}

/// The page, if an index of another order has at most [`EXAMINED_MAX`] entries: all of them, sorted.
async fn sorted(
    store: &SqlStore,
    filter: &ListFilter,
    lead: &Lead<'_>,
    n_wanted: usize,
) -> Result<Option<(Vec<ListKey>, Option<ListKey>)>, StoreError> {
    let judged = judged(store, &from_the_start(filter), lead, EXAMINED_MAX + 1).await?;
    if judged.last.is_some() {
        return Ok(None);
    }
    let by_value = is_by_value(filter);
    let after = filter.after.as_ref();
    // Only a cursor of another list has no value.
    let after = after.filter(|it| !by_value || it.value.is_some());
    let mut keys = judged.taken;
    keys.retain(|it| after.is_none_or(|after| place(it, by_value) < place(after, by_value)));
    keys.sort_unstable_by(|one, other| place(other, by_value).cmp(&place(one, by_value)));
    let has_next = n_wanted < keys.len();
    keys.truncate(n_wanted);
    let next = keys.last().filter(|_| has_next).cloned();
    Ok(Some((keys, next)))
}

fn from_the_start(filter: &ListFilter) -> ListFilter {
    ListFilter {
        after: None,
        ..filter.clone()
    }
}

fn is_by_value(filter: &ListFilter) -> bool {
    matches!(filter.lead(), Lead::Range { .. })
}

/// What a list is sorted by, the greatest first.
fn place(key: &ListKey, by_value: bool) -> (Option<&str>, i64, String) {
    let value = key.value.as_deref().filter(|_| by_value);
    (value, key.started_ms, key.workflow.to_string())
}

/// Judges the first `limit` entries of an index.
async fn judged(
    store: &SqlStore,
    filter: &ListFilter,
    lead: &Lead<'_>,
    limit: u32,
) -> Result<Judged, StoreError> {
    let mut judged = Judged {
        taken: Vec::new(),
        last: None,
    };
    if lead.finds_nothing() {
        return Ok(judged);
    }
    let by_value = is_by_value(filter);
    let rows = judged_query(filter, lead, limit)
        .build()
        .fetch_all(store.pool())
        .await
        .map_err(unavailable)?;
    for row in &rows {
        let key = key(row, by_value)?;
        let (is_taken, number): (i64, i64) = (get(row, "taken")?, get(row, "number")?);
        if number == i64::from(limit) {
            judged.last = Some(key.clone());
        }
        if is_taken != 0 {
            judged.taken.push(key);
        }
    }
    Ok(judged)
}

/// What reads and judges entries of an index: the rows are those that are taken, and the last entry.
///
/// Source: a row that comes here costs five times what it costs to judge it there.
pub(crate) fn judged_query(filter: &ListFilter, lead: &Lead<'_>, limit: u32) -> QueryBuilder<Db> {
    let rest = filter.rest(lead);
    let mut query = QueryBuilder::new("SELECT k.started_ms, k.workflow, k.number AS number, ");
    let order = filter.lead();
    if order == *lead && is_by_value(filter) {
        query.push("k.value AS value, ");
    } else if is_by_value(filter) {
        let place = rest.attributes.iter().position(|it| it.lead() == order);
        query.push(attribute(place.unwrap_or_default()));
        query.push(".value AS value, ");
    }
    push_taken(&mut query, &rest);
    let in_order = if matches!(lead, Lead::Range { .. }) {
        "value DESC, started_ms DESC, workflow DESC"
    } else {
        "started_ms DESC, workflow DESC"
    };
    query.push(" AS taken FROM (SELECT e.*, ROW_NUMBER() OVER (ORDER BY ");
    query.push(in_order).push(") AS number FROM (");
    push_keys(&mut query, filter, lead, limit, Merge::InOrder);
    query.push(") e) k");
    push_joins(&mut query, &rest);
    query.push(" WHERE ");
    push_taken(&mut query, &rest);
    query.push(" = 1 OR k.number = ").push_bind(limit);
    query.push(" ORDER BY k.number");
    query
}

/// The name of the join that judges one of the attributes.
fn attribute(number: usize) -> String {
    format!("a{number}")
}

/// The name of the join on which a workflow's own row hangs: of the last attribute, or of the entries.
fn last_attribute(rest: &ListFilter) -> String {
    let last = rest.attributes.len().checked_sub(1);
    last.map_or_else(|| "k".to_owned(), attribute)
}

/// Adds 1 for an entry that is taken and 0 for another one.
fn push_taken(query: &mut QueryBuilder<Db>, rest: &ListFilter) {
    let last = if rest.asks_for_columns() {
        "w".to_owned()
    } else {
        last_attribute(rest)
    };
    query.push("CASE WHEN ").push(last);
    query.push(".workflow IS NOT NULL");
    if let Some(from_ms) = rest.started_from_ms {
        query.push(" AND k.started_ms >= ").push_bind(from_ms);
    }
    if let Some(until_ms) = rest.started_until_ms {
        query.push(" AND k.started_ms < ").push_bind(until_ms);
    }
    query.push(" THEN 1 ELSE 0 END");
}

/// Adds the joins that judge entries `k`; each is by a primary key.
fn push_joins(query: &mut QueryBuilder<Db>, rest: &ListFilter) {
    let mut before = "k".to_owned();
    for (number, filter) in rest.attributes.iter().enumerate() {
        let it = attribute(number);
        query.push(format!(
            " LEFT JOIN search_attribute {it} ON {it}.workflow = {before}.workflow AND {it}.name = "
        ));
        query.push_bind(filter.name.clone());
        match filter.lead() {
            Lead::Range { from, until, .. } => {
                query.push(format!(" AND {it}.value >= ")).push_bind(from);
                query.push(format!(" AND {it}.value < ")).push_bind(until);
            }
            Lead::Values { values, .. } => {
                query.push(format!(" AND {it}.value IN ("));
                let mut list = query.separated(", ");
                for value in values {
                    list.push_bind(value);
                }
                list.push_unseparated(")");
            }
            _ => {}
        }
        before = it;
    }
    if rest.asks_for_columns() {
        query.push(" LEFT JOIN workflow w ON w.workflow = ");
        query.push(before).push(".workflow");
        push_columns(query, rest);
    }
}

/// Adds what a workflow's own row `w` has to be.
fn push_columns(query: &mut QueryBuilder<Db>, rest: &ListFilter) {
    for (condition, text) in [
        (" AND w.status = ", &rest.status),
        (" AND w.definition = ", &rest.definition),
        (" AND w.decision = ", &rest.decision),
        (" AND w.waiting_for = ", &rest.waiting_for),
    ] {
        if let Some(text) = text {
            query.push(condition).push_bind(text.clone());
        }
    }
    if let Some(version) = rest.version {
        query.push(" AND w.version = ").push_bind(version);
    }
    if let Some(is_open) = rest.is_open {
        query.push(if is_open {
            " AND w.closed_ms IS NULL"
        } else {
            " AND w.closed_ms IS NOT NULL"
        });
    }
    if let Some(is_paused) = rest.paused {
        query.push(if is_paused {
            " AND w.waiting_for = "
        } else {
            " AND COALESCE(w.waiting_for, '') <> "
        });
        query.push_bind(OPERATOR);
    }
}
