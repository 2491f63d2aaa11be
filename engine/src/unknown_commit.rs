//! Whether a commit whose outcome nobody has heard is in the store.

use crate::store::Batch;

/// Partitions that `batch` is not in; `None` when it is in all of them.
///
/// `numbers` are its partitions, `last` the last batch that the store has of each, and `fenced` those that
/// somebody else owns now. What has no row in the journal leaves no number there. One transaction carries
/// all, so it is there if anything beside it is; and where nothing could tell, the caller may well do it
/// again.
pub fn absent_from(batch: &Batch, numbers: &[u8], fenced: &[u8], last: &[i64]) -> Option<Vec<u8>> {
    let expected = |number: u8| {
        let of_partition = batch
            .writes
            .iter()
            .filter(|it| it.workflow.partition() == number && it.has_events());
        of_partition.map(|it| it.batch).max()
    };
    let lasts = || numbers.iter().copied().zip(last.iter().copied());
    let is_there = lasts().any(|(number, last)| {
        !fenced.contains(&number) && expected(number).is_some_and(|it| it <= last)
    });
    let absent: Vec<u8> = lasts()
        .filter(|(number, last)| {
            let is_in = expected(*number).map_or(is_there, |it| it <= *last);
            fenced.contains(number) || !is_in
        })
        .map(|(number, _)| number)
        .collect();
    (!absent.is_empty()).then_some(absent)
}

#[cfg(test)]
mod tests {
    use btrust_schemas::ids::WorkflowId;

    use super::*;
    use crate::store::Write;
    use crate::store::conformance::first_write;

    /// A batch that writes number 5 into each partition; `silent` ones without a row in the journal.
    fn batch(loud: &[u8], silent: &[u8]) -> Batch {
        let write = |n: &u8| first_write(WorkflowId::new(*n, [*n; 15]), *n, 5);
        let heartbeat = |n: &u8| Write {
            sealed_events: Vec::new(),
            ..write(n)
        };
        Batch {
            writes: loud
                .iter()
                .map(write)
                .chain(silent.iter().map(heartbeat))
                .collect(),
            ..Batch::default()
        }
    }

    #[test]
    fn the_journal_tells_what_is_there() {
        let batch = batch(&[1, 2], &[]);
        assert_eq!(absent_from(&batch, &[1, 2], &[], &[5, 5]), None);
        assert_eq!(absent_from(&batch, &[1, 2], &[], &[4, 4]), Some(vec![1, 2]));
        assert_eq!(absent_from(&batch, &[1, 2], &[2], &[5, 5]), Some(vec![2]));
    }

    #[test]
    fn what_leaves_no_row_is_where_the_rest_of_its_transaction_is() {
        let both = batch(&[1], &[2]);
        assert_eq!(absent_from(&both, &[1, 2], &[], &[5, 4]), None);
        assert_eq!(absent_from(&both, &[1, 2], &[], &[4, 4]), Some(vec![1, 2]));
        let alone = batch(&[], &[2]);
        assert_eq!(absent_from(&alone, &[2], &[], &[4]), Some(vec![2]));
    }
}
