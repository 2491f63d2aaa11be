//! `btrust:signal`: a task that ends with what somebody sends.

use super::{Failure, Run, Trouble, remembered};
use crate::command::{Refusal, TurnResult};
use crate::event::EventKind;
use crate::limits::{SIGNAL_KEYS_MAX, SIGNAL_NAME_CHARS_MAX, SIGNALS_BYTES_MAX, SIGNALS_MAX};
use crate::payload::Payload;
use crate::state::{EarlySignal, Phase, SignalKey, State, Visit};

const SIGNAL_INVALID: &str = "BTrust.SignalInvalid";

/// A signal as its sender gives it.
pub(super) struct Signal<'s> {
    pub name: &'s str,
    pub payload: &'s Payload,
    pub key: &'s str,
    pub digest: &'s str,
    pub by: Option<&'s str>,
}

/// Whether a signal with this key has come before; another one with its key is refused.
pub(super) fn is_repeated(state: &State, key: &str, digest: &str) -> Result<bool, Refusal> {
    let mut known = state.signal_keys.iter();
    match known.find(|it| it.key == remembered(key)) {
        None => Ok(false),
        Some(it) if it.digest == remembered(digest) => Ok(true),
        Some(_) => Err(Refusal::KeyReused),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().count() <= SIGNAL_NAME_CHARS_MAX
}

impl Run<'_> {
    /// The attempt of a task waits for its signal, or takes one that came early.
    pub(super) fn await_signal(
        &mut self,
        thread: u32,
        visit: &Visit,
        arguments: &Payload,
    ) -> Result<(), Trouble> {
        let name = arguments.get("name").and_then(serde_json::Value::as_str);
        let Some(name) = name.filter(|it| is_name(it)) else {
            let cause = format!(
                "`{}` must name its signal with 1 to {SIGNAL_NAME_CHARS_MAX} characters.",
                visit.state
            );
            return Err(Failure::new(SIGNAL_INVALID, cause).into());
        };
        let task = self.task_mut(thread)?;
        task.turn = 1;
        task.phase = Phase::Parked;
        task.signal = Some(name.to_owned());
        let early = self.state.signals.iter().position(|it| it.name == name);
        match early.and_then(|index| self.state.signals.remove(index)) {
            Some(EarlySignal { payload, .. }) => Ok(self.take_signal(thread, payload)?),
            None => Ok(()),
        }
    }

    fn take_signal(&mut self, thread: u32, payload: Payload) -> Result<(), Refusal> {
        self.task_mut(thread)?.signal = None;
        self.conclude(thread, &TurnResult::Output { output: payload })
    }

    /// A signal has come: the state that waits for it takes it, or it is kept until one does.
    pub(super) fn signal(&mut self, signal: &Signal<'_>) -> Result<(), Refusal> {
        let Signal { name, payload, .. } = *signal;
        if self.state.cancelling.is_some() {
            return Err(Refusal::WorkflowCancelling);
        }
        if !is_name(name) {
            return Err(Refusal::SignalNameInvalid);
        }
        if let Some(excess) = payload.excess() {
            return Err(excess.into());
        }
        let waiting = self.state.thread_of_signal(name);
        if waiting.is_none() {
            let kept = self.state.signals.iter().map(|it| it.payload.size_bytes());
            let bytes = kept.sum::<usize>() + payload.size_bytes();
            if SIGNALS_MAX <= self.state.signals.len() || SIGNALS_BYTES_MAX < bytes {
                return Err(Refusal::SignalsFull);
            }
        }
        if self.state.signal_keys.len() == SIGNAL_KEYS_MAX {
            self.state.signal_keys.pop_front();
        }
        self.state.signal_keys.push_back(SignalKey {
            key: remembered(signal.key).to_owned(),
            digest: remembered(signal.digest).to_owned(),
        });
        let received = EventKind::SignalReceived {
            name: name.to_owned(),
            payload: payload.clone(),
            by: signal.by.map(str::to_owned),
        };
        let Some(thread) = waiting else {
            self.emit_aside(crate::state::ROOT, received);
            self.state.signals.push_back(EarlySignal {
                name: name.to_owned(),
                payload: payload.clone(),
            });
            return Ok(());
        };
        self.emit(thread, received);
        self.take_signal(thread, payload.clone())
    }
}
