//! Whether a printed text says what the zone says.

use super::date::{Date, parse_printed};

/// Whether printed names are those of the zone, which may be cut off at its end.
///
/// Both are brought to the zone's alphabet first.
#[must_use]
pub fn names_agree(printed: &str, zone: &str) -> bool {
    let printed = transliterations(printed);
    let zone: String = zone.chars().filter(char::is_ascii_uppercase).collect();
    !zone.is_empty() && printed.contains(&zone)
}

/// Whether a printed number is the zone's. Symbols that a check digit tells apart (`O` and `0`) count as one: there the
/// zone is right. `G` and `6`, `S` and `8` pass for each other in the zone, so the print must be exact.
#[must_use]
pub fn numbers_agree(printed: &str, zone: &str) -> bool {
    let folded = |text: &str| -> String {
        text.chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|it| match it.to_ascii_uppercase() {
                'O' => '0',
                'I' => '1',
                'Z' => '2',
                'B' => '8',
                it => it,
            })
            .collect()
    };
    !zone.is_empty() && folded(printed) == folded(zone)
}

/// Whether a printed date is the zone's. `None` if the print is no date.
#[must_use]
pub fn dates_agree(printed: &str, zone: Date) -> Option<bool> {
    parse_printed(printed).map(|it| it == zone.to_printed())
}

/// Whether a printed sex is the zone's; `M/M` and `F/F` are printed in two languages.
#[must_use]
pub fn sexes_agree(printed: &str, zone: &str) -> bool {
    let first = printed
        .trim()
        .chars()
        .next()
        .map(|it| it.to_ascii_uppercase());
    match zone {
        "" | "X" => matches!(first, Some('X' | '-' | '<')),
        _ => first == zone.chars().next(),
    }
}

/// Whether a printed nationality is the zone's: its code, or a word that begins with the code.
#[must_use]
pub fn nationalities_agree(printed: &str, zone: &str) -> bool {
    let mut words = printed
        .split(|it: char| !it.is_alphabetic())
        .map(str::to_uppercase);
    !zone.is_empty() && words.any(|it| it == zone || (zone.len() == 3 && it.starts_with(zone)))
}

/// Whether a print has the code of a state as a word of its own.
#[must_use]
pub fn states_agree(printed: &str, zone: &str) -> bool {
    let mut words = printed.split(|it: char| !it.is_alphanumeric());
    !zone.is_empty() && words.any(|it| it == zone)
}

/// Whether a print says that the document is a specimen; `names` are the holder's, as the zone has them.
///
/// People are called Muster and Modelo, nobody is called Specimen.
#[must_use]
pub fn says_specimen(printed: &str, names: &str) -> bool {
    printed
        .split(|it: char| !it.is_alphanumeric())
        .map(|it| transliterations(it)[1].clone())
        .any(|word| match word.as_str() {
            "SPECIMEN" | "ESPECIMEN" => true,
            "MUSTER" | "MODELO" => !names.split(' ').any(|it| it == word),
            _ => false,
        })
}

