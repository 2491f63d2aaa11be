//! Regular expressions: JavaScript's meaning, a bounded size, and no backtracking.

use regex::RegexBuilder;

/// Largest program that a pattern may compile to, in bytes.
///
/// A pattern is compiled again for every call, in time that grows with this size.
const PROGRAM_BYTES_MAX: usize = 64 * 1024;

/// Sizes by which the cost of a pattern is told apart, in bytes.
const PROGRAM_BYTES_STEPS: [usize; 5] = [2 * 1024, 4 * 1024, 8 * 1024, 16 * 1024, 32 * 1024];

/// Rewrites a pattern so that `\w`, `\d` and `\b` mean what they mean in JavaScript: ASCII only.
pub(super) fn translate(pattern: &str) -> String {
    let mut text = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    let mut in_class = false;
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('w') if in_class => text.push_str("0-9A-Za-z_"),
                Some('w') => text.push_str("[0-9A-Za-z_]"),
                Some('d') if in_class => text.push_str("0-9"),
                Some('d') => text.push_str("[0-9]"),
                Some('W') => text.push_str("[^0-9A-Za-z_]"),
                Some('D') => text.push_str("[^0-9]"),
                Some('b') if !in_class => text.push_str(r"(?-u:\b)"),
                Some('B') if !in_class => text.push_str(r"(?-u:\B)"),
                Some(other) => {
                    text.push('\\');
                    text.push(other);
                }
                None => text.push('\\'),
            },
            // A class has no classes inside in JavaScript, and no set operators.
            '[' if in_class => text.push_str(r"\["),
            '&' | '~' if in_class => {
                text.push('\\');
                text.push(character);
            }
            _ => {
                in_class = character == '[' || (in_class && character != ']');
                text.push(character);
            }
        }
    }
    text
}

/// How much a pattern costs for each byte of text; an error says why it cannot be used.
pub(super) fn weight(pattern: &str, flags: &str) -> Result<u64, String> {
    let compiles = |bytes: usize| {
        RegexBuilder::new(pattern)
            .case_insensitive(flags.contains('i'))
            .multi_line(flags.contains('m'))
            .dot_matches_new_line(flags.contains('s'))
            .size_limit(bytes)
            .nest_limit(50)
            .build()
    };
    match compiles(PROGRAM_BYTES_MAX) {
        Ok(_) => {}
        Err(regex::Error::CompiledTooBig(_)) => {
            return Err(format!("the pattern /{pattern}/ is too large"));
        }
        Err(_) => {
            return Err(format!(
                "the pattern /{pattern}/ is not a regular expression without look-around and back-references"
            ));
        }
    }
    let smaller = PROGRAM_BYTES_STEPS
        .iter()
        .position(|bytes| compiles(*bytes).is_ok());
    let power = smaller.unwrap_or(PROGRAM_BYTES_STEPS.len());
    Ok(1 << power)
}
