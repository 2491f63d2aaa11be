//! Where every field of every ICAO 9303 zone stands, and what its check digits cover.
//!
//! Source: ICAO Doc 9303 part 4 (TD3), part 5 (TD1), part 6 (TD2), part 7 (MRV-A, MRV-B).

use serde::{Deserialize, Serialize};

/// The five layouts of a machine readable zone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Card, 3 lines of 30.
    Td1,
    /// Older card, 2 lines of 36.
    Td2,
    /// Passport, 2 lines of 44.
    Td3,
    /// Visa of passport width, 2 lines of 44, no composite check digit.
    MrvA,
    /// Visa of card width, 2 lines of 36, no composite check digit.
    MrvB,
}

/// Which symbols a place may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Alphabet {
    Letters,
    Digits,
    /// Digits, or fillers for the unknown parts of a date.
    DateDigits,
    /// `M`, `F`, `X` or a filler.
    Sex,
    /// Digits, letters and fillers.
    Mixed,
}

/// One field of the zone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Slot {
    DocumentCode,
    IssuingState,
    Names,
    DocumentNumber,
    Nationality,
    BirthDate,
    Sex,
    ExpiryDate,
    /// TD3 personal number; TD1 first line, TD2 and visas second line.
    OptionalFirst,
    /// TD1 second line only.
    OptionalSecond,
}

/// One check digit of the zone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CheckDigit {
    DocumentNumber,
    BirthDate,
    ExpiryDate,
    OptionalFirst,
    Composite,
}

/// Columns `start..end` of one line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub line: usize,
    pub start: usize,
    pub end: usize,
}

pub(super) struct Place {
    pub slot: Slot,
    pub span: Span,
    pub alphabet: Alphabet,
}

pub(super) struct Rule {
    pub digit: CheckDigit,
    pub covers: &'static [Span],
    pub at: Span,
    /// A filler may stand for zero when everything covered is filler.
    pub blank_allowed: bool,
}

const fn span(line: usize, start: usize, end: usize) -> Span {
    Span { line, start, end }
}

const fn place(slot: Slot, line: usize, start: usize, end: usize, alphabet: Alphabet) -> Place {
    Place {
        slot,
        span: span(line, start, end),
        alphabet,
    }
}

const fn rule(digit: CheckDigit, covers: &'static [Span], line: usize, column: usize) -> Rule {
    Rule {
        digit,
        covers,
        at: span(line, column, column + 1),
        blank_allowed: false,
    }
}

impl Format {
    pub const ALL: [Self; 5] = [Self::Td3, Self::Td1, Self::Td2, Self::MrvA, Self::MrvB];

    #[must_use]
    pub const fn n_lines(self) -> usize {
        match self {
            Self::Td1 => 3,
            Self::Td2 | Self::Td3 | Self::MrvA | Self::MrvB => 2,
        }
    }

    /// Symbols in each line.
    #[must_use]
    pub const fn line_length(self) -> usize {
        match self {
            Self::Td1 => 30,
            Self::Td2 | Self::MrvB => 36,
            Self::Td3 | Self::MrvA => 44,
        }
    }

    /// Whether a document code may stand in this layout: visas, and only they, begin with `V`.
    pub(super) const fn admits(self, first_symbol: u8) -> bool {
        let is_visa = matches!(self, Self::MrvA | Self::MrvB);
        is_visa == (first_symbol == b'V')
    }

    pub(super) fn places(self) -> &'static [Place] {
        match self {
            Self::Td1 => TD1_PLACES,
            Self::Td2 => TD2_PLACES,
            Self::Td3 => TD3_PLACES,
            Self::MrvA => MRV_A_PLACES,
            Self::MrvB => MRV_B_PLACES,
        }
    }

    pub(super) fn rules(self) -> &'static [Rule] {
        match self {
            Self::Td1 => TD1_RULES,
            Self::Td2 => TD2_RULES,
            Self::Td3 => TD3_RULES,
            Self::MrvA | Self::MrvB => MRV_RULES,
        }
    }

    pub(super) fn span_of(self, slot: Slot) -> Option<Span> {
        self.places()
            .iter()
            .find(|it| it.slot == slot)
            .map(|it| it.span)
    }
}

