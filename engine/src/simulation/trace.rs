//! What has happened in a simulation, as text: the same seed gives the same bytes.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// Lines of a trace that a failure shows.
const SHOWN_LINES: usize = 60;

#[derive(Default)]
pub struct Trace(Mutex<String>);

impl Trace {
    /// Adds a line that happened at `at_ms` of the simulation.
    pub fn add(&self, at_ms: i64, line: std::fmt::Arguments<'_>) {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(text, "{at_ms} {line}").expect("a text takes everything");
    }

    pub fn hash(&self) -> String {
        let text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hex::encode(Sha256::digest(text.as_bytes()))
    }

    pub fn text(&self) -> String {
        let text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        text.clone()
    }

    /// The last lines.
    pub fn tail(&self) -> String {
        let text = self.text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }
}
