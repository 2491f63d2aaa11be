//! Finds the machine readable zone among the lines of a page, at any angle, and reads it.

use super::mrz::{self, Glyph, Mrz, Refusal};
use super::text::{Quad, Reader, TextLine};
use crate::geometry::Point;
use crate::picture::Picture;
use crate::session::VisionError;

/// Length over height from which a line may belong to a zone.
///
/// Source: a zone's lines measure 13 (TD1) to 22 (TD3) with the margin that detection adds.
const ASPECT_MIN: f64 = 7.0;
/// Most that two lines of one zone may differ in direction: the sine of 3 degrees.
const TURN_MAX: f64 = 0.052;
/// Ends of the lines of a zone are flush; this is the most they may differ, over the longer length.
const RAGGED_MAX: f64 = 0.08;
/// A line whose fillers were not seen is shorter; this is the least, over the longer length.
const SHORT_MIN: f64 = 0.4;
/// Distance of neighbouring lines, over their mean height.
///
/// Source: ICAO Doc 9303 part 3: lines 6.35 mm apart, symbols 2.4 mm high; detection makes them 1.2 to 2 times as high.
const SPACING_MIN: f64 = 0.6;
const SPACING_MAX: f64 = 3.5;
/// Lines of the tallest zone, TD1.
const LINES_MAX: usize = 3;
/// Groups of lines that are read before the page counts as one without a zone.
const CANDIDATES_MAX: usize = 3;
/// Room added at both ends of a line, over its height: the detection cuts fillers close.
const END_MARGIN: f64 = 0.25;
/// How a line is cut out at each attempt: (stretch along, growth across over the height).
const ATTEMPTS: [(f64, f64); 3] = [(1.0, 0.0), (1.25, 0.06), (1.1, -0.08)];

/// Symbols of a first line from which it may be a zone's, and fillers among them: no printed text has both.
const LENGTH_MIN: usize = 24;
const FILLERS_MIN: usize = 2;
/// Symbols of a first line from which the zone has two lines (of 36 or 44) and not three (of 30).
const LENGTH_OF_TWO_MIN: usize = 33;

/// Lines that may be a zone: flush, parallel, evenly spaced; first line first.
#[derive(Clone, PartialEq, Debug)]
pub struct Candidate {
    pub lines: Vec<Quad>,
}

/// What was found of a zone.
#[derive(Clone, PartialEq, Debug)]
pub enum ZoneReading {
    /// Where it is (read in this direction), and what it says.
    Read { lines: Vec<Quad>, mrz: Box<Mrz> },
    /// A zone is there, and cannot be presented.
    Refused { lines: Vec<Quad>, refusal: Refusal },
    /// The page has none.
    Absent,
}

/// Reads the zone among `lines`, if there is one.
///
/// # Errors
///
/// [`VisionError`] if the recognition model does not run.
pub fn read_zone(
    reader: &Reader,
    picture: &Picture,
    lines: &[TextLine],
) -> Result<ZoneReading, VisionError> {
    let mut refused = None;
    for candidate in candidates(lines) {
        for direction in [candidate.clone(), candidate.reversed()] {
            let Some((zone, first)) = direction.confirmed(reader, picture)? else {
                continue;
            };
            for (index, attempt) in ATTEMPTS.into_iter().enumerate() {
                // The first line was read with the first attempt's cut already.
                let mut glyphs = if index == 0 {
                    vec![first.clone()]
                } else {
                    Vec::new()
                };
                for line in &zone.lines[glyphs.len()..] {
                    glyphs.push(read_line(reader, picture, line, attempt)?);
                }
                match mrz::parse(&glyphs) {
                    Ok(mrz) => {
                        return Ok(ZoneReading::Read {
                            lines: zone.lines,
                            mrz: Box::new(mrz),
                        });
                    }
                    Err(refusal) => {
                        let lines = zone.lines.clone();
                        refused.get_or_insert(ZoneReading::Refused { lines, refusal });
                    }
                }
            }
            break;
        }
    }
    Ok(refused.unwrap_or(ZoneReading::Absent))
}

