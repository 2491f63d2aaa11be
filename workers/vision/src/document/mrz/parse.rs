//! From recognised glyphs to a zone whose check digits all pass, or a refusal.

use super::glyph::{FILLER, Glyph, are_congruent, as_digit, as_letter, check_digit, weight};
use super::layout::{Alphabet, CheckDigit, Format, Rule, Slot, Span};
use super::states::is_known_state;
use super::{Field, Mrz, Proof, Refusal, Repair};

/// Fillers that may be missing from one line: a reader drops long runs.
///
/// Source: the longest run lost by the text recogniser on the specimens of the accuracy set is 9.
const MISSING_MAX: usize = 16;

/// Fillers that may be too many in one line.
const EXCESS_MAX: usize = 3;

/// Probability from which a rival of the reader may replace what it read, if the check digits ask for it.
///
/// Source: chosen; lower values add candidates, and two candidates that pass mean a refusal.
const REPAIR_RIVAL_MIN: f32 = 0.005;

/// Probability from which a rival that no check digit can tell apart takes a value's protection away.
///
/// Source: chosen, at the same level as repairs.
const CONGRUENT_RIVAL_MIN: f32 = 0.005;

/// Alignments tried for one format; each is a few hundred additions.
const ALIGNMENTS_MAX: usize = 256;

type Zone = Vec<Vec<Glyph>>;

/// Reads a zone from its lines, first line first.
///
/// # Errors
///
/// [`Refusal`]: of the format whose lengths fit best, so that the caller can say what failed. A refused zone gives no
/// values: photograph again, or ask a person.
pub fn parse(lines: &[Vec<Glyph>]) -> Result<Mrz, Refusal> {
    let not_a_zone = Refusal::NotAZone {
        n_lines: lines.len(),
    };
    let mut formats: Vec<(usize, Format)> = Format::ALL
        .into_iter()
        .filter(|it| it.n_lines() == lines.len())
        .map(|it| {
            (
                lines
                    .iter()
                    .map(|line| line.len().abs_diff(it.line_length()))
                    .sum(),
                it,
            )
        })
        .collect();
    formats.sort_by_key(|it| it.0);
    // Lines of exactly one format's length are of no other format, whatever fillers could make of them.
    if formats.first().is_some_and(|it| it.0 == 0) {
        formats.retain(|it| it.0 == 0);
    }
    let mut accepted: Option<Mrz> = None;
    let mut refusal: Option<Refusal> = None;
    for (_, format) in formats {
        match (parse_as(format, lines), &accepted) {
            (Ok(mrz), None) => accepted = Some(mrz),
            (Ok(mrz), Some(first)) if says_the_same(first, &mrz) => {}
            (Ok(_), Some(_)) => return Err(Refusal::Ambiguous { format }),
            (Err(Refusal::NotAZone { .. }), _) => {}
            (Err(it), _) => refusal = refusal.or(Some(it)),
        }
    }
    accepted.ok_or(refusal.unwrap_or(not_a_zone))
}

fn parse_as(format: Format, lines: &[Vec<Glyph>]) -> Result<Mrz, Refusal> {
    let not_a_zone = Refusal::NotAZone {
        n_lines: lines.len(),
    };
    let mut accepted: Option<Mrz> = None;
    let mut refusal: Option<Refusal> = None;
    for zone in alignments(format, lines) {
        let admitted = format.admits(zone[0][0].symbol);
        if !admitted {
            continue;
        }
        match read_aligned(format, zone) {
            Ok(mrz) => match &accepted {
                None => accepted = Some(mrz),
                Some(first) if says_the_same(first, &mrz) => {}
                Some(_) => return Err(Refusal::Ambiguous { format }),
            },
            Err(it) => refusal = refusal.or(Some(it)),
        }
    }
    accepted.ok_or(refusal.unwrap_or(not_a_zone))
}

fn says_the_same(left: &Mrz, right: &Mrz) -> bool {
    left.document_number == right.document_number
        && left.birth_date == right.birth_date
        && left.expiry_date == right.expiry_date
        && left.optional_first == right.optional_first
        && left.optional_second == right.optional_second
        && left.nationality == right.nationality
        && left.sex == right.sex
}

// ---- line lengths

/// Every way to bring the lines to the format's length by adding or dropping fillers in one run of each.
fn alignments(format: Format, lines: &[Vec<Glyph>]) -> Vec<Zone> {
    let names_line = format.span_of(Slot::Names).map(|it| it.line);
    let mut zones: Vec<Zone> = vec![Vec::new()];
    for (index, line) in lines.iter().enumerate() {
        let mut fits = fits(line, format.line_length());
        if names_line == Some(index) {
            // The long run of the names line is its end; a run inside it is a name's own.
            fits.reverse();
            fits.truncate(1);
        }
        zones = zones
            .iter()
            .flat_map(|zone| {
                fits.iter()
                    .map(|fit| [zone.as_slice(), std::slice::from_ref(fit)].concat())
            })
            .take(ALIGNMENTS_MAX)
            .collect();
    }
    zones
}

