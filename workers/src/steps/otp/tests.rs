//! The rules of one-time codes, each from the outside: turns in, messages and answers out.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::join_all;
use serde_json::{Value, json};

use btrust_platform::keys::LocalKeyring;
use btrust_platform::messages::Delivery as Sent;
use btrust_platform::sqlite::{self, STEPS_MIGRATIONS};
use btrust_schemas::ids::WorkflowId;
use btrust_schemas::turn::Submitter;

use super::rules::{DAY_MS, LOCK_MS};
use super::*;
use crate::testing::{Bench, NOW_MS, TENANT, applicant, asked, completed};

/// A provider that remembers what it was given and does what it is told.
#[derive(Default)]
struct Post {
    sent: Mutex<Vec<(String, String, String)>>,
    /// Channels whose messages are refused, and those whose delivery nobody acknowledges.
    refusing: Mutex<Vec<&'static str>>,
    silent: Mutex<Vec<&'static str>>,
}

#[async_trait]
impl Messenger for Post {
    async fn send(&self, message: Message) -> Result<Sent, SendError> {
        let channel = channel_word(message.channel);
        if self.refusing.lock().unwrap().contains(&channel) {
            return Err(SendError::Undeliverable {
                reason: "nobody has this number",
            });
        }
        self.sent
            .lock()
            .unwrap()
            .push((channel.to_owned(), message.to, message.text));
        let acknowledged = !self.silent.lock().unwrap().contains(&channel);
        Ok(Sent {
            provider: "post",
            acknowledged,
        })
    }
}

/// The step on real rows, with codes that count up from 100001.
struct Desk {
    bench: Bench,
    otp: Otp,
    post: Arc<Post>,
    contacts: Arc<dyn VerifiedContacts>,
}

const FIRST: &str = "100001";
const SECOND: &str = "100002";

fn counting() -> CodeSource {
    let last = AtomicU32::new(100_000);
    Arc::new(move || Code::new(last.fetch_add(1, Ordering::SeqCst) + 1))
}

async fn otp_on(
    bench: &Bench,
    post: &Arc<Post>,
    contacts: &Arc<dyn VerifiedContacts>,
    codes: CodeSource,
) -> Otp {
    let pool = sqlite::open(&bench.data_dir.steps_db(), &STEPS_MIGRATIONS)
        .await
        .unwrap();
    let keys = Arc::new(LocalKeyring::open(&bench.data_dir.keyring()).unwrap());
    Otp::new(
        pool,
        keys,
        Arc::clone(post) as Arc<dyn Messenger>,
        Arc::clone(contacts),
        codes,
    )
}

impl Desk {
    async fn new() -> Self {
        let bench = Bench::new().await;
        let post = Arc::new(Post::default());
        let contacts = bench.contacts().await;
        let otp = otp_on(&bench, &post, &contacts, counting()).await;
        Self {
            bench,
            otp,
            post,
            contacts,
        }
    }

    async fn first(&self) -> Result<TurnResult, Fault> {
        self.first_with(json!({})).await
    }

    async fn first_with(&self, more: Value) -> Result<TurnResult, Fault> {
        let mut arguments =
            json!({ "channels": ["sms"], "phone": "+972500000123", "purpose": "onboarding" });
        for (name, value) in more.as_object().unwrap() {
            arguments[name] = value.clone();
        }
        self.bench.first(&self.otp, arguments).await
    }

    async fn guess(
        &self,
        before: &Result<TurnResult, Fault>,
        code: &str,
    ) -> Result<TurnResult, Fault> {
        self.bench.answer(&self.otp, before, answer(code)).await
    }

    async fn resend(&self, before: &Result<TurnResult, Fault>) -> Result<TurnResult, Fault> {
        self.bench
            .answer(&self.otp, before, json!({ "action": "resend" }))
            .await
    }

    /// The next task is of another workflow and another subject.
    fn become_somebody_else(&mut self, n: u8) {
        self.bench.workflow = WorkflowId::new(n, [n; 15]);
        self.bench.subject = format!("subject {n}");
    }

