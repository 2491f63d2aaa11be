//! Converts a small tflite model to ONNX.
//!
//! Only the operators of the face mesh and of the blendshapes are known. A
//! model whose input is a picture is carried from channels-last to
//! channels-first, because that is what ONNX convolutions read; any other
//! model keeps its layout, and its 1x1 convolutions become matrix products.

use std::collections::HashMap;

use super::{
    flatbuffer::Table,
    onnx::{
        Attribute, Dim, Message, OnnxError, float_tensor, float_value, graph, int_tensor, model,
        new_node, operator_set,
    },
};

/// The operator set of the written models: the last in which the reductions
/// but `ReduceSum` take their axes as an attribute. Source: ONNX changelog.
const OPERATOR_SET: i64 = 13;
/// The file format version that goes with it.
const IR_VERSION: i64 = 7;

/// `BuiltinOperator` of the tflite schema.
mod operator {
    pub const ADD: i32 = 0;
    pub const CONCATENATION: i32 = 2;
    pub const CONV_2D: i32 = 3;
    pub const DEPTHWISE_CONV_2D: i32 = 4;
    pub const DEQUANTIZE: i32 = 6;
    pub const LOGISTIC: i32 = 14;
    pub const MAX_POOL_2D: i32 = 17;
    pub const MUL: i32 = 18;
    pub const RESHAPE: i32 = 22;
    pub const PAD: i32 = 34;
    pub const TRANSPOSE: i32 = 39;
    pub const MEAN: i32 = 40;
    pub const SUB: i32 = 41;
    pub const DIV: i32 = 42;
    pub const STRIDED_SLICE: i32 = 45;
    pub const PRELU: i32 = 54;
    pub const NEG: i32 = 59;
    pub const SUM: i32 = 74;
    pub const SQRT: i32 = 75;
    pub const RSQRT: i32 = 76;
    pub const SQUARED_DIFFERENCE: i32 = 99;
}

/// `TensorType` of the tflite schema.
const FLOAT_32: i8 = 0;
const FLOAT_16: i8 = 1;
const INT_32: i8 = 2;

/// A tensor of the tflite file.
struct Source<'a> {
    shape: Vec<i64>,
    kind: i8,
    /// Empty unless it is a constant.
    data: &'a [u8],
}

impl Source<'_> {
    fn floats(&self) -> Result<Vec<f32>, OnnxError> {
        let n = usize::try_from(self.shape.iter().product::<i64>()).unwrap_or(0);
        let values: Vec<f32> = match self.kind {
            FLOAT_32 => self
                .data
                .as_chunks()
                .0
                .iter()
                .map(|it| f32::from_le_bytes(*it))
                .collect(),
            FLOAT_16 => self
                .data
                .as_chunks()
                .0
                .iter()
                .map(|it| half(u16::from_le_bytes(*it)))
                .collect(),
            other => {
                return Err(OnnxError::Unsupported(format!(
                    "a constant of type {other}"
                )));
            }
        };
        if values.len() == n {
            Ok(values)
        } else {
            Err(OnnxError::Truncated)
        }
    }

    fn integers(&self) -> Result<Vec<i64>, OnnxError> {
        if self.kind != INT_32 {
            return Err(OnnxError::Unsupported(
                "a shape that is not 32-bit integers".to_owned(),
            ));
        }
        let (numbers, _) = self.data.as_chunks();
        Ok(numbers
            .iter()
            .map(|it| i64::from(i32::from_le_bytes(*it)))
            .collect())
    }
}

/// A 16-bit float as a 32-bit one, exactly.
fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), bits & 0x3ff);
    match (exponent, fraction) {
        (0, _) => sign * f32::from(fraction) * 2.0_f32.powi(-24),
        (31, 0) => sign * f32::INFINITY,
        (31, _) => f32::NAN,
        _ => sign * (1.0 + f32::from(fraction) / 1024.0) * 2.0_f32.powi(exponent - 15),
    }
}

/// The conversion under way.
struct Conversion<'a> {
    tensors: Vec<Source<'a>>,
    /// Constants behind a `DEQUANTIZE`: the index of the 16-bit original.
    aliases: HashMap<usize, usize>,
    channels_first: bool,
    body: Message,
    n_names: usize,
}

