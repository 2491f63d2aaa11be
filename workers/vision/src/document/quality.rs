//! Whether a picture is good enough to read a document, and what to do where it is not.

use super::text::{Quad, TextLine};
use crate::geometry::Point;
use crate::picture::Picture;

/// Longer side in pixels at which sharpness is measured; smaller pictures are not enlarged.
const SHARPNESS_SIDE: u32 = 1_000;
/// Variance of the Laplacian of the sharpest quarter of tiles, below which a page is too blurry.
///
/// Source: a rendered page of 1250 pixels under Gaussian blur of 0, 1, 2, 3, 4, 5 pixels measures 2500, 616, 84, 17, 6,
/// 3: at 84 one label is lost, at 17 every label, at 3 the zone. Published specimens measure 549 and more.
pub const SHARPNESS_MIN: f32 = 60.0;
/// Light to which sharpness is normalised: contrast grows with it.
const REFERENCE_LIGHT: f32 = 245.0;
/// Tiles along each side for sharpness.
const TILES: usize = 8;
/// Longer side in pixels at which glare and light are measured.
const LIGHT_SIDE: u32 = 250;
/// Luminance from which a pixel is burnt out, of 255.
const BURNT_MIN: u8 = 251;
/// Share of the picture that a burnt spot may cover.
///
/// Source: spots over text or zone of a rendered page measure 0.025 and more, published specimens 0.006 and less.
pub const GLARE_SHARE_MAX: f32 = 0.01;
/// Share of the picture above which a burnt area is white paper.
const PAPER_SHARE_MIN: f32 = 0.25;
/// Share of a burnt spot's surroundings that fade: glare fades out, white paper ends.
const GLARE_FADE_MIN: f32 = 0.35;
/// Luminance of the brightest twentieth of the pixels, below which a picture is too dark, of 255.
///
/// Source: chosen. Rendered pages are read down to 19, but have no sensor noise; published specimens have 169 and more.
pub const LIGHT_MIN: u8 = 70;
/// Longer side in pixels below which a page is too small, where no zone was found to measure.
pub const SIDE_MIN: u32 = 400;
/// Pixels for each symbol of the zone below which a page is too small.
///
/// Source: of a rendered page scaled to 9.2 pixels a symbol one label is lost, at 7.2 several, at 5.1 all; the zone
/// itself is read down to 5.1.
pub const PITCH_MIN: f32 = 8.0;
/// Symbols in the longest zone's line.
const ZONE_SYMBOLS: f64 = 44.0;
/// Distance from the picture's border, in its larger side, within which a line counts as cut off.
const BORDER_SHARE: f64 = 0.002;
/// Lines of text below which the picture shows no document.
const TEXT_LINES_MIN: usize = 4;

/// Why a picture should be taken again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum QualityReason {
    TooBlurry,
    Glare,
    TooDark,
    TooSmall,
    Cropped,
    NoDocument,
}

impl QualityReason {
    /// Stable code of the reason.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooBlurry => "too_blurry",
            Self::Glare => "glare",
            Self::TooDark => "too_dark",
            Self::TooSmall => "too_small",
            Self::Cropped => "cropped",
            Self::NoDocument => "no_document",
        }
    }

    /// Stable code of the text that tells a person what to do about it.
    #[must_use]
    pub const fn fix_code(self) -> &'static str {
        match self {
            Self::TooBlurry => "hold_still_and_focus",
            Self::Glare => "tilt_away_from_light",
            Self::TooDark => "add_light",
            Self::TooSmall => "move_closer",
            Self::Cropped => "show_all_corners",
            Self::NoDocument => "show_the_document",
        }
    }
}

/// What was measured of a picture.
#[derive(Clone, PartialEq, Debug)]
pub struct Quality {
    /// Variance of the Laplacian, luminance steps squared, as if in full light.
    pub sharpness: f32,
    /// Share of the picture under the largest burnt spot, in `[0, 1]`.
    pub glare_share: f32,
    /// Luminance of the brightest twentieth, 0 to 255.
    pub light: u8,
    /// Longer side in pixels.
    pub side: u32,
    /// Pixels for each symbol of the zone, where one was found.
    pub pitch: Option<f32>,
    /// In order of what to fix first.
    pub reasons: Vec<QualityReason>,
}

