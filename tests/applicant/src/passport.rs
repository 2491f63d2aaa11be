//! Renders the data page of a passport (ICAO 9303, size TD3) of the invented state UTO.
//!
//! Every page is marked SPECIMEN and belongs to a person who does not exist.

use std::{fmt::Write as _, sync::Arc};

use anyhow::{Context as _, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chrono::{Days, Months, NaiveDate};
use image::RgbImage;
use resvg::{tiny_skia, usvg};

use crate::mrz;
use crate::picture::jpeg;

/// Ten pixels a millimetre. Source: TD3 is 125 x 88 mm, ICAO 9303-4, section 2.
pub const PAGE_WIDTH: u32 = 1250;
pub const PAGE_HEIGHT: u32 = 880;
/// The portrait's box on the page: 35 x 45 mm of the page's scale.
const PORTRAIT: [u32; 4] = [60, 150, 340, 437];
/// Ratio of width to height that a portrait should have.
pub const PORTRAIT_ASPECT: f64 = 340.0 / 437.0;
/// Distance of two characters of the zone: ten to the inch. Source: ICAO 9303-3, section 4.
const MRZ_PITCH: f64 = 25.4;
/// Left edge of the zone's first character, 6 mm from the page's edge.
const MRZ_LEFT: f64 = 66.0;
/// Base lines of the zone's two lines. Source: figure 5 of ICAO 9303-4, within its tolerance.
const MRZ_BASELINES: [u32; 2] = [742, 806];
/// Quality of the portrait inside the page, `1..=100`.
const PORTRAIT_QUALITY: u8 = 92;
/// Years that a passport is valid.
const VALID_MONTHS: Months = Months::new(120);

/// Whether a passport can still be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    Valid,
    Expired,
}

/// A passport of an invented person.
#[derive(Debug, Clone)]
pub struct Passport {
    pub surname: &'static str,
    pub given_names: &'static str,
    pub number: &'static str,
    pub born: NaiveDate,
    pub sex: char,
    pub birthplace: &'static str,
    pub issued: NaiveDate,
    pub expires: NaiveDate,
}

impl Passport {
    /// The applicant's passport as seen on the day `today`.
    ///
    /// # Panics
    ///
    /// Never: the one written date is a day of the calendar.
    #[must_use]
    pub fn of_applicant(validity: Validity, today: NaiveDate) -> Self {
        let issued = match validity {
            Validity::Valid => today - Months::new(26),
            Validity::Expired => today - VALID_MONTHS - Days::new(45),
        };
        Self {
            surname: "HALVORSEN",
            given_names: "INGRID MAE",
            number: "K48291675",
            born: NaiveDate::from_ymd_opt(1988, 7, 23).expect("a day of the calendar"),
            sex: 'F',
            birthplace: "ZENITH",
            issued,
            expires: issued + VALID_MONTHS - Days::new(1),
        }
    }

    /// The two lines of the machine-readable zone.
    #[must_use]
    pub fn mrz(&self) -> [String; 2] {
        mrz::lines(&mrz::Content {
            state: "UTO",
            surname: self.surname,
            given_names: self.given_names,
            number: self.number,
            nationality: "UTO",
            born: self.born,
            sex: self.sex,
            expires: self.expires,
        })
    }

    /// Draws the data page with `portrait` on it.
    ///
    /// # Errors
    ///
    /// When a font is missing; the message names the packages that have it.
    pub fn render(&self, portrait: &RgbImage) -> Result<RgbImage> {
        let fonts = Fonts::find()?;
        let svg = self.svg(portrait, &fonts)?;
        let options = usvg::Options {
            fontdb: Arc::new(fonts.database),
            ..usvg::Options::default()
        };
        let tree =
            usvg::Tree::from_str(&svg, &options).context("cannot read the page's own SVG")?;
        let mut pixmap =
            tiny_skia::Pixmap::new(PAGE_WIDTH, PAGE_HEIGHT).context("the page has no pixels")?;
        resvg::render(
            &tree,
            tiny_skia::Transform::identity(),
            &mut pixmap.as_mut(),
        );
        let pixels = pixmap
            .pixels()
            .iter()
            .flat_map(|it| [it.red(), it.green(), it.blue()])
            .collect();
        RgbImage::from_raw(PAGE_WIDTH, PAGE_HEIGHT, pixels).context("the page has too few pixels")
    }