    fn channels_used(&self) -> Vec<String> {
        self.post
            .sent
            .lock()
            .unwrap()
            .iter()
            .map(|(channel, ..)| channel.clone())
            .collect()
    }

    /// The code in the newest message; the step draws one that it may not send, too.
    fn last_code(&self) -> String {
        let sent = self.post.sent.lock().unwrap();
        let digits = sent
            .last()
            .unwrap()
            .2
            .split(|it: char| !it.is_ascii_digit());
        digits
            .into_iter()
            .find(|it| it.len() == CODE_DIGITS as usize)
            .unwrap()
            .to_owned()
    }

    fn n_sent(&self) -> usize {
        self.post.sent.lock().unwrap().len()
    }
}

fn answer(code: &str) -> Value {
    json!({ "action": "answer", "code": code })
}

fn reason(result: &Result<TurnResult, Fault>) -> Option<&str> {
    asked(result).body["reason"].as_str()
}

#[tokio::test]
async fn the_right_code_verifies_and_the_contact_is_kept() {
    let desk = Desk::new().await;
    let first = desk.first().await;
    let ask = asked(&first);
    assert_eq!(ask.kind, "otp-code");
    assert_eq!(
        ask.body,
        json!({
            "channel": "sms", "destinationMasked": "•••123", "codeLength": 6, "attemptsLeft": 5, "reason": null,
            "resendAfter": rfc3339(NOW_MS + 30_000), "sendsLeft": 2,
        })
    );
    let (_, to, text) = desk.post.sent.lock().unwrap()[0].clone();
    assert_eq!((to.as_str(), text.contains(FIRST)), ("+972500000123", true));

    let (outcome, output) = completed(desk.guess(&first, FIRST).await);
    assert_eq!(outcome, VERIFIED);
    assert_eq!(
        output,
        json!({
            "channel": "sms", "destinationMasked": "•••123", "provider": "post", "nSends": 1, "nGuesses": 1,
            "verifiedAt": rfc3339(NOW_MS), "lockedUntil": null,
        })
    );
    let contact = desk
        .contacts
        .get(TENANT, desk.bench.workflow)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(contact.address, "+972500000123");
}

#[tokio::test]
async fn the_code_is_in_the_message_and_nowhere_else() {
    let desk = Desk::new().await;
    let first = desk.first().await;
    let wrong = desk.guess(&first, "999999").await;
    let right = desk.guess(&wrong, FIRST).await;
    for result in [first, wrong, right] {
        assert!(
            !serde_json::to_string(&result.unwrap())
                .unwrap()
                .contains(FIRST)
        );
    }
    let checkpoints = desk.bench.checkpoints.made.lock().unwrap().clone();
    assert!(!json!(checkpoints).to_string().contains(FIRST));
    for file in ["steps.sqlite", "steps.sqlite-wal"] {
        let bytes = std::fs::read(desk.bench.dir.path().join(file)).unwrap();
        for secret in [FIRST, "972500000123", "digest of the subject"] {
            assert!(
                !bytes
                    .windows(secret.len())
                    .any(|it| it == secret.as_bytes()),
                "{secret} is in {file}"
            );
        }
    }
}

#[tokio::test]
async fn five_wrong_codes_lock() {
    let desk = Desk::new().await;
    let mut last = desk.first().await;
    for left in [4, 3, 2, 1] {
        last = desk.guess(&last, "999999").await;
        assert_eq!(asked(&last).body["attemptsLeft"], left);
        assert_eq!(reason(&last), Some("wrong_code"));
    }
    let (outcome, output) = completed(desk.guess(&last, "999999").await);
    assert_eq!(outcome, LOCKED);
    assert_eq!(output["lockedUntil"], rfc3339(NOW_MS + LOCK_MS));
    assert_eq!(output["nGuesses"], 5);
}

