//! Lists and counts of workflows, and what retention takes away.
//!
//! **No question may cost more than its answer.** Each list is read from one index, in its order, from
//! a key on (never an offset). What the index does not decide is judged, by the database and by keys,
//! for at most [`EXAMINED_MAX`] entries a page: a page may so have fewer rows than asked for, none even,
//! and still say where to go on. Of several indexes that could lead, the one with the fewest entries
//! does; one that has few in all is read entirely and sorted, so that what is rare is found at once.

use async_trait::async_trait;

use btrust_schemas::core::Status;
use btrust_schemas::ids::WorkflowId;

use super::counts::Basis;
use super::{StoreError, WorkflowColumns};
use crate::search::{AttributeValue, of_column};
use crate::workflow::OPERATOR;

/// Most entries of an index that are judged for one page.
///
/// Source: of 1,000,000 workflows 1,024 took up to 42 ms (p99, `examples/lists`); the promise is 20.
pub const EXAMINED_MAX: u32 = 512;
/// Rows of an index that a count goes through; what is more than that is only said to be more.
pub const COUNTED_MAX: u32 = 10_000;
/// Entries that a count judges one by one, where no index decides.
///
/// Source: nothing is brought out of the database, so 2,048 take up to 12 ms (p99, as above).
pub const COUNT_EXAMINED_MAX: u32 = 2_048;
/// Most search attributes that one question may name.
pub const ATTRIBUTE_FILTERS_MAX: usize = 3;
/// Most groups that one question for counts is answered with.
///
/// Source: a year of days of a dozen cells.
pub const GROUPS_MAX: u32 = 5_000;

/// Reads lists and counters, and purges what was deleted.
#[async_trait]
pub trait ListStore: Send + Sync {
    /// A page of a tenant's workflows, the latest start first; led by a range of an attribute, the
    /// greatest value first.
    async fn page(&self, filter: &ListFilter) -> Result<ListedPage, StoreError>;

    /// How many workflows a filter finds, up to [`COUNTED_MAX`].
    async fn count(&self, filter: &ListFilter) -> Result<Counted, StoreError>;

    /// The sums of counters, by group, at most one more than [`GROUPS_MAX`].
    async fn counts(&self, query: &CountsQuery) -> Result<Vec<CountsRow>, StoreError>;

    /// Closed workflows of a policy that ended before a time and lie under no legal hold, the longest
    /// closed first.
    async fn ended(&self, query: &EndedQuery) -> Result<Vec<Ended>, StoreError>;

    /// The last batch that tells of each of these workflows; those without one are left out.
    async fn batches_of(
        &self,
        workflows: &[WorkflowId],
    ) -> Result<Vec<(WorkflowId, i64)>, StoreError>;

    /// Deleted workflows whose deletion the relay has published, in the order of partitions and batches, after
    /// a batch of a partition.
    async fn deleted(
        &self,
        after: (u8, i64),
        limit: u32,
    ) -> Result<Vec<DeletedWorkflow>, StoreError>;

    /// Forgets deleted workflows, the last rows that tell of them included.
    async fn purge(&self, partition: u8, deleted: &[DeletedWorkflow]) -> Result<(), StoreError>;

    /// Counters and search attributes against the rows that they follow from, one page at a time.
    async fn audit_rows(
        &self,
        after: Option<WorkflowId>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError>;

    /// Every counter of every tenant that counts all days or, for closed workflows, a day.
    async fn audit_counts(&self) -> Result<Vec<AuditCount>, StoreError>;
}

#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    pub tenant: String,
    pub status: Option<String>,
    /// Open or closed ones only.
    pub is_open: Option<bool>,
    pub definition: Option<String>,
    pub version: Option<i64>,
    pub decision: Option<String>,
    pub waiting_for: Option<String>,
    pub paused: Option<bool>,
    /// At most [`ATTRIBUTE_FILTERS_MAX`]. Where all of them are ranges, the list is in the order of the
    /// first one's attribute.
    pub attributes: Vec<AttributeFilter>,
    /// Inclusive.
    pub started_from_ms: Option<i64>,
    /// Exclusive.
    pub started_until_ms: Option<i64>,
    /// The place after which the page begins.
    pub after: Option<ListKey>,
    pub limit: u32,
}

/// What a search attribute has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeFilter {
    pub name: String,
    pub wanted: Wanted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// One of these, which are what one text may mean.
    Any(Vec<AttributeValue>),
    /// A range of numbers or of times.
    Within {
        /// Inclusive.
        from: AttributeValue,
        /// Exclusive; without it everything of the type.
        until: Option<AttributeValue>,
    },
}

