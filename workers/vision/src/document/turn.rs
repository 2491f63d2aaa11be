//! Turns a page by quarters, so that its text reads from left to right.

use super::text::Quad;
use crate::geometry::Point;
use crate::picture::Picture;

/// Quarter turns, counter-clockwise, that bring an axis to point right.
#[must_use]
pub fn quarter_turns(axis: Point) -> u8 {
    if axis.y.abs() <= axis.x.abs() {
        if axis.x < 0.0 { 2 } else { 0 }
    } else if axis.y < 0.0 {
        3
    } else {
        1
    }
}

/// The picture after `n_turns` quarter turns, counter-clockwise.
#[must_use]
pub fn turned(picture: &Picture, n_turns: u8) -> Picture {
    let (width, height) = (picture.width(), picture.height());
    let (new_width, new_height) = if n_turns.is_multiple_of(2) {
        (width, height)
    } else {
        (height, width)
    };
    let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
    for y in 0..new_height {
        for x in 0..new_width {
            let (x, y) = match n_turns % 4 {
                1 => (width - 1 - y, x),
                2 => (width - 1 - x, height - 1 - y),
                3 => (y, height - 1 - x),
                _ => (x, y),
            };
            rgb.extend(picture.pixel(x, y));
        }
    }
    Picture::from_rgb(new_width, new_height, rgb).expect("as many pixels as before")
}

/// A line after the same turns of a picture of `size` pixels.
#[must_use]
pub fn turned_line(quad: &Quad, size: (u32, u32), n_turns: u8) -> Quad {
    let (width, height) = (f64::from(size.0), f64::from(size.1));
    let (center, axis) = (quad.center, quad.axis);
    let (center, axis) = match n_turns % 4 {
        1 => (
            Point::new(center.y, width - center.x),
            Point::new(axis.y, -axis.x),
        ),
        2 => (
            Point::new(width - center.x, height - center.y),
            Point::new(-axis.x, -axis.y),
        ),
        3 => (
            Point::new(height - center.y, center.x),
            Point::new(-axis.y, axis.x),
        ),
        _ => (center, axis),
    };
    Quad {
        center,
        axis,
        ..*quad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_and_its_lines_turn_together_until_the_text_points_right() {
        for axis in [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)] {
            let axis = Point::new(axis.0, axis.1);
            let mut page = Picture::filled(40, 30, [0, 0, 0]);
            page.set_pixel(12, 7, [255, 0, 0]);
            let quad = Quad {
                center: Point::new(12.5, 7.5),
                axis,
                length: 8.0,
                height: 2.0,
            };
            let n_turns = quarter_turns(axis);
            let (page, quad) = (
                turned(&page, n_turns),
                turned_line(&quad, (40, 30), n_turns),
            );
            assert!((quad.axis.x - 1.0).abs() < 1e-9, "{axis:?}");
            assert_eq!(
                page.sample(quad.center)[0].to_bits(),
                255.0_f32.to_bits(),
                "{axis:?}"
            );
        }
    }
}