/// One operator of the tflite file.
struct Operation<'a> {
    code: i32,
    inputs: Vec<usize>,
    output: usize,
    options: Option<Table<'a>>,
}

impl Operation<'_> {
    fn option(&self, index: usize) -> Result<i64, OnnxError> {
        self.options
            .map_or(Ok(0), |it| it.int(index).map(i64::from))
    }

    fn byte_option(&self, index: usize) -> Result<i8, OnnxError> {
        self.options.map_or(Ok(0), |it| it.byte(index))
    }

    fn input(&self, index: usize) -> Result<usize, OnnxError> {
        self.inputs
            .get(index)
            .copied()
            .ok_or(OnnxError::Missing("an input of an operator"))
    }
}

/// Converts a model with one subgraph.
///
/// A picture input `[1, height, width, 3]` becomes `[1, 3, height, width]`, and
/// outputs `[1, 1, 1, n]` become `[1, n, 1, 1]`.
///
/// # Errors
///
/// The bytes are no tflite model, or one with operators that are not known.
pub fn to_onnx(bytes: &[u8]) -> Result<Vec<u8>, OnnxError> {
    let root = Table::root(bytes)?;
    let codes: Vec<i32> = root
        .tables(1)?
        .iter()
        .map(|it| Ok(it.int(3)?.max(i32::from(it.byte(0)?))))
        .collect::<Result<_, _>>()?;
    let buffers = root.tables(4)?;
    let subgraph = *root
        .tables(2)?
        .first()
        .ok_or(OnnxError::Missing("a subgraph"))?;
    let mut tensors = Vec::new();
    for tensor in subgraph.tables(0)? {
        let buffer = buffers
            .get(index(tensor.int(2)?)?)
            .ok_or(OnnxError::Missing("a buffer"))?;
        tensors.push(Source {
            shape: tensor.ints(0)?.into_iter().map(i64::from).collect(),
            kind: tensor.byte(1)?,
            data: buffer.bytes(0)?,
        });
    }
    let inputs = indexes(subgraph.ints(1)?)?;
    let outputs = indexes(subgraph.ints(2)?)?;
    let shape = |it: &usize| tensors.get(*it).map(|it| it.shape.len());
    let mut conversion = Conversion {
        channels_first: inputs.first().and_then(shape) == Some(4),
        tensors,
        aliases: HashMap::new(),
        body: Message::default(),
        n_names: 0,
    };
    conversion.body.push_bytes(graph::NAME, "main");
    for operation in subgraph.tables(3)? {
        let code = codes
            .get(index(operation.int(0)?)?)
            .ok_or(OnnxError::Missing("an operator"))?;
        let output = indexes(operation.ints(2)?)?;
        conversion.operation(&Operation {
            code: *code,
            inputs: indexes(operation.ints(1)?)?,
            output: *output
                .first()
                .ok_or(OnnxError::Missing("an output of an operator"))?,
            options: operation.table(4)?,
        })?;
    }
    conversion.finish(&inputs, &outputs)
}

fn index(value: i32) -> Result<usize, OnnxError> {
    usize::try_from(value).map_err(|_| OnnxError::Unsupported("an optional tensor".to_owned()))
}

fn indexes(values: Vec<i32>) -> Result<Vec<usize>, OnnxError> {
    values.into_iter().map(index).collect()
}

/// The value's name in the ONNX graph.
fn name(index: usize) -> String {
    format!("t{index}")
}

