//! What every [`Store`] must do; each adapter's tests call [`check`] with an empty store.

#![expect(
    clippy::unwrap_used,
    reason = "a rule that is broken ends the test that runs it"
)]

use btrust_schemas::ids::WorkflowId;

use super::{
    AcquireRequest, Batch, Committed, Cursor, EMBEDDED_LEASE_MS, Fence, SnapshotColumns, StartKey,
    StartRecord, StartRequests, Store, StoreError, Takeover, WorkflowColumns, Write,
};

/// Runs every rule against `store`.
///
/// # Panics
///
/// At the first rule that the store breaks.
pub async fn check(store: &dyn Store) {
    what_is_committed_is_read_back(store).await;
    a_write_without_events_replaces_the_snapshot_only(store).await;
    a_refused_batch_leaves_nothing_behind(store).await;
    only_what_changed_is_needed_and_an_incident_lasts_until_the_next_commit(store).await;
    the_outbox_is_read_in_order_from_a_cursor(store).await;
    an_earlier_owner_and_an_ended_lease_are_fenced(store).await;
    a_key_moves_to_another_workflow_from_the_one_that_it_means(store).await;
}

fn workflow(partition: u8, n: u8) -> WorkflowId {
    WorkflowId::new(partition, [n; 15])
}

fn start_key(n: u8) -> StartKey {
    StartKey {
        tenant: "acme".to_owned(),
        key_hash: format!("{n:064}"),
    }
}

/// The first commit of a workflow, as batch `batch` of its partition.
pub(crate) fn first_write(id: WorkflowId, n: u8, batch: i64) -> Write {
    Write {
        workflow: id,
        batch,
        first_sequence: 1,
        sequence: 3,
        committed_ms: 1_000 + batch,
        sealed_events: vec![n; 40],
        public: format!("{{\"n\":{n}}}\n"),
        snapshot: SnapshotColumns {
            chain: "c".repeat(64),
            n_audit: 1,
            n_analytics: 2,
            is_open: true,
            n_turns: 1,
            n_prompts: 0,
            n_signals: 2,
            wake_at_ms: Some(5_000),
            n_owed: i64::from(n),
            children: (n == 1).then(|| "wf_a wf_b".to_owned()),
        },
        sealed_snapshot: vec![n; 60],
        columns: Some(WorkflowColumns {
            tenant: "acme".to_owned(),
            definition: "onboarding".to_owned(),
            version: 3,
            subject: None,
            locale: "en".to_owned(),
            status: "running".to_owned(),
            waiting_for: Some("applicant".to_owned()),
            decision: None,
            started_ms: 100 + i64::from(n / 2),
            restart_of: Some(workflow(9, n)),
            ..WorkflowColumns::default()
        }),
        before: None,
        attributes: None,
        deletion: None,
        acts: None,
        keeps_incident: false,
        start: Some(StartRecord {
            key: start_key(n),
            digest: "d".repeat(64),
            workflow: id,
            replaces: None,
            requests: StartRequests::default(),
        }),
    }
}

async fn acquire(
    store: &dyn Store,
    partitions: &[u8],
    lease_ms: i64,
    takeover: Takeover,
) -> Vec<Fence> {
    let request = AcquireRequest {
        owner: "conformance".to_owned(),
        partitions: partitions.to_vec(),
        lease_ms,
        takeover,
    };
    let acquired = store.acquire(&request).await.unwrap();
    assert_eq!(acquired.incarnation, 1);
    let fence = |it: &super::OwnedPartition| Fence {
        partition: it.partition,
        epoch: it.epoch,
    };
    acquired.partitions.iter().map(fence).collect()
}