impl Candidate {
    fn reversed(&self) -> Self {
        Self {
            lines: self.lines.iter().rev().map(Quad::reversed).collect(),
        }
    }

    /// The lines of the zone that the first line announces, and that line's glyphs; `None` if it is printed text.
    fn confirmed(
        &self,
        reader: &Reader,
        picture: &Picture,
    ) -> Result<Option<(Self, Vec<Glyph>)>, VisionError> {
        let first = read_line(reader, picture, &self.lines[0], ATTEMPTS[0])?;
        let n_fillers = first.iter().filter(|it| it.symbol == mrz::FILLER).count();
        if first.len() < LENGTH_MIN || n_fillers < FILLERS_MIN {
            return Ok(None);
        }
        let n_lines = if first.len() < LENGTH_OF_TWO_MIN {
            3
        } else {
            2
        };
        Ok(self
            .lines
            .get(..n_lines)
            .map(|it| (Self { lines: it.to_vec() }, first)))
    }

    fn length(&self) -> f64 {
        self.lines.iter().map(|it| it.length).fold(0.0, f64::max)
    }
}

fn read_line(
    reader: &Reader,
    picture: &Picture,
    line: &Quad,
    (stretch, growth): (f64, f64),
) -> Result<Vec<Glyph>, VisionError> {
    let cut = line.grown(line.height * END_MARGIN, line.height * growth);
    reader.read_zone_line(picture, &cut, stretch)
}

/// The groups of lines most like a zone: of lines as detected, then of lines joined from pieces; the longest first.
fn candidates(lines: &[TextLine]) -> Vec<Candidate> {
    let whole: Vec<Quad> = lines.iter().map(|it| it.quad).collect();
    let joined = joined(&whole);
    let mut candidates = groups(&whole);
    if joined != whole {
        candidates.extend(
            groups(&joined)
                .into_iter()
                .filter(|it| !candidates.contains(it))
                .collect::<Vec<_>>(),
        );
    }
    candidates
}

fn groups(lines: &[Quad]) -> Vec<Candidate> {
    let long: Vec<&Quad> = lines
        .iter()
        .filter(|it| ASPECT_MIN <= it.length / it.height)
        .collect();
    let mut groups: Vec<Vec<Quad>> = Vec::new();
    for (index, first) in long.iter().enumerate() {
        let mut neighbours: Vec<Quad> = long
            .iter()
            .enumerate()
            .filter(|(other, it)| {
                *other != index && is_flush(first, it) && 0.0 < distance_below(first, it)
            })
            .map(|it| **it.1)
            .collect();
        neighbours.sort_by(|a, b| distance_below(first, a).total_cmp(&distance_below(first, b)));
        let mut group = vec![**first];
        for next in neighbours {
            let above = group[group.len() - 1];
            let spacing = distance_below(&above, &next) / f64::midpoint(above.height, next.height);
            if (SPACING_MIN..=SPACING_MAX).contains(&spacing) {
                group.push(next);
            }
        }
        group.truncate(LINES_MAX);
        if 1 < group.len() {
            groups.push(group);
        }
    }
    let mut candidates: Vec<Candidate> = groups
        .into_iter()
        .map(|lines| Candidate {
            lines: flush(&lines),
        })
        .collect();
    candidates.sort_by(|a, b| b.length().total_cmp(&a.length()));
    candidates.truncate(CANDIDATES_MAX);
    candidates
}

/// How far `lower` stands below `upper`, across the text, in pixels.
fn distance_below(upper: &Quad, lower: &Quad) -> f64 {
    Quad::project(upper.axis, lower.center).1 - Quad::project(upper.axis, upper.center).1
}

fn is_flush(one: &Quad, other: &Quad) -> bool {
    let turn = one.axis.x * other.axis.y - one.axis.y * other.axis.x;
    let longer = one.length.max(other.length);
    let offset = Quad::project(one.axis, other.center).0 - Quad::project(one.axis, one.center).0;
    let begins = offset - (other.length - one.length) / 2.0;
    let ends = offset + (other.length - one.length) / 2.0;
    turn.abs() < TURN_MAX
        && SHORT_MIN * longer <= one.length.min(other.length)
        && begins.abs().min(ends.abs()) <= RAGGED_MAX * longer
}

