//! Parses `BTrust.ContinueAsNew`.

use serde_json::{Map, Value};

use super::super::reader::Reader;
use super::super::states::Again;
use super::super::template::Template;
use super::CONTINUE;
use crate::finding::at;

/// Largest version of a definition that can be named.
const VERSION_MAX: i64 = u32::MAX as i64;

pub(super) fn read(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    pointer: &str,
) -> Option<Again> {
    let written = fields.get(CONTINUE)?;
    if fields.contains_key("Output") {
        reader.error(
            "continue_with_output",
            &at(pointer, "Output"),
            "what goes on as another workflow has no output",
            "write it as `input` of the next run, or remove it",
        );
    }
    let pointer = at(pointer, CONTINUE);
    let fields = reader.object(written, &pointer)?;
    let mut input = None;
    for (key, value) in fields {
        if key == "version" {
            continue;
        }
        let (name, template) = Template::parse_field(reader, key, value, &pointer, 0);
        if name == "input" {
            input = Some(template);
        } else {
            reader.only(fields, &pointer, &["input", "version"]);
        }
    }
    let version = reader.whole(fields, "version", &pointer, 1..=VERSION_MAX);
    Some(Again {
        input,
        version: version.and_then(|it| u32::try_from(it).ok()),
    })
}