async fn what_is_committed_is_read_back(store: &dyn Store) {
    let fences = acquire(store, &[1, 2], EMBEDDED_LEASE_MS, Takeover::Always).await;
    let writes = vec![
        first_write(workflow(1, 1), 1, 1),
        first_write(workflow(1, 2), 2, 2),
        first_write(workflow(2, 3), 3, 1),
    ];
    let batch = Batch {
        fences: fences.clone(),
        writes: writes.clone(),
        shard: 0,
    };
    assert_eq!(store.commit(&batch).await.unwrap(), Committed::default());
    assert_eq!(store.last_batches(&[1, 2, 9]).await.unwrap(), [2, 1, 0]);

    let absent = workflow(1, 99);
    let mut records = store
        .load(&[workflow(2, 3), absent, workflow(1, 1)])
        .await
        .unwrap();
    records.sort_by_key(|it| it.workflow);
    assert_eq!(records.len(), 2);
    let (record, write) = (&records[0], &writes[0]);
    assert_eq!(record.workflow, write.workflow);
    assert_eq!(Some(&record.columns), write.columns.as_ref());
    assert_eq!(record.snapshot, write.snapshot);
    assert_eq!((record.sequence, &record.incident), (3, &None));
    assert_eq!(record.sealed_snapshot, write.sealed_snapshot);

    let page = store.open_workflows(1, None, 1).await.unwrap();
    assert_eq!(page.len(), 1);
    assert_eq!(
        (page[0].workflow, page[0].n_turns, page[0].wake_at_ms),
        (workflow(1, 1), 1, Some(5_000))
    );
    assert_eq!(
        (page[0].n_owed, page[0].children.as_deref()),
        (1, Some("wf_a wf_b"))
    );
    let page = store
        .open_workflows(1, Some(page[0].workflow), 10)
        .await
        .unwrap();
    assert_eq!(
        page.iter().map(|it| it.workflow).collect::<Vec<_>>(),
        [workflow(1, 2)]
    );

    let started = store
        .find_starts(&[start_key(2), start_key(77)])
        .await
        .unwrap();
    assert_eq!(started, [writes[1].start.clone().unwrap()]);

    let again = acquire(store, &[1], EMBEDDED_LEASE_MS, Takeover::Always).await;
    assert_eq!(again[0].epoch, fences[0].epoch + 1);
}

async fn a_write_without_events_replaces_the_snapshot_only(store: &dyn Store) {
    let fences = acquire(store, &[1], EMBEDDED_LEASE_MS, Takeover::Always).await;
    let id = workflow(1, 2);
    let before = store.load(&[id]).await.unwrap().remove(0);
    let mut quiet = Write {
        first_sequence: 0,
        sealed_events: Vec::new(),
        public: String::new(),
        sealed_snapshot: vec![9; 61],
        columns: None,
        start: None,
        ..first_write(id, 2, 2)
    };
    quiet.snapshot.wake_at_ms = Some(6_000);
    let writes = vec![quiet.clone()];
    store
        .commit(&Batch {
            fences,
            writes,
            shard: 0,
        })
        .await
        .unwrap();
    let record = store.load(&[id]).await.unwrap().remove(0);
    assert_eq!(record.sealed_snapshot, quiet.sealed_snapshot);
    assert_eq!(record.snapshot, quiet.snapshot);
    assert_eq!(
        (record.sequence, record.columns),
        (before.sequence, before.columns)
    );
    assert_eq!(store.last_batches(&[1]).await.unwrap(), [2]);
    assert_eq!(store.history(id, 0, 10).await.unwrap().len(), 1);
}

async fn a_refused_batch_leaves_nothing_behind(store: &dyn Store) {
    let fences = acquire(store, &[1], EMBEDDED_LEASE_MS, Takeover::Always).await;
    let good = first_write(workflow(1, 10), 10, 3);
    // Its start key is taken, and it comes after the good one.
    let bad = Write {
        start: first_write(workflow(1, 11), 1, 4).start,
        ..first_write(workflow(1, 11), 11, 4)
    };
    let error = store
        .commit(&Batch {
            fences,
            writes: vec![good, bad],
            shard: 0,
        })
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::DataRefused(_)), "{error:?}");
    assert_eq!(store.last_batches(&[1]).await.unwrap(), [2]);
    assert_eq!(store.load(&[workflow(1, 10)]).await.unwrap(), []);
    assert_eq!(store.find_starts(&[start_key(10)]).await.unwrap(), []);
}