/// A printed name in the zone's alphabet: letters only, umlauts in both usual spellings.
///
/// Source: ICAO Doc 9303 part 3, section 6, table A; states write `Ä` as `AE` or `A`.
fn transliterations(text: &str) -> [String; 2] {
    let (mut long, mut short) = (String::new(), String::new());
    for symbol in text.chars().flat_map(char::to_uppercase) {
        let (in_long, in_short) = match symbol {
            'A'..='Z' => {
                long.push(symbol);
                short.push(symbol);
                continue;
            }
            '0' => ("O", "O"),
            '1' => ("I", "I"),
            'Ä' | 'Æ' => ("AE", "A"),
            'Ö' | 'Ø' | 'Œ' => ("OE", "O"),
            'Ü' => ("UE", "U"),
            'Å' => ("AA", "A"),
            'ß' | 'ẞ' => ("SS", "SS"),
            'Þ' => ("TH", "TH"),
            'À' | 'Á' | 'Â' | 'Ã' | 'Ă' | 'Ā' | 'Ą' => ("A", "A"),
            'Ç' | 'Ć' | 'Č' | 'Ĉ' | 'Ċ' => ("C", "C"),
            'Ð' | 'Đ' | 'Ď' => ("D", "D"),
            'È' | 'É' | 'Ê' | 'Ë' | 'Ē' | 'Ė' | 'Ę' | 'Ě' => ("E", "E"),
            'Ğ' | 'Ģ' | 'Ġ' => ("G", "G"),
            'Ì' | 'Í' | 'Î' | 'Ï' | 'Ī' | 'İ' | 'Į' => ("I", "I"),
            'Ķ' => ("K", "K"),
            'Ł' | 'Ľ' | 'Ļ' | 'Ĺ' => ("L", "L"),
            'Ñ' | 'Ń' | 'Ň' | 'Ņ' => ("N", "N"),
            'Ò' | 'Ó' | 'Ô' | 'Õ' | 'Ő' | 'Ō' => ("O", "O"),
            'Ř' | 'Ŕ' => ("R", "R"),
            'Ś' | 'Š' | 'Ş' | 'Ș' => ("S", "S"),
            'Ť' | 'Ţ' | 'Ț' => ("T", "T"),
            'Ù' | 'Ú' | 'Û' | 'Ű' | 'Ů' | 'Ū' | 'Ų' => ("U", "U"),
            'Ý' | 'Ÿ' => ("Y", "Y"),
            'Ź' | 'Ż' | 'Ž' => ("Z", "Z"),
            _ => continue,
        };
        long.push_str(in_long);
        short.push_str(in_short);
    }
    [long, short]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_agree_in_the_alphabet_of_the_zone() {
        for (printed, zone, expected) in [
            ("ANNA MARIA", "ANNA MARIA", true),
            ("Müller-Lüdenscheidt", "MUELLER LUEDENSCHEIDT", true),
            ("Müller", "MULLER", true),
            ("O'CONNOR", "OCONNOR", true),
            ("ANNA MARLA", "ANNA MARIA", false),
            ("ANNA", "ANNA MARIA", false),
            ("", "", false),
        ] {
            assert_eq!(names_agree(printed, zone), expected, "{printed} {zone}");
        }
    }

    #[test]
    fn a_number_may_differ_only_where_the_check_digit_decides() {
        assert!(numbers_agree("L 898902 C3", "L898902C3"));
        assert!(numbers_agree("PAO940409", "PA0940409"));
        assert!(!numbers_agree("LB9G902C3", "L896902C3"));
        assert!(!numbers_agree("S1", "81"));
        assert!(!numbers_agree("", ""));
    }

    #[test]
    fn sex_nationality_and_dates_are_compared_in_their_printed_forms() {
        assert!(sexes_agree("F / F", "F") && !sexes_agree("M", "F") && sexes_agree("X", ""));
        assert!(
            nationalities_agree("UTOPIAN / UTOPIENNE", "UTO") && nationalities_agree("UTO", "UTO")
        );
        assert!(!nationalities_agree("CANADIAN", "UTO") && !nationalities_agree("", "UTO"));
        let born = Date::new(1974, 8, 12).unwrap();
        assert_eq!(dates_agree("12 AUG 1974", born), Some(true));
        assert_eq!(dates_agree("13 AUG 1974", born), Some(false));
        assert_eq!(dates_agree("ZENITH", born), None);
    }

    #[test]
    fn a_state_is_confirmed_by_its_code_only() {
        assert!(states_agree("P UTO", "UTO") && states_agree("D", "D"));
        assert!(!states_agree("UTOPIA", "UTO") && !states_agree("", "") && !states_agree("P", ""));
    }

    #[test]
    fn a_specimen_says_so_in_a_word_of_its_own() {
        for (printed, names, expected) in [
            ("SPECIMEN", "", true),
            ("Spécimen / Muster", "MUSTER", true),
            ("ESPÉCIMEN", "", true),
            ("MODELO 123", "", true),
            ("MUSTER", "ANNA MUSTER", false),
            ("MUSTERMANN", "", false),
            ("SPECIMENS", "", false),
        ] {
            assert_eq!(says_specimen(printed, names), expected, "{printed}");
        }
    }
}
