//! Makes selfies and a passport portrait out of one photograph of a person.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sizes and coordinates of pictures are far below the limits of their types"
)]

use image::{RgbImage, imageops};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::geometry::Point;
use crate::passport::PORTRAIT_ASPECT;
use crate::picture::{Light, expose};

/// Size of a frame of the front camera, in pixels.
pub const SELFIE_WIDTH: u32 = 480;
pub const SELFIE_HEIGHT: u32 = 640;
/// Height of a portrait before it is printed, in pixels.
const PORTRAIT_HEIGHT: u32 = 514;
/// Width of the face, as a share of the width of the selfie and of the portrait.
const SELFIE_FACE_SHARE: f64 = 0.5;
const PORTRAIT_FACE_SHARE: f64 = 0.52;
/// Where the middle of the face is, as a share of the picture's height.
const FACE_HEIGHT_AT: f64 = 0.45;
/// Standard deviation of the sensor noise of a front camera, in steps of `0..=255`.
const SELFIE_NOISE: f32 = 2.5;

/// Where the face is in a photograph.
#[derive(Debug, Clone, Copy)]
pub struct FaceBox {
    pub middle: Point,
    /// In pixels.
    pub width: f64,
}

/// What a front camera at arm's length sees: the person, in the light of a room.
#[must_use]
pub fn selfie(photograph: &RgbImage, face: FaceBox, seed: u64) -> RgbImage {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut frame = framed(
        photograph,
        face,
        SELFIE_FACE_SHARE,
        SELFIE_WIDTH,
        SELFIE_HEIGHT,
    );
    let side = if rng.random() { 1.0 } else { -1.0 };
    let light = Light {
        gamma: rng.random_range(0.88..0.96),
        towards: [side * 0.95, -0.3],
        falloff: rng.random_range(0.18..0.28),
        tint: [
            1.0,
            rng.random_range(0.96..0.99),
            rng.random_range(0.88..0.94),
        ],
    };
    expose(&mut frame, &light, 0.0, &mut rng);
    frame
}

/// One exposure of the front camera: the noise and the slight change of light
/// that make every frame of a living scene different.
#[must_use]
pub fn exposed(mut frame: RgbImage, seed: u64) -> RgbImage {
    let mut rng = StdRng::seed_from_u64(seed);
    let light = Light {
        gamma: rng.random_range(0.98..1.02),
        towards: [0.0, -1.0],
        falloff: rng.random_range(0.0..0.03),
        tint: [1.0; 3],
    };
    expose(&mut frame, &light, SELFIE_NOISE, &mut rng);
    frame
}

/// The portrait of the same photograph for a passport: closer, in a studio's even, cool light.
#[must_use]
pub fn portrait(photograph: &RgbImage, face: FaceBox) -> RgbImage {
    let width = (f64::from(PORTRAIT_HEIGHT) * PORTRAIT_ASPECT).round() as u32;
    let mut picture = framed(
        photograph,
        face,
        PORTRAIT_FACE_SHARE,
        width,
        PORTRAIT_HEIGHT,
    );
    let light = Light {
        gamma: 1.12,
        towards: [0.0, -1.0],
        falloff: 0.04,
        tint: [0.96, 1.0, 1.0],
    };
    // No noise: the seed is not used for anything that shows.
    expose(&mut picture, &light, 0.0, &mut StdRng::seed_from_u64(0));
    picture
}

/// The part of a photograph where the face takes `face_share` of the width;
/// beyond its border the photograph is mirrored.
fn framed(
    photograph: &RgbImage,
    face: FaceBox,
    face_share: f64,
    width: u32,
    height: u32,
) -> RgbImage {
    let scale = face_share * f64::from(width) / face.width;
    let scaled = imageops::resize(
        photograph,
        (f64::from(photograph.width()) * scale).round() as u32,
        (f64::from(photograph.height()) * scale).round() as u32,
        imageops::FilterType::CatmullRom,
    );
    let left = face.middle[0] * scale - f64::from(width) / 2.0;
    let top = face.middle[1] * scale - f64::from(height) * FACE_HEIGHT_AT;
    RgbImage::from_fn(width, height, |x, y| {
        let x = mirrored(left + f64::from(x), scaled.width());
        let y = mirrored(top + f64::from(y), scaled.height());
        *scaled.get_pixel(x, y)
    })
}

/// The pixel at `at` of a row of `size` pixels that goes on as its own mirror image.
fn mirrored(at: f64, size: u32) -> u32 {
    let folded = at.round().rem_euclid(2.0 * f64::from(size)) as u32;
    if folded < size {
        folded
    } else {
        2 * size - 1 - folded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_goes_on_as_its_mirror_image_on_both_sides() {
        let seen: Vec<u32> = (-4..8).map(|it| mirrored(f64::from(it), 4)).collect();
        assert_eq!(seen, [3, 2, 1, 0, 0, 1, 2, 3, 3, 2, 1, 0]);
    }
}
