//! What every [`ListStore`] must do; each adapter's tests call [`check`] with an empty store.

#![expect(
    clippy::unwrap_used,
    reason = "a rule that is broken ends the test that runs it"
)]

use std::collections::BTreeMap;

use btrust_schemas::ids::WorkflowId;

use super::counts::{ALL_DAYS, Basis, DAY_MS};
use super::lists::{
    AttributeFilter, COUNT_EXAMINED_MAX, CountsQuery, Dimension, EXAMINED_MAX, Ended, EndedQuery,
    ListFilter, ListStore, ListedPage, Wanted,
};
use super::{
    AcquireRequest, Batch, Cursor, Deletion, EMBEDDED_LEASE_MS, Fence, SnapshotColumns, StartKey,
    StartRecord, StartRequests, Store, Takeover, WorkflowColumns, Write,
};
use crate::parcel::owed_key_hash;
use crate::search::{AttributeValue, Attributes, column_of, entries};
use crate::workflow::OPERATOR;

/// Workflows of the test, in the order of their starts; those with an odd number are closed.
const N: u8 = 60;
const PARTITION: u8 = 11;

/// Runs every rule against a store of which partitions 11 and 12 are empty.
///
/// # Panics
///
/// At the first rule that the store breaks.
pub async fn check(store: &dyn Store, lists: &dyn ListStore) {
    let fence = acquire(store, PARTITION).await;
    let writes: Vec<Write> = (0..N).map(first_write).collect();
    commit(store, fence, writes).await;
    what_is_listed_is_what_the_filter_takes(lists).await;
    a_page_of_many_filters_ends_early_and_says_where_to_go_on(lists).await;
    counts_follow_every_change(store, lists, fence).await;
    attributes_are_replaced(store, lists, fence).await;
    what_has_ended_is_found_by_its_policy(lists).await;
    a_deletion_leaves_one_row_until_it_is_purged(store, lists, fence).await;
    attributes_of_many_that_never_meet_end_after_few_pages(store, lists).await;
}

/// A closed one.
const WITHOUT_POLICY: u8 = 9;

fn id(n: u8) -> WorkflowId {
    WorkflowId::new(PARTITION, [n; 15])
}

/// Two workflows start at the same time; the days change every twenty.
fn started_ms(n: u8) -> i64 {
    (20_000 + i64::from(n) / 20) * DAY_MS + i64::from(n / 2)
}

fn attributes(n: u8) -> Attributes {
    let branch = if n.is_multiple_of(3) {
        "NORTH"
    } else {
        "SOUTH"
    };
    Attributes::from([
        (
            "amount".to_owned(),
            AttributeValue::Integer(i64::from(n % 10) - 5),
        ),
        (
            "branch".to_owned(),
            AttributeValue::Keyword(branch.to_owned()),
        ),
    ])
}

fn columns(n: u8) -> WorkflowColumns {
    let is_closed = n % 2 == 1;
    let text = |it: &str| Some(it.to_owned());
    WorkflowColumns {
        tenant: "lists".to_owned(),
        definition: if n.is_multiple_of(5) {
            "loan"
        } else {
            "account"
        }
        .to_owned(),
        version: 1 + i64::from(n % 2),
        locale: "en".to_owned(),
        status: if is_closed { "succeeded" } else { "running" }.to_owned(),
        waiting_for: text(if n % 8 == 4 { OPERATOR } else { "applicant" }).filter(|_| !is_closed),
        decision: text(if n % 4 == 1 { "approved" } else { "rejected" }).filter(|_| is_closed),
        started_ms: started_ms(n),
        closed_ms: is_closed.then(|| started_ms(n) + DAY_MS),
        attributes: column_of(&attributes(n)),
        retention: text("aml-5y").filter(|_| n != WITHOUT_POLICY),
        ..WorkflowColumns::default()
    }
}

