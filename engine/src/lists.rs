//! Lists and counts, as the API asks for them.

use chrono::{Datelike, NaiveDate};

use btrust_platform::clock::{parse_rfc3339, rfc3339};
use btrust_schemas::core::{LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, ListQuery, Status};
use btrust_schemas::ids::WorkflowId;
use btrust_schemas::search::{
    AttributeQuery, CountGroup, CountQuery, CountsView, ListPage, ListedWorkflow,
};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::search::{AttributeValue, SEARCH_ATTRIBUTE_INVALID};
use crate::store::counts::{ALL_DAYS, Basis};
use crate::store::lists::{
    ATTRIBUTE_FILTERS_MAX, AttributeFilter, CountsQuery, CountsRow, Dimension, GROUPS_MAX,
    ListFilter, ListKey, ListedPage, ListedRow, Wanted,
};
use crate::workflow::{OPERATOR, audience_text, parse_audience, shown_attributes};

/// The code of a question that would cost more than its answer is worth.
pub const FILTER_TOO_BROAD: &str = "filter_too_broad";
/// Most days that counts by day are summed over: a leap year.
pub const COUNT_DAYS_MAX: i64 = 366;

impl Engine {
    /// A page of a tenant's workflows, the latest start first.
    ///
    /// # Errors
    ///
    /// `filter_too_broad` for more attributes than one question may name; `time_invalid`,
    /// `cursor_invalid`, `search_attribute_invalid`.
    pub async fn list(&self, query: ListQuery) -> Result<ListPage, EngineError> {
        let limit = query
            .limit
            .unwrap_or(LIST_LIMIT_DEFAULT)
            .clamp(1, LIST_LIMIT_MAX);
        let page = self.listed(query, limit).await?;
        Ok(ListPage {
            workflows: page.rows.into_iter().filter_map(listed).collect(),
            next: page.next.as_ref().map(cursor),
        })
    }

    /// The ids of a page of a tenant's workflows, and where the next page begins.
    ///
    /// # Errors
    ///
    /// As [`Self::list`].
    pub(crate) async fn list_ids(
        &self,
        query: ListQuery,
        limit: u32,
    ) -> Result<(Vec<WorkflowId>, Option<String>), EngineError> {
        let page = self.listed(query, limit).await?;
        let ids = page.rows.iter().map(|it| it.workflow).collect();
        Ok((ids, page.next.as_ref().map(cursor)))
    }

    async fn listed(&self, query: ListQuery, limit: u32) -> Result<ListedPage, EngineError> {
        let filter = ListFilter {
            status: query.status.map(|it| it.as_str().to_owned()),
            is_open: query.is_open,
            definition: query.definition,
            version: None,
            decision: query.decision,
            waiting_for: query.open_prompt.map(|it| audience_text(it).to_owned()),
            paused: query.paused,
            attributes: attribute_filters(query.attributes.as_deref())?,
            started_from_ms: time("startedAfter", query.started_after)?,
            started_until_ms: time("startedBefore", query.started_before)?,
            after: query.cursor.as_deref().map(parse_cursor).transpose()?,
            limit,
            tenant: query.tenant,
        };
        Ok(self.shared.lists.page(&filter).await?)
    }

    /// How many workflows there are: exact sums of counters where counters have what is asked for,
    /// and otherwise a count that stops.
    ///
    /// # Errors
    ///
    /// `filter_too_broad` for groups or days that would cost too much; `count_invalid` for what cannot
    /// be read or put together; otherwise as [`Self::list`].
    pub async fn counts(&self, query: CountQuery) -> Result<CountsView, EngineError> {
        let is_counted = query.open_prompt.is_none()
            && query.attributes.is_none()
            && query.started_after.is_none()
            && query.started_before.is_none();
        if is_counted {
            return self.sums(query).await;
        }
        if query.group_by.is_some()
            || query.from.is_some()
            || query.to.is_some()
            || query.basis.is_some()
        {
            let detail = "openPrompt, attributes, startedAfter and startedBefore are counted one by one: \
                          not by group, day or basis";
            return Err(invalid("count_invalid", detail));
        }
        let filter = ListFilter {
            tenant: query.tenant,
            status: query.status.map(|it| it.as_str().to_owned()),
            is_open: query.is_open,
            definition: query.definition,
            version: query.version.map(i64::from),
            decision: query.decision,
            waiting_for: query.open_prompt.map(|it| audience_text(it).to_owned()),
            paused: None,
            attributes: attribute_filters(query.attributes.as_deref())?,
            started_from_ms: time("startedAfter", query.started_after)?,
            started_until_ms: time("startedBefore", query.started_before)?,
            after: None,
            limit: 0,
        };
        let counted = self.shared.lists.count(&filter).await?;
        Ok(CountsView {
            count: counted.n,
            is_exact: counted.is_exact,
            groups: Vec::new(),
        })
    }

