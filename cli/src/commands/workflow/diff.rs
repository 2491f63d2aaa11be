//! `btrust workflow diff`: what differs between two definitions, state by state.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use btrust_machine::{Difference, diff};
use clap::Args;
use serde_json::json;

use super::read_json;

/// Longest value that is printed whole, in characters; a line of a terminal has little more.
const SHOWN_CHARS_MAX: usize = 100;

#[derive(Args)]
pub struct Diff {
    /// The earlier definition
    before: PathBuf,
    /// The later definition
    after: PathBuf,
    /// Print the differences as JSON, with whole values
    #[arg(long)]
    json: bool,
}

impl Diff {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let differences = diff(&read_json(&self.before)?, &read_json(&self.after)?);
        if self.json {
            say!("{:#}", json!({ "differences": differences }));
        } else {
            print!("{}", show(&differences));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show(differences: &[Difference]) -> String {
    let mut shown = String::new();
    for it in differences {
        // Writing to a string cannot fail.
        let _ = writeln!(
            shown,
            "{} at {}",
            it.op.as_str().replace('_', " "),
            it.pointer
        );
        for (sign, value) in [('-', &it.before), ('+', &it.after)] {
            if let Some(value) = value {
                let _ = writeln!(shown, "  {sign} {}", shorten(&value.to_string()));
            }
        }
    }
    if differences.is_empty() {
        shown.push_str("no difference\n");
    }
    shown
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_shown_one_after_the_other_and_long_values_are_cut() {
        let before = json!({ "title": "a", "timeoutSeconds": 1 });
        let after = json!({ "title": "ä".repeat(200), "timeoutSeconds": 1 });
        let shown = show(&diff(&before, &after));
        let cut = format!("\"{}…", "ä".repeat(SHOWN_CHARS_MAX - 1));
        assert_eq!(
            shown,
            format!("setting changed at /title\n  - \"a\"\n  + {cut}\n")
        );
        assert_eq!(show(&diff(&after, &after)), "no difference\n");
    }
}