async fn only_what_changed_is_needed_and_an_incident_lasts_until_the_next_commit(
    store: &dyn Store,
) {
    let fences = acquire(store, &[1], EMBEDDED_LEASE_MS, Takeover::Always).await;
    let id = workflow(1, 1);
    let stale = Fence {
        epoch: fences[0].epoch - 1,
        ..fences[0]
    };
    let marked = store.put_incident(id, "stale", stale).await.unwrap();
    assert_eq!(marked.fenced, [1]);
    assert_eq!(store.load(&[id]).await.unwrap()[0].incident, None);
    let marked = store.put_incident(id, "evaluation_limit", fences[0]).await;
    assert_eq!(marked.unwrap(), Committed::default());
    let incident = store.load(&[id]).await.unwrap()[0].incident.clone();
    assert_eq!(incident.as_deref(), Some("evaluation_limit"));
    // A note about it leaves the mark.
    let record = store.load(&[id]).await.unwrap().remove(0);
    let note = Write {
        sequence: record.sequence,
        first_sequence: record.sequence,
        sealed_events: Vec::new(),
        public: String::new(),
        snapshot: record.snapshot.clone(),
        sealed_snapshot: record.sealed_snapshot.clone(),
        columns: Some(WorkflowColumns {
            legal_hold: true,
            ..record.columns.clone()
        }),
        before: Some(record.columns.clone()),
        start: None,
        keeps_incident: true,
        ..first_write(id, 1, 0)
    };
    let batch = Batch {
        fences: fences.clone(),
        writes: vec![note],
        shard: 0,
    };
    store.commit(&batch).await.unwrap();
    let held = store.load(&[id]).await.unwrap().remove(0);
    assert!(held.columns.legal_hold);
    assert_eq!(
        (held.incident, held.snapshot),
        (record.incident, record.snapshot)
    );

    let mut second = first_write(id, 1, 3);
    second.first_sequence = 4;
    second.sequence = 9;
    second.snapshot.is_open = false;
    second.columns = None;
    second.start = None;
    store
        .commit(&Batch {
            fences,
            writes: vec![second.clone()],
            shard: 0,
        })
        .await
        .unwrap();
    let record = store.load(&[id]).await.unwrap().remove(0);
    assert_eq!((record.sequence, &record.incident), (9, &None));
    assert_eq!(record.columns.started_ms, 100);
    assert_eq!(store.open_workflows(1, None, 10).await.unwrap().len(), 1);

    let spans = |rows: Vec<super::JournalRow>| -> Vec<(i64, i64)> {
        rows.iter()
            .map(|it| (it.first_sequence, it.sequence))
            .collect()
    };
    assert_eq!(
        spans(store.history(id, 0, 10).await.unwrap()),
        [(1, 3), (4, 9)]
    );
    assert_eq!(spans(store.history(id, 0, 1).await.unwrap()), [(1, 3)]);
    assert_eq!(spans(store.history(id, 3, 10).await.unwrap()), [(4, 9)]);
    // In the middle of a row: the row is the answer.
    assert_eq!(spans(store.history(id, 5, 10).await.unwrap()), [(4, 9)]);
    assert_eq!(spans(store.history(id, 9, 10).await.unwrap()), []);
}

async fn the_outbox_is_read_in_order_from_a_cursor(store: &dyn Store) {
    let batches =
        |rows: Vec<super::OutboxRow>| -> Vec<i64> { rows.iter().map(|it| it.batch).collect() };
    assert_eq!(batches(store.outbox(1, 0, 10).await.unwrap()), [1, 2, 3]);
    assert_eq!(batches(store.outbox(1, 1, 1).await.unwrap()), [2]);
    assert_eq!(
        store.outbox(2, 0, 10).await.unwrap()[0].public,
        "{\"n\":3}\n"
    );

    assert_eq!(store.cursors().await.unwrap(), []);
    let (first, second) = (
        Cursor {
            partition: 1,
            batch: 2,
        },
        Cursor {
            partition: 2,
            batch: 1,
        },
    );
    let fences = acquire(store, &[1, 2], EMBEDDED_LEASE_MS, Takeover::Always).await;
    let stored = store.put_cursors(&[first, second], &fences).await.unwrap();
    assert_eq!(stored, Committed::default());
    let first = Cursor {
        partition: 1,
        batch: 3,
    };
    store.put_cursors(&[first], &fences[..1]).await.unwrap();
    // A relay that was overtaken moves nothing back.
    let stale = Fence {
        epoch: fences[0].epoch - 1,
        ..fences[0]
    };
    let back = Cursor { batch: 1, ..first };
    let stored = store.put_cursors(&[back], &[stale]).await.unwrap();
    assert_eq!(stored.fenced, [1]);
    assert_eq!(store.cursors().await.unwrap(), [first, second]);
}

