//! Schedules: every time once, by a clock that the test moves.

use chrono::DateTime;
use serde_json::json;

use btrust_platform::clock::rfc3339;
use btrust_schemas::core::{ListQuery, Status};
use btrust_schemas::schedules::{
    CatchUp, NewScheduleRequest, Overlap, ScheduleAct, ScheduleRequest, ScheduleSpec, ScheduleView,
    TriggerRequest,
};
use btrust_schemas::search::ListedWorkflow;

use crate::world::{Fault, NOW_MS, Node, Plan, TENANT, WAIT_MS, Worker, World, complete};

const MINUTE_MS: i64 = 60_000;

/// Every full minute; the clock of a test begins at one.
fn minutely() -> ScheduleSpec {
    ScheduleSpec {
        definition: "flow".to_owned(),
        version: None,
        input: json!({ "secret": "only-for-the-schedule" }),
        cron: "* * * * *".to_owned(),
        time_zone: "UTC".to_owned(),
        overlap: Overlap::Allow,
        catch_up: CatchUp::Last,
        jitter_seconds: 0,
    }
}

async fn create(node: &Node, name: &str, spec: ScheduleSpec) -> ScheduleView {
    let request = NewScheduleRequest {
        tenant: TENANT.to_owned(),
        spec,
        actor: "admin".to_owned(),
    };
    node.engine.create_schedule(name, request).await.unwrap()
}

async fn get(node: &Node, name: &str) -> ScheduleView {
    node.engine.schedules().get(TENANT, name).await.unwrap()
}

fn act(tag: Option<String>) -> ScheduleAct {
    ScheduleAct {
        tenant: TENANT.to_owned(),
        tag,
        actor: "operator".to_owned(),
    }
}

pub async fn started(node: &Node) -> Vec<ListedWorkflow> {
    let query = ListQuery {
        tenant: TENANT.to_owned(),
        definition: Some("flow".to_owned()),
        ..ListQuery::default()
    };
    node.engine.list(query).await.unwrap().workflows
}

