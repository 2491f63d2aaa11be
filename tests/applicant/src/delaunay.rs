//! Triangulates points of the plane so that no triangle's circle holds another point.

use crate::geometry::Point;

/// The Delaunay triangles of `points`, as indexes, all with the same orientation.
///
/// Incremental (Bowyer and Watson), quadratic in the worst case: meant for at
/// most a few thousand points.
#[must_use]
pub fn triangulate(points: &[Point]) -> Vec<[usize; 3]> {
    let n_points = points.len();
    let mut all = points.to_vec();
    all.extend(surrounding_triangle(points));
    let mut triangles = vec![Triangle::new([n_points, n_points + 1, n_points + 2], &all)];
    for index in 0..n_points {
        let (hit, kept): (Vec<_>, Vec<_>) = triangles
            .into_iter()
            .partition(|it| it.circle_holds(all[index]));
        triangles = kept;
        let edges: Vec<[usize; 2]> = hit.iter().flat_map(Triangle::edges).collect();
        for &[a, b] in &edges {
            // An edge that two of the removed triangles share lies inside the hole.
            if !edges.contains(&[b, a]) {
                triangles.push(Triangle::new([a, b, index], &all));
            }
        }
    }
    triangles
        .into_iter()
        .map(|it| it.corners)
        .filter(|it| it.iter().all(|&corner| corner < n_points))
        .collect()
}

struct Triangle {
    corners: [usize; 3],
    centre: Point,
    radius_squared: f64,
}

impl Triangle {
    fn new(corners: [usize; 3], points: &[Point]) -> Self {
        let [[ax, ay], [bx, by], [cx, cy]] = corners.map(|it| points[it]);
        let double_area = 2.0 * (ax * (by - cy) + bx * (cy - ay) + cx * (ay - by));
        let (a, b, c) = (ax * ax + ay * ay, bx * bx + by * by, cx * cx + cy * cy);
        let centre = [
            (a * (by - cy) + b * (cy - ay) + c * (ay - by)) / double_area,
            (a * (cx - bx) + b * (ax - cx) + c * (bx - ax)) / double_area,
        ];
        let radius_squared = squared_distance(centre, [ax, ay]);
        Self {
            corners,
            centre,
            radius_squared,
        }
    }

    fn circle_holds(&self, point: Point) -> bool {
        squared_distance(self.centre, point) < self.radius_squared
    }

    fn edges(&self) -> [[usize; 2]; 3] {
        let [a, b, c] = self.corners;
        [[a, b], [b, c], [c, a]]
    }
}

fn squared_distance([ax, ay]: Point, [bx, by]: Point) -> f64 {
    (ax - bx).powi(2) + (ay - by).powi(2)
}

/// Three points far outside of all others.
fn surrounding_triangle(points: &[Point]) -> [Point; 3] {
    let reach = points
        .iter()
        .flatten()
        .fold(1.0_f64, |reach, it| reach.max(it.abs()));
    [
        [-40.0 * reach, -30.0 * reach],
        [40.0 * reach, -30.0 * reach],
        [0.0, 60.0 * reach],
    ]
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    fn scattered(n_points: usize) -> Vec<Point> {
        let mut rng = StdRng::seed_from_u64(3);
        (0..n_points)
            .map(|_| [rng.random_range(0.0..500.0), rng.random_range(0.0..400.0)])
            .collect()
    }

    #[test]
    fn no_triangles_circle_holds_another_point() {
        let points = scattered(120);
        for corners in triangulate(&points) {
            let triangle = Triangle::new(corners, &points);
            let intruder = (0..points.len())
                .find(|it| !corners.contains(it) && triangle.circle_holds(points[*it]));
            assert_eq!(intruder, None, "{corners:?}");
        }
    }

    #[test]
    fn a_square_with_a_centre_is_covered_exactly_once() {
        let mut points = vec![[0.0, 0.0], [500.0, 0.0], [500.0, 400.0], [0.0, 400.0]];
        points.extend(scattered(60));
        let area: f64 = triangulate(&points)
            .into_iter()
            .map(|it| {
                let [[ax, ay], [bx, by], [cx, cy]] = it.map(|corner| points[corner]);
                (ax * (by - cy) + bx * (cy - ay) + cx * (ay - by)) / 2.0
            })
            .sum();
        assert!((area.abs() - 200_000.0).abs() < 1e-3, "{area}");
    }
}
