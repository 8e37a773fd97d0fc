//! Bodies and what becomes of them: good ones, malformed ones with their messages, and arbitrary ones.

use bytes::{Bytes, BytesMut};
use half::{bf16, f16};
use proptest::prelude::*;

use super::{DecodeError, EncodeError};
use crate::infer::InferResponse;
use crate::model::Version;
use crate::protocol::binary::{decode_infer, encode_infer, json_len};
use crate::protocol::{InferBody, Limits, OutputForms};
use crate::tensor::{DataType, Shape, StringsWriter, Tensor};

fn decode(body: &[u8]) -> Result<InferBody, DecodeError> {
    decode_infer(&Bytes::copy_from_slice(body), body.len(), &Limits::default())
}

/// A body with one input.
fn with_data(datatype: &str, shape: &str, data: &str) -> String {
    format!(r#"{{"inputs":[{{"name":"x","datatype":"{datatype}","shape":{shape},"data":{data}}}]}}"#)
}

/// The bytes that `data` become.
fn bytes_of(datatype: &str, shape: &str, data: &str) -> Result<Vec<u8>, String> {
    match decode(with_data(datatype, shape, data).as_bytes()) {
        Ok(body) => Ok(body.inputs[0].data().to_vec()),
        Err(error) => Err(error.to_string()),
    }
}

fn le<const N: usize, T: Copy>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|value| bytes(*value)).collect()
}

#[test]
fn data_become_little_endian_bytes() {
    let check = |datatype: &str, shape: &str, data: &str, expected: Vec<u8>| {
        assert_eq!(bytes_of(datatype, shape, data), Ok(expected), "{datatype} {shape} {data}");
    };
    check("BOOL", "[4]", "[true,false,1,0]", vec![1, 0, 1, 0]);
    check("UINT8", "[2]", "[0,255]", vec![0, 255]);
    check("INT8", "[2]", "[-128,127]", vec![128, 127]);
    check("UINT16", "[1]", "[65535]", vec![255, 255]);
    check("INT16", "[1]", "[-2]", vec![254, 255]);
    check("UINT32", "[1]", "[4294967295]", vec![255; 4]);
    check("INT32", "[1,2]", "[1.0, 1e3]", le(&[1, 1000], i32::to_le_bytes));
    check(
        "INT64",
        "[2]",
        "[9007199254740993,-9223372036854775808]",
        le(&[9007199254740993, i64::MIN], i64::to_le_bytes),
    );
    check("UINT64", "[1]", "[18446744073709551615]", vec![255; 8]);
    check("FP16", "[2]", "[1.5,65504]", le(&[1.5, 65504.0], |x| f16::from_f64(x).to_le_bytes()));
    check("BF16", "[2]", "[1.5,-3e38]", le(&[1.5, -3e38], |x| bf16::from_f64(x).to_le_bytes()));
    check(
        "FP32",
        "[2,2]",
        "[[0.1,-0],[1e-45,3.4028235e38]]",
        le(&[0.1, -0.0, 1e-45, f32::MAX], f32::to_le_bytes),
    );
    check(
        "FP64",
        "[3]",
        "[0.1, 5e-324 ,\n1.7976931348623157e308]",
        le(&[0.1, 5e-324, f64::MAX], f64::to_le_bytes),
    );
    check(
        "BYTES",
        "[3]",
        r#"["","é\u0000","\ud83d\ude00"]"#,
        b"\0\0\0\0\x03\0\0\0\xc3\xa9\0\x04\0\0\0\xf0\x9f\x98\x80".to_vec(),
    );
    check("FP32", "[]", "[1]", le(&[1.0], f32::to_le_bytes));
    check("FP32", "[]", "1", le(&[1.0], f32::to_le_bytes));
    check("FP32", "[0,3]", "[]", vec![]);
    check("FP32", "[2,0]", "[[],[]]", vec![]);
    check("FP32", "[2,0]", "[]", vec![]);
    check("INT8", "[2,1,2]", "[[[1,2]],[[3,4]]]", vec![1, 2, 3, 4]);
    check("INT8", "[2,1,2]", "[1,2,3,4]", vec![1, 2, 3, 4]);
}

