//! `kyc:read-items`: the items of a `Map` come from a stored file.

use async_trait::async_trait;
use serde_json::Value;

use btrust_schemas::step::read_items::{Arguments, Output, READ};
use btrust_schemas::turn::{TurnInput, TurnResult};

use super::parse::{self, Unreadable};
use super::{IN_FLIGHT_MAX, renamed};
use crate::runtime::{Context, Fault, Step, arguments, complete};

/// What a `Map` catches when its items cannot be had. Source: states-language.net.
pub const ERROR_ITEM_READER_FAILED: &str = "States.ItemReaderFailed";

/// Largest file, in bytes: sixteen times the largest answer, for what a pointer or `MaxItems` passes over.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Largest answer, in bytes of JSON.
///
/// Source: the payload quota of AWS Step Functions, which the engine keeps for every result.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;

pub struct ReadItems;

#[async_trait]
impl Step for ReadItems {
    fn name(&self) -> &'static str {
        "read-items"
    }

    fn in_flight_max(&self) -> u32 {
        IN_FLIGHT_MAX
    }

    async fn turn(&self, context: &Context, input: TurnInput) -> Result<TurnResult, Fault> {
        read(context, &input)
            .await
            .map_err(|fault| renamed(fault, ERROR_ITEM_READER_FAILED))
    }
}

async fn read(context: &Context, input: &TurnInput) -> Result<TurnResult, Fault> {
    let Arguments { object, config } = arguments(input)?;
    if FILE_BYTES_MAX < object.bytes {
        return Err(refused(&Unreadable::FileTooLarge));
    }
    let bytes = context.read(&object).await?;
    let parsed = context.compute(move || {
        let items = parse::items(&bytes, &config)?;
        limit_answer(items)
    });
    let items = parsed.await?.map_err(|it| refused(&it))?;
    complete(READ, &Output { items })
}

/// Refuses what the engine would not take.
fn limit_answer(items: Vec<Value>) -> Result<Vec<Value>, Unreadable> {
    let output = Output { items };
    let size_bytes = serde_json::to_vec(&output).map_or(usize::MAX, |it| it.len());
    if ANSWER_BYTES_MAX < size_bytes {
        return Err(Unreadable::AnswerTooLarge);
    }
    Ok(output.items)
}

fn refused(unreadable: &Unreadable) -> Fault {
    Fault::failed(ERROR_ITEM_READER_FAILED, unreadable.to_string())
}