/// Moves the clock, and waits until the schedule has noted that the time before is done with.
async fn pass(world: &World, node: &Node, name: &str, to_ms: i64) -> ScheduleView {
    world.clock.set(to_ms);
    node.engine.wake().await;
    loop {
        let view = get(node, name).await;
        let last = view.last.as_ref().map(|it| it.at.clone());
        if last.is_some_and(|it| rfc3339(to_ms - MINUTE_MS) < it) {
            return view;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
pub async fn a_schedule_starts_a_workflow_at_each_of_its_times() {
    let world = World::new();
    let node = world.node().await;
    let created = create(&node, "minutely", minutely()).await;
    let expected: Vec<String> = (1..=5).map(|it| rfc3339(NOW_MS + it * MINUTE_MS)).collect();
    assert_eq!((created.next, created.last), (expected, None));
    assert!(started(&node).await.is_empty());

    let view = pass(&world, &node, "minutely", NOW_MS + MINUTE_MS).await;
    let last = view.last.unwrap();
    let workflows = started(&node).await;
    assert_eq!(workflows.len(), 1);
    assert_eq!((last.workflow, last.error), (Some(workflows[0].id), None));
    let shown = node.engine.view(TENANT, workflows[0].id).await.unwrap();
    assert_eq!(shown.lineage.schedule.as_deref(), Some("minutely"));
    assert_eq!(view.next[0], rfc3339(NOW_MS + 2 * MINUTE_MS));
    let turn = Worker::new("a").take(&node).await;
    assert_eq!(turn.arguments["secret"], "only-for-the-schedule");

    pass(&world, &node, "minutely", NOW_MS + 2 * MINUTE_MS).await;
    assert_eq!(started(&node).await.len(), 2);
    // The input is in no file as it is.
    node.stop().await;
    assert!(!crate::world::any_file_has(
        world.dir.path(),
        b"only-for-the-schedule"
    ));
}

#[tokio::test]
async fn the_workflow_before_is_waited_for_left_alone_or_cancelled() {
    for (overlap, n_started, first_status) in [
        (Overlap::Skip, 1, Status::Running),
        (Overlap::Allow, 2, Status::Running),
        (Overlap::Cancel, 2, Status::Cancelled),
    ] {
        let world = World::new();
        let node = world.node().await;
        let spec = ScheduleSpec {
            overlap,
            ..minutely()
        };
        create(&node, "busy", spec).await;
        let view = pass(&world, &node, "busy", NOW_MS + MINUTE_MS).await;
        let first = view.last.unwrap().workflow.unwrap();
        let view = pass(&world, &node, "busy", NOW_MS + 2 * MINUTE_MS).await;
        assert_eq!(started(&node).await.len(), n_started, "{overlap:?}");
        let status = node.engine.view(TENANT, first).await.unwrap().status;
        assert_eq!(status, first_status, "{overlap:?}");
        let skipped = (overlap == Overlap::Skip).then(|| "skipped".to_owned());
        assert_eq!(view.last.unwrap().error, skipped, "{overlap:?}");
    }
}

#[tokio::test]
async fn a_schedule_goes_on_when_the_workflow_before_has_ended() {
    let world = World::new();
    let node = world.node().await;
    let spec = ScheduleSpec {
        overlap: Overlap::Skip,
        ..minutely()
    };
    create(&node, "busy", spec).await;
    let view = pass(&world, &node, "busy", NOW_MS + MINUTE_MS).await;
    let first = view.last.unwrap().workflow.unwrap();
    let mut worker = Worker::new("a");
    for outcome in ["submitted", "approved"] {
        let key = worker.take(&node).await.key;
        worker.report(&node, complete(key, outcome)).await;
    }
    let result = node.engine.result(TENANT, first, WAIT_MS).await.unwrap();
    assert_eq!(result.status, Status::Succeeded);
    let view = pass(&world, &node, "busy", NOW_MS + 2 * MINUTE_MS).await;
    assert_eq!(view.last.unwrap().error, None);
    assert_eq!(started(&node).await.len(), 2);
}

#[tokio::test]
async fn what_was_missed_is_made_up_for_as_the_schedule_says() {
    for (catch_up, expected) in [(CatchUp::None, 0), (CatchUp::Last, 1), (CatchUp::All, 3)] {
        let world = World::new();
        let node = world.node().await;
        let spec = ScheduleSpec {
            catch_up,
            cron: "0 */8 * * *".to_owned(),
            ..minutely()
        };
        create(&node, "down", spec).await;
        node.stop().await;
        // Nobody is there for a day and a little.
        let back_ms = NOW_MS + 24 * 60 * MINUTE_MS;
        world.clock.set(back_ms + 90_000);
        let node = world.node().await;
        loop {
            let last = get(&node, "down").await.last;
            if let Some(last) = last.filter(|it| it.at == rfc3339(back_ms)) {
                let missed = (catch_up == CatchUp::None).then(|| "missed".to_owned());
                assert_eq!(last.error, missed);
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(started(&node).await.len(), expected, "{catch_up:?}");
    }
}

#[tokio::test]
async fn a_schedule_that_is_paused_starts_nothing_and_makes_up_for_nothing() {
    let world = World::new();
    let node = world.node().await;
    create(&node, "resting", minutely()).await;
    let paused = node
        .engine
        .schedules()
        .pause("resting", &act(None))
        .await
        .unwrap();
    assert!(paused.paused && paused.next.is_empty());
    world.clock.set(NOW_MS + 10 * MINUTE_MS);
    node.engine.wake().await;
    let resumed = node
        .engine
        .schedules()
        .resume("resting", &act(None))
        .await
        .unwrap();
    assert_eq!(resumed.next[0], rfc3339(NOW_MS + 11 * MINUTE_MS));
    pass(&world, &node, "resting", NOW_MS + 11 * MINUTE_MS).await;
    assert_eq!(started(&node).await.len(), 1);
}

#[tokio::test]
pub async fn a_schedule_changes_only_as_its_caller_has_seen_it() {
    let world = World::new();
    let node = world.node().await;
    let created = create(&node, "nightly", minutely()).await;
    let replace = |tag: Option<String>, cron: &str| {
        let spec = ScheduleSpec {
            cron: cron.to_owned(),
            time_zone: "Asia/Jerusalem".to_owned(),
            ..minutely()
        };
        let request = ScheduleRequest {
            tenant: TENANT.to_owned(),
            spec,
            tag,
            actor: "operator".to_owned(),
        };
        node.engine.replace_schedule("nightly", request)
    };
    let changed = replace(Some(created.tag.clone()), "0 3 * * *")
        .await
        .unwrap();
    assert_ne!(changed.tag, created.tag);
    assert_eq!(changed.changed_by, "operator");
    let at = DateTime::parse_from_rfc3339(&changed.next[0]).unwrap();
    let zone: chrono_tz::Tz = "Asia/Jerusalem".parse().unwrap();
    assert_eq!(at.with_timezone(&zone).format("%H:%M").to_string(), "03:00");
    for (tag, cron, code) in [
        (Some(created.tag.clone()), "0 4 * * *", "schedule_changed"),
        (None, "0 4 * *", "cron_invalid"),
        (None, "0 0 31 2 *", "cron_never"),
    ] {
        assert_eq!(replace(tag, cron).await.unwrap_err().code(), code);
    }
    let stale = node
        .engine
        .schedules()
        .delete("nightly", &act(Some(created.tag)))
        .await;
    assert_eq!(stale.unwrap_err().status(), 412);
    node.engine
        .schedules()
        .delete("nightly", &act(Some(changed.tag)))
        .await
        .unwrap();
    let gone = node
        .engine
        .schedules()
        .get(TENANT, "nightly")
        .await
        .unwrap_err();
    assert_eq!((gone.code(), gone.status()), ("schedule_unknown", 404));
    let again = node.engine.schedules().delete("nightly", &act(None)).await;
    assert_eq!(again.unwrap_err().code(), "schedule_unknown");
}

#[tokio::test]
async fn what_could_never_start_is_refused() {
    let world = World::new();
    let node = world.node().await;
    create(&node, "taken", minutely()).await;
    let try_it = async |name: &str, spec: ScheduleSpec| {
        let request = NewScheduleRequest {
            tenant: TENANT.to_owned(),
            spec,
            actor: "admin".to_owned(),
        };
        let refused = node.engine.create_schedule(name, request).await;
        refused.unwrap_err().code().to_owned()
    };
    assert_eq!(try_it("taken", minutely()).await, "schedule_exists");
    assert_eq!(
        try_it("no spaces", minutely()).await,
        "schedule_name_invalid"
    );
    let spec = ScheduleSpec {
        definition: "nowhere".to_owned(),
        ..minutely()
    };
    assert_eq!(try_it("new", spec).await, "definition_unknown");
    let spec = ScheduleSpec {
        input: json!({}),
        ..minutely()
    };
    assert_eq!(try_it("new", spec).await, "input_invalid");
    let spec = ScheduleSpec {
        time_zone: "Atlantis".to_owned(),
        ..minutely()
    };
    assert_eq!(try_it("new", spec).await, "time_zone_invalid");
    let spec = ScheduleSpec {
        jitter_seconds: 3_601,
        ..minutely()
    };
    assert_eq!(try_it("new", spec).await, "jitter_invalid");
}

#[tokio::test]
async fn a_trigger_starts_once_for_each_key() {
    let world = World::new();
    let node = world.node().await;
    let spec = ScheduleSpec {
        cron: "0 0 1 1 *".to_owned(),
        ..minutely()
    };
    create(&node, "yearly", spec).await;
    let trigger = async |key: &str| {
        let request = TriggerRequest {
            tenant: TENANT.to_owned(),
            idempotency_key: key.to_owned(),
            actor: "operator".to_owned(),
        };
        let triggered = node.engine.trigger_schedule("yearly", request).await;
        triggered.unwrap().workflow
    };
    let first = trigger("1").await;
    assert_eq!(first.lineage.schedule.as_deref(), Some("yearly"));
    assert_eq!(trigger("1").await.id, first.id);
    assert_ne!(trigger("2").await.id, first.id);
    // The times of the schedule are as they were.
    assert_eq!(get(&node, "yearly").await.last, None);
}

#[tokio::test]
pub async fn a_time_is_fired_once_whatever_commit_the_process_dies_at() {
    for fault in [
        Fault::DiesBefore,
        Fault::DiesAfter,
        Fault::UnknownPresent,
        Fault::Unavailable,
    ] {
        let world = World::new();
        let plan = Plan {
            fault: Some((1, fault)),
            ..Plan::default()
        };
        let node = world.node_with(plan).await;
        create(&node, "minutely", minutely()).await;
        world.clock.set(NOW_MS + MINUTE_MS);
        node.engine.wake().await;
        node.store.fired().await;
        let after = world.node().await;
        let view = pass(&world, &after, "minutely", NOW_MS + MINUTE_MS).await;
        assert_eq!(view.last.unwrap().error, None, "{fault:?}");
        pass(&world, &after, "minutely", NOW_MS + 2 * MINUTE_MS).await;
        assert_eq!(started(&after).await.len(), 2, "{fault:?}");
    }
}

#[tokio::test]
pub async fn a_schedule_whose_making_was_not_heard_of_is_fired_all_the_same() {
    let world = World::new();
    let plan = Plan {
        n_lost_answers: 1,
        ..Plan::default()
    };
    let node = world.node_with(plan).await;
    let request = || NewScheduleRequest {
        tenant: TENANT.to_owned(),
        spec: minutely(),
        actor: "admin".to_owned(),
    };
    let lost = node.engine.create_schedule("minutely", request()).await;
    assert_eq!(lost.unwrap_err().status(), 503);
    let again = node.engine.create_schedule("minutely", request()).await;
    assert_eq!(again.unwrap_err().code(), "schedule_exists");
    pass(&world, &node, "minutely", NOW_MS + MINUTE_MS).await;
    assert_eq!(started(&node).await.len(), 1);
}

#[tokio::test]
pub async fn a_schedule_whose_change_was_not_heard_of_is_fired_as_it_was_changed() {
    let world = World::new();
    let node = world.node().await;
    let hourly = ScheduleSpec {
        cron: "0 * * * *".to_owned(),
        ..minutely()
    };
    create(&node, "changing", hourly).await;
    node.stop().await;
    let plan = Plan {
        n_lost_answers: 1,
        ..Plan::default()
    };
    let node = world.node_with(plan).await;
    let request = ScheduleRequest {
        tenant: TENANT.to_owned(),
        spec: minutely(),
        tag: None,
        actor: "admin".to_owned(),
    };
    let lost = node.engine.replace_schedule("changing", request).await;
    assert_eq!(lost.unwrap_err().status(), 503);
    pass(&world, &node, "changing", NOW_MS + MINUTE_MS).await;
    assert_eq!(started(&node).await.len(), 1);
}

/// Leaves an act whose answer never comes, as soon as it is carried out.
async fn leave<T>(act: impl Future<Output = T>, is_done: impl AsyncFn() -> bool) {
    let done = async {
        while !is_done().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        _ = act => panic!("the answer has come"),
        () = done => {}
    }
}

#[tokio::test]
pub async fn a_schedule_whose_maker_has_gone_is_fired_all_the_same() {
    let world = World::new();
    let plan = Plan {
        n_silent_acts: 1,
        ..Plan::default()
    };
    let node = world.node_with(plan).await;
    let request = NewScheduleRequest {
        tenant: TENANT.to_owned(),
        spec: minutely(),
        actor: "admin".to_owned(),
    };
    let schedules = node.engine.schedules();
    let is_made = async || schedules.get(TENANT, "minutely").await.is_ok();
    leave(node.engine.create_schedule("minutely", request), is_made).await;
    pass(&world, &node, "minutely", NOW_MS + MINUTE_MS).await;
    assert_eq!(started(&node).await.len(), 1);
}

#[tokio::test]
pub async fn a_schedule_whose_resumer_has_gone_is_fired_whether_it_is_resumed_again_or_not() {
    // How long before the next time it is resumed: there is a look at it in between, or there is not.
    for (before_ms, resumes_again) in [(30_000, false), (2_000, true)] {
        let world = World::new();
        let node = world.node().await;
        create(&node, "minutely", minutely()).await;
        let paused = node.engine.schedules().pause("minutely", &act(None)).await;
        assert!(paused.unwrap().paused);
        node.stop().await;
        let plan = Plan {
            n_silent_acts: 1,
            ..Plan::default()
        };
        let node = world.node_with(plan).await;
        world.clock.set(NOW_MS + MINUTE_MS - before_ms);
        let schedules = node.engine.schedules();
        let act = act(None);
        let is_resumed = async || !get(&node, "minutely").await.paused;
        leave(schedules.resume("minutely", &act), is_resumed).await;
        if resumes_again {
            schedules.resume("minutely", &act).await.unwrap();
        }
        pass(&world, &node, "minutely", NOW_MS + MINUTE_MS).await;
        assert_eq!(started(&node).await.len(), 1);
    }
}

#[tokio::test]
pub async fn a_name_that_no_schedule_can_have_is_unknown_and_no_fault() {
    let world = World::new();
    let node = world.node().await;
    create(&node, "minutely", minutely()).await;
    for name in ["\u{5d9}\u{5d5}\u{5de}\u{5d9}", "m\u{ed}nutely", ""] {
        let schedules = node.engine.schedules();
        let refused = [
            schedules.get(TENANT, name).await.map(drop),
            schedules.pause(name, &act(None)).await.map(drop),
            schedules.delete(name, &act(None)).await,
        ];
        for refused in refused {
            assert_eq!(refused.unwrap_err().code(), "schedule_unknown");
        }
        let request = NewScheduleRequest {
            tenant: TENANT.to_owned(),
            spec: minutely(),
            actor: "admin".to_owned(),
        };
        let refused = node.engine.create_schedule(name, request).await;
        assert_eq!(refused.unwrap_err().code(), "schedule_name_invalid");
    }
    let after = |text: &'static str| {
        let schedules = node.engine.schedules();
        async move {
            schedules
                .list(TENANT, Some(text), None)
                .await
                .unwrap()
                .schedules
                .len()
        }
    };
    assert_eq!(after("m\u{ed}nutely").await, 0, "`minutely` comes before");
    assert_eq!(after("l\u{ed}ght").await, 1);
    let query = ListQuery {
        tenant: TENANT.to_owned(),
        attributes: Some(json!([{ "name": "\u{5e9}", "equals": "N" }]).to_string()),
        ..ListQuery::default()
    };
    let refused = node.engine.list(query).await.unwrap_err();
    assert_eq!(refused.code(), "search_attribute_invalid");
}