fn first_write(n: u8) -> Write {
    let columns = columns(n);
    Write {
        workflow: id(n),
        batch: i64::from(n) + 1,
        first_sequence: 1,
        sequence: 1,
        committed_ms: columns.started_ms,
        sealed_events: vec![n; 8],
        public: format!("A {n}\n"),
        snapshot: SnapshotColumns {
            chain: "c".repeat(64),
            is_open: columns.closed_ms.is_none(),
            n_turns: i64::from(columns.closed_ms.is_none()),
            ..SnapshotColumns::default()
        },
        sealed_snapshot: vec![n; 8],
        attributes: Some(entries(columns.attributes.as_deref())),
        before: None,
        deletion: None,
        acts: None,
        keeps_incident: false,
        start: Some(StartRecord {
            key: start_key(n),
            digest: "d".repeat(64),
            workflow: id(n),
            replaces: None,
            requests: StartRequests::default(),
        }),
        columns: Some(columns),
    }
}

fn start_key(n: u8) -> StartKey {
    StartKey {
        tenant: "lists".to_owned(),
        key_hash: format!("{n:064}"),
    }
}

async fn acquire(store: &dyn Store, partition: u8) -> Fence {
    let request = AcquireRequest {
        owner: "conformance".to_owned(),
        partitions: vec![partition],
        lease_ms: EMBEDDED_LEASE_MS,
        takeover: Takeover::Always,
    };
    let owned = store.acquire(&request).await.unwrap().partitions[0];
    Fence {
        partition,
        epoch: owned.epoch,
    }
}

async fn commit(store: &dyn Store, fence: Fence, writes: Vec<Write>) {
    let batch = Batch {
        fences: vec![fence],
        writes,
        shard: fence.partition,
    };
    let committed = store.commit(&batch).await.unwrap();
    assert!(committed.fenced.is_empty());
}

fn everything() -> ListFilter {
    ListFilter {
        tenant: "lists".to_owned(),
        limit: 7,
        ..ListFilter::default()
    }
}

fn is(name: &str, text: &str) -> AttributeFilter {
    let wanted = Wanted::Any(AttributeValue::meant_by(text));
    AttributeFilter {
        name: name.to_owned(),
        wanted,
    }
}

fn within(name: &str, from: i64, until: Option<i64>) -> AttributeFilter {
    let wanted = Wanted::Within {
        from: AttributeValue::Integer(from),
        until: until.map(AttributeValue::Integer),
    };
    AttributeFilter {
        name: name.to_owned(),
        wanted,
    }
}

/// Everything that a filter finds, read page by page.
async fn all(lists: &dyn ListStore, mut filter: ListFilter) -> Vec<WorkflowId> {
    let mut found = Vec::new();
    loop {
        let ListedPage { rows, next } = lists.page(&filter).await.unwrap();
        assert!(rows.len() <= usize::try_from(filter.limit).unwrap());
        found.extend(rows.iter().map(|it| it.workflow));
        if next.is_none() {
            return found;
        }
        filter.after = next;
    }
}

