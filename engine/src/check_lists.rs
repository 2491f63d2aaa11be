//! Proves that what lists and counts are read from says what the workflows say.

use std::collections::BTreeMap;

use btrust_schemas::ids::WorkflowId;

use crate::search::entries;
use crate::store::StoreError;
use crate::store::counts::{ALL_DAYS, Basis, day};
use crate::store::lists::{AuditCount, AuditRow, ListStore};

/// Workflows read at a time.
const PAGE: u32 = 1_000;
/// Workflows that are counted again; a larger store is not.
///
/// Source: a million rows take some ten seconds to read.
pub const RECOUNTED_MAX: usize = 1_000_000;

/// What a look at every workflow has found. The store must be one that nobody writes meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListsChecked {
    pub n_workflows: usize,
    /// Whether the counters were compared: the store was small enough.
    pub is_recounted: bool,
    /// Counters that say another number than the rows, each in words.
    pub counters: Vec<String>,
    /// Workflows that are found by attributes which are not theirs, or not by theirs.
    pub attributes: Vec<WorkflowId>,
}

impl ListsChecked {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.counters.is_empty() && self.attributes.is_empty()
    }
}

/// Tenant, definition, version, status, decision.
type Cell = (String, String, i64, String, String);

#[derive(Default)]
struct Tally {
    /// By basis, day and cell.
    counts: BTreeMap<(Basis, i64, Cell), i64>,
}

impl Tally {
    fn add(&mut self, basis: Basis, day: i64, cell: Cell, n: i64) {
        *self.counts.entry((basis, day, cell)).or_default() += n;
    }

    fn add_row(&mut self, row: &AuditRow) {
        let columns = &row.columns;
        let cell = || {
            (
                columns.tenant.clone(),
                columns.definition.clone(),
                columns.version,
                columns.status.clone(),
                columns.decision.clone().unwrap_or_default(),
            )
        };
        self.add(Basis::Started, ALL_DAYS, cell(), 1);
        self.add(Basis::Started, day(columns.started_ms), cell(), 1);
        if let Some(closed_ms) = columns.closed_ms {
            self.add(Basis::Closed, day(closed_ms), cell(), 1);
        }
    }

    fn get(&self, basis: Basis, day: i64, cell: &Cell) -> i64 {
        let found = self.counts.get(&(basis, day, cell.clone()));
        found.copied().unwrap_or_default()
    }

    /// The sums over days, by basis and cell.
    fn over_days(&self) -> BTreeMap<(Basis, Cell), i64> {
        let mut sums = BTreeMap::new();
        for ((basis, day, cell), n) in &self.counts {
            if *day != ALL_DAYS {
                *sums.entry((*basis, cell.clone())).or_default() += n;
            }
        }
        sums
    }
}

/// Compares every workflow's attributes with their index, and the counters with the rows.
///
/// # Errors
///
/// What the store says.
pub async fn check_lists(lists: &dyn ListStore) -> Result<ListsChecked, StoreError> {
    let mut checked = ListsChecked::default();
    let mut rows = Tally::default();
    let mut after = None;
    loop {
        let page = lists.audit_rows(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.workflow);
        checked.n_workflows += page.len();
        for row in &page {
            if entries(row.columns.attributes.as_deref()) != row.attributes {
                checked.attributes.push(row.workflow);
            }
            rows.add_row(row);
        }
        if RECOUNTED_MAX < checked.n_workflows {
            return Ok(checked);
        }
    }
    checked.is_recounted = true;
    checked.counters = differences(&rows, lists.audit_counts().await?);
    Ok(checked)
}

/// Where counters and rows do not agree. Days also count what has been deleted.
fn differences(rows: &Tally, counts: Vec<AuditCount>) -> Vec<String> {
    let mut counters = Tally::default();
    let mut found = Vec::new();
    for it in counts {
        let basis = [Basis::Started, Basis::Closed, Basis::Deleted];
        let Some(basis) = basis.into_iter().find(|basis| basis.as_str() == it.basis) else {
            found.push(format!("a counter has the unknown basis `{}`", it.basis));
            continue;
        };
        let cell = (it.tenant, it.definition, it.version, it.status, it.decision);
        counters.add(basis, it.day, cell, it.n);
    }
    for (key, n_rows) in &rows.counts {
        let (basis, day, cell) = key;
        let n = counters.get(*basis, *day, cell);
        let agrees = if *day == ALL_DAYS {
            n == *n_rows
        } else {
            *n_rows <= n
        };
        if !agrees {
            found.push(format!(
                "{basis:?} on {day} of {cell:?}: counted {n}, there are {n_rows}"
            ));
        }
    }
    for (basis, day, cell) in counters.counts.keys() {
        let is_left =
            *day == ALL_DAYS && *basis == Basis::Started && rows.get(*basis, *day, cell) == 0;
        if is_left {
            let n = counters.get(*basis, *day, cell);
            found.push(format!(
                "{basis:?} of {cell:?}: counted {n}, there are none"
            ));
        }
    }
    let sums = rows.over_days();
    for ((basis, cell), n) in counters.over_days() {
        let n_rows = sums
            .get(&(basis, cell.clone()))
            .copied()
            .unwrap_or_default();
        let n_deleted = counters.get(Basis::Deleted, ALL_DAYS, &cell);
        if n != n_rows + n_deleted {
            found.push(format!(
                "{basis:?} over all days of {cell:?}: counted {n}, there are {n_rows} and {n_deleted} are deleted"
            ));
        }
    }
    found
}