    async fn sums(&self, query: CountQuery) -> Result<CountsView, EngineError> {
        let sums = sums_query(query)?;
        let rows = self.shared.lists.counts(&sums).await?;
        let n_groups = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        if GROUPS_MAX < n_groups {
            let detail = format!("there are more than {GROUPS_MAX} groups: ask for fewer days");
            return Err(invalid(FILTER_TOO_BROAD, detail));
        }
        let groups: Vec<CountGroup> = rows.into_iter().map(group).collect();
        Ok(CountsView {
            count: groups.iter().map(|it| it.count).sum(),
            is_exact: true,
            groups: if sums.group_by.is_empty() {
                Vec::new()
            } else {
                groups
            },
        })
    }
}

fn listed(row: ListedRow) -> Option<ListedWorkflow> {
    let search_attributes = shown_attributes(&row.columns);
    let columns = row.columns;
    Some(ListedWorkflow {
        id: row.workflow,
        version: u32::try_from(columns.version).unwrap_or(u32::MAX),
        // A status that a newer program wrote: there is no word for it here.
        status: Status::parse(&columns.status)?,
        waiting_for: columns.waiting_for.as_deref().and_then(parse_audience),
        paused: columns.waiting_for.as_deref() == Some(OPERATOR),
        decision: columns.decision,
        search_attributes,
        legal_hold: columns.legal_hold,
        started_at: rfc3339(columns.started_ms),
        closed_at: columns.closed_ms.map(rfc3339),
        definition: columns.definition,
    })
}

/// Reads the filters by attribute, which come as JSON.
fn attribute_filters(text: Option<&str>) -> Result<Vec<AttributeFilter>, EngineError> {
    let Some(text) = text else {
        return Ok(Vec::new());
    };
    let queries: Vec<AttributeQuery> = serde_json::from_str(text).map_err(|_| {
        invalid(
            SEARCH_ATTRIBUTE_INVALID,
            "the filters by attribute cannot be read",
        )
    })?;
    if ATTRIBUTE_FILTERS_MAX < queries.len() {
        let detail = format!("a list is filtered by at most {ATTRIBUTE_FILTERS_MAX} attributes");
        return Err(invalid(FILTER_TOO_BROAD, detail));
    }
    queries.into_iter().map(attribute_filter).collect()
}

fn attribute_filter(query: AttributeQuery) -> Result<AttributeFilter, EngineError> {
    let wrong = |detail: &str| invalid(SEARCH_ATTRIBUTE_INVALID, detail);
    // No definition can declare another one, and an index of ASCII cannot be asked for it.
    if !query.name.is_ascii() {
        return Err(wrong("a search attribute's name is letters and digits"));
    }
    let bound = |text: Option<&String>| match text.map(|it| AttributeValue::bound(it)) {
        Some(None) => Err(wrong(
            "the ends of a range are whole numbers or RFC 3339 times",
        )),
        bound => Ok(bound.flatten()),
    };
    let wanted = match (
        &query.equals,
        bound(query.from.as_ref())?,
        bound(query.to.as_ref())?,
    ) {
        (Some(text), None, None) => {
            let values = AttributeValue::meant_by(text);
            if values.is_empty() {
                return Err(wrong(
                    "the value of a filter is none that a search attribute can have",
                ));
            }
            Wanted::Any(values)
        }
        (None, Some(from), until) => {
            let is_mixed = until.as_ref().is_some_and(|it| !is_alike(&from, it));
            if is_mixed {
                return Err(wrong("both ends of a range are numbers, or both are times"));
            }
            Wanted::Within { from, until }
        }
        (None, None, Some(until)) => {
            let from = match until {
                AttributeValue::Time(_) => AttributeValue::Time(i64::MIN),
                _ => AttributeValue::Integer(i64::MIN),
            };
            Wanted::Within {
                from,
                until: Some(until),
            }
        }
        _ => return Err(wrong("a filter by attribute names a value or a range")),
    };
    Ok(AttributeFilter {
        name: query.name,
        wanted,
    })
}

fn is_alike(one: &AttributeValue, other: &AttributeValue) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}