    fn svg(&self, portrait: &RgbImage, fonts: &Fonts) -> Result<String> {
        let mut svg = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 {PAGE_WIDTH} {PAGE_HEIGHT}" width="{PAGE_WIDTH}" height="{PAGE_HEIGHT}" font-family="{}">"#,
            fonts.text
        );
        paper(&mut svg)?;
        let [x, y, width, height] = PORTRAIT;
        let encoded = BASE64.encode(jpeg(portrait, PORTRAIT_QUALITY)?);
        write!(
            svg,
            r#"<image x="{x}" y="{y}" width="{width}" height="{height}" preserveAspectRatio="xMidYMid slice" xlink:href="data:image/jpeg;base64,{encoded}"/>"#
        )?;
        self.printed_fields(&mut svg)?;
        self.zone(&mut svg, fonts)?;
        svg.push_str("</svg>");
        Ok(svg)
    }

    fn printed_fields(&self, svg: &mut String) -> Result<()> {
        let sex = self.sex.to_string();
        let [born, issued, expires] = [self.born, self.issued, self.expires].map(printed_day);
        let fields: [(u32, u32, &str, &str); 12] = [
            (440, 0, "Type", "P"),
            (580, 0, "Code", "UTO"),
            (860, 0, "Passport No.", self.number),
            (440, 1, "Surname", self.surname),
            (440, 2, "Given names", self.given_names),
            (440, 3, "Nationality", "UTOPIAN"),
            (860, 3, "Sex", &sex),
            (440, 4, "Date of birth", &born),
            (860, 4, "Place of birth", self.birthplace),
            (440, 5, "Date of issue", &issued),
            (860, 5, "Date of expiry", &expires),
            (440, 6, "Authority", "MINISTRY OF INTERIOR"),
        ];
        for (x, row, label, value) in fields {
            let label_y = 158 + 71 * row;
            let value_y = label_y + 33;
            write!(
                svg,
                r##"<text x="{x}" y="{label_y}" font-size="18" fill="#40506a">{label}</text><text x="{x}" y="{value_y}" font-size="30" fill="#15171c">{value}</text>"##
            )?;
        }
        Ok(())
    }

    fn zone(&self, svg: &mut String, fonts: &Fonts) -> Result<()> {
        for (line, y) in self.mrz().iter().zip(MRZ_BASELINES) {
            write!(
                svg,
                r##"<g font-family="{}" font-size="{}" fill="#0c0c0c">"##,
                fonts.zone, fonts.zone_size
            )?;
            let mut x = MRZ_LEFT;
            for character in line.chars() {
                let character = if character == '<' {
                    "&lt;".to_owned()
                } else {
                    character.to_string()
                };
                write!(svg, r#"<text x="{x:.1}" y="{y}">{character}</text>"#)?;
                x += MRZ_PITCH;
            }
            svg.push_str("</g>");
        }
        Ok(())
    }
}

/// `23 JUL 1988`.
fn printed_day(day: NaiveDate) -> String {
    day.format("%d %b %Y").to_string().to_uppercase()
}

