//! Funnels on request.

use std::collections::BTreeMap;

use btrust_platform::clock::{parse_rfc3339, rfc3339};
use btrust_platform::relational::{Relational, RelationalError, Row, Value};
use btrust_schemas::analytics::{
    DurationsView, FunnelQuery, FunnelStepView, FunnelView, FunnelsView,
};

use super::histogram::{Histogram, RELATIVE_ERROR};
use super::journey::{HOUR_MS, Measure, WHOLE};

/// Most rows that one question may read.
///
/// Source: a month of hours of a definition with 20 states of 12 measures each, about 180,000.
const ROWS_MAX: usize = 200_000;
/// What funnels can be grouped by, and the columns.
const GROUPINGS: [(&str, &str); 3] = [
    ("hour", "c.hour_ms"),
    ("device", "g.device"),
    ("language", "g.language"),
];

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FunnelsError {
    /// The question is not one; the text says what is wrong with it.
    #[error("{0}")]
    Invalid(String),
    /// The answer would be too long.
    #[error("more than {ROWS_MAX} rows: ask for a shorter time, one definition, or fewer groups")]
    TooBroad,
    #[error("the numbers cannot be read")]
    Unavailable(#[from] RelationalError),
}

/// The funnels of a tenant.
///
/// # Errors
///
/// [`FunnelsError`].
pub async fn funnels(
    database: &Relational,
    query: &FunnelQuery,
) -> Result<FunnelsView, FunnelsError> {
    let from_ms = time(query.from.as_deref(), "from")?.unwrap_or(0);
    let to_ms = time(query.to.as_deref(), "to")?.unwrap_or(i64::MAX);
    let columns = columns(query.group_by.as_deref())?;
    let mut filter = "g.tenant = ? AND ? <= c.hour_ms AND c.hour_ms < ?".to_owned();
    let mut values: Vec<Value<'_>> = vec![
        (&query.tenant).into(),
        (from_ms - from_ms.rem_euclid(HOUR_MS)).into(),
        to_ms.into(),
    ];
    if let Some(definition) = &query.definition {
        filter.push_str(" AND g.definition = ?");
        values.push(definition.into());
    }
    if let Some(version) = query.version {
        filter.push_str(" AND g.version = ?");
        values.push(version.into());
    }
    let grouped: String = columns.iter().flat_map(|it| [", ", it]).collect();
    let sql = format!(
        "SELECT c.state, c.measure, CAST(SUM(c.n) AS SIGNED), g.definition, g.version{grouped} \
         FROM funnel_group g JOIN funnel_count c ON c.funnel_group = g.id WHERE {filter} \
         GROUP BY c.state, c.measure, g.definition, g.version{grouped} LIMIT {}",
        ROWS_MAX + 1
    );
    let rows = database.fetch(&sql, &values).await?;
    if ROWS_MAX < rows.len() {
        return Err(FunnelsError::TooBroad);
    }
    let mut funnels: BTreeMap<Key, Funnel> = BTreeMap::new();
    for row in &rows {
        let (state, measure, n) = (row.text(0)?, row.text(1)?, row.int(2)?);
        let funnel = funnels.entry(Key::of(row, &columns)?).or_default();
        if let Some(measure) = Measure::parse(&measure) {
            funnel.add(&state, measure, n);
        }
    }
    let views = funnels.into_iter().map(|(key, it)| it.view(key));
    Ok(FunnelsView {
        relative_error: RELATIVE_ERROR,
        // Workflows that have turned out to be on another device leave a funnel of nothing.
        funnels: views.filter(has_something).collect(),
    })
}

fn has_something(it: &FunnelView) -> bool {
    it.started != 0 || !it.closed.is_empty() || !it.steps.is_empty()
}

fn time(text: Option<&str>, name: &str) -> Result<Option<i64>, FunnelsError> {
    let Some(text) = text else { return Ok(None) };
    let invalid = || FunnelsError::Invalid(format!("`{name}` is an RFC 3339 time"));
    parse_rfc3339(text).map(Some).ok_or_else(invalid)
}

/// The columns that are grouped by, in the order of [`GROUPINGS`].
fn columns(group_by: Option<&str>) -> Result<Vec<&'static str>, FunnelsError> {
    let words: Vec<&str> = group_by
        .unwrap_or_default()
        .split(',')
        .filter(|it| !it.is_empty())
        .collect();
    if let Some(word) = words
        .iter()
        .find(|it| !GROUPINGS.iter().any(|(name, _)| name == *it))
    {
        let detail = format!("`groupBy` has `{word}`; it may have hour, device and language");
        return Err(FunnelsError::Invalid(detail));
    }
    let chosen = GROUPINGS.iter().filter(|(name, _)| words.contains(name));
    Ok(chosen.map(|(_, column)| *column).collect())
}

