//! A printed photograph held before the camera: it can be moved, tilted and
//! turned, but it stays flat.

use image::{Rgb, RgbImage};

use crate::geometry::{Homography, Point, corners, lay_over, pixel};
use crate::selfie::{SELFIE_HEIGHT, SELFIE_WIDTH};

/// Width of the print in the frame while it faces the camera, as a share of the frame's.
const PRINT_SHARE: f64 = 0.86;
/// Distance from the camera to the print, in widths of the print.
const DISTANCE: f64 = 2.6;

/// How the print is held; angles in radians, shifts in shares of its width.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hold {
    pub yaw: f64,
    pub pitch: f64,
    pub roll: f64,
    pub shift: Point,
}

/// The frame that the camera takes of `print`.
///
/// # Panics
///
/// When the print is held edge-on, where it shows nothing.
#[must_use]
pub fn filmed(print: &RgbImage, hold: &Hold) -> RgbImage {
    let mut frame = room();
    let in_frame = corners(print.width(), print.height()).map(|it| projected(print, it, hold));
    let print_of_frame = Homography::between(in_frame, corners(print.width(), print.height()))
        .expect("a print that is not held edge-on is a quadrilateral");
    lay_over(&mut frame, print, &print_of_frame);
    frame
}

/// Where a point of the print falls in the frame.
fn projected(print: &RgbImage, [x, y]: Point, hold: &Hold) -> Point {
    let width = f64::from(print.width());
    let (x, y) = (
        x / width - 0.5,
        (y - f64::from(print.height()) / 2.0) / width,
    );
    let (sin, cos) = hold.roll.sin_cos();
    let (x, y) = (x * cos - y * sin, x * sin + y * cos);
    let (sin, cos) = hold.yaw.sin_cos();
    let (x, depth) = (x * cos, x * sin);
    let (sin, cos) = hold.pitch.sin_cos();
    let (y, depth) = (y * cos - depth * sin, y * sin + depth * cos);
    let scale = f64::from(SELFIE_WIDTH) * PRINT_SHARE * DISTANCE / (DISTANCE + depth);
    [
        f64::from(SELFIE_WIDTH) / 2.0 + scale * (x + hold.shift[0]),
        f64::from(SELFIE_HEIGHT) / 2.0 + scale * (y + hold.shift[1]),
    ]
}

/// A plain wall behind the print.
fn room() -> RgbImage {
    RgbImage::from_fn(SELFIE_WIDTH, SELFIE_HEIGHT, |_, y| {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a frame is far lower than 2^23 pixels"
        )]
        let shade = y as f32 / 16.0;
        let Rgb(wall) = Rgb([196.0, 188.0, 176.0]);
        pixel(wall.map(|it: f32| it - shade))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_print_that_is_turned_gets_narrower_on_the_far_side() {
        let print = RgbImage::new(400, 500);
        let hold = Hold {
            yaw: 0.6,
            ..Hold::default()
        };
        let [left_top, right_top, right_bottom, left_bottom] =
            corners(400, 500).map(|it| projected(&print, it, &hold));
        let (left, right) = (left_bottom[1] - left_top[1], right_bottom[1] - right_top[1]);
        assert!(right < left, "left edge {left}, right edge {right}");
    }
}
