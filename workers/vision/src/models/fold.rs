//! Turns a model with block-quantised weights into one with plain weights.
//!
//! The two face models are shipped with 8-bit weights behind
//! `DequantizeLinear` nodes whose attributes ONNX Runtime refuses, and list
//! inputs that no longer exist. The weights are constants, so the nodes can be
//! computed once, here.

use std::collections::{HashMap, HashSet};

use super::onnx::{
    Dim, Message, OnnxError, data_type, float_tensor, float_value, graph, model, node,
    operator_set, tensor,
};

/// The operator set that the folded models use; what they hold besides the
/// quantised weights has been there since. Source: ONNX operator changelog.
const OPERATOR_SET: i64 = 13;

/// Whether the folded model keeps the input size that it was exported with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InputSize {
    AsShipped,
    /// Height and width of a `[1, 3, height, width]` input become free; for
    /// fully convolutional models.
    Any,
}

/// Weights that a node would have computed at run time.
struct Weights {
    dims: Vec<i64>,
    values: Vec<f32>,
}

/// Computes every `DequantizeLinear` (and the `Reshape` behind it) of a model
/// and stores the result as plain 32-bit weights.
///
/// # Errors
///
/// The bytes are no ONNX model, or one that is quantised in another way.
pub fn fold_dequantize(bytes: &[u8], size: InputSize) -> Result<Vec<u8>, OnnxError> {
    let mut file = Message::parse(bytes)?;
    let mut body = Message::parse(
        file.all(model::GRAPH)
            .next()
            .ok_or(OnnxError::Missing("a graph"))?,
    )?;
    let tensors = named_tensors(&body)?;
    let (nodes, folded) = fold_nodes(&body, &tensors)?;
    let mut used: HashSet<String> = HashSet::new();
    for node in &nodes {
        used.extend(node.texts(node::INPUT));
    }
    rewrite(&mut body, &nodes, &tensors, folded, &used)?;
    if size == InputSize::Any {
        free_sizes(&mut body)?;
    }
    file.remove(model::GRAPH);
    file.remove(model::OPERATOR_SET);
    file.push_message(model::OPERATOR_SET, &operator_set(OPERATOR_SET));
    file.push_message(model::GRAPH, &body);
    Ok(file.encode())
}

fn named_tensors(body: &Message) -> Result<HashMap<String, Message>, OnnxError> {
    body.all(graph::INITIALIZER)
        .map(|it| Message::parse(it).map(|it| (it.text(tensor::NAME), it)))
        .collect()
}

/// The nodes that stay, and the weights that the others stood for.
fn fold_nodes(
    body: &Message,
    tensors: &HashMap<String, Message>,
) -> Result<(Vec<Message>, HashMap<String, Weights>), OnnxError> {
    let nodes: Vec<Message> = body
        .all(graph::NODE)
        .map(Message::parse)
        .collect::<Result<_, _>>()?;
    let mut folded = HashMap::new();
    let mut kept = Vec::new();
    for node in nodes {
        let (inputs, output) = (node.texts(node::INPUT), node.text(node::OUTPUT));
        match node.text(node::OPERATOR).as_str() {
            "DequantizeLinear" => {
                folded.insert(output, dequantize(&node, &inputs, tensors)?);
            }
            "Reshape" if inputs.first().is_some_and(|it| folded.contains_key(it)) => {
                let [source, shape] = inputs.as_slice() else {
                    return Err(OnnxError::Missing("the shape of a Reshape"));
                };
                let mut weights = folded
                    .remove(source)
                    .ok_or(OnnxError::Missing("the weights of a Reshape"))?;
                let shape = tensors
                    .get(shape)
                    .ok_or(OnnxError::Missing("a constant shape"))?;
                weights.dims = integers(shape)?;
                let n: i64 = weights.dims.iter().product();
                if usize::try_from(n) != Ok(weights.values.len()) {
                    return Err(OnnxError::Unsupported(format!(
                        "a Reshape to {:?}",
                        weights.dims
                    )));
                }
                folded.insert(output, weights);
            }
            _ => kept.push(node),
        }
    }
    Ok((kept, folded))
}

