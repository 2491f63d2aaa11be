//! Finds the one-time code among the messages that the embedded outbox keeps.

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// A message as `btrust otp outbox --json` prints it.
#[derive(Deserialize)]
struct Message {
    to: String,
    text: String,
}

/// The code in the latest message to `to`: a run of exactly `n_digits` digits.
///
/// `printed` holds one JSON message a line, oldest first.
///
/// # Errors
///
/// When the output is malformed.
pub fn latest_code(printed: &str, to: &str, n_digits: usize) -> Result<Option<String>> {
    let mut latest = None;
    for line in printed.lines().filter(|it| !it.trim().is_empty()) {
        let message: Message =
            serde_json::from_str(line).context("the outbox printed a malformed message")?;
        if message.to == to {
            latest = code_in(&message.text, n_digits).or(latest);
        }
    }
    Ok(latest)
}

fn code_in(text: &str, n_digits: usize) -> Option<String> {
    text.split(|it: char| !it.is_ascii_digit())
        .find(|it| it.len() == n_digits)
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTBOX: &str = r#"{"channel":"sms","to":"+12025550143","text":"Your code is 111111"}
{"channel":"sms","to":"+12025550199","text":"Your code is 222222"}
{"channel":"sms","to":"+12025550143","text":"483920 is your code, valid for 5 minutes. Call 12345678."}
"#;

    #[test]
    fn the_newest_code_to_the_applicant_counts() {
        assert_eq!(
            latest_code(OUTBOX, "+12025550143", 6).unwrap().as_deref(),
            Some("483920")
        );
    }

    #[test]
    fn an_outbox_without_a_message_to_the_applicant_holds_no_code() {
        assert_eq!(
            latest_code(OUTBOX, "specimen@example.com", 6).unwrap(),
            None
        );
        assert_eq!(latest_code("", "specimen@example.com", 6).unwrap(), None);
    }
}
