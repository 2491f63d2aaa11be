//! The printed fields of a page: found by their labels and where they stand, compared with the zone.

use super::text::{PrintedText, Quad, Reader, TextLine};
use crate::geometry::{Point, Rect};
use crate::picture::Picture;
use crate::session::VisionError;

/// Lines read on one page; an ICAO data page has about 25. Bounds the time of a page full of text.
const LINES_MAX: usize = 40;
/// Where a value may begin relative to its label, over the label's height.
const LEFT_MAX: f64 = 2.0;
const BELOW_MAX: f64 = 2.8;
const RIGHT_GAP_MAX: f64 = 8.0;
/// Confidence below which a text counts as not read.
///
/// Source: guilloche patterns read as text on the specimens stay below it.
const CONFIDENCE_MIN: f32 = 0.6;
/// Page height over the length of the zone's lines, above the zone. Source: a TD3 page is 88 mm high, its zone 23 mm,
/// its lines 112 mm long; TD2 is 74 mm with lines of 92 mm.
const PAGE_ABOVE_ZONE: f64 = 0.75;

/// A field that has a label on the page.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Label {
    Surname,
    GivenNames,
    DocumentNumber,
    Nationality,
    BirthDate,
    Sex,
    ExpiryDate,
    BirthPlace,
}

/// What labels say, in small letters without blanks and signs.
const WORDS: &[(Label, &str)] = &[
    (Label::GivenNames, "givenname"),
    (Label::GivenNames, "firstname"),
    (Label::Surname, "surname"),
    // What a reader makes of `rn` in small print.
    (Label::Surname, "sumame"),
    (Label::DocumentNumber, "passportno"),
    (Label::DocumentNumber, "passportnumber"),
    (Label::DocumentNumber, "documentno"),
    (Label::DocumentNumber, "documentnumber"),
    (Label::Nationality, "nationality"),
    (Label::BirthDate, "dateofbirth"),
    (Label::ExpiryDate, "dateofexpiry"),
    (Label::ExpiryDate, "dateofexpiration"),
    (Label::BirthPlace, "placeofbirth"),
];

/// A line that was read, in page coordinates (upright).
#[derive(Clone, PartialEq, Debug)]
struct ReadLine {
    bounds: Rect,
    text: PrintedText,
}

/// The printed fields of one page, each with what it says.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct PrintedFields {
    values: Vec<(Label, PrintedText)>,
    /// Everything that was read, labels included.
    texts: Vec<PrintedText>,
}

impl PrintedFields {
    #[must_use]
    pub fn get(&self, label: Label) -> Option<&PrintedText> {
        self.values.iter().find(|it| it.0 == label).map(|it| &it.1)
    }

    /// The first text on the page, under whatever label, for which `says` holds.
    #[must_use]
    pub fn find(&self, says: impl Fn(&str) -> bool) -> Option<&PrintedText> {
        self.texts.iter().find(|it| says(&it.text))
    }
}

/// Reads the printed fields above the zone of an upright page. `portrait` is left out.
///
/// # Errors
///
/// [`VisionError`] if the recognition model does not run.
pub fn read_printed(
    reader: &Reader,
    picture: &Picture,
    lines: &[TextLine],
    zone: &[Quad],
    portrait: Option<Rect>,
) -> Result<PrintedFields, VisionError> {
    let mut read = Vec::new();
    for line in lines
        .iter()
        .filter(|it| is_printed(it, zone, portrait))
        .take(LINES_MAX)
    {
        let text = reader.read(picture, &line.quad)?;
        if CONFIDENCE_MIN <= text.confidence && !text.text.is_empty() {
            read.push(ReadLine {
                bounds: bounds_of(&line.quad),
                text,
            });
        }
    }
    let mut fields = PrintedFields::default();
    for line in &read {
        let Some(label) = label_of(&line.text.text) else {
            continue;
        };
        if fields.get(label).is_some() {
            continue;
        }
        let value = match value_of(line, &read) {
            Some(value) => Some(value),
            None => read_below(reader, picture, line)?,
        };
        if let Some(value) = value {
            fields.values.push((label, value));
        }
    }
    fields.texts = read.into_iter().map(|it| it.text).collect();
    Ok(fields)
}

/// Whether a line stands on the page above the zone, outside the portrait.
fn is_printed(line: &TextLine, zone: &[Quad], portrait: Option<Rect>) -> bool {
    let center = line.quad.center;
    let in_portrait = portrait.is_some_and(|it| {
        (it.x..=it.x + it.width).contains(&center.x)
            && (it.y..=it.y + it.height).contains(&center.y)
    });
    !in_portrait && (zone.is_empty() || is_on_page(center, zone))
}

/// Whether a point lies on the page that `zone` is the foot of, above the zone; nothing does where there is no zone.
#[must_use]
pub fn is_on_page(point: Point, zone: &[Quad]) -> bool {
    let Some(first) = zone.first() else {
        return false;
    };
    let (along, across) = Quad::project(first.axis, point);
    let (middle, level) = Quad::project(first.axis, first.center);
    let above = level - across;
    first.height * 0.5 < above
        && above < first.length * PAGE_ABOVE_ZONE
        && (along - middle).abs() < first.length * 0.55
}

fn bounds_of(quad: &Quad) -> Rect {
    let whole = Quad::bounding(&quad.corners(), Point::new(1.0, 0.0));
    Rect {
        x: whole.center.x - whole.length / 2.0,
        y: quad.center.y - quad.height / 2.0,
        width: whole.length,
        height: quad.height,
    }
}

