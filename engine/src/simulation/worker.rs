//! Workers: they take turns, cause effects behind checkpoints, die, and stand still.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde_json::json;

use btrust_schemas::exchange::{Ack, ExchangeRequest, ExchangeResponse, Report, ReportKind};
use btrust_schemas::ids::TaskToken;
use btrust_schemas::turn::{Ask, Audience, TurnInput, TurnKey, TurnReason, TurnResult};

use crate::error::EngineError;
use crate::queues::Queues;

use super::client;
use super::network::call;
use super::node::{self, Node};
use super::script::{Act, Place, QUEUES};
use super::world::World;

/// Turns that a worker holds at once.
const HELD_MAX: usize = 3;
/// Reports that a worker may bring again much later.
const REMEMBERED_MAX: usize = 8;
/// When a worker gives up what never ends, ms.
const HANG_MS: i64 = 100_000;

static EVERYTHING: LazyLock<Arc<Queues>> = LazyLock::new(|| Arc::new(Queues::All));

/// How far a worker is with a turn.
#[derive(Clone, Debug)]
enum Phase {
    Working {
        until_ms: i64,
    },
    /// The checkpoint is on its way, and has been before if it is uncertain.
    Checkpointing {
        is_uncertain: bool,
    },
    Reporting(Box<Report>),
}

struct Held {
    input: TurnInput,
    act: Act,
    phase: Phase,
}

struct Worker {
    world: Arc<World>,
    session: String,
    seq: u64,
    held: BTreeMap<TurnKey, Held>,
    reported: Vec<Report>,
    is_dead: bool,
}

