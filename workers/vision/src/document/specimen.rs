//! Renders the data page of a passport of the invented state UTO, for the tests of this crate: known truth, no person.

use std::fmt::Write as _;

use resvg::{tiny_skia, usvg};

use super::mrz::{Contents, Format, compose};
use crate::geometry::Rect;
use crate::models::{Manifest, Role};
use crate::picture::Picture;
use crate::testing;

/// Ten pixels a millimetre of a TD3 page.
pub(super) const WIDTH: u32 = 1_250;
pub(super) const HEIGHT: u32 = 880;
const PORTRAIT: [u32; 4] = [60, 150, 340, 437];

/// What the page says; the printed values may differ from the zone's.
#[derive(Clone, Debug)]
pub(super) struct Specimen {
    pub zone: Contents,
    /// Replaces the composed lines, for zones that are wrong.
    pub zone_lines: Option<Vec<String>>,
    pub printed: Vec<(&'static str, String)>,
    pub has_portrait: bool,
}

impl Specimen {
    pub(super) fn valid() -> Self {
        let zone = Contents {
            format: Format::Td3,
            document_code: "P".to_owned(),
            issuing_state: "UTO".to_owned(),
            primary_identifier: "HALVORSEN".to_owned(),
            secondary_identifier: "INGRID MAE".to_owned(),
            document_number: "K48291675".to_owned(),
            nationality: "UTO".to_owned(),
            birth_date: "880723".to_owned(),
            sex: "F".to_owned(),
            expiry_date: "340922".to_owned(),
            optional_first: String::new(),
            optional_second: String::new(),
        };
        let printed = [
            ("Type", "P"),
            ("Code", "UTO"),
            ("Passport No.", "K48291675"),
            ("Surname", "HALVORSEN"),
            ("Given names", "INGRID MAE"),
            ("Nationality", "UTOPIAN"),
            ("Sex", "F"),
            ("Date of birth", "23 JUL 1988"),
            ("Place of birth", "ZENITH"),
            ("Date of issue", "23 SEP 2024"),
            ("Date of expiry", "22 SEP 2034"),
            ("Authority", "MINISTRY OF INTERIOR"),
        ];
        let printed = printed
            .map(|(label, value)| (label, value.to_owned()))
            .to_vec();
        Self {
            zone,
            zone_lines: None,
            printed,
            has_portrait: true,
        }
    }

    /// The same page with another printed value.
    pub(super) fn printing(mut self, label: &str, value: &str) -> Self {
        for it in self.printed.iter_mut().filter(|it| it.0 == label) {
            value.clone_into(&mut it.1);
        }
        self
    }

    pub(super) fn render(&self) -> Picture {
        let mut fonts = usvg::fontdb::Database::new();
        fonts.load_system_fonts();
        let options = usvg::Options {
            fontdb: std::sync::Arc::new(fonts),
            ..usvg::Options::default()
        };
        let tree = usvg::Tree::from_str(&self.svg(), &options).unwrap();
        let mut pixels = tiny_skia::Pixmap::new(WIDTH, HEIGHT).unwrap();
        resvg::render(
            &tree,
            tiny_skia::Transform::identity(),
            &mut pixels.as_mut(),
        );
        let rgb = pixels
            .pixels()
            .iter()
            .flat_map(|it| [it.red(), it.green(), it.blue()])
            .collect();
        let mut page = Picture::from_rgb(WIDTH, HEIGHT, rgb).unwrap();
        if self.has_portrait {
            paste(&mut page, &portrait());
        }
        page
    }

