//! What a step is, and what it is given for one turn.

use std::future::Future;
use std::panic;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot, watch};

use btrust_platform::clock::SharedClock;
use btrust_platform::objects::{EvidenceStore, byte_stream};
use btrust_schemas::exchange::{Ack, Progress};
use btrust_schemas::ids::{ObjectId, WorkflowId};
use btrust_schemas::object::ObjectRef;
use btrust_schemas::turn::{
    Ask, Audience, ERROR_WORKER_FAULT, TurnInput, TurnKey, TurnReason, TurnResult,
};

use super::cpu::CpuPool;

/// One kind of work that a `Task` state may name: a conversation in durable turns.
///
/// A step keeps nothing between turns: what it must remember travels in
/// [`Ask::state`], so any worker takes any turn. A turn runs **at least once**:
/// the process may die after an effect and before the report of it. An effect
/// that must not happen twice is announced by [`Context::checkpoint`] first.
#[async_trait]
pub trait Step: Send + Sync + 'static {
    /// Name of the step and of its queue, as in `kyc:<name>`.
    fn name(&self) -> &'static str;

    /// Most turns of this step that one worker process runs at once.
    fn in_flight_max(&self) -> u32;

    /// Takes one turn.
    ///
    /// # Errors
    ///
    /// A [`Fault`]: infrastructure failed or the input breaks the contract. What
    /// a person or the evidence did is never an error but an outcome.
    async fn turn(&self, context: &Context, input: TurnInput) -> Result<TurnResult, Fault>;
}

/// Why a turn could not be taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// The attempt ends with this error, which the definition may retry or catch.
    #[error("{error}: {cause}")]
    Failed { error: &'static str, cause: String },
    /// The engine does not want this turn any more: it is not reported at all.
    #[error("the turn is closed")]
    Superseded,
}

/// The arguments or the parked state do not fit the step's contract.
pub const ERROR_INPUT_INVALID: &str = "BTrust.InputInvalid";
/// A store of the platform (rows, documents, keys) did not answer.
pub const ERROR_STORE_UNAVAILABLE: &str = "BTrust.StoreUnavailable";
/// An object that the input names is gone, erased, or not what it was.
pub const ERROR_EVIDENCE_UNREADABLE: &str = "BTrust.EvidenceUnreadable";

impl Fault {
    pub fn failed(error: &'static str, cause: impl Into<String>) -> Self {
        Self::Failed {
            error,
            cause: cause.into(),
        }
    }

    /// A store did not answer; the driver's words go to the log, not into history.
    pub fn store(what: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, store = what, "a store did not answer");
        Self::failed(ERROR_STORE_UNAVAILABLE, format!("{what} did not answer"))
    }

    /// The worker itself broke a promise.
    pub fn worker(cause: impl Into<String>) -> Self {
        Self::failed(ERROR_WORKER_FAULT, cause)
    }
}

/// What a turn may use of the world outside.
#[derive(Clone)]
pub struct Context {
    pub key: TurnKey,
    pub tenant: String,
    pub workflow: WorkflowId,
    pub clock: SharedClock,
    pub(crate) evidence: Arc<EvidenceStore>,
    pub(crate) cpu: CpuPool,
    pub(crate) to_loop: mpsc::Sender<FromTurn>,
    pub(crate) cancelled: watch::Receiver<bool>,
}

/// What a running turn tells the exchange loop.
#[derive(Debug)]
pub(crate) enum FromTurn {
    Checkpoint {
        key: TurnKey,
        state: Value,
        acked: oneshot::Sender<String>,
    },
    Progress(Progress),
    Ended {
        key: TurnKey,
        result: Result<TurnResult, Fault>,
    },
}

impl Context {
    /// Names this turn for everything that must happen at most once in it.
    pub fn idempotency_key(&self) -> String {
        format!("{}/{}/{}", self.key.task, self.key.attempt, self.key.turn)
    }

    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Announces an effect and returns only when the announcement is durable.
    ///
    /// # Errors
    ///
    /// [`Fault::Superseded`] if the engine no longer wants this turn: the effect
    /// must not be carried out.
    pub async fn checkpoint(&self, state: &impl Serialize) -> Result<(), Fault> {
        let state = to_value(state)?;
        let (acked, answer) = oneshot::channel();
        let checkpoint = FromTurn::Checkpoint {
            key: self.key,
            state,
            acked,
        };
        self.to_loop
            .send(checkpoint)
            .await
            .map_err(|_| Fault::Superseded)?;
        match answer.await {
            Ok(code) if code == Ack::ACCEPTED => Ok(()),
            Ok(_) | Err(_) => Err(Fault::Superseded),
        }
    }

    /// Tells how far the turn is, for people who look at the workflow; never kept in its history.
    ///
    /// It rides with the next call to core, so within 5 s. What is too large is left out, and where it
    /// comes too fast only the latest is told.
    pub fn progress(&self, percent: Option<u8>, note: Option<&str>, details: Value) {
        let progress = Progress {
            key: self.key,
            percent,
            note: note.map(str::to_owned),
            details: (!details.is_null()).then_some(details),
        };
        // A full channel means that the loop has more urgent things to do.
        let _ = self
            .to_loop
            .try_send(FromTurn::Progress(progress.bounded()));
    }