#[tokio::test]
async fn a_lock_outlives_tasks_workflows_and_restarts_and_ends_with_its_period() {
    let mut desk = Desk::new().await;
    let mut last = desk.first().await;
    for _ in 0..4 {
        last = desk.guess(&last, "999999").await;
    }
    completed(desk.guess(&last, "999999").await);

    // Even the right code, for the prompt that was open, is not evaluated any more.
    assert_eq!(completed(desk.guess(&last, FIRST).await).0, LOCKED);
    assert_eq!(completed(desk.resend(&last).await).0, LOCKED);
    // A new task of the workflow, a restarted worker, another workflow of the same subject.
    assert_eq!(completed(desk.first().await).0, LOCKED);
    desk.otp = otp_on(&desk.bench, &desk.post, &desk.contacts, counting()).await;
    assert_eq!(completed(desk.first().await).0, LOCKED);
    desk.bench.workflow = WorkflowId::new(9, [9; 15]);
    assert_eq!(completed(desk.first().await).0, LOCKED);
    assert_eq!(desk.n_sent(), 1);

    desk.bench.clock.advance(LOCK_MS - 1);
    assert_eq!(completed(desk.first().await).0, LOCKED);
    desk.bench.clock.advance(1);
    assert_eq!(asked(&desk.first().await).body["attemptsLeft"], 5);
}

#[tokio::test]
async fn neither_workflows_nor_subjects_buy_more_guesses_at_one_number() {
    let mut desk = Desk::new().await;
    for (n, left) in [(1, 4), (2, 3), (3, 2), (4, 1)] {
        desk.become_somebody_else(n);
        let first = desk.first().await;
        assert_eq!(asked(&first).body["attemptsLeft"], left + 1);
        let wrong = desk.guess(&first, "999999").await;
        assert_eq!(asked(&wrong).body["attemptsLeft"], left);
    }
    desk.become_somebody_else(5);
    let first = desk.first().await;
    assert_eq!(completed(desk.guess(&first, "999999").await).0, LOCKED);
    desk.become_somebody_else(6);
    assert_eq!(completed(desk.first().await).0, LOCKED);
    // Somebody else with another number is not concerned.
    let other = json!({ "phone": "+972500000999" });
    assert_eq!(asked(&desk.first_with(other).await).body["attemptsLeft"], 5);
}

#[tokio::test]
async fn a_right_code_of_ones_own_number_forgives_no_guesses_at_another() {
    let mut desk = Desk::new().await;
    let home = desk.bench.workflow;
    for (n, left) in [(1, 4), (2, 3)] {
        desk.bench.workflow = WorkflowId::new(n, [n; 15]);
        let theirs = desk.first().await;
        let wrong = desk.guess(&theirs, "999999").await;
        assert_eq!(asked(&wrong).body["attemptsLeft"], left);
        desk.bench.workflow = home;
        desk.bench.clock.advance(60_000);
        let mine = desk.first_with(json!({ "phone": "+972500000999" })).await;
        let right = desk.guess(&mine, &desk.last_code()).await;
        assert_eq!(completed(right).0, VERIFIED);
    }
    desk.become_somebody_else(9);
    assert_eq!(asked(&desk.first().await).body["attemptsLeft"], 3);
}

#[tokio::test]
async fn a_right_code_clears_the_failures_at_its_own_number() {
    let mut desk = Desk::new().await;
    let first = desk.first().await;
    let wrong = desk.guess(&first, "999999").await;
    assert_eq!(completed(desk.guess(&wrong, FIRST).await).0, VERIFIED);
    desk.become_somebody_else(1);
    assert_eq!(asked(&desk.first().await).body["attemptsLeft"], 5);
}

#[tokio::test]
async fn guesses_are_counted_per_purpose_and_across_tasks() {
    let desk = Desk::new().await;
    let first = desk.first().await;
    let wrong = desk.guess(&first, "999999").await;
    assert_eq!(asked(&wrong).body["attemptsLeft"], 4);
    // A retry of the task finds the same counter.
    assert_eq!(asked(&desk.first().await).body["attemptsLeft"], 4);
    let other = desk.first_with(json!({ "purpose": "login" })).await;
    assert_eq!(asked(&other).body["attemptsLeft"], 5);
}