/// Where a workflow stands in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListKey {
    /// The attribute's value, where the list is in its order.
    pub value: Option<String>,
    pub started_ms: i64,
    pub workflow: WorkflowId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRow {
    pub workflow: WorkflowId,
    pub columns: WorkflowColumns,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedPage {
    pub rows: Vec<ListedRow>,
    /// Where to go on; `None` when there is nothing after this page.
    pub next: Option<ListKey>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub n: u64,
    /// False when there are more than could be counted.
    pub is_exact: bool,
}

/// What counters are summed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dimension {
    Day,
    Definition,
    Version,
    Status,
    Decision,
}

#[derive(Clone, Debug)]
pub struct CountsQuery {
    pub tenant: String,
    pub basis: Basis,
    /// The first day and the day after the last; [`super::counts::ALL_DAYS`] and the next for all days.
    pub days: std::ops::Range<i64>,
    pub group_by: Vec<Dimension>,
    /// Empty is every status.
    pub statuses: Vec<String>,
    pub definition: Option<String>,
    pub version: Option<i64>,
    pub decision: Option<String>,
}

/// A sum; only what it is grouped by is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CountsRow {
    pub day: Option<i64>,
    pub definition: Option<String>,
    pub version: Option<i64>,
    pub status: Option<String>,
    pub decision: Option<String>,
    pub n: i64,
}

#[derive(Clone, Debug)]
pub struct EndedQuery {
    pub retention: String,
    pub closed_before_ms: i64,
    /// The last of the page before.
    pub after: Option<Ended>,
    pub limit: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    pub workflow: WorkflowId,
    pub closed_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedWorkflow {
    pub workflow: WorkflowId,
    pub tenant: String,
    pub batch: i64,
}

/// One workflow's row with the values that its attributes are found by, as `name=text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    pub workflow: WorkflowId,
    pub columns: WorkflowColumns,
    pub attributes: Vec<(String, String)>,
}

/// One counter, summed over its shards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditCount {
    pub tenant: String,
    pub basis: String,
    pub day: i64,
    pub definition: String,
    pub version: i64,
    pub status: String,
    pub decision: String,
    pub n: i64,
}