/// `(quantised - zero point) * scale`, with one scale and zero point for each
/// block of `block_size` values along `axis`.
fn dequantize(
    node: &Message,
    inputs: &[String],
    tensors: &HashMap<String, Message>,
) -> Result<Weights, OnnxError> {
    let mut constants = Vec::new();
    for input in inputs {
        constants.push(
            tensors
                .get(input)
                .ok_or(OnnxError::Missing("a constant to dequantise"))?,
        );
    }
    let [quantised, scales, zeros] = constants.as_slice() else {
        return Err(OnnxError::Unsupported(
            "a DequantizeLinear without zero points".to_owned(),
        ));
    };
    let attribute = |name: &str| -> Result<usize, OnnxError> {
        for attribute in node.all(node::ATTRIBUTE) {
            let attribute = Message::parse(attribute)?;
            if attribute.text(1) == name {
                let value = attribute.numbers(3)?.pop().unwrap_or(0);
                return usize::try_from(value)
                    .map_err(|_| OnnxError::Unsupported(format!("{name} {value}")));
            }
        }
        Err(OnnxError::Missing(
            "axis and block_size of a DequantizeLinear",
        ))
    };
    let (axis, block) = (attribute("axis")?, attribute("block_size")?.max(1));
    let dims = quantised.numbers(tensor::DIMS)?;
    let along = dims
        .get(axis)
        .copied()
        .and_then(|it| usize::try_from(it).ok());
    let along = along.ok_or(OnnxError::Missing("the axis of a DequantizeLinear"))?;
    let inner = usize::try_from(dims[axis + 1..].iter().product::<i64>()).unwrap_or(1);
    let (bytes, scales, zeros) = (
        signed_bytes(quantised)?,
        floats(scales)?,
        signed_bytes(zeros)?,
    );
    let blocks = along.div_ceil(block);
    let values: Option<Vec<f32>> = bytes
        .iter()
        .enumerate()
        .map(|(index, value)| {
            let (outer, position) = (index / (along * inner), index / inner % along);
            let at = (outer * blocks + position / block) * inner + index % inner;
            let centred = i16::from(*value) - i16::from(*zeros.get(at)?);
            Some(f32::from(centred) * scales.get(at)?)
        })
        .collect();
    let values = values.ok_or(OnnxError::Missing("a scale for every block"))?;
    Ok(Weights { dims, values })
}

fn raw(message: &Message, kind: i64) -> Result<&[u8], OnnxError> {
    if message.numbers(tensor::DATA_TYPE)? != [kind] {
        return Err(OnnxError::Unsupported(
            "a constant of another type".to_owned(),
        ));
    }
    message
        .all(tensor::RAW_DATA)
        .next()
        .ok_or(OnnxError::Missing("the raw data of a constant"))
}

fn signed_bytes(message: &Message) -> Result<Vec<i8>, OnnxError> {
    Ok(raw(message, data_type::INT8)?
        .iter()
        .map(|it| it.cast_signed())
        .collect())
}

fn floats(message: &Message) -> Result<Vec<f32>, OnnxError> {
    let (numbers, _) = raw(message, data_type::FLOAT)?.as_chunks();
    Ok(numbers.iter().map(|it| f32::from_le_bytes(*it)).collect())
}

fn integers(message: &Message) -> Result<Vec<i64>, OnnxError> {
    let (numbers, _) = raw(message, data_type::INT64)?.as_chunks();
    Ok(numbers.iter().map(|it| i64::from_le_bytes(*it)).collect())
}

/// Puts the kept nodes and the constants that they use into the graph, and
/// drops inputs that are constants or that nobody reads.
fn rewrite(
    body: &mut Message,
    nodes: &[Message],
    tensors: &HashMap<String, Message>,
    folded: HashMap<String, Weights>,
    used: &HashSet<String>,
) -> Result<(), OnnxError> {
    let is_constant = |name: &str| tensors.contains_key(name) || folded.contains_key(name);
    let mut inputs = Vec::new();
    for input in body.all(graph::INPUT) {
        let name = Message::parse(input)?.text(1);
        if used.contains(&name) && !is_constant(&name) {
            inputs.push(input.to_vec());
        }
    }
    let constants: Vec<Vec<u8>> = body
        .all(graph::INITIALIZER)
        .filter_map(|it| {
            let name = Message::parse(it).ok()?.text(tensor::NAME);
            used.contains(&name).then(|| it.to_vec())
        })
        .collect();
    for number in [graph::NODE, graph::INITIALIZER, graph::INPUT] {
        body.remove(number);
    }
    for node in nodes {
        body.push_message(graph::NODE, node);
    }
    for constant in constants {
        body.push_bytes(graph::INITIALIZER, constant);
    }
    let mut folded: Vec<_> = folded
        .into_iter()
        .filter(|(name, _)| used.contains(name))
        .collect();
    // A fixed order, so that the stored file always has the same hash.
    folded.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, weights) in folded {
        let constant = float_tensor(&name, &weights.dims, &weights.values);
        body.push_message(graph::INITIALIZER, &constant);
    }
    for input in inputs {
        body.push_bytes(graph::INPUT, input);
    }
    Ok(())
}

