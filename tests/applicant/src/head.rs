//! Turns the head and closes the eyes of a face in one photograph.
//!
//! The 478 points of the face mesh carry depth. They are turned in space about
//! the middle of the head, and the photograph is stretched over them, triangle
//! by triangle, nearer triangles over farther ones. Two rings of added points
//! around the face carry hair, ears and neck along and hold the background still.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "pixel coordinates are clamped to the picture before they are converted"
)]

use anyhow::{Result, ensure};
use image::RgbImage;

use crate::delaunay::triangulate;
use crate::geometry::{Point, pixel, sample};

/// Points of the mesh without the ten of the irises, which lie inside the eye
/// opening and would hold it open.
const N_SKIN_POINTS: usize = 468;

/// The mesh's outline of the face. Source: the mesh's published topology (`MediaPipe`, face oval).
const OVAL: [usize; 36] = [
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152,
    148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
];
/// The widest points of the outline, before the two ears.
const SIDES: [usize; 2] = [234, 454];
/// Points of the upper lids with the points of the lower lids that they meet.
/// Source: as [`OVAL`].
const LIDS: [(usize, usize); 14] = [
    (246, 7),
    (161, 163),
    (160, 144),
    (159, 145),
    (158, 153),
    (157, 154),
    (173, 155),
    (466, 249),
    (388, 390),
    (387, 373),
    (386, 374),
    (385, 380),
    (384, 381),
    (398, 382),
];
/// Size of the ring that goes with the head, relative to the face's outline.
const HEAD_RING: f64 = 1.4;
/// Size of the ring that stays with the background.
const STILL_RING: f64 = 2.1;
/// How far the middle of the head lies behind the widest points, as a share of the face's width.
const CENTRE_BEHIND_SIDES: f64 = 0.1;
/// Height of the lashes above the edge of the upper lid, as a share of the eye's
/// opening: so much of a lid comes down as it is, and only the skin above is stretched.
const LASHES: f64 = 0.3;

/// Part of the outline, seen from its middle, inside which points of the mesh are
/// used. Nearer to the outline the skin runs along the line of sight: there its
/// points fall beside each other with very different depths, and a turn would tear
/// the cheek into teeth.
const USED_INSIDE: f64 = 0.95;

/// Weight above which a pixel belongs to a triangle; a little below 0, so that a
/// pixel on an edge belongs to both triangles rather than to none.
const INSIDE_MIN: f64 = -1e-9;

/// How the head is held. Angles in radians.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pose {
    /// Turn away from looking straight at the camera. Positive turns the nose
    /// towards the right side of the picture, which is the person's own left.
    pub yaw: f64,
    /// Positive lowers the nose.
    pub pitch: f64,
    /// 0 as in the photograph, 1 closed.
    pub eyes_closed: f64,
}

/// A photograph of a head that can be posed.
pub struct Head {
    photograph: RgbImage,
    vertices: Vec<Vertex>,
    triangles: Vec<[usize; 3]>,
    centre: [f64; 3],
    /// Turn of the head in the photograph itself, in radians.
    own_yaw: f64,
}

#[derive(Clone, Copy)]
struct Vertex {
    /// x and y in the photograph, and depth in the same unit, smaller is nearer.
    at: [f64; 3],
    follows: Follows,
}

#[derive(Clone, Copy, PartialEq)]
enum Follows {
    Head,
    Background,
}

impl Head {
    /// Builds the head from a photograph and the mesh found in it, whose points
    /// are x, y and depth in pixels of that photograph.
    ///
    /// # Errors
    ///
    /// When the mesh has too few points.
    pub fn new(photograph: RgbImage, mesh: &[[f64; 3]]) -> Result<Self> {
        ensure!(
            N_SKIN_POINTS <= mesh.len(),
            "a face mesh has {N_SKIN_POINTS} points, this one {}",
            mesh.len()
        );
        let skin = &mesh[..N_SKIN_POINTS];

        let [right, left] = SIDES.map(|it| skin[it]);
        let width = (left[0] - right[0]).hypot(left[1] - right[1]);
        let depth = f64::midpoint(right[2], left[2]) + CENTRE_BEHIND_SIDES * width;
        let n_oval = 36.0;
        let middle = OVAL.iter().fold([0.0, 0.0], |[x, y], &it| {
            [x + skin[it][0] / n_oval, y + skin[it][1] / n_oval]
        });
        let centre = [middle[0], middle[1], depth];

        let mut vertices: Vec<Vertex> = skin
            .iter()
            .map(|&at| Vertex {
                at,
                follows: Follows::Head,
            })
            .collect();
        vertices.extend(LIDS.iter().map(|&(upper, lower)| {
            let at = std::array::from_fn(|axis| {
                skin[upper][axis] + LASHES * (skin[upper][axis] - skin[lower][axis])
            });
            Vertex {
                at,
                follows: Follows::Head,
            }
        }));
        for (size, follows) in [
            (HEAD_RING, Follows::Head),
            (STILL_RING, Follows::Background),
        ] {
            vertices.extend(OVAL.iter().map(|&it| {
                let [x, y, _] = skin[it];
                let at = [
                    middle[0] + size * (x - middle[0]),
                    middle[1] + size * (y - middle[1]),
                    depth,
                ];
                Vertex { at, follows }
            }));
        }
        let used: Vec<usize> = (0..vertices.len())
            .filter(|&it| N_SKIN_POINTS <= it || is_used(skin, middle, it))
            .collect();
        let flat: Vec<Point> = used
            .iter()
            .map(|&it| [vertices[it].at[0], vertices[it].at[1]])
            .collect();
        let triangles = triangulate(&flat)
            .into_iter()
            .map(|it| it.map(|corner| used[corner]))
            .collect();
        let own_yaw = (left[2] - right[2]).atan2(left[0] - right[0]);
        Ok(Self {
            photograph,
            vertices,
            triangles,
            centre,
            own_yaw,
        })
    }

