//! ONNX files as protobuf: just enough to rewrite one or to write a new one.
//!
//! A [`Message`] keeps every field in order, also those that nobody here
//! knows, so that what is not rewritten is stored as it was.

/// Why bytes are not the ONNX model that we expected.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OnnxError {
    #[error("the model ends in the middle of a field")]
    Truncated,
    #[error("the model holds a field of wire type {0}, which protobuf 3 does not write")]
    WireType(u64),
    #[error("the model lacks {0}")]
    Missing(&'static str),
    #[error("the model holds {0}, which is not converted")]
    Unsupported(String),
}

/// The value of one field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(Vec<u8>),
    Fixed32([u8; 4]),
}

/// One protobuf message: its fields in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Message {
    pub fields: Vec<(u32, Value)>,
}

impl Message {
    /// Splits a message into its fields; those of nested messages stay bytes.
    ///
    /// # Errors
    ///
    /// The bytes are not protobuf.
    pub fn parse(mut bytes: &[u8]) -> Result<Self, OnnxError> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = read_varint(&mut bytes)?;
            let number = u32::try_from(key >> 3).map_err(|_| OnnxError::Truncated)?;
            let value = match key & 7 {
                0 => Value::Varint(read_varint(&mut bytes)?),
                1 => Value::Fixed64(take_array(&mut bytes)?),
                2 => {
                    let length = usize::try_from(read_varint(&mut bytes)?)
                        .map_err(|_| OnnxError::Truncated)?;
                    Value::Bytes(take(&mut bytes, length)?.to_vec())
                }
                5 => Value::Fixed32(take_array(&mut bytes)?),
                other => return Err(OnnxError::WireType(other)),
            };
            fields.push((number, value));
        }
        Ok(Self { fields })
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, value) in &self.fields {
            let (wire_type, payload): (u64, &[u8]) = match value {
                Value::Varint(_) => (0, &[]),
                Value::Fixed64(it) => (1, it),
                Value::Bytes(it) => (2, it),
                Value::Fixed32(it) => (5, it),
            };
            write_varint(&mut bytes, u64::from(*number) << 3 | wire_type);
            match value {
                Value::Varint(it) => write_varint(&mut bytes, *it),
                Value::Bytes(it) => write_varint(&mut bytes, it.len() as u64),
                Value::Fixed64(_) | Value::Fixed32(_) => {}
            }
            bytes.extend_from_slice(payload);
        }
        bytes
    }

    /// The byte strings of a repeated field, in order.
    pub fn all(&self, number: u32) -> impl Iterator<Item = &[u8]> {
        self.fields
            .iter()
            .filter_map(move |(it, value)| match value {
                Value::Bytes(bytes) if *it == number => Some(bytes.as_slice()),
                _ => None,
            })
    }

    /// The texts of a repeated field, in order.
    #[must_use]
    pub fn texts(&self, number: u32) -> Vec<String> {
        self.all(number)
            .map(|it| String::from_utf8_lossy(it).into_owned())
            .collect()
    }

    /// The text of a field; empty if absent, as in protobuf.
    #[must_use]
    pub fn text(&self, number: u32) -> String {
        self.texts(number).pop().unwrap_or_default()
    }

    /// The numbers of a repeated field, packed or not.
    ///
    /// # Errors
    ///
    /// A packed run is cut off.
    pub fn numbers(&self, number: u32) -> Result<Vec<i64>, OnnxError> {
        let mut numbers = Vec::new();
        for (_, value) in self.fields.iter().filter(|(it, _)| *it == number) {
            match value {
                Value::Varint(it) => numbers.push(it.cast_signed()),
                Value::Bytes(packed) => {
                    let mut rest = packed.as_slice();
                    while !rest.is_empty() {
                        numbers.push(read_varint(&mut rest)?.cast_signed());
                    }
                }
                Value::Fixed32(_) | Value::Fixed64(_) => {}
            }
        }
        Ok(numbers)
    }

    /// Takes the fields of a number out.
    pub fn remove(&mut self, number: u32) {
        self.fields.retain(|(it, _)| *it != number);
    }

    pub fn push_number(&mut self, number: u32, value: i64) {
        self.fields
            .push((number, Value::Varint(value.cast_unsigned())));
    }

    pub fn push_bytes(&mut self, number: u32, value: impl Into<Vec<u8>>) {
        self.fields.push((number, Value::Bytes(value.into())));
    }

    pub fn push_message(&mut self, number: u32, value: &Self) {
        self.push_bytes(number, value.encode());
    }
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Result<&'a [u8], OnnxError> {
    let (head, tail) = bytes.split_at_checked(n).ok_or(OnnxError::Truncated)?;
    *bytes = tail;
    Ok(head)
}

fn take_array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], OnnxError> {
    take(bytes, N)?.try_into().map_err(|_| OnnxError::Truncated)
}

fn read_varint(bytes: &mut &[u8]) -> Result<u64, OnnxError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(OnnxError::Truncated)
}

fn write_varint(bytes: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            bytes.push(low & 0x7f);
            return;
        }
        bytes.push(low | 0x80);
    }
}

/// Field numbers of `ModelProto`. Source, here and below: `onnx.proto3`.
pub mod model {
    pub const IR_VERSION: u32 = 1;
    pub const PRODUCER: u32 = 2;
    pub const GRAPH: u32 = 7;
    pub const OPERATOR_SET: u32 = 8;
}

/// Field numbers of `GraphProto`.
pub mod graph {
    pub const NODE: u32 = 1;
    pub const NAME: u32 = 2;
    pub const INITIALIZER: u32 = 5;
    pub const INPUT: u32 = 11;
    pub const OUTPUT: u32 = 12;
    pub const VALUE_INFO: u32 = 13;
}