#[tokio::test]
async fn a_definition_may_allow_fewer_guesses() {
    let desk = Desk::new().await;
    let first = desk.first_with(json!({ "maxAttempts": 2 })).await;
    let wrong = desk.guess(&first, "999999").await;
    assert_eq!(asked(&wrong).body["attemptsLeft"], 1);
    assert_eq!(completed(desk.guess(&wrong, "999999").await).0, LOCKED);
}

#[tokio::test]
async fn a_code_works_once() {
    let desk = Desk::new().await;
    let first = desk.first().await;
    assert_eq!(completed(desk.guess(&first, FIRST).await).0, VERIFIED);
    let again = desk.guess(&first, FIRST).await;
    assert_eq!(reason(&again), Some("code_expired"));
}

#[tokio::test]
async fn a_redelivered_guess_gets_the_same_verdict_and_costs_nothing() {
    let desk = Desk::new().await;
    let first = desk.first().await;
    let wrong = desk
        .bench
        .submission(&desk.otp, &first, answer("999999"), applicant());
    for _ in 0..10 {
        let result = desk.bench.run(&desk.otp, wrong.clone()).await;
        assert_eq!(asked(&result).body["attemptsLeft"], 4);
    }
    let right = desk
        .bench
        .submission(&desk.otp, &first, answer(FIRST), applicant());
    for _ in 0..2 {
        assert_eq!(
            completed(desk.bench.run(&desk.otp, right.clone()).await).0,
            VERIFIED
        );
    }
}

#[tokio::test]
async fn an_expired_code_is_not_evaluated() {
    let desk = Desk::new().await;
    let first = desk.first().await;
    desk.bench.clock.advance(rules::SMS_TTL_MS);
    let late = desk.guess(&first, FIRST).await;
    assert_eq!(reason(&late), Some("code_expired"));
    assert_eq!(asked(&late).body["attemptsLeft"], 5);
}

#[tokio::test]
async fn a_shorter_life_is_kept_and_a_longer_one_is_cut() {
    for (seconds, lived_ms) in [(60, 60_000), (600, rules::SMS_TTL_MS)] {
        let desk = Desk::new().await;
        let first = desk.first_with(json!({ "ttlSeconds": seconds })).await;
        desk.bench.clock.advance(lived_ms - 1);
        let input = desk
            .bench
            .submission(&desk.otp, &first, answer("999999"), applicant());
        assert_eq!(
            reason(&desk.bench.run(&desk.otp, input).await),
            Some("wrong_code")
        );
        desk.bench.clock.advance(1);
        assert_eq!(
            reason(&desk.guess(&first, FIRST).await),
            Some("code_expired")
        );
    }
}

#[tokio::test]
async fn a_new_code_voids_the_old() {
    let desk = Desk::new().await;
    let first = desk.first().await;
    desk.bench.clock.advance(30_000);
    let second = desk.resend(&first).await;
    assert_eq!((reason(&second), desk.n_sent()), (Some("resent"), 2));
    let old = desk.guess(&second, FIRST).await;
    assert_eq!(reason(&old), Some("wrong_code"));
    assert_eq!(completed(desk.guess(&old, SECOND).await).0, VERIFIED);
}

#[tokio::test]
async fn an_early_resend_is_refused_and_the_code_still_counts() {
    let desk = Desk::new().await;
    let first = desk.first().await;
    desk.bench.clock.advance(29_999);
    let early = desk.resend(&first).await;
    assert_eq!(
        (reason(&early), desk.n_sent()),
        (Some("resend_too_early"), 1)
    );
    assert_eq!(asked(&early).body["resendAfter"], rfc3339(NOW_MS + 30_000));
    assert_eq!(completed(desk.guess(&early, FIRST).await).0, VERIFIED);
}