    fn svg(&self) -> String {
        let places = [
            (440, 0),
            (580, 0),
            (860, 0),
            (440, 1),
            (440, 2),
            (440, 3),
            (860, 3),
            (440, 4),
            (860, 4),
            (440, 5),
            (860, 5),
            (440, 6),
        ];
        let mut printed = String::new();
        for ((x, row), (label, value)) in places.iter().zip(&self.printed) {
            let (above, below) = (158 + 71 * row, 191 + 71 * row);
            write!(
                printed,
                r##"<text x="{x}" y="{above}" font-size="18" fill="#40506a">{label}</text>
                <text x="{x}" y="{below}" font-size="30" fill="#15171c">{value}</text>"##
            )
            .unwrap();
        }
        let lines = self
            .zone_lines
            .clone()
            .unwrap_or_else(|| compose(&self.zone).unwrap());
        let symbols = |line: &str, y: u32| -> String {
            let symbol = |(column, it): (u32, char)| {
                let (x, it) = (
                    66.0 + 25.4 * f64::from(column),
                    it.to_string().replace('<', "&lt;"),
                );
                format!(r#"<text x="{x}" y="{y}">{it}</text>"#)
            };
            (0..).zip(line.chars()).map(symbol).collect()
        };
        let zone = symbols(&lines[0], 742) + &symbols(&lines[1], 806);
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="DejaVu Sans">
            <rect width="{WIDTH}" height="{HEIGHT}" fill="#f2efe6"/>
            <text x="60" y="92" font-size="44" font-weight="bold" fill="#23395d">UTOPIA</text>
            <text x="440" y="92" font-size="40" fill="#23395d">PASSPORT</text>
            <text x="860" y="92" font-size="44" font-weight="bold" fill="#b3272d">SPECIMEN</text>
            {printed}
            <g font-family="DejaVu Sans Mono" font-size="40" fill="#0c0c0c">{zone}</g></svg>"##
        )
    }
}

fn portrait() -> Picture {
    let whole = Manifest::shipped()
        .demo_picture(&testing::models_dir(), Role::DemoApplicant)
        .unwrap();
    // Of the fetched picture of 512 x 512, the part that shows head and shoulders.
    let bounds = Rect {
        x: 100.0,
        y: 0.0,
        width: 280.0,
        height: 360.0,
    };
    whole.crop(bounds).unwrap().resize(PORTRAIT[2], PORTRAIT[3])
}

fn paste(page: &mut Picture, portrait: &Picture) {
    for y in 0..portrait.height() {
        for x in 0..portrait.width() {
            page.set_pixel(PORTRAIT[0] + x, PORTRAIT[1] + y, portrait.pixel(x, y));
        }
    }
}

/// The page as a camera out of focus sees it: averaged over a square of `2 * radius + 1` pixels, three times.
pub(super) fn blurred(picture: &Picture, radius: u32) -> Picture {
    let mut blurred = picture.clone();
    for _ in 0..3 {
        blurred = averaged(&blurred, radius, (1, 0));
        blurred = averaged(&blurred, radius, (0, 1));
    }
    blurred
}

fn averaged(picture: &Picture, radius: u32, (dx, dy): (u32, u32)) -> Picture {
    let mut result = picture.clone();
    let n = 2 * radius + 1;
    for y in 0..picture.height() {
        for x in 0..picture.width() {
            let mut sum = [0_u32; 3];
            for step in 0..n {
                let at_x = (x + dx * step)
                    .saturating_sub(dx * radius)
                    .min(picture.width() - 1);
                let at_y = (y + dy * step)
                    .saturating_sub(dy * radius)
                    .min(picture.height() - 1);
                for (total, value) in sum.iter_mut().zip(picture.pixel(at_x, at_y)) {
                    *total += u32::from(value);
                }
            }
            result.set_pixel(x, y, sum.map(|it| u8::try_from(it / n).unwrap()));
        }
    }
    result
}

/// The page with the light of a lamp on it: burnt out at the middle of the spot, fading to its `radius`.
pub(super) fn glaring(picture: &Picture, center: (f64, f64), radius: f64) -> Picture {
    relit(picture, |x, y, value| {
        let distance = (x - center.0).hypot(y - center.1) / radius;
        let light = (1.8 - 1.8 * distance).clamp(0.0, 1.0);
        value + (255.0 - value) * light
    })
}

/// The page with `share` of its light.
pub(super) fn darkened(picture: &Picture, share: f64) -> Picture {
    relit(picture, |_, _, value| value * share)
}

fn relit(picture: &Picture, light: impl Fn(f64, f64, f64) -> f64) -> Picture {
    let mut result = picture.clone();
    for y in 0..picture.height() {
        for x in 0..picture.width() {
            let color = picture.pixel(x, y).map(|it| {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "clamped"
                )]
                let value =
                    light(f64::from(x), f64::from(y), f64::from(it)).clamp(0.0, 255.0) as u8;
                value
            });
            result.set_pixel(x, y, color);
        }
    }
    result
}
