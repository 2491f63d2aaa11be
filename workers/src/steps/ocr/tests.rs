use std::collections::BTreeMap;

use serde_json::{Value, json};

use btrust_vision::document::mrz::{self, Contents, certain_line, compose};
use btrust_vision::document::{Portrait, ReadField, Source};
use btrust_vision::geometry::Rect;

use super::*;
use crate::testing::{Bench, asked, completed, vision};

const TODAY: Date = Date {
    year: 2027,
    month: 1,
    day: 15,
};

/// An accepted reading of a passport of somebody born on `YYMMDD`.
fn reading(birth_date: &str, issuing_state: &str) -> Reading {
    let contents = Contents {
        format: Format::Td3,
        document_code: "P".to_owned(),
        issuing_state: issuing_state.to_owned(),
        primary_identifier: "BEISPIEL".to_owned(),
        secondary_identifier: "ANNA".to_owned(),
        document_number: "L898902C3".to_owned(),
        nationality: issuing_state.to_owned(),
        birth_date: birth_date.to_owned(),
        sex: "F".to_owned(),
        expiry_date: "320415".to_owned(),
        optional_first: String::new(),
        optional_second: String::new(),
    };
    let lines: Vec<_> = compose(&contents)
        .unwrap()
        .iter()
        .map(|it| certain_line(it))
        .collect();
    let state = ReadField {
        value: issuing_state.to_owned(),
        source: Source::Mrz,
        confidence: 0.9,
        protected: false,
    };
    Reading {
        quality: Quality {
            sharpness: 300.0,
            glare_share: 0.0,
            light: 200,
            side: 1_200,
            pitch: Some(20.0),
            reasons: Vec::new(),
        },
        document_class: Some("passport"),
        mrz: Some(mrz::parse(&lines).unwrap()),
        refusal: None,
        fields: BTreeMap::from([("issuingState", state)]),
        checks: Vec::new(),
        portrait: Some(Portrait {
            jpeg: vec![1],
            face: Rect {
                x: 0.0,
                y: 0.0,
                width: 9.0,
                height: 9.0,
            },
            score: 0.9,
        }),
        specimen: mrz::is_specimen_state(issuing_state),
        needs_review: false,
    }
}

fn parsed(more: Value) -> Arguments {
    serde_json::from_value(more).unwrap()
}

#[track_caller]
fn check(reading: &Reading, arguments: Value, may_be_specimen: bool, expected: (&str, &[&str])) {
    let end = conclude(reading, &parsed(arguments), may_be_specimen, TODAY);
    let Conclusion::End {
        outcome, reasons, ..
    } = end
    else {
        panic!("{end:?}")
    };
    assert_eq!(
        (
            outcome,
            reasons
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .as_slice()
        ),
        expected
    );
}

#[test]
fn a_good_document_is_accepted() {
    check(&reading("740812", "FRA"), json!({}), false, (ACCEPTED, &[]));
    check(
        &reading("740812", "FRA"),
        json!({ "issuingStates": ["DEU", "FRA"] }),
        false,
        (ACCEPTED, &[]),
    );
}

#[test]
fn a_holder_is_old_enough_from_the_birthday_on() {
    let eighteen = json!({ "minimumAge": 18 });
    check(
        &reading("090115", "FRA"),
        eighteen.clone(),
        false,
        (ACCEPTED, &[]),
    );
    check(
        &reading("090116", "FRA"),
        eighteen,
        false,
        (REJECTED, &["too_young"]),
    );
}

#[test]
fn an_unknown_day_of_birth_is_no_youth() {
    let eighteen = parsed(json!({ "minimumAge": 18 }));
    for (born, expected) in [
        // The year proves it either way, or leaves it open.
        ("08<<<<", (ACCEPTED, Some(true), false)),
        ("09<<<<", (ACCEPTED, None, true)),
        ("10<<<<", (REJECTED, Some(false), false)),
        ("<<<<<<", (ACCEPTED, None, true)),
    ] {
        let end = conclude(&reading(born, "FRA"), &eighteen, false, TODAY);
        let Conclusion::End {
            outcome,
            extra_checks,
            needs_review,
            ..
        } = end
        else {
            panic!("{end:?}")
        };
        let age = extra_checks.iter().find(|it| it.code == "minimum_age");
        let said = (outcome, age.unwrap().passed, needs_review);
        assert_eq!(said, expected, "{born}");
    }
}