    /// The photograph with the head held in another way.
    #[must_use]
    pub fn posed(&self, pose: &Pose) -> RgbImage {
        let mut places: Vec<[f64; 3]> = self.vertices.iter().map(|it| it.at).collect();
        // The points above the lashes follow those of the mesh, in the order of the lids.
        for (above_lashes, (upper, lower)) in (N_SKIN_POINTS..).zip(LIDS) {
            let [from, to] = [self.vertices[upper].at, self.vertices[lower].at];
            for axis in 0..3 {
                let way = pose.eyes_closed * (to[axis] - from[axis]);
                places[upper][axis] += way;
                places[above_lashes][axis] += way;
            }
        }
        for (place, vertex) in places.iter_mut().zip(&self.vertices) {
            if vertex.follows == Follows::Head {
                *place = self.turned(*place, pose);
            }
        }
        let mut canvas = Canvas::over(&self.photograph);
        for corners in &self.triangles {
            canvas.draw(
                &self.photograph,
                corners.map(|it| self.vertices[it].at),
                corners.map(|it| places[it]),
            );
        }
        canvas.picture
    }

    /// Where a point of the head goes in `pose`.
    fn turned(&self, at: [f64; 3], pose: &Pose) -> [f64; 3] {
        let [x, y, z] = [0, 1, 2].map(|axis| at[axis] - self.centre[axis]);
        let (sin, cos) = (pose.yaw - self.own_yaw).sin_cos();
        let (x, z) = (x * cos - z * sin, x * sin + z * cos);
        let (sin, cos) = pose.pitch.sin_cos();
        let (y, z) = (y * cos - z * sin, y * sin + z * cos);
        [self.centre[0] + x, self.centre[1] + y, self.centre[2] + z]
    }
}

/// Whether a point of the mesh is one of the outline or well inside it.
fn is_used(skin: &[[f64; 3]], middle: Point, index: usize) -> bool {
    if OVAL.contains(&index) {
        return true;
    }
    let [x, y] = [0, 1].map(|axis| middle[axis] + (skin[index][axis] - middle[axis]) / USED_INSIDE);
    // Odd number of crossings of a ray to the right: inside.
    let next = OVAL.iter().cycle().skip(1);
    let n_crossings = OVAL
        .iter()
        .zip(next)
        .filter(|&(&a, &b)| {
            let ([ax, ay, _], [bx, by, _]) = (skin[a], skin[b]);
            (ay <= y) != (by <= y) && x < ax + (y - ay) / (by - ay) * (bx - ax)
        })
        .count();
    n_crossings % 2 == 1
}

/// A picture under way, with the depth of what was drawn last at each pixel.
struct Canvas {
    picture: RgbImage,
    depths: Vec<f64>,
}

impl Canvas {
    fn over(background: &RgbImage) -> Self {
        let n_pixels = background.width() as usize * background.height() as usize;
        Self {
            picture: background.clone(),
            depths: vec![f64::INFINITY; n_pixels],
        }
    }

    /// Draws the part of `texture` inside the triangle `from` into the triangle `to`.
    fn draw(&mut self, texture: &RgbImage, from: [[f64; 3]; 3], to: [[f64; 3]; 3]) {
        let [a, b, c] = to;
        let area = cross(a, b, c);
        // A triangle that shows its back is hidden by what turned before it.
        if area * cross(from[0], from[1], from[2]) <= 0.0 {
            return;
        }
        let (width, height) = self.picture.dimensions();
        let span = |axis: usize, size: u32| {
            let lowest = a[axis]
                .min(b[axis])
                .min(c[axis])
                .ceil()
                .clamp(0.0, f64::from(size));
            let highest = a[axis]
                .max(b[axis])
                .max(c[axis])
                .floor()
                .clamp(-1.0, f64::from(size - 1));
            lowest as u32..(highest + 1.0) as u32
        };
        for y in span(1, height) {
            for x in span(0, width) {
                let here = [f64::from(x), f64::from(y), 0.0];
                let weights =
                    [cross(here, b, c), cross(a, here, c), cross(a, b, here)].map(|it| it / area);
                if weights.iter().any(|&it| it < INSIDE_MIN) {
                    continue;
                }
                let mix = |points: &[[f64; 3]; 3], axis: usize| -> f64 {
                    (0..3)
                        .map(|corner| weights[corner] * points[corner][axis])
                        .sum()
                };
                let depth = mix(&to, 2);
                let index = y as usize * width as usize + x as usize;
                if depth < self.depths[index] {
                    self.depths[index] = depth;
                    self.picture.put_pixel(
                        x,
                        y,
                        pixel(sample(texture, [mix(&from, 0), mix(&from, 1)])),
                    );
                }
            }
        }
    }
}

/// Twice the signed area of a triangle, seen from the front.
fn cross(a: [f64; 3], b: [f64; 3], c: [f64; 3]) -> f64 {
    (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
}
