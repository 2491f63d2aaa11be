//! Which requests of one key have started which workflows.

use btrust_schemas::ids::WorkflowId;

/// Requests that a key remembers.
///
/// Source: each is a start that may end the workflow of the one before; a caller whose answer was lost
/// repeats its request long before eight others have used its key. Eight of them take 552 bytes.
pub const START_REQUESTS_MAX: usize = 8;

/// The latest requests that a key lets begin something new, with what each of them has started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartRequests(Vec<(String, WorkflowId)>);

impl StartRequests {
    /// What a request has started.
    #[must_use]
    pub fn find(&self, request: &str) -> Option<WorkflowId> {
        let mut latest_first = self.0.iter().rev();
        latest_first.find(|it| it.0 == request).map(|it| it.1)
    }

    /// Remembers what a request has started, instead of the oldest one where there are too many.
    #[must_use]
    pub fn and(mut self, request: String, workflow: WorkflowId) -> Self {
        self.0.push((request, workflow));
        let n_over = self.0.len().saturating_sub(START_REQUESTS_MAX);
        self.0.drain(..n_over);
        self
    }

    /// The column's text: pairs of words.
    pub(super) fn to_column(&self) -> Option<String> {
        let pairs = self.0.iter();
        let pairs: Vec<String> = pairs.map(|(it, id)| format!("{it} {id}")).collect();
        (!pairs.is_empty()).then(|| pairs.join(" "))
    }

    /// Reads the column; `None` where it holds something else.
    pub(super) fn of_column(text: Option<&str>) -> Option<Self> {
        let mut words = text.unwrap_or_default().split_ascii_whitespace();
        let mut pairs = Vec::new();
        while let Some(request) = words.next() {
            pairs.push((request.to_owned(), words.next()?.parse().ok()?));
        }
        Some(Self(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_remembers_its_latest_requests() {
        let ids: Vec<WorkflowId> = (0..10).map(|n| WorkflowId::new(n, [n; 15])).collect();
        let mut requests = StartRequests::default();
        assert_eq!(requests.to_column(), None);
        for (n, id) in ids.iter().enumerate() {
            requests = requests.and(n.to_string(), *id);
        }
        let column = requests.to_column().unwrap();
        let read = StartRequests::of_column(Some(&column)).unwrap();
        assert_eq!(read, requests);
        assert_eq!(read.find("1"), None);
        assert_eq!(read.find("2"), Some(ids[2]));
        assert_eq!(read.and("9".to_owned(), ids[0]).find("9"), Some(ids[0]));
        assert_eq!(
            StartRequests::of_column(None),
            Some(StartRequests::default())
        );
        assert_eq!(StartRequests::of_column(Some("one")), None);
    }
}