#[test]
fn a_visa_is_no_identity_document_unless_the_definition_says_so() {
    let visa = Reading {
        document_class: Some("visa"),
        ..reading("740812", "FRA")
    };
    let refused = (REJECTED, &["document_type_not_accepted"][..]);
    check(&visa, json!({}), false, refused);
    let passports = json!({ "documentTypes": ["passport"] });
    check(&visa, passports.clone(), false, refused);
    let visas = json!({ "documentTypes": ["passport", "visa"] });
    check(&visa, visas, false, (ACCEPTED, &[]));
    let card = Reading {
        document_class: Some("id-card"),
        ..reading("740812", "FRA")
    };
    check(&card, json!({}), false, (ACCEPTED, &[]));
    check(&card, passports, false, refused);
}

#[test]
fn a_document_of_another_state_is_rejected() {
    let arguments = json!({ "issuingStates": ["DEU"] });
    check(
        &reading("740812", "FRA"),
        arguments,
        false,
        (REJECTED, &["issuing_state_not_accepted"]),
    );
}

#[test]
fn a_specimen_counts_only_for_a_tenant_that_asked_for_it() {
    check(
        &reading("740812", "UTO"),
        json!({}),
        false,
        (REJECTED, &["specimen"]),
    );
    check(&reading("740812", "UTO"), json!({}), true, (ACCEPTED, &[]));
}

#[test]
fn an_expired_document_says_so_and_a_rejected_one_lists_every_reason() {
    let mut expired = reading("740812", "FRA");
    let passed = Some(false);
    expired.checks.push(btrust_vision::document::Check {
        code: "not_expired",
        passed,
    });
    check(
        &expired,
        json!({}),
        false,
        (EXPIRED_DOCUMENT, &["expired_document"]),
    );

    let mut implausible = reading("090116", "FRA");
    implausible.checks.push(btrust_vision::document::Check {
        code: "birth_date_plausible",
        passed,
    });
    check(
        &implausible,
        json!({ "minimumAge": 18 }),
        false,
        (REJECTED, &["birth_date_implausible", "too_young"]),
    );
}

#[test]
fn a_page_without_its_zone_or_portrait_is_asked_for_again() {
    let mut reading = reading("740812", "FRA");
    reading.portrait = None;
    let reasons = vec!["no_portrait".to_owned()];
    assert_eq!(
        conclude(&reading, &parsed(json!({})), false, TODAY),
        Conclusion::Another { reasons }
    );
    reading.mrz = None;
    let reasons = vec!["mrz_not_found".to_owned()];
    assert_eq!(
        conclude(&reading, &parsed(json!({})), false, TODAY),
        Conclusion::Another { reasons }
    );
}

/// Sends the same unusable picture until the step gives up.
async fn check_unreadable(bytes: Vec<u8>, reasons: &[&str]) {
    let bench = Bench::new().await;
    let ocr = Ocr::new(vision());
    let picture = bench.store("image/png", bytes).await;
    let mut last = bench
        .first(&ocr, json!({ "maxAttempts": 2, "ttlSeconds": 60 }))
        .await;
    assert_eq!(asked(&last).kind, "document-front");
    assert_eq!(asked(&last).expires_in_ms, 60_000);
    assert_eq!(
        asked(&last).body,
        json!({ "reasons": [], "attemptsLeft": 2 })
    );
    last = bench
        .answer(&ocr, &last, json!({ "picture": picture }))
        .await;
    assert_eq!(
        asked(&last).body,
        json!({ "reasons": reasons, "attemptsLeft": 1 })
    );
    let (outcome, output) = completed(
        bench
            .answer(&ocr, &last, json!({ "picture": picture }))
            .await,
    );
    assert_eq!(outcome, UNREADABLE);
    assert_eq!(
        (&output["reasons"], &output["nPictures"]),
        (&json!(reasons), &json!(2))
    );
    assert_eq!(
        output["page"].is_null(),
        reasons == ["picture_format_unknown"],
        "reviewers see the page if it is a picture"
    );
    assert_eq!(
        (&output["portrait"], &output["needsReview"]),
        (&Value::Null, &json!(true))
    );
}

#[tokio::test]
async fn bytes_that_are_no_picture_cost_an_attempt_and_say_why() {
    check_unreadable(b"%PDF-1.7".to_vec(), &["picture_format_unknown"]).await;
}

#[tokio::test]
async fn a_picture_without_a_document_is_refused_with_its_reasons() {
    check_unreadable(
        Picture::filled(800, 600, [180; 3]).to_png(),
        &["no_document", "too_blurry"],
    )
    .await;
}

#[tokio::test]
async fn silence_expires() {
    let bench = Bench::new().await;
    let ocr = Ocr::new(vision());
    let first = bench.first(&ocr, json!({})).await;
    assert_eq!(completed(bench.expire(&ocr, &first).await).0, EXPIRED);
}