#[tokio::test]
async fn a_session_gets_three_sends() {
    let desk = Desk::new().await;
    let mut last = desk.first().await;
    for _ in 0..2 {
        desk.bench.clock.advance(60_000);
        last = desk.resend(&last).await;
    }
    assert_eq!(asked(&last).body["resendAfter"], Value::Null);
    desk.bench.clock.advance(120_000);
    let fourth = desk.resend(&last).await;
    assert_eq!((reason(&fourth), desk.n_sent()), (Some("no_sends_left"), 3));
    desk.bench.clock.advance(rules::SMS_TTL_MS);
    assert_eq!(completed(desk.guess(&fourth, FIRST).await).0, EXPIRED);
}

#[tokio::test]
async fn a_number_gets_five_sends_a_day() {
    let mut desk = Desk::new().await;
    for workflow in 1..=5 {
        desk.bench.workflow = WorkflowId::new(workflow, [2; 15]);
        asked(&desk.first().await);
    }
    desk.bench.workflow = WorkflowId::new(6, [2; 15]);
    assert_eq!(completed(desk.first().await).0, UNDELIVERABLE);
    assert_eq!(desk.n_sent(), 5);
    asked(&desk.first_with(json!({ "phone": "+972500000999" })).await);
    desk.bench.clock.advance(DAY_MS);
    asked(&desk.first().await);
}

#[tokio::test]
async fn an_ip_address_gets_twenty_sends_an_hour() {
    let mut desk = Desk::new().await;
    let from = |address: &str| Submitter {
        address: Some(address.to_owned()),
        ..applicant()
    };
    let resend = json!({ "action": "resend" });
    for workflow in 0..21 {
        desk.bench.workflow = WorkflowId::new(workflow, [2; 15]);
        let first = desk
            .first_with(json!({ "phone": format!("+9725000001{workflow:02}") }))
            .await;
        // Codes are live while the clock creeps: 21 resends happen within the hour.
        desk.bench.clock.advance(30_000);
        let again = desk
            .bench
            .answer_as(&desk.otp, &first, resend.clone(), from("192.0.2.1"))
            .await;
        let expected = if workflow < 20 {
            "resent"
        } else {
            "no_sends_left"
        };
        assert_eq!(reason(&again), Some(expected), "resend {workflow}");
        if workflow == 20 {
            let elsewhere = desk
                .bench
                .answer_as(&desk.otp, &again, resend.clone(), from("192.0.2.2"))
                .await;
            assert_eq!(reason(&elsewhere), Some("resent"));
        }
    }
}

#[tokio::test]
async fn a_code_for_one_number_does_not_verify_another() {
    let desk = Desk::new().await;
    asked(&desk.first().await);
    desk.bench.clock.advance(1_000);
    let other = desk.first_with(json!({ "phone": "+972500000999" })).await;
    assert_eq!(desk.n_sent(), 1, "the pause holds for the whole session");
    assert_eq!(
        reason(&desk.guess(&other, FIRST).await),
        Some("code_expired")
    );
}

#[tokio::test]
async fn a_task_that_comes_too_early_sends_by_itself_after_the_pause() {
    let desk = Desk::new().await;
    let first = desk.first().await;
    assert_eq!(completed(desk.guess(&first, FIRST).await).0, VERIFIED);
    let early = desk.first().await;
    assert_eq!(asked(&early).wake_in_ms, Some(30_000));
    desk.bench.clock.advance(30_000);
    let woken = desk.bench.wake(&desk.otp, &early).await;
    assert_eq!(desk.n_sent(), 2);
    assert_eq!(
        completed(desk.guess(&woken, &desk.last_code()).await).0,
        VERIFIED
    );
}

#[tokio::test]
async fn an_unknown_number_sees_the_same_prompt_as_a_known_one() {
    let known = Desk::new().await;
    let unknown = Desk::new().await;
    unknown.post.refusing.lock().unwrap().push("sms");
    let (mut one, mut other) = (known.first().await, unknown.first().await);
    assert_eq!(
        asked(&one),
        &Ask {
            state: asked(&one).state.clone(),
            ..asked(&other).clone()
        }
    );
    for _ in 0..4 {
        one = known.guess(&one, "999999").await;
        other = unknown.guess(&other, "999999").await;
        assert_eq!(asked(&one).body, asked(&other).body);
    }
    assert_eq!(
        completed(known.guess(&one, "999999").await).0,
        completed(unknown.guess(&other, "999999").await).0
    );
}

