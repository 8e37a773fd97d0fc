//! Writes small ONNX files for tests, field by field, so that a test can also write one that no exporter would.
//!
//! Shared by the unit tests and by `tests/it`; not every test uses every function.
#![allow(dead_code, unreachable_pub, missing_debug_implementations, clippy::cast_possible_truncation)]

/// A protobuf message under construction.
#[derive(Default, Clone)]
pub struct Message(pub Vec<u8>);

impl Message {
    pub fn varint(mut self, field: u32, value: i64) -> Message {
        self.push_varint(u64::from(field) << 3);
        self.push_varint(value.cast_unsigned());
        self
    }

    pub fn bytes(mut self, field: u32, value: impl AsRef<[u8]>) -> Message {
        self.push_varint(u64::from(field) << 3 | 2);
        self.push_varint(value.as_ref().len() as u64);
        self.0.extend_from_slice(value.as_ref());
        self
    }

    pub fn float(mut self, field: u32, value: f32) -> Message {
        self.push_varint(u64::from(field) << 3 | 5);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn push_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Element types, as `TensorProto.DataType` numbers them.
pub const FLOAT: i64 = 1;
pub const INT32: i64 = 6;
pub const INT64: i64 = 7;
pub const STRING: i64 = 8;
pub const BOOL: i64 = 9;
pub const FLOAT16: i64 = 10;

/// One dimension of an input or output: a number, or a name.
#[derive(Clone, Copy)]
pub enum D {
    N(i64),
    S(&'static str),
}

pub fn tensor_type(element: i64, dims: Option<&[D]>) -> Message {
    let mut tensor = Message::default().varint(1, element);
    if let Some(dims) = dims {
        let shape = dims.iter().fold(Message::default(), |shape, dim| {
            shape.bytes(
                1,
                match dim {
                    D::N(size) => Message::default().varint(1, *size),
                    D::S(name) => Message::default().bytes(2, name),
                },
            )
        });
        tensor = tensor.bytes(2, shape);
    }
    Message::default().bytes(1, tensor)
}

pub fn value(name: &str, element: i64, dims: &[D]) -> Message {
    Message::default().bytes(1, name).bytes(2, tensor_type(element, Some(dims)))
}

pub fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: &[Message]) -> Message {
    let node = inputs.iter().fold(Message::default(), |node, name| node.bytes(1, name));
    let node = outputs.iter().fold(node, |node, name| node.bytes(2, name)).bytes(4, op);
    attributes.iter().fold(node, |node, attribute| node.bytes(5, attribute))
}

pub fn attr_int(name: &str, value: i64) -> Message {
    Message::default().bytes(1, name).varint(3, value).varint(20, 2)
}

pub fn attr_float(name: &str, value: f32) -> Message {
    Message::default().bytes(1, name).float(2, value).varint(20, 1)
}

pub fn attr_string(name: &str, value: &str) -> Message {
    Message::default().bytes(1, name).bytes(4, value).varint(20, 3)
}

pub fn attr_ints(name: &str, values: &[i64]) -> Message {
    values.iter().fold(Message::default().bytes(1, name), |attr, &v| attr.varint(8, v)).varint(20, 7)
}

pub fn attr_graph(name: &str, graph: Message) -> Message {
    Message::default().bytes(1, name).bytes(6, graph).varint(20, 5)
}

pub fn attr_tensor(name: &str, tensor: Message) -> Message {
    Message::default().bytes(1, name).bytes(5, tensor).varint(20, 4)
}

pub fn tensor(name: &str, element: i64, dims: &[i64], raw: &[u8]) -> Message {
    let tensor = dims.iter().fold(Message::default(), |tensor, &dim| tensor.varint(1, dim));
    tensor.varint(2, element).bytes(8, name).bytes(9, raw)
}

pub fn floats(name: &str, dims: &[i64], values: &[f32]) -> Message {
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    tensor(name, FLOAT, dims, &raw)
}

pub fn ints(name: &str, dims: &[i64], values: &[i64]) -> Message {
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    tensor(name, INT64, dims, &raw)
}

/// A tensor whose bytes lie in another file.
pub fn external(name: &str, dims: &[i64], location: &str) -> Message {
    let tensor = dims.iter().fold(Message::default(), |tensor, &dim| tensor.varint(1, dim));
    let entry = Message::default().bytes(1, "location").bytes(2, location);
    tensor.varint(2, FLOAT).bytes(8, name).bytes(13, entry).varint(14, 1)
}

pub fn graph(
    nodes: &[Message],
    inputs: &[Message],
    outputs: &[Message],
    initializers: &[Message],
) -> Message {
    let graph = nodes.iter().fold(Message::default(), |graph, node| graph.bytes(1, node)).bytes(2, "g");
    let graph = initializers.iter().fold(graph, |graph, tensor| graph.bytes(5, tensor));
    let graph = inputs.iter().fold(graph, |graph, value| graph.bytes(11, value));
    outputs.iter().fold(graph, |graph, value| graph.bytes(12, value))
}

pub fn model_of(graph: Message, opset: i64) -> Vec<u8> {
    let import = Message::default().bytes(1, "").varint(2, opset);
    Message::default().varint(1, 8).bytes(2, "weir-tests").bytes(7, graph).bytes(8, import).0
}

pub fn model(
    nodes: &[Message],
    inputs: &[Message],
    outputs: &[Message],
    initializers: &[Message],
) -> Vec<u8> {
    model_of(graph(nodes, inputs, outputs, initializers), 17)
}

use D::{N, S};

/// `y = 2 x + 1`, element by element; rows are independent.
pub fn affine() -> Vec<u8> {
    model(
        &[node("Mul", &["x", "two"], &["t"], &[]), node("Add", &["t", "one"], &["y"], &[])],
        &[value("x", FLOAT, &[S("batch"), N(3)])],
        &[value("y", FLOAT, &[S("batch"), N(3)])],
        &[floats("two", &[], &[2.0]), floats("one", &[], &[1.0])],
    )
}

/// Gives its strings back.
pub fn strings() -> Vec<u8> {
    model(
        &[node("Identity", &["x"], &["y"], &[])],
        &[value("x", STRING, &[S("batch"), N(2)])],
        &[value("y", STRING, &[S("batch"), N(2)])],
        &[],
    )
}

/// Gives back what it gets, with any element type.
pub fn identity(element: i64) -> Vec<u8> {
    model(
        &[node("Identity", &["x"], &["y"], &[])],
        &[value("x", element, &[S("n")])],
        &[value("y", element, &[S("n")])],
        &[],
    )
}

/// Subtracts the mean over the batch: each row depends on its batch mates.
pub fn centred() -> Vec<u8> {
    model(
        &[
            node("ReduceMean", &["x"], &["m"], &[attr_ints("axes", &[0]), attr_int("keepdims", 1)]),
            node("Sub", &["x", "m"], &["y"], &[]),
        ],
        &[value("x", FLOAT, &[S("batch"), N(3)])],
        &[value("y", FLOAT, &[S("batch"), N(3)])],
        &[],
    )
}

/// Sorts along the batch axis: a caller would get another's rows.
pub fn sorted() -> Vec<u8> {
    model(
        &[
            node("Shape", &["x"], &["s"], &[attr_int("start", 0), attr_int("end", 1)]),
            node("TopK", &["x", "s"], &["y", "i"], &[attr_int("axis", 0)]),
        ],
        &[value("x", FLOAT, &[S("batch"), N(3)])],
        &[value("y", FLOAT, &[S("batch"), N(3)])],
        &[],
    )
}

/// Declares `[batch, 9]` and gives `[batch, 3]`.
pub fn lying_shape() -> Vec<u8> {
    model(
        &[node("Reshape", &["x", "s"], &["y"], &[])],
        &[value("x", FLOAT, &[S("batch"), N(3)]), value("s", INT64, &[N(2)])],
        &[value("y", FLOAT, &[S("batch"), N(9)])],
        &[],
    )
}

/// An LSTM, which ONNX Runtime aborts on with a batch of 0.
pub fn lstm() -> Vec<u8> {
    let (hidden, input) = (2i64, 3i64);
    let weights = vec![0.1; usize::try_from(4 * hidden * input).unwrap()];
    let recurrent = vec![0.1; usize::try_from(4 * hidden * hidden).unwrap()];
    model(
        &[
            node("Transpose", &["x"], &["t"], &[attr_ints("perm", &[1, 0, 2])]),
            node("LSTM", &["t", "w", "r"], &["", "h"], &[attr_int("hidden_size", hidden)]),
            node("Squeeze", &["h", "zero"], &["y"], &[]),
        ],
        &[value("x", FLOAT, &[S("batch"), S("time"), N(input)])],
        &[value("y", FLOAT, &[S("batch"), N(hidden)])],
        &[
            floats("w", &[1, 4 * hidden, input], &weights),
            floats("r", &[1, 4 * hidden, hidden], &recurrent),
            ints("zero", &[1], &[0]),
        ],
    )
}

/// A matrix product written as Einsum, which divides by an inner dimension of 0.
pub fn einsum() -> Vec<u8> {
    model(
        &[node("Einsum", &["a", "b"], &["y"], &[attr_string("equation", "ij,kj->ik")])],
        &[value("a", FLOAT, &[S("i"), S("j")]), value("b", FLOAT, &[S("k"), S("j")])],
        &[value("y", FLOAT, &[S("i"), S("k")])],
        &[],
    )
}

/// Loops for ever when run.
pub fn endless() -> Vec<u8> {
    let body = graph(
        &[node("Identity", &["cond_in"], &["cond_out"], &[]), node("Identity", &["v_in"], &["v_out"], &[])],
        &[value("iter", INT64, &[]), value("cond_in", BOOL, &[]), value("v_in", FLOAT, &[S("batch"), N(1)])],
        &[value("cond_out", BOOL, &[]), value("v_out", FLOAT, &[S("batch"), N(1)])],
        &[],
    );
    model(
        &[node("Loop", &["", "go", "x"], &["y"], &[attr_graph("body", body)])],
        &[value("x", FLOAT, &[S("batch"), N(1)])],
        &[value("y", FLOAT, &[S("batch"), N(1)])],
        &[tensor("go", BOOL, &[], &[1])],
    )
}

/// Looks each row's number up in a table of 4 rows; a number outside it fails the whole run.
pub fn lookup() -> Vec<u8> {
    model(
        &[node("Gather", &["table", "x"], &["t"], &[]), node("Squeeze", &["t", "one"], &["y"], &[])],
        &[value("x", INT64, &[S("batch"), N(1)])],
        &[value("y", FLOAT, &[S("batch"), N(2)])],
        &[floats("table", &[4, 2], &[0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]), ints("one", &[1], &[1])],
    )
}

/// Fills as many elements as its input says: a few bytes in, any number out.
pub fn fill() -> Vec<u8> {
    model(
        &[node("ConstantOfShape", &["n"], &["y"], &[attr_tensor("value", floats("", &[1], &[1.0]))])],
        &[value("n", INT64, &[N(1)])],
        &[value("y", FLOAT, &[S("n")])],
        &[],
    )
}

/// Uses the initializer `w`, which lies in another file.
pub fn with_external(location: &str) -> Vec<u8> {
    model(
        &[node("Add", &["x", "w"], &["y"], &[])],
        &[value("x", FLOAT, &[N(4)])],
        &[value("y", FLOAT, &[N(4)])],
        &[external("w", &[4], location)],
    )
}

/// Gives each batch twice: two rows out for each that goes in.
pub fn doubled() -> Vec<u8> {
    model(
        &[node("Concat", &["x", "x"], &["y"], &[attr_int("axis", 0)])],
        &[value("x", FLOAT, &[S("batch"), N(3)])],
        &[value("y", FLOAT, &[S("out"), N(3)])],
        &[],
    )
}

/// Adds noise.
pub fn random() -> Vec<u8> {
    model(
        &[node("RandomNormalLike", &["x"], &["r"], &[]), node("Add", &["x", "r"], &["y"], &[])],
        &[value("x", FLOAT, &[S("batch"), N(3)])],
        &[value("y", FLOAT, &[S("batch"), N(3)])],
        &[],
    )
}

/// Multiplies constants until the sun burns out: loading folds them.
pub fn endless_load() -> Vec<u8> {
    let shape = ints("shape", &[2], &[6000, 6000]);
    let one = attr_tensor("value", floats("", &[1], &[1.0]));
    let mut nodes = vec![node("ConstantOfShape", &["shape"], &["m0"], &[one])];
    for step in 0..60 {
        let (from, to) = (format!("m{step}"), format!("m{}", step + 1));
        nodes.push(node("MatMul", &[&from, "m0"], &[&to], &[]));
    }
    nodes.push(node("Slice", &["m60", "start", "end"], &["c"], &[]));
    nodes.push(node("Add", &["x", "c"], &["y"], &[]));
    model(
        &nodes,
        &[value("x", FLOAT, &[N(1), N(1)])],
        &[value("y", FLOAT, &[N(1), N(1)])],
        &[shape, ints("start", &[2], &[0, 0]), ints("end", &[2], &[1, 1])],
    )
}

/// Divides the smallest integer by -1 while loading.
pub fn folded_division() -> Vec<u8> {
    model(
        &[node("Div", &["a", "b"], &["c"], &[]), node("Add", &["x", "c"], &["y"], &[])],
        &[value("x", INT64, &[S("batch")])],
        &[value("y", INT64, &[S("batch")])],
        &[ints("a", &[], &[i64::MIN]), ints("b", &[], &[-1])],
    )
}
