//! Reads one page of an identity document: everything at once, and what of it is proven.

use std::collections::BTreeMap;

use super::agree::{
    dates_agree, names_agree, nationalities_agree, numbers_agree, says_specimen, sexes_agree,
    states_agree,
};
use super::date::{AGE_MAX, Date};
use super::mrz::{self, CheckDigit, Format, Mrz, Refusal};
use super::printed::{Label, PrintedFields, is_on_page, read_printed};
use super::quality::{Quality, assess};
use super::text::{PrintedText, Quad, Reader, TextLine, detect};
use super::turn::{quarter_turns, turned, turned_line};
use super::zone::{ZoneReading, read_zone};
use crate::face;
use crate::geometry::Rect;
use crate::picture::Picture;
use crate::session::{Vision, VisionError};

/// Longer side in pixels at which lines are looked for.
///
/// Source: at 800 the labels of a rendered TD3 page (1.8 mm capitals) are found; 960 costs half as much again.
const TEXT_SIDE: u32 = 800;
/// Longer side of the second look, when the first found no zone: the page may be small in the picture.
const TEXT_SIDE_FINE: u32 = 1_600;
/// Room around the face in the portrait: box sizes added on every side.
const PORTRAIT_MARGIN: f64 = 0.35;
/// Room around the face that is no text.
const PORTRAIT_GUARD: f64 = 0.15;
const PORTRAIT_JPEG_QUALITY: u8 = 92;
/// Widths of a holder's face, over the length of the zone's lines. Source: portraits are 35 mm wide at most beside lines
/// of 112 mm (TD3) and 25 mm beside 80 mm (TD1), and the face fills at least a third of them.
const FACE_WIDTHS: std::ops::RangeInclusive<f64> = 0.06..=0.35;

/// Where a value was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    Mrz,
    Printed,
    /// In both, and they agree.
    Both,
}

impl Source {
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Mrz => "mrz",
            Self::Printed => "printed",
            Self::Both => "both",
        }
    }
}

/// One value of the document.
#[derive(Clone, PartialEq, Debug)]
pub struct ReadField {
    /// Dates as `YYYY-MM-DD`.
    pub value: String,
    pub source: Source,
    /// In `[0, 1]`.
    pub confidence: f32,
    /// Whether a check digit proves it.
    pub protected: bool,
}

/// One thing that was checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    pub code: &'static str,
    /// `None` when it could not be judged.
    pub passed: Option<bool>,
}

/// The holder's picture, cut out of the page.
#[derive(Clone, PartialEq)]
pub struct Portrait {
    pub jpeg: Vec<u8>,
    /// Of the face, in pixels of the upright page.
    pub face: Rect,
    /// The face detector's, in `[0, 1]`.
    pub score: f32,
}

impl std::fmt::Debug for Portrait {
    /// Says where, never what.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Portrait({:?}, {} bytes)", self.face, self.jpeg.len())
    }
}

/// Everything that one page says.
#[derive(Clone, PartialEq, Debug)]
pub struct Reading {
    pub quality: Quality,
    /// `passport`, `id-card` or `visa`.
    pub document_class: Option<&'static str>,
    /// Present only when every check digit passes.
    pub mrz: Option<Mrz>,
    /// Why a zone that is there is not presented.
    pub refusal: Option<Refusal>,
    /// By the names of the step's contract: `surname`, `givenNames`, `documentNumber`, ...
    pub fields: BTreeMap<&'static str, ReadField>,
    pub checks: Vec<Check>,
    pub portrait: Option<Portrait>,
    /// The document says of itself that it is one.
    pub specimen: bool,
    /// A value is not proven, or the print says otherwise: a person must look.
    pub needs_review: bool,
}

/// How a reading ends, in the words of the step's contract.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Accepted,
    Rejected {
        reasons: Vec<&'static str>,
    },
    ExpiredDocument,
    /// Another picture may help; the reasons say how.
    Unreadable {
        reasons: Vec<&'static str>,
    },
}

impl Reading {
    /// How the reading ends. `Accepted` may still need a person: see `needs_review`.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let mut reasons: Vec<&'static str> = Vec::new();
        if self.mrz.is_none() {
            reasons.push(if self.refusal.is_some() {
                "mrz_unreadable"
            } else {
                "mrz_not_found"
            });
        } else if self.portrait.is_none() {
            reasons.push("no_portrait");
        }
        let quality: Vec<&'static str> = self.quality.reasons.iter().map(|it| it.code()).collect();
        if !reasons.is_empty() {
            return Verdict::Unreadable {
                reasons: if quality.is_empty() { reasons } else { quality },
            };
        }
        if self.needs_review && !quality.is_empty() {
            // A better picture may settle what a person would have to look at.
            return Verdict::Unreadable { reasons: quality };
        }
        let failed = |code| {
            self.checks
                .iter()
                .any(|it| it.code == code && it.passed == Some(false))
        };
        if failed("issuing_state_known") {
            reasons.push("issuing_state_unknown");
        }
        if failed("birth_date_plausible") {
            reasons.push("birth_date_implausible");
        }
        if !reasons.is_empty() {
            return Verdict::Rejected { reasons };
        }
        if failed("not_expired") {
            Verdict::ExpiredDocument
        } else {
            Verdict::Accepted
        }
    }
}

