//! How a fetch tells people where it stands.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// Hears about the steps of a fetch.
pub trait Progress {
    /// A fetch of this many bytes begins.
    fn started(&mut self, bytes_total: u64);
    /// Something worth a line happens.
    fn step(&mut self, text: &str);
    /// So many bytes of all are there.
    fn reached(&mut self, bytes: u64);
    /// The fetch ended.
    fn finished(&mut self);
}

/// Says nothing; for tests and libraries.
pub struct Silent;

impl Progress for Silent {
    fn started(&mut self, _: u64) {}
    fn step(&mut self, _: &str) {}
    fn reached(&mut self, _: u64) {}
    fn finished(&mut self) {}
}

/// One line a step.
struct Lines;

impl Progress for Lines {
    fn started(&mut self, bytes_total: u64) {
        eprintln!("models: {:.1} MB to download", megabytes(bytes_total));
    }

    fn step(&mut self, text: &str) {
        eprintln!("models: {text}");
    }

    fn reached(&mut self, _: u64) {}
    fn finished(&mut self) {}
}

/// A bar with bytes and the step at hand.
struct Bar(ProgressBar);

impl Progress for Bar {
    fn started(&mut self, bytes_total: u64) {
        self.0.set_length(bytes_total);
    }

    fn step(&mut self, text: &str) {
        self.0.set_message(text.to_owned());
    }

    fn reached(&mut self, bytes: u64) {
        self.0.set_position(bytes);
    }

    fn finished(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A progress bar where standard error is a terminal, plain lines elsewhere.
///
/// # Panics
///
/// Never: a test draws the bar's template.
#[must_use]
pub fn standard_error() -> Box<dyn Progress> {
    if !std::io::stderr().is_terminal() {
        return Box::new(Lines);
    }
    let style = ProgressStyle::with_template("models {bar:30} {bytes}/{total_bytes} {msg}")
        .expect("a test draws this template");
    Box::new(Bar(ProgressBar::new(0).with_style(style)))
}

pub(crate) fn megabytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let megabytes = bytes as f64 / 1e6;
    megabytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_has_a_valid_template() {
        let mut progress = standard_error();
        progress.started(10);
        progress.step("one");
        progress.reached(10);
        progress.finished();
        assert!(
            ProgressStyle::with_template("models {bar:30} {bytes}/{total_bytes} {msg}").is_ok()
        );
    }
}
