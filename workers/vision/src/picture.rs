//! Pictures in memory: decoding with limits first, cutting, scaling, warping.

use std::{borrow::Cow, io::Cursor};

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::{
    geometry::{Point, Rect, Transform},
    session::Tensor,
};

/// Most bytes of one encoded picture, 16 MiB: a 50-megapixel phone photo at
/// ordinary JPEG quality.
pub const ENCODED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most pixels of one picture, 50 million: 150 MB decoded, the sensor of a
/// large phone.
pub const PIXELS_MAX: u64 = 50_000_000;
/// Longest side in pixels; a panorama strip is no document and no selfie.
pub const SIDE_MAX: u32 = 12_000;
/// Shortest side in pixels; nothing here can be read or recognised below it.
pub const SIDE_MIN: u32 = 32;
/// Most that a decoder may allocate: the pixels with alpha plus working room.
const DECODER_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Most samples a side that one output pixel averages when a warp shrinks.
const WARP_SAMPLES_MAX: u32 = 4;

/// Why bytes are not a picture that we look at; each is the sender's to fix.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    #[error("the picture has {bytes} bytes, more than {ENCODED_BYTES_MAX}")]
    TooManyBytes { bytes: usize },
    #[error("the bytes are not a JPEG, PNG or WebP picture")]
    UnknownFormat,
    #[error(
        "the picture is {width}x{height}; sides must be {SIDE_MIN} to {SIDE_MAX} and pixels at most {PIXELS_MAX}"
    )]
    Size { width: u32, height: u32 },
    #[error("the picture is damaged")]
    Damaged(#[source] image::ImageError),
}

impl PictureError {
    /// A stable code for problem bodies and step errors.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooManyBytes { .. } => "picture_too_large",
            Self::UnknownFormat => "picture_format_unknown",
            Self::Size { .. } => "picture_size_refused",
            Self::Damaged(_) => "picture_damaged",
        }
    }
}

/// The order of colour planes in a tensor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Planes {
    Rgb,
    Bgr,
}

/// A decoded picture, 8-bit RGB, upright.
///
/// Coordinates are continuous: pixel (0, 0) covers `[0, 1) x [0, 1)`.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl std::fmt::Debug for Picture {
    /// Says the size only: pixels are personal data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({}x{})", self.width, self.height)
    }
}

impl Picture {
    /// Decodes JPEG, PNG or WebP by content, and turns it upright as its EXIF
    /// orientation says. The header is judged before any pixel is decoded.
    ///
    /// # Errors
    ///
    /// [`PictureError`]: ask the sender for another picture.
    pub fn decode(bytes: &[u8]) -> Result<Self, PictureError> {
        if ENCODED_BYTES_MAX < bytes.len() {
            return Err(PictureError::TooManyBytes { bytes: bytes.len() });
        }
        let format = image::guess_format(bytes).map_err(|_| PictureError::UnknownFormat)?;
        if !matches!(
            format,
            ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP
        ) {
            return Err(PictureError::UnknownFormat);
        }
        let mut limits = Limits::default();
        limits.max_image_width = Some(SIDE_MAX);
        limits.max_image_height = Some(SIDE_MAX);
        limits.max_alloc = Some(DECODER_BYTES_MAX);
        let (width, height) = ImageReader::with_format(Cursor::new(bytes), format)
            .into_dimensions()
            .map_err(PictureError::Damaged)?;
        let sides_fit =
            (SIDE_MIN..=SIDE_MAX).contains(&width) && (SIDE_MIN..=SIDE_MAX).contains(&height);
        if !sides_fit || PIXELS_MAX < u64::from(width) * u64::from(height) {
            return Err(PictureError::Size { width, height });
        }
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        reader.limits(limits);
        let mut decoder = reader.into_decoder().map_err(PictureError::Damaged)?;
        // The limits bound what a decoder takes for itself, not the pixels that it hands out.
        if DECODER_BYTES_MAX < decoder.total_bytes() {
            return Err(PictureError::Size { width, height });
        }
        let orientation = decoder.orientation().map_err(PictureError::Damaged)?;
        let image = DynamicImage::from_decoder(decoder).map_err(PictureError::Damaged)?;
        // Turned after it has shrunk to three bytes a pixel: turning needs a second copy.
        let mut image = DynamicImage::ImageRgb8(image.into_rgb8());
        image.apply_orientation(orientation);
        Ok(Self::from(image))
    }

