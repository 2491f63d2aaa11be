//! Parses the states: the rules of the Amazon States Language.

use serde_json::Value;

use super::reader::Reader;
use super::states::Machine;

pub(super) fn root(_reader: &mut Reader, _value: &Value, _pointer: &str, _contracts: Option<&Value>) -> Option<Machine> {
    None
}
