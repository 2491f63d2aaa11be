//! Finds the face in a picture, with the models that the platform uses too.

use anyhow::{Context as _, Result, ensure};
use image::RgbImage;

use btrust_vision::face::{DETECT_SIDE_FINE, Face, MESH_PRESENCE_MIN, detect};
use btrust_vision::{Picture, Vision};

use crate::selfie::FaceBox;

/// Where the largest face of a photograph is.
///
/// # Errors
///
/// When the models are missing, or nobody is in the picture.
pub fn find(vision: &Vision, photograph: &RgbImage) -> Result<FaceBox> {
    let face = largest(vision, &picture_of(photograph)?)?;
    let middle = face.bounds.center();
    Ok(FaceBox {
        middle: [middle.x, middle.y],
        width: face.bounds.width,
    })
}

fn largest(vision: &Vision, picture: &Picture) -> Result<Face> {
    let faces = detect(vision, picture, DETECT_SIDE_FINE).context("cannot look for a face")?;
    faces
        .into_iter()
        .next()
        .context("there is no face in the picture")
}

fn picture_of(picture: &RgbImage) -> Result<Picture> {
    Picture::from_rgb(picture.width(), picture.height(), picture.as_raw().clone())
        .context("the picture is empty")
}

/// The points of the largest face of a frame: x, y and depth in its pixels.
///
/// # Errors
///
/// When the models are missing, or nobody is in the frame.
pub fn mesh(vision: &Vision, frame: &RgbImage) -> Result<Vec<[f64; 3]>> {
    let picture = picture_of(frame)?;
    let face = largest(vision, &picture)?;
    let mesh =
        btrust_vision::face::mesh(vision, &picture, &face).context("cannot read the face")?;
    ensure!(
        MESH_PRESENCE_MIN <= mesh.presence,
        "the picture shows no clear face"
    );
    Ok(mesh.points.iter().map(|it| [it.x, it.y, it.z]).collect())
}