/// Reads one page. `today` decides centuries and expiry.
///
/// # Errors
///
/// [`VisionError`] if a model is missing or does not run; what is wrong with the picture is in the reading.
pub fn read_document(
    vision: &Vision,
    picture: &Picture,
    today: Date,
) -> Result<Reading, VisionError> {
    let reader = Reader::new(vision)?;
    let mut lines = detect(vision, picture, TEXT_SIDE)?;
    let mut zone = read_zone(&reader, picture, &lines)?;
    let may_be_small = TEXT_SIDE < picture.width().max(picture.height());
    if zone == ZoneReading::Absent && may_be_small && !lines.is_empty() {
        lines = detect(vision, picture, TEXT_SIDE_FINE)?;
        zone = read_zone(&reader, picture, &lines)?;
    }
    let (zone_lines, mrz, refusal) = match zone {
        ZoneReading::Read { lines, mrz } => (lines, Some(*mrz), None),
        ZoneReading::Refused { lines, refusal } => (lines, None, Some(refusal)),
        ZoneReading::Absent => (Vec::new(), None, None),
    };
    let quality = assess(picture, &lines, &zone_lines);
    let upright = Upright::of(picture, &lines, &zone_lines);
    let faces = find_faces(vision, upright.picture(), &upright.zone)?;
    let guard = faces
        .portrait
        .as_ref()
        .map(|it| grown(it.face, PORTRAIT_GUARD));
    let printed = match &mrz {
        Some(_) => read_printed(
            &reader,
            upright.picture(),
            &upright.lines,
            &upright.zone,
            guard,
        )?,
        // Without a zone nothing is proven, and the outcome is the same whatever the print says.
        None => PrintedFields::default(),
    };
    Ok(assemble(
        Parts {
            quality,
            mrz,
            refusal,
            printed,
            faces,
        },
        today,
    ))
}

/// The page turned so that its zone reads from left to right.
struct Upright<'a> {
    original: &'a Picture,
    turned: Option<Picture>,
    lines: Vec<TextLine>,
    zone: Vec<Quad>,
}

impl<'a> Upright<'a> {
    fn of(picture: &'a Picture, lines: &[TextLine], zone: &[Quad]) -> Self {
        let n_turns = zone.first().map_or(0, |it| quarter_turns(it.axis));
        let level = |quad: Quad, line: &TextLine| TextLine {
            quad: quad.level(),
            ..*line
        };
        if n_turns == 0 {
            let lines = lines.iter().map(|it| level(it.quad, it)).collect();
            return Self {
                original: picture,
                turned: None,
                lines,
                zone: zone.to_vec(),
            };
        }
        let size = (picture.width(), picture.height());
        let turn = |it: &Quad| turned_line(it, size, n_turns);
        Self {
            original: picture,
            turned: Some(turned(picture, n_turns)),
            lines: lines.iter().map(|it| level(turn(&it.quad), it)).collect(),
            zone: zone.iter().map(turn).collect(),
        }
    }

    fn picture(&self) -> &Picture {
        self.turned.as_ref().unwrap_or(self.original)
    }
}

/// The faces of a picture of a page.
#[derive(Default)]
struct Faces {
    portrait: Option<Portrait>,
    /// A face larger than the portrait, elsewhere: somebody may want to be taken for the holder.
    has_other: bool,
}

/// Looks for the holder on the page above `zone`. Without a zone nothing says where the page lies.
fn find_faces(vision: &Vision, page: &Picture, zone: &[Quad]) -> Result<Faces, VisionError> {
    let Some(first) = zone.first() else {
        return Ok(Faces::default());
    };
    let found = face::detect(vision, page, face::DETECT_SIDE_FINE)?;
    let holder = found.iter().position(|it| {
        is_on_page(it.bounds.center(), zone)
            && FACE_WIDTHS.contains(&(it.bounds.width / first.length))
    });
    let portrait = holder.and_then(|index| {
        let holder = &found[index];
        let cut = page.crop(grown(holder.bounds, PORTRAIT_MARGIN))?;
        Some(Portrait {
            jpeg: cut.to_jpeg(PORTRAIT_JPEG_QUALITY),
            face: holder.bounds,
            score: holder.score,
        })
    });
    Ok(Faces {
        portrait,
        // The largest comes first.
        has_other: holder.map_or(!found.is_empty(), |index| 0 < index),
    })
}

