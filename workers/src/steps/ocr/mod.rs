//! `kyc:ocr`: reads an identity document and says what of it is proven.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use btrust_schemas::core::SPECIMEN_DOCUMENTS;
use btrust_schemas::object::ObjectRef;
use btrust_schemas::step::ModelUse;
use btrust_schemas::step::ocr::{
    ACCEPTED, Arguments, Check, DocumentType, EXPIRED, EXPIRED_DOCUMENT, Field, Mrz, Output,
    Prompt, REJECTED, Submission, UNREADABLE,
};
use btrust_schemas::turn::{Audience, TurnInput, TurnReason, TurnResult};
use btrust_vision::document::mrz::Format;
use btrust_vision::document::quality::Quality;
use btrust_vision::document::{Date, Reading, Verdict, read_document};
use btrust_vision::{Picture, Role, Vision, VisionError};

use super::evidence::{model_fault, models_used};
use super::ttl_ms;
use crate::runtime::step::submission;
use crate::runtime::{Context, Fault, Step, arguments, ask, complete, parked};

/// Turns at once; a decoded page takes up to 150 MB.
const IN_FLIGHT_MAX: u32 = 4;
/// Pictures that may be sent where the definition does not say.
const ATTEMPTS_MAX: u32 = 3;
/// How long a question stays open where the definition does not say, in seconds.
const TTL_SECONDS: u32 = 3_600;
/// The models that read a page.
pub const ROLES: &[Role] = &[
    Role::TextDetection,
    Role::TextRecognition,
    Role::FaceDetection,
];

/// What is parked between pictures.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parked {
    v: u32,
    n_pictures: u32,
}

pub struct Ocr {
    vision: Arc<Vision>,
}

impl Ocr {
    #[must_use]
    pub fn new(vision: Arc<Vision>) -> Self {
        Self { vision }
    }
}

#[async_trait]
impl Step for Ocr {
    fn name(&self) -> &'static str {
        "ocr"
    }

    fn in_flight_max(&self) -> u32 {
        IN_FLIGHT_MAX
    }

    async fn turn(&self, context: &Context, input: TurnInput) -> Result<TurnResult, Fault> {
        let arguments: Arguments = arguments(&input)?;
        let parked: Parked = parked(&input)?.unwrap_or(Parked {
            v: 1,
            n_pictures: 0,
        });
        if let TurnReason::Expired { .. } = input.reason {
            return complete(EXPIRED, &empty_output(parked.n_pictures, Vec::new()));
        }
        let Some(Submission { picture }) = submission(&input) else {
            return question(&arguments, parked, Vec::new());
        };
        let parked = Parked {
            n_pictures: parked.n_pictures + 1,
            ..parked
        };
        let bytes = context.read(&picture).await?;
        let vision = Arc::clone(&self.vision);
        let today = Date::from_unix_ms(input.scheduled_ms);
        let read = context
            .compute(move || read(&vision, &bytes, today))
            .await?;
        let page = match read.map_err(|error| model_fault(&error))? {
            Ok((reading, models)) => Page {
                picture,
                reading,
                models,
            },
            Err(reason) => return another(&arguments, parked, vec![reason.to_owned()], None),
        };
        let may_be_specimen = input
            .acknowledgements
            .iter()
            .any(|it| it == SPECIMEN_DOCUMENTS);
        match conclude(&page.reading, &arguments, may_be_specimen, today) {
            Conclusion::Another { reasons } => another(&arguments, parked, reasons, Some(page)),
            Conclusion::End {
                outcome,
                reasons,
                extra_checks,
                needs_review,
            } => {
                let portrait = match (&page.reading.portrait, outcome) {
                    (Some(portrait), ACCEPTED) => Some(
                        context
                            .store("image/jpeg", Bytes::from(portrait.jpeg.clone()))
                            .await?,
                    ),
                    _ => None,
                };
                let mut output = page.output(parked.n_pictures, reasons, portrait);
                output.checks.extend(extra_checks);
                output.needs_review |= needs_review;
                complete(outcome, &output)
            }
        }
    }
}

/// A page that was read, with its picture and the models that read it.
struct Page {
    picture: ObjectRef,
    reading: Reading,
    models: Vec<ModelUse>,
}