fn fits(line: &[Glyph], length: usize) -> Vec<Vec<Glyph>> {
    if line.len() == length {
        return vec![line.to_vec()];
    }
    let n_missing = length.saturating_sub(line.len());
    let n_excess = line.len().saturating_sub(length);
    if MISSING_MAX < n_missing || EXCESS_MAX < n_excess {
        return Vec::new();
    }
    let mut fits = Vec::new();
    for (start, end) in runs(line) {
        let mut fit = line.to_vec();
        if 0 < n_missing {
            fit.splice(start..start, (0..n_missing).map(|_| Glyph::certain(FILLER)));
        } else if n_excess < end - start {
            fit.drain(start..start + n_excess);
        } else {
            continue;
        }
        fits.push(fit);
    }
    fits
}

/// Runs of two and more fillers, from left to right.
fn runs(line: &[Glyph]) -> Vec<(usize, usize)> {
    const RUN_MIN: usize = 2;
    let mut runs = Vec::new();
    let mut start = 0;
    for index in 0..=line.len() {
        let is_filler = line.get(index).is_some_and(|it| it.symbol == FILLER);
        if is_filler {
            continue;
        }
        if RUN_MIN <= index - start {
            runs.push((start, index));
        }
        start = index + 1;
    }
    runs
}

// ---- one alignment

fn read_aligned(format: Format, mut zone: Zone) -> Result<Mrz, Refusal> {
    let mut repairs = Vec::new();
    for place in format.places() {
        fit_alphabet(format, &mut zone, place.span, place.alphabet, &mut repairs)?;
    }
    for slot in [Slot::IssuingState, Slot::Nationality] {
        fit_state(format, &mut zone, slot, &mut repairs);
    }
    for rule in format.rules() {
        if symbol_at(&zone, rule.at) != FILLER {
            fit_alphabet(format, &mut zone, rule.at, Alphabet::Digits, &mut repairs)?;
        }
    }
    let failed = || {
        format
            .rules()
            .iter()
            .filter(|it| !passes(format, &zone, it))
    };
    if let Some(rule) = failed().next() {
        let failed: Vec<CheckDigit> = failed().map(|it| it.digit).collect();
        let Some(fixed) = choose_rivals(format, &zone, rule, &mut repairs)? else {
            return Err(Refusal::CheckDigits { format, failed });
        };
        zone = fixed;
        let failed: Vec<CheckDigit> = format
            .rules()
            .iter()
            .filter(|it| !passes(format, &zone, it))
            .map(|it| it.digit)
            .collect();
        if !failed.is_empty() {
            return Err(Refusal::CheckDigits { format, failed });
        }
    }
    check_dates(format, &zone)?;
    Ok(assemble(format, &zone, repairs))
}

/// Makes every symbol of a place, and every rival, one that may stand there.
fn fit_alphabet(
    format: Format,
    zone: &mut Zone,
    span: Span,
    alphabet: Alphabet,
    repairs: &mut Vec<Repair>,
) -> Result<(), Refusal> {
    let glyphs = zone[span.line].iter_mut().enumerate();
    for (column, glyph) in glyphs.take(span.end).skip(span.start) {
        if !holds(alphabet, glyph.symbol) {
            let replacement = match alphabet {
                Alphabet::Letters | Alphabet::Sex => as_letter(glyph.symbol),
                Alphabet::Digits | Alphabet::DateDigits => as_digit(glyph.symbol),
                Alphabet::Mixed => None,
            };
            let Some(to) = replacement.filter(|&it| holds(alphabet, it)) else {
                return Err(Refusal::Alphabet {
                    format,
                    line: span.line,
                    column,
                });
            };
            repairs.push(Repair {
                line: span.line,
                column,
                from: char::from(glyph.symbol),
                to: char::from(to),
                proof: Proof::Alphabet,
            });
            glyph.symbol = to;
        }
        let symbol = glyph.symbol;
        glyph
            .rivals
            .retain(|it| it.0 != symbol && holds(alphabet, it.0));
    }
    Ok(())
}

/// A zero in a state's code may have been a `D` as well as an `O`: the list of states knows.
fn fit_state(format: Format, zone: &mut Zone, slot: Slot, repairs: &mut [Repair]) {
    let Some(span) = format.span_of(slot) else {
        return;
    };
    let code: String = symbols(zone, span).map(char::from).collect();
    if is_known_state(&trimmed(&code)) {
        return;
    }
    for repair in repairs
        .iter_mut()
        .filter(|it| it.line == span.line && it.from == '0')
    {
        let Some(offset) = repair
            .column
            .checked_sub(span.start)
            .filter(|it| *it < code.len())
        else {
            continue;
        };
        let mut other = code.clone();
        other.replace_range(offset..=offset, "D");
        if is_known_state(&trimmed(&other)) {
            zone[span.line][repair.column].symbol = b'D';
            repair.to = 'D';
            return;
        }
    }
}