/// One worker after the other under one number.
pub async fn work(world: Arc<World>, number: usize) {
    for life in 1.. {
        let mut worker = Worker {
            world: Arc::clone(&world),
            session: format!("worker{number}-{life}"),
            seq: 0,
            held: BTreeMap::new(),
            reported: Vec::new(),
            is_dead: false,
        };
        worker.live().await;
        world.note(format_args!("{} dies", worker.session));
        worker.lose_all();
        let ms = world.chance.between(100, 10_000);
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

impl Worker {
    async fn live(&mut self) {
        while !self.is_dead {
            if self.world.strikes(self.world.weather.workers) {
                if self.world.chance.happens(500) {
                    return;
                }
                let ms = self.world.chance.between(5_000, 80_000);
                self.world.note(format_args!("{} stalls", self.session));
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            self.go_on();
            self.exchange().await;
        }
    }

    /// Ends the work on turns whose time has come.
    fn go_on(&mut self) {
        let now_ms = self.world.elapsed_ms();
        let mut given_up = Vec::new();
        for (key, held) in &mut self.held {
            let Phase::Working { until_ms } = held.phase else {
                continue;
            };
            if now_ms < until_ms {
                continue;
            }
            match &held.act {
                Act::Hang => given_up.push(*key),
                // Somebody else may have caused it, or not: it is not this worker's any more.
                Act::Effect { .. } if held.input.checkpoint.is_some() => {
                    held.phase = report(held);
                }
                Act::Effect { .. } => {
                    let mut ledger = self.world.outside.ledger();
                    let caused = ledger.entry(*key).or_default();
                    caused.state_name.clone_from(&held.input.state_name);
                    held.phase = Phase::Checkpointing {
                        is_uncertain: false,
                    };
                }
                Act::HandOn => {
                    let token = held.input.arguments["token"].as_str();
                    let token: TaskToken = token
                        .and_then(|it| it.parse().ok())
                        .expect("the arguments have a token");
                    tokio::spawn(client::send_back(Arc::clone(&self.world), token));
                    held.phase = report(held);
                }
                _ => held.phase = report(held),
            }
        }
        for key in given_up {
            self.held.remove(&key);
        }
    }

    fn request(&mut self) -> ExchangeRequest {
        let mut results = Vec::new();
        let mut earliest_ms = None;
        let now_ms = self.world.elapsed_ms();
        for (key, held) in &self.held {
            match &held.phase {
                Phase::Working { until_ms } => {
                    let ms = (*until_ms - now_ms).max(1);
                    earliest_ms = Some(earliest_ms.map_or(ms, |it: i64| it.min(ms)));
                }
                Phase::Checkpointing { .. } => results.push(Report {
                    key: *key,
                    what: ReportKind::Checkpoint {
                        state: json!({ "by": self.session }),
                    },
                }),
                Phase::Reporting(report) => results.push(Report::clone(report)),
            }
        }
        if !self.reported.is_empty() && self.world.strikes(self.world.weather.workers) {
            let again = self.world.chance.pick(&self.reported).clone();
            self.world
                .note(format_args!("{} repeats {:?}", self.session, again.key));
            results.push(again);
        }
        let want = u32::try_from(HELD_MAX - self.held.len().min(HELD_MAX)).unwrap_or_default();
        let wait_ms = earliest_ms.map_or(20_000, |it| u64::try_from(it).unwrap_or_default());
        self.seq += 1;
        ExchangeRequest {
            session: self.session.clone(),
            seq: self.seq,
            held: self.held.keys().copied().collect(),
            results,
            want,
            queues: QUEUES.map(str::to_owned).to_vec(),
            wait_ms: wait_ms.min(20_000),
            ..ExchangeRequest::default()
        }
    }

    async fn exchange(&mut self) {
        let request = self.request();
        if request.want == 0 && request.results.is_empty() {
            // Nothing to say and nothing to ask for, but that it is alive.
            let ms = request.wait_ms.min(1_000);
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        let Some(node) = node::known(&self.world) else {
            tokio::time::sleep(Duration::from_millis(500)).await;
            return;
        };
        let begun_ms = self.world.elapsed_ms();
        let was_current = node::is_current(&self.world, &node);
        let mut answer = send(&self.world, &node, &request).await;
        let mut is_fresh = true;
        if answer.is_none() || self.world.strikes(self.world.weather.network) {
            // The same call again: what was answered before is answered again, unless it has taken
            // longer than the lease.
            is_fresh = false;
            self.doubt(&request);
            answer = send(&self.world, &node, &request).await;
        }
        let is_current = is_fresh && was_current && node::is_current(&self.world, &node);
        if let Some(Ok(bytes)) = answer {
            let response = serde_json::from_slice(&bytes).expect("an answer is JSON");
            self.take(response, begun_ms, is_current).await;
        } else {
            self.doubt(&request);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        // What is worked on needs time; a call that comes back at once must not spin.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// No answer: a checkpoint may be there or not.
    fn doubt(&mut self, request: &ExchangeRequest) {
        for report in &request.results {
            if let Some(held) = self.held.get_mut(&report.key)
                && let Phase::Checkpointing { is_uncertain } = &mut held.phase
            {
                *is_uncertain = true;
            }
        }
    }

    async fn take(&mut self, response: ExchangeResponse, begun_ms: i64, is_current: bool) {
        let mut acknowledged = BTreeSet::new();
        for ack in response.acks {
            self.world.note(format_args!(
                "{} hears {:?} {} {}",
                self.session, ack.key, ack.checkpoint, ack.code
            ));
            acknowledged.insert(ack.key);
            if ack.checkpoint {
                self.checkpointed(&ack).await;
            } else {
                self.acknowledged(&ack);
            }
            if self.is_dead {
                return;
            }
        }
        for held in self.held.values_mut() {
            // Sent, and not answered with this answer: it rides a later one, or is lost.
            if !acknowledged.contains(&held.input.key)
                && let Phase::Checkpointing { is_uncertain } = &mut held.phase
            {
                *is_uncertain = true;
            }
        }
        for input in response.tasks {
            self.world.judge_delivery(&input, begun_ms, is_current);
            self.begin(input);
        }
    }

    fn begin(&mut self, input: TurnInput) {
        let reason = match input.reason {
            TurnReason::First => "first",
            TurnReason::Submission { .. } => "submission",
            TurnReason::Expired { .. } => "expired",
            TurnReason::Woken => "woken",
        };
        let (seed, attempt) = (self.world.seed, input.key.attempt);
        let place = Place::new(seed, &input.state_name, &input.arguments, attempt, reason);
        let act = place.act();
        let now_ms = self.world.elapsed_ms();
        self.world.note(format_args!(
            "{} takes {:?} {} {reason} {}",
            self.session,
            input.key,
            input.state_name,
            input.checkpoint.is_some()
        ));
        let work_ms = match act {
            Act::Hang => HANG_MS,
            _ => i64::try_from(self.world.chance.between(1, 400)).unwrap_or_default(),
        };
        let held = Held {
            act,
            phase: Phase::Working {
                until_ms: now_ms + work_ms,
            },
            input,
        };
        self.held.entry(held.input.key).or_insert(held);
    }

    async fn checkpointed(&mut self, ack: &Ack) {
        let Some(held) = self.held.get_mut(&ack.key) else {
            return;
        };
        let Phase::Checkpointing { is_uncertain } = held.phase else {
            return;
        };
        if ack.code != Ack::ACCEPTED {
            if is_uncertain {
                lose(&self.world, ack.key);
            }
            self.held.remove(&ack.key);
            return;
        }
        self.world.judge_checkpoint(ack.key);
        if self.world.strikes(self.world.weather.workers) {
            if self.world.chance.happens(400) {
                // It dies before the effect, and nobody can know.
                self.is_dead = true;
                return;
            }
            self.world
                .note(format_args!("{} stalls before an effect", self.session));
            let ms = self.world.chance.between(5_000, 80_000);
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        let mut ledger = self.world.outside.ledger();
        ledger.entry(ack.key).or_default().n_times += 1;
        drop(ledger);
        self.world
            .note(format_args!("{} causes {:?}", self.session, ack.key));
        held.phase = report(held);
    }

    fn acknowledged(&mut self, ack: &Ack) {
        if ack.code == Ack::ACCEPTED {
            self.world.judge_result(ack.key);
        }
        if let Some(held) = self.held.remove(&ack.key) {
            match held.phase {
                Phase::Reporting(report) => {
                    if self.reported.len() == REMEMBERED_MAX {
                        self.reported.remove(0);
                    }
                    self.reported.push(*report);
                }
                Phase::Checkpointing { .. } => lose(&self.world, ack.key),
                Phase::Working { .. } => {}
            }
        }
    }

    /// What a dying worker was about to do may never happen.
    fn lose_all(&mut self) {
        for (key, held) in std::mem::take(&mut self.held) {
            if matches!(held.phase, Phase::Checkpointing { .. }) {
                lose(&self.world, key);
            }
        }
    }
}

fn lose(world: &World, key: TurnKey) {
    world.outside.ledger().entry(key).or_default().may_be_lost = true;
}

async fn send(
    world: &Arc<World>,
    node: &Arc<Node>,
    request: &ExchangeRequest,
) -> Option<Result<bytes::Bytes, EngineError>> {
    let request = request.clone();
    call(world, node, |node| async move {
        node.engine.exchange("workers", &EVERYTHING, request).await
    })
    .await
}

fn report(held: &Held) -> Phase {
    let result = match &held.act {
        Act::Complete { outcome, output } => TurnResult::Complete {
            outcome: (*outcome).to_owned(),
            output: output.clone(),
        },
        Act::Effect { outcome } => TurnResult::Complete {
            outcome: (*outcome).to_owned(),
            output: json!({}),
        },
        Act::HandOn | Act::Hang => TurnResult::Complete {
            outcome: "handed_on".to_owned(),
            output: json!({}),
        },
        Act::Ask {
            expires_in_ms,
            wake_in_ms,
        } => TurnResult::Ask(Ask {
            audience: Audience::Applicant,
            kind: "question".to_owned(),
            body: json!({ "label": held.input.arguments["label"] }),
            state: json!({ "v": 1 }),
            expires_in_ms: *expires_in_ms,
            wake_in_ms: *wake_in_ms,
        }),
        Act::Fail { error } => TurnResult::Fail {
            error: (*error).to_owned(),
            cause: "as planned".to_owned(),
        },
    };
    Phase::Reporting(Box::new(Report {
        key: held.input.key,
        what: ReportKind::Result { result },
    }))
}

impl World {
    fn is_open(&self, key: TurnKey) -> Option<btrust_machine::OpenTurn> {
        let turns = self.state(key.task.workflow)?.open_turns();
        turns
            .into_iter()
            .find(|it| (it.task, it.attempt, it.turn) == (key.task.number, key.attempt, key.turn))
    }

    /// A result that is acknowledged is committed.
    fn judge_result(&self, key: TurnKey) {
        if self.is_open(key).is_some() || self.state(key.task.workflow).is_none() {
            self.violated(
                "an acknowledged result is committed",
                format_args!("{key:?}"),
            );
        }
        let now_ms = self.elapsed_ms();
        self.memory().acknowledged.entry(key).or_insert(now_ms);
    }

    /// A checkpoint that is acknowledged is committed.
    fn judge_checkpoint(&self, key: TurnKey) {
        if self.is_open(key).is_some_and(|it| it.checkpoint.is_none()) {
            self.violated(
                "an acknowledged checkpoint is committed",
                format_args!("{key:?}"),
            );
        }
    }

    /// A turn that is given out has been committed, and nobody has had its result acknowledged before.
    fn judge_delivery(&self, input: &TurnInput, begun_ms: i64, is_current: bool) {
        let memory = self.memory();
        let is_known = memory.opened.contains(&input.key);
        let acknowledged_ms = memory.acknowledged.get(&input.key).copied();
        // A cancelling ends a pause.
        let workflow = input.key.task.workflow;
        let paused_ms = memory.paused.get(&workflow).copied();
        let paused_ms = paused_ms.filter(|_| !memory.cancelled.contains_key(&workflow));
        drop(memory);
        let key = input.key;
        if !is_known {
            self.violated(
                "a turn that is given out is committed",
                format_args!("{key:?}"),
            );
        }
        if is_current && acknowledged_ms.is_some_and(|it| it < begun_ms) {
            self.violated(
                "an acknowledged turn is not given out again",
                format_args!("{key:?}"),
            );
        }
        if is_current && paused_ms.is_some_and(|it| it < begun_ms) {
            self.violated(
                "a paused workflow is handed to nobody",
                format_args!("{key:?}"),
            );
        }
    }
}
