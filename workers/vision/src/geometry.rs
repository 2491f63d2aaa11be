//! Plane geometry: points, boxes, and the transforms that carry one picture
//! into another.

use serde::{Deserialize, Serialize};

/// A point in pixels, x to the right and y down, or in whatever unit the
/// function at hand names.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Point {
    pub x: f64,
    pub y: f64,
}

impl Point {
    #[must_use]
    pub const fn new(x: f64, y: f64) -> Self {
        Self { x, y }
    }

    #[must_use]
    pub fn distance(self, other: Self) -> f64 {
        (self.x - other.x).hypot(self.y - other.y)
    }

    /// The point half-way to `other`.
    #[must_use]
    pub fn middle(self, other: Self) -> Self {
        Self::new(
            f64::midpoint(self.x, other.x),
            f64::midpoint(self.y, other.y),
        )
    }
}

/// An upright rectangle in pixels; may reach outside its picture.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Rect {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

impl Rect {
    #[must_use]
    pub fn area(&self) -> f64 {
        self.width.max(0.0) * self.height.max(0.0)
    }

    #[must_use]
    pub fn center(&self) -> Point {
        Point::new(self.x + self.width / 2.0, self.y + self.height / 2.0)
    }

    /// Shared area over united area, in `[0, 1]`.
    #[must_use]
    pub fn overlap(&self, other: &Self) -> f64 {
        let width = (self.x + self.width).min(other.x + other.width) - self.x.max(other.x);
        let height = (self.y + self.height).min(other.y + other.height) - self.y.max(other.y);
        if width <= 0.0 || height <= 0.0 {
            return 0.0;
        }
        let shared = width * height;
        shared / (self.area() + other.area() - shared)
    }

    /// The square around the same centre whose side is `factor` times the
    /// longer side.
    #[must_use]
    pub fn square(&self, factor: f64) -> Self {
        let side = self.width.max(self.height) * factor;
        let center = self.center();
        Self {
            x: center.x - side / 2.0,
            y: center.y - side / 2.0,
            width: side,
            height: side,
        }
    }
}

/// A projective map of the plane, row-major 3x3; covers shifts, similarities
/// and homographies.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Transform(pub [f64; 9]);