fn holds(alphabet: Alphabet, symbol: u8) -> bool {
    match alphabet {
        Alphabet::Letters => symbol.is_ascii_uppercase() || symbol == FILLER,
        Alphabet::Digits => symbol.is_ascii_digit(),
        Alphabet::DateDigits => symbol.is_ascii_digit() || symbol == FILLER,
        Alphabet::Sex => matches!(symbol, b'M' | b'F' | b'X' | FILLER),
        Alphabet::Mixed => weight(symbol).is_some(),
    }
}

fn symbol_at(zone: &Zone, span: Span) -> u8 {
    zone[span.line][span.start].symbol
}

fn symbols(zone: &Zone, span: Span) -> impl Iterator<Item = u8> {
    zone[span.line][span.start..span.end]
        .iter()
        .map(|it| it.symbol)
}

// ---- check digits

fn passes(format: Format, zone: &Zone, rule: &Rule) -> bool {
    if rule.digit == CheckDigit::DocumentNumber
        && let Some((number, digit)) = long_number(format, zone)
    {
        return check_digit(number) == Some(digit);
    }
    let covered = || rule.covers.iter().flat_map(|it| symbols(zone, *it));
    let digit = symbol_at(zone, rule.at);
    if digit == FILLER {
        return rule.blank_allowed && covered().all(|it| it == FILLER);
    }
    check_digit(covered()) == Some(digit)
}

/// A card number of more than nine symbols: a filler stands for its check digit, the rest and the check digit open the
/// optional field.
///
/// Source: ICAO Doc 9303 part 5, section 4.2.2, note j.
fn long_number(format: Format, zone: &Zone) -> Option<(Vec<u8>, u8)> {
    let (number, optional, check) = match format {
        Format::Td1 => (
            format.span_of(Slot::DocumentNumber)?,
            format.span_of(Slot::OptionalFirst)?,
            Span {
                line: 0,
                start: 14,
                end: 15,
            },
        ),
        Format::Td2 => (
            format.span_of(Slot::DocumentNumber)?,
            format.span_of(Slot::OptionalFirst)?,
            Span {
                line: 1,
                start: 9,
                end: 10,
            },
        ),
        Format::Td3 | Format::MrvA | Format::MrvB => return None,
    };
    if symbol_at(zone, check) != FILLER {
        return None;
    }
    let overflow: Vec<u8> = symbols(zone, optional)
        .take_while(|&it| it != FILLER)
        .collect();
    let (&digit, tail) = overflow.split_last()?;
    Some((
        symbols(zone, number).chain(tail.iter().copied()).collect(),
        digit,
    ))
}

/// Replaces one symbol under a failing rule, or its check digit, by the only rival that makes every rule pass.
fn choose_rivals(
    format: Format,
    zone: &Zone,
    rule: &Rule,
    repairs: &mut Vec<Repair>,
) -> Result<Option<Zone>, Refusal> {
    let mut found: Option<(Zone, Repair)> = None;
    for span in rule.covers.iter().chain([&rule.at]) {
        for column in span.start..span.end {
            let glyph = &zone[span.line][column];
            for &(rival, probability) in &glyph.rivals {
                if probability < REPAIR_RIVAL_MIN {
                    continue;
                }
                let mut candidate = zone.clone();
                candidate[span.line][column] = Glyph::certain(rival);
                if !format
                    .rules()
                    .iter()
                    .all(|it| passes(format, &candidate, it))
                {
                    continue;
                }
                if found.is_some() {
                    return Err(Refusal::Ambiguous { format });
                }
                let repair = Repair {
                    line: span.line,
                    column,
                    from: char::from(glyph.symbol),
                    to: char::from(rival),
                    proof: Proof::CheckDigit,
                };
                found = Some((candidate, repair));
            }
        }
    }
    Ok(found.map(|(zone, repair)| {
        repairs.push(repair);
        zone
    }))
}

// ---- values

fn check_dates(format: Format, zone: &Zone) -> Result<(), Refusal> {
    for slot in [Slot::BirthDate, Slot::ExpiryDate] {
        let span = format.span_of(slot).expect("every format has both dates");
        let digits: Vec<u8> = symbols(zone, span).collect();
        if !is_date(&digits) {
            return Err(Refusal::Date { format, slot });
        }
    }
    Ok(())
}