async fn what_is_listed_is_what_the_filter_takes(lists: &dyn ListStore) {
    let some = |text: &str| Some(text.to_owned());
    let filters: [&dyn Fn(&mut ListFilter); 30] = [
        &|_| {},
        &|it| "other".clone_into(&mut it.tenant),
        &|it| it.status = some("running"),
        &|it| it.status = some("failed"),
        &|it| it.is_open = Some(false),
        &|it| it.definition = some("loan"),
        &|it| (it.definition, it.is_open) = (some("account"), Some(true)),
        &|it| it.decision = some("approved"),
        &|it| (it.decision, it.definition) = (some("rejected"), some("account")),
        &|it| it.waiting_for = some("applicant"),
        &|it| it.paused = Some(true),
        &|it| (it.paused, it.is_open) = (Some(false), Some(true)),
        &|it| (it.paused, it.definition) = (Some(true), some("loan")),
        &|it| (it.definition, it.version) = (some("loan"), Some(2)),
        &|it| {
            (it.started_from_ms, it.started_until_ms) =
                (Some(started_ms(20)), Some(started_ms(41)));
        },
        &|it| it.attributes = vec![is("branch", "NORTH")],
        &|it| (it.attributes, it.is_open) = (vec![is("branch", "SOUTH")], Some(true)),
        &|it| it.attributes = vec![within("amount", -2, Some(2))],
        &|it| it.attributes = vec![within("amount", 3, None), is("branch", "NORTH")],
        // Each index that is no list's order is the rarest once.
        &|it| it.attributes = vec![within("amount", 4, None), is("branch", "SOUTH")],
        &|it| {
            it.attributes = vec![is("branch", "SOUTH")];
            it.paused = Some(true);
        },
        &|it| {
            it.attributes = vec![within("amount", -5, None)];
            it.decision = some("approved");
        },
        &|it| {
            it.attributes = vec![within("amount", -5, Some(4)), within("amount", 2, None)];
        },
        &|it| {
            it.attributes = vec![within("amount", -5, None)];
            it.started_from_ms = Some(started_ms(20));
            it.started_until_ms = Some(started_ms(31));
        },
        &|it| {
            it.attributes = vec![within("amount", 4, None)];
            it.started_from_ms = Some(started_ms(20));
        },
        &|it| {
            it.attributes = vec![within("amount", -5, None), is("branch", "NORTH")];
            (it.definition, it.is_open) = (some("loan"), Some(true));
            it.started_until_ms = Some(started_ms(31));
        },
        &|it| it.attributes = vec![is("branch", "NORTH"), is("branch", "SOUTH")],
        &|it| it.attributes = vec![is("amount", "3"), is("branch", "SOUTH")],
        &|it| (it.status, it.is_open) = (some("running"), Some(false)),
        &|it| {
            (it.status, it.is_open) = (some("running"), Some(false));
            it.attributes = vec![is("branch", "NORTH")];
        },
    ];
    for change in filters {
        let mut filter = everything();
        change(&mut filter);
        let mut expected: Vec<u8> = (0..N).filter(|n| filter.takes(&columns(*n))).collect();
        let by_amount = matches!(filter.lead(), super::lists::Lead::Range { .. });
        expected.sort_by_key(|n| {
            let amount = if by_amount { n % 10 } else { 0 };
            std::cmp::Reverse((amount, started_ms(*n), *n))
        });
        let expected: Vec<WorkflowId> = expected.into_iter().map(id).collect();
        assert_eq!(all(lists, filter.clone()).await, expected, "{filter:?}");
        let counted = lists.count(&filter).await.unwrap();
        let n_expected = u64::try_from(expected.len()).unwrap();
        assert_eq!(
            (counted.n, counted.is_exact),
            (n_expected, true),
            "{filter:?}"
        );
    }
    let page = lists.page(&everything()).await.unwrap();
    assert_eq!(page.rows[0].columns, columns(N - 1));
}

async fn a_page_of_many_filters_ends_early_and_says_where_to_go_on(lists: &dyn ListStore) {
    // Decided by the index: the page is full, and its last row is where to go on.
    let open = ListFilter {
        is_open: Some(true),
        ..everything()
    };
    let page = lists.page(&open).await.unwrap();
    assert_eq!(page.rows.len(), 7);
    assert_eq!(page.next.unwrap().workflow, page.rows[6].workflow);
    // Judged row by row: what is left is found, however little it is.
    let rare = ListFilter {
        waiting_for: Some("applicant".to_owned()),
        attributes: vec![is("branch", "NORTH"), is("amount", "-5")],
        ..everything()
    };
    assert_eq!(all(lists, rare).await, [id(30), id(0)]);
}

