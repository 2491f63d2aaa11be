//! Whether two sights of a face are two sights of a flat picture.
//!
//! All points of a flat picture move by one homography when it is turned before
//! the camera. A head is not flat: its nose stands out of the plane through
//! eyes, cheeks and mouth, so no homography carries all points.

use crate::{
    face::Mesh,
    geometry::{Point, Transform},
};

/// Points on the inside of a face that both sights show and that the mesh finds
/// well: bridge, tip and wings of the nose, corners of the eyes, brows, cheeks,
/// corners and middle of the mouth, chin. The outline is left out: it is another
/// part of the head after a turn.
const POINTS: [usize; 48] = [
    168, 6, 197, 195, 5, 4, 1, 2, 98, 327, 48, 278, 115, 344, 33, 133, 362, 263, 159, 386, 145,
    374, 70, 105, 107, 336, 334, 300, 116, 345, 117, 346, 50, 280, 205, 425, 61, 291, 0, 17, 13,
    14, 199, 175, 18, 9, 151, 108,
];
/// Top of the forehead and bottom of the chin; their distance is the face's
/// height, which a turn of the head hardly changes.
const FACE_HEIGHT: (usize, usize) = (10, 152);
/// Rounds of fitting again with less weight on what does not fit; the fit moves
/// by less than a thousandth of the face's height after three.
const ROUNDS: usize = 5;
/// Residual, as a share of the face's height, from which on a point loses
/// weight. Source: the mesh places the points of an unmoved face within this.
const INLIER: f64 = 0.01;

/// How the points of one sight fit to another, as root mean squares over the
/// face's height.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Motion {
    /// What no shift, turn in the plane and scale explains: near 0 when neither
    /// head nor picture was turned in depth.
    pub in_depth: f64,
    /// What no homography explains: near 0 for anything flat.
    pub off_plane: f64,
}

/// Compares two sights of a face.
///
/// `None` if the points are degenerate.
#[must_use]
pub fn motion(from: &Mesh, to: &Mesh) -> Option<Motion> {
    let pick = |mesh: &Mesh| POINTS.map(|it| mesh.points[it].flat());
    let (top, bottom) = FACE_HEIGHT;
    let height = to.points[top].flat().distance(to.points[bottom].flat());
    motion_of_points(&pick(from), &pick(to), height)
}

fn motion_of_points(from: &[Point], to: &[Point], height: f64) -> Option<Motion> {
    if !height.is_finite() || height <= 0.0 {
        return None;
    }
    let residuals = |map: &Transform| -> Vec<f64> {
        from.iter()
            .zip(to)
            .map(|(a, b)| map.apply(*a).distance(*b) / height)
            .collect()
    };
    let in_depth = root_mean_square(&residuals(&Transform::fit_similarity(from, to)?));
    let mut weights = vec![1.0; from.len()];
    let mut off_plane = f64::NAN;
    for _ in 0..ROUNDS {
        let residuals = residuals(&Transform::fit_homography(from, to, &weights)?);
        off_plane = root_mean_square(&residuals);
        // Huber's weights: full within `INLIER`, falling with distance beyond.
        weights = residuals
            .iter()
            .map(|it| (INLIER / it.max(1e-9)).min(1.0))
            .collect();
    }
    off_plane.is_finite().then_some(Motion {
        in_depth,
        off_plane,
    })
}

fn root_mean_square(values: &[f64]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a few dozen points")]
    let n = values.len() as f64;
    (values.iter().map(|it| it * it).sum::<f64>() / n).sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plane() -> Vec<Point> {
        (0..48)
            .map(|it| Point::new(f64::from(it % 8) * 20.0, f64::from(it / 8) * 30.0))
            .collect()
    }

    /// The points as a camera at a distance of 600 sees them after a turn by
    /// `yaw` radians; `depth` is how far each stands out of the plane.
    fn turned(depth: fn(Point) -> f64, yaw: f64) -> Vec<Point> {
        let (sin, cos) = yaw.sin_cos();
        plane()
            .into_iter()
            .map(|it| {
                let (x, y, z) = (it.x - 70.0, it.y - 75.0, depth(it));
                let (x, z) = (x * cos + z * sin, z * cos - x * sin);
                Point::new(x * 600.0 / (600.0 - z), y * 600.0 / (600.0 - z))
            })
            .collect()
    }

    fn nose(it: Point) -> f64 {
        40.0 * (-((it.x - 70.0).powi(2) + (it.y - 75.0).powi(2)) / 1500.0).exp()
    }

    proptest! {
        #[test]
        fn a_flat_picture_fits_however_it_is_turned(
            p in -1e-3..1e-3f64, q in -1e-3..1e-3f64, angle in -0.6..0.6f64,
            scale in 0.5..2.0f64, noise in prop::collection::vec(-0.6..0.6f64, 96),
        ) {
            let map = Transform([1.0, 0.0, 0.0, 0.0, 1.0, 0.0, p, q, 1.0])
                .after(&Transform::similarity(scale, angle, 30.0, -20.0));
            let height = 190.0 * scale;
            let to: Vec<_> = plane().iter().zip(noise.chunks(2))
                .map(|(it, noise)| {
                    let it = map.apply(*it);
                    Point::new(it.x + noise[0] * scale, it.y + noise[1] * scale)
                })
                .collect();
            let motion = motion_of_points(&plane(), &to, height).unwrap();
            prop_assert!(motion.off_plane < 0.005, "{motion:?}");
        }

        #[test]
        fn a_head_fits_less_the_further_it_turns(yaw in 0.25..0.7f64) {
            let motion = motion_of_points(&turned(nose, 0.0), &turned(nose, yaw), 190.0).unwrap();
            prop_assert!(0.6 * yaw * 0.04 < motion.off_plane, "{motion:?} at {yaw}");
        }
    }

    #[test]
    fn an_unmoved_face_moved_neither_in_depth_nor_off_its_plane() {
        let motion = motion_of_points(&plane(), &plane(), 190.0).unwrap();
        assert!(
            motion.in_depth < 1e-9 && motion.off_plane < 1e-9,
            "{motion:?}"
        );
    }

    #[test]
    fn a_shift_is_no_motion_in_depth() {
        let map = Transform::similarity(1.2, 0.3, 40.0, 9.0);
        let to: Vec<_> = plane().iter().map(|it| map.apply(*it)).collect();
        assert!(motion_of_points(&plane(), &to, 190.0).unwrap().in_depth < 1e-9);
    }

    #[test]
    fn points_on_one_spot_cannot_be_judged() {
        let spot = vec![Point::new(1.0, 1.0); 48];
        assert_eq!(motion_of_points(&spot, &plane(), 190.0), None);
        assert_eq!(motion_of_points(&plane(), &plane(), 0.0), None);
    }
}