#[tokio::test]
async fn silence_is_expired_where_a_message_arrived_and_undeliverable_where_none_did() {
    let desk = Desk::new().await;
    let first = desk.first().await;
    assert_eq!(
        completed(desk.bench.expire(&desk.otp, &first).await).0,
        EXPIRED
    );
    let desk = Desk::new().await;
    desk.post.refusing.lock().unwrap().push("sms");
    let first = desk.first().await;
    assert_eq!(
        completed(desk.bench.expire(&desk.otp, &first).await).0,
        UNDELIVERABLE
    );
}

#[tokio::test]
async fn a_number_of_another_country_is_never_sent_to() {
    let desk = Desk::new().await;
    let end = desk.first_with(json!({ "countries": ["+44", "+1"] })).await;
    assert_eq!(completed(end).0, UNDELIVERABLE);
    let mail =
        json!({ "countries": ["+44"], "channels": ["sms", "email"], "email": "ada@b.example" });
    let ask = desk.first_with(mail).await;
    assert_eq!(asked(&ask).body["channel"], "email");
    assert_eq!(desk.channels_used(), ["email"]);
}

#[tokio::test]
async fn without_an_acknowledgement_the_next_channel_follows_after_ten_seconds() {
    let desk = Desk::new().await;
    desk.post.silent.lock().unwrap().push("sms");
    let both = json!({ "channels": ["sms", "email"], "email": "ada@b.example" });
    let first = desk.first_with(both).await;
    assert_eq!(asked(&first).wake_in_ms, Some(10_000));
    desk.bench.clock.advance(10_000);
    let woken = desk.bench.wake(&desk.otp, &first).await;
    assert_eq!(desk.channels_used(), ["sms", "email"]);
    assert_eq!(
        (reason(&woken), asked(&woken).wake_in_ms),
        (Some("failed_over"), None)
    );
    assert_eq!(asked(&woken).body["destinationMasked"], "a•••@b.example");
    let (outcome, output) = completed(desk.guess(&woken, SECOND).await);
    assert_eq!(
        (outcome.as_str(), &output["channel"]),
        (VERIFIED, &json!("email"))
    );
}

#[tokio::test]
async fn an_acknowledged_message_needs_no_failover() {
    let desk = Desk::new().await;
    let both = json!({ "channels": ["sms", "email"], "email": "ada@b.example" });
    assert_eq!(asked(&desk.first_with(both).await).wake_in_ms, None);
}

#[tokio::test]
async fn a_refused_channel_is_followed_at_once() {
    let desk = Desk::new().await;
    desk.post.refusing.lock().unwrap().push("sms");
    let both = json!({ "channels": ["sms", "email"], "email": "ada@b.example" });
    let first = desk.first_with(both).await;
    assert_eq!(asked(&first).wake_in_ms, Some(FAILOVER_NOW_MS));
    let woken = desk.bench.wake(&desk.otp, &first).await;
    assert_eq!(desk.channels_used(), ["email"]);
    assert_eq!(asked(&woken).body["channel"], "email");
}

#[tokio::test]
async fn a_turn_sends_once_however_often_it_is_delivered() {
    let desk = Desk::new().await;
    asked(&desk.first().await);
    let first = {
        desk.bench.turn.store(0, Ordering::SeqCst);
        desk.bench.input(&desk.otp, TurnReason::First, None)
    };
    // Redelivered as the engine saw it: before and after the checkpoint became durable.
    let mut checkpointed = first.clone();
    checkpointed.checkpoint = Some(json!({ "v": 1, "sending": "sms" }));
    let mut last = None;
    for input in [first, checkpointed] {
        let result = desk.bench.run(&desk.otp, input).await;
        assert_eq!(asked(&result).body["sendsLeft"], 2);
        last = Some(result);
    }
    assert_eq!(desk.n_sent(), 1);
    let last = last.unwrap();
    assert_eq!(
        completed(desk.guess(&last, FIRST).await).0,
        VERIFIED,
        "the stored code still counts"
    );
}

