//! The hand-written decoder and encoder against the generated messages, which are the definition.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use super::pb::infer_parameter::ParameterChoice;
use super::pb::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use super::pb::{InferParameter, InferTensorContents, ModelInferRequest};
use super::{DecodeError, ResponseEncoder, StreamErrorEncoder, StreamResponseEncoder, decode_request, pb};
use crate::error::{Code, Coded};
use crate::infer::{InferRequest, InferResponse, Timing};
use crate::model::Version;
use crate::protocol::Limits;
use crate::tensor::{DataType, Shape, StringsWriter, Tensor};

fn decode(message: &ModelInferRequest) -> Result<InferRequest, DecodeError> {
    let frame = Bytes::from(message.encode_to_vec());
    decode_request(&frame, &Limits::default(), Instant::now()).map_err(|rejected| *rejected.error)
}

fn input(datatype: &str, shape: &[i64], contents: Option<InferTensorContents>) -> InferInputTensor {
    let (name, datatype) = ("x".to_owned(), datatype.to_owned());
    InferInputTensor { name, datatype, shape: shape.to_vec(), contents, ..Default::default() }
}

fn request(inputs: Vec<InferInputTensor>, raw: &[&'static [u8]]) -> ModelInferRequest {
    let raw_input_contents = raw.iter().map(|raw| Bytes::from_static(raw)).collect();
    ModelInferRequest { model_name: "m".to_owned(), inputs, raw_input_contents, ..Default::default() }
}

fn parameters(entries: Vec<(&str, ParameterChoice)>) -> HashMap<String, InferParameter> {
    let parameter = |choice| InferParameter { parameter_choice: Some(choice) };
    entries.into_iter().map(|(name, choice)| (name.to_owned(), parameter(choice))).collect()
}

#[test]
fn typed_values_of_every_datatype() {
    type Contents = InferTensorContents;
    let check = |datatype: &str, contents: Contents, expected: Vec<u8>| {
        let decoded = decode(&request(vec![input(datatype, &[2], Some(contents))], &[])).unwrap();
        assert_eq!(decoded.inputs[0].data(), &expected, "{datatype}");
    };
    let ints = |values: [i32; 2]| Contents { int_contents: values.to_vec(), ..Default::default() };
    let uints = |values: [u32; 2]| Contents { uint_contents: values.to_vec(), ..Default::default() };
    check("BOOL", Contents { bool_contents: vec![true, false], ..Default::default() }, vec![1, 0]);
    check("INT8", ints([-128, 127]), vec![0x80, 0x7f]);
    check("INT16", ints([-32768, 1]), vec![0, 0x80, 1, 0]);
    check("INT32", ints([i32::MIN, 1]), [i32::MIN.to_le_bytes(), 1i32.to_le_bytes()].concat());
    let int64 = Contents { int64_contents: vec![i64::MIN, -1], ..Default::default() };
    check("INT64", int64, [i64::MIN.to_le_bytes(), (-1i64).to_le_bytes()].concat());
    check("UINT8", uints([255, 0]), vec![255, 0]);
    check("UINT16", uints([65535, 1]), vec![255, 255, 1, 0]);
    check("UINT32", uints([u32::MAX, 1]), [u32::MAX.to_le_bytes(), 1u32.to_le_bytes()].concat());
    let uint64 = Contents { uint64_contents: vec![u64::MAX, 1], ..Default::default() };
    check("UINT64", uint64, [u64::MAX.to_le_bytes(), 1u64.to_le_bytes()].concat());
    let fp32 = Contents { fp32_contents: vec![0.1, f32::INFINITY], ..Default::default() };
    check("FP32", fp32, [0.1f32.to_le_bytes(), f32::INFINITY.to_le_bytes()].concat());
    let fp64 = Contents { fp64_contents: vec![0.1, -0.0], ..Default::default() };
    check("FP64", fp64, [0.1f64.to_le_bytes(), (-0.0f64).to_le_bytes()].concat());
    let bytes = Contents { bytes_contents: vec!["ä\0".into(), Bytes::new()], ..Default::default() };
    check("BYTES", bytes, b"\x03\0\0\0\xc3\xa4\0\0\0\0\0".to_vec());
}

#[test]
fn every_defect_is_named() {
    let check = |message: ModelInferRequest, expected: &str| {
        let error = decode(&message).unwrap_err();
        assert!(error.to_string().contains(expected), "{error} does not say {expected:?}");
        assert!(matches!(error.code(), Code::InvalidArgument | Code::Unimplemented), "{error}");
    };
    let typed =
        |datatype: &str, shape: &[i64], contents| request(vec![input(datatype, shape, contents)], &[]);
    let ints =
        |values: &[i32]| Some(InferTensorContents { int_contents: values.to_vec(), ..Default::default() });
    check(typed("FP16", &[1], None), "no typed contents; send it in raw_input_contents");
    check(typed("BF16", &[1], ints(&[1])), "'x' is BF16");
    check(typed("INT8", &[2], ints(&[1, 128])), "value 128 at index 1 does not fit INT8");
    check(typed("INT8", &[1], ints(&[-129])), "value -129 at index 0 does not fit INT8");
    check(typed("FP32", &[1], ints(&[1])), "belong in fp32_contents, not in int_contents");
    check(typed("INT32", &[2], ints(&[1])), "shape [2] takes 2 values, got 1");
    check(typed("INT32", &[1], ints(&[1, 2])), "shape [1] takes 1 values, got at least 2");
    check(typed("INT32", &[1], None), "takes 1 values, got 0");
    check(typed("FP31", &[1], None), "unknown datatype 'FP31'");
    check(typed("INT32", &[-1], None), "dimension 0 is -1");
    check(typed("INT32", &[1 << 40, 1 << 40], None), "overflows");
    check(typed("INT32", &[1; 40], None), "dimensions; at most");
    check(typed("INT32", &[1 << 30, 0], None), "rows; at most");
    let raw = |shape: &[i64], raw: &[&'static [u8]]| request(vec![input("INT32", shape, None)], raw);
    check(raw(&[1], &[b"123"]), "takes 4 bytes, got 3");
    check(raw(&[1], &[b"1234", b"1234"]), "2 entries for 1 inputs");
    check(request(vec![input("INT32", &[1], ints(&[1]))], &[b"1234"]), "uses one or the other");
    check(request(vec![input("BYTES", &[1], None)], &[b"\xff\xff\xff\xff"]), "cut off");
    let too_many = request((0..257).map(|_| input("INT32", &[0], None)).collect(), &[]);
    check(too_many, "too many inputs: at most 256");

    let with = |entries| ModelInferRequest { parameters: parameters(entries), ..request(vec![], &[]) };
    check(with(vec![("priority", ParameterChoice::Int64Param(-1))]), "parameter 'priority'");
    check(with(vec![("timeout", ParameterChoice::StringParam("soon".into()))]), "parameter 'timeout'");
    check(with(vec![("sequence_id", ParameterChoice::Int64Param(7))]), "'sequence_id' is not supported");
    let mut shared = input("INT32", &[1], None);
    shared.parameters = parameters(vec![("shared_memory_region", ParameterChoice::StringParam("r".into()))]);
    check(request(vec![shared], &[]), "'x' is in shared memory");
}

#[test]
fn parameters_mean_what_clients_mean() {
    let now = Instant::now();
    let limits = Limits { deadline_max: Duration::from_secs(9), ..Limits::default() };
    let check = |entries, priority, timeout: Option<Duration>| {
        let message = ModelInferRequest { parameters: parameters(entries), ..request(vec![], &[]) };
        let decoded = decode_request(&message.encode_to_vec().into(), &limits, now).unwrap();
        assert_eq!((decoded.priority, decoded.deadline), (priority, timeout.map(|timeout| now + timeout)));
    };
    use ParameterChoice::{BoolParam, Int64Param, StringParam, Uint64Param};
    check(vec![], 0, None);
    check(vec![("priority", Int64Param(2)), ("timeout", Int64Param(0))], 2, None);
    check(vec![("priority", Uint64Param(1))], 1, None);
    check(vec![("timeout", Uint64Param(1500))], 0, Some(Duration::from_micros(1500)));
    check(vec![("timeout", StringParam("20".into()))], 0, Some(Duration::from_micros(20)));
    check(vec![("timeout", Int64Param(i64::MAX))], 0, Some(limits.deadline_max));
    check(vec![("sequence_id", Int64Param(0)), ("sequence_end", BoolParam(false))], 0, None);
    check(vec![("triton_enable_empty_final_response", BoolParam(true)), ("mine", Int64Param(1))], 0, None);

    let outputs = vec![InferRequestedOutputTensor {
        name: "y".to_owned(),
        parameters: parameters(vec![("classification", Int64Param(3)), ("binary_data", BoolParam(true))]),
    }];
    let decoded = decode(&ModelInferRequest { outputs, ..request(vec![], &[]) }).unwrap();
    assert_eq!((&*decoded.outputs[0].name, decoded.outputs[0].classification), ("y", 3));
}

#[test]
fn tensors_are_slices_of_the_frame() {
    let floats = InferTensorContents { fp32_contents: vec![1.0; 4], ..Default::default() };
    for message in [
        request(vec![input("FP32", &[4], None)], &[&[7; 16]]),
        request(vec![input("FP32", &[4], Some(floats))], &[]),
    ] {
        let frame = Bytes::from(message.encode_to_vec());
        let decoded = decode_request(&frame, &Limits::default(), Instant::now()).unwrap();
        let (outer, inner) = (frame.as_ptr_range(), decoded.inputs[0].data().as_ptr_range());
        assert!(outer.start <= inner.start && inner.end <= outer.end);
    }
}

#[test]
fn contents_may_come_in_parts_and_unpacked() {
    // Field 5 (contents) twice: fp32_contents packed, then single.
    let mut tensor = input("FP32", &[2], None).encode_to_vec();
    tensor.extend_from_slice(b"\x2a\x06\x32\x04\0\0\x80\x3f\x2a\x05\x35\0\0\0\x40");
    let mut frame = vec![0x2a, u8::try_from(tensor.len()).unwrap()];
    frame.extend_from_slice(&tensor);
    let decoded = decode_request(&frame.into(), &Limits::default(), Instant::now()).unwrap();
    assert_eq!(&decoded.inputs[0].data()[..], [1f32.to_le_bytes(), 2f32.to_le_bytes()].concat());
}

/// A request that the decoder accepts, with its tensors in raw form.
fn valid_request() -> impl Strategy<Value = ModelInferRequest> {
    let tensor = (".{0,12}", vec(0i64..4, 0..4)).prop_map(|(name, shape)| {
        let len: i64 = shape.iter().product();
        let data = vec![7u8; usize::try_from(len).unwrap() * 2];
        (InferInputTensor { name, datatype: "INT16".to_owned(), shape, ..Default::default() }, data)
    });
    let text = || ".{0,20}";
    (text(), text(), text(), vec(tensor, 0..4), vec(text(), 0..4), 0u64..9).prop_map(
        |(model_name, model_version, id, tensors, outputs, priority)| {
            let (inputs, raw): (Vec<_>, Vec<_>) = tensors.into_iter().unzip();
            let output = |name| InferRequestedOutputTensor { name, ..Default::default() };
            ModelInferRequest {
                model_name,
                model_version,
                id,
                parameters: parameters(vec![("priority", ParameterChoice::Uint64Param(priority))]),
                inputs,
                outputs: outputs.into_iter().map(output).collect(),
                raw_input_contents: raw.into_iter().map(Bytes::from).collect(),
            }
        },
    )
}

fn any_response() -> impl Strategy<Value = InferResponse> {
    let fixed = (".{0,12}", vec(0usize..300, 0..3)).prop_map(|(name, dims)| {
        let shape = Shape::new(&dims).unwrap();
        let data = Bytes::from(vec![3; shape.element_count() * 4]);
        Tensor::new(name.into(), DataType::Fp32, shape, data).unwrap()
    });
    let strings = (".{0,12}", vec(".{0,9}", 0..5)).prop_map(|(name, elements)| {
        let mut writer = StringsWriter::new();
        elements.iter().for_each(|element| writer.push(element.as_bytes()).unwrap());
        let shape = Shape::new(&[elements.len()]).unwrap();
        Tensor::new(name.into(), DataType::Bytes, shape, writer.finish()).unwrap()
    });
    (".{0,20}", 1u64.., ".{0,200}", vec(prop_oneof![fixed, strings], 0..4)).prop_map(
        |(model, version, id, outputs)| InferResponse {
            model: model.into(),
            version: Version::new(version).unwrap(),
            version_text: Arc::from(version.to_string()),
            id: id.into(),
            outputs,
            timing: Timing::default(),
            observer: None,
        },
    )
}

/// What the generated message of `response` holds.
fn expected_message(response: &InferResponse) -> pb::ModelInferResponse {
    let output = |tensor: &Tensor| pb::model_infer_response::InferOutputTensor {
        name: tensor.name().to_string(),
        datatype: tensor.dtype().to_string(),
        shape: tensor.shape().to_wire(),
        ..Default::default()
    };
    pb::ModelInferResponse {
        model_name: response.model.to_string(),
        model_version: response.version_text.to_string(),
        id: response.id.to_string(),
        outputs: response.outputs.iter().map(output).collect(),
        raw_output_contents: response.outputs.iter().map(|tensor| tensor.data().clone()).collect(),
        ..Default::default()
    }
}

proptest! {
    #[test]
    fn requests_read_as_the_generated_messages_say(message in valid_request()) {
        let decoded = decode(&message).unwrap();
        prop_assert_eq!(&*decoded.model, &message.model_name);
        prop_assert_eq!(&*decoded.version, &message.model_version);
        prop_assert_eq!(&*decoded.id, &message.id);
        prop_assert_eq!(decoded.inputs.len(), message.inputs.len());
        for ((tensor, input), raw) in decoded.inputs.iter().zip(&message.inputs).zip(&message.raw_input_contents) {
            prop_assert_eq!(&**tensor.name(), &input.name);
            prop_assert_eq!(tensor.dtype().as_str(), &input.datatype);
            prop_assert_eq!(tensor.shape().to_wire(), input.shape.clone());
            prop_assert_eq!(tensor.data(), raw);
        }
        let outputs: Vec<String> = decoded.outputs.iter().map(|output| output.name.to_string()).collect();
        let expected: Vec<String> = message.outputs.iter().map(|output| output.name.clone()).collect();
        prop_assert_eq!(outputs, expected);
    }

    #[test]
    fn responses_are_the_generated_messages_byte_for_byte(response in any_response()) {
        let expected = expected_message(&response);
        let encoder = ResponseEncoder::new(&response);
        let mut written = BytesMut::new();
        encoder.write(&mut written);
        prop_assert_eq!(written.len(), encoder.encoded_len());
        prop_assert_eq!(&written[..], &expected.encode_to_vec());

        let encoder = StreamResponseEncoder::new(&response);
        let mut written = BytesMut::new();
        encoder.write(&mut written);
        prop_assert_eq!(written.len(), encoder.encoded_len());
        let final_response = parameters(vec![("triton_final_response", ParameterChoice::BoolParam(true))]);
        let infer_response = Some(pb::ModelInferResponse { parameters: final_response, ..expected });
        let expected = pb::ModelStreamInferResponse { infer_response, ..Default::default() };
        prop_assert_eq!(&written[..], &expected.encode_to_vec());
    }

    #[test]
    fn stream_errors_carry_text_and_id(text in ".{1,200}", id in ".{0,200}") {
        let encoder = StreamErrorEncoder::new(&text, &id);
        let mut written = BytesMut::new();
        encoder.write(&mut written);
        prop_assert_eq!(written.len(), encoder.encoded_len());
        let message = pb::ModelStreamInferResponse::decode(&written[..]).unwrap();
        prop_assert_eq!(message.error_message, text);
        prop_assert_eq!(message.infer_response.unwrap().id, id);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        accepted_means_valid(&bytes);
    }

    #[test]
    fn damaged_requests_never_panic(
        message in valid_request(), place in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let mut bytes = message.encode_to_vec();
        if !bytes.is_empty() {
            let place = place.index(bytes.len());
            bytes[place] = byte;
            if cut {
                bytes.truncate(place);
            }
        }
        accepted_means_valid(&bytes);
    }
}

/// Whatever the decoder accepts is the message. It is laxer in one thing: a string that a later one of the same field
/// replaces need not be UTF-8.
fn accepted_means_valid(bytes: &[u8]) {
    let frame = Bytes::copy_from_slice(bytes);
    if decode_request(&frame, &Limits::default(), Instant::now()).is_ok()
        && let Err(error) = ModelInferRequest::decode(bytes)
    {
        assert!(error.to_string().contains("UTF-8"), "accepted what prost refuses: {error}");
    }
}