/// What a funnel is of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    definition: String,
    version: i64,
    hour_ms: Option<i64>,
    device: Option<String>,
    language: Option<String>,
}

impl Key {
    fn of(row: &Row, columns: &[&str]) -> Result<Self, RelationalError> {
        let mut key = Self {
            definition: row.text(3)?,
            version: row.int(4)?,
            hour_ms: None,
            device: None,
            language: None,
        };
        for (index, column) in columns.iter().enumerate() {
            match *column {
                "c.hour_ms" => key.hour_ms = Some(row.int(5 + index)?),
                "g.device" => key.device = Some(row.text(5 + index)?),
                _ => key.language = Some(row.text(5 + index)?),
            }
        }
        Ok(key)
    }
}

/// A funnel while its cells are added up.
#[derive(Default)]
struct Funnel {
    view: FunnelView,
    lasted: Histogram,
    steps: BTreeMap<String, Step>,
}

#[derive(Default)]
struct Step {
    view: FunnelStepView,
    lasted: Histogram,
    places: i64,
}

impl Funnel {
    fn add(&mut self, state: &str, measure: Measure<'_>, n: i64) {
        // What was moved to another device is a row of zero.
        if n == 0 {
            return;
        }
        if state == WHOLE {
            self.add_whole(measure, n);
        } else {
            self.steps
                .entry(state.to_owned())
                .or_default()
                .add(measure, n);
        }
    }

    fn add_whole(&mut self, measure: Measure<'_>, n: i64) {
        let view = &mut self.view;
        match measure {
            Measure::Started => view.started += n,
            Measure::Closed(status) => *view.closed.entry(status.to_owned()).or_default() += n,
            Measure::Decided(decision) => {
                *view.decisions.entry(decision.to_owned()).or_default() += n;
            }
            // Whoever is referred goes to people.
            Measure::DecidedAlone("approved" | "rejected") => view.decided_automatically += n,
            Measure::Redriven => view.redriven += n,
            Measure::Lasted(bucket) => self.lasted.add(bucket, n),
            _ => {}
        }
    }

    fn view(self, key: Key) -> FunnelView {
        let mut steps: Vec<(String, Step)> = self.steps.into_iter().collect();
        steps.sort_by(|(_, a), (_, b)| a.place().total_cmp(&b.place()));
        let n_decided: i64 = self.view.decisions.values().sum();
        FunnelView {
            definition: key.definition,
            version: key.version,
            hour: key.hour_ms.map(rfc3339),
            device: key.device,
            language: key.language,
            auto_decision_rate: part(self.view.decided_automatically, n_decided),
            durations: durations(&self.lasted),
            steps: steps
                .into_iter()
                .map(|(state, it)| it.view(state))
                .collect(),
            ..self.view
        }
    }
}

impl Step {
    fn add(&mut self, measure: Measure<'_>, n: i64) {
        let view = &mut self.view;
        match measure {
            Measure::Entered(step) => {
                view.entered += n;
                view.steps.push(step.to_owned());
            }
            Measure::Retried => view.retries += n,
            Measure::Outcome(outcome) => {
                *view.finished.entry(outcome.to_owned()).or_default() += n;
            }
            Measure::Error(error) => *view.errors.entry(error.to_owned()).or_default() += n,
            Measure::DroppedOff => view.dropped_off += n,
            Measure::Place => self.places += n,
            Measure::Lasted(bucket) => self.lasted.add(bucket, n),
            _ => {}
        }
    }

    /// The mean place of its runs among those of their workflows.
    fn place(&self) -> f64 {
        part(self.places, self.view.entered).unwrap_or(f64::MAX)
    }

    fn view(mut self, state: String) -> FunnelStepView {
        self.view.steps.sort();
        let n_finished: i64 = self.view.finished.values().sum();
        let n_errors: i64 = self.view.errors.values().sum();
        let entered = self.view.entered;
        let failed = n_errors - self.view.retries;
        FunnelStepView {
            state,
            failed,
            drop_off_rate: part(self.view.dropped_off, entered),
            in_progress: entered - n_finished - failed - self.view.dropped_off,
            durations: durations(&self.lasted),
            ..self.view
        }
    }
}

fn durations(lasted: &Histogram) -> Option<DurationsView> {
    Some(DurationsView {
        count: lasted.count(),
        p50_ms: lasted.quantile_ms(50)?,
        p95_ms: lasted.quantile_ms(95)?,
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of workflows are far below 2^53"
)]
fn part(n: i64, of: i64) -> Option<f64> {
    (0 < of).then(|| n as f64 / of as f64)
}