fn grown(rect: Rect, share: f64) -> Rect {
    let (dx, dy) = (rect.width * share, rect.height * share);
    Rect {
        x: rect.x - dx,
        y: rect.y - dy,
        width: rect.width + 2.0 * dx,
        height: rect.height + 2.0 * dy,
    }
}

/// What was read, before anything is concluded from it.
struct Parts {
    quality: Quality,
    mrz: Option<Mrz>,
    refusal: Option<Refusal>,
    printed: PrintedFields,
    faces: Faces,
}

fn assemble(parts: Parts, today: Date) -> Reading {
    let Parts {
        quality,
        mrz,
        refusal,
        printed,
        faces: Faces {
            portrait,
            has_other,
        },
    } = parts;
    let mut checks = check_digits(mrz.as_ref(), refusal.as_ref());
    let mut fields = BTreeMap::new();
    let mut needs_review = false;
    let mut specimen = false;
    if let Some(mrz) = &mrz {
        let compared = compare(mrz, &printed, today);
        needs_review = compared.iter().any(Compared::is_doubtful);
        for it in compared {
            checks.push(Check {
                code: it.code,
                passed: it.agrees,
            });
            if !it.field.value.is_empty() {
                fields.insert(it.name, it.field);
            }
        }
        specimen = is_specimen(mrz, &printed);
        checks.extend(judge(mrz, today));
        let is_own_state = mrz.issuing_state.value == mrz.nationality.value;
        checks.push(Check {
            code: "issuing_state_is_nationality",
            passed: Some(is_own_state),
        });
        needs_review |= !is_own_state || has_other;
    }
    if let Some(place) = printed.get(Label::BirthPlace) {
        let field = ReadField {
            value: place.text.clone(),
            source: Source::Printed,
            confidence: place.confidence,
            protected: false,
        };
        fields.insert("placeOfBirth", field);
    }
    checks.push(Check {
        code: "portrait_present",
        passed: Some(portrait.is_some()),
    });
    checks.push(Check {
        code: "no_other_face",
        passed: Some(!has_other),
    });
    let document_class = mrz.as_ref().map(|it| match it.format {
        Format::Td3 => "passport",
        Format::Td1 | Format::Td2 => "id-card",
        Format::MrvA | Format::MrvB => "visa",
    });
    Reading {
        quality,
        document_class,
        mrz,
        refusal,
        fields,
        checks,
        portrait,
        specimen,
        needs_review,
    }
}

/// Whether the document says of itself that it is a specimen, in its zone or in print.
fn is_specimen(mrz: &Mrz, printed: &PrintedFields) -> bool {
    let states = [&mrz.issuing_state, &mrz.nationality];
    let names = [&mrz.primary_identifier, &mrz.secondary_identifier].map(|it| it.value.as_str());
    let names = names.join(" ");
    states.iter().any(|it| mrz::is_specimen_state(&it.value))
        || says_specimen(&names, &names)
        || printed.find(|it| says_specimen(it, &names)).is_some()
}

fn check_digits(mrz: Option<&Mrz>, refusal: Option<&Refusal>) -> Vec<Check> {
    let code = |digit: &CheckDigit| match digit {
        CheckDigit::DocumentNumber => "mrz_document_number",
        CheckDigit::BirthDate => "mrz_birth_date",
        CheckDigit::ExpiryDate => "mrz_expiry_date",
        CheckDigit::OptionalFirst => "mrz_optional",
        CheckDigit::Composite => "mrz_composite",
    };
    let (digits, passed): (&[CheckDigit], bool) = match (mrz, refusal) {
        (Some(mrz), _) => (&mrz.checks, true),
        (None, Some(Refusal::CheckDigits { failed, .. })) => (failed, false),
        _ => (&[], false),
    };
    digits
        .iter()
        .map(|it| Check {
            code: code(it),
            passed: Some(passed),
        })
        .collect()
}

/// Judgements that need the zone and today only.
fn judge(mrz: &Mrz, today: Date) -> Vec<Check> {
    let born = Date::of_birth(&mrz.birth_date.value, today);
    let expires = Date::of_expiry(&mrz.expiry_date.value, today);
    let is_plausible = born.map(|it| (0..=AGE_MAX).contains(&it.years_until(today)));
    vec![
        Check {
            code: "not_expired",
            passed: Some(expires.is_some_and(|it| today <= it)),
        },
        Check {
            code: "birth_date_plausible",
            passed: is_plausible,
        },
        Check {
            code: "issuing_state_known",
            passed: Some(mrz::is_known_state(&mrz.issuing_state.value)),
        },
    ]
}