/// The field that a text is the label of.
fn label_of(text: &str) -> Option<Label> {
    // No label holds a digit, so a zero is an `o`.
    let letters: String = text
        .chars()
        .map(|it| if it == '0' { 'o' } else { it })
        .filter(|it| it.is_alphabetic())
        .flat_map(char::to_lowercase)
        .collect();
    if letters == "sex" || letters.starts_with("sexsex") || letters.starts_with("sexe") {
        return Some(Label::Sex);
    }
    let letters: Vec<char> = letters.chars().collect();
    let mut best: Option<(usize, Label)> = None;
    for (label, word) in WORDS {
        let word: Vec<char> = word.chars().collect();
        let slips_max = word.len() / 6;
        let windows = letters.windows(word.len().min(letters.len().max(1)));
        let slips = windows
            .map(|it| slips(it, &word))
            .min()
            .unwrap_or(usize::MAX);
        if slips <= slips_max && best.is_none_or(|it| slips < it.0) {
            best = Some((slips, *label));
        }
    }
    best.map(|it| it.1)
}

/// Letters that differ at the same place; a window shorter than the word differs by the rest.
fn slips(window: &[char], word: &[char]) -> usize {
    let differing = window.iter().zip(word).filter(|(a, b)| a != b).count();
    differing + word.len() - window.len()
}

/// The nearest text below the label, or to its right on the same line.
fn value_of(label: &ReadLine, lines: &[ReadLine]) -> Option<PrintedText> {
    let at = label.bounds;
    if let Some((_, value)) = label.text.text.split_once(':')
        && !value.trim().is_empty()
    {
        return Some(PrintedText {
            text: value.trim().to_owned(),
            ..label.text.clone()
        });
    }
    let is_value = |it: &&ReadLine| label_of(&it.text.text).is_none();
    let below = |it: &ReadLine| it.bounds.center().y - at.center().y;
    let nearest = lines
        .iter()
        .filter(is_value)
        .filter(|it| {
            (at.height * 0.5..at.height * BELOW_MAX).contains(&below(it))
                && (it.bounds.x - at.x).abs() < at.height * LEFT_MAX
        })
        .min_by(|a, b| below(a).total_cmp(&below(b)));
    if let Some(line) = nearest {
        return Some(line.text.clone());
    }
    let gap = |it: &ReadLine| it.bounds.x - (at.x + at.width);
    lines
        .iter()
        .filter(is_value)
        .filter(|it| {
            below(it).abs() < at.height * 0.5
                && (-at.height * 0.5..at.height * RIGHT_GAP_MAX).contains(&gap(it))
        })
        .min_by(|a, b| gap(a).total_cmp(&gap(b)))
        .map(|it| it.text.clone())
}

/// Reads where the value should stand; detection misses single letters such as `F`.
fn read_below(
    reader: &Reader,
    picture: &Picture,
    label: &ReadLine,
) -> Result<Option<PrintedText>, VisionError> {
    let at = label.bounds;
    let length = at.width.max(at.height * 4.0);
    let height = at.height * 1.5;
    let quad = Quad {
        center: Point::new(at.x + length / 2.0, at.y + at.height + height / 2.0),
        axis: Point::new(1.0, 0.0),
        length,
        height,
    };
    let text = reader.read(picture, &quad)?;
    Ok((CONFIDENCE_MIN <= text.confidence && !text.text.is_empty()).then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(x: f64, y: f64, text: &str) -> ReadLine {
        #[expect(clippy::cast_precision_loss, reason = "short texts")]
        let width = text.len() as f64 * 10.0;
        ReadLine {
            bounds: Rect {
                x,
                y,
                width,
                height: 20.0,
            },
            text: PrintedText {
                text: text.to_owned(),
                confidence: 0.9,
            },
        }
    }

    #[test]
    fn labels_are_known_with_a_slip_and_in_two_languages() {
        for (text, expected) in [
            ("Surname / Nom", Some(Label::Surname)),
            ("Sumame", Some(Label::Surname)),
            ("01 PRIJMENI/SURNAMF/NOM", Some(Label::Surname)),
            ("Given names/ Prénoms", Some(Label::GivenNames)),
            ("Passport No.", Some(Label::DocumentNumber)),
            ("Date of Birth/ Date de naissance", Some(Label::BirthDate)),
            ("Date 0f expiry", Some(Label::ExpiryDate)),
            ("Place of birth", Some(Label::BirthPlace)),
            ("Sex/Sexe", Some(Label::Sex)),
            ("ESSEX", None),
            ("ERIKSSON", None),
            ("", None),
        ] {
            assert_eq!(label_of(text), expected, "{text}");
        }
    }

    #[test]
    fn a_value_stands_below_its_label_or_to_its_right() {
        let page = [
            line(100.0, 50.0, "Surname"),
            line(100.0, 75.0, "SPECIMEN"),
            line(400.0, 75.0, "OTHER"),
            line(100.0, 110.0, "Sex"),
            line(160.0, 112.0, "F"),
            line(100.0, 150.0, "Nationality: UTOPIAN"),
        ];
        let value = |index: usize| value_of(&page[index], &page).map(|it| it.text);
        assert_eq!(value(0).as_deref(), Some("SPECIMEN"));
        assert_eq!(value(3).as_deref(), Some("F"));
        assert_eq!(value(5).as_deref(), Some("UTOPIAN"));
    }

    #[test]
    fn a_label_is_never_taken_for_a_value() {
        let page = [
            line(100.0, 50.0, "Surname"),
            line(100.0, 75.0, "Given names"),
        ];
        assert_eq!(value_of(&page[0], &page), None);
    }
}
