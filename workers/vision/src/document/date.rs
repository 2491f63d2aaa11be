//! Calendar days, as documents write them.

use std::fmt;

/// A day of the Gregorian calendar.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Date {
    pub year: i32,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

/// A printed date; the year in two digits, as the zone has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PrintedDate {
    pub year_of_century: u8,
    pub month: u8,
    pub day: u8,
}

/// Ages that a living holder can have, in years. Source: the oldest person on record reached 122.
pub const AGE_MAX: i32 = 125;

/// Years that a document may still be valid for.
///
/// Source: passports are issued for at most ten years; some cards of older people for thirty and more.
const VALIDITY_YEARS_MAX: i32 = 50;

const MILLISECONDS_A_DAY: i64 = 86_400_000;

/// Beginnings of the months' names in English, French, German and Spanish, without accents.
const MONTHS: [&[&str]; 12] = [
    &["JAN", "ENE"],
    &["FEB", "FEV"],
    &["MAR", "MRZ", "MAE"],
    &["APR", "AVR", "ABR"],
    &["MAY", "MAI"],
    &["JUN", "JUIN"],
    &["JUL", "JUIL"],
    &["AUG", "AOU", "AGO"],
    &["SEP"],
    &["OCT", "OKT"],
    &["NOV"],
    &["DEC", "DEZ", "DIC"],
];

