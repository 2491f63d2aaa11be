//! Room for what waits for the committers: counted in commands and in bytes, some of both for reports only.
//!
//! What workers report, and what the engine itself commands, ends work that has begun: it is never
//! refused before what would begin more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use btrust_machine::{Command, TurnResult};

use crate::error::EngineError;
use crate::mailbox::Request;

/// Commands of each mailbox that only reports may be.
///
/// Source: eight exchanges that are full of results.
pub const REPORTS_ROOM: usize = 2_048;
/// Bytes of documents, as compact JSON, that may wait for all committers together.
///
/// Source: in memory a document takes about four times as much, so 256 MB at most.
pub const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Those of them that only reports may be.
pub const REPORTS_BYTES_ROOM: usize = 16 * 1024 * 1024;

/// The bytes that wait now; clones share them.
#[derive(Clone, Default)]
pub struct WaitingBytes(Arc<AtomicUsize>);

/// The bytes of one command; they are given back when it is dropped.
pub struct Room {
    bytes: usize,
    waiting: WaitingBytes,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.waiting.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl WaitingBytes {
    /// Takes room for a request.
    ///
    /// # Errors
    ///
    /// [`EngineError::Overloaded`] when there is none.
    pub fn take(&self, request: &Request) -> Result<Room, EngineError> {
        let bytes = bytes(request);
        let bytes_max = if is_report(request) {
            WAITING_BYTES_MAX
        } else {
            WAITING_BYTES_MAX - REPORTS_BYTES_ROOM
        };
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        let room = Room {
            bytes,
            waiting: self.clone(),
        };
        if 0 < bytes && bytes_max < before + bytes {
            return Err(EngineError::Overloaded);
        }
        Ok(room)
    }

    /// The bytes that wait now.
    pub fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whether the request ends work that has begun.
pub fn is_report(request: &Request) -> bool {
    match request {
        Request::Command { command, .. } => matches!(
            **command,
            Command::TurnResult { .. }
                | Command::Checkpoint { .. }
                | Command::HeartbeatMissed { .. }
                | Command::LeaseLost { .. }
                | Command::Tick
        ),
        Request::Wake => true,
        _ => false,
    }
}

/// The bytes of the documents that a request carries; counted once for each document, which the state
/// machine does anyway.
fn bytes(request: &Request) -> usize {
    match request {
        Request::Start(start) => start.input.size_bytes(),
        Request::Command { command, .. } => match &**command {
            Command::TurnResult { result, .. } => match result {
                TurnResult::Complete { output, .. } | TurnResult::Output { output } => {
                    output.size_bytes()
                }
                TurnResult::Ask { body, state, .. } => body.size_bytes() + state.size_bytes(),
                TurnResult::Fail { .. } => 0,
            },
            Command::Checkpoint { state, .. } => state.size_bytes(),
            Command::Submit { body, .. } => body.size_bytes(),
            Command::TokenSuccess { result, .. } => result.size_bytes(),
            _ => 0,
        },
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use btrust_machine::Payload;
    use btrust_schemas::ids::WorkflowId;
    use serde_json::Value;

    use super::*;

    fn request(command: Command) -> Request {
        Request::Command {
            workflow: WorkflowId::new(1, [1; 15]),
            tenant: None,
            queues: None,
            command: Box::new(command),
        }
    }

    fn document(n_bytes: usize) -> Payload {
        // The quotes count as well.
        Payload::from(Value::String("x".repeat(n_bytes - 2)))
    }

    #[test]
    fn reports_have_room_left_when_nothing_else_has() {
        let waiting = WaitingBytes::default();
        let success = |n_bytes| {
            request(Command::TokenSuccess {
                token: String::new(),
                result: document(n_bytes),
            })
        };
        let report = |n_bytes| {
            request(Command::Checkpoint {
                task: 1,
                attempt: 1,
                turn: 1,
                state: document(n_bytes),
            })
        };
        let others = WAITING_BYTES_MAX - REPORTS_BYTES_ROOM;
        let held = waiting.take(&success(others)).ok();
        assert!(held.is_some());
        assert_eq!(
            waiting.take(&success(2)).err(),
            Some(EngineError::Overloaded)
        );
        let reported = waiting.take(&report(REPORTS_BYTES_ROOM)).ok();
        assert!(reported.is_some());
        assert_eq!(
            waiting.take(&report(2)).err(),
            Some(EngineError::Overloaded)
        );
        // What carries no document is limited by its number only.
        assert!(waiting.take(&request(Command::Tick)).is_ok());
        drop((held, reported));
        assert_eq!(waiting.now(), 0);
    }
}