    /// Whether nobody wants the result of this turn any more: its workflow was cancelled, or the
    /// attempt has timed out. A step that notices may stop; what it still reports may be refused.
    pub fn is_cancelled(&self) -> bool {
        *self.cancelled.borrow()
    }

    /// Returns when [`Context::is_cancelled`] has become true; otherwise never.
    pub async fn cancelled(&self) {
        let mut cancelled = self.cancelled.clone();
        if cancelled.wait_for(|it| *it).await.is_err() {
            // Whoever could cancel is gone.
            std::future::pending::<()>().await;
        }
    }

    /// Reads an object of this workflow; the store refuses another workflow's, and other content.
    pub async fn read(&self, object: &ObjectRef) -> Result<Bytes, Fault> {
        let read = self.evidence.get(&self.tenant, self.workflow, object).await;
        read.map_err(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, object = %object.object, "cannot read an object");
            Fault::failed(ERROR_EVIDENCE_UNREADABLE, format!("{} cannot be read", object.object))
        })
    }

    /// Stores an object of this workflow.
    pub async fn store(&self, media_type: &str, bytes: Bytes) -> Result<ObjectRef, Fault> {
        let put = self
            .evidence
            .put(&self.tenant, self.workflow, media_type, byte_stream(bytes))
            .await;
        put.map_err(|error| Fault::store("the object store", &error))
    }

    /// Stores the one object of this `purpose` that the task has: done again, by whichever turn or
    /// attempt, it takes the place of what was stored. The same bytes are expected each time.
    pub async fn store_once(
        &self,
        purpose: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<ObjectRef, Fault> {
        let name = Sha256::digest(format!("{purpose}/{}", self.key.task));
        let mut random = [0; 8];
        random.copy_from_slice(&name[..8]);
        let object = ObjectId {
            workflow: self.workflow,
            random,
        };
        let bytes = byte_stream(bytes);
        let put = self
            .evidence
            .put_as(&self.tenant, object, media_type, bytes);
        put.await
            .map_err(|error| Fault::store("the object store", &error))
    }

    /// Runs a long computation on one of the machine's cores, after a free one is found.
    pub async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Fault> {
        self.cpu.run(work).await
    }
}

/// Reads the arguments of a turn.
pub fn arguments<T: DeserializeOwned>(input: &TurnInput) -> Result<T, Fault> {
    parse(&input.arguments, "the arguments")
}

/// Reads what the step parked in its previous turn, if there was one.
pub fn parked<T: DeserializeOwned>(input: &TurnInput) -> Result<Option<T>, Fault> {
    input
        .state
        .as_ref()
        .map(|it| parse(it, "the parked state"))
        .transpose()
}

/// The serde error is not repeated: it may quote a value.
fn parse<T: DeserializeOwned>(value: &Value, what: &str) -> Result<T, Fault> {
    T::deserialize(value).map_err(|_| {
        Fault::failed(
            ERROR_INPUT_INVALID,
            format!("{what} do not fit the step's contract"),
        )
    })
}

/// Ends the task with a published outcome.
pub fn complete(outcome: &str, output: &impl Serialize) -> Result<TurnResult, Fault> {
    Ok(TurnResult::Complete {
        outcome: outcome.to_owned(),
        output: to_value(output)?,
    })
}

/// A question that stays open for `expires_in_ms`.
pub fn ask(
    audience: Audience,
    kind: &str,
    body: &impl Serialize,
    state: &impl Serialize,
    expires_in_ms: i64,
) -> Result<Ask, Fault> {
    Ok(Ask {
        audience,
        kind: kind.to_owned(),
        body: to_value(body)?,
        state: to_value(state)?,
        expires_in_ms,
        wake_in_ms: None,
    })
}

fn to_value(value: &impl Serialize) -> Result<Value, Fault> {
    serde_json::to_value(value).map_err(|_| Fault::worker("a value of ours has no JSON form"))
}

/// Takes one turn in a task of its own, so that a panic ends the turn and not the worker.
pub(super) async fn guarded(
    turn: impl Future<Output = Result<TurnResult, Fault>> + Send + 'static,
) -> Result<TurnResult, Fault> {
    match tokio::spawn(turn).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => {
            // The message may quote data: it stays with the default panic hook.
            drop(error.into_panic());
            Err(Fault::worker("the step panicked"))
        }
        Err(_) => Err(Fault::Superseded),
    }
}

/// Turns a lost computation into a fault of this turn.
pub(super) fn joined<T>(result: Result<T, tokio::task::JoinError>) -> Result<T, Fault> {
    match result {
        Ok(value) => Ok(value),
        Err(error) if error.is_panic() => panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Fault::Superseded),
    }
}

/// The submission behind this turn, if there is one and it fits the contract.
///
/// The gateway refuses what does not fit; should it get here all the same, the
/// step asks again instead of failing the attempt on a person's account.
pub fn submission<T: DeserializeOwned>(input: &TurnInput) -> Option<T> {
    let TurnReason::Submission { body, .. } = &input.reason else {
        return None;
    };
    T::deserialize(body).ok()
}
