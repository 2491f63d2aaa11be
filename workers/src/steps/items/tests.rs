use std::path::Path;

use btrust_schemas::object::ObjectRef;
use btrust_schemas::step::read_items::READ;
use btrust_schemas::step::write_results::WRITTEN;
use btrust_schemas::turn::{TurnReason, TurnResult};
use serde_json::{Value, json};

use super::parse::{HEADER_BYTES_MAX, ITEM_DEPTH_MAX, ITEMS_MAX};
use super::read::{ANSWER_BYTES_MAX, FILE_BYTES_MAX};
use super::{ReadItems, WriteResults};
use crate::runtime::Fault;
use crate::testing::{Bench, completed};

async fn read_object(
    bench: &Bench,
    object: &ObjectRef,
    config: Value,
) -> Result<TurnResult, Fault> {
    let arguments = json!({ "object": object, "config": config });
    bench.first(&ReadItems, arguments).await
}

async fn read(content: impl AsRef<[u8]>, config: Value) -> Result<TurnResult, Fault> {
    let bench = Bench::new().await;
    let object = bench.store("text/plain", content.as_ref().to_vec()).await;
    read_object(&bench, &object, config).await
}

/// The items of a file.
async fn items(content: impl AsRef<[u8]>, config: Value) -> Value {
    let (outcome, output) = completed(read(content, config).await);
    assert_eq!(outcome, READ);
    output["items"].clone()
}

/// Why a file was refused.
#[track_caller]
fn cause(result: Result<TurnResult, Fault>, name: &str) -> String {
    match result {
        Err(Fault::Failed { error, cause }) if error == name => cause,
        other => panic!("not refused with {name}: {other:?}"),
    }
}

async fn refusal(content: impl AsRef<[u8]>, config: Value) -> String {
    cause(read(content, config).await, "States.ItemReaderFailed")
}

fn csv() -> Value {
    json!({ "InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW" })
}

fn n_files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let paths = entries.map(|it| it.unwrap().path());
    paths
        .map(|it| if it.is_dir() { n_files(&it) } else { 1 })
        .sum()
}

#[tokio::test]
async fn a_csv_file_as_a_spreadsheet_writes_it_is_read() {
    let file = "\u{feff}name,note\r\n\"Levi, Noa\",\"said \"\"yes\"\"\r\ntwice\"\r\n\r\nדנה,\"a \\\"b\\\" \\\\ c\"\r\n";
    let expected = json!([
        { "name": "Levi, Noa", "note": "said \"yes\"\r\ntwice" },
        { "name": "דנה", "note": "a \"b\" \\ c" },
    ]);
    assert_eq!(items(file, csv()).await, expected);
}

#[tokio::test]
async fn a_short_row_is_filled_up_and_a_long_one_is_cut() {
    let expected = json!([{ "a": "1", "b": "" }, { "a": "2", "b": "3" }]);
    assert_eq!(items("a,b\n1\n2,3,4\n", csv()).await, expected);
}

#[tokio::test]
async fn given_names_make_the_first_row_an_item() {
    for (delimiter, sign) in [
        ("COMMA", ","),
        ("PIPE", "|"),
        ("SEMICOLON", ";"),
        ("SPACE", " "),
        ("TAB", "\t"),
    ] {
        let config = json!({
            "InputType": "CSV", "CSVHeaderLocation": "GIVEN",
            "CSVHeaders": ["id", "score"], "CSVDelimiter": delimiter,
        });
        let file = format!("1{sign}0.5\n2{sign}0.7");
        let expected = json!([{ "id": "1", "score": "0.5" }, { "id": "2", "score": "0.7" }]);
        assert_eq!(items(file, config).await, expected, "{delimiter}");
    }
}

#[tokio::test]
async fn a_pointer_finds_the_array_within_a_document() {
    let file = json!({ "a": { "b/c": [{ "id": 1 }, null, "three"] }, "n": 4 }).to_string();
    let config = |pointer| json!({ "InputType": "JSON", "ItemsPointer": pointer });
    let expected = json!([{ "id": 1 }, null, "three"]);
    assert_eq!(items(&file, config("/a/b~1c")).await, expected);
    assert_eq!(
        refusal(&file, config("/n")).await,
        "what ItemsPointer names is not an array"
    );
    assert_eq!(
        refusal(&file, config("/a/x")).await,
        "ItemsPointer names nothing in the document"
    );
    assert_eq!(
        refusal(&file, json!({ "InputType": "JSON" })).await,
        "the document is not an array"
    );
}