/// Paper, its fine lines, the headings and the word SPECIMEN.
fn paper(svg: &mut String) -> Result<()> {
    write!(
        svg,
        r##"<rect width="{PAGE_WIDTH}" height="{PAGE_HEIGHT}" fill="#f2efe6"/>"##
    )?;
    for i in 0..15 {
        let y = 30 + 40 * i;
        let colour = if i % 2 == 0 { "#d9e4ea" } else { "#ecdfd3" };
        write!(
            svg,
            r#"<path d="M0 {y} q 78 -60 156 0 t 156 0 t 156 0 t 156 0 t 156 0 t 156 0 t 156 0 t 156 0 t 156 0" fill="none" stroke="{colour}" stroke-width="2"/>"#
        )?;
    }
    write!(
        svg,
        r##"<rect y="648" width="{PAGE_WIDTH}" height="232" fill="#f7f5ef"/>
        <text x="60" y="92" font-size="44" font-weight="bold" fill="#23395d">UTOPIA</text>
        <text x="440" y="92" font-size="40" fill="#23395d">PASSPORT</text>
        <text x="860" y="92" font-size="44" font-weight="bold" fill="#b3272d">SPECIMEN</text>"##
    )?;
    Ok(())
}

/// The type faces of a page.
struct Fonts {
    database: usvg::fontdb::Database,
    text: &'static str,
    zone: &'static str,
    /// Size at which the zone's capitals are as high as the standard asks.
    zone_size: u32,
}

impl Fonts {
    fn find() -> Result<Self> {
        const TEXT: [&str; 3] = ["DejaVu Sans", "Liberation Sans", "Noto Sans"];
        const ZONE: [(&str, u32); 3] = [
            ("OCR B", 37),
            ("DejaVu Sans Mono", 40),
            ("Liberation Mono", 41),
        ];

        let mut database = usvg::fontdb::Database::new();
        database.load_system_fonts();
        drop_ornamental_ocr_b(&mut database);
        let has = |family: &str| {
            database
                .faces()
                .any(|face| face.families.iter().any(|(name, _)| name == family))
        };
        let text = TEXT.into_iter().find(|&it| has(it));
        let zone = ZONE.into_iter().find(|&(family, _)| has(family));
        let (Some(text), Some((zone, zone_size))) = (text, zone) else {
            bail!(
                "no font to print a passport with; run `apt-get install fonts-ocr-b fonts-dejavu-core`"
            );
        };
        Ok(Self {
            database,
            text,
            zone,
            zone_size,
        })
    }
}

/// Keeps only the plain face of OCR-B: its inverted and outlined faces carry
/// the same family name, weight and style, and could be picked instead.
fn drop_ornamental_ocr_b(database: &mut usvg::fontdb::Database) {
    let ornamental: Vec<_> = database
        .faces()
        .filter(|it| {
            it.post_script_name.starts_with("OCRB") && it.post_script_name != "OCRB-Regular"
        })
        .map(|it| it.id)
        .collect();
    for id in ornamental {
        database.remove_face(id);
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn today() -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 2, 28).unwrap()
    }

    #[test]
    fn the_valid_passport_outlives_today_and_the_expired_one_does_not() {
        let valid = Passport::of_applicant(Validity::Valid, today());
        assert!(
            valid.issued < today() && today() < valid.expires,
            "{valid:?}"
        );
        let expired = Passport::of_applicant(Validity::Expired, today());
        assert!(expired.expires < today(), "{expired:?}");
        assert!(expired.mrz()[1].contains(&expired.expires.format("%y%m%d").to_string()));
    }

    #[test]
    fn a_page_carries_its_portrait_and_dark_characters_in_its_zone() {
        let portrait = RgbImage::from_pixel(350, 450, Rgb([10, 200, 30]));
        let page = Passport::of_applicant(Validity::Valid, today())
            .render(&portrait)
            .unwrap();
        let [x, y, width, height] = PORTRAIT;
        let Rgb([red, green, _]) = *page.get_pixel(x + width / 2, y + height / 2);
        assert!(
            red < 40 && 180 < green,
            "the portrait's colour: {red} {green}"
        );
        // Every character of either line leaves ink in its own cell.
        for baseline in MRZ_BASELINES {
            for i in 0..44_u32 {
                let left = 66 + i * 254 / 10;
                let inked = (left..left + 24)
                    .any(|x| (baseline - 28..baseline).any(|y| page.get_pixel(x, y).0[0] < 90));
                assert!(inked, "character {i} at {baseline}");
            }
        }
    }
}