    /// Wraps pixels that are already in memory.
    ///
    /// `None` if `rgb` is not `width * height * 3` long.
    #[must_use]
    pub fn from_rgb(width: u32, height: u32, rgb: Vec<u8>) -> Option<Self> {
        (rgb.len() == width as usize * height as usize * 3).then_some(Self { width, height, rgb })
    }

    /// A picture of one colour.
    #[must_use]
    pub fn filled(width: u32, height: u32, color: [u8; 3]) -> Self {
        Self {
            width,
            height,
            rgb: color.repeat(width as usize * height as usize),
        }
    }

    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Row-major RGB bytes.
    #[must_use]
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    #[must_use]
    pub fn pixel(&self, x: u32, y: u32) -> [u8; 3] {
        let at = (y as usize * self.width as usize + x as usize) * 3;
        [self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]]
    }

    pub fn set_pixel(&mut self, x: u32, y: u32, color: [u8; 3]) {
        let at = (y as usize * self.width as usize + x as usize) * 3;
        self.rgb[at..at + 3].copy_from_slice(&color);
    }

    /// Encodes as JPEG, `quality` 1 to 100.
    ///
    /// # Panics
    ///
    /// Never: memory takes what is written, and the pixels fit the size.
    #[must_use]
    pub fn to_jpeg(&self, quality: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, quality)
            .encode(
                &self.rgb,
                self.width,
                self.height,
                image::ExtendedColorType::Rgb8,
            )
            .expect("writing to memory cannot fail and the buffer fits the size");
        bytes
    }

    /// Encodes as PNG.
    ///
    /// # Panics
    ///
    /// Never: memory takes what is written, and the pixels fit the size.
    #[must_use]
    pub fn to_png(&self) -> Vec<u8> {
        use image::ImageEncoder;
        let mut bytes = Vec::new();
        image::codecs::png::PngEncoder::new(&mut bytes)
            .write_image(
                &self.rgb,
                self.width,
                self.height,
                image::ExtendedColorType::Rgb8,
            )
            .expect("writing to memory cannot fail and the buffer fits the size");
        bytes
    }

    /// Cuts out the part of `rect` that lies inside, at whole pixels.
    ///
    /// `None` if nothing of it does.
    #[must_use]
    pub fn crop(&self, rect: Rect) -> Option<Self> {
        let clamp = |value: f64, max: u32| value.round().clamp(0.0, f64::from(max));
        let (left, right) = (
            clamp(rect.x, self.width),
            clamp(rect.x + rect.width, self.width),
        );
        let (top, bottom) = (
            clamp(rect.y, self.height),
            clamp(rect.y + rect.height, self.height),
        );
        if right <= left || bottom <= top {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to the picture"
        )]
        let (x, y, width, height) = (
            left as usize,
            top as usize,
            (right - left) as u32,
            (bottom - top) as u32,
        );
        let stride = self.width as usize * 3;
        let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
        for row in self.rgb.chunks_exact(stride).skip(y).take(height as usize) {
            rgb.extend_from_slice(&row[x * 3..(x + width as usize) * 3]);
        }
        Some(Self { width, height, rgb })
    }

    /// The picture, shrunk so that its longer side is at most `side` pixels.
    #[must_use]
    pub fn fit_within(&self, side: u32) -> Cow<'_, Self> {
        let longest = self.width.max(self.height);
        if longest <= side {
            return Cow::Borrowed(self);
        }
        let share = f64::from(side) / f64::from(longest);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most the side"
        )]
        let shrink = |it: u32| ((f64::from(it) * share).round() as u32).max(1);
        Cow::Owned(self.resize(shrink(self.width), shrink(self.height)))
    }

    /// Scales to exactly `width` x `height`: averages when it shrinks, linear
    /// when it grows.
    #[must_use]
    pub fn resize(&self, width: u32, height: u32) -> Self {
        if (width, height) == (self.width, self.height) {
            return self.clone();
        }
        let columns = spans(self.width, width);
        let rows = spans(self.height, height);
        let mut wide = vec![0.0_f32; width as usize * self.height as usize * 3];
        let in_stride = self.width as usize * 3;
        for (line, out) in self
            .rgb
            .chunks_exact(in_stride)
            .zip(wide.chunks_exact_mut(width as usize * 3))
        {
            for (span, pixel) in columns.iter().zip(out.chunks_exact_mut(3)) {
                for (weight, source) in span
                    .weights
                    .iter()
                    .zip(line[span.first * 3..].chunks_exact(3))
                {
                    for channel in 0..3 {
                        pixel[channel] += weight * f32::from(source[channel]);
                    }
                }
            }
        }
        let stride = width as usize * 3;
        let mut rgb = Vec::with_capacity(stride * height as usize);
        let mut sum = vec![0.0_f32; stride];
        for span in &rows {
            sum.fill(0.0);
            for (k, weight) in span.weights.iter().enumerate() {
                let line = &wide[(span.first + k) * stride..][..stride];
                for (total, value) in sum.iter_mut().zip(line) {
                    *total += weight * value;
                }
            }
            rgb.extend(sum.iter().map(|it| to_byte(*it)));
        }
        Self { width, height, rgb }
    }

    /// Draws a `width` x `height` picture whose point p shows what is at
    /// `to_source` of p here; outside, the border is repeated.
    ///
    /// Bilinear; where the map shrinks, each output pixel averages several
    /// samples so that fine texture does not alias.
    #[must_use]
    pub fn warp(&self, to_source: &Transform, width: u32, height: u32) -> Self {
        let n = warp_samples(to_source, width, height);
        let step = 1.0 / f64::from(n);
        let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
        #[expect(clippy::cast_precision_loss, reason = "at most 16 samples")]
        let share = 1.0 / (n * n) as f32;
        for y in 0..height {
            for x in 0..width {
                let mut sum = [0.0_f32; 3];
                for sub_y in 0..n {
                    for sub_x in 0..n {
                        let point = Point::new(
                            f64::from(x) + (f64::from(sub_x) + 0.5) * step,
                            f64::from(y) + (f64::from(sub_y) + 0.5) * step,
                        );
                        let color = self.sample(to_source.apply(point));
                        for channel in 0..3 {
                            sum[channel] += color[channel];
                        }
                    }
                }
                rgb.extend(sum.map(|it| to_byte(it * share)));
            }
        }
        Self { width, height, rgb }
    }

    /// The colour at a point, linear between pixel centres, 0 to 255.
    #[must_use]
    pub fn sample(&self, point: Point) -> [f32; 3] {
        let axis = |value: f64, side: u32| {
            let value = (value - 0.5).clamp(0.0, f64::from(side - 1));
            // Truncation is the floor here, and no number becomes 0.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped to the picture"
            )]
            let low = value as u32;
            #[expect(clippy::cast_possible_truncation, reason = "a share of a pixel")]
            let part = (value - f64::from(low)) as f32;
            (low as usize, (low + 1).min(side - 1) as usize, part)
        };
        let (x0, x1, part_x) = axis(point.x, self.width);
        let (y0, y1, part_y) = axis(point.y, self.height);
        let stride = self.width as usize * 3;
        let pixel = |x: usize, y: usize| &self.rgb[y * stride + x * 3..][..3];
        let corners = [pixel(x0, y0), pixel(x1, y0), pixel(x0, y1), pixel(x1, y1)];
        std::array::from_fn(|channel| {
            let [a, b, c, d] = corners.map(|it| f32::from(it[channel]));
            let (top, bottom) = (a + (b - a) * part_x, c + (d - c) * part_x);
            top + (bottom - top) * part_y
        })
    }

    /// Luminance, row-major, 0 to 255 (ITU-R BT.601 weights).
    ///
    /// # Panics
    ///
    /// Never: a weighted mean of bytes is a byte.
    #[must_use]
    pub fn to_grey(&self) -> Vec<u8> {
        self.rgb
            .chunks_exact(3)
            .map(|it| {
                let sum = 299 * u32::from(it[0]) + 587 * u32::from(it[1]) + 114 * u32::from(it[2]);
                u8::try_from((sum + 500) / 1000).expect("a weighted mean of bytes is a byte")
            })
            .collect()
    }

    /// The picture as a `[1, 3, height, width]` tensor of
    /// `(value - mean) * scale`, with mean and scale in the order of `planes`.
    #[must_use]
    pub fn to_tensor(&self, planes: Planes, mean: [f32; 3], scale: [f32; 3]) -> Tensor {
        let n = self.width as usize * self.height as usize;
        let mut data = Vec::with_capacity(n * 3);
        for plane in 0..3 {
            let channel = match planes {
                Planes::Rgb => plane,
                Planes::Bgr => 2 - plane,
            };
            data.extend(
                self.rgb
                    .iter()
                    .skip(channel)
                    .step_by(3)
                    .map(|it| (f32::from(*it) - mean[plane]) * scale[plane]),
            );
        }
        Tensor {
            shape: vec![1, 3, self.height as usize, self.width as usize],
            data,
        }
    }
}

