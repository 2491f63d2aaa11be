//! What is measured in one frame of a challenge.

use crate::{
    face::{
        self, DETECT_SIDE, Embedding, Face, MESH_PRESENCE_MIN, Mesh, embed, eyes_closed, mesh,
        passive, pose_of_mesh, pose_of_pixels,
    },
    liveness::{Action, Reason},
    picture::Picture,
    session::{Vision, VisionError},
};

/// Narrowest face in pixels that is measured: below it the eyelids are a few
/// pixels and a blink cannot be told.
const FACE_WIDTH_MIN: f64 = 80.0;
/// Share of the largest face's area from which on a second face is somebody
/// who looks on, not background.
const SECOND_FACE_SHARE: f64 = 0.3;
/// Longer side in pixels to which a frame is shrunk first: a face that fills a
/// fifth of it still has the 256 pixels that the finest model reads.
const FRAME_SIDE_MAX: u32 = 1280;
/// Side in pixels of the grey thumbnail by which frames are told apart.
const THUMBNAIL_SIDE: u32 = 64;

/// The measurements of one frame.
#[derive(Clone, PartialEq, Debug)]
pub struct Frame {
    pub action: Action,
    /// Degrees; above 0 the face looks to the right of the picture.
    pub yaw: f64,
    /// The same from pixels, by an independent model.
    pub yaw_by_pixels: f64,
    pub pitch: f64,
    /// How far the tip of the nose lies from the middle of the eyes along the
    /// line through them, as a share of their distance; above 0 to the right. By
    /// the detector, not by the mesh.
    pub nose_offset: f64,
    /// Height over width of the eye openings.
    pub eyes_open: f64,
    /// The probability that the eyes are closed, from pixels, by an independent
    /// model.
    pub eyes_closed: f32,
    /// The passive model's probability of a live face, in `[0, 1]`.
    pub live: f32,
    pub embedding: Embedding,
    pub mesh: Mesh,
    /// The whole frame in grey, small.
    pub thumbnail: Vec<u8>,
}

/// Measures a frame, or says what the person can do better.
///
/// # Errors
///
/// A model cannot be loaded or run.
pub fn look(
    vision: &Vision,
    picture: &Picture,
    action: Action,
) -> Result<Result<Frame, Reason>, VisionError> {
    let picture = &*picture.fit_within(FRAME_SIDE_MAX);
    let faces = face::detect(vision, picture, DETECT_SIDE)?;
    let face = match the_face(&faces) {
        Ok(face) => face,
        Err(reason) => return Ok(Err(reason)),
    };
    let mesh = mesh(vision, picture, face)?;
    if mesh.presence < MESH_PRESENCE_MIN {
        return Ok(Err(Reason::NoFace));
    }
    let pose = pose_of_mesh(&mesh);
    Ok(Ok(Frame {
        action,
        yaw: pose.yaw,
        yaw_by_pixels: pose_of_pixels(vision, picture, face)?.yaw,
        pitch: pose.pitch,
        nose_offset: nose_offset(face),
        eyes_open: mesh.eye_openness(),
        eyes_closed: eyes_closed(vision, picture, &mesh)?,
        live: passive(vision, picture, face)?,
        embedding: embed(vision, picture, face)?,
        mesh,
        thumbnail: picture.resize(THUMBNAIL_SIDE, THUMBNAIL_SIDE).to_grey(),
    }))
}

/// See [`Frame::nose_offset`]; does not change when the head leans.
fn nose_offset(face: &Face) -> f64 {
    let [left_eye, right_eye, nose, ..] = face.points;
    let (across, down) = (right_eye.x - left_eye.x, right_eye.y - left_eye.y);
    let middle = left_eye.middle(right_eye);
    let along = (nose.x - middle.x) * across + (nose.y - middle.y) * down;
    along / (across * across + down * down)
}

/// The one face that a frame is about.
fn the_face(faces: &[Face]) -> Result<&Face, Reason> {
    let face = faces.first().ok_or(Reason::NoFace)?;
    if faces
        .get(1)
        .is_some_and(|it| SECOND_FACE_SHARE * face.bounds.area() <= it.bounds.area())
    {
        return Err(Reason::SeveralFaces);
    }
    if face.bounds.width < FACE_WIDTH_MIN {
        return Err(Reason::TooFar);
    }
    Ok(face)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{Point, Rect, Transform};

    fn face(side: f64) -> Face {
        Face {
            bounds: Rect {
                x: 0.0,
                y: 0.0,
                width: side,
                height: side,
            },
            points: [Point::default(); 5],
            score: 0.9,
        }
    }

    #[test]
    fn leaning_the_head_does_not_move_the_nose_against_the_eyes() {
        let upright = [
            (-30.0, 0.0),
            (30.0, 0.0),
            (6.0, 35.0),
            (0.0, 0.0),
            (0.0, 0.0),
        ];
        for lean in [0.0, 0.3, -0.5] {
            let map = Transform::similarity(1.4, lean, 200.0, 150.0);
            let points = upright.map(|(x, y)| map.apply(Point::new(x, y)));
            let offset = nose_offset(&Face {
                points,
                ..face(100.0)
            });
            assert!((offset - 0.1).abs() < 1e-9, "{offset} at {lean}");
        }
    }

    #[test]
    fn a_frame_is_about_one_near_face() {
        assert_eq!(the_face(&[]), Err(Reason::NoFace));
        assert_eq!(the_face(&[face(60.0)]), Err(Reason::TooFar));
        assert_eq!(
            the_face(&[face(200.0), face(150.0)]),
            Err(Reason::SeveralFaces)
        );
        assert_eq!(the_face(&[face(200.0), face(60.0)]), Ok(&face(200.0)));
    }
}
