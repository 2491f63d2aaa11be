//! The items in the bytes of a file, by the rules of `ReaderConfig`.
//!
//! No cause repeats what the file says: it is somebody's data, and causes are part of the history.

use std::collections::HashMap;

use serde_json::{Map, Value};

use btrust_schemas::step::read_items::{Delimiter, HeaderLocation, InputType, ReaderConfig};

use super::read::{ANSWER_BYTES_MAX, FILE_BYTES_MAX};

/// Items that one file may give.
///
/// Source: `MAP_ITEMS_MAX` of the machine, which takes no more for one `Map`.
pub const ITEMS_MAX: usize = 1_000;

/// Deepest nesting of an item. The machine takes 100 levels, and an item is put below some of them.
pub const ITEM_DEPTH_MAX: usize = 64;

/// Most bytes in the names of all columns. Source: `ReaderConfig` of AWS Step Functions.
pub const HEADER_BYTES_MAX: usize = 10 * 1024;

/// Why a file has no items for the `Map`; the text is the cause of the failure.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("the file is larger than {FILE_BYTES_MAX} bytes")]
    FileTooLarge,
    #[error("the file has more than {ITEMS_MAX} items; MaxItems takes the first of them")]
    TooManyItems,
    #[error("the items are larger than {ANSWER_BYTES_MAX} bytes; MaxItems takes the first of them")]
    AnswerTooLarge,
    #[error("item {0}, counted from 0, is nested deeper than {ITEM_DEPTH_MAX} levels")]
    TooDeep(usize),
    #[error("the names of the columns are longer than {HEADER_BYTES_MAX} bytes")]
    HeaderTooLarge,
    #[error("ReaderConfig: {0}")]
    Config(&'static str),
    #[error("the file is not UTF-8")]
    NotText,
    #[error("the file is not JSON at line {line}, column {column}")]
    NotJson { line: usize, column: usize },
    #[error("ItemsPointer names nothing in the document")]
    NothingThere,
    #[error("{0} is not an array")]
    NotAnArray(&'static str),
    #[error("row {0}, counted from 1, cannot be read")]
    Row(u64),
    #[error("columns {0} and {1}, counted from 1, have the same name")]
    SameName(usize, usize),
}

/// The items of a file, in its order.
///
/// # Errors
///
/// [`Unreadable`]; trying again does not help.
pub fn items(bytes: &[u8], config: &ReaderConfig) -> Result<Vec<Value>, Unreadable> {
    check(config)?;
    let text = std::str::from_utf8(bytes).map_err(|_| Unreadable::NotText)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut taken = Taken::new(config.max_items);
    match config.input_type {
        InputType::Json => take_json(text, config.items_pointer.as_deref(), &mut taken)?,
        InputType::Jsonl => take_lines(text, &mut taken)?,
        InputType::Csv => take_rows(text, config, &mut taken)?,
    }
    Ok(taken.items)
}

/// Refuses fields that do not go together.
fn check(config: &ReaderConfig) -> Result<(), Unreadable> {
    let refuse = |why| Err(Unreadable::Config(why));
    if config.max_items == Some(0) {
        return refuse("MaxItems is at least 1");
    }
    if config.input_type != InputType::Json && config.items_pointer.is_some() {
        return refuse("ItemsPointer belongs to the InputType JSON");
    }
    let is_csv = config.input_type == InputType::Csv;
    match (config.csv_header_location, &config.csv_headers) {
        (None, _) if is_csv => refuse("the InputType CSV needs CSVHeaderLocation"),
        (None, None) if config.csv_delimiter.is_none() => Ok(()),
        _ if !is_csv => refuse("fields that begin with CSV belong to the InputType CSV"),
        (Some(HeaderLocation::Given), None) => refuse("GIVEN needs CSVHeaders"),
        (Some(HeaderLocation::Given), Some(names)) if names.is_empty() => {
            refuse("CSVHeaders names no column")
        }
        (Some(HeaderLocation::FirstRow), Some(_)) => refuse("FIRST_ROW has no CSVHeaders"),
        _ => Ok(()),
    }
}

/// The items read so far, and how many are wanted.
struct Taken {
    items: Vec<Value>,
    wanted: Option<usize>,
}

impl Taken {
    fn new(max_items: Option<u32>) -> Self {
        Self {
            items: Vec::new(),
            wanted: max_items.map(|it| usize::try_from(it).unwrap_or(usize::MAX)),
        }
    }

    fn has_all(&self) -> bool {
        self.wanted.is_some_and(|it| it <= self.items.len())
    }

    fn take(&mut self, item: Value) -> Result<(), Unreadable> {
        if ITEMS_MAX <= self.items.len() {
            return Err(Unreadable::TooManyItems);
        }
        if is_deeper(&item, ITEM_DEPTH_MAX) {
            return Err(Unreadable::TooDeep(self.items.len()));
        }
        self.items.push(item);
        Ok(())
    }
}

/// Whether a value has more than `levels` levels. `serde_json` has read it, so it has at most 128.
fn is_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|it| is_deeper(it, levels - 1)),
        Value::Object(fields) => levels == 0 || fields.values().any(|it| is_deeper(it, levels - 1)),
        _ => false,
    }
}