impl From<DynamicImage> for Picture {
    fn from(image: DynamicImage) -> Self {
        let image = image.into_rgb8();
        let (width, height) = image.dimensions();
        Self {
            width,
            height,
            rgb: image.into_raw(),
        }
    }
}

/// The input pixels that one output pixel of a resize averages.
struct Span {
    first: usize,
    weights: Vec<f32>,
}

/// A triangle filter as wide as the larger of the two pixel sizes: linear
/// interpolation when growing, a weighted average when shrinking.
fn spans(side_in: u32, side_out: u32) -> Vec<Span> {
    let ratio = f64::from(side_in) / f64::from(side_out);
    let radius = ratio.max(1.0);
    (0..side_out)
        .map(|index| {
            let center = (f64::from(index) + 0.5) * ratio;
            let first = (center - radius).floor().clamp(0.0, f64::from(side_in - 1));
            let last = (center + radius)
                .ceil()
                .clamp(first + 1.0, f64::from(side_in));
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped to the side"
            )]
            let (first, last) = (first as usize, last as usize);
            #[expect(clippy::cast_precision_loss, reason = "pixel indexes are small")]
            let raw: Vec<f64> = (first..last)
                .map(|it| (1.0 - (it as f64 + 0.5 - center).abs() / radius).max(0.0))
                .collect();
            let total: f64 = raw.iter().sum();
            #[expect(
                clippy::cast_possible_truncation,
                reason = "weights need no double precision"
            )]
            let weights = raw.iter().map(|it| (it / total) as f32).collect();
            Span { first, weights }
        })
        .collect()
}