impl Conversion<'_> {
    fn finish(mut self, inputs: &[usize], outputs: &[usize]) -> Result<Vec<u8>, OnnxError> {
        for (number, values) in [(graph::INPUT, inputs), (graph::OUTPUT, outputs)] {
            for it in values {
                let dims: Vec<_> = self.dims(*it)?.into_iter().map(Dim::Fixed).collect();
                self.body
                    .push_message(number, &float_value(&name(*it), &dims));
            }
        }
        let mut file = Message::default();
        file.push_number(model::IR_VERSION, IR_VERSION);
        file.push_bytes(model::PRODUCER, "btrust");
        file.push_message(model::GRAPH, &self.body);
        file.push_message(model::OPERATOR_SET, &operator_set(OPERATOR_SET));
        Ok(file.encode())
    }

    /// Follows constants through `DEQUANTIZE`.
    fn source(&self, index: usize) -> Result<&Source<'_>, OnnxError> {
        let index = self.aliases.get(&index).copied().unwrap_or(index);
        self.tensors
            .get(index)
            .ok_or(OnnxError::Missing("a tensor"))
    }

    fn shape(&self, index: usize) -> Result<&[i64], OnnxError> {
        self.tensors
            .get(index)
            .map(|it| it.shape.as_slice())
            .ok_or(OnnxError::Missing("a tensor"))
    }

    /// The shape of a value as it is in the ONNX graph.
    fn dims(&self, index: usize) -> Result<Vec<i64>, OnnxError> {
        let shape = self.shape(index)?;
        match *shape {
            [n, height, width, channels] if self.channels_first => {
                Ok(vec![n, channels, height, width])
            }
            _ => Ok(shape.to_vec()),
        }
    }

    fn node(
        &mut self,
        kind: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[(&str, Attribute<'_>)],
    ) {
        self.body
            .push_message(graph::NODE, &new_node(kind, inputs, output, attributes));
    }

    fn fresh(&mut self) -> String {
        self.n_names += 1;
        format!("c{}", self.n_names)
    }

    fn floats(&mut self, dims: &[i64], values: &[f32]) -> String {
        let name = self.fresh();
        self.body
            .push_message(graph::INITIALIZER, &float_tensor(&name, dims, values));
        name
    }

    fn integers(&mut self, values: &[i64]) -> String {
        let name = self.fresh();
        let n = i64::try_from(values.len()).expect("a handful of numbers");
        self.body
            .push_message(graph::INITIALIZER, &int_tensor(&name, &[n], values));
        name
    }

    /// The name of an input: a constant is written beside the graph first.
    fn operand(&mut self, index: usize) -> Result<String, OnnxError> {
        let source = self.source(index)?;
        if source.data.is_empty() {
            return Ok(name(index));
        }
        let (shape, values) = (source.shape.clone(), source.floats()?);
        if self.channels_first && 1 < values.len() {
            return Err(OnnxError::Unsupported(
                "a constant operand in a picture model".to_owned(),
            ));
        }
        Ok(self.floats(&shape, &values))
    }

    fn operation(&mut self, it: &Operation<'_>) -> Result<(), OnnxError> {
        use operator as op;
        let output = name(it.output);
        match it.code {
            op::DEQUANTIZE => {
                self.aliases.insert(it.output, it.input(0)?);
                Ok(())
            }
            op::CONV_2D if self.channels_first => self.convolution(it),
            op::CONV_2D => self.product(it),
            op::DEPTHWISE_CONV_2D => self.depthwise(it),
            op::PRELU => self.prelu(it),
            op::MAX_POOL_2D => self.max_pool(it),
            op::PAD => self.pad(it),
            op::ADD => self.binary("Add", it),
            op::SUB => self.binary("Sub", it),
            op::MUL => self.binary("Mul", it),
            op::DIV => self.binary("Div", it),
            op::SQUARED_DIFFERENCE => {
                let difference = self.fresh();
                let (a, b) = (self.operand(it.input(0)?)?, self.operand(it.input(1)?)?);
                self.node("Sub", &[&a, &b], &difference, &[]);
                self.node("Mul", &[&difference, &difference], &output, &[]);
                Ok(())
            }
            op::LOGISTIC => self.unary("Sigmoid", it),
            op::NEG => self.unary("Neg", it),
            op::SQRT => self.unary("Sqrt", it),
            op::RSQRT => {
                let (input, root) = (self.operand(it.input(0)?)?, self.fresh());
                self.node("Sqrt", &[&input], &root, &[]);
                self.node("Reciprocal", &[&root], &output, &[]);
                Ok(())
            }
            op::MEAN | op::SUM => self.reduce(it),
            op::TRANSPOSE if !self.channels_first => {
                let (input, order) = (
                    self.operand(it.input(0)?)?,
                    self.source(it.input(1)?)?.integers()?,
                );
                self.node(
                    "Transpose",
                    &[&input],
                    &output,
                    &[("perm", Attribute::Ints(&order))],
                );
                Ok(())
            }
            op::RESHAPE => self.reshape(it),
            op::STRIDED_SLICE if !self.channels_first => self.slice(it),
            op::CONCATENATION if !self.channels_first => {
                let inputs = it
                    .inputs
                    .iter()
                    .map(|it| self.operand(*it))
                    .collect::<Result<Vec<_>, _>>()?;
                let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
                let axis = it.option(0)?;
                self.node(
                    "Concat",
                    &inputs,
                    &output,
                    &[("axis", Attribute::Int(axis))],
                );
                Ok(())
            }
            other => Err(OnnxError::Unsupported(format!(
                "the tflite operator {other}"
            ))),
        }
    }

    fn unary(&mut self, kind: &str, it: &Operation<'_>) -> Result<(), OnnxError> {
        let input = self.operand(it.input(0)?)?;
        self.node(kind, &[&input], &name(it.output), &[]);
        Ok(())
    }

    fn binary(&mut self, kind: &str, it: &Operation<'_>) -> Result<(), OnnxError> {
        let (a, b) = (self.operand(it.input(0)?)?, self.operand(it.input(1)?)?);
        let activation = it.byte_option(0)?;
        self.activated(kind, &[&a, &b], &name(it.output), &[], activation)
    }

    /// A node and the activation that tflite fuses into it.
    fn activated(
        &mut self,
        kind: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[(&str, Attribute<'_>)],
        activation: i8,
    ) -> Result<(), OnnxError> {
        match activation {
            0 => self.node(kind, inputs, output, attributes),
            1 => {
                let before = self.fresh();
                self.node(kind, inputs, &before, attributes);
                self.node("Relu", &[&before], output, &[]);
            }
            other => return Err(OnnxError::Unsupported(format!("the activation {other}"))),
        }
        Ok(())
    }

    /// `[before, after]` of height and of width that give "SAME" its size; the
    /// odd pixel goes after, unlike in ONNX's own `SAME_UPPER` of old.
    fn padding(
        &self,
        it: &Operation<'_>,
        kernel: [i64; 2],
        strides: [i64; 2],
    ) -> Result<[i64; 4], OnnxError> {
        // `Padding` of the tflite schema: SAME is 0, VALID is 1.
        if it.byte_option(0)? == 1 {
            return Ok([0; 4]);
        }
        let (input, output) = (self.shape(it.input(0)?)?, self.shape(it.output)?);
        let [[top, bottom], [left, right]] = [0, 1].map(|axis| {
            let needed = (output[axis + 1] - 1) * strides[axis] + kernel[axis] - input[axis + 1];
            let needed = needed.max(0);
            [needed / 2, needed - needed / 2]
        });
        Ok([top, left, bottom, right])
    }

    fn convolution(&mut self, it: &Operation<'_>) -> Result<(), OnnxError> {
        let [out, height, width, inner] = self.constant_shape(it.input(1)?)?;
        let source = self.source(it.input(1)?)?.floats()?;
        let weights = reorder(&source, [out, height, width, inner], [0, 3, 1, 2]);
        let weights = self.floats(&[out, inner, height, width], &weights);
        let strides = [it.option(2)?, it.option(1)?];
        self.convolve(
            it,
            &weights,
            [height, width],
            strides,
            1,
            it.byte_option(3)?,
        )
    }

    fn depthwise(&mut self, it: &Operation<'_>) -> Result<(), OnnxError> {
        let [_, height, width, channels] = self.constant_shape(it.input(1)?)?;
        let source = self.source(it.input(1)?)?.floats()?;
        let weights = reorder(&source, [1, height, width, channels], [3, 0, 1, 2]);
        let weights = self.floats(&[channels, 1, height, width], &weights);
        if it.option(3)? != 1 {
            return Err(OnnxError::Unsupported("a depth multiplier".to_owned()));
        }
        let strides = [it.option(2)?, it.option(1)?];
        self.convolve(
            it,
            &weights,
            [height, width],
            strides,
            channels,
            it.byte_option(4)?,
        )
    }

    fn convolve(
        &mut self,
        it: &Operation<'_>,
        weights: &str,
        kernel: [i64; 2],
        strides: [i64; 2],
        groups: i64,
        activation: i8,
    ) -> Result<(), OnnxError> {
        let bias = self.source(it.input(2)?)?.floats()?;
        let n = i64::try_from(bias.len()).expect("a bias for each channel");
        let bias = self.floats(&[n], &bias);
        let pads = self.padding(it, kernel, strides)?;
        let attributes = [
            ("kernel_shape", Attribute::Ints(&kernel)),
            ("strides", Attribute::Ints(&strides)),
            ("pads", Attribute::Ints(&pads)),
            ("group", Attribute::Int(groups)),
        ];
        let input = self.operand(it.input(0)?)?;
        self.activated(
            "Conv",
            &[&input, weights, &bias],
            &name(it.output),
            &attributes,
            activation,
        )
    }

    /// A 1x1 convolution over channels-last values: a matrix product.
    fn product(&mut self, it: &Operation<'_>) -> Result<(), OnnxError> {
        let [out, height, width, inner] = self.constant_shape(it.input(1)?)?;
        if [height, width, it.option(1)?, it.option(2)?] != [1; 4] {
            return Err(OnnxError::Unsupported(
                "a wide convolution outside a picture".to_owned(),
            ));
        }
        let source = self.source(it.input(1)?)?.floats()?;
        let weights = reorder(&source, [out, 1, 1, inner], [3, 1, 2, 0]);
        let weights = self.floats(&[inner, out], &weights);
        let bias = self.source(it.input(2)?)?.floats()?;
        let bias = self.floats(&[out], &bias);
        let (input, before) = (self.operand(it.input(0)?)?, self.fresh());
        self.node("MatMul", &[&input, &weights], &before, &[]);
        self.activated(
            "Add",
            &[&before, &bias],
            &name(it.output),
            &[],
            it.byte_option(3)?,
        )
    }

    fn constant_shape(&self, index: usize) -> Result<[i64; 4], OnnxError> {
        let shape = self.source(index)?.shape.as_slice();
        shape
            .try_into()
            .map_err(|_| OnnxError::Unsupported("weights without four sides".to_owned()))
    }

    fn prelu(&mut self, it: &Operation<'_>) -> Result<(), OnnxError> {
        let slopes = self.source(it.input(1)?)?.floats()?;
        let n = i64::try_from(slopes.len()).expect("a slope for each channel");
        if !self.channels_first || self.shape(it.input(0)?)?.last() != Some(&n) {
            return Err(OnnxError::Unsupported(
                "slopes other than one a channel".to_owned(),
            ));
        }
        let slopes = self.floats(&[n, 1, 1], &slopes);
        let input = self.operand(it.input(0)?)?;
        self.node("PRelu", &[&input, &slopes], &name(it.output), &[]);
        Ok(())
    }

    fn max_pool(&mut self, it: &Operation<'_>) -> Result<(), OnnxError> {
        let strides = [it.option(2)?, it.option(1)?];
        let kernel = [it.option(4)?, it.option(3)?];
        let pads = self.padding(it, kernel, strides)?;
        let attributes = [
            ("kernel_shape", Attribute::Ints(&kernel)),
            ("strides", Attribute::Ints(&strides)),
            ("pads", Attribute::Ints(&pads)),
        ];
        let input = self.operand(it.input(0)?)?;
        self.activated(
            "MaxPool",
            &[&input],
            &name(it.output),
            &attributes,
            it.byte_option(5)?,
        )
    }

    fn pad(&mut self, it: &Operation<'_>) -> Result<(), OnnxError> {
        let pairs = self.source(it.input(1)?)?.integers()?;
        let [n0, n1, top, bottom, left, right, before, after] = pairs[..] else {
            return Err(OnnxError::Unsupported(
                "padding of other than four sides".to_owned(),
            ));
        };
        if !self.channels_first {
            return Err(OnnxError::Unsupported(
                "padding outside a picture".to_owned(),
            ));
        }
        let pads = self.integers(&[n0, before, top, left, n1, after, bottom, right]);
        let input = self.operand(it.input(0)?)?;
        self.node("Pad", &[&input, &pads], &name(it.output), &[]);
        Ok(())
    }

    fn reduce(&mut self, it: &Operation<'_>) -> Result<(), OnnxError> {
        if self.channels_first || it.byte_option(0)? != 1 {
            return Err(OnnxError::Unsupported(
                "a reduction that drops sides".to_owned(),
            ));
        }
        let axes = self.source(it.input(1)?)?.integers()?;
        let input = self.operand(it.input(0)?)?;
        let output = name(it.output);
        if it.code == operator::SUM {
            let axes = self.integers(&axes);
            self.node("ReduceSum", &[&input, &axes], &output, &[]);
        } else {
            self.node(
                "ReduceMean",
                &[&input],
                &output,
                &[("axes", Attribute::Ints(&axes))],
            );
        }
        Ok(())
    }

    fn reshape(&mut self, it: &Operation<'_>) -> Result<(), OnnxError> {
        let (from, to) = (self.shape(it.input(0)?)?, self.dims(it.output)?);
        // Channels-first values lie in another order, unless there is no plane.
        if self.channels_first && (from.len() != 4 || from[1..3] != [1, 1]) {
            return Err(OnnxError::Unsupported("a reshape of a picture".to_owned()));
        }
        let to = self.integers(&to);
        let input = self.operand(it.input(0)?)?;
        self.node("Reshape", &[&input, &to], &name(it.output), &[]);
        Ok(())
    }

    fn slice(&mut self, it: &Operation<'_>) -> Result<(), OnnxError> {
        let numbers = |index: usize| self.source(it.input(index)?)?.integers();
        let (mut from, mut to, steps) = (numbers(1)?, numbers(2)?, numbers(3)?);
        let shape = self.shape(it.input(0)?)?.to_vec();
        let masks = [it.option(0)?, it.option(1)?, it.option(4)?];
        if it.option(2)? != 0 || it.option(3)? != 0 || steps.iter().any(|it| *it < 1) {
            return Err(OnnxError::Unsupported(
                "a slice with new sides or backwards".to_owned(),
            ));
        }
        let has = |mask: i64, axis: usize| mask >> axis & 1 == 1;
        for axis in 0..from.len() {
            if has(masks[0], axis) {
                from[axis] = 0;
            }
            if has(masks[2], axis) {
                to[axis] = from[axis] + 1;
            } else if has(masks[1], axis) {
                to[axis] = shape[axis];
            }
        }
        let axes: Vec<i64> = (0..).take(from.len()).collect();
        let arguments = [from, to, axes, steps].map(|it| self.integers(&it));
        let (input, cut) = (self.operand(it.input(0)?)?, self.fresh());
        let [from, to, axes, steps] = &arguments;
        self.node("Slice", &[&input, from, to, axes, steps], &cut, &[]);
        let dims = self.integers(&self.dims(it.output)?);
        self.node("Reshape", &[&cut, &dims], &name(it.output), &[]);
        Ok(())
    }
}

/// Transposes four-sided values: side `i` of the result is side `order[i]` of
/// the source.
fn reorder(values: &[f32], shape: [i64; 4], order: [usize; 4]) -> Vec<f32> {
    let shape = shape.map(|it| usize::try_from(it).unwrap_or(0));
    let strides = [
        shape[1] * shape[2] * shape[3],
        shape[2] * shape[3],
        shape[3],
        1,
    ];
    let [a, b, c, d] = order.map(|it| (shape[it], strides[it]));
    let mut reordered = Vec::with_capacity(values.len());
    for i in 0..a.0 {
        for j in 0..b.0 {
            for k in 0..c.0 {
                for l in 0..d.0 {
                    reordered.push(values[i * a.1 + j * b.1 + k * c.1 + l * d.1]);
                }
            }
        }
    }
    reordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_numbers_keep_their_value() {
        for (bits, value) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333_251_95),
            (0x0001, 5.960_464_5e-8),
            (0x7bff, 65504.0),
        ] {
            assert_eq!(half(bits).to_bits(), f32::to_bits(value), "{bits:#x}");
        }
        assert!(half(0x7c01).is_nan());
    }

    #[test]
    fn reordering_moves_channels_to_the_front() {
        let values: Vec<f32> = (0_u8..12).map(f32::from).collect();
        let first = reorder(&values, [1, 2, 2, 3], [0, 3, 1, 2]);
        assert_eq!(first[..4], [0.0, 3.0, 6.0, 9.0]);
        assert_eq!(first[4..8], [1.0, 4.0, 7.0, 10.0]);
    }

    #[test]
    fn a_cut_off_model_is_refused_and_does_not_panic() {
        let bytes: Vec<u8> = (0_u8..=255).cycle().take(4096).collect();
        for n in 0..bytes.len() {
            assert!(to_onnx(&bytes[..n]).is_err());
        }
    }
}
