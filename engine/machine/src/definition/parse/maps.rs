//! Parses `Map`.

use serde_json::{Map, Value};

use super::super::reader::Reader;
use super::super::states::{Batcher, Items, Language, MapDef, Number, Transfer};
use super::kinds::{read_arguments, read_number, refuse_decisions};
use super::{handlers, level, paths, tasks};
use crate::finding::at;
use crate::limits::PAYLOAD_BYTES_MAX;

/// More than any `Map` has.
const COUNT_MAX: f64 = 1e9;

pub(super) fn read(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    pointer: &str,
) -> Option<MapDef> {
    // `Iterator` and `Parameters` are the older spelling of `ItemProcessor` and `ItemSelector`.
    let name = if fields.contains_key("Iterator") {
        "Iterator"
    } else {
        "ItemProcessor"
    };
    let Some(written) = fields.get(name) else {
        reader.missing("ItemProcessor", pointer);
        return None;
    };
    let processor_pointer = at(pointer, name);
    let processor = level(reader, written, &processor_pointer, &["ProcessorConfig"])?;
    refuse_decisions(reader, &processor);
    let is_distributed = read_mode(reader, written, &processor_pointer);
    let selector = paths::read_template(reader, fields, "ItemSelector", pointer)
        .or_else(|| paths::read_template(reader, fields, "Parameters", pointer));
    if !is_distributed {
        refuse_distributed_fields(reader, fields, pointer);
    }
    Some(MapDef {
        items: read_items(reader, fields, pointer),
        reader: read_transfer(reader, fields, "ItemReader", "ReaderConfig", pointer),
        selector,
        batcher: read_batcher(reader, fields, pointer),
        processor,
        is_distributed,
        concurrency: read_number(reader, fields, "MaxConcurrency", COUNT_MAX, pointer)
            .unwrap_or(Number::Literal(0.0)),
        tolerated_count: read_number(reader, fields, "ToleratedFailureCount", COUNT_MAX, pointer),
        tolerated_percentage: read_number(
            reader,
            fields,
            "ToleratedFailurePercentage",
            100.0,
            pointer,
        ),
        writer: read_transfer(reader, fields, "ResultWriter", "WriterConfig", pointer),
        handlers: handlers::read(reader, fields, pointer),
    })
}

/// Whether the processor is distributed.
fn read_mode(reader: &mut Reader, processor: &Value, pointer: &str) -> bool {
    let Some(config) = processor.get("ProcessorConfig") else {
        return false;
    };
    let pointer = at(pointer, "ProcessorConfig");
    let Some(fields) = reader.object(config, &pointer) else {
        return false;
    };
    reader.only(fields, &pointer, &["Mode", "ExecutionType"]);
    match reader.text(fields, "Mode", &pointer) {
        None | Some("INLINE") => false,
        Some("DISTRIBUTED") => true,
        Some(_) => {
            let place = at(&pointer, "Mode");
            let message = "`Mode` is `INLINE` or `DISTRIBUTED`";
            reader.error("mode_unknown", &place, message, "write one of them");
            false
        }
    }
}

fn refuse_distributed_fields(reader: &mut Reader, fields: &Map<String, Value>, pointer: &str) {
    for name in ["ItemReader", "ItemBatcher", "ResultWriter"] {
        if fields.contains_key(name) {
            reader.error(
                "mode_mismatch",
                &at(pointer, name),
                format!("`{name}` belongs to a distributed `Map`"),
                "write `\"ProcessorConfig\": {\"Mode\": \"DISTRIBUTED\"}` in the processor",
            );
        }
    }
}

fn read_items(reader: &mut Reader, fields: &Map<String, Value>, pointer: &str) -> Items {
    match reader.language {
        Language::Jsonata => paths::read_template(reader, fields, "Items", pointer)
            .map_or(Items::Input, Items::Template),
        Language::JsonPath => {
            paths::read_path(reader, fields, "ItemsPath", pointer).map_or(Items::Input, Items::Path)
        }
    }
}

fn read_transfer(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    name: &str,
    config: &str,
    pointer: &str,
) -> Option<Transfer> {
    let pointer = at(pointer, name);
    let fields = reader.object(fields.get(name)?, &pointer)?;
    reader.only(
        fields,
        &pointer,
        &["Resource", config, "Arguments", "Parameters"],
    );
    let (resource, _) = tasks::read_resource(reader, fields, &pointer)?;
    Some(Transfer {
        resource,
        outcomes: None,
        config: fields
            .get(config)
            .cloned()
            .unwrap_or_else(|| Value::Object(Map::new()))
            .into(),
        arguments: read_arguments(reader, fields, &pointer),
    })
}

fn read_batcher(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    pointer: &str,
) -> Option<Batcher> {
    let pointer = at(pointer, "ItemBatcher");
    let fields = reader.object(fields.get("ItemBatcher")?, &pointer)?;
    let known = [
        "MaxItemsPerBatch",
        "MaxItemsPerBatchPath",
        "MaxInputBytesPerBatch",
        "MaxInputBytesPerBatchPath",
        "BatchInput",
    ];
    reader.only(fields, &pointer, &known);
    #[expect(clippy::cast_precision_loss, reason = "256 KiB is exact")]
    let bytes_max = PAYLOAD_BYTES_MAX as f64;
    Some(Batcher {
        items_max: read_number(reader, fields, "MaxItemsPerBatch", COUNT_MAX, &pointer),
        bytes_max: read_number(reader, fields, "MaxInputBytesPerBatch", bytes_max, &pointer),
        input: paths::read_template(reader, fields, "BatchInput", &pointer),
    })
}