/// Reads encoded bytes; the inner error is the code of what is wrong with them as a picture.
fn read(
    vision: &Vision,
    bytes: &Bytes,
    today: Date,
) -> Result<Result<(Reading, Vec<ModelUse>), &'static str>, VisionError> {
    let picture = match Picture::decode(bytes) {
        Ok(picture) => picture,
        Err(error) => return Ok(Err(error.code())),
    };
    let reading = read_document(vision, &picture, today)?;
    Ok(Ok((reading, models_used(vision, ROLES)?)))
}

/// What follows from a reading.
#[derive(Clone, PartialEq, Debug)]
enum Conclusion {
    /// Another picture may do better.
    Another { reasons: Vec<String> },
    End {
        outcome: &'static str,
        reasons: Vec<String>,
        extra_checks: Vec<Check>,
        /// A person must look, whatever the page itself says.
        needs_review: bool,
    },
}

/// Adds what the definition and the tenant ask for to the verdict on the page itself.
fn conclude(
    reading: &Reading,
    arguments: &Arguments,
    may_be_specimen: bool,
    today: Date,
) -> Conclusion {
    let (outcome, reasons) = match reading.verdict() {
        Verdict::Unreadable { reasons } => {
            return Conclusion::Another {
                reasons: owned(&reasons),
            };
        }
        Verdict::Rejected { reasons } => (REJECTED, owned(&reasons)),
        Verdict::ExpiredDocument => (EXPIRED_DOCUMENT, vec!["expired_document".to_owned()]),
        Verdict::Accepted => (ACCEPTED, Vec::new()),
    };
    let (extra_checks, refusals) = demands(reading, arguments, may_be_specimen, today);
    let needs_review = extra_checks.iter().any(|it| it.passed.is_none());
    let (outcome, reasons) = match (outcome, refusals.is_empty()) {
        (_, true) => (outcome, reasons),
        (REJECTED, false) => (REJECTED, [reasons, refusals].concat()),
        (_, false) => (REJECTED, refusals),
    };
    Conclusion::End {
        outcome,
        reasons,
        extra_checks,
        needs_review,
    }
}

/// The checks that the definition and the tenant ask for, and why they refuse the document.
fn demands(
    reading: &Reading,
    arguments: &Arguments,
    may_be_specimen: bool,
    today: Date,
) -> (Vec<Check>, Vec<String>) {
    let types = arguments.document_types.as_deref();
    let types = types.unwrap_or(DocumentType::DEFAULT);
    let is_accepted_type = types
        .iter()
        .any(|it| Some(it.as_str()) == reading.document_class);
    let mut checks = vec![
        check("not_specimen", Some(!reading.specimen)),
        check("document_type_accepted", Some(is_accepted_type)),
    ];
    let mut refusals = Vec::new();
    if reading.specimen && !may_be_specimen {
        refusals.push("specimen".to_owned());
    }
    if !is_accepted_type {
        refusals.push("document_type_not_accepted".to_owned());
    }
    if let Some(minimum_age) = arguments.minimum_age {
        let is_old_enough = is_old_enough(reading, minimum_age, today);
        checks.push(check("minimum_age", is_old_enough));
        if is_old_enough == Some(false) {
            refusals.push("too_young".to_owned());
        }
    }
    if let Some(states) = &arguments.issuing_states {
        let is_accepted = reading
            .fields
            .get("issuingState")
            .is_some_and(|it| states.contains(&it.value));
        checks.push(check("issuing_state_accepted", Some(is_accepted)));
        if !is_accepted {
            refusals.push("issuing_state_not_accepted".to_owned());
        }
    }
    (checks, refusals)
}

/// Whether the holder has the age; `None` where the document does not say so much of the birth date.
fn is_old_enough(reading: &Reading, minimum_age: u32, today: Date) -> Option<bool> {
    let zone = reading.mrz.as_ref()?;
    let (first, last) = Date::birth_range(&zone.birth_date.value, today)?;
    let has_age = |born: Date| i64::from(minimum_age) <= i64::from(born.years_until(today));
    (has_age(first) == has_age(last)).then_some(has_age(last))
}

fn check(code: &str, passed: Option<bool>) -> Check {
    Check {
        code: code.to_owned(),
        passed,
    }
}

