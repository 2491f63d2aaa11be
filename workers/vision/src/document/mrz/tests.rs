use proptest::prelude::*;

use super::glyph::are_congruent;
use super::layout::Alphabet;
use super::*;

/// Source: the specimens of ICAO Doc 9303, parts 4 to 7.
const PUBLISHED: &[(Format, &[&str], &str)] = &[
    (
        Format::Td3,
        &[
            "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<",
            "L898902C36UTO7408122F1204159ZE184226B<<<<<10",
        ],
        "L898902C3",
    ),
    (
        Format::Td2,
        &[
            "I<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<",
            "D231458907UTO7408122F1204159<<<<<<<6",
        ],
        "D23145890",
    ),
    (
        Format::Td1,
        &[
            "I<UTOD231458907<<<<<<<<<<<<<<<",
            "7408122F1204159UTO<<<<<<<<<<<6",
            "ERIKSSON<<ANNA<MARIA<<<<<<<<<<",
        ],
        "D23145890",
    ),
    (
        Format::MrvA,
        &[
            "V<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<",
            "L8988901C4XXX4009078F96121096ZE184226B<<<<<<",
        ],
        "L8988901C",
    ),
    (
        Format::MrvB,
        &[
            "V<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<",
            "L8988901C4XXX4009078F9612109<<<<<<<<",
        ],
        "L8988901C",
    ),
];

fn certain(value: impl Into<String>, protected: bool) -> Field {
    Field {
        value: value.into(),
        protected,
        confidence: 1.0,
    }
}

fn glyphs(lines: &[impl AsRef<str>]) -> Vec<Vec<Glyph>> {
    lines.iter().map(|it| certain_line(it.as_ref())).collect()
}

#[test]
fn the_published_specimens_are_read() {
    for (format, lines, number) in PUBLISHED {
        let mrz = parse(&glyphs(lines)).unwrap();
        assert_eq!(mrz.format, *format);
        assert_eq!(mrz.lines, *lines);
        assert_eq!(mrz.document_number, certain(*number, true));
        assert_eq!(mrz.primary_identifier.value, "ERIKSSON");
        assert_eq!(mrz.secondary_identifier.value, "ANNA MARIA");
        assert!(
            !mrz.primary_identifier.protected && !mrz.nationality.protected && !mrz.sex.protected
        );
        assert!(mrz.repairs.is_empty());
    }
}

#[test]
fn a_letter_in_a_date_and_a_digit_in_a_name_are_repaired() {
    let lines = [
        "P<UT0ERIKSS0N<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<",
        "L898902C36UT074O8I22F12O4159ZE184226B<<<<<1O",
    ];
    let mrz = parse(&glyphs(&lines)).unwrap();
    assert_eq!(mrz.lines, PUBLISHED[0].1);
    assert_eq!(mrz.repairs.len(), 7);
}

#[test]
fn a_zero_in_a_state_is_the_letter_that_makes_it_a_state() {
    let lines = [
        "I<D<<T220001293<<<<<<<<<<<<<<<",
        "6408125<20103150<<<<<<<<<<<<<4",
        "MUSTERMANN<<ERIKA<<<<<<<<<<<<<",
    ];
    assert_eq!(parse(&glyphs(&lines)).unwrap().nationality.value, "D");
}

#[test]
fn a_lost_run_of_fillers_is_put_back() {
    let lines = [
        "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<",
        "L898902C36UTO7408122F1204159ZE184226B<<10",
    ];
    assert_eq!(parse(&glyphs(&lines)).unwrap().lines, PUBLISHED[0].1);
}

#[test]
fn a_wrong_digit_is_refused_by_the_name_of_its_check_digit() {
    let lines = [
        PUBLISHED[0].1[0],
        "L898902C36UTO7408132F1204159ZE184226B<<<<<10",
    ];
    let refusal = parse(&glyphs(&lines)).unwrap_err();
    let failed = vec![CheckDigit::BirthDate, CheckDigit::Composite];
    assert_eq!(
        refusal,
        Refusal::CheckDigits {
            format: Format::Td3,
            failed
        }
    );
}

#[test]
fn a_rival_of_the_reader_is_taken_only_when_it_alone_passes() {
    let mut lines = glyphs(PUBLISHED[0].1);
    lines[1][3] = Glyph {
        symbol: b'B',
        rivals: vec![(b'8', 0.2), (b'3', 0.1)],
    };
    let mrz = parse(&lines).unwrap();
    assert_eq!(mrz.document_number.value, "L898902C3");
    assert_eq!(mrz.repairs[0].proof, Proof::CheckDigit);
    lines[1][3].rivals = vec![(b'9', 0.2), (b'3', 0.1)];
    let failed = vec![CheckDigit::DocumentNumber, CheckDigit::Composite];
    assert_eq!(
        parse(&lines).unwrap_err(),
        Refusal::CheckDigits {
            format: Format::Td3,
            failed
        }
    );
    lines[1][3].rivals = vec![(b'8', 0.2), (b'S', 0.1)];
    assert_eq!(
        parse(&lines).unwrap_err(),
        Refusal::Ambiguous {
            format: Format::Td3
        }
    );
}