/// Which index leads a list: what it finds is all that can be in the list, and the rest is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lead<'f> {
    /// Search attribute `name` with one of these values.
    Values {
        name: &'f str,
        values: Vec<String>,
    },
    /// Search attribute `name` within these texts, the end exclusive.
    Range {
        name: &'f str,
        from: String,
        until: String,
    },
    WaitingFor(&'f str),
    Decision(&'f str),
    /// A definition in each of these statuses.
    Definition {
        name: &'f str,
        statuses: Vec<&'f str>,
    },
    Statuses(Vec<&'f str>),
}

impl Lead<'_> {
    /// Whether nothing can be in the list, because what is asked contradicts itself.
    #[must_use]
    pub fn finds_nothing(&self) -> bool {
        match self {
            Lead::Values { values, .. } => values.is_empty(),
            Lead::Definition { statuses, .. } | Lead::Statuses(statuses) => statuses.is_empty(),
            Lead::Range { .. } | Lead::WaitingFor(_) | Lead::Decision(_) => false,
        }
    }
}

impl ListFilter {
    /// The index whose order is that of the list.
    #[must_use]
    pub fn lead(&self) -> Lead<'_> {
        let mut leads = self.leads();
        leads.swap_remove(0)
    }

    /// Every index that knows something of what is asked, at least one; the list is in the order of the
    /// first.
    #[must_use]
    pub fn leads(&self) -> Vec<Lead<'_>> {
        let is_value = |it: &&AttributeFilter| matches!(it.wanted, Wanted::Any(_));
        let (values, ranges): (Vec<_>, Vec<_>) = self.attributes.iter().partition(is_value);
        let attributes = values.into_iter().chain(ranges);
        let mut leads: Vec<Lead<'_>> = attributes.map(AttributeFilter::lead).collect();
        leads.extend(self.waiting_for.as_deref().map(Lead::WaitingFor));
        if self.paused == Some(true) {
            leads.push(Lead::WaitingFor(OPERATOR));
        }
        leads.extend(self.decision.as_deref().map(Lead::Decision));
        let statuses = self.statuses();
        if let Some(name) = &self.definition {
            leads.push(Lead::Definition { name, statuses });
        } else if leads.is_empty() || statuses.len() < Status::ALL.len() || self.has_time() {
            leads.push(Lead::Statuses(statuses));
        }
        leads
    }

    /// Whether what an index finds comes in the order of the list.
    #[must_use]
    pub fn is_in_order_of(&self, lead: &Lead<'_>) -> bool {
        let first = self.lead();
        match (&first, lead) {
            (Lead::Range { .. }, _) => *lead == first,
            (_, Lead::Range { .. }) => false,
            _ => true,
        }
    }

    fn has_time(&self) -> bool {
        self.started_from_ms.is_some() || self.started_until_ms.is_some()
    }

    /// The statuses that a workflow of this list may have; each is a list of its own.
    #[must_use]
    pub fn statuses(&self) -> Vec<&str> {
        let all = Status::ALL.into_iter();
        let wanted = all.filter(|it| {
            self.is_open.is_none_or(|open| open == it.is_open())
                && self
                    .status
                    .as_deref()
                    .is_none_or(|status| status == it.as_str())
        });
        wanted.map(Status::as_str).collect()
    }

    /// What an index that leads leaves to be judged.
    #[must_use]
    pub fn rest(&self, lead: &Lead<'_>) -> Self {
        let mut rest = self.clone();
        rest.attributes.retain(|it| it.lead() != *lead);
        // Behind a range of values, the time of the start is no range of the index any more.
        if !matches!(lead, Lead::Range { .. }) {
            (rest.started_from_ms, rest.started_until_ms) = (None, None);
        }
        match lead {
            Lead::Values { .. } | Lead::Range { .. } => {}
            Lead::WaitingFor(audience) => {
                rest.waiting_for = rest.waiting_for.filter(|it| it != *audience);
                rest.paused = rest.paused.filter(|it| !(*it && *audience == OPERATOR));
            }
            Lead::Decision(_) => rest.decision = None,
            Lead::Definition { .. } => {
                (rest.definition, rest.status, rest.is_open) = (None, None, None);
            }
            Lead::Statuses(_) => (rest.status, rest.is_open) = (None, None),
        }
        rest
    }

    /// Whether the leading index alone decides what is in the list.
    #[must_use]
    pub fn is_decided_by(&self, lead: &Lead<'_>) -> bool {
        let rest = self.rest(lead);
        rest.attributes.is_empty() && !rest.has_time() && !rest.asks_for_columns()
    }

    /// Whether a workflow's own row has to be seen.
    #[must_use]
    pub fn asks_for_columns(&self) -> bool {
        self.status.is_some()
            || self.is_open.is_some()
            || self.definition.is_some()
            || self.version.is_some()
            || self.decision.is_some()
            || self.waiting_for.is_some()
            || self.paused.is_some()
    }

    /// Whether a workflow belongs into the list, whatever index has led to it.
    #[must_use]
    pub fn takes(&self, columns: &WorkflowColumns) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|it| Some(it) == found)
        };
        columns.tenant == self.tenant
            && is(&self.status, Some(&columns.status))
            && self
                .is_open
                .is_none_or(|it| it == columns.closed_ms.is_none())
            && is(&self.definition, Some(&columns.definition))
            && self.version.is_none_or(|it| it == columns.version)
            && is(&self.decision, columns.decision.as_deref())
            && is(&self.waiting_for, columns.waiting_for.as_deref())
            && self
                .paused
                .is_none_or(|it| it == (columns.waiting_for.as_deref() == Some(OPERATOR)))
            && self
                .started_from_ms
                .is_none_or(|it| it <= columns.started_ms)
            && self
                .started_until_ms
                .is_none_or(|it| columns.started_ms < it)
            && self.takes_attributes(columns)
    }

    fn takes_attributes(&self, columns: &WorkflowColumns) -> bool {
        if self.attributes.is_empty() {
            return true;
        }
        let attributes = of_column(columns.attributes.as_deref());
        self.attributes.iter().all(|filter| {
            let Some(value) = attributes.get(&filter.name) else {
                return false;
            };
            match &filter.wanted {
                Wanted::Any(values) => values.contains(value),
                Wanted::Within { from, until } => {
                    let (from, until) = ends(from, until.as_ref());
                    (from..until).contains(&value.encode())
                }
            }
        })
    }
}

impl AttributeFilter {
    /// The stretch of the index of values that has what is wanted.
    #[must_use]
    pub fn lead(&self) -> Lead<'_> {
        let name = &self.name;
        match &self.wanted {
            Wanted::Any(values) => Lead::Values {
                name,
                values: values.iter().map(AttributeValue::encode).collect(),
            },
            Wanted::Within { from, until } => {
                let (from, until) = ends(from, until.as_ref());
                Lead::Range { name, from, until }
            }
        }
    }
}

/// The texts between which the values of a range lie; without an end, everything of the type.
fn ends(from: &AttributeValue, until: Option<&AttributeValue>) -> (String, String) {
    let from = from.encode();
    // `g` comes after every hex digit.
    let until = until.map_or_else(|| format!("{}g", &from[..1]), AttributeValue::encode);
    (from, until)
}

