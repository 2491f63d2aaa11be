//! Starting: once for a key, many in one commit.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::json;

use btrust_schemas::core::{ListQuery, Status};

use crate::world::{TENANT, World, any_file_has, start_request};

#[tokio::test]
pub async fn a_hundred_starts_with_one_key_make_one_workflow() {
    let node = World::new().node().await;
    let answers = join_all((0..100).map(|_| node.start("one"))).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    let ids: BTreeSet<_> = answers.iter().map(|it| it.workflow.id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(answers.iter().filter(|it| it.created).count(), 1);

    let mut other = start_request("one");
    other.request_digest = "2".repeat(64);
    assert_eq!(
        node.engine.start_workflow(other).await.unwrap_err().code(),
        "idempotency_key_reused"
    );
    let mut elsewhere = start_request("one");
    elsewhere.tenant = "other".to_owned();
    assert_eq!(
        node.engine
            .start_workflow(elsewhere)
            .await
            .unwrap_err()
            .code(),
        "definition_unknown"
    );
}

#[tokio::test]
pub async fn starts_that_arrive_together_share_a_commit() {
    let node = World::new().node().await;
    let keys: Vec<String> = (0..300).map(|it| it.to_string()).collect();
    let answers = join_all(keys.iter().map(|it| node.start(it))).await;
    let ids: BTreeSet<_> = answers
        .into_iter()
        .map(|it| it.unwrap().workflow.id)
        .collect();
    assert_eq!(ids.len(), 300);
    assert!(
        node.store.n_commits() <= 30,
        "{} commits",
        node.store.n_commits()
    );
}

#[tokio::test]
async fn a_start_is_refused_for_what_is_wrong_with_it() {
    let node = World::new().node().await;
    let refused = |change: &dyn Fn(&mut btrust_schemas::core::StartRequest)| {
        let mut request = start_request("key");
        change(&mut request);
        let engine = node.engine.clone();
        async move { engine.start_workflow(request).await.unwrap_err() }
    };
    let error = refused(&|it| it.definition = "nothing".to_owned()).await;
    assert_eq!((error.code(), error.status()), ("definition_unknown", 404));
    let error = refused(&|it| it.version = Some(9)).await;
    assert_eq!((error.code(), error.status()), ("definition_unknown", 404));
    let error = refused(&|it| it.input = json!({ "secret": 7 })).await;
    assert_eq!((error.code(), error.status()), ("input_invalid", 422));
    assert_eq!(error.problem().errors.len(), 1);
    let error = refused(&|it| it.idempotency_key = "k".repeat(256)).await;
    assert_eq!(
        (error.code(), error.status()),
        ("idempotency_key_invalid", 400)
    );
    assert_eq!(node.store.n_commits(), 0);
}

#[tokio::test]
pub async fn a_list_is_paged_and_shows_only_the_tenants_own() {
    let node = World::new().node().await;
    let mut started = BTreeSet::new();
    for key in ["a", "b", "c", "d", "e"] {
        started.insert(node.started(key).await);
    }
    let query = |cursor| ListQuery {
        tenant: TENANT.to_owned(),
        status: Some(Status::Running),
        limit: Some(2),
        cursor,
        ..ListQuery::default()
    };
    let mut listed = BTreeSet::new();
    let (mut cursor, mut n_pages) = (None, 0);
    loop {
        let page = node.engine.list(query(cursor)).await.unwrap();
        listed.extend(page.workflows.iter().map(|it| it.id));
        n_pages += 1;
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((listed, n_pages), (started.clone(), 3));

    let others = ListQuery {
        tenant: "other".to_owned(),
        ..ListQuery::default()
    };
    assert!(node.engine.list(others).await.unwrap().workflows.is_empty());
    let id = started.pop_first().unwrap();
    assert_eq!(
        node.engine.view("other", id).await.unwrap_err().status(),
        404
    );
    assert_eq!(
        node.engine
            .history("other", id, 0, None)
            .await
            .unwrap_err()
            .status(),
        404
    );
    let broken = node
        .engine
        .list(query(Some("nonsense".to_owned())))
        .await
        .unwrap_err();
    assert_eq!(broken.code(), "cursor_invalid");
}

#[tokio::test]
async fn no_file_has_what_a_workflow_was_told() {
    let world = World::new();
    let node = world.node().await;
    let mut request = start_request("key");
    request.subject_ref = Some("customer-4711".to_owned());
    let id = node
        .engine
        .start_workflow(request)
        .await
        .unwrap()
        .workflow
        .id;
    node.stop().await;
    assert!(any_file_has(world.dir.path(), id.to_string().as_bytes()));
    for private in ["only-for-the-step", "customer-4711"] {
        assert!(
            !any_file_has(world.dir.path(), private.as_bytes()),
            "{private}"
        );
    }
}