/// Field numbers of `NodeProto`.
pub mod node {
    pub const INPUT: u32 = 1;
    pub const OUTPUT: u32 = 2;
    pub const OPERATOR: u32 = 4;
    pub const ATTRIBUTE: u32 = 5;
}

/// Field numbers of `TensorProto`.
pub mod tensor {
    pub const DIMS: u32 = 1;
    pub const DATA_TYPE: u32 = 2;
    pub const NAME: u32 = 8;
    pub const RAW_DATA: u32 = 9;
}

/// `TensorProto.DataType`.
pub mod data_type {
    pub const FLOAT: i64 = 1;
    pub const INT8: i64 = 3;
    pub const INT64: i64 = 7;
}

/// The value of an attribute that we write.
#[derive(Clone, PartialEq, Debug)]
pub enum Attribute<'a> {
    Int(i64),
    Ints(&'a [i64]),
    Text(&'a str),
}

/// A `NodeProto`.
#[must_use]
pub fn new_node(
    operator: &str,
    inputs: &[&str],
    output: &str,
    attributes: &[(&str, Attribute<'_>)],
) -> Message {
    let mut message = Message::default();
    for input in inputs {
        message.push_bytes(node::INPUT, *input);
    }
    message.push_bytes(node::OUTPUT, output);
    message.push_bytes(node::OPERATOR, operator);
    for (name, value) in attributes {
        // Of `AttributeProto`: name 1, i 3, s 4, ints 8, type 20.
        let mut attribute = Message::default();
        attribute.push_bytes(1, *name);
        let kind = match value {
            Attribute::Int(it) => {
                attribute.push_number(3, *it);
                2
            }
            Attribute::Text(it) => {
                attribute.push_bytes(4, *it);
                3
            }
            Attribute::Ints(it) => {
                it.iter().for_each(|it| attribute.push_number(8, *it));
                7
            }
        };
        attribute.push_number(20, kind);
        message.push_message(node::ATTRIBUTE, &attribute);
    }
    message
}

/// A `TensorProto` of 32-bit floats.
#[must_use]
pub fn float_tensor(name: &str, dims: &[i64], values: &[f32]) -> Message {
    let raw: Vec<u8> = values.iter().flat_map(|it| it.to_le_bytes()).collect();
    raw_tensor(name, dims, data_type::FLOAT, raw)
}

/// A `TensorProto` of 64-bit integers.
#[must_use]
pub fn int_tensor(name: &str, dims: &[i64], values: &[i64]) -> Message {
    let raw: Vec<u8> = values.iter().flat_map(|it| it.to_le_bytes()).collect();
    raw_tensor(name, dims, data_type::INT64, raw)
}

/// A `TensorProto` with its values as they lie in memory.
#[must_use]
pub fn raw_tensor(name: &str, dims: &[i64], kind: i64, raw: Vec<u8>) -> Message {
    let mut message = Message::default();
    for dim in dims {
        message.push_number(tensor::DIMS, *dim);
    }
    message.push_number(tensor::DATA_TYPE, kind);
    message.push_bytes(tensor::NAME, name);
    message.push_bytes(tensor::RAW_DATA, raw);
    message
}

/// One dimension of an input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dim<'a> {
    Fixed(i64),
    Free(&'a str),
}

/// A `ValueInfoProto` of 32-bit floats.
#[must_use]
pub fn float_value(name: &str, dims: &[Dim<'_>]) -> Message {
    // TypeProto.Tensor: elem_type 1, shape 2; TensorShapeProto: dim 1;
    // Dimension: dim_value 1, dim_param 2; TypeProto: tensor_type 1.
    let mut tensor_type = Message::default();
    tensor_type.push_number(1, data_type::FLOAT);
    let mut shape = Message::default();
    for dim in dims {
        let mut dimension = Message::default();
        match dim {
            Dim::Fixed(it) => dimension.push_number(1, *it),
            Dim::Free(it) => dimension.push_bytes(2, *it),
        }
        shape.push_message(1, &dimension);
    }
    tensor_type.push_message(2, &shape);
    let mut kind = Message::default();
    kind.push_message(1, &tensor_type);
    let mut value = Message::default();
    value.push_bytes(1, name);
    value.push_message(2, &kind);
    value
}

/// An `OperatorSetIdProto` of the standard operators.
#[must_use]
pub fn operator_set(version: i64) -> Message {
    let mut message = Message::default();
    message.push_bytes(1, "");
    message.push_number(2, version);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_byte_for_byte() {
        let mut inner = Message::default();
        inner.push_bytes(1, "name");
        let mut message = Message::default();
        message.push_number(1, -1);
        message.push_number(2, 300);
        message.push_message(7, &inner);
        message.fields.push((99, Value::Fixed32([1, 2, 3, 4])));
        message.fields.push((100, Value::Fixed64([9; 8])));
        let bytes = message.encode();
        assert_eq!(Message::parse(&bytes).unwrap(), message);
        assert_eq!(Message::parse(&bytes).unwrap().encode(), bytes);
    }

    #[test]
    fn a_cut_off_message_is_refused() {
        let mut message = Message::default();
        message.push_bytes(1, "a long enough text");
        let bytes = message.encode();
        assert_eq!(Message::parse(&bytes[..5]), Err(OnnxError::Truncated));
    }

    #[test]
    fn packed_and_single_numbers_read_alike() {
        let mut message = Message::default();
        message.push_bytes(1, [3_u8, 0xac, 0x02]);
        message.push_number(1, 7);
        assert_eq!(message.numbers(1).unwrap(), [3, 300, 7]);
    }
}