/// The lines, each as long as the whole group.
fn flush(lines: &[Quad]) -> Vec<Quad> {
    let longest = lines
        .iter()
        .copied()
        .max_by(|a, b| a.length.total_cmp(&b.length));
    let Some(longest) = longest else {
        return Vec::new();
    };
    let corners: Vec<Point> = lines.iter().flat_map(Quad::corners).collect();
    let whole = Quad::bounding(&corners, longest.axis);
    let (middle, _) = Quad::project(longest.axis, whole.center);
    lines
        .iter()
        .map(|line| {
            if whole.length * (1.0 - RAGGED_MAX / 2.0) <= line.length {
                return *line;
            }
            let (_, across) = Quad::project(longest.axis, line.center);
            let center = Quad::unproject(longest.axis, middle, across);
            Quad {
                center,
                axis: longest.axis,
                length: whole.length,
                height: line.height,
            }
        })
        .collect()
}

/// Joins pieces of one line that the detection left apart.
fn joined(lines: &[Quad]) -> Vec<Quad> {
    /// Gap between two pieces over their height; words of printed columns stand further apart.
    const GAP_MAX: f64 = 1.5;
    let mut pieces = lines.to_vec();
    pieces.sort_by(|a, b| b.length.total_cmp(&a.length));
    let mut joined: Vec<Quad> = Vec::new();
    for piece in pieces {
        let continues = |whole: &Quad| {
            let turn = whole.axis.x * piece.axis.y - whole.axis.y * piece.axis.x;
            let (along, across) = Quad::project(whole.axis, piece.center);
            let (middle, level) = Quad::project(whole.axis, whole.center);
            let gap = (along - middle).abs() - f64::midpoint(whole.length, piece.length);
            ASPECT_MIN <= whole.length / whole.height
                && turn.abs() < TURN_MAX
                && (across - level).abs() < whole.height * 0.3
                && (piece.height - whole.height).abs() < whole.height * 0.3
                && gap < whole.height * GAP_MAX
        };
        match joined.iter_mut().find(|it| continues(it)) {
            Some(whole) => {
                let corners = [whole.corners(), piece.corners()].concat();
                *whole = Quad {
                    height: whole.height,
                    ..Quad::bounding(&corners, whole.axis)
                };
            }
            None => joined.push(piece),
        }
    }
    joined.sort_by(|a, b| a.center.y.total_cmp(&b.center.y));
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(x: f64, y: f64, length: f64, height: f64) -> TextLine {
        let center = Point::new(x + length / 2.0, y);
        TextLine {
            quad: Quad {
                center,
                axis: Point::new(1.0, 0.0),
                length,
                height,
            },
            score: 0.9,
        }
    }

    #[test]
    fn two_flush_long_lines_are_found_below_printed_text() {
        let lines = [
            line(100.0, 50.0, 300.0, 20.0),
            line(100.0, 90.0, 120.0, 20.0),
            line(40.0, 400.0, 560.0, 26.0),
            line(40.0, 440.0, 556.0, 26.0),
        ];
        let found = candidates(&lines);
        assert_eq!(found[0].lines.len(), 2);
        assert!((found[0].lines[0].center.y - 400.0).abs() < 1e-9);
    }

    #[test]
    fn a_line_that_lost_its_fillers_is_made_as_long_as_the_other() {
        let lines = [
            line(40.0, 400.0, 300.0, 26.0),
            line(40.0, 440.0, 560.0, 26.0),
        ];
        let found = candidates(&lines);
        assert!((found[0].lines[0].length - 560.0).abs() < 1e-9);
        assert!((found[0].lines[0].center.x - 320.0).abs() < 1e-9);
    }

    #[test]
    fn a_page_of_short_lines_has_no_candidate() {
        let lines = [line(40.0, 40.0, 100.0, 26.0), line(40.0, 80.0, 110.0, 26.0)];
        assert!(candidates(&lines).is_empty());
    }
}