#[test]
fn floats_have_names_for_what_numbers_cannot_say() {
    for datatype in ["FP32", "FP64", "FP16", "BF16"] {
        let data = r#"["NaN","Infinity","-Infinity",NaN,Infinity,-Infinity,null]"#;
        let body = decode(with_data(datatype, "[7]", data).as_bytes()).unwrap();
        let encoded = encode(body.inputs, &OutputForms::default()).unwrap();
        let expected = r#""data":["NaN","Infinity","-Infinity","NaN","Infinity","-Infinity","NaN"]"#;
        assert!(encoded.contains(expected), "{datatype}: {encoded}");
    }
}

#[test]
fn wrong_data_name_the_tensor_and_what_was_expected() {
    // `+N` stands for the byte N of the data.
    let check = |datatype: &str, shape: &str, data: &str, expected: &str| {
        let start = with_data(datatype, shape, "").len() - "}]}".len();
        let expected = match expected.split_once('+') {
            Some((before, after)) => {
                let digits = after.find([')', ':']).unwrap();
                let (digits, after) = after.split_at(digits);
                let at = digits.parse::<usize>().unwrap() + start;
                format!("input 'x': {before}{at}{after}")
            }
            None => format!("input 'x': {expected}"),
        };
        assert_eq!(bytes_of(datatype, shape, data), Err(expected));
    };
    let element = |datatype: &str, data: &str, expected: &str| check(datatype, "[2]", data, expected);
    let whole = "a whole number is needed";
    let int8 = "a whole number from -128 to 127 is needed";
    element("INT8", "[128,1]", &format!("element 0 (JSON byte +1): 128 is not an INT8: {int8}"));
    element("INT8", "[1,1.5]", &format!("element 1 (JSON byte +3): 1.5 is not an INT8: {int8}"));
    element("INT8", "[\"a\"]", &format!("element 0 (JSON byte +1): \"a\" is not an INT8: {whole}"));
    element("INT8", "[null]", &format!("element 0 (JSON byte +1): null is not an INT8: {whole}"));
    element("INT8", "[1,[2]]", &format!("element 1 (JSON byte +3): [2 is not an INT8: {whole}"));
    element("BOOL", "[2]", "element 0 (JSON byte +1): 2 is not a BOOL: true, false, 1 or 0 is needed");
    element("FP32", "[1e39]", "element 0 (JSON byte +1): 1e39 is not an FP32: it is too large");
    element("FP64", "[1e999]", "element 0 (JSON byte +1): 1e999 is not an FP64: it is too large");
    element("FP16", "[65520]", "element 0 (JSON byte +1): 65520 is not an FP16: it is too large");
    element("FP32", "[true]", "element 0 (JSON byte +1): true is not an FP32: a number is needed");
    element("BYTES", "[1]", "element 0 (JSON byte +1): 1 is not a BYTES: a string is needed");
    let uint64 = "a whole number from 0 to 18446744073709551615 is needed";
    element("UINT64", "[-1]", &format!("element 0 (JSON byte +1): -1 is not a UINT64: {uint64}"));
    element("FP32", "[1]", "shape [2] takes 2 elements, data has 1");
    element("FP32", "[1,2,3]", "shape [2] takes 2 elements, data has at least 3");
    check("FP32", "[0]", "[1]", "shape [0] takes 0 elements, data has at least 1");
    check("FP32", "[2147483648,2147483648]", "[1]", "shape: the number of elements overflows");
    let negative = "shape: dimension 0 is -1; a request's dimensions must not be negative";
    check("FP32", "[-1]", "[1]", negative);
    check("FP32", "[2000000]", "[1]", "2000000 rows; at most 1048576 are allowed");
    let datatypes = "BOOL, UINT8 to UINT64, INT8 to INT64, FP16, BF16, FP32, FP64 or BYTES";
    check("FP33", "[1]", "[1]", &format!("'FP33' is not a datatype; expected {datatypes}"));
}

