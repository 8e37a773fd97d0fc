//! Every datatype and every form of a column, through WAL and Parquet and back.

use arrow_array::Array;
use arrow_array::types::Float32Type;
use arrow_schema::DataType as ArrowType;

use super::*;

/// Captures one observation and returns its only batch.
fn through(version: &TappedVersion, seen: Arc<Observation>) -> RecordBatch {
    let folder = tempfile::tempdir().unwrap();
    let capture = start(settings(folder.path(), CaptureMode::BestEffort));
    tap(&capture, version).observe(&seen);
    capture.stop(LONG);
    let status = check(&capture, data(folder.path()));
    assert_eq!(status.written, seen.rows as u64, "{:?}", capture.status());
    batches(data(folder.path())).pop().unwrap()
}

fn keep(mut version: TappedVersion, columns: &[&str]) -> TappedVersion {
    let privacy = &mut version.config.monitoring.capture.privacy;
    privacy.extend(columns.iter().map(|column| ((*column).to_owned(), "keep".parse().unwrap())));
    version
}

/// Two rows of two elements: 1, 0, 1, 1 in the type's own bytes.
fn sample(dtype: DataType) -> Tensor {
    let one: Vec<u8> = match dtype {
        DataType::Fp16 => half::f16::from_f32(1.0).to_le_bytes().to_vec(),
        DataType::Bf16 => half::bf16::from_f32(1.0).to_le_bytes().to_vec(),
        DataType::Fp32 => 1f32.to_le_bytes().to_vec(),
        DataType::Fp64 => 1f64.to_le_bytes().to_vec(),
        DataType::Bytes => return texts("x", &[2, 2], &[b"1", b"0", b"1", b"1"]),
        other => {
            let mut bytes = vec![0; other.element_size().unwrap()];
            bytes[0] = 1;
            bytes
        }
    };
    let zero = vec![0; one.len()];
    let data = [&one, &zero, &one, &one].into_iter().flatten().copied().collect::<Vec<u8>>();
    Tensor::new("x".into(), dtype, Shape::new(&[2, 2]).unwrap(), data.into()).unwrap()
}

fn shown(array: &dyn Array) -> Vec<String> {
    macro_rules! numbers {
        ($($kind:ident $arrow:ident),*) => {
            match array.data_type() {
                ArrowType::Boolean => array.as_boolean().iter().map(|v| u8::from(v.unwrap()).to_string()).collect(),
                ArrowType::Utf8 => array.as_string::<i32>().iter().map(|v| v.unwrap().to_owned()).collect(),
                $(ArrowType::$kind => {
                    array.as_primitive::<arrow_array::types::$arrow>().values().iter().map(ToString::to_string).collect()
                })*
                other => panic!("{other}"),
            }
        };
    }
    numbers!(
        Int8 Int8Type, Int16 Int16Type, Int32 Int32Type, Int64 Int64Type, UInt8 UInt8Type, UInt16 UInt16Type,
        UInt32 UInt32Type, UInt64 UInt64Type, Float32 Float32Type, Float64 Float64Type
    )
}

#[test]
fn every_datatype_comes_back() {
    for dtype in DataType::ALL {
        let rows = sample(dtype);
        let (any, two) = (None, Some(2));
        // As a list of fixed length, as named columns, and as a list.
        let list = keep(version(vec![spec("x", dtype, &[any, two])], vec![]), &["in.x"]);
        let batch = through(&list, observation("r", vec![rows.clone()], vec![], 2));
        let column = batch.column_by_name("in.x").unwrap().as_fixed_size_list();
        assert_eq!(shown(&column.value(0)), ["1", "0"], "{dtype}");
        assert_eq!(shown(&column.value(1)), ["1", "1"], "{dtype}");

        let mut named = list.clone();
        named.config.monitoring.feature_names.insert("x".to_owned(), vec!["a".to_owned(), "b".to_owned()]);
        let batch = through(&named, observation("r", vec![rows.clone()], vec![], 2));
        assert_eq!(shown(batch.column_by_name("in.a").unwrap()), ["1", "1"], "{dtype}");
        assert_eq!(shown(batch.column_by_name("in.b").unwrap()), ["0", "1"], "{dtype}");

        let dynamic = keep(version(vec![spec("x", dtype, &[any, any])], vec![]), &["in.x"]);
        let batch = through(&dynamic, observation("r", vec![rows], vec![], 2));
        let column = batch.column_by_name("in.x").unwrap().as_list::<i32>();
        assert_eq!(shown(&column.value(0)), ["1", "0"], "{dtype}");
    }
}