fn owned(reasons: &[&'static str]) -> Vec<String> {
    reasons.iter().map(|it| (*it).to_owned()).collect()
}

/// Asks for another picture, or gives up when the last one was sent.
fn another(
    arguments: &Arguments,
    parked: Parked,
    reasons: Vec<String>,
    page: Option<Page>,
) -> Result<TurnResult, Fault> {
    if parked.n_pictures < attempts_max(arguments) {
        return question(arguments, parked, reasons);
    }
    let output = match page {
        Some(page) => Output {
            needs_review: true,
            ..page.output(parked.n_pictures, reasons, None)
        },
        None => empty_output(parked.n_pictures, reasons),
    };
    complete(UNREADABLE, &output)
}

fn question(
    arguments: &Arguments,
    parked: Parked,
    reasons: Vec<String>,
) -> Result<TurnResult, Fault> {
    let attempts_left = attempts_max(arguments).saturating_sub(parked.n_pictures);
    let prompt = Prompt {
        reasons,
        attempts_left,
    };
    let ttl_ms = ttl_ms(arguments.ttl_seconds, TTL_SECONDS);
    Ok(TurnResult::Ask(ask(
        Audience::Applicant,
        "document-front",
        &prompt,
        &parked,
        ttl_ms,
    )?))
}

fn attempts_max(arguments: &Arguments) -> u32 {
    arguments.max_attempts.unwrap_or(ATTEMPTS_MAX).max(1)
}

impl Page {
    fn output(self, n_pictures: u32, reasons: Vec<String>, portrait: Option<ObjectRef>) -> Output {
        let Reading {
            document_class,
            mrz,
            fields,
            checks,
            quality,
            specimen,
            needs_review,
            ..
        } = self.reading;
        let field = |(name, it): (&'static str, btrust_vision::document::ReadField)| {
            let source = it.source.code().to_owned();
            (
                name.to_owned(),
                Field {
                    value: it.value,
                    source,
                    confidence: it.confidence,
                    protected: it.protected,
                },
            )
        };
        Output {
            document_class: document_class.map(str::to_owned),
            fields: fields.into_iter().map(field).collect(),
            // Only a zone whose every check digit passes is presented at all.
            mrz: mrz.map(|it| Mrz {
                kind: mrz_type(it.format).to_owned(),
                valid: true,
            }),
            checks: checks
                .into_iter()
                .map(|it| Check {
                    code: it.code.to_owned(),
                    passed: it.passed,
                })
                .collect(),
            page: Some(self.picture),
            portrait,
            quality: measures(&quality),
            needs_review,
            specimen,
            models: self.models,
            ..empty_output(n_pictures, reasons)
        }
    }
}

fn empty_output(n_pictures: u32, reasons: Vec<String>) -> Output {
    Output {
        document_class: None,
        fields: std::collections::BTreeMap::new(),
        mrz: None,
        checks: Vec::new(),
        reasons,
        page: None,
        portrait: None,
        quality: std::collections::BTreeMap::new(),
        needs_review: true,
        specimen: false,
        n_pictures,
        models: Vec::new(),
    }
}

/// The name of the format in ICAO 9303.
const fn mrz_type(format: Format) -> &'static str {
    match format {
        Format::Td1 => "TD1",
        Format::Td2 => "TD2",
        Format::Td3 => "TD3",
        Format::MrvA => "MRV-A",
        Format::MrvB => "MRV-B",
    }
}

/// The measurements with their units in the names.
#[expect(
    clippy::cast_precision_loss,
    reason = "a picture's side is far below 2^24"
)]
fn measures(quality: &Quality) -> std::collections::BTreeMap<String, f32> {
    let mut measures = std::collections::BTreeMap::from([
        ("sharpnessVariance".to_owned(), quality.sharpness),
        ("glareShare".to_owned(), quality.glare_share),
        ("lightLuminance".to_owned(), f32::from(quality.light)),
        ("sidePixels".to_owned(), quality.side as f32),
    ]);
    if let Some(pitch) = quality.pitch {
        measures.insert("symbolPixels".to_owned(), pitch);
    }
    measures
}

#[cfg(test)]
mod tests;
