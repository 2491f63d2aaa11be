//! `kyc:write-results`: the results of a `Map` go to a stored file.

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;

use btrust_schemas::step::write_results::{Arguments, Output, OutputType, WRITTEN};
use btrust_schemas::turn::{TurnInput, TurnResult};

use super::{IN_FLIGHT_MAX, renamed};
use crate::runtime::{Context, Fault, Step, arguments, complete};

/// What a `Map` catches when its results cannot be written. Source: states-language.net.
pub const ERROR_RESULT_WRITER_FAILED: &str = "States.ResultWriterFailed";

/// Names the file among the objects of a task; another number when the bytes of equal results change.
const PURPOSE: &str = "map-results-1";

pub struct WriteResults;

#[async_trait]
impl Step for WriteResults {
    fn name(&self) -> &'static str {
        "write-results"
    }

    fn in_flight_max(&self) -> u32 {
        IN_FLIGHT_MAX
    }

    async fn turn(&self, context: &Context, input: TurnInput) -> Result<TurnResult, Fault> {
        write(context, &input)
            .await
            .map_err(|fault| renamed(fault, ERROR_RESULT_WRITER_FAILED))
    }
}

async fn write(context: &Context, input: &TurnInput) -> Result<TurnResult, Fault> {
    let Arguments { config, results } = arguments(input)?;
    let count = results.len();
    let (media_type, bytes) = match config.output_type {
        OutputType::Json => ("application/json", Value::Array(results).to_string()),
        OutputType::Jsonl => {
            let mut lines = String::new();
            for result in &results {
                lines.push_str(&result.to_string());
                lines.push('\n');
            }
            ("application/jsonl", lines)
        }
    };
    // A redelivered turn stores the same bytes in the same place: there is nothing to checkpoint.
    let result = context
        .store_once(PURPOSE, media_type, Bytes::from(bytes))
        .await?;
    complete(WRITTEN, &Output { result, count })
}
