//! Reads lines of text: the recognition model, and our decoding of what it says.

use std::sync::Arc;

use super::quad::Quad;
use crate::document::mrz::{FILLER, Glyph};
use crate::models::Role;
use crate::picture::{Picture, Planes};
use crate::session::{Model, Tensor, Vision, VisionError};

/// Height of the model's input in pixels.
const INPUT_HEIGHT: u32 = 48;
/// Widest input; four times the aspect of a passport's zone.
const INPUT_WIDTH_MAX: u32 = 3_200;
const INPUT_WIDTH_MIN: u32 = 32;
/// Rivals below this probability are noise of the softmax.
const RIVAL_MIN: f32 = 0.001;
/// Maps the colours to `[-1, 1]`. Source: the model's published pre-processing.
const MEAN: [f32; 3] = [127.5; 3];
const SCALE: [f32; 3] = [1.0 / 127.5; 3];

/// What a printed line says.
#[derive(Clone, PartialEq, Debug)]
pub struct PrintedText {
    pub text: String,
    /// Mean probability of its symbols, in `[0, 1]`; 0 for an empty line.
    pub confidence: f32,
}

/// The recognition model with its alphabet.
pub struct Reader {
    model: Arc<Model>,
    /// Class 0 of the model is "no symbol"; class n is `alphabet[n - 1]`; the last is a blank.
    alphabet: Vec<String>,
    /// The class of each symbol of a machine readable zone.
    zone_classes: Vec<(usize, u8)>,
}

impl Reader {
    /// Takes the model and the alphabet that it carries.
    ///
    /// # Errors
    ///
    /// [`VisionError`] if the model is missing, or carries no alphabet.
    pub fn new(vision: &Vision) -> Result<Self, VisionError> {
        let model = vision.model(Role::TextRecognition)?;
        let listed = model.metadata("character").ok_or(VisionError::Shape {
            role: Role::TextRecognition,
            expected: "an alphabet under the metadata key `character`",
        })?;
        let mut alphabet: Vec<String> = listed.lines().map(str::to_owned).collect();
        alphabet.push(" ".to_owned());
        let zone_classes = alphabet
            .iter()
            .enumerate()
            .filter_map(|(index, text)| match text.as_bytes() {
                &[it] if it == FILLER || it.is_ascii_uppercase() || it.is_ascii_digit() => {
                    Some((index + 1, it))
                }
                _ => None,
            })
            .collect();
        Ok(Self {
            model,
            alphabet,
            zone_classes,
        })
    }

    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Reads one printed line.
    ///
    /// # Errors
    ///
    /// [`VisionError`] if the model does not run.
    pub fn read(&self, picture: &Picture, quad: &Quad) -> Result<PrintedText, VisionError> {
        let (scores, n_classes) = self.run(picture, quad, 1.0)?;
        let mut text = String::new();
        let mut total = 0.0;
        let mut n_symbols = 0.0;
        let mut before = 0;
        for step in scores.data.chunks_exact(n_classes) {
            let (class, score) = best_class(step);
            if class != before
                && let Some(symbol) = class.checked_sub(1).and_then(|it| self.alphabet.get(it))
            {
                text.push_str(symbol);
                total += score;
                n_symbols += 1.0;
            }
            before = class;
        }
        let confidence = if n_symbols == 0.0 {
            0.0
        } else {
            total / n_symbols
        };
        Ok(PrintedText {
            text: text.trim().to_owned(),
            confidence,
        })
    }

    /// Reads one line of a machine readable zone, whose 37 symbols are the only ones considered.
    ///
    /// `stretch` widens the input: neighbouring equal symbols need room to stay apart.
    ///
    /// # Errors
    ///
    /// [`VisionError`] if the model does not run.
    pub fn read_zone_line(
        &self,
        picture: &Picture,
        quad: &Quad,
        stretch: f64,
    ) -> Result<Vec<Glyph>, VisionError> {
        let (scores, n_classes) = self.run(picture, quad, stretch)?;
        Ok(self.decode_zone(&scores.data, n_classes))
    }

    fn decode_zone(&self, scores: &[f32], n_classes: usize) -> Vec<Glyph> {
        let mut glyphs: Vec<(Glyph, f32)> = Vec::new();
        let mut before = None;
        for step in scores.chunks_exact(n_classes) {
            let nothing = step[0];
            let best = self
                .zone_classes
                .iter()
                .copied()
                .max_by(|a, b| step[a.0].total_cmp(&step[b.0]));
            let Some((class, symbol)) = best.filter(|it| nothing < step[it.0]) else {
                before = None;
                continue;
            };
            let strength = step[class];
            if before != Some(symbol) {
                glyphs.push((
                    Glyph {
                        symbol,
                        rivals: Vec::new(),
                    },
                    0.0,
                ));
            }
            before = Some(symbol);
            let (glyph, peak) = glyphs.last_mut().expect("pushed when it began");
            if *peak < strength {
                *peak = strength;
                let total: f32 = self.zone_classes.iter().map(|it| step[it.0]).sum();
                glyph.rivals = self
                    .zone_classes
                    .iter()
                    .map(|it| (it.1, step[it.0] / total))
                    .filter(|it| it.0 != symbol && RIVAL_MIN <= it.1)
                    .collect();
            }
        }
        glyphs.into_iter().map(|it| it.0).collect()
    }

    /// The model's class scores for each step along the line, and the number of classes.
    fn run(
        &self,
        picture: &Picture,
        quad: &Quad,
        stretch: f64,
    ) -> Result<(Tensor, usize), VisionError> {
        let width = input_width(quad, stretch);
        let cut = picture.warp(&quad.to_source(width, INPUT_HEIGHT), width, INPUT_HEIGHT);
        let outputs = self.model.run(&[cut.to_tensor(Planes::Bgr, MEAN, SCALE)])?;
        let wrong_shape = || VisionError::Shape {
            role: Role::TextRecognition,
            expected: "one row of class scores for each step",
        };
        let scores = outputs.into_iter().next().ok_or_else(wrong_shape)?;
        let n_classes = scores.shape.last().copied().unwrap_or(0);
        if n_classes <= self.alphabet.len() {
            return Err(wrong_shape());
        }
        Ok((scores, n_classes))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the input's limits"
)]
fn input_width(quad: &Quad, stretch: f64) -> u32 {
    let width = f64::from(INPUT_HEIGHT) * quad.length / quad.height.max(1.0) * stretch;
    width
        .ceil()
        .clamp(f64::from(INPUT_WIDTH_MIN), f64::from(INPUT_WIDTH_MAX)) as u32
}

fn best_class(step: &[f32]) -> (usize, f32) {
    let mut best = (0, f32::NEG_INFINITY);
    for (class, &score) in step.iter().enumerate() {
        if best.1 < score {
            best = (class, score);
        }
    }
    best
}