fn sums_query(query: CountQuery) -> Result<CountsQuery, EngineError> {
    let group_by = dimensions(query.group_by.as_deref())?;
    let basis = match query.basis.as_deref() {
        None | Some("started") => Basis::Started,
        Some("closed") => Basis::Closed,
        Some(_) => return Err(invalid("count_invalid", "`basis` is started or closed")),
    };
    let range = (date(query.from.as_deref())?, date(query.to.as_deref())?);
    let by_status = ListFilter {
        status: query.status.map(|it| it.as_str().to_owned()),
        // Without days, what is closed is counted among what was started.
        is_open: if basis == Basis::Closed {
            Some(false)
        } else {
            query.is_open
        },
        ..ListFilter::default()
    };
    let all_days = ALL_DAYS..ALL_DAYS + 1;
    let (basis, days) = match range {
        (Some(from), Some(to)) if from < to && to - from <= COUNT_DAYS_MAX => (basis, from..to),
        (Some(from), Some(to)) if from < to => {
            let detail = format!("counts by day are summed over at most {COUNT_DAYS_MAX} days");
            return Err(invalid(FILTER_TOO_BROAD, detail));
        }
        (None, None) if !group_by.contains(&Dimension::Day) => (Basis::Started, all_days),
        _ => {
            return Err(invalid(
                "count_invalid",
                "days need `from` and a later `to`",
            ));
        }
    };
    let is_filtered = by_status.status.is_some() || by_status.is_open.is_some();
    let statuses = by_status
        .statuses()
        .into_iter()
        .map(str::to_owned)
        .collect();
    Ok(CountsQuery {
        basis,
        days,
        group_by,
        statuses: if is_filtered { statuses } else { Vec::new() },
        definition: query.definition,
        version: query.version.map(i64::from),
        decision: query.decision,
        tenant: query.tenant,
    })
}

fn dimensions(text: Option<&str>) -> Result<Vec<Dimension>, EngineError> {
    let words = text
        .into_iter()
        .flat_map(|it| it.split(','))
        .filter(|it| !it.is_empty());
    let dimension = |word: &str| match word {
        "day" => Ok(Dimension::Day),
        "definition" => Ok(Dimension::Definition),
        "version" => Ok(Dimension::Version),
        "status" => Ok(Dimension::Status),
        "decision" => Ok(Dimension::Decision),
        _ => Err(invalid(
            "count_invalid",
            "`groupBy` names day, definition, version, status, decision",
        )),
    };
    words.map(dimension).collect()
}

/// The days since the epoch until a date.
fn date(text: Option<&str>) -> Result<Option<i64>, EngineError> {
    let Some(text) = text else { return Ok(None) };
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d");
    let date =
        date.map_err(|_| invalid("time_invalid", "`from` and `to` are dates, as 2026-05-31"))?;
    Ok(Some(i64::from(date.num_days_from_ce()) - DAYS_BEFORE_EPOCH))
}

/// Days from the first of January of year 1 to the epoch, as chrono counts them.
const DAYS_BEFORE_EPOCH: i64 = 719_163;

fn date_text(day: i64) -> String {
    let days = i32::try_from(day + DAYS_BEFORE_EPOCH).ok();
    let date = days.and_then(NaiveDate::from_num_days_from_ce_opt);
    date.map(|it| it.to_string()).unwrap_or_default()
}

fn group(row: CountsRow) -> CountGroup {
    CountGroup {
        day: row.day.map(date_text),
        definition: row.definition,
        version: row.version.and_then(|it| u32::try_from(it).ok()),
        status: row.status.as_deref().and_then(Status::parse),
        decision: row.decision.filter(|it| !it.is_empty()),
        count: u64::try_from(row.n).unwrap_or_default(),
    }
}

fn time(name: &'static str, text: Option<String>) -> Result<Option<i64>, EngineError> {
    let Some(text) = text else { return Ok(None) };
    let detail = format!("`{name}` is not an RFC 3339 time");
    let parsed = parse_rfc3339(&text).map(Some);
    parsed.ok_or_else(|| invalid("time_invalid", detail))
}

fn invalid(code: &'static str, detail: impl Into<String>) -> EngineError {
    EngineError::Invalid {
        code,
        detail: detail.into(),
    }
}

/// The text of a place in a list.
pub(crate) fn cursor(key: &ListKey) -> String {
    let value = key.value.as_deref().unwrap_or_default();
    format!("{:x}-{}-{value}", key.started_ms, key.workflow)
}