async fn an_earlier_owner_and_an_ended_lease_are_fenced(store: &dyn Store) {
    let stale = acquire(store, &[4, 5], EMBEDDED_LEASE_MS, Takeover::Always).await;
    assert_eq!(
        acquire(store, &[5], EMBEDDED_LEASE_MS, Takeover::WhenExpired).await,
        []
    );
    let newer = acquire(store, &[5], EMBEDDED_LEASE_MS, Takeover::Always).await;

    let writes = vec![
        first_write(workflow(4, 40), 40, 1),
        first_write(workflow(5, 50), 50, 1),
    ];
    let committed = store
        .commit(&Batch {
            fences: stale,
            writes,
            shard: 0,
        })
        .await
        .unwrap();
    assert_eq!(committed.fenced, [5]);
    assert_eq!(store.last_batches(&[4, 5]).await.unwrap(), [1, 0]);

    let writes = vec![first_write(workflow(5, 50), 50, 1)];
    let committed = store
        .commit(&Batch {
            fences: newer,
            writes,
            shard: 0,
        })
        .await
        .unwrap();
    assert_eq!(committed, Committed::default());

    let ended = acquire(store, &[6], 0, Takeover::Always).await;
    let writes = vec![first_write(workflow(6, 60), 60, 1)];
    let committed = store
        .commit(&Batch {
            fences: ended,
            writes,
            shard: 0,
        })
        .await
        .unwrap();
    assert_eq!(committed.fenced, [6]);
    assert_eq!(
        acquire(store, &[6], EMBEDDED_LEASE_MS, Takeover::WhenExpired)
            .await
            .len(),
        1
    );
}

async fn a_key_moves_to_another_workflow_from_the_one_that_it_means(store: &dyn Store) {
    let fences = acquire(store, &[7], EMBEDDED_LEASE_MS, Takeover::Always).await;
    let [first, second, third] = [60, 61, 62].map(|n| workflow(7, n));
    let commit = async |id, n, batch, replaces| {
        let mut write = first_write(id, n, batch);
        write.start = Some(StartRecord {
            key: start_key(60),
            digest: "e".repeat(64),
            workflow: id,
            replaces,
            requests: StartRequests::default().and(n.to_string(), id),
        });
        if let Some(columns) = &mut write.columns {
            "movers".clone_into(&mut columns.tenant);
        }
        let batch = Batch {
            fences: fences.clone(),
            writes: vec![write],
            shard: 7,
        };
        store.commit(&batch).await
    };
    let meant = async || store.find_starts(&[start_key(60)]).await.unwrap()[0].workflow;
    commit(first, 60, 1, None).await.unwrap();
    assert_eq!(meant().await, first);
    commit(second, 61, 2, Some(first)).await.unwrap();
    assert_eq!(meant().await, second);
    let requests = StartRequests::default().and("61".to_owned(), second);
    let started = store.find_starts(&[start_key(60)]).await.unwrap();
    assert_eq!(started[0].requests, requests);
    let refused = commit(third, 62, 3, Some(first)).await.unwrap_err();
    assert!(matches!(refused, StoreError::DataRefused(_)), "{refused:?}");
    assert_eq!(meant().await, second);
    assert_eq!(store.load(&[third]).await.unwrap(), []);
}
