//! Parses the data flow of JSONPath states.

use serde_json::{Map, Value};

use super::super::reader::Reader;
use super::super::states::{Language, Paths, Placement, Selection};
use super::super::template::Template;
use crate::finding::at;
use crate::jsonpath::{Path, ReferencePath};

/// The data flow of a state; a JSONata state has none of its own.
pub(super) fn read(reader: &mut Reader, fields: &Map<String, Value>, pointer: &str) -> Paths {
    if reader.language == Language::Jsonata {
        return Paths::default();
    }
    Paths {
        input: read_selection(reader, fields, "InputPath", pointer),
        selector: read_template(reader, fields, "ResultSelector", pointer),
        result: read_placement(reader, fields, pointer),
        output: read_selection(reader, fields, "OutputPath", pointer),
    }
}

/// A payload template that may be there.
pub(super) fn read_template(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    name: &str,
    pointer: &str,
) -> Option<Template> {
    let value = fields.get(name)?;
    Some(Template::parse(reader, value, &at(pointer, name)))
}

fn read_selection(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    name: &str,
    pointer: &str,
) -> Selection {
    match fields.get(name) {
        None => Selection::Whole,
        Some(Value::Null) => Selection::Nothing,
        Some(Value::String(text)) if text == "$" => Selection::Whole,
        Some(_) => {
            read_path(reader, fields, name, pointer).map_or(Selection::Whole, Selection::Path)
        }
    }
}

/// `ResultPath` of a state or a catcher.
pub(super) fn read_placement(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    pointer: &str,
) -> Placement {
    if reader.language == Language::Jsonata {
        return Placement::Whole;
    }
    let place = at(pointer, "ResultPath");
    let text = match fields.get("ResultPath") {
        None => return Placement::Whole,
        Some(Value::Null) => return Placement::Discard,
        Some(Value::String(text)) if text == "$" => return Placement::Whole,
        Some(Value::String(text)) => text,
        Some(_) => {
            let fix = "write a path such as `$.result`";
            reader.error("wrong_type", &place, "`ResultPath` is a text or null", fix);
            return Placement::Whole;
        }
    };
    match ReferencePath::parse(text) {
        Ok(path) => Placement::At(path),
        Err(message) => {
            let fix = "write a path of plain fields such as `$.a.b`";
            reader.error("path_invalid", &place, message, fix);
            Placement::Whole
        }
    }
}

/// A path that may be there.
pub(super) fn read_path(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    name: &str,
    pointer: &str,
) -> Option<Path> {
    let text = reader.text(fields, name, pointer)?;
    match Path::parse(text) {
        Ok(path) => Some(path),
        Err(message) => {
            let fix = "write a path such as `$.a.b`";
            reader.error("path_invalid", &at(pointer, name), message, fix);
            None
        }
    }
}