/// How many samples a side one output pixel needs: how much the map shrinks at
/// the middle of the output.
fn warp_samples(to_source: &Transform, width: u32, height: u32) -> u32 {
    let middle = Point::new(f64::from(width) / 2.0, f64::from(height) / 2.0);
    let here = to_source.apply(middle);
    let right = to_source.apply(Point::new(middle.x + 1.0, middle.y));
    let down = to_source.apply(Point::new(middle.x, middle.y + 1.0));
    let shrink = here.distance(right).max(here.distance(down));
    (1..WARP_SAMPLES_MAX)
        .find(|n| shrink <= 1.5 * f64::from(*n))
        .unwrap_or(WARP_SAMPLES_MAX)
}

/// Rounds; what is outside a byte becomes its nearest end.
fn to_byte(value: f32) -> u8 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the conversion saturates, and truncates half a unit above"
    )]
    let byte = (value + 0.5) as u8;
    byte
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Red grows to the right, green downwards.
    fn gradient(width: u32, height: u32) -> Picture {
        let mut picture = Picture::filled(width, height, [0, 0, 128]);
        for y in 0..height {
            for x in 0..width {
                let value = |it: u32, side: u32| u8::try_from(it * 255 / side).unwrap();
                picture.set_pixel(x, y, [value(x, width), value(y, height), 128]);
            }
        }
        picture
    }

    #[test]
    fn a_png_comes_back_as_it_was() {
        let picture = gradient(70, 40);
        assert!(Picture::decode(&picture.to_png()).unwrap() == picture);
    }

    #[test]
    fn text_that_claims_to_be_a_picture_is_refused() {
        let error = Picture::decode(b"GIF89a and so on, long enough to be one").unwrap_err();
        assert_eq!(error.code(), "picture_format_unknown");
    }

    #[test]
    fn a_cut_off_picture_is_damaged() {
        let bytes = gradient(200, 200).to_png();
        assert_eq!(
            Picture::decode(&bytes[..bytes.len() / 2])
                .unwrap_err()
                .code(),
            "picture_damaged"
        );
    }

    #[test]
    fn a_header_that_promises_a_billion_pixels_is_refused_before_decoding() {
        let mut bytes = gradient(64, 64).to_png();
        set_header(&mut bytes, 11_000, None);
        assert_eq!(
            Picture::decode(&bytes).unwrap_err().code(),
            "picture_size_refused"
        );
    }

    #[test]
    fn deep_pixels_that_take_too_much_memory_are_refused_before_decoding() {
        let mut bytes = gradient(64, 64).to_png();
        // 49 million pixels are fewer than may be; at 8 bytes each they are 392 MB.
        set_header(&mut bytes, 7_000, Some([16, 6]));
        assert_eq!(
            Picture::decode(&bytes).unwrap_err().code(),
            "picture_size_refused"
        );
        // At three bytes each they fit; only the data is missing.
        set_header(&mut bytes, 7_000, Some([8, 2]));
        assert_eq!(
            Picture::decode(&bytes).unwrap_err().code(),
            "picture_damaged"
        );
    }

    /// Rewrites the IHDR chunk of a PNG: a square of `side`, and the bit depth and colour type.
    fn set_header(bytes: &mut [u8], side: u32, depth_and_color: Option<[u8; 2]>) {
        bytes[16..20].copy_from_slice(&side.to_be_bytes());
        bytes[20..24].copy_from_slice(&side.to_be_bytes());
        if let Some(it) = depth_and_color {
            bytes[24..26].copy_from_slice(&it);
        }
        // The checksum follows the data.
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    }

    #[test]
    fn a_picture_of_ten_pixels_is_too_small() {
        let bytes = gradient(10, 10).to_png();
        assert!(matches!(
            Picture::decode(&bytes),
            Err(PictureError::Size {
                width: 10,
                height: 10
            })
        ));
    }

    #[test]
    fn resizing_keeps_a_gradient() {
        let small = gradient(300, 200).resize(75, 50);
        for (x, y) in [(5, 5), (37, 25), (70, 45)] {
            let [red, green, blue] = small.pixel(x, y);
            assert!(
                red.abs_diff(u8::try_from(x * 255 / 75).unwrap()) <= 3,
                "{red} at {x}"
            );
            assert!(
                green.abs_diff(u8::try_from(y * 255 / 50).unwrap()) <= 4,
                "{green} at {y}"
            );
            assert_eq!(blue, 128);
        }
    }

    #[test]
    fn fitting_shrinks_the_longer_side_and_leaves_small_pictures() {
        let picture = gradient(300, 200);
        let small = picture.fit_within(60);
        assert_eq!((small.width(), small.height()), (60, 40));
        assert!(matches!(picture.fit_within(300), Cow::Borrowed(_)));
    }

    #[test]
    fn the_identity_warp_changes_nothing() {
        let picture = gradient(50, 60);
        assert!(picture.warp(&Transform::IDENTITY, 50, 60) == picture);
    }

    #[test]
    fn a_crop_is_clipped_to_the_picture() {
        let picture = gradient(50, 60);
        let crop = picture
            .crop(Rect {
                x: 40.0,
                y: -5.0,
                width: 100.0,
                height: 15.0,
            })
            .unwrap();
        assert_eq!((crop.width(), crop.height()), (10, 10));
        assert_eq!(crop.pixel(0, 0), picture.pixel(40, 0));
        assert!(
            picture
                .crop(Rect {
                    x: 60.0,
                    y: 0.0,
                    width: 5.0,
                    height: 5.0
                })
                .is_none()
        );
    }
}