/// Measures a picture, given the lines of text on it and those of them that are its zone.
#[must_use]
pub fn assess(picture: &Picture, lines: &[TextLine], zone: &[Quad]) -> Quality {
    let (glare_share, light) = light_of(picture);
    let sharpness = sharpness_of(picture) * (REFERENCE_LIGHT / f32::from(light.max(1))).powi(2);
    let side = picture.width().max(picture.height());
    let pitch = pitch_of(zone);
    let mut reasons = Vec::new();
    if lines.len() < TEXT_LINES_MIN && zone.is_empty() {
        reasons.push(QualityReason::NoDocument);
    }
    if light < LIGHT_MIN {
        reasons.push(QualityReason::TooDark);
    }
    let is_small = match pitch {
        Some(pitch) => pitch < PITCH_MIN,
        None => side < SIDE_MIN,
    };
    if is_small {
        reasons.push(QualityReason::TooSmall);
    }
    if sharpness < SHARPNESS_MIN {
        reasons.push(QualityReason::TooBlurry);
    }
    if GLARE_SHARE_MAX < glare_share && glare_share < PAPER_SHARE_MIN {
        reasons.push(QualityReason::Glare);
    }
    if is_cropped(picture, lines, zone) {
        reasons.push(QualityReason::Cropped);
    }
    Quality {
        sharpness,
        glare_share,
        light,
        side,
        pitch,
        reasons,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "pixels for each symbol are small"
)]
fn pitch_of(zone: &[Quad]) -> Option<f32> {
    // A TD1 line has 30 symbols, but on a narrower card; the longest line's count is the cautious one.
    let symbols = if zone.len() == 3 { 30.0 } else { ZONE_SYMBOLS };
    zone.first().map(|it| (it.length / symbols) as f32)
}

fn shrunk(picture: &Picture, side_max: u32) -> Picture {
    let longer = picture.width().max(picture.height());
    if longer <= side_max {
        return picture.clone();
    }
    let scaled = |it: u32| (it * side_max / longer).max(1);
    picture.resize(scaled(picture.width()), scaled(picture.height()))
}

/// Mean variance of the Laplacian over the sharpest quarter of tiles: plain paper has no edges to judge by.
#[expect(
    clippy::cast_precision_loss,
    reason = "tiles have a few thousand pixels"
)]
fn sharpness_of(picture: &Picture) -> f32 {
    let small = shrunk(picture, SHARPNESS_SIDE);
    let (width, height) = (small.width() as usize, small.height() as usize);
    let grey = small.to_grey();
    let mut sums = [[0.0_f64; 3]; TILES * TILES];
    for y in 1..height.saturating_sub(1) {
        for x in 1..width.saturating_sub(1) {
            let at = y * width + x;
            let neighbours = i32::from(grey[at - 1])
                + i32::from(grey[at + 1])
                + i32::from(grey[at - width])
                + i32::from(grey[at + width]);
            let edge = f64::from(neighbours - 4 * i32::from(grey[at]));
            let tile = &mut sums[y * TILES / height * TILES + x * TILES / width];
            tile[0] += 1.0;
            tile[1] += edge;
            tile[2] += edge * edge;
        }
    }
    let mut variances: Vec<f64> = sums
        .iter()
        .filter(|it| 0.0 < it[0])
        .map(|it| it[2] / it[0] - (it[1] / it[0]).powi(2))
        .collect();
    variances.sort_by(|a, b| b.total_cmp(a));
    let n_sharpest = (variances.len() / 4).max(1).min(variances.len());
    let total: f64 = variances[..n_sharpest].iter().sum();
    #[expect(clippy::cast_possible_truncation, reason = "a measurement")]
    let mean = (total / n_sharpest.max(1) as f64) as f32;
    mean
}