#[test]
fn a_symbol_that_no_check_digit_tells_apart_takes_the_protection_away() {
    let mut lines = glyphs(PUBLISHED[0].1);
    lines[1][1] = Glyph {
        symbol: b'8',
        rivals: vec![(b'S', 0.2)],
    };
    let number = parse(&lines).unwrap().document_number;
    assert_eq!(
        number,
        Field {
            confidence: 0.8,
            ..certain("L898902C3", false)
        }
    );
}

#[test]
fn a_card_number_of_fourteen_symbols_goes_on_in_the_optional_field() {
    let contents = Contents {
        document_number: "D23145890AB112".to_owned(),
        ..contents_of(Format::Td1)
    };
    let lines = compose(&contents).unwrap();
    let mrz = parse(&glyphs(&lines)).unwrap();
    assert_eq!(
        mrz.document_number,
        certain("D23145890AB112".to_owned(), true)
    );
}

#[test]
fn a_date_that_cannot_be_is_refused_though_its_digits_pass() {
    let contents = Contents {
        expiry_date: "301331".to_owned(),
        ..contents_of(Format::Td3)
    };
    let refusal = parse(&glyphs(&compose(&contents).unwrap())).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::Date {
            format: Format::Td3,
            slot: Slot::ExpiryDate
        }
    );
}

#[test]
fn text_that_is_no_zone_is_no_zone() {
    let lines = ["Surname", "Given names"];
    assert_eq!(
        parse(&glyphs(&lines)).unwrap_err(),
        Refusal::NotAZone { n_lines: 2 }
    );
    assert_eq!(parse(&[]).unwrap_err(), Refusal::NotAZone { n_lines: 0 });
}

#[test]
fn contents_that_do_not_fit_are_not_written() {
    let long = Contents {
        document_number: "1234567890".to_owned(),
        ..contents_of(Format::Td3)
    };
    assert!(matches!(
        compose(&long),
        Err(ComposeError::TooLong {
            slot: Slot::DocumentNumber,
            ..
        })
    ));
    let lower = Contents {
        primary_identifier: "Müller".to_owned(),
        ..contents_of(Format::Td3)
    };
    assert_eq!(
        compose(&lower),
        Err(ComposeError::Alphabet { slot: Slot::Names })
    );
}

fn contents_of(format: Format) -> Contents {
    Contents {
        format,
        document_code: if matches!(format, Format::MrvA | Format::MrvB) {
            "V"
        } else {
            "P"
        }
        .to_owned(),
        issuing_state: "UTO".to_owned(),
        primary_identifier: "SPECIMEN".to_owned(),
        secondary_identifier: "TEST".to_owned(),
        document_number: "X12345678".to_owned(),
        nationality: "UTO".to_owned(),
        birth_date: "900101".to_owned(),
        sex: "F".to_owned(),
        expiry_date: "300101".to_owned(),
        optional_first: String::new(),
        optional_second: String::new(),
    }
}

fn any_date() -> impl Strategy<Value = String> {
    (0..100u32, 1..=12u32, 1..=28u32).prop_map(|(y, m, d)| format!("{y:02}{m:02}{d:02}"))
}

fn any_contents() -> impl Strategy<Value = Contents> {
    let names = ("[A-Z]{2,12}", "[A-Z]{2,8}( [A-Z]{2,6})?");
    let values = (
        "[A-Z0-9]{6,9}",
        any_date(),
        any_date(),
        "[MF]?",
        "([A-Z0-9]{1,7})?",
    );
    (prop::sample::select(Format::ALL.to_vec()), names, values).prop_map(
        |(format, names, values)| Contents {
            primary_identifier: names.0,
            secondary_identifier: names.1,
            document_number: values.0,
            birth_date: values.1,
            expiry_date: values.2,
            sex: values.3,
            optional_first: values.4,
            ..contents_of(format)
        },
    )
}

/// Places of the values that check digits protect.
fn protected_columns(format: Format) -> Vec<(usize, usize, Alphabet)> {
    let slots = [
        Slot::DocumentNumber,
        Slot::BirthDate,
        Slot::ExpiryDate,
        Slot::OptionalFirst,
    ];
    let is_visa = matches!(format, Format::MrvA | Format::MrvB);
    let places = format.places().iter().filter(|it| slots.contains(&it.slot));
    places
        .filter(|it| !(is_visa && it.slot == Slot::OptionalFirst))
        .flat_map(|it| {
            (it.span.start..it.span.end).map(|column| (it.span.line, column, it.alphabet))
        })
        .collect()
}