/// Declares height and width of the one picture input, and every side of the
/// outputs, open.
fn free_sizes(body: &mut Message) -> Result<(), OnnxError> {
    let values = |number: u32| -> Result<Vec<Message>, OnnxError> {
        body.all(number).map(Message::parse).collect()
    };
    let (inputs, outputs) = (values(graph::INPUT)?, values(graph::OUTPUT)?);
    let [input] = inputs.as_slice() else {
        return Err(OnnxError::Unsupported(
            "several inputs of free size".to_owned(),
        ));
    };
    let dims = [
        Dim::Fixed(1),
        Dim::Fixed(3),
        Dim::Free("height"),
        Dim::Free("width"),
    ];
    let input = float_value(&input.text(1), &dims);
    for number in [graph::INPUT, graph::OUTPUT, graph::VALUE_INFO] {
        body.remove(number);
    }
    body.push_message(graph::INPUT, &input);
    for output in outputs {
        let name = output.text(1);
        let names: Vec<_> = (0..rank(&output)?)
            .map(|axis| format!("{name}_{axis}"))
            .collect();
        let dims: Vec<_> = names.iter().map(|it| Dim::Free(it)).collect();
        body.push_message(graph::OUTPUT, &float_value(&name, &dims));
    }
    Ok(())
}

/// The number of dimensions that a `ValueInfoProto` declares.
fn rank(value: &Message) -> Result<usize, OnnxError> {
    let mut message = value.clone();
    // Through type (2), tensor_type (1) and shape (2) to its repeated dim (1).
    for number in [2, 1, 2] {
        let inner = message
            .all(number)
            .next()
            .ok_or(OnnxError::Missing("the shape of an output"))?;
        message = Message::parse(inner)?;
    }
    Ok(message.all(1).count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::onnx::{Attribute, int_tensor, new_node, raw_tensor};

    /// A model that multiplies its input with `[2, 4]` signed weights stored in
    /// blocks of two.
    fn quantised() -> Vec<u8> {
        let bytes = |it: &[i8]| it.iter().map(|it| it.cast_unsigned()).collect::<Vec<_>>();
        let mut body = Message::default();
        let blocks = [
            ("axis", Attribute::Int(1)),
            ("block_size", Attribute::Int(2)),
        ];
        body.push_message(
            graph::NODE,
            &new_node("DequantizeLinear", &["q", "s", "z"], "w", &blocks),
        );
        body.push_message(
            graph::NODE,
            &new_node("Reshape", &["w", "shape"], "weights", &[]),
        );
        body.push_message(graph::NODE, &new_node("Mul", &["x", "weights"], "y", &[]));
        let q = bytes(&[1, 2, 3, 4, -5, -6, -128, 127]);
        body.push_message(
            graph::INITIALIZER,
            &raw_tensor("q", &[2, 4], data_type::INT8, q),
        );
        body.push_message(
            graph::INITIALIZER,
            &float_tensor("s", &[2, 2], &[0.5, 2.0, 1.0, 0.25]),
        );
        let z = bytes(&[1, 0, -1, 3]);
        body.push_message(
            graph::INITIALIZER,
            &raw_tensor("z", &[2, 2], data_type::INT8, z),
        );
        body.push_message(graph::INITIALIZER, &int_tensor("shape", &[1], &[8]));
        for input in ["x", "q", "gone"] {
            body.push_message(graph::INPUT, &float_value(input, &[]));
        }
        body.push_message(graph::OUTPUT, &float_value("y", &[]));
        let mut file = Message::default();
        file.push_number(model::IR_VERSION, 6);
        file.push_message(model::OPERATOR_SET, &operator_set(21));
        file.push_message(model::GRAPH, &body);
        file.encode()
    }

    #[test]
    fn every_block_gets_its_own_scale_and_zero_point() {
        let folded = fold_dequantize(&quantised(), InputSize::AsShipped).unwrap();
        let file = Message::parse(&folded).unwrap();
        let body = Message::parse(file.all(model::GRAPH).next().unwrap()).unwrap();
        let tensors = named_tensors(&body).unwrap();
        assert_eq!(tensors.keys().collect::<Vec<_>>(), ["weights"]);
        let expected = [0.0, 0.5, 6.0, 8.0, -4.0, -5.0, -32.75, 31.0];
        assert_eq!(floats(&tensors["weights"]).unwrap(), expected);
        assert_eq!(tensors["weights"].numbers(tensor::DIMS).unwrap(), [8]);
    }

    #[test]
    fn inputs_that_nobody_reads_are_dropped() {
        let folded = fold_dequantize(&quantised(), InputSize::AsShipped).unwrap();
        let file = Message::parse(&folded).unwrap();
        let body = Message::parse(file.all(model::GRAPH).next().unwrap()).unwrap();
        let inputs: Vec<_> = body
            .all(graph::INPUT)
            .map(|it| Message::parse(it).unwrap().text(1))
            .collect();
        assert_eq!(inputs, ["x"]);
    }

    #[test]
    fn text_is_not_a_model() {
        assert!(fold_dequantize(b"not a model", InputSize::AsShipped).is_err());
    }
}
