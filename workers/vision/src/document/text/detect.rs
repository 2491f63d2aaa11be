//! Finds lines of text: the detection model's probability map, and our reading of it.

use super::quad::Quad;
use crate::geometry::Point;
use crate::models::Role;
use crate::picture::{Picture, Planes};
use crate::session::{Tensor, Vision, VisionError};

/// Probability from which a pixel of the map belongs to text.
///
/// Source: the model's published post-processing (DB, Liao et al. 2020), as are the next four.
const PIXEL_MIN: f32 = 0.3;
/// Mean probability from which a group of pixels is a line.
const LINE_MIN: f32 = 0.5;
/// The model marks shrunken lines; each side moves out by area / perimeter times this.
const UNCLIP_RATIO: f64 = 1.6;
/// Smallest side of a group in map pixels.
const GROUP_SIDE_MIN: f64 = 3.0;
/// Sides of the model's input are multiples of this.
const SIDE_STEP: u32 = 32;
/// Lines considered on one page; a data page has about 40.
const LINES_MAX: usize = 400;
/// Maps the colours to `[-1, 1]`.
const MEAN: [f32; 3] = [127.5; 3];
const SCALE: [f32; 3] = [1.0 / 127.5; 3];

/// One line of text in the picture.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TextLine {
    pub quad: Quad,
    /// Mean probability of its pixels, in `[0, 1]`.
    pub score: f32,
}

/// Finds the lines of text, from top to bottom. Detection runs on the picture scaled so that its longer side has
/// `side` pixels; smaller pictures are enlarged to it.
///
/// # Errors
///
/// [`VisionError`] if the model is missing or does not run.
pub fn detect(vision: &Vision, picture: &Picture, side: u32) -> Result<Vec<TextLine>, VisionError> {
    let (width, height) = input_size(picture, side);
    let input = picture
        .resize(width, height)
        .to_tensor(Planes::Bgr, MEAN, SCALE);
    let outputs = vision.model(Role::TextDetection)?.run(&[input])?;
    let map = outputs.into_iter().next().ok_or(VisionError::Shape {
        role: Role::TextDetection,
        expected: "one probability map",
    })?;
    let (scale_x, scale_y) = (
        f64::from(picture.width()) / f64::from(width),
        f64::from(picture.height()) / f64::from(height),
    );
    let mut lines: Vec<TextLine> = lines_of(&map)
        .into_iter()
        .map(|it| TextLine {
            quad: it.quad.scaled(scale_x, scale_y),
            ..it
        })
        .collect();
    lines.sort_by(|a, b| a.quad.center.y.total_cmp(&b.quad.center.y));
    Ok(lines)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sides are between one step and the side asked for"
)]
fn input_size(picture: &Picture, side: u32) -> (u32, u32) {
    let longer = f64::from(picture.width().max(picture.height()));
    let ratio = f64::from(side) / longer;
    let to_steps = |it: u32| {
        let steps = (f64::from(it) * ratio / f64::from(SIDE_STEP))
            .round()
            .max(1.0);
        steps as u32 * SIDE_STEP
    };
    (to_steps(picture.width()), to_steps(picture.height()))
}

/// Groups the map's text pixels, and puts a rectangle around each group.
fn lines_of(map: &Tensor) -> Vec<TextLine> {
    let [.., height, width] = map.shape[..] else {
        return Vec::new();
    };
    if map.data.len() < height * width {
        return Vec::new();
    }
    let mask = dilated_mask(&map.data, width, height);
    let mut seen = vec![false; mask.len()];
    let mut lines = Vec::new();
    for start in 0..mask.len() {
        if !mask[start] || seen[start] {
            continue;
        }
        let group = flood(&mask, &mut seen, width, height, start);
        if let Some(line) = line_of(&group, &map.data, width) {
            lines.push(line);
        }
        if LINES_MAX <= lines.len() {
            break;
        }
    }
    lines
}

/// Text pixels, grown by one to the right and down so that hairline gaps close.
fn dilated_mask(map: &[f32], width: usize, height: usize) -> Vec<bool> {
    let mut mask = vec![false; width * height];
    for y in 0..height {
        for x in 0..width {
            if map[y * width + x] <= PIXEL_MIN {
                continue;
            }
            for (x, y) in [(x, y), (x + 1, y), (x, y + 1), (x + 1, y + 1)] {
                if x < width && y < height {
                    mask[y * width + x] = true;
                }
            }
        }
    }
    mask
}

fn flood(
    mask: &[bool],
    seen: &mut [bool],
    width: usize,
    height: usize,
    start: usize,
) -> Vec<usize> {
    let mut group = vec![start];
    seen[start] = true;
    let mut next = 0;
    while next < group.len() {
        let (x, y) = (group[next] % width, group[next] / width);
        next += 1;
        for y in y.saturating_sub(1)..=(y + 1).min(height - 1) {
            for x in x.saturating_sub(1)..=(x + 1).min(width - 1) {
                let at = y * width + x;
                if mask[at] && !seen[at] {
                    seen[at] = true;
                    group.push(at);
                }
            }
        }
    }
    group
}

#[expect(clippy::cast_precision_loss, reason = "map positions are below 2^24")]
fn line_of(group: &[usize], map: &[f32], width: usize) -> Option<TextLine> {
    let score = group.iter().map(|&it| map[it]).sum::<f32>() / group.len() as f32;
    if score < LINE_MIN {
        return None;
    }
    let mut corners = Vec::with_capacity(group.len() * 4);
    for &at in group {
        let (x, y) = ((at % width) as f64, (at / width) as f64);
        for (dx, dy) in [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)] {
            corners.push(Point::new(x + dx, y + dy));
        }
    }
    let quad = Quad::around(&corners)?;
    if quad.height < GROUP_SIDE_MIN {
        return None;
    }
    let out = quad.length * quad.height * UNCLIP_RATIO / (2.0 * (quad.length + quad.height));
    Some(TextLine {
        quad: quad.grown(out, out),
        score,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map_with(marks: &[(usize, usize, usize, usize, f32)]) -> Tensor {
        let (width, height) = (64, 32);
        let mut data = vec![0.0; width * height];
        for &(left, top, right, bottom, value) in marks {
            for y in top..bottom {
                data[y * width + left..y * width + right].fill(value);
            }
        }
        Tensor {
            shape: vec![1, 1, height, width],
            data,
        }
    }

    #[test]
    fn two_bars_are_two_lines_grown_by_the_unclip_ratio() {
        let lines = lines_of(&map_with(&[(4, 4, 44, 8, 0.9), (4, 20, 24, 24, 0.9)]));
        assert_eq!(lines.len(), 2);
        let first = lines[0].quad;
        // 41 x 5 with the closing pixel; grown by 41*5*1.6/92 = 3.57 on every side.
        assert!(
            (first.length - 48.13).abs() < 0.1 && (first.height - 12.13).abs() < 0.1,
            "{first:?}"
        );
    }

    #[test]
    fn faint_and_tiny_marks_are_no_lines() {
        assert!(lines_of(&map_with(&[(4, 4, 44, 8, 0.31), (50, 20, 51, 21, 0.9)])).is_empty());
    }

    #[test]
    fn a_malformed_map_has_no_lines() {
        assert!(
            lines_of(&Tensor {
                shape: vec![4],
                data: vec![0.9; 4]
            })
            .is_empty()
        );
    }
}