/// Whether `YYMMDD` can be a date; parts that are not known are fillers, the smaller ones first.
fn is_date(digits: &[u8]) -> bool {
    const DAYS_MAX: u8 = 31;
    let part = |at: usize| match (digits[at], digits[at + 1]) {
        (FILLER, FILLER) => Some(None),
        (tens @ b'0'..=b'9', ones @ b'0'..=b'9') => Some(Some((tens - b'0') * 10 + ones - b'0')),
        _ => None,
    };
    match (part(0), part(2), part(4)) {
        (Some(Some(_)), Some(Some(month)), Some(Some(day))) => {
            (1..=12).contains(&month) && (1..=DAYS_MAX).contains(&day)
        }
        (Some(Some(_)), Some(Some(month)), Some(None)) => (1..=12).contains(&month),
        (Some(_), Some(None), Some(None)) => true,
        _ => false,
    }
}

fn assemble(format: Format, zone: &Zone, repairs: Vec<Repair>) -> Mrz {
    let text = |slot| {
        let symbols = format
            .span_of(slot)
            .into_iter()
            .flat_map(|span| symbols(zone, span));
        symbols.map(char::from).collect::<String>()
    };
    let field = |slot, value, protected| Field {
        value,
        protected,
        confidence: confidence(format, zone, slot),
    };
    let unprotected = |slot| field(slot, trimmed(&text(slot)), false);
    let names = text(Slot::Names);
    let (primary, secondary) = names.split_once("<<").unwrap_or((&names, ""));
    let is_proven = |slot| is_covered(format, slot) && is_unrivalled(format, zone, slot);
    let (number, optional_first) = match long_number(format, zone) {
        Some((number, _)) => (
            number.iter().copied().map(char::from).collect(),
            text(Slot::OptionalFirst)
                .split_once('<')
                .map_or(String::new(), |it| it.1.to_owned()),
        ),
        None => (text(Slot::DocumentNumber), text(Slot::OptionalFirst)),
    };
    let number_is_proven = is_proven(Slot::DocumentNumber)
        && (long_number(format, zone).is_none() || is_proven(Slot::OptionalFirst));
    Mrz {
        format,
        lines: zone
            .iter()
            .map(|it| it.iter().map(|it| char::from(it.symbol)).collect())
            .collect(),
        document_code: unprotected(Slot::DocumentCode),
        issuing_state: unprotected(Slot::IssuingState),
        primary_identifier: field(Slot::Names, spaced(primary), false),
        secondary_identifier: field(Slot::Names, spaced(secondary), false),
        document_number: field(Slot::DocumentNumber, trimmed(&number), number_is_proven),
        nationality: unprotected(Slot::Nationality),
        birth_date: field(Slot::BirthDate, text(Slot::BirthDate), true),
        sex: unprotected(Slot::Sex),
        expiry_date: field(Slot::ExpiryDate, text(Slot::ExpiryDate), true),
        optional_first: field(
            Slot::OptionalFirst,
            trimmed(&optional_first),
            is_proven(Slot::OptionalFirst),
        ),
        optional_second: field(
            Slot::OptionalSecond,
            trimmed(&text(Slot::OptionalSecond)),
            is_proven(Slot::OptionalSecond),
        ),
        checks: format.rules().iter().map(|it| it.digit).collect(),
        repairs,
    }
}

fn confidence(format: Format, zone: &Zone, slot: Slot) -> f32 {
    let Some(span) = format.span_of(slot) else {
        return 1.0;
    };
    let certainty = |it: &Glyph| 1.0 - it.rivals.iter().map(|it| it.1).sum::<f32>();
    zone[span.line][span.start..span.end]
        .iter()
        .map(certainty)
        .fold(1.0, f32::min)
        .max(0.0)
}

fn is_covered(format: Format, slot: Slot) -> bool {
    let Some(span) = format.span_of(slot) else {
        return false;
    };
    let mut covers = format.rules().iter().flat_map(|it| it.covers);
    covers.any(|it| it.line == span.line && it.start <= span.start && span.end <= it.end)
}

/// Whether the reader was certain of each symbol among those that no check digit tells apart from it.
fn is_unrivalled(format: Format, zone: &Zone, slot: Slot) -> bool {
    let Some(span) = format.span_of(slot) else {
        return false;
    };
    zone[span.line][span.start..span.end].iter().all(|glyph| {
        let mut rivals = glyph.rivals.iter().filter(|it| CONGRUENT_RIVAL_MIN <= it.1);
        !rivals.any(|it| it.0 != glyph.symbol && are_congruent(it.0, glyph.symbol))
    })
}

fn trimmed(text: &str) -> String {
    text.trim_matches(char::from(FILLER)).to_owned()
}

fn spaced(text: &str) -> String {
    let words: Vec<&str> = text
        .split(char::from(FILLER))
        .filter(|it| !it.is_empty())
        .collect();
    words.join(" ")
}