/// More than a page judges have each of two attributes, and none has both.
async fn attributes_of_many_that_never_meet_end_after_few_pages(
    store: &dyn Store,
    lists: &dyn ListStore,
) {
    const OTHER: u8 = 12;
    // More than a page or a count judges.
    let n_of_each = COUNT_EXAMINED_MAX / 2 + 200;
    let fence = acquire(store, OTHER).await;
    let id = |n: u32| {
        let mut bytes = [0; 15];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        WorkflowId::new(OTHER, bytes)
    };
    let write = |n: u32| {
        let name = if n.is_multiple_of(2) { "even" } else { "odd" };
        let attributes = Attributes::from([
            (name.to_owned(), AttributeValue::Boolean(true)),
            ("number".to_owned(), AttributeValue::Integer(i64::from(n))),
        ]);
        let columns = WorkflowColumns {
            tenant: "many".to_owned(),
            started_ms: i64::from(n / 3),
            attributes: column_of(&attributes),
            retention: None,
            ..columns(1)
        };
        let key = StartKey {
            tenant: "many".to_owned(),
            key_hash: format!("{n:064}"),
        };
        let first = first_write(1);
        Write {
            workflow: id(n),
            batch: i64::from(n) + 1,
            attributes: Some(entries(columns.attributes.as_deref())),
            start: first.start.map(|it| StartRecord {
                key,
                workflow: id(n),
                ..it
            }),
            columns: Some(columns),
            ..first_write(1)
        }
    };
    commit(store, fence, (0..2 * n_of_each).map(write).collect()).await;
    let asked = |attributes: Vec<AttributeFilter>| ListFilter {
        tenant: "many".to_owned(),
        limit: 9,
        attributes,
        ..ListFilter::default()
    };

    let mut never = asked(vec![is("even", "true"), is("odd", "true")]);
    let counted = lists.count(&never).await.unwrap();
    assert_eq!((counted.n, counted.is_exact), (0, true));
    let first = lists.page(&never).await.unwrap();
    assert_eq!(first.rows, []);
    never.after = first.next;
    assert!(never.after.is_some(), "there are entries left to judge");
    let mut n_pages = 1;
    while never.after.is_some() {
        let page = lists.page(&never).await.unwrap();
        assert_eq!(page.rows, []);
        never.after = page.next;
        n_pages += 1;
    }
    assert!(n_pages <= n_of_each / EXAMINED_MAX + 2, "{n_pages} pages");

    // What is rare is found on the first page, though the list is in another order and long.
    let few = within("number", 3, Some(6));
    for attributes in [
        vec![is("odd", "true"), few.clone()],
        vec![few, is("odd", "true")],
        vec![
            is("odd", "true"),
            within("number", 0, None),
            within("number", 3, Some(6)),
        ],
    ] {
        let page = lists.page(&asked(attributes)).await.unwrap();
        let found: Vec<WorkflowId> = page.rows.iter().map(|it| it.workflow).collect();
        assert_eq!((found, page.next), (vec![id(5), id(3)], None));
    }
    // And where nothing is rare, all is found page by page.
    let last = i64::from(n_of_each) * 2 - 1;
    for attributes in [
        vec![is("odd", "true"), within("number", 0, Some(last))],
        vec![within("number", 0, Some(last)), within("number", 1, None)],
    ] {
        let filter = asked(attributes);
        let n_found = lists.count(&filter).await.unwrap();
        let found = all(lists, filter.clone()).await;
        let by_number = filter.attributes.len() == 2 && filter.attributes[0].name == "number";
        let expected = (1..2 * n_of_each - 1).filter(|it| by_number || it % 2 == 1);
        let expected: Vec<WorkflowId> = expected.rev().map(id).collect();
        assert_eq!(found, expected);
        assert_eq!(n_found.is_exact, !by_number);
    }
}

async fn sums(lists: &dyn ListStore, change: &dyn Fn(&mut CountsQuery)) -> BTreeMap<String, i64> {
    let mut query = CountsQuery {
        tenant: "lists".to_owned(),
        basis: Basis::Started,
        days: ALL_DAYS..ALL_DAYS + 1,
        group_by: vec![Dimension::Status],
        statuses: Vec::new(),
        definition: None,
        version: None,
        decision: None,
    };
    change(&mut query);
    let rows = lists.counts(&query).await.unwrap();
    let named = rows.into_iter().map(|it| {
        let words = [
            it.day.map(|it| it.to_string()),
            it.definition,
            it.status,
            it.decision,
        ];
        let words: Vec<String> = words
            .into_iter()
            .flatten()
            .filter(|it| !it.is_empty())
            .collect();
        (words.join(" "), it.n)
    });
    named.collect()
}

fn table<const M: usize>(rows: [(&str, i64); M]) -> BTreeMap<String, i64> {
    rows.into_iter()
        .map(|(name, n)| (name.to_owned(), n))
        .collect()
}

