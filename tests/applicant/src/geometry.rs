//! Plane geometry of pictures: homographies and sampling between pixels.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "pixel coordinates are clamped to the picture before they are converted"
)]

use image::{Rgb, RgbImage};

/// A point in pixels, x to the right and y down.
pub type Point = [f64; 2];

/// A perspective map of the plane, row by row, with the last entry 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Homography([f64; 9]);

impl Homography {
    /// The map that takes each of four points to its counterpart, or `None` if
    /// three of the points lie on one line.
    #[must_use]
    pub fn between(from: [Point; 4], to: [Point; 4]) -> Option<Self> {
        let mut rows = [[0.0; 9]; 8];
        for (i, ([x, y], [u, v])) in from.into_iter().zip(to).enumerate() {
            rows[2 * i] = [x, y, 1.0, 0.0, 0.0, 0.0, -u * x, -u * y, u];
            rows[2 * i + 1] = [0.0, 0.0, 0.0, x, y, 1.0, -v * x, -v * y, v];
        }
        let solution = solve(rows)?;
        let mut entries = [1.0; 9];
        entries[..8].copy_from_slice(&solution);
        Some(Self(entries))
    }

    #[must_use]
    pub fn apply(&self, point: Point) -> Point {
        let [across, down, scale] = [0, 3, 6].map(|row| {
            let [of_x, of_y, constant] = [0, 1, 2].map(|column| self.0[row + column]);
            of_x * point[0] + of_y * point[1] + constant
        });
        [across / scale, down / scale]
    }
}

/// Solves eight linear equations by elimination with pivots; the last column is
/// the right-hand side.
fn solve(mut rows: [[f64; 9]; 8]) -> Option<[f64; 8]> {
    /// Below this a pivot means that the equations depend on each other.
    const PIVOT_MIN: f64 = 1e-9;
    for column in 0..8 {
        let pivot =
            (column..8).max_by(|&a, &b| rows[a][column].abs().total_cmp(&rows[b][column].abs()))?;
        if rows[pivot][column].abs() < PIVOT_MIN {
            return None;
        }
        rows.swap(column, pivot);
        let lead = rows[column];
        for (index, row) in rows.iter_mut().enumerate() {
            if index == column {
                continue;
            }
            let factor = row[column] / lead[column];
            for (entry, of_lead) in row.iter_mut().zip(lead) {
                *entry -= factor * of_lead;
            }
        }
    }
    Some(std::array::from_fn(|it| rows[it][8] / rows[it][it]))
}

/// The colour at a point between pixels, bilinear; outside the picture the
/// nearest border pixel. Components are `0..=255`.
#[must_use]
pub fn sample(picture: &RgbImage, [x, y]: Point) -> [f32; 3] {
    let (width, height) = picture.dimensions();
    let x = x.clamp(0.0, f64::from(width - 1));
    let y = y.clamp(0.0, f64::from(height - 1));
    let (left, top) = (x as u32, y as u32);
    let (right, bottom) = ((left + 1).min(width - 1), (top + 1).min(height - 1));
    let (to_right, down) = ((x - f64::from(left)) as f32, (y - f64::from(top)) as f32);
    let at = |x, y| picture.get_pixel(x, y).0.map(f32::from);
    let upper = between(at(left, top), at(right, top), to_right);
    let lower = between(at(left, bottom), at(right, bottom), to_right);
    between(upper, lower, down)
}

fn between(from: [f32; 3], to: [f32; 3], way: f32) -> [f32; 3] {
    std::array::from_fn(|channel| from[channel] + way * (to[channel] - from[channel]))
}

/// Rounds a colour to a pixel.
#[must_use]
pub fn pixel(colour: [f32; 3]) -> Rgb<u8> {
    Rgb(colour.map(|it| it.round().clamp(0.0, 255.0) as u8))
}

/// Lays `picture` over `canvas` where `canvas_to_picture` falls inside it.
pub fn lay_over(canvas: &mut RgbImage, picture: &RgbImage, canvas_to_picture: &Homography) {
    let right = f64::from(picture.width()) - 0.5;
    let bottom = f64::from(picture.height()) - 0.5;
    for (x, y, target) in canvas.enumerate_pixels_mut() {
        let [u, v] = canvas_to_picture.apply([f64::from(x), f64::from(y)]);
        if (-0.5..right).contains(&u) && (-0.5..bottom).contains(&v) {
            *target = pixel(sample(picture, [u, v]));
        }
    }
}

/// The corners of a picture: left top, right top, right bottom, left bottom.
#[must_use]
pub fn corners(width: u32, height: u32) -> [Point; 4] {
    let (right, bottom) = (f64::from(width - 1), f64::from(height - 1));
    [[0.0, 0.0], [right, 0.0], [right, bottom], [0.0, bottom]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_homography_takes_its_four_points_where_they_belong() {
        let from = corners(640, 480);
        let to = [[12.0, 30.0], [600.0, 8.0], [633.0, 471.0], [3.0, 440.0]];
        let map = Homography::between(from, to).unwrap();
        for (from, to) in from.into_iter().zip(to) {
            let [x, y] = map.apply(from);
            assert!((x - to[0]).hypot(y - to[1]) < 1e-6, "{x} {y}");
        }
    }

    #[test]
    fn points_on_one_line_have_no_homography() {
        let line = [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]];
        assert_eq!(Homography::between(line, corners(9, 9)), None);
    }

    #[test]
    fn between_two_pixels_the_colour_is_between_theirs() {
        let picture = RgbImage::from_fn(2, 1, |x, _| {
            if x == 0 {
                Rgb([0, 0, 0])
            } else {
                Rgb([200, 100, 40])
            }
        });
        assert_eq!(pixel(sample(&picture, [0.5, 0.0])), Rgb([100, 50, 20]));
        assert_eq!(pixel(sample(&picture, [-7.0, 3.0])), Rgb([0, 0, 0]));
    }
}