#[tokio::test]
async fn lines_are_items_and_empty_ones_are_none() {
    let config = json!({ "InputType": "JSONL" });
    let file = "\u{feff}{\"id\":1}\r\n\n[2]\n3\n";
    let expected = json!([{ "id": 1 }, [2], 3]);
    assert_eq!(items(file, config.clone()).await, expected);
    assert_eq!(items("", config).await, json!([]));
}

#[tokio::test]
async fn what_does_not_parse_is_refused_by_its_place_and_never_quoted() {
    let secret = "IL620108000000099999999";
    let jsonl = json!({ "InputType": "JSONL" });
    let why = refusal(format!("{{\"id\":1}}\n{{\"iban\":{secret}}}"), jsonl).await;
    assert_eq!(why, "the file is not JSON at line 2, column 9");
    let why = refusal(format!("[{secret}"), json!({ "InputType": "JSON" })).await;
    assert_eq!(why, "the file is not JSON at line 1, column 2");
    let why = refusal(b"name\n\xff\xfe", csv()).await;
    assert_eq!(why, "the file is not UTF-8");
    let why = refusal(format!("{secret},b,{secret}\n1,2,3"), csv()).await;
    assert_eq!(why, "columns 1 and 3, counted from 1, have the same name");
}

#[tokio::test]
async fn more_items_than_a_map_takes_are_refused_unless_only_the_first_are_wanted() {
    let lines = |n: usize| (0..n).map(|it| it.to_string() + "\n").collect::<String>();
    let mut config = json!({ "InputType": "JSONL" });
    let all = items(lines(ITEMS_MAX), config.clone()).await;
    assert_eq!(all.as_array().unwrap().len(), ITEMS_MAX);
    let array = json!(vec![0; ITEMS_MAX + 1]).to_string();
    for (file, config) in [
        (lines(ITEMS_MAX + 1), config.clone()),
        (array, json!({ "InputType": "JSON" })),
        (format!("id\n{}", lines(ITEMS_MAX + 1)), csv()),
    ] {
        let why = refusal(file, config).await;
        assert!(why.contains("more than 1000 items"), "{why}");
    }
    config["MaxItems"] = json!(2);
    // What comes after the wanted items is not even parsed.
    let file = format!("{}no JSON", lines(ITEMS_MAX + 1));
    assert_eq!(items(file, config).await, json!([0, 1]));
}

#[tokio::test]
async fn every_limit_is_refused_by_its_name() {
    let jsonl = || json!({ "InputType": "JSONL" });
    let text = |n| format!("\"{}\"", "x".repeat(n));
    let n_fitting = ANSWER_BYTES_MAX - r#"{"items":[""]}"#.len();
    let fitting = items(text(n_fitting), jsonl()).await;
    assert_eq!(fitting[0].to_string(), text(n_fitting));
    let why = refusal(text(n_fitting + 1), jsonl()).await;
    assert!(why.contains("larger than 262144 bytes"), "{why}");

    let nested = |n| "[".repeat(n) + &"]".repeat(n);
    items(nested(ITEM_DEPTH_MAX), jsonl()).await;
    let why = refusal("1\n".to_owned() + &nested(ITEM_DEPTH_MAX + 1), jsonl()).await;
    assert!(why.starts_with("item 1, counted from 0"), "{why}");
    let why = refusal(nested(100_000), jsonl()).await;
    assert!(why.contains("not JSON"), "{why}");

    let why = refusal("h".repeat(HEADER_BYTES_MAX) + "\n1", csv()).await;
    assert!(why.contains("names of the columns"), "{why}");

    let large = vec![b'\n'; usize::try_from(FILE_BYTES_MAX).unwrap() + 1];
    let why = refusal(large, jsonl()).await;
    assert!(why.contains("larger than 4194304 bytes"), "{why}");
}