async fn counts_follow_every_change(store: &dyn Store, lists: &dyn ListStore, fence: Fence) {
    assert_eq!(
        sums(lists, &|_| {}).await,
        table([("running", 30), ("succeeded", 30)])
    );
    let by_day = sums(lists, &|it| {
        it.days = 20_000..20_002;
        it.group_by = vec![Dimension::Day];
    });
    assert_eq!(by_day.await, table([("20000", 20), ("20001", 20)]));
    let closed = sums(lists, &|it| {
        (it.basis, it.days) = (Basis::Closed, 20_001..20_002);
        it.group_by = vec![Dimension::Decision];
    });
    assert_eq!(closed.await, table([("approved", 5), ("rejected", 5)]));
    let of_definition = sums(lists, &|it| it.definition = Some("loan".to_owned()));
    assert_eq!(
        of_definition.await,
        table([("running", 6), ("succeeded", 6)])
    );
    let in_all = sums(lists, &|it| {
        it.group_by = Vec::new();
        it.statuses = vec!["running".to_owned(), "failed".to_owned()];
    });
    assert_eq!(in_all.await, table([("", 30)]));

    // 0 ends, and 1 runs again.
    let before = [columns(0), columns(1)];
    let mut ended = before[0].clone();
    "failed".clone_into(&mut ended.status);
    ended.waiting_for = None;
    ended.closed_ms = Some(20_001 * DAY_MS);
    let mut redriven = before[1].clone();
    "running".clone_into(&mut redriven.status);
    (redriven.decision, redriven.closed_ms) = (None, None);
    let [first, second] =
        [(0, &before[0], &ended), (1, &before[1], &redriven)].map(|(n, before, now)| Write {
            batch: i64::from(N + n) + 1,
            first_sequence: 2,
            sequence: 2,
            before: Some(before.clone()),
            columns: Some(now.clone()),
            attributes: None,
            start: None,
            ..first_write(n)
        });
    commit(store, fence, vec![first, second]).await;
    assert_eq!(
        sums(lists, &|_| {}).await,
        table([("failed", 1), ("running", 30), ("succeeded", 29)])
    );
    let closed = sums(lists, &|it| {
        (it.basis, it.days) = (Basis::Closed, 20_001..20_002);
        it.group_by = vec![Dimension::Decision];
    });
    assert_eq!(
        closed.await,
        table([("", 1), ("approved", 4), ("rejected", 5)])
    );
    // And back, for what follows.
    let [first, second] =
        [(0, &ended, &before[0]), (1, &redriven, &before[1])].map(|(n, before, now)| Write {
            batch: i64::from(N + n) + 3,
            first_sequence: 3,
            sequence: 3,
            before: Some(before.clone()),
            columns: Some(now.clone()),
            attributes: None,
            start: None,
            ..first_write(n)
        });
    commit(store, fence, vec![first, second]).await;
    assert_eq!(
        sums(lists, &|_| {}).await,
        table([("running", 30), ("succeeded", 30)])
    );
}

async fn attributes_are_replaced(store: &dyn Store, lists: &dyn ListStore, fence: Fence) {
    let mut changed = columns(0);
    let now = Attributes::from([(
        "branch".to_owned(),
        AttributeValue::Keyword("WEST".to_owned()),
    )]);
    changed.attributes = column_of(&now);
    let write = Write {
        batch: i64::from(N) + 5,
        first_sequence: 4,
        sequence: 4,
        before: Some(columns(0)),
        attributes: Some(entries(changed.attributes.as_deref())),
        columns: Some(changed.clone()),
        start: None,
        ..first_write(0)
    };
    commit(store, fence, vec![write.clone()]).await;
    let found = |name: &str, text: &str| {
        let attributes = vec![is(name, text)];
        all(
            lists,
            ListFilter {
                attributes,
                ..everything()
            },
        )
    };
    assert_eq!(found("branch", "WEST").await, [id(0)]);
    assert!(!found("branch", "NORTH").await.contains(&id(0)));
    assert!(!found("amount", "-5").await.contains(&id(0)));
    let rows = lists.audit_rows(None, 10_000).await.unwrap();
    let row = rows.iter().find(|it| it.workflow == id(0)).unwrap();
    assert_eq!(row.columns, changed);
    assert_eq!(row.attributes, entries(changed.attributes.as_deref()));
    let next = lists.audit_rows(Some(rows[0].workflow), 1).await.unwrap();
    assert_eq!(next[0].workflow, rows[1].workflow);
}