impl ListedRow {
    /// Where the row stands in a list that is in the order of starts.
    #[must_use]
    pub fn key(&self) -> ListKey {
        ListKey {
            value: None,
            started_ms: self.columns.started_ms,
            workflow: self.workflow,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyword(name: &str, text: &str) -> AttributeFilter {
        let wanted = Wanted::Any(AttributeValue::meant_by(text));
        AttributeFilter {
            name: name.to_owned(),
            wanted,
        }
    }

    fn at_least(name: &str, from: i64) -> AttributeFilter {
        let wanted = Wanted::Within {
            from: AttributeValue::Integer(from),
            until: None,
        };
        AttributeFilter {
            name: name.to_owned(),
            wanted,
        }
    }

    #[test]
    fn the_most_telling_index_leads_and_says_whether_it_decides() {
        let some = |text: &str| Some(text.to_owned());
        let plain = ListFilter::default();
        let open = ListFilter {
            is_open: Some(true),
            ..plain.clone()
        };
        assert_eq!(open.lead(), Lead::Statuses(vec!["running"]));
        assert!(open.is_decided_by(&open.lead()));
        let closed = ListFilter {
            is_open: Some(false),
            ..plain.clone()
        };
        assert!(!closed.statuses().contains(&"running"));
        assert_eq!(closed.statuses().len() + 1, Status::ALL.len());

        let of_definition = ListFilter {
            definition: some("flow"),
            ..open.clone()
        };
        assert!(matches!(
            of_definition.lead(),
            Lead::Definition { name: "flow", .. }
        ));
        assert!(of_definition.is_decided_by(&of_definition.lead()));

        let decided = ListFilter {
            decision: some("approved"),
            ..of_definition.clone()
        };
        assert_eq!(decided.lead(), Lead::Decision("approved"));
        assert!(!decided.is_decided_by(&decided.lead()));

        let paused = ListFilter {
            paused: Some(true),
            ..plain.clone()
        };
        assert_eq!(paused.lead(), Lead::WaitingFor("operator"));
        assert!(paused.is_decided_by(&paused.lead()));
        let going = ListFilter {
            paused: Some(false),
            ..open.clone()
        };
        assert!(!going.is_decided_by(&going.lead()));

        let both = ListFilter {
            attributes: vec![at_least("amount", 5), keyword("branch", "NORTH")],
            ..plain.clone()
        };
        let values = vec!["kNORTH".to_owned()];
        assert_eq!(
            both.lead(),
            Lead::Values {
                name: "branch",
                values
            }
        );
        assert!(!both.is_decided_by(&both.lead()));
        let range = ListFilter {
            attributes: vec![at_least("amount", 5)],
            ..plain
        };
        assert!(range.is_decided_by(&range.lead()));
    }

    #[test]
    fn a_row_is_judged_by_every_filter() {
        let columns = WorkflowColumns {
            tenant: "acme".to_owned(),
            definition: "flow".to_owned(),
            status: "running".to_owned(),
            started_ms: 5,
            attributes: Some(r#"{"amount":"i8000000000000005","branch":"kNORTH"}"#.to_owned()),
            ..WorkflowColumns::default()
        };
        let everything = ListFilter {
            tenant: "acme".to_owned(),
            ..ListFilter::default()
        };
        let taken = |change: &dyn Fn(&mut ListFilter)| {
            let mut filter = everything.clone();
            change(&mut filter);
            filter.takes(&columns)
        };
        assert!(taken(&|_| {}));
        assert!(taken(&|it| it.is_open = Some(true)));
        assert!(!taken(&|it| it.is_open = Some(false)));
        assert!(!taken(&|it| "other".clone_into(&mut it.tenant)));
        assert!(taken(&|it| it.paused = Some(false)));
        assert!(!taken(&|it| it.paused = Some(true)));
        assert!(!taken(&|it| it.decision = Some("approved".to_owned())));
        assert!(taken(&|it| it.started_from_ms = Some(5)));
        assert!(!taken(&|it| it.started_until_ms = Some(5)));
        assert!(taken(
            &|it| it.attributes = vec![keyword("branch", "NORTH"), at_least("amount", 5)]
        ));
        assert!(!taken(&|it| it.attributes = vec![at_least("amount", 6)]));
        assert!(!taken(
            &|it| it.attributes = vec![keyword("branch", "SOUTH")]
        ));
        assert!(!taken(&|it| it.attributes = vec![keyword("other", "NORTH")]));
    }
}