const TD3_PLACES: &[Place] = &[
    place(Slot::DocumentCode, 0, 0, 2, Alphabet::Letters),
    place(Slot::IssuingState, 0, 2, 5, Alphabet::Letters),
    place(Slot::Names, 0, 5, 44, Alphabet::Letters),
    place(Slot::DocumentNumber, 1, 0, 9, Alphabet::Mixed),
    place(Slot::Nationality, 1, 10, 13, Alphabet::Letters),
    place(Slot::BirthDate, 1, 13, 19, Alphabet::DateDigits),
    place(Slot::Sex, 1, 20, 21, Alphabet::Sex),
    place(Slot::ExpiryDate, 1, 21, 27, Alphabet::Digits),
    place(Slot::OptionalFirst, 1, 28, 42, Alphabet::Mixed),
];
const TD2_PLACES: &[Place] = &[
    place(Slot::DocumentCode, 0, 0, 2, Alphabet::Letters),
    place(Slot::IssuingState, 0, 2, 5, Alphabet::Letters),
    place(Slot::Names, 0, 5, 36, Alphabet::Letters),
    place(Slot::DocumentNumber, 1, 0, 9, Alphabet::Mixed),
    place(Slot::Nationality, 1, 10, 13, Alphabet::Letters),
    place(Slot::BirthDate, 1, 13, 19, Alphabet::DateDigits),
    place(Slot::Sex, 1, 20, 21, Alphabet::Sex),
    place(Slot::ExpiryDate, 1, 21, 27, Alphabet::Digits),
    place(Slot::OptionalFirst, 1, 28, 35, Alphabet::Mixed),
];
const MRV_A_PLACES: &[Place] = &[
    place(Slot::DocumentCode, 0, 0, 2, Alphabet::Letters),
    place(Slot::IssuingState, 0, 2, 5, Alphabet::Letters),
    place(Slot::Names, 0, 5, 44, Alphabet::Letters),
    place(Slot::DocumentNumber, 1, 0, 9, Alphabet::Mixed),
    place(Slot::Nationality, 1, 10, 13, Alphabet::Letters),
    place(Slot::BirthDate, 1, 13, 19, Alphabet::DateDigits),
    place(Slot::Sex, 1, 20, 21, Alphabet::Sex),
    place(Slot::ExpiryDate, 1, 21, 27, Alphabet::Digits),
    place(Slot::OptionalFirst, 1, 28, 44, Alphabet::Mixed),
];
const MRV_B_PLACES: &[Place] = &[
    place(Slot::DocumentCode, 0, 0, 2, Alphabet::Letters),
    place(Slot::IssuingState, 0, 2, 5, Alphabet::Letters),
    place(Slot::Names, 0, 5, 36, Alphabet::Letters),
    place(Slot::DocumentNumber, 1, 0, 9, Alphabet::Mixed),
    place(Slot::Nationality, 1, 10, 13, Alphabet::Letters),
    place(Slot::BirthDate, 1, 13, 19, Alphabet::DateDigits),
    place(Slot::Sex, 1, 20, 21, Alphabet::Sex),
    place(Slot::ExpiryDate, 1, 21, 27, Alphabet::Digits),
    place(Slot::OptionalFirst, 1, 28, 36, Alphabet::Mixed),
];
const TD1_PLACES: &[Place] = &[
    place(Slot::DocumentCode, 0, 0, 2, Alphabet::Letters),
    place(Slot::IssuingState, 0, 2, 5, Alphabet::Letters),
    place(Slot::DocumentNumber, 0, 5, 14, Alphabet::Mixed),
    place(Slot::OptionalFirst, 0, 15, 30, Alphabet::Mixed),
    place(Slot::BirthDate, 1, 0, 6, Alphabet::DateDigits),
    place(Slot::Sex, 1, 7, 8, Alphabet::Sex),
    place(Slot::ExpiryDate, 1, 8, 14, Alphabet::Digits),
    place(Slot::Nationality, 1, 15, 18, Alphabet::Letters),
    place(Slot::OptionalSecond, 1, 18, 29, Alphabet::Mixed),
    place(Slot::Names, 2, 0, 30, Alphabet::Letters),
];

const MRV_RULES: &[Rule] = &[
    rule(CheckDigit::DocumentNumber, &[span(1, 0, 9)], 1, 9),
    rule(CheckDigit::BirthDate, &[span(1, 13, 19)], 1, 19),
    rule(CheckDigit::ExpiryDate, &[span(1, 21, 27)], 1, 27),
];
const TD2_RULES: &[Rule] = &[
    rule(CheckDigit::DocumentNumber, &[span(1, 0, 9)], 1, 9),
    rule(CheckDigit::BirthDate, &[span(1, 13, 19)], 1, 19),
    rule(CheckDigit::ExpiryDate, &[span(1, 21, 27)], 1, 27),
    rule(
        CheckDigit::Composite,
        &[span(1, 0, 10), span(1, 13, 20), span(1, 21, 35)],
        1,
        35,
    ),
];
const TD3_RULES: &[Rule] = &[
    rule(CheckDigit::DocumentNumber, &[span(1, 0, 9)], 1, 9),
    rule(CheckDigit::BirthDate, &[span(1, 13, 19)], 1, 19),
    rule(CheckDigit::ExpiryDate, &[span(1, 21, 27)], 1, 27),
    Rule {
        digit: CheckDigit::OptionalFirst,
        covers: &[span(1, 28, 42)],
        at: span(1, 42, 43),
        blank_allowed: true,
    },
    rule(
        CheckDigit::Composite,
        &[span(1, 0, 10), span(1, 13, 20), span(1, 21, 43)],
        1,
        43,
    ),
];
const TD1_RULES: &[Rule] = &[
    rule(CheckDigit::DocumentNumber, &[span(0, 5, 14)], 0, 14),
    rule(CheckDigit::BirthDate, &[span(1, 0, 6)], 1, 6),
    rule(CheckDigit::ExpiryDate, &[span(1, 8, 14)], 1, 14),
    rule(
        CheckDigit::Composite,
        &[
            span(0, 5, 30),
            span(1, 0, 7),
            span(1, 8, 15),
            span(1, 18, 29),
        ],
        1,
        29,
    ),
];