pub(crate) fn parse_cursor(text: &str) -> Result<ListKey, EngineError> {
    let parsed = || {
        // Values of the index are ASCII, as its column is.
        let mut parts = Some(text).filter(|it| it.is_ascii())?.splitn(3, '-');
        Some(ListKey {
            started_ms: i64::from_str_radix(parts.next()?, 16).ok()?,
            workflow: parts.next()?.parse().ok()?,
            value: parts.next().filter(|it| !it.is_empty()).map(str::to_owned),
        })
    };
    parsed().ok_or_else(|| {
        invalid(
            "cursor_invalid",
            "the cursor is not one that a page has named",
        )
    })
}

#[cfg(test)]
mod tests {
    use btrust_schemas::ids::WorkflowId;

    use super::*;

    #[test]
    fn a_cursor_survives_its_text_form_and_others_are_refused() {
        for value in [None, Some("i8000000000000005".to_owned())] {
            let key = ListKey {
                value,
                started_ms: 1_769_903_999_123,
                workflow: WorkflowId::new(3, [9; 15]),
            };
            assert_eq!(parse_cursor(&cursor(&key)), Ok(key));
        }
        for text in ["", "-", "zz-wf_00", "12"] {
            let error = parse_cursor(text).unwrap_err();
            assert_eq!(error.code(), "cursor_invalid", "{text}");
        }
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (text, day) in [
            ("1970-01-01", 0),
            ("2000-02-29", 11_016),
            ("2026-11-23", 20_780),
        ] {
            assert_eq!(date(Some(text)), Ok(Some(day)), "{text}");
            assert_eq!(date_text(day), text);
        }
        for text in ["", "2026-02-30", "yesterday"] {
            assert_eq!(
                date(Some(text)).unwrap_err().code(),
                "time_invalid",
                "{text}"
            );
        }
    }

    #[test]
    fn counters_are_asked_for_what_they_have() {
        let query = |change: &dyn Fn(&mut CountQuery)| {
            let mut query = CountQuery::default();
            change(&mut query);
            sums_query(query)
        };
        let text = |it: &str| Some(it.to_owned());
        let all = query(&|_| {}).unwrap();
        assert_eq!(
            (all.basis, all.days, all.statuses.len()),
            (Basis::Started, -1..0, 0)
        );
        let closed = query(&|it| it.basis = text("closed")).unwrap();
        assert_eq!((closed.basis, closed.days), (Basis::Started, -1..0));
        assert!(!closed.statuses.is_empty() && !closed.statuses.contains(&"running".to_owned()));
        let week = query(&|it| {
            it.basis = text("closed");
            it.group_by = text("day,status");
            (it.from, it.to) = (text("1970-01-02"), text("1970-01-09"));
        });
        let week = week.unwrap();
        assert_eq!((week.basis, week.days), (Basis::Closed, 1..8));
        assert_eq!(week.group_by, [Dimension::Day, Dimension::Status]);
        let code = |change: &dyn Fn(&mut CountQuery)| query(change).unwrap_err().code().to_owned();
        assert_eq!(code(&|it| it.group_by = text("day")), "count_invalid");
        assert_eq!(code(&|it| it.group_by = text("colour")), "count_invalid");
        assert_eq!(code(&|it| it.basis = text("ended")), "count_invalid");
        assert_eq!(code(&|it| it.from = text("2026-01-01")), "count_invalid");
        let years =
            |it: &mut CountQuery| (it.from, it.to) = (text("2020-01-01"), text("2026-01-01"));
        assert_eq!(code(&years), FILTER_TOO_BROAD);
    }

    #[test]
    fn filters_by_attribute_are_read_and_bounded() {
        let read = |text: &str| attribute_filters(Some(text));
        let filters =
            read(r#"[{"name":"branch","equals":"N"},{"name":"amount","to":"5"}]"#).unwrap();
        assert_eq!(filters.len(), 2);
        assert!(matches!(
            filters[1].wanted,
            Wanted::Within { until: Some(_), .. }
        ));
        for text in [
            "nonsense",
            r#"[{"name":"a"}]"#,
            r#"[{"name":"שם","equals":"N"}]"#,
            r#"[{"name":"a","equals":"N","from":"1"}]"#,
            r#"[{"name":"a","equals":"two words"}]"#,
            r#"[{"name":"a","from":"N"}]"#,
            r#"[{"name":"a","from":"1","to":"2026-01-01T00:00:00Z"}]"#,
        ] {
            assert_eq!(
                read(text).unwrap_err().code(),
                SEARCH_ATTRIBUTE_INVALID,
                "{text}"
            );
        }
        let many = [r#"{"name":"a","equals":"N"}"#; ATTRIBUTE_FILTERS_MAX + 1].join(",");
        assert_eq!(
            read(&format!("[{many}]")).unwrap_err().code(),
            FILTER_TOO_BROAD
        );
    }
}