impl Date {
    /// `None` for a day that no calendar has.
    #[must_use]
    pub fn new(year: i32, month: u8, day: u8) -> Option<Self> {
        let days = match month {
            2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        (1..=days)
            .contains(&day)
            .then_some(Self { year, month, day })
    }

    /// The day (UTC) of a time in milliseconds since the epoch.
    ///
    /// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
    ///
    /// # Panics
    ///
    /// Never: months and days fit a byte.
    #[must_use]
    pub fn from_unix_ms(ms: i64) -> Self {
        let shifted = ms.div_euclid(MILLISECONDS_A_DAY) + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let narrow = |it: i64| u8::try_from(it).expect("a month or a day");
        Self {
            year: i32::try_from(year).unwrap_or(i32::MAX),
            month: narrow(month),
            day: narrow(day),
        }
    }

    /// The birth date of a zone: in the latest century that makes it no later than today.
    ///
    /// `None` if part of it is unknown, or no calendar has the day.
    #[must_use]
    pub fn of_birth(yymmdd: &str, today: Self) -> Option<Self> {
        let (year, month, day) = parts(yymmdd)?;
        let century = today.year - today.year.rem_euclid(100);
        let recent = Self::new(century + year, month, day);
        match recent {
            Some(date) if date <= today => Some(date),
            _ => Self::new(century - 100 + year, month, day),
        }
    }

    /// The first and last day on which the holder may have been born: one day, or a year where no more of it is known.
    ///
    /// `None` if not even the year is known, or no calendar has the day.
    #[must_use]
    pub fn birth_range(yymmdd: &str, today: Self) -> Option<(Self, Self)> {
        if parts(yymmdd).is_some() {
            return Self::of_birth(yymmdd, today).map(|it| (it, it));
        }
        let year = yymmdd.get(0..2)?;
        let first = Self::of_birth(&format!("{year}0101"), today)?;
        Some((first, Self::new(first.year, 12, 31)?))
    }

    /// The expiry date of a zone: in this century unless that is further ahead than documents are valid for.
    #[must_use]
    pub fn of_expiry(yymmdd: &str, today: Self) -> Option<Self> {
        let (year, month, day) = parts(yymmdd)?;
        let century = today.year - today.year.rem_euclid(100);
        let year = century + year;
        let year = if today.year + VALIDITY_YEARS_MAX < year {
            year - 100
        } else if year + 100 <= today.year + VALIDITY_YEARS_MAX {
            year + 100
        } else {
            year
        };
        Self::new(year, month, day)
    }

    /// Completed years from this day to a later one.
    #[must_use]
    pub fn years_until(self, later: Self) -> i32 {
        let is_before_birthday = (later.month, later.day) < (self.month, self.day);
        later.year - self.year - i32::from(is_before_birthday)
    }

    /// The day as it is printed, without its century.
    ///
    /// # Panics
    ///
    /// Never: a year of a century fits a byte.
    #[must_use]
    pub fn to_printed(self) -> PrintedDate {
        let year_of_century = u8::try_from(self.year.rem_euclid(100)).expect("below 100");
        PrintedDate {
            year_of_century,
            month: self.month,
            day: self.day,
        }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

fn parts(yymmdd: &str) -> Option<(i32, u8, u8)> {
    let part = |range| yymmdd.get(range).and_then(|it: &str| it.parse::<u8>().ok());
    Some((i32::from(part(0..2)?), part(2..4)?, part(4..6)?))
}

/// Reads a printed date: `12 AUG 1974`, `12 AUG/AOUT 74`, `12.08.1974`, `1974-08-12`.
///
/// # Panics
///
/// Never: there are twelve months.
#[must_use]
pub fn parse_printed(text: &str) -> Option<PrintedDate> {
    let upper = text.to_uppercase().replace('Û', "U").replace('É', "E");
    let mut numbers: Vec<&str> = Vec::new();
    let mut month = None;
    for token in upper
        .split(|it: char| !it.is_ascii_alphanumeric())
        .flat_map(split_digits)
    {
        if token.bytes().all(|it| it.is_ascii_digit()) {
            numbers.push(token);
        } else if let Some(index) = MONTHS
            .iter()
            .position(|names| names.iter().any(|it| token.starts_with(it)))
        {
            month.get_or_insert(u8::try_from(index + 1).expect("twelve months"));
        }
    }
    let (day, month, year) = match (month, numbers.as_slice()) {
        (Some(month), [day, year]) => (day.parse().ok()?, month, *year),
        (None, [year, month, day]) if year.len() == 4 => {
            (day.parse().ok()?, month.parse().ok()?, *year)
        }
        (None, [day, month, year]) => (day.parse().ok()?, month.parse().ok()?, *year),
        _ => return None,
    };
    let year: i32 = match year.len() {
        2 | 4 => year.parse().ok()?,
        _ => return None,
    };
    Date::new(year, month, day).map(Date::to_printed)
}

/// Splits `12AUG1974` where digits meet letters.
fn split_digits(token: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let bytes = token.as_bytes();
    for index in 1..=bytes.len() {
        let ends = index == bytes.len()
            || bytes[index].is_ascii_digit() != bytes[index - 1].is_ascii_digit();
        if ends && start < index {
            parts.push(&token[start..index]);
            start = index;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Date = Date {
        year: 2026,
        month: 11,
        day: 23,
    };

    #[test]
    fn milliseconds_become_the_day_they_fall_on() {
        for (ms, expected) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (951_782_400_000, "2000-02-29"),
            (1_795_391_999_999, "2026-11-22"),
            (1_795_392_000_000, "2026-11-23"),
        ] {
            assert_eq!(Date::from_unix_ms(ms).to_string(), expected);
        }
    }

    #[test]
    fn a_birth_date_is_never_in_the_future() {
        for (zone, expected) in [
            ("740812", Some("1974-08-12")),
            ("261123", Some("2026-11-23")),
            ("261124", Some("1926-11-24")),
            ("000229", Some("2000-02-29")),
            ("7408<<", None),
            ("010229", None),
        ] {
            let date = Date::of_birth(zone, TODAY).map(|it| it.to_string());
            assert_eq!(date.as_deref(), expected, "{zone}");
        }
    }

    #[test]
    fn a_year_of_birth_alone_bounds_the_day() {
        let range = |zone| Date::birth_range(zone, TODAY).map(|(a, b)| format!("{a} {b}"));
        assert_eq!(range("740812").unwrap(), "1974-08-12 1974-08-12");
        assert_eq!(range("74<<<<").unwrap(), "1974-01-01 1974-12-31");
        assert_eq!(range("7408<<").unwrap(), "1974-01-01 1974-12-31");
        assert_eq!(
            (range("<<<<<<"), range("740230"), range("")),
            (None, None, None)
        );
    }

    #[test]
    fn an_expiry_date_is_near_today() {
        for (zone, expected) in [
            ("120415", "2012-04-15"),
            ("360415", "2036-04-15"),
            ("960415", "1996-04-15"),
        ] {
            assert_eq!(Date::of_expiry(zone, TODAY).unwrap().to_string(), expected);
        }
        let late = Date {
            year: 2095,
            month: 1,
            day: 1,
        };
        assert_eq!(
            Date::of_expiry("050415", late).unwrap().to_string(),
            "2105-04-15"
        );
    }

    #[test]
    fn age_counts_completed_years() {
        let born = Date {
            year: 2008,
            month: 11,
            day: 24,
        };
        assert_eq!(born.years_until(TODAY), 17);
        assert_eq!(born.years_until(Date { day: 24, ..TODAY }), 18);
    }

    #[test]
    fn printed_dates_are_read_in_their_usual_forms() {
        let expected = Some(PrintedDate {
            year_of_century: 74,
            month: 8,
            day: 12,
        });
        for text in [
            "12 AUG 1974",
            "12 AUG/AOÛT 74",
            "12.08.1974",
            "1974-08-12",
            "12/08/74",
            "12AUG1974",
            "12 August 1974",
        ] {
            assert_eq!(parse_printed(text), expected, "{text}");
        }
        for text in ["", "ZENITH", "12 AUG", "31.02.1974", "L898902C3"] {
            assert_eq!(parse_printed(text), None, "{text}");
        }
    }
}