impl Transform {
    pub const IDENTITY: Self = Self([1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);

    /// Scales by `scale`, turns by `angle` radians (clockwise on screen, since
    /// y points down), then shifts by (`x`, `y`).
    #[must_use]
    pub fn similarity(scale: f64, angle: f64, x: f64, y: f64) -> Self {
        let (sin, cos) = angle.sin_cos();
        Self([
            scale * cos,
            -scale * sin,
            x,
            scale * sin,
            scale * cos,
            y,
            0.0,
            0.0,
            1.0,
        ])
    }

    #[must_use]
    pub fn apply(&self, point: Point) -> Point {
        let Self(m) = self;
        let w = m[6] * point.x + m[7] * point.y + m[8];
        Point::new(
            (m[0] * point.x + m[1] * point.y + m[2]) / w,
            (m[3] * point.x + m[4] * point.y + m[5]) / w,
        )
    }

    /// The map that does `first` and then `self`.
    #[must_use]
    pub fn after(&self, first: &Self) -> Self {
        let mut product = [0.0; 9];
        for row in 0..3 {
            for column in 0..3 {
                product[row * 3 + column] = (0..3)
                    .map(|k| self.0[row * 3 + k] * first.0[k * 3 + column])
                    .sum();
            }
        }
        Self(product)
    }

    /// The map back, or `None` where there is none.
    #[must_use]
    pub fn inverse(&self) -> Option<Self> {
        let Self(m) = self;
        let cofactor = |a: usize, b: usize, c: usize, d: usize| m[a] * m[d] - m[b] * m[c];
        let adjugate = [
            cofactor(4, 5, 7, 8),
            -cofactor(1, 2, 7, 8),
            cofactor(1, 2, 4, 5),
            -cofactor(3, 5, 6, 8),
            cofactor(0, 2, 6, 8),
            -cofactor(0, 2, 3, 5),
            cofactor(3, 4, 6, 7),
            -cofactor(0, 1, 6, 7),
            cofactor(0, 1, 3, 4),
        ];
        let determinant = m[0] * adjugate[0] + m[1] * adjugate[3] + m[2] * adjugate[6];
        if determinant.abs() < f64::EPSILON * f64::EPSILON {
            return None;
        }
        Some(Self(adjugate.map(|it| it / determinant)))
    }

    /// The scale, turn and shift that carry `from` closest to `to` in the sense
    /// of least squares.
    ///
    /// `None` for fewer than two distinct points.
    #[must_use]
    pub fn fit_similarity(from: &[Point], to: &[Point]) -> Option<Self> {
        let (from_mean, to_mean) = (mean(from)?, mean(to)?);
        let (mut dot, mut cross, mut spread) = (0.0, 0.0, 0.0);
        for (a, b) in from.iter().zip(to) {
            let (ax, ay) = (a.x - from_mean.x, a.y - from_mean.y);
            let (bx, by) = (b.x - to_mean.x, b.y - to_mean.y);
            dot += ax * bx + ay * by;
            cross += ax * by - ay * bx;
            spread += ax * ax + ay * ay;
        }
        if spread < f64::EPSILON {
            return None;
        }
        let (a, b) = (dot / spread, cross / spread);
        Some(Self([
            a,
            -b,
            to_mean.x - a * from_mean.x + b * from_mean.y,
            b,
            a,
            to_mean.y - b * from_mean.x - a * from_mean.y,
            0.0,
            0.0,
            1.0,
        ]))
    }

    /// The homography that carries `from` closest to `to`: the normalised
    /// direct linear transform with a weight for each pair.
    ///
    /// `None` for fewer than four pairs or a degenerate layout (all on a line).
    /// Source: Hartley and Zisserman, Multiple View Geometry, algorithm 4.2.
    #[must_use]
    pub fn fit_homography(from: &[Point], to: &[Point], weights: &[f64]) -> Option<Self> {
        if from.len() < 4 || from.len() != to.len() || from.len() != weights.len() {
            return None;
        }
        let (from_norm, to_norm) = (normalisation(from)?, normalisation(to)?);
        let mut normal = [[0.0; 9]; 9];
        for ((a, b), weight) in from.iter().zip(to).zip(weights) {
            let (a, b) = (from_norm.apply(*a), to_norm.apply(*b));
            let rows = [
                [-a.x, -a.y, -1.0, 0.0, 0.0, 0.0, b.x * a.x, b.x * a.y, b.x],
                [0.0, 0.0, 0.0, -a.x, -a.y, -1.0, b.y * a.x, b.y * a.y, b.y],
            ];
            for row in rows {
                for i in 0..9 {
                    for j in 0..9 {
                        normal[i][j] += weight * row[i] * row[j];
                    }
                }
            }
        }
        let normalised = Self(smallest_eigenvector(normal));
        let map = to_norm.inverse()?.after(&normalised.after(&from_norm));
        let scale = map.0[8];
        if !scale.is_finite() || scale.abs() < f64::EPSILON {
            return None;
        }
        Some(Self(map.0.map(|it| it / scale)))
    }
}

fn mean(points: &[Point]) -> Option<Point> {
    if points.len() < 2 {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a few hundred points")]
    let n = points.len() as f64;
    Some(Point::new(
        points.iter().map(|it| it.x).sum::<f64>() / n,
        points.iter().map(|it| it.y).sum::<f64>() / n,
    ))
}

/// Moves the centre to the origin and the mean distance from it to sqrt(2), so
/// that the linear system is well conditioned.
fn normalisation(points: &[Point]) -> Option<Transform> {
    let center = mean(points)?;
    #[expect(clippy::cast_precision_loss, reason = "a few hundred points")]
    let spread = points.iter().map(|it| it.distance(center)).sum::<f64>() / points.len() as f64;
    if spread < 1e-12 {
        return None;
    }
    let scale = std::f64::consts::SQRT_2 / spread;
    Some(Transform::similarity(
        scale,
        0.0,
        -scale * center.x,
        -scale * center.y,
    ))
}

/// Rotations until a 9x9 symmetric matrix is diagonal; convergence is
/// quadratic, so real input needs six to eight.
const JACOBI_SWEEPS_MAX: usize = 30;

/// The eigenvector of the smallest eigenvalue of a symmetric matrix, by cyclic
/// Jacobi rotations.
fn smallest_eigenvector(mut a: [[f64; 9]; 9]) -> [f64; 9] {
    let mut vectors = [[0.0; 9]; 9];
    for (i, row) in vectors.iter_mut().enumerate() {
        row[i] = 1.0;
    }
    for _ in 0..JACOBI_SWEEPS_MAX {
        let off: f64 = (0..9)
            .flat_map(|i| (0..i).map(move |j| (i, j)))
            .map(|(i, j)| a[i][j].powi(2))
            .sum();
        if off < 1e-24 {
            break;
        }
        for p in 0..8 {
            for q in p + 1..9 {
                rotate(&mut a, &mut vectors, p, q);
            }
        }
    }
    let smallest = (0..9)
        .min_by(|&i, &j| a[i][i].total_cmp(&a[j][j]))
        .unwrap_or(8);
    std::array::from_fn(|row| vectors[row][smallest])
}

/// One Jacobi rotation that zeroes `a[p][q]`.
fn rotate(a: &mut [[f64; 9]; 9], vectors: &mut [[f64; 9]; 9], p: usize, q: usize) {
    if a[p][q].abs() < 1e-300 {
        return;
    }
    let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
    let tangent = 1.0_f64.copysign(theta) / (theta.abs() + theta.hypot(1.0));
    let cos = 1.0 / tangent.hypot(1.0);
    let sin = tangent * cos;
    let turn = |first: f64, second: f64| (cos * first - sin * second, sin * first + cos * second);
    for row in a.iter_mut() {
        (row[p], row[q]) = turn(row[p], row[q]);
    }
    let (upper, lower) = a.split_at_mut(q);
    for (first, second) in upper[p].iter_mut().zip(&mut lower[0]) {
        (*first, *second) = turn(*first, *second);
    }
    for row in vectors.iter_mut() {
        (row[p], row[q]) = turn(row[p], row[q]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grid() -> Vec<Point> {
        (0..5)
            .flat_map(|x| (0..4).map(move |y| Point::new(f64::from(x * 37), f64::from(y * 53))))
            .collect()
    }

    #[track_caller]
    fn assert_carries(map: &Transform, from: &[Point], to: &[Point]) {
        for (a, b) in from.iter().zip(to) {
            assert!(
                map.apply(*a).distance(*b) < 1e-6,
                "{a:?} goes to {:?}, not {b:?}",
                map.apply(*a)
            );
        }
    }

    proptest! {
        #[test]
        fn a_similarity_is_found_again(scale in 0.1..9.0f64, angle in -3.0..3.0f64, x in -500.0..500.0f64, y in -500.0..500.0f64) {
            let map = Transform::similarity(scale, angle, x, y);
            let to: Vec<_> = grid().iter().map(|it| map.apply(*it)).collect();
            assert_carries(&Transform::fit_similarity(&grid(), &to).unwrap(), &grid(), &to);
        }

        #[test]
        fn a_homography_is_found_again(p in -8e-4..8e-4f64, q in -8e-4..8e-4f64, angle in -1.0..1.0f64, shear in -0.4..0.4f64) {
            let map = Transform([1.0, shear, 3.0, 0.0, 1.1, -20.0, p, q, 1.0]).after(&Transform::similarity(1.3, angle, 10.0, 4.0));
            let to: Vec<_> = grid().iter().map(|it| map.apply(*it)).collect();
            let found = Transform::fit_homography(&grid(), &to, &vec![1.0; to.len()]).unwrap();
            assert_carries(&found, &grid(), &to);
            assert_carries(&found.inverse().unwrap(), &to, &grid());
        }
    }

    #[test]
    fn points_on_one_spot_have_no_similarity() {
        let spot = vec![Point::new(4.0, 4.0); 5];
        assert_eq!(Transform::fit_similarity(&spot, &grid()[..5]), None);
    }

    #[test]
    fn three_pairs_are_too_few_for_a_homography() {
        assert_eq!(
            Transform::fit_homography(&grid()[..3], &grid()[..3], &[1.0; 3]),
            None
        );
    }

    #[test]
    fn disjoint_boxes_do_not_overlap_and_equal_ones_do_fully() {
        let a = Rect {
            x: 0.0,
            y: 0.0,
            width: 10.0,
            height: 10.0,
        };
        assert!(a.overlap(&Rect { x: 20.0, ..a }) < 1e-12);
        assert!((a.overlap(&a) - 1.0).abs() < 1e-12);
    }
}
