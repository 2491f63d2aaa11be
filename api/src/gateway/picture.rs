//! What an uploaded picture is, judged by its first bytes and never by decoding.

use std::io::Cursor;

use image::{ImageFormat, ImageReader};

/// Largest picture, in pixels: above every phone camera's normal mode, and what a
/// worker decodes into about 150 MB.
pub const PIXELS_MAX: u64 = 50_000_000;

/// Longest side, in pixels.
pub const SIDE_MAX: u32 = 12_000;

/// How many first bytes may be needed to learn the size of a picture. A JPEG
/// states it behind its metadata, which phones fill with previews and depth maps.
pub const HEAD_BYTES_MAX: usize = 1024 * 1024;

/// The kinds of picture that are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Jpeg,
    Png,
    Webp,
}

impl Kind {
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
        }
    }

    fn format(self) -> ImageFormat {
        match self {
            Self::Jpeg => ImageFormat::Jpeg,
            Self::Png => ImageFormat::Png,
            Self::Webp => ImageFormat::WebP,
        }
    }
}

/// What the first bytes of an upload say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The size is not in these bytes yet.
    NeedsMore,
    /// The content is not what was declared.
    OtherContent,
    /// More pixels than [`PIXELS_MAX`] or a side above [`SIDE_MAX`].
    TooLarge { width: u32, height: u32 },
    /// A picture of the declared kind within the limits.
    Fine { width: u32, height: u32 },
}

/// Judges the first bytes of a picture that was declared as `kind`. With
/// `is_all`, there are no more to come.
#[must_use]
pub fn judge(kind: Kind, head: &[u8], is_all: bool) -> Verdict {
    match starts_as(kind, head) {
        Some(true) => {}
        None if !is_all => return Verdict::NeedsMore,
        Some(false) | None => return Verdict::OtherContent,
    }
    match size(kind, head) {
        Some((width, height)) => judge_size(width, height),
        None if is_all || HEAD_BYTES_MAX <= head.len() => Verdict::OtherContent,
        None => Verdict::NeedsMore,
    }
}

fn judge_size(width: u32, height: u32) -> Verdict {
    if width == 0 || height == 0 {
        return Verdict::OtherContent;
    }
    let n_pixels = u64::from(width) * u64::from(height);
    if SIDE_MAX < width.max(height) || PIXELS_MAX < n_pixels {
        return Verdict::TooLarge { width, height };
    }
    Verdict::Fine { width, height }
}

/// Whether the magic bytes are those of `kind`; `None` if there are too few.
fn starts_as(kind: Kind, head: &[u8]) -> Option<bool> {
    match kind {
        Kind::Jpeg => Some(head.get(..3)? == [0xff, 0xd8, 0xff]),
        Kind::Png => Some(head.get(..8)? == *b"\x89PNG\r\n\x1a\n"),
        Kind::Webp => Some(head.get(..4)? == *b"RIFF" && head.get(8..12)? == *b"WEBP"),
    }
}

/// Width and height, if these bytes hold them.
fn size(kind: Kind, head: &[u8]) -> Option<(u32, u32)> {
    // An extended WebP states its size at once, but the decoder wants to see all
    // of its chunks before it says so.
    if kind == Kind::Webp && head.get(12..16)? == b"VP8X" {
        let side = |at: usize| {
            let bytes = head.get(at..at + 3)?;
            Some(1 + u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]))
        };
        return Some((side(24)?, side(27)?));
    }
    ImageReader::with_format(Cursor::new(head), kind.format())
        .into_dimensions()
        .ok()
}

#[cfg(test)]
mod tests {
    use image::DynamicImage;

    use super::*;

    fn encoded(kind: Kind, width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::new_rgb8(width, height)
            .write_to(&mut bytes, kind.format())
            .unwrap();
        bytes.into_inner()
    }

    #[test]
    fn the_size_is_found_in_the_first_bytes() {
        for kind in [Kind::Jpeg, Kind::Png, Kind::Webp] {
            let bytes = encoded(kind, 640, 480);
            let fine = Verdict::Fine {
                width: 640,
                height: 480,
            };
            assert_eq!(judge(kind, &bytes, true), fine, "{kind:?}");
            let n = (0..bytes.len())
                .find(|&n| judge(kind, &bytes[..n], false) == fine)
                .unwrap();
            assert!(n < 1_024, "{kind:?} needed {n} bytes");
        }
    }

    #[test]
    fn content_that_is_something_else_is_told_from_its_declaration() {
        let png = encoded(Kind::Png, 8, 8);
        assert_eq!(judge(Kind::Jpeg, &png, true), Verdict::OtherContent);
        assert_eq!(
            judge(Kind::Png, b"%PDF-1.7 and more", true),
            Verdict::OtherContent
        );
        assert_eq!(
            judge(Kind::Webp, b"RIFF\0\0\0\0WAVEfmt ", true),
            Verdict::OtherContent
        );
        assert_eq!(judge(Kind::Jpeg, b"", true), Verdict::OtherContent);
        assert_eq!(judge(Kind::Png, &png[..20], true), Verdict::OtherContent);
    }

    #[test]
    fn a_bomb_is_refused_by_its_header() {
        let mut png = encoded(Kind::Png, 8, 8);
        png[16..20].copy_from_slice(&50_000_u32.to_be_bytes());
        png[20..24].copy_from_slice(&50_000_u32.to_be_bytes());
        let crc = crc32(&png[12..29]);
        png[29..33].copy_from_slice(&crc.to_be_bytes());
        let verdict = judge(Kind::Png, &png, true);
        assert_eq!(
            verdict,
            Verdict::TooLarge {
                width: 50_000,
                height: 50_000
            }
        );
    }

    #[test]
    fn an_extended_webp_is_judged_by_its_canvas() {
        let mut webp = b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\x08\0\0\0".to_vec();
        webp.extend([0x7f, 0x02, 0, 0xdf, 0x01, 0]);
        assert_eq!(
            judge(Kind::Webp, &webp, false),
            Verdict::Fine {
                width: 640,
                height: 480
            }
        );
        assert_eq!(judge(Kind::Webp, &webp[..26], false), Verdict::NeedsMore);
        webp[24..27].copy_from_slice(&[0xff, 0xff, 0xff]);
        assert!(matches!(
            judge(Kind::Webp, &webp, false),
            Verdict::TooLarge { .. }
        ));
    }

    #[test]
    fn a_header_that_never_ends_is_refused() {
        let mut jpeg = vec![0xff, 0xd8];
        while jpeg.len() < HEAD_BYTES_MAX {
            jpeg.extend([0xff, 0xe1, 0xff, 0xff]);
            jpeg.extend(vec![0; 0xfffd]);
        }
        assert_eq!(
            judge(Kind::Jpeg, &jpeg[..100_000], false),
            Verdict::NeedsMore
        );
        assert_eq!(
            judge(Kind::Jpeg, &jpeg[..HEAD_BYTES_MAX], false),
            Verdict::OtherContent
        );
    }

    /// CRC-32 of PNG chunks.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0_u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| {
                if crc & 1 == 1 {
                    (crc >> 1) ^ 0xedb8_8320
                } else {
                    crc >> 1
                }
            })
        })
    }
}
