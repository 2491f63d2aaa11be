//! What a camera does to a picture: light, noise, JPEG.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "random values and pixel positions are small and need no more than f32"
)]

use anyhow::{Context as _, Result};
use image::{RgbImage, codecs::jpeg::JpegEncoder};
use rand::{Rng, RngExt as _};

use crate::geometry::pixel;

/// Encodes as JPEG; `quality` is `1..=100`.
pub fn jpeg(picture: &RgbImage, quality: u8) -> Result<Vec<u8>> {
    let mut encoded = Vec::new();
    JpegEncoder::new_with_quality(&mut encoded, quality)
        .encode_image(picture)
        .context("cannot encode a picture as JPEG")?;
    Ok(encoded)
}

/// How a scene is lit, relative to the picture it comes from.
#[derive(Debug, Clone, Copy)]
pub struct Light {
    /// Exponent over `0..=1`; below 1 is brighter.
    pub gamma: f32,
    /// Unit vector towards the brighter side, in picture axes.
    pub towards: [f32; 2],
    /// By how much the far side is darker, in `0..1`.
    pub falloff: f32,
    /// Gain of red, green and blue.
    pub tint: [f32; 3],
}

/// Lights a picture again and adds the noise of a small sensor.
///
/// `noise` is its standard deviation in steps of `0..=255`.
pub fn expose(picture: &mut RgbImage, light: &Light, noise: f32, rng: &mut impl Rng) {
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    let curve: Vec<f32> = (0..=255_u8)
        .map(|it| 255.0 * (f32::from(it) / 255.0).powf(light.gamma))
        .collect();
    for (x, y, target) in picture.enumerate_pixels_mut() {
        let across = light.towards[0] * (x as f32 / width - 0.5)
            + light.towards[1] * (y as f32 / height - 0.5);
        let brightness = 1.0 - light.falloff * (0.5 - across);
        // Luminance noise dominates in phone pictures: one draw for all channels.
        let sensor_noise = noise * gaussian(rng);
        *target = pixel(std::array::from_fn(|channel| {
            curve[usize::from(target.0[channel])] * brightness * light.tint[channel] + sensor_noise
        }));
    }
}

/// Standard deviation of the sum of four uniform sixteen-bit values: 65536 * sqrt(4 / 12).
const SUM_DEVIATION: f32 = 37_837.2;

/// A draw of nearly normal distribution, mean 0 and standard deviation 1.
pub fn gaussian(rng: &mut impl Rng) -> f32 {
    // Four of the sixteen-bit parts of one word: their sum is close to normal.
    let word: u64 = rng.random();
    let sum: f32 = (0..4).map(|it| f32::from((word >> (16 * it)) as u16)).sum();
    (sum - 4.0 * 32_767.5) / SUM_DEVIATION
}