fn presented(mrz: &Mrz) -> [&Field; 4] {
    [
        &mrz.document_number,
        &mrz.birth_date,
        &mrz.expiry_date,
        &mrz.optional_first,
    ]
}

fn assert_no_wrong_protected_value(truth: &Mrz, read: &Mrz) {
    for (truth, read) in presented(truth).into_iter().zip(presented(read)) {
        assert!(
            !read.protected || read.value == truth.value,
            "{read:?} instead of {truth:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_composed_is_read_back(contents in any_contents()) {
        let lines = compose(&contents).unwrap();
        let mrz = parse(&glyphs(&lines)).unwrap();
        prop_assert_eq!(mrz.format, contents.format);
        prop_assert_eq!(&mrz.lines, &lines);
        prop_assert_eq!(mrz.primary_identifier.value, contents.primary_identifier);
        prop_assert_eq!(mrz.secondary_identifier.value, contents.secondary_identifier);
        prop_assert_eq!(mrz.document_number, certain(contents.document_number, true));
        prop_assert_eq!(mrz.birth_date.value, contents.birth_date);
        prop_assert_eq!(mrz.expiry_date.value, contents.expiry_date);
        prop_assert_eq!(mrz.sex.value, contents.sex);
        prop_assert_eq!(mrz.optional_first.value, contents.optional_first);
    }

    /// Every protected place, every other symbol that a check digit can tell apart: about 700 corruptions a case.
    #[test]
    fn one_corrupted_symbol_never_gives_another_value(contents in any_contents()) {
        let truth_lines = glyphs(&compose(&contents).unwrap());
        let truth = parse(&truth_lines).unwrap();
        for (line, column, alphabet) in protected_columns(contents.format) {
            for symbol in (b'0'..=b'9').chain(b'A'..=b'Z').chain([FILLER]) {
                let was = truth_lines[line][column].symbol;
                if symbol == was || (alphabet == Alphabet::Mixed && are_congruent(symbol, was)) {
                    continue;
                }
                let mut lines = truth_lines.clone();
                lines[line][column] = Glyph::certain(symbol);
                if let Ok(read) = parse(&lines) {
                    assert_no_wrong_protected_value(&truth, &read);
                }
            }
        }
    }

    /// A reader that is wrong, but gave the truth some weight, among rivals that are noise: any symbol, congruent or not.
    #[test]
    fn a_doubtful_reader_never_gives_another_protected_value(
        contents in any_contents(),
        corruptions in prop::collection::vec((any::<prop::sample::Index>(), 0..36usize, 0.005..0.4f32), 64),
        noise in prop::collection::vec((any::<prop::sample::Index>(), 0..36usize, 0.0..0.3f32), 6),
    ) {
        let symbols: Vec<u8> = (b'0'..=b'9').chain(b'A'..=b'Z').collect();
        let truth_lines = glyphs(&compose(&contents).unwrap());
        let truth = parse(&truth_lines).unwrap();
        let columns = protected_columns(contents.format);
        for (index, symbol, probability) in corruptions {
            let mut lines = truth_lines.clone();
            for (index, symbol, probability) in &noise {
                let &(line, column, _) = index.get(&columns);
                lines[line][column].rivals.push((symbols[*symbol], *probability));
            }
            let &(line, column, _) = index.get(&columns);
            let was = lines[line][column].symbol;
            lines[line][column] = Glyph { symbol: symbols[symbol], rivals: vec![(was, probability)] };
            if let Ok(read) = parse(&lines) {
                assert_no_wrong_protected_value(&truth, &read);
            }
        }
    }

    #[test]
    fn fillers_lost_from_the_end_of_the_names_change_nothing(contents in any_contents(), n_lost in 1..6usize) {
        let mut lines = compose(&contents).unwrap();
        let truth = parse(&glyphs(&lines)).unwrap();
        let names_line = if contents.format == Format::Td1 { 2 } else { 0 };
        let kept = lines[names_line].len() - n_lost;
        prop_assume!(lines[names_line][kept - 2..].bytes().all(|it| it == FILLER));
        lines[names_line].truncate(kept);
        prop_assert_eq!(parse(&glyphs(&lines)).unwrap(), truth);
    }

    #[test]
    fn arbitrary_lines_never_panic(lines in prop::collection::vec("[ -~]{0,50}", 0..5)) {
        let _ = parse(&glyphs(&lines));
    }
}