#[test]
fn nested_data_follow_the_shape() {
    let check = |shape: &str, data: &str, byte: usize, expected: usize, dimension: usize| {
        let at = with_data("FP32", shape, "").len() - "}]}".len() + byte;
        let expected = format!(
            "input 'x': JSON byte {at}: nested data must follow shape {shape}: \
             expected {expected} values in dimension {dimension}"
        );
        assert_eq!(bytes_of("FP32", shape, data), Err(expected), "{shape} {data}");
    };
    check("[2,2]", "[[1,2],[3]]", 10, 2, 1);
    check("[2,2]", "[[1,2,3],[4]]", 6, 2, 1);
    check("[2,2]", "[[1,2]]", 7, 2, 0);
    check("[1,2]", "[[1,2],[1,2]]", 7, 1, 0);
    check("[2,2]", "[[1,2],3,4]", 7, 2, 0);
    check("[2,0]", "[[],[1]]", 5, 0, 1);
    check("[2,1,1]", "[[[1]],[]]", 9, 1, 1);
    assert!(bytes_of("FP32", "[2,2]", "[[[1],[2]],[[3],[4]]]").is_err());
    let deep = format!("{}1{}", "[".repeat(30), "]".repeat(30));
    let shape = format!("[{}]", ["1"; 30].join(","));
    assert!(bytes_of("FP32", &shape, &deep).unwrap_err().contains("nested deeper than 32"));
}

