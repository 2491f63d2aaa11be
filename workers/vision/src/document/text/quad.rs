//! A rectangle at any angle, and the smallest one around points.

use crate::geometry::{Point, Transform};

/// Where one line of text stands.
///
/// `axis` is the unit vector along which the text is read; `length` is the extent along it, `height` across it, in pixels.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Quad {
    pub center: Point,
    pub axis: Point,
    pub length: f64,
    pub height: f64,
}

impl Quad {
    /// The same place, read from its other end.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self {
            axis: Point::new(-self.axis.x, -self.axis.y),
            ..*self
        }
    }

    /// Longer by `along` and higher by `across` pixels at each end.
    #[must_use]
    pub fn grown(&self, along: f64, across: f64) -> Self {
        Self {
            length: self.length + 2.0 * along,
            height: self.height + 2.0 * across,
            ..*self
        }
    }

    /// Position along and across the axis of a frame through the origin.
    #[must_use]
    pub fn project(axis: Point, point: Point) -> (f64, f64) {
        (
            point.x * axis.x + point.y * axis.y,
            point.y * axis.x - point.x * axis.y,
        )
    }

    /// The point at a position along and across an axis; the inverse of [`Quad::project`].
    #[must_use]
    pub fn unproject(axis: Point, along: f64, across: f64) -> Point {
        Point::new(
            along * axis.x - across * axis.y,
            along * axis.y + across * axis.x,
        )
    }

    /// The map from a `width` x `height` cut-out to the picture.
    #[must_use]
    pub fn to_source(&self, width: u32, height: u32) -> Transform {
        let along = self.length / f64::from(width);
        let across = self.height / f64::from(height);
        let (dx, dy) = (self.axis.x, self.axis.y);
        let corner_x = self.center.x - dx * self.length / 2.0 + dy * self.height / 2.0;
        let corner_y = self.center.y - dy * self.length / 2.0 - dx * self.height / 2.0;
        Transform([
            dx * along,
            -dy * across,
            corner_x,
            dy * along,
            dx * across,
            corner_y,
            0.0,
            0.0,
            1.0,
        ])
    }

    /// The same place in a picture that is `x` times as wide and `y` times as high.
    #[must_use]
    pub fn scaled(&self, x: f64, y: f64) -> Self {
        let stretched = Point::new(self.axis.x * x, self.axis.y * y);
        let along = stretched.x.hypot(stretched.y);
        let across = (self.axis.y * x).hypot(self.axis.x * y);
        Self {
            center: Point::new(self.center.x * x, self.center.y * y),
            axis: Point::new(stretched.x / along, stretched.y / along),
            length: self.length * along,
            height: self.height * across,
        }
    }

    /// The smallest rectangle around points, with the longer side as axis, pointing right (or down where upright).
    ///
    /// `None` for fewer than three points or points on one line. Source: a smallest rectangle has a side on an edge of
    /// the convex hull (Freeman and Shapira 1975).
    #[must_use]
    pub fn around(points: &[Point]) -> Option<Self> {
        let hull = convex_hull(points);
        if hull.len() < 3 {
            return None;
        }
        let mut best: Option<(f64, Self)> = None;
        for (index, from) in hull.iter().enumerate() {
            let to = hull[(index + 1) % hull.len()];
            let side = from.distance(to);
            if side <= f64::EPSILON {
                continue;
            }
            let axis = Point::new((to.x - from.x) / side, (to.y - from.y) / side);
            let candidate = Self::bounding(&hull, axis);
            let area = candidate.length * candidate.height;
            if best.as_ref().is_none_or(|it| area < it.0) {
                best = Some((area, candidate));
            }
        }
        best.map(|it| it.1.oriented())
    }

    /// The rectangle along `axis` around points.
    #[must_use]
    pub fn bounding(points: &[Point], axis: Point) -> Self {
        let mut low = (f64::INFINITY, f64::INFINITY);
        let mut high = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        for point in points {
            let (along, across) = Self::project(axis, *point);
            low = (low.0.min(along), low.1.min(across));
            high = (high.0.max(along), high.1.max(across));
        }
        let center = Self::unproject(
            axis,
            f64::midpoint(low.0, high.0),
            f64::midpoint(low.1, high.1),
        );
        Self {
            center,
            axis,
            length: high.0 - low.0,
            height: high.1 - low.1,
        }
    }

    /// The four corners, clockwise on screen from the beginning of the text.
    #[must_use]
    pub fn corners(&self) -> [Point; 4] {
        let (along, across) = Self::project(self.axis, self.center);
        let (half_length, half_height) = (self.length / 2.0, self.height / 2.0);
        [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)].map(|(a, b)| {
            Self::unproject(self.axis, along + a * half_length, across + b * half_height)
        })
    }

    /// The same place, read along whichever of its sides is nearest to level, towards the right.
    #[must_use]
    pub fn level(self) -> Self {
        let flat = if self.axis.x.abs() < self.axis.y.abs() {
            self.across()
        } else {
            self
        };
        if flat.axis.x < 0.0 {
            flat.reversed()
        } else {
            flat
        }
    }

    /// The same place with the longer side as axis, pointing right, or down where upright.
    fn oriented(self) -> Self {
        let long = if self.length < self.height {
            self.across()
        } else {
            self
        };
        let is_flat = long.axis.y.abs() <= long.axis.x.abs();
        let points_back = if is_flat {
            long.axis.x < 0.0
        } else {
            long.axis.y < 0.0
        };
        if points_back { long.reversed() } else { long }
    }

    /// The same place, read along its other side.
    fn across(self) -> Self {
        Self {
            axis: Point::new(-self.axis.y, self.axis.x),
            length: self.height,
            height: self.length,
            ..self
        }
    }
}