/// One value of the zone beside its print.
struct Compared {
    name: &'static str,
    /// Of the check.
    code: &'static str,
    field: ReadField,
    agrees: Option<bool>,
}

impl Compared {
    fn new(
        name: &'static str,
        code: &'static str,
        zone: &mrz::Field,
        value: String,
        print: Option<&PrintedText>,
        agrees: Option<bool>,
    ) -> Self {
        let (source, confidence) = match (agrees, print) {
            // Both would have to be wrong in the same way.
            (Some(true), Some(print)) => (
                Source::Both,
                1.0 - (1.0 - zone.confidence) * (1.0 - print.confidence),
            ),
            _ => (Source::Mrz, zone.confidence),
        };
        let field = ReadField {
            value,
            source,
            confidence,
            protected: zone.protected,
        };
        Self {
            name,
            code,
            field,
            agrees,
        }
    }

    /// A value that no check digit proves must agree with the print; no value may disagree with it.
    fn is_doubtful(&self) -> bool {
        if self.field.protected {
            self.agrees == Some(false)
        } else {
            self.agrees != Some(true)
        }
    }
}

/// Compares a text of the zone with a print.
type TextsAgree = fn(printed: &str, zone: &str) -> bool;

fn compare(mrz: &Mrz, printed: &PrintedFields, today: Date) -> Vec<Compared> {
    let texts: [(&'static str, &'static str, &mrz::Field, Label, TextsAgree); 5] = [
        (
            "surname",
            "mrz_matches_printed_surname",
            &mrz.primary_identifier,
            Label::Surname,
            names_agree,
        ),
        (
            "givenNames",
            "mrz_matches_printed_given_names",
            &mrz.secondary_identifier,
            Label::GivenNames,
            names_agree,
        ),
        (
            "documentNumber",
            "mrz_matches_printed_document_number",
            &mrz.document_number,
            Label::DocumentNumber,
            numbers_agree,
        ),
        (
            "nationality",
            "mrz_matches_printed_nationality",
            &mrz.nationality,
            Label::Nationality,
            nationalities_agree,
        ),
        (
            "sex",
            "mrz_matches_printed_sex",
            &mrz.sex,
            Label::Sex,
            sexes_agree,
        ),
    ];
    let mut all = vec![issuing_state(mrz, printed)];
    for (name, code, zone, label, agree) in texts {
        // A holder with one name only has no given names to compare.
        if name == "givenNames" && zone.value.is_empty() {
            continue;
        }
        let (print, agrees) = judged(printed, label, &|it| Some(agree(it, &zone.value)));
        all.push(Compared::new(
            name,
            code,
            zone,
            zone.value.clone(),
            print,
            agrees,
        ));
    }
    let born = Date::of_birth(&mrz.birth_date.value, today);
    let expires = Date::of_expiry(&mrz.expiry_date.value, today);
    for (name, code, zone, date, label) in [
        (
            "dateOfBirth",
            "mrz_matches_printed_birth_date",
            &mrz.birth_date,
            born,
            Label::BirthDate,
        ),
        (
            "dateOfExpiry",
            "mrz_matches_printed_expiry_date",
            &mrz.expiry_date,
            expires,
            Label::ExpiryDate,
        ),
    ] {
        let (print, agrees) = judged(printed, label, &|it| {
            date.and_then(|date| dates_agree(it, date))
        });
        let value = date.map_or_else(|| zone.value.clone(), |it| it.to_string());
        all.push(Compared::new(name, code, zone, value, print, agrees));
    }
    all
}

/// The state's code stands somewhere in print; its name, in words of any language, is compared with nothing.
fn issuing_state(mrz: &Mrz, printed: &PrintedFields) -> Compared {
    let zone = &mrz.issuing_state;
    let print = printed.find(|it| states_agree(it, &zone.value));
    Compared::new(
        "issuingState",
        "mrz_matches_printed_issuing_state",
        zone,
        zone.value.clone(),
        print,
        print.map(|_| true),
    )
}

/// The print of a field, and whether it agrees.
///
/// Where the label was not made out, names, numbers and dates are recognised by what they say; a sex or a nationality
/// could be any word.
fn judged<'a>(
    printed: &'a PrintedFields,
    label: Label,
    agree: &dyn Fn(&str) -> Option<bool>,
) -> (Option<&'a PrintedText>, Option<bool>) {
    let by_value = || match label {
        Label::Sex | Label::Nationality => None,
        _ => printed.find(|it| agree(it) == Some(true)),
    };
    let print = printed.get(label).or_else(by_value);
    (print, print.and_then(|it| agree(&it.text)))
}
