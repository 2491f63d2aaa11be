//! The dispatcher as its engine uses it, with a clock that is a number.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use btrust_machine::{OpenTurn, TurnReason};
use btrust_schemas::exchange::ExchangeRequest;
use btrust_schemas::ids::WorkflowId;
use btrust_schemas::task_limits::TaskLimits;
use btrust_schemas::turn::TurnKey;

use super::*;

struct Bench {
    dispatch: Dispatch,
    n_workflows: u32,
    /// Exchanges of each session.
    seqs: BTreeMap<String, u64>,
}

impl Bench {
    fn new() -> Self {
        Self {
            dispatch: Dispatch::default(),
            n_workflows: 0,
            seqs: BTreeMap::new(),
        }
    }

    fn limit(&self, limits: &str, now_ms: i64) {
        let limits: TaskLimits = serde_json::from_str(limits).unwrap();
        self.dispatch.set_limits(&limits, 1, now_ms);
    }

    /// A turn of a new workflow.
    fn put(&mut self, step: &str, tenant: &str, priority: u8, now_ms: i64) -> TurnKey {
        self.put_with(step, tenant, priority, None, now_ms)
    }

    fn put_with(
        &mut self,
        step: &str,
        tenant: &str,
        priority: u8,
        label: Option<&str>,
        now_ms: i64,
    ) -> TurnKey {
        self.n_workflows += 1;
        let mut random = [0; 15];
        random[..4].copy_from_slice(&self.n_workflows.to_be_bytes());
        let workflow = WorkflowId::new(0, random);
        let labels = label.map(|it| {
            let set = BTreeSet::from([it.to_owned()]);
            Arc::new(BTreeMap::from([("State".to_owned(), set)]))
        });
        let owner = Arc::new(Owner {
            workflow,
            tenant: tenant.to_owned(),
            subject: String::new(),
            locale: "en".to_owned(),
            priority,
            labels,
        });
        let turn = OpenTurn {
            task: 1,
            attempt: 1,
            turn: 1,
            state_name: "State".to_owned(),
            resource: format!("kyc:{step}@1"),
            arguments: serde_json::Value::Null.into(),
            parked: None,
            checkpoint: None,
            reason: TurnReason::First,
            scheduled_ms: now_ms,
            deadline_ms: None,
            heartbeat_seconds: None,
        };
        self.dispatch
            .change(&owner, [Change::Put(Box::new(turn))], now_ms);
        TurnKey {
            task: TaskId {
                workflow,
                number: 1,
            },
            attempt: 1,
            turn: 1,
        }
    }

    fn call(&mut self, session: &str, labels: &[&str], now_ms: i64) -> Call {
        let seq = self.seqs.entry(session.to_owned()).or_default();
        *seq += 1;
        let request = ExchangeRequest {
            session: session.to_owned(),
            seq: *seq,
            labels: labels.iter().map(|&it| it.to_owned()).collect(),
            ..ExchangeRequest::default()
        };
        match self.dispatch.begin("workers", &request, now_ms) {
            Begin::Fresh(call) => call,
            _ => panic!("the call is fresh"),
        }
    }

    /// The tenants of what a session is given that holds nothing else.
    fn take(&mut self, session: &str, steps: &[&str], want: usize, now_ms: i64) -> Vec<String> {
        self.take_with(session, &[], steps, want, now_ms)
    }

    fn take_with(
        &mut self,
        session: &str,
        labels: &[&str],
        steps: &[&str],
        want: usize,
        now_ms: i64,
    ) -> Vec<String> {
        let call = self.call(session, labels, now_ms);
        let steps: Vec<String> = steps.iter().map(|&it| it.to_owned()).collect();
        let given = self.dispatch.take(&call, &steps, want, now_ms);
        given
            .taken
            .iter()
            .map(|it| it.owner.tenant.clone())
            .collect()
    }

    fn finish(&self, key: TurnKey, now_ms: i64) {
        let owner = Arc::new(Owner {
            workflow: key.task.workflow,
            tenant: String::new(),
            subject: String::new(),
            locale: String::new(),
            priority: 5,
            labels: None,
        });
        self.dispatch.change(&owner, [Change::Finish(key)], now_ms);
    }
}

#[test]
fn a_single_turn_does_not_wait_behind_another_tenants_hundred_thousand() {
    let mut bench = Bench::new();
    for _ in 0..100_000 {
        bench.put("ocr", "loud", 5, 0);
    }
    assert_eq!(bench.take("a", &["ocr"], 100, 1).len(), 100);
    bench.put("ocr", "quiet", 5, 2);
    let next_two = bench.take("b", &["ocr"], 2, 3);
    assert!(next_two.contains(&"quiet".to_owned()), "{next_two:?}");
}

