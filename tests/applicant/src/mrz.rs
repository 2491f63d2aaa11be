//! Composes the machine-readable zone of a passport (ICAO 9303, size TD3).

use chrono::NaiveDate;

/// Characters in each of the two lines. Source: ICAO 9303-4, section 4.2.
pub const LINE_CHARS: usize = 44;
/// Width of the document number field, in characters. Source: ICAO 9303-4, 4.2.2.
const NUMBER_CHARS: usize = 9;
/// Width of the optional personal number field. Source: ICAO 9303-4, 4.2.2.
const PERSONAL_CHARS: usize = 14;

/// What the two lines say.
pub struct Content<'a> {
    /// Three-letter code of the issuing state.
    pub state: &'a str,
    /// Primary identifier, in capitals of the Latin alphabet.
    pub surname: &'a str,
    /// Secondary identifier, words apart by one space.
    pub given_names: &'a str,
    /// At most nine letters and digits.
    pub number: &'a str,
    pub nationality: &'a str,
    pub born: NaiveDate,
    /// `M`, `F` or `<`.
    pub sex: char,
    pub expires: NaiveDate,
}

/// The two lines of 44 characters, with every check digit.
#[must_use]
pub fn lines(content: &Content<'_>) -> [String; 2] {
    let names = format!("{}<<{}", content.surname, content.given_names).replace([' ', '-'], "<");
    let first = fill(&format!("P<{}{names}", content.state), LINE_CHARS);

    let number = checked(&fill(content.number, NUMBER_CHARS));
    let born = checked(&content.born.format("%y%m%d").to_string());
    let expires = checked(&content.expires.format("%y%m%d").to_string());
    let personal = checked(&fill("", PERSONAL_CHARS));
    let composite = check_digit(&format!("{number}{born}{expires}{personal}"));
    let second = format!(
        "{number}{}{born}{}{expires}{personal}{composite}",
        fill(content.nationality, 3),
        content.sex,
    );
    [first, second]
}

/// Cuts or pads `text` with the filler to exactly `n_chars`.
fn fill(text: &str, n_chars: usize) -> String {
    text.chars()
        .chain(std::iter::repeat('<'))
        .take(n_chars)
        .collect()
}

fn checked(field: &str) -> String {
    format!("{field}{}", check_digit(field))
}

/// The check digit of a field: weights 7, 3, 1, modulo 10.
///
/// Source: ICAO 9303-3, section 4.9.
fn check_digit(field: &str) -> u32 {
    let weights = [7, 3, 1].into_iter().cycle();
    let sum: u32 = field
        .chars()
        .zip(weights)
        // Digits count as themselves, A to Z as 10 to 35, the filler as 0.
        .map(|(it, weight)| it.to_digit(36).unwrap_or(0) * weight)
        .sum();
    sum % 10
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn the_specimen_of_the_standard_without_its_personal_number_is_composed() {
        let [first, second] = lines(&Content {
            state: "UTO",
            surname: "ERIKSSON",
            given_names: "ANNA MARIA",
            number: "L898902C3",
            nationality: "UTO",
            born: day("1974-08-12"),
            sex: 'F',
            expires: day("2012-04-15"),
        });
        assert_eq!(first, "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<");
        assert_eq!(second, "L898902C36UTO7408122F1204159<<<<<<<<<<<<<<08");
    }

    #[test]
    fn check_digits_are_those_printed_in_the_standard() {
        // Source: ICAO 9303-3, appendix A, and 9303-4, appendix B.
        for (field, expected) in [
            ("520727", 3),
            ("AB2134<<<", 5),
            ("L898902C3", 6),
            ("740812", 2),
            ("120415", 9),
            ("ZE184226B<<<<<", 1),
            ("L898902C3674081221204159ZE184226B<<<<<1", 0),
        ] {
            assert_eq!(check_digit(field), expected, "{field}");
        }
    }

    #[test]
    fn names_that_do_not_fit_are_cut_at_the_end_of_the_line() {
        let [first, second] = lines(&Content {
            state: "UTO",
            surname: "PAPANDROPOULOUS",
            given_names: "JONATHON WARREN TREVOR ALEXANDER",
            number: "7",
            nationality: "UTO",
            born: day("2000-01-01"),
            sex: '<',
            expires: day("2030-01-01"),
        });
        assert_eq!(first, "P<UTOPAPANDROPOULOUS<<JONATHON<WARREN<TREVOR");
        assert_eq!(second.len(), LINE_CHARS);
    }
}