/// Andrew's monotone chain.
fn convex_hull(points: &[Point]) -> Vec<Point> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| a.x.total_cmp(&b.x).then(a.y.total_cmp(&b.y)));
    let turn = |a: Point, b: Point, c: Point| (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x);
    let chain = |points: &mut dyn Iterator<Item = Point>| {
        let mut chain: Vec<Point> = Vec::new();
        for point in points {
            while 2 <= chain.len()
                && turn(chain[chain.len() - 2], chain[chain.len() - 1], point) <= 0.0
            {
                chain.pop();
            }
            chain.push(point);
        }
        chain.pop();
        chain
    };
    let mut hull = chain(&mut sorted.iter().copied());
    hull.extend(chain(&mut sorted.iter().rev().copied()));
    hull
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_rectangle_follows_a_turned_line_of_points() {
        let axis = Point::new(0.8, 0.6);
        let truth = Quad {
            center: Point::new(50.0, 40.0),
            axis,
            length: 60.0,
            height: 8.0,
        };
        let mut points = truth.corners().to_vec();
        points.push(truth.center);
        let found = Quad::around(&points).unwrap();
        assert!(found.center.distance(truth.center) < 1e-9);
        assert!((found.length - 60.0).abs() < 1e-9 && (found.height - 8.0).abs() < 1e-9);
        assert!((found.axis.x - 0.8).abs() < 1e-9 && (found.axis.y - 0.6).abs() < 1e-9);
    }

    #[test]
    fn a_cut_out_begins_at_the_first_corner_and_runs_along_the_text() {
        let quad = Quad {
            center: Point::new(10.0, 30.0),
            axis: Point::new(0.0, 1.0),
            length: 40.0,
            height: 10.0,
        };
        let map = quad.to_source(80, 20);
        assert!(
            map.apply(Point::new(0.0, 0.0))
                .distance(Point::new(15.0, 10.0))
                < 1e-9
        );
        assert!(
            map.apply(Point::new(80.0, 0.0))
                .distance(Point::new(15.0, 50.0))
                < 1e-9
        );
        assert!(
            map.apply(Point::new(80.0, 20.0))
                .distance(Point::new(5.0, 50.0))
                < 1e-9
        );
    }

    #[test]
    fn points_on_a_line_have_no_rectangle() {
        assert_eq!(
            Quad::around(&[
                Point::new(0.0, 0.0),
                Point::new(1.0, 1.0),
                Point::new(2.0, 2.0)
            ]),
            None
        );
    }
}