async fn what_has_ended_is_found_by_its_policy(lists: &dyn ListStore) {
    let mut query = EndedQuery {
        retention: "aml-5y".to_owned(),
        closed_before_ms: 20_001 * DAY_MS + 3,
        after: None,
        limit: 2,
    };
    let found = lists.ended(&query).await.unwrap();
    let ended = |n: u8| Ended {
        workflow: id(n),
        closed_ms: started_ms(n) + DAY_MS,
    };
    assert_eq!(found, [ended(1), ended(3)]);
    query.after = found.last().copied();
    assert_eq!(lists.ended(&query).await.unwrap(), [ended(5)]);
    "another".clone_into(&mut query.retention);
    assert_eq!(lists.ended(&query).await.unwrap(), []);
    let last = lists
        .batches_of(&[id(1), id(3), WorkflowId::new(PARTITION, [200; 15])])
        .await;
    let mut last = last.unwrap();
    last.sort_unstable();
    assert_eq!(last, [(id(1), 64), (id(3), 4)]);
}

/// The last commit of a workflow, as batch `batch` of its partition.
fn deletion(n: u8, batch: i64) -> Write {
    Write {
        batch,
        first_sequence: 2,
        sequence: 2,
        before: Some(columns(n)),
        columns: None,
        attributes: None,
        deletion: Some(Deletion {
            started_ms: columns(n).started_ms,
        }),
        start: None,
        ..first_write(n)
    }
}

async fn a_deletion_leaves_one_row_until_it_is_purged(
    store: &dyn Store,
    lists: &dyn ListStore,
    fence: Fence,
) {
    commit(store, fence, vec![deletion(3, 66)]).await;
    assert_eq!(store.load(&[id(3)]).await.unwrap(), []);
    assert_eq!(store.find_starts(&[start_key(3)]).await.unwrap(), []);
    assert_eq!(store.find_starts(&[start_key(2)]).await.unwrap().len(), 1);
    let history = store.history(id(3), 0, 9).await.unwrap();
    assert_eq!(
        history.len(),
        1,
        "only the row that tells of the deletion is left"
    );
    assert!(!all(lists, everything()).await.contains(&id(3)));
    assert_eq!(
        sums(lists, &|_| {}).await,
        table([("running", 30), ("succeeded", 29)])
    );
    let day = sums(lists, &|it| it.days = 20_000..20_001);
    assert_eq!(
        day.await,
        table([("running", 10), ("succeeded", 10)]),
        "days are statistics"
    );
    let gone = sums(lists, &|it| it.basis = Basis::Deleted);
    assert_eq!(gone.await, table([("succeeded", 1)]));

    // The streams have not heard of it.
    let cursor = |batch| Cursor {
        partition: PARTITION,
        batch,
    };
    store.put_cursors(&[cursor(65)], &[fence]).await.unwrap();
    assert_eq!(lists.deleted((0, 0), 9).await.unwrap(), []);
    store.put_cursors(&[cursor(66)], &[fence]).await.unwrap();
    let told = lists.deleted((0, 0), 9).await.unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].workflow, told[0].tenant.as_str(), told[0].batch),
        (id(3), "lists", 66)
    );
    assert_eq!(lists.deleted((PARTITION, 66), 9).await.unwrap(), []);
    lists.purge(PARTITION, &told).await.unwrap();
    assert_eq!(lists.deleted((0, 0), 9).await.unwrap(), []);
    assert_eq!(store.history(id(3), 0, 9).await.unwrap(), []);
    // Its row was the last of the partition, and the number is not given again.
    assert_eq!(store.last_batches(&[PARTITION]).await.unwrap(), [66]);
    let again = acquire(store, PARTITION).await;
    assert_eq!(again.epoch, fence.epoch + 1);
    lists.purge(PARTITION, &told).await.unwrap();
    assert_eq!(store.last_batches(&[PARTITION]).await.unwrap(), [66]);

    // Who delivers a start again that was owed has to find it, though its workflow is gone.
    let owed = StartKey {
        tenant: "lists".to_owned(),
        key_hash: owed_key_hash(id(200)),
    };
    let mut begun = first_write(200);
    begun.batch = 67;
    if let Some(start) = &mut begun.start {
        start.key = owed.clone();
    }
    commit(store, again, vec![begun]).await;
    commit(store, again, vec![deletion(200, 68)]).await;
    assert_eq!(store.load(&[id(200)]).await.unwrap(), []);
    assert_eq!(store.find_starts(&[owed]).await.unwrap().len(), 1);
}
