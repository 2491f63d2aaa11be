//! Machine readable zones: reading them without ever presenting a wrong value, and writing them.
//!
//! **What check digits prove.** A digit-only field with one wrong digit never passes its check digit. In a field that
//! may also hold letters, two symbols that count the same modulo ten (`8` and `S`, `6` and `G`) pass for each other;
//! only the reader's own certainty tells them apart, which is why a [`Glyph`] carries its rivals. Names, nationality
//! and sex have no check digit at all. [`Field::protected`] says which case a value is.
//!
//! **What is repaired.** A symbol that its place cannot hold (a letter in a date), lost fillers of a run, and a symbol
//! for which the reader itself offered the one rival that satisfies every check digit. All else is refused, naming the
//! check digit that failed.

mod compose;
mod glyph;
mod layout;
mod parse;
mod states;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use self::compose::{ComposeError, Contents, compose};
pub use self::glyph::{FILLER, Glyph, certain_line, check_digit};
pub use self::layout::{CheckDigit, Format, Slot};
pub use self::parse::parse;
pub use self::states::{is_known_state, is_specimen_state};

/// One value of the zone.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Field {
    /// Without fillers; names with single spaces, as transliterated in the zone.
    pub value: String,
    /// Whether a check digit (and, for letters among digits, the reader's certainty) stands behind the value.
    pub protected: bool,
    /// The reader's certainty of the least certain symbol, in `[0, 1]`; 1 where nothing is written.
    pub confidence: f32,
}

/// A symbol that was changed before the zone was accepted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Repair {
    pub line: usize,
    pub column: usize,
    pub from: char,
    pub to: char,
    pub proof: Proof,
}

/// Why a repair is more than a guess.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Proof {
    /// The place cannot hold what was read, and every check digit over it passes after the change.
    Alphabet,
    /// The reader offered this rival, and it is the only choice that passes.
    CheckDigit,
}

/// A zone whose check digits all pass.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mrz {
    pub format: Format,
    /// The zone as accepted, after repairs.
    pub lines: Vec<String>,
    pub document_code: Field,
    pub issuing_state: Field,
    /// Surname.
    pub primary_identifier: Field,
    /// Given names.
    pub secondary_identifier: Field,
    pub document_number: Field,
    pub nationality: Field,
    /// `YYMMDD`; fillers for parts that are not known.
    pub birth_date: Field,
    /// `M`, `F`, `X` or empty for unspecified.
    pub sex: Field,
    /// `YYMMDD`.
    pub expiry_date: Field,
    pub optional_first: Field,
    pub optional_second: Field,
    /// Every check digit of the format; all of them pass.
    pub checks: Vec<CheckDigit>,
    pub repairs: Vec<Repair>,
}

/// Why a zone is not presented as read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The lines are no zone at all.
    #[error("{n_lines} lines of these lengths are no machine readable zone")]
    NotAZone { n_lines: usize },
    /// A place holds what it cannot hold.
    #[error("line {line} column {column} holds a symbol that cannot stand there")]
    Alphabet {
        format: Format,
        line: usize,
        column: usize,
    },
    /// These check digits do not pass.
    #[error("check digits of the {format:?} zone do not pass: {failed:?}")]
    CheckDigits {
        format: Format,
        failed: Vec<CheckDigit>,
    },
    /// A date passes its check digit and is no date.
    #[error("the {slot:?} of the zone is no date")]
    Date { format: Format, slot: Slot },
    /// More than one reading passes, and nothing tells which is right.
    #[error("more than one reading of the {format:?} zone passes its check digits")]
    Ambiguous { format: Format },
}