/// The largest share that a burnt spot covers, and the luminance of the brightest twentieth.
fn light_of(picture: &Picture) -> (f32, u8) {
    const BRIGHTEST: usize = 20;
    let small = shrunk(picture, LIGHT_SIDE);
    let (width, height) = (small.width() as usize, small.height() as usize);
    let grey = small.to_grey();
    let mut sorted = grey.clone();
    sorted.sort_unstable();
    let light = sorted[sorted.len() - 1 - sorted.len() / BRIGHTEST];
    let mut seen = vec![false; grey.len()];
    let mut largest = 0;
    for start in 0..grey.len() {
        if seen[start] || grey[start] < BURNT_MIN {
            continue;
        }
        let spot = burnt_spot(&grey, &mut seen, width, height, start);
        let touches_border = spot.iter().any(|it| {
            let (x, y) = (it % width, it / width);
            x == 0 || y == 0 || x == width - 1 || y == height - 1
        });
        if largest < spot.len() && !touches_border && fades(&grey, &spot, width, height) {
            largest = spot.len();
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "at most 250 x 250 pixels")]
    let share = largest as f32 / grey.len() as f32;
    (share, light)
}

fn burnt_spot(
    grey: &[u8],
    seen: &mut [bool],
    width: usize,
    height: usize,
    start: usize,
) -> Vec<usize> {
    let mut spot = vec![start];
    seen[start] = true;
    let mut next = 0;
    while next < spot.len() {
        let (x, y) = (spot[next] % width, spot[next] / width);
        next += 1;
        for (x, y) in neighbours(x, y, 1, width, height) {
            let at = y * width + x;
            if !seen[at] && BURNT_MIN <= grey[at] {
                seen[at] = true;
                spot.push(at);
            }
        }
    }
    spot
}

/// Whether a burnt spot's surroundings, three pixels out, are bright without being burnt.
fn fades(grey: &[u8], spot: &[usize], width: usize, height: usize) -> bool {
    const RING: usize = 3;
    const FADING_MIN: u8 = 215;
    let mut n_around = 0_u32;
    let mut n_fading = 0_u32;
    for &at in spot {
        for (x, y) in neighbours(at % width, at / width, RING, width, height) {
            let value = grey[y * width + x];
            if BURNT_MIN <= value {
                continue;
            }
            n_around += 1;
            n_fading += u32::from(FADING_MIN <= value);
        }
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "at most 250 x 250 pixels and their neighbours"
    )]
    let share = n_fading as f32 / n_around.max(1) as f32;
    0 < n_around && GLARE_FADE_MIN <= share
}

fn neighbours(
    x: usize,
    y: usize,
    distance: usize,
    width: usize,
    height: usize,
) -> impl Iterator<Item = (usize, usize)> {
    let columns = [
        x.checked_sub(distance),
        Some(x),
        Some(x + distance).filter(|it| *it < width),
    ];
    let rows = [
        y.checked_sub(distance),
        Some(y),
        Some(y + distance).filter(|it| *it < height),
    ];
    let sides = [
        (columns[0], rows[1]),
        (columns[2], rows[1]),
        (columns[1], rows[0]),
        (columns[1], rows[2]),
    ];
    sides.into_iter().filter_map(|(x, y)| x.zip(y))
}

/// Whether the zone, or where there is none some lines of text, run into the border.
fn is_cropped(picture: &Picture, lines: &[TextLine], zone: &[Quad]) -> bool {
    const LINES_CUT_MIN: usize = 3;
    let (width, height) = (f64::from(picture.width()), f64::from(picture.height()));
    let margin = width.max(height) * BORDER_SHARE;
    let touches = |quad: &Quad| {
        let is_out = |it: &Point| {
            it.x < margin || it.y < margin || width - margin < it.x || height - margin < it.y
        };
        quad.corners().iter().any(is_out)
    };
    if !zone.is_empty() {
        return zone.iter().any(touches);
    }
    LINES_CUT_MIN <= lines.iter().filter(|it| touches(&it.quad)).count()
}