fn take_json(text: &str, pointer: Option<&str>, taken: &mut Taken) -> Result<(), Unreadable> {
    let mut document = parse_json(text, 0)?;
    let found = match pointer {
        None => &mut document,
        Some(it) => document.pointer_mut(it).ok_or(Unreadable::NothingThere)?,
    };
    let Value::Array(items) = found.take() else {
        return Err(Unreadable::NotAnArray(match pointer {
            None => "the document",
            Some(_) => "what ItemsPointer names",
        }));
    };
    for item in items {
        if taken.has_all() {
            break;
        }
        taken.take(item)?;
    }
    Ok(())
}

fn take_lines(text: &str, taken: &mut Taken) -> Result<(), Unreadable> {
    for (n_before, line) in text.lines().enumerate() {
        if taken.has_all() {
            break;
        }
        if !line.trim().is_empty() {
            taken.take(parse_json(line, n_before)?)?;
        }
    }
    Ok(())
}

fn parse_json(text: &str, n_lines_before: usize) -> Result<Value, Unreadable> {
    serde_json::from_str(text).map_err(|error| Unreadable::NotJson {
        line: n_lines_before + error.line(),
        column: error.column(),
    })
}

/// Every row is an object of texts: what a row lacks is empty, what it has too much is dropped.
///
/// Within double quotes a backslash or another double quote escapes; outside of them a backslash is
/// an ordinary character.
fn take_rows(text: &str, config: &ReaderConfig, taken: &mut Taken) -> Result<(), Unreadable> {
    let delimiter = match config.csv_delimiter.unwrap_or_default() {
        Delimiter::Comma => b',',
        Delimiter::Pipe => b'|',
        Delimiter::Semicolon => b';',
        Delimiter::Space => b' ',
        Delimiter::Tab => b'\t',
    };
    let mut rows = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .escape(Some(b'\\'))
        .from_reader(text.as_bytes());
    let mut n_rows = 0;
    let mut row = csv::StringRecord::new();
    let mut names = config.csv_headers.clone();
    if let Some(names) = &names {
        check_names(names)?;
    }
    while !taken.has_all() {
        n_rows += 1;
        let has_row = rows.read_record(&mut row);
        if !has_row.map_err(|_| Unreadable::Row(n_rows))? {
            break;
        }
        let Some(names) = &names else {
            let first: Vec<String> = row.iter().map(str::to_owned).collect();
            check_names(&first)?;
            names = Some(first);
            continue;
        };
        let item: Map<String, Value> = names
            .iter()
            .enumerate()
            .map(|(column, name)| (name.clone(), row.get(column).unwrap_or("").into()))
            .collect();
        taken.take(Value::Object(item))?;
    }
    Ok(())
}

fn check_names(names: &[String]) -> Result<(), Unreadable> {
    if HEADER_BYTES_MAX < names.iter().map(|it| it.len() + 1).sum() {
        return Err(Unreadable::HeaderTooLarge);
    }
    let mut columns = HashMap::new();
    for (index, name) in names.iter().enumerate() {
        if let Some(earlier) = columns.insert(name, index + 1) {
            return Err(Unreadable::SameName(earlier, index + 1));
        }
    }
    Ok(())
}