#[tokio::test]
async fn a_worker_that_died_after_the_checkpoint_sends_nothing_until_it_is_woken() {
    let desk = Desk::new().await;
    let arguments =
        json!({ "channels": ["sms"], "phone": "+972500000123", "purpose": "onboarding" });
    // The first worker made its checkpoint and died: no row, no message.
    let mut input = desk.bench.input(&desk.otp, TurnReason::First, None);
    input.arguments = arguments;
    input.checkpoint = Some(json!({ "v": 1, "sending": "sms" }));
    let ask = desk.bench.run(&desk.otp, input.clone()).await;
    assert_eq!(desk.n_sent(), 0);
    assert_eq!(asked(&ask).body["resendAfter"], rfc3339(NOW_MS));
    assert_eq!(asked(&ask).wake_in_ms, Some(FAILOVER_AFTER_MS));

    let mut woken = desk.bench.input(
        &desk.otp,
        TurnReason::Woken,
        Some(asked(&ask).state.clone()),
    );
    woken.arguments = input.arguments;
    let ask = desk.bench.run(&desk.otp, woken).await;
    assert_eq!((desk.n_sent(), reason(&ask)), (1, Some("resent")));
}

#[tokio::test]
async fn a_turn_whose_checkpoint_is_refused_sends_nothing() {
    let desk = Desk::new().await;
    *desk.bench.checkpoints.code.lock().unwrap() = "turn_closed".to_owned();
    assert_eq!(desk.first().await, Err(Fault::Superseded));
    assert_eq!(desk.n_sent(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hundred_guesses_at_once_at_most_five_are_evaluated() {
    let desk = Desk::new().await;
    let first = desk.first().await;
    let inputs: Vec<TurnInput> = (0..200)
        .map(|n| {
            desk.bench
                .submission(&desk.otp, &first, answer(&format!("{n:06}")), applicant())
        })
        .collect();
    let results = join_all(inputs.into_iter().map(|it| desk.bench.run(&desk.otp, it))).await;
    let n_evaluated = results
        .iter()
        .filter(|it| matches!(it, Ok(TurnResult::Ask(ask)) if ask.body["reason"] == "wrong_code"))
        .count();
    let n_locked = results
        .iter()
        .filter(|it| matches!(it, Ok(TurnResult::Complete { outcome, .. }) if outcome == LOCKED))
        .count();
    assert_eq!((n_evaluated, n_locked), (4, 196));
    let failures: Vec<i64> = sqlx::query_scalar("SELECT failures FROM otp_counter")
        .fetch_all(desk.otp.ledger.pool())
        .await
        .unwrap();
    assert_eq!(failures, [5, 5], "of the subject and of the number");
    let evaluated: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM otp_guess")
        .fetch_one(desk.otp.ledger.pool())
        .await
        .unwrap();
    assert_eq!(evaluated, 5);
    assert_eq!(completed(desk.guess(&first, FIRST).await).0, LOCKED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hundred_right_answers_at_once_exactly_one_succeeds() {
    let desk = Desk::new().await;
    let first = desk.first().await;
    let inputs: Vec<TurnInput> = (0..200)
        .map(|_| {
            desk.bench
                .submission(&desk.otp, &first, answer(FIRST), applicant())
        })
        .collect();
    let results = join_all(inputs.into_iter().map(|it| desk.bench.run(&desk.otp, it))).await;
    let n_verified = results
        .iter()
        .filter(|it| matches!(it, Ok(TurnResult::Complete { outcome, .. }) if outcome == VERIFIED))
        .count();
    assert_eq!(n_verified, 1);
}