#[test]
fn malformed_bodies_are_refused() {
    let check = |body: &str, expected: &str| {
        assert_eq!(
            decode(body.as_bytes()).map_err(|error| error.to_string()).err().as_deref(),
            Some(expected),
            "{body}"
        );
    };
    let input = r#"{"name":"x","datatype":"INT8","shape":[1],"data":[1]}"#;
    check("", "JSON byte 0: expected an inference request, found the end");
    check("[]", "JSON byte 0: expected an inference request, found '['");
    check("{}", "the request has no 'inputs'");
    check(r#"{"inputs":{}}"#, "JSON byte 10: expected an array of inputs, found '{'");
    check(r#"{"inputs":[1]}"#, "JSON byte 11: expected an input, found '1'");
    check(r#"{"inputs":[{}]}"#, "input 0 has no 'name'");
    check(r#"{"inputs":[{"name":"x"}]}"#, "input 'x' has no 'datatype'");
    check(r#"{"inputs":[{"name":"x","datatype":"INT8"}]}"#, "input 'x' has no 'shape'");
    check(r#"{"inputs":[{"name":"x","datatype":"INT8","shape":[1]}]}"#, "input 'x' has no 'data'");
    check(&format!(r#"{{"inputs":[{input}]"#), "JSON byte 65: expected ',' or '}', found the end");
    check(&format!(r#"{{"inputs":[{input}]}}x"#), "JSON byte 66: expected the end of the JSON, found 'x'");
    check(r#"{"inputs":[],"inputs":[]}"#, "JSON byte 22: 'inputs' is given twice");
    check(r#"{"inputs":[{"name":"x","name":"y"}]}"#, "JSON byte 30: 'name' is given twice");
    check(r#"{"id":1}"#, "JSON byte 6: expected the id as a string, found '1'");
    check(r#"{"inputs":[{"name":"x","shape":[1.5]}]}"#, "JSON byte 32: a dimension is a whole number");
    check(
        r#"{"inputs":[{"name":"x","shape":[9223372036854775808]}]}"#,
        "JSON byte 32: a dimension is a whole number",
    );
    check(
        r#"{"parameters":{"priority":"high"}}"#,
        "the request: parameter 'priority' must be a whole number from 0 to 4294967295",
    );
    check(
        r#"{"parameters":{"sequence_id":7}}"#,
        "the request: parameter 'sequence_id' is not supported: this server has no sequences",
    );
    check(r#"{"parameters":{"a":1,"a":2}}"#, "JSON byte 25: 'a' is given twice");
    check(
        r#"{"parameters":{"a":[]}}"#,
        "JSON byte 19: expected true, false, a number or a string, found '['",
    );
    check(r#"{"outputs":[{"parameters":{}}]}"#, "output 0 has no 'name'");
    check(
        r#"{"outputs":[{"name":"y","parameters":{"binary_data":1}}]}"#,
        "output 0: parameter 'binary_data' must be true or false",
    );
    check(
        r#"{"inputs":[{"name":"x","parameters":{"shared_memory_region":"r"}}]}"#,
        "input 0: parameter 'shared_memory_region' is not supported: this server has no shared memory",
    );
    check(&format!(r#"{{"a":{}"#, "[".repeat(100_000)), "JSON byte 36: nested deeper than 32");
    check(&format!(r#"{{"inputs":[{}]}}"#, vec![input; 257].join(",")), "more than 256 inputs");
    let parameters: Vec<String> = (0..65).map(|index| format!("\"{index}\":1")).collect();
    check(
        &format!(r#"{{"parameters":{{{}}}}}"#, parameters.join(",")),
        "more than 64 parameters of the request",
    );
    assert_eq!(decode(b"{\"id\":\"\xff\"}").unwrap_err(), DecodeError::Utf8 { offset: 7 });
}

#[test]
fn keys_come_in_any_order() {
    let body = r#" {"unknown":{"a":[1,{"b":null}]}, "outputs":[{"parameters":{"classification":3,"binary_data":true},"name":"y","x":[]},{"name":"z"}],
        "inputs":[{"data":[[1],[2]],"parameters":{"mine":1},"extra":"]","shape":[2,1],"name":"a\u0062","datatype":"UINT8"}],
        "parameters":{"priority":2,"timeout":1500,"binary_data_output":false,"triton_x":"y"},"id":"r\n1"} "#;
    let body = decode(body.as_bytes()).unwrap();
    let input = &body.inputs[0];
    assert_eq!(
        (&**input.name(), input.dtype(), input.shape().dims(), &input.data()[..]),
        ("ab", DataType::Uint8, &[2, 1][..], &[1, 2][..])
    );
    assert_eq!((&*body.id, body.priority, body.timeout.unwrap().as_micros()), ("r\n1", 2, 1500));
    assert_eq!(
        (&*body.outputs[0].name, body.outputs[0].classification, &*body.outputs[1].name),
        ("y", 3, "z")
    );
    assert_eq!([0, 1].map(|index| body.forms.is_binary(index)), [true, false]);
}

#[test]
fn binary_inputs_are_slices_of_the_body() {
    let json = r#"{"inputs":[{"name":"a","shape":[2],"datatype":"UINT8","parameters":{"binary_data_size":2}},
        {"name":"b","shape":[1],"datatype":"UINT8","data":[9]},
        {"name":"c","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":5}}]}"#;
    let check = |tail: &[u8], expected: Result<[&[u8]; 3], &str>| {
        let body = Bytes::from([json.as_bytes(), tail].concat());
        let decoded = decode_infer(&body, json.len(), &Limits::default()).map_err(|error| error.to_string());
        if let Ok(decoded) = &decoded {
            assert_eq!(decoded.inputs[0].data().as_ptr(), body[json.len()..].as_ptr());
        }
        let inputs = decoded.map(|body| [0, 1, 2].map(|index| body.inputs[index].data().clone()));
        assert_eq!(inputs, expected.map(|inputs| inputs.map(Bytes::copy_from_slice)).map_err(str::to_owned));
    };
    check(b"\x01\x02\x01\0\0\0z", Ok([b"\x01\x02", b"\x09", b"\x01\0\0\0z"]));
    check(b"\x01", Err("input 'a': binary_data_size is 2, only 1 bytes are left in the body"));
    check(b"\x01\x02\x01\0\0\0z!", Err("1 bytes of binary data follow the last tensor"));
    check(b"\x01\x02\x02\0\0\0z", Err("tensor 'c': BYTES element 0 is cut off at byte 5"));
    let both = r#"{"inputs":[{"name":"a","shape":[1],"datatype":"UINT8","data":[1],"parameters":{"binary_data_size":1}}]}"#;
    assert_eq!(
        decode(both.as_bytes()).unwrap_err().to_string(),
        "input 'a': it has both 'data' and 'binary_data_size'; one of them is needed"
    );
    let huge = r#"{"inputs":[{"name":"a","shape":[1],"datatype":"UINT8","parameters":{"binary_data_size":18446744073709551615}}]}"#;
    assert!(matches!(decode(huge.as_bytes()), Err(DecodeError::BinaryTruncated { actual: 0, .. })));
}

#[test]
fn the_header_says_where_the_json_ends() {
    let check = |header: Option<&str>, expected: Option<usize>| {
        assert_eq!(json_len(header.map(str::as_bytes), 10).ok(), expected, "{header:?}");
    };
    check(None, Some(10));
    check(Some("0"), Some(0));
    check(Some("10"), Some(10));
    for bad in ["11", "-1", "+1", "", " 1", "1x", "18446744073709551616"] {
        check(Some(bad), None);
    }
}

#[test]
fn ten_million_empty_arrays_allocate_nothing() {
    let count = 1 << 20;
    let data = format!("[{}]", vec!["[]"; count].join(","));
    assert_eq!(bytes_of("FP64", &format!("[{count},0]"), &data), Ok(vec![]));
    let claimed = bytes_of("FP64", "[1,1000000000000000]", "[1]");
    assert_eq!(
        claimed,
        Err("input 'x': shape [1,1000000000000000] takes 1000000000000000 elements, data has 1".into())
    );
}

fn response(outputs: Vec<Tensor>) -> InferResponse {
    InferResponse {
        model: "m".into(),
        version: Version::new(3).unwrap(),
        version_text: "3".into(),
        id: "a\"b".into(),
        outputs,
        timing: Default::default(),
        observer: None,
    }
}

fn encode(outputs: Vec<Tensor>, forms: &OutputForms) -> Result<String, EncodeError> {
    let encoded = encode_infer(&response(outputs), forms)?;
    let mut all = BytesMut::from(&encoded.first[..]);
    encoded.rest.iter().for_each(|part| all.extend_from_slice(part));
    Ok(String::from_utf8_lossy(&all).into_owned())
}

fn tensor(name: &str, dtype: DataType, dims: &[usize], data: Vec<u8>) -> Tensor {
    Tensor::new(name.into(), dtype, Shape::new(dims).unwrap(), data.into()).unwrap()
}

#[test]
fn answers_are_written_as_the_protocol_has_them() {
    let outputs = vec![
        tensor("y", DataType::Fp32, &[1, 3], le(&[0.1, -1.0, 1e20], f32::to_le_bytes)),
        tensor("i", DataType::Int64, &[1], le(&[i64::MIN], i64::to_le_bytes)),
        tensor("b", DataType::Bool, &[2], vec![0, 1]),
        tensor("s", DataType::Bytes, &[2], b"\x03\0\0\0\"\n\x01\0\0\0\0".to_vec()),
        tensor("e", DataType::Fp64, &[0, 2], vec![]),
    ];
    let expected = concat!(
        r#"{"id":"a\"b","model_name":"m","model_version":"3","outputs":["#,
        r#"{"name":"y","datatype":"FP32","shape":[1,3],"data":[0.1,-1.0,1e+20]},"#,
        r#"{"name":"i","datatype":"INT64","shape":[1],"data":[-9223372036854775808]},"#,
        r#"{"name":"b","datatype":"BOOL","shape":[2],"data":[false,true]},"#,
        r#"{"name":"s","datatype":"BYTES","shape":[2],"data":["\"\n\u0001",""]},"#,
        r#"{"name":"e","datatype":"FP64","shape":[0,2],"data":[]}]}"#
    );
    assert_eq!(encode(outputs.clone(), &OutputForms::default()).unwrap(), expected);
    let forms = OutputForms { binary: false, by_output: [None, Some(true)].into_iter().collect() };
    let mixed = encode(outputs[..2].to_vec(), &forms).unwrap();
    assert!(mixed.starts_with(r#"{"id":"a\"b","model_name":"m","model_version":"3","outputs":[{"name":"y","datatype":"FP32","shape":[1,3],"data":[0.1,-1.0,1e+20]},{"name":"i","datatype":"INT64","shape":[1],"parameters":{"binary_data_size":8}}]}"#), "{mixed}");
    let bytes = vec![tensor("s", DataType::Bytes, &[1], b"\x01\0\0\0\xff".to_vec())];
    assert_eq!(
        encode(bytes, &OutputForms::default()).unwrap_err().to_string(),
        "output 's': element 0 is not UTF-8; ask for it with the parameter 'binary_data'"
    );
}

#[test]
fn large_binary_outputs_are_not_copied() {
    let small = tensor("a", DataType::Uint8, &[100], vec![1; 100]);
    let large = tensor("b", DataType::Uint8, &[100_000], vec![2; 100_000]);
    let encoded = encode_infer(&response(vec![small, large.clone()]), &OutputForms::all_binary()).unwrap();
    assert_eq!(encoded.first.len(), encoded.json_len.unwrap() + 100);
    assert_eq!(encoded.rest[0].as_ptr(), large.data().as_ptr());
}

fn any_tensor() -> impl Strategy<Value = Tensor> {
    let dims = proptest::collection::vec(0usize..4, 0..4);
    (0..DataType::ALL.len(), dims, any::<u64>()).prop_map(|(dtype, dims, seed)| {
        let dtype = DataType::ALL[dtype];
        let count: usize = dims.iter().product();
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state.rotate_left(29)
        };
        let data: Vec<u8> = match dtype.element_size() {
            _ if dtype == DataType::Bool => (0..count).map(|_| u8::from(next() % 2 == 0)).collect(),
            Some(size) => (0..count).flat_map(|_| next().to_le_bytes()[..size].to_vec()).collect(),
            None => {
                let mut strings = StringsWriter::new();
                for _ in 0..count {
                    let text: String = (0..next() % 5)
                        .filter_map(|_| char::from_u32(u32::try_from(next() % 0x300).unwrap()))
                        .collect();
                    strings.push(text.as_bytes()).unwrap();
                }
                strings.finish().to_vec()
            }
        };
        tensor("t", dtype, &dims, data)
    })
}

/// The same bytes, with every NaN made the one that a name stands for.
fn canonical(tensor: &Tensor) -> Vec<u8> {
    let data = tensor.data();
    let each = |size: usize, nan: &dyn Fn(&[u8]) -> Option<Vec<u8>>| {
        data.chunks_exact(size).flat_map(|bytes| nan(bytes).unwrap_or_else(|| bytes.to_vec())).collect()
    };
    match tensor.dtype() {
        DataType::Fp16 => {
            each(2, &|b| f16::from_le_bytes([b[0], b[1]]).is_nan().then(|| f16::NAN.to_le_bytes().to_vec()))
        }
        DataType::Bf16 => {
            each(2, &|b| bf16::from_le_bytes([b[0], b[1]]).is_nan().then(|| bf16::NAN.to_le_bytes().to_vec()))
        }
        DataType::Fp32 => each(4, &|b| {
            f32::from_le_bytes(b.try_into().unwrap()).is_nan().then(|| f32::NAN.to_le_bytes().to_vec())
        }),
        DataType::Fp64 => each(8, &|b| {
            f64::from_le_bytes(b.try_into().unwrap()).is_nan().then(|| f64::NAN.to_le_bytes().to_vec())
        }),
        _ => data.to_vec(),
    }
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(tensors in proptest::collection::vec(any_tensor(), 1..4), binary: bool) {
        let forms = OutputForms { binary, by_output: Default::default() };
        let encoded = encode_infer(&response(tensors.clone()), &forms).unwrap();
        let mut all = BytesMut::from(&encoded.first[..]);
        encoded.rest.iter().for_each(|part| all.extend_from_slice(part));
        let json_len = encoded.json_len.unwrap_or(all.len());
        let value: serde_json::Value = serde_json::from_slice(&all[..json_len]).unwrap();
        prop_assert_eq!(&value["model_version"], "3");
        // An answer's outputs have the form of a request's inputs.
        let json = std::str::from_utf8(&all[..json_len]).unwrap().replace("\"outputs\":", "\"inputs\":");
        let body = Bytes::from([json.as_bytes(), &all[json_len..]].concat());
        let decoded = decode_infer(&body, json.len(), &Limits::default()).unwrap();
        prop_assert_eq!(decoded.inputs.len(), tensors.len());
        for (decoded, tensor) in decoded.inputs.iter().zip(&tensors) {
            prop_assert_eq!((decoded.dtype(), decoded.shape()), (tensor.dtype(), tensor.shape()));
            prop_assert_eq!(canonical(decoded), canonical(tensor));
        }
    }

    #[test]
    fn arbitrary_bodies_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..220) {
        let body = Bytes::from(body);
        drop(decode_infer(&body, cut, &Limits::default()));
    }

    #[test]
    fn damaged_bodies_never_panic(tensors in proptest::collection::vec(any_tensor(), 1..3), at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let json = encode(tensors, &OutputForms::default()).unwrap().replace("\"outputs\":", "\"inputs\":");
        let mut body = json.into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        drop(decode(&body));
        body.truncate(cut.index(body.len()));
        drop(decode(&body));
    }
}