#[test]
fn what_is_missing_or_wrong_is_null() {
    let (any, two) = (None, Some(2));
    let inputs = vec![spec("x", DataType::Fp32, &[any, two]), spec("y", DataType::Fp32, &[any, any])];
    let seen = Observation {
        rows: 2,
        inputs: [None, Some(floats("y", 2, &[1.0, 2.0]))].into_iter().collect(),
        failure: Some(crate::error::Code::DeadlineExceeded),
        finished: Some(SystemTime::now()),
        ..Observation::default()
    };
    let batch = through(&version(inputs, vec![spec("p", DataType::Fp32, &[any, two])]), Arc::new(seen));
    let nulls = |name: &str| batch.column_by_name(name).unwrap().null_count();
    assert_eq!((nulls("in.x"), nulls("in.y"), nulls("out.p"), nulls("key_hash")), (2, 0, 2, 2));
    let status = batch.column_by_name("status").unwrap().as_string::<i32>();
    assert_eq!(status.value(1), "deadline_exceeded");
    // A tensor of another length than the signature says.
    let seen = observation("r", vec![floats("x", 1, &[1.0, 2.0, 3.0])], vec![], 1);
    let batch = through(&version(vec![spec("x", DataType::Fp32, &[any, two])], vec![]), seen);
    assert_eq!(batch.column_by_name("in.x").unwrap().null_count(), 1);
}

#[test]
fn a_thousand_columns_are_written() {
    let inputs: Vec<_> = (0..1_000).map(|n| spec(&format!("f{n}"), DataType::Fp32, &[None])).collect();
    let tensors = (0..1_000u16).map(|n| {
        let data = f32::from(n).to_le_bytes().to_vec();
        let shape = Shape::new(&[1]).unwrap();
        Tensor::new(Name::from(format!("f{n}")), DataType::Fp32, shape, data.into()).unwrap()
    });
    let batch = through(&version(inputs, vec![]), observation("r", tensors.collect(), vec![], 1));
    assert_eq!(batch.num_columns(), 1_013);
    assert_eq!(batch.column_by_name("in.f999").unwrap().as_primitive::<Float32Type>().value(0), 999.0);
}

#[test]
fn names_that_are_taken_get_a_number() {
    let mut two = small();
    two.signature.inputs.push(spec("y", DataType::Fp32, &[None]));
    two.config.monitoring.feature_names.insert("x".to_owned(), vec!["y".to_owned(), "y".to_owned()]);
    let y = Tensor::new("y".into(), DataType::Fp32, Shape::new(&[1]).unwrap(), vec![0; 4].into()).unwrap();
    let seen = observation("r", vec![floats("x", 1, &[1.0, 2.0]), y], vec![], 1);
    let batch = through(&two, seen);
    for name in ["in.y", "in.y#2", "in.y#3"] {
        assert!(batch.column_by_name(name).is_some(), "{name}");
    }
}

#[test]
fn rows_are_exported_in_the_shapes_of_others() {
    use super::super::{ExportForm, json_row, lines};
    let p = floats("p", 2, &[0.1, 0.9, f32::NAN, 1.0]);
    let batch = through(&small(), observation("r", vec![floats("x", 2, &[1.0, 2.0, 3.0, 4.0])], vec![p], 2));
    assert_eq!(json_row(&batch, 1)["out.p"], serde_json::json!(["NaN", 1.0]));
    let azure = lines(ExportForm::Azure, "m", &batch);
    assert_eq!(azure.len(), 2);
    assert_eq!(azure[0]["type"], "azureml.inference.model_inputs");
    assert_eq!(azure[0]["data"], serde_json::json!([{"x": [1.0, 2.0]}, {"x": [3.0, 4.0]}]));
    assert_eq!((&azure[1]["correlationid"], &azure[1]["modelversion"]), (&"r".into(), &"3".into()));
    let kserve = lines(ExportForm::Kserve, "m", &batch);
    assert_eq!(kserve[1]["type"], "org.kubeflow.serving.inference.response");
    let input =
        serde_json::json!({"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1.0, 2.0, 3.0, 4.0]});
    assert_eq!(kserve[0]["data"]["inputs"][0], input);
    assert_eq!(lines(ExportForm::Rows, "m", &batch).len(), 2);
}
