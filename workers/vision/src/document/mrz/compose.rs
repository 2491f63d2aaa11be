//! Writes a zone: for specimens, and for tests that know the truth.

use super::glyph::{FILLER, check_digit, weight};
use super::layout::{Format, Slot, Span};

/// What a zone says. Letters in upper case, already transliterated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contents {
    pub format: Format,
    pub document_code: String,
    pub issuing_state: String,
    pub primary_identifier: String,
    pub secondary_identifier: String,
    /// Longer than nine symbols only in TD1 and TD2.
    pub document_number: String,
    pub nationality: String,
    /// `YYMMDD`.
    pub birth_date: String,
    /// `M`, `F` or empty.
    pub sex: String,
    /// `YYMMDD`.
    pub expiry_date: String,
    pub optional_first: String,
    /// TD1 only.
    pub optional_second: String,
}

/// Why contents cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ComposeError {
    #[error("{slot:?} is longer than its place of {length_max} symbols")]
    TooLong { slot: Slot, length_max: usize },
    #[error("{slot:?} holds a symbol outside A-Z, 0-9, blank and filler")]
    Alphabet { slot: Slot },
}

/// Writes the lines of a zone, with every check digit. Names that do not fit are cut off at the end.
///
/// # Errors
///
/// [`ComposeError`] names the field that has to be shortened or transliterated.
///
/// # Panics
///
/// Never: what was written is in the alphabet that check digits are made of.
pub fn compose(contents: &Contents) -> Result<Vec<String>, ComposeError> {
    let format = contents.format;
    let mut lines = vec![vec![FILLER; format.line_length()]; format.n_lines()];
    let names = names_of(contents);
    let names_length = format
        .span_of(Slot::Names)
        .map_or(0, |it| it.end - it.start);
    let (number, optional_first) = number_and_overflow(contents)?;
    let values = [
        (Slot::DocumentCode, contents.document_code.as_str()),
        (Slot::IssuingState, contents.issuing_state.as_str()),
        (Slot::Names, names.get(..names_length).unwrap_or(&names)),
        (Slot::DocumentNumber, number.as_str()),
        (Slot::Nationality, contents.nationality.as_str()),
        (Slot::BirthDate, contents.birth_date.as_str()),
        (Slot::Sex, contents.sex.as_str()),
        (Slot::ExpiryDate, contents.expiry_date.as_str()),
        (Slot::OptionalFirst, optional_first.as_str()),
        (Slot::OptionalSecond, contents.optional_second.as_str()),
    ];
    for (slot, value) in values {
        write(&mut lines, format, slot, value)?;
    }
    let is_long = number.len() < contents.document_number.len();
    for rule in format.rules() {
        let is_number = rule.at == number_check_place(format);
        if is_number && is_long {
            continue;
        }
        let covered = rule
            .covers
            .iter()
            .flat_map(|it| lines[it.line][it.start..it.end].to_vec());
        let digit = check_digit(covered).expect("everything written is in the alphabet");
        lines[rule.at.line][rule.at.start] = digit;
    }
    Ok(lines
        .into_iter()
        .map(|it| it.into_iter().map(char::from).collect())
        .collect())
}

fn number_check_place(format: Format) -> Span {
    format.rules()[0].at
}

fn names_of(contents: &Contents) -> String {
    if contents.secondary_identifier.is_empty() {
        return contents.primary_identifier.replace(' ', "<");
    }
    format!(
        "{}<<{}",
        contents.primary_identifier, contents.secondary_identifier
    )
    .replace(' ', "<")
}

/// A number of more than nine symbols goes on in the optional field, followed by its check digit.
fn number_and_overflow(contents: &Contents) -> Result<(String, String), ComposeError> {
    const PLACE_LENGTH: usize = 9;
    let number = &contents.document_number;
    let may_overflow = matches!(contents.format, Format::Td1 | Format::Td2);
    if number.len() <= PLACE_LENGTH || !may_overflow || !number.is_ascii() {
        return Ok((number.clone(), contents.optional_first.clone()));
    }
    let digit = check_digit(number.bytes()).ok_or(ComposeError::Alphabet {
        slot: Slot::DocumentNumber,
    })?;
    let (head, tail) = number.split_at(PLACE_LENGTH);
    Ok((
        head.to_owned(),
        format!("{tail}{}<{}", char::from(digit), contents.optional_first),
    ))
}

fn write(
    lines: &mut [Vec<u8>],
    format: Format,
    slot: Slot,
    value: &str,
) -> Result<(), ComposeError> {
    let length_max = format.span_of(slot).map_or(0, |it| it.end - it.start);
    if length_max < value.len() {
        return Err(ComposeError::TooLong { slot, length_max });
    }
    let Some(span) = format.span_of(slot) else {
        return Ok(());
    };
    for (place, symbol) in lines[span.line][span.start..].iter_mut().zip(value.bytes()) {
        let symbol = if symbol == b' ' { FILLER } else { symbol };
        if weight(symbol).is_none() {
            return Err(ComposeError::Alphabet { slot });
        }
        *place = symbol;
    }
    Ok(())
}