#[tokio::test]
async fn a_configuration_that_contradicts_itself_is_refused() {
    let given = |names: Value| json!({ "InputType": "CSV", "CSVHeaderLocation": "GIVEN", "CSVHeaders": names });
    let first_row = |field: &str, value: Value| {
        let mut config = csv();
        config[field] = value;
        config
    };
    for (config, expected) in [
        (json!({ "InputType": "CSV" }), "needs CSVHeaderLocation"),
        (given(Value::Null), "GIVEN needs CSVHeaders"),
        (given(json!([])), "names no column"),
        (
            first_row("CSVHeaders", json!(["a"])),
            "FIRST_ROW has no CSVHeaders",
        ),
        (
            first_row("ItemsPointer", json!("/a")),
            "ItemsPointer belongs",
        ),
        (
            json!({ "InputType": "JSON", "CSVDelimiter": "TAB" }),
            "begin with CSV belong",
        ),
        (
            json!({ "InputType": "JSONL", "CSVHeaders": ["a"] }),
            "begin with CSV belong",
        ),
        (json!({ "InputType": "JSON", "MaxItems": 0 }), "at least 1"),
        (json!({ "InputType": "MANIFEST" }), "do not fit"),
        (json!({}), "do not fit"),
    ] {
        let why = refusal("[]", config.clone()).await;
        assert!(why.contains(expected), "{config}: {why}");
    }
}

#[tokio::test]
async fn a_reference_that_names_other_content_is_refused() {
    let bench = Bench::new().await;
    let object = bench.store("application/json", b"[1]".to_vec()).await;
    let config = json!({ "InputType": "JSON" });
    let wrong = ObjectRef {
        sha256: "0".repeat(64),
        ..object.clone()
    };
    let refused = read_object(&bench, &wrong, config.clone()).await;
    let why = cause(refused, "States.ItemReaderFailed");
    assert_eq!(why, format!("{} cannot be read", object.object));
    let read = read_object(&bench, &object, config).await;
    assert_eq!(completed(read).1, json!({ "items": [1] }));
}

#[tokio::test]
async fn what_is_written_is_read_again() {
    let bench = Bench::new().await;
    let results = json!([{ "name": "Noa\nLevi" }, [1.5, null], "three"]);
    for (config, media_type, input_type) in [
        (json!({}), "application/json", "JSON"),
        (json!({ "OutputType": "JSON" }), "application/json", "JSON"),
        (
            json!({ "OutputType": "JSONL" }),
            "application/jsonl",
            "JSONL",
        ),
    ] {
        let arguments = json!({ "config": config, "results": results });
        let (outcome, output) = completed(bench.first(&WriteResults, arguments).await);
        assert_eq!((outcome.as_str(), &output["count"]), (WRITTEN, &json!(3)));
        let object: ObjectRef = serde_json::from_value(output["result"].clone()).unwrap();
        assert_eq!(object.media_type, media_type);
        let read = read_object(&bench, &object, json!({ "InputType": input_type })).await;
        assert_eq!(completed(read).1["items"], results);
    }
}

#[tokio::test]
async fn a_turn_that_is_delivered_again_leaves_one_object() {
    let bench = Bench::new().await;
    let arguments = json!({ "config": {}, "results": [1, 2] });
    let first = completed(bench.first(&WriteResults, arguments.clone()).await);
    // The same task again: the worker died before its report, or its attempt ran out of time.
    let input = bench.input(&WriteResults, TurnReason::First, None);
    let second = completed(bench.run(&WriteResults, input).await);
    assert_eq!(first, second);
    assert_eq!(n_files(&bench.data_dir.objects()), 1);

    // Another task is another file, whatever it holds.
    let other = completed(bench.first(&WriteResults, arguments).await);
    assert_ne!(first.1["result"]["object"], other.1["result"]["object"]);
    assert_eq!(n_files(&bench.data_dir.objects()), 2);
}

#[tokio::test]
async fn results_that_cannot_be_stored_fail_by_the_name_that_a_map_catches() {
    let bench = Bench::new().await;
    let folder = bench.data_dir.objects();
    std::fs::write(&folder, b"a file where the folder should be").unwrap();
    let arguments = json!({ "config": {}, "results": [1] });
    let failed = bench.first(&WriteResults, arguments).await;
    let why = cause(failed, "States.ResultWriterFailed");
    assert_eq!(why, "the object store did not answer");
}
