//! Photographs a page as a phone does: at a slight angle, on a table, in uneven light.

use image::{Rgb, RgbImage};
use rand::{Rng, RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::geometry::{Homography, Point, corners, lay_over, pixel};
use crate::picture::{Light, expose};

/// Size of the shot, in pixels: a phone's 4:3 picture after its usual reduction.
const SHOT_WIDTH: u32 = 1600;
const SHOT_HEIGHT: u32 = 1200;
/// Share of the shot's width that the page takes.
const PAGE_SHARE: f64 = 0.84;
/// How far a corner strays from a flat, straight view, as a share of the page's width.
const CORNER_STRAY_MAX: f64 = 0.018;
/// How far the page is turned, in radians (2.5 degrees).
const TURN_MAX: f64 = 0.044;
/// Standard deviation of the sensor noise, in steps of `0..=255`.
const NOISE: f32 = 3.0;

/// The shot of `page`; the same seed gives the same shot.
///
/// # Panics
///
/// Never: the four corners stray too little to fall on one line.
#[must_use]
pub fn photograph(page: &RgbImage, seed: u64) -> RgbImage {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut picture = table(&mut rng);
    let in_shot = corners_in_shot(page, &mut rng);
    let page_of_shot = Homography::between(in_shot, corners(page.width(), page.height()))
        .expect("corners that stray by two percent form a proper quadrilateral");
    lay_over(&mut picture, page, &page_of_shot);
    let angle: f32 = rng.random_range(0.0..std::f32::consts::TAU);
    let light = Light {
        gamma: rng.random_range(0.95..1.08),
        towards: [angle.cos(), angle.sin()],
        falloff: rng.random_range(0.10..0.22),
        tint: [
            1.0,
            rng.random_range(0.975..1.0),
            rng.random_range(0.93..0.98),
        ],
    };
    expose(&mut picture, &light, NOISE, &mut rng);
    picture
}

/// Where the page's corners fall in the shot.
fn corners_in_shot(page: &RgbImage, rng: &mut impl Rng) -> [Point; 4] {
    let width = f64::from(SHOT_WIDTH) * PAGE_SHARE;
    let scale = width / f64::from(page.width());
    let centre = [
        f64::from(page.width()) / 2.0,
        f64::from(page.height()) / 2.0,
    ];
    let turn: f64 = rng.random_range(-TURN_MAX..TURN_MAX);
    corners(page.width(), page.height()).map(|[x, y]| {
        let (x, y) = (scale * (x - centre[0]), scale * (y - centre[1]));
        let stray = width * CORNER_STRAY_MAX;
        [
            f64::from(SHOT_WIDTH) / 2.0 + x * turn.cos() - y * turn.sin()
                + rng.random_range(-stray..stray),
            f64::from(SHOT_HEIGHT) / 2.0
                + x * turn.sin()
                + y * turn.cos()
                + rng.random_range(-stray..stray),
        ]
    })
}

/// A dark table top with a soft grain.
fn table(rng: &mut impl Rng) -> RgbImage {
    let phase: f32 = rng.random_range(0.0..std::f32::consts::TAU);
    RgbImage::from_fn(SHOT_WIDTH, SHOT_HEIGHT, |x, y| {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a shot is far smaller than 2^23 pixels wide"
        )]
        let (x, y) = (x as f32, y as f32);
        let grain =
            6.0 * (y / 23.0 + phase + (x / 310.0).sin()).sin() + 3.0 * (y / 7.0 + x / 190.0).sin();
        let Rgb(wood) = Rgb([74.0, 58.0, 47.0]);
        pixel(wood.map(|it: f32| it + grain))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_shot_and_another_seed_another() {
        let page = RgbImage::from_pixel(500, 352, Rgb([230, 228, 220]));
        assert_eq!(photograph(&page, 7), photograph(&page, 7));
        assert_ne!(photograph(&page, 7), photograph(&page, 8));
    }

    #[test]
    fn the_whole_page_is_inside_the_shot() {
        let page = RgbImage::new(1250, 880);
        for seed in 0..200 {
            for [x, y] in corners_in_shot(&page, &mut StdRng::seed_from_u64(seed)) {
                assert!(
                    (0.0..f64::from(SHOT_WIDTH)).contains(&x),
                    "seed {seed}: x {x}"
                );
                assert!(
                    (0.0..f64::from(SHOT_HEIGHT)).contains(&y),
                    "seed {seed}: y {y}"
                );
            }
        }
    }
}
