//! Shows the play as it goes, on standard error.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use btrust_schemas::ids::WorkflowId;

/// Prints one line for each thing that happens.
pub struct Timeline {
    started: Instant,
    last_outcome: Instant,
    shown: BTreeMap<String, String>,
}

impl Timeline {
    #[must_use]
    pub fn begin(workflow: WorkflowId) -> Self {
        let now = Instant::now();
        let timeline = Self {
            started: now,
            last_outcome: now,
            shown: BTreeMap::new(),
        };
        timeline.line("started", &workflow.to_string());
        timeline
    }

    /// The platform asked the applicant something.
    pub fn asked(&self, state: &str, reasons: &[String]) {
        let again = if reasons.is_empty() {
            String::new()
        } else {
            format!(" again: {}", reasons.join(", "))
        };
        self.line(state, &format!("asks{again}"));
    }

    /// Prints the outcomes that are new since the last call.
    pub fn show(&mut self, outcomes: &BTreeMap<String, String>) {
        for (state, outcome) in outcomes {
            if self.shown.get(state) == Some(outcome) {
                continue;
            }
            let took = self.last_outcome.elapsed();
            self.last_outcome = Instant::now();
            self.line(state, &format!("{outcome} after {}", seconds(took)));
            self.shown.insert(state.clone(), outcome.clone());
        }
    }

    pub fn end(&self, status: &str, decision: Option<&str>, cpu_ms: Option<u64>) {
        let cpu = cpu_ms.map_or(String::new(), |it| {
            format!(", {it} ms of the platform's CPU")
        });
        self.line(
            status,
            &format!("{}{cpu}", decision.unwrap_or("no decision yet")),
        );
    }

    fn line(&self, what: &str, more: &str) {
        eprintln!("{:>9}  {what:<16} {more}", seconds(self.started.elapsed()));
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64())
}