#[test]
fn a_weight_gives_a_tenant_more_turns() {
    let mut bench = Bench::new();
    bench.limit(r#"{"tenants":{"gold":{"weight":3}}}"#, 0);
    for _ in 0..400 {
        bench.put("ocr", "gold", 5, 0);
        bench.put("ocr", "iron", 5, 0);
    }
    let taken = bench.take("a", &["ocr"], 400, 0);
    let n_gold = taken.iter().filter(|it| *it == "gold").count();
    assert!((298..=302).contains(&n_gold), "{n_gold}");
}

#[test]
fn a_step_at_its_limit_does_not_block_another() {
    let mut bench = Bench::new();
    bench.limit(r#"{"steps":{"ocr":{"concurrent":1}}}"#, 0);
    let first = bench.put("ocr", "acme", 5, 0);
    for _ in 0..3 {
        bench.put("ocr", "acme", 5, 0);
        bench.put("otp", "acme", 5, 0);
    }
    assert_eq!(bench.take("a", &["ocr", "otp"], 9, 0).len(), 4);
    assert_eq!(bench.take("b", &["ocr"], 9, 0).len(), 0);
    bench.finish(first, 1);
    assert_eq!(bench.take("b", &["ocr"], 9, 1).len(), 1);
}

#[test]
fn a_tenant_at_its_limit_does_not_block_another() {
    let mut bench = Bench::new();
    let limits = r#"{"tenants":{"loud":{"turns":{"concurrent":2}}},
        "stepTenants":[{"step":"otp","tenant":"loud","turns":{"concurrent":1}}]}"#;
    bench.limit(limits, 0);
    for _ in 0..10 {
        bench.put("otp", "loud", 9, 0);
        bench.put("ocr", "loud", 9, 0);
        bench.put("ocr", "quiet", 1, 0);
    }
    // One of `otp`, one more of `ocr`; the others have all the room that is left.
    let taken = bench.take("a", &["otp", "ocr"], 30, 0);
    let n_loud = taken.iter().filter(|it| *it == "loud").count();
    assert_eq!((n_loud, taken.len()), (2, 12));
    // A change of the limits counts what is held already.
    bench.limit(r#"{"tenants":{"loud":{"turns":{"concurrent":3}}}}"#, 1);
    assert_eq!(bench.take("b", &["otp", "ocr"], 30, 1), ["loud"]);
    bench.limit("{}", 2);
    assert_eq!(bench.take("c", &["otp", "ocr"], 30, 2).len(), 17);
}

#[test]
fn a_rate_hands_out_its_burst_and_then_one_turn_for_each_token() {
    let mut bench = Bench::new();
    bench.limit(r#"{"steps":{"ocr":{"perSecond":10,"burst":2}}}"#, 0);
    for _ in 0..9 {
        bench.put("ocr", "acme", 5, 0);
    }
    assert_eq!(bench.take("a", &["ocr"], 9, 0).len(), 2);
    assert_eq!(bench.dispatch.next_token_ms(), Some(100));
    assert_eq!(bench.take("a", &["ocr"], 9, 99).len(), 0);
    assert_eq!(bench.take("a", &["ocr"], 9, 100).len(), 1);
    assert_eq!(bench.take("a", &["ocr"], 9, 1_000).len(), 2);
}

#[tokio::test]
async fn a_waiting_worker_is_woken_when_the_token_is_there() {
    let mut bench = Bench::new();
    let rate = r#"{"tenants":{"acme":{"turns":{"perSecond":1}}}}"#;
    bench.limit(rate, 0);
    bench.put("ocr", "acme", 5, 0);
    bench.put("ocr", "acme", 5, 0);
    assert_eq!(bench.take("a", &["ocr"], 9, 0).len(), 1);
    let call = bench.call("b", &[], 0);
    let steps = ["ocr".to_owned()];
    let given = bench.dispatch.take(&call, &steps, 1, 0);
    assert!(given.is_empty());
    let parked = bench.dispatch.park(&call, &steps, 0).unwrap();
    assert_eq!(bench.dispatch.next_token_ms(), Some(1_000));
    bench.dispatch.tokens(999);
    let woken = tokio::time::timeout(std::time::Duration::ZERO, call.wake.notified());
    assert!(woken.await.is_err());
    bench.dispatch.tokens(1_000);
    call.wake.notified().await;
    drop(parked);
    let given = bench.dispatch.take(&call, &steps, 1, 1_000);
    assert_eq!(given.taken.len(), 1);
}

#[test]
fn a_turn_goes_only_to_a_worker_that_has_all_of_its_labels() {
    let mut bench = Bench::new();
    bench.limit(r#"{"tenants":{"bank":{"labels":["region=eu"]}}}"#, 0);
    bench.put_with("ocr", "bank", 5, Some("gpu"), 0);
    bench.put("ocr", "free", 5, 0);
    assert_eq!(bench.take("plain", &["ocr"], 9, 0), ["free"]);
    let one = bench.take_with("eu", &["region=eu"], &["ocr"], 9, 0);
    assert!(one.is_empty(), "{one:?}");
    let waiting = &bench.dispatch.queues(500)[0];
    assert_eq!((waiting.no_worker, waiting.in_flight), (1, 1));
    assert_eq!(waiting.groups[0].labels, "gpu,region=eu");
    assert_eq!((waiting.waiting, waiting.oldest_ms), (1, 500));
    let both = bench.take_with("both", &["gpu", "region=eu"], &["ocr"], 9, 0);
    assert_eq!(both, ["bank"]);
}

#[test]
fn a_parked_worker_without_the_labels_is_not_woken_in_vain() {
    let mut bench = Bench::new();
    let steps = ["ocr".to_owned()];
    let plain = bench.call("plain", &[], 0);
    bench.dispatch.take(&plain, &steps, 1, 0);
    let eu = bench.call("eu", &["region=eu"], 0);
    bench.dispatch.take(&eu, &steps, 1, 0);
    let _first = bench.dispatch.park(&plain, &steps, 0).unwrap();
    let _second = bench.dispatch.park(&eu, &steps, 0).unwrap();
    let owner = Arc::new(Owner {
        workflow: WorkflowId::new(1, [1; 15]),
        tenant: "bank".to_owned(),
        subject: String::new(),
        locale: String::new(),
        priority: 5,
        labels: Some(Arc::new(BTreeMap::from([(
            "State".to_owned(),
            BTreeSet::from(["region=eu".to_owned()]),
        )]))),
    });
    let turn = OpenTurn {
        task: 1,
        attempt: 1,
        turn: 1,
        state_name: "State".to_owned(),
        resource: "kyc:ocr@1".to_owned(),
        arguments: serde_json::Value::Null.into(),
        parked: None,
        checkpoint: None,
        reason: TurnReason::First,
        scheduled_ms: 0,
        deadline_ms: None,
        heartbeat_seconds: None,
    };
    bench
        .dispatch
        .change(&owner, [Change::Put(Box::new(turn))], 0);
    let inner = bench.dispatch.lock();
    assert_eq!(inner.parking.n_waiting(), 1);
}

#[test]
fn a_lost_turn_stays_away_until_its_loss_is_counted() {
    let mut bench = Bench::new();
    let key = bench.put("ocr", "acme", 5, 0);
    assert_eq!(bench.take("a", &["ocr"], 1, 0).len(), 1);
    let lost = bench.dispatch.expire(sessions::SESSION_LEASE_MS);
    assert_eq!(lost, [key]);
    let now_ms = sessions::SESSION_LEASE_MS;
    assert_eq!(bench.take("b", &["ocr"], 1, now_ms).len(), 0);
    bench.dispatch.loss_noted(key, now_ms);
    assert_eq!(bench.take("b", &["ocr"], 1, now_ms).len(), 1);
}

#[test]
fn a_worker_that_leaves_or_never_got_the_answer_has_lost_nothing() {
    let mut bench = Bench::new();
    let key = bench.put("ocr", "acme", 5, 0);
    let nothing = BTreeSet::new();
    let everything = BTreeSet::from([key]);
    // The answer that brought the turn was lost on the way.
    assert_eq!(bench.take("a", &["ocr"], 1, 0).len(), 1);
    let call = bench.call("a", &[], 0);
    assert_eq!(bench.dispatch.hold(call.session, &nothing, false, 0), []);
    // It leaves in good order.
    assert_eq!(bench.take("b", &["ocr"], 1, 0).len(), 1);
    for (held, is_leaving) in [(&everything, false), (&nothing, true)] {
        let call = bench.call("b", &[], 0);
        assert_eq!(bench.dispatch.hold(call.session, held, is_leaving, 0), []);
    }
    // It had the turn, and does not say why it no longer has.
    assert_eq!(bench.take("c", &["ocr"], 1, 0).len(), 1);
    let call = bench.call("c", &[], 0);
    assert_eq!(bench.dispatch.hold(call.session, &everything, false, 0), []);
    let call = bench.call("c", &[], 0);
    assert_eq!(bench.dispatch.hold(call.session, &nothing, false, 0), [key]);
}

#[test]
fn a_withdrawn_turn_is_told_to_whoever_holds_it() {
    let mut bench = Bench::new();
    let key = bench.put("ocr", "acme", 5, 0);
    assert_eq!(bench.take("a", &["ocr"], 1, 0).len(), 1);
    bench.dispatch.withdraw_all(key.task.workflow);
    let call = bench.call("a", &[], 0);
    let given = bench.dispatch.take(&call, &["ocr".to_owned()], 1, 0);
    assert_eq!(given.cancelled, [key]);
    assert_eq!(bench.dispatch.queues(0)[0].in_flight, 0);
}
