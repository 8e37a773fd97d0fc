//! Every format, and files that are wrong.

use std::fs;

use proptest::prelude::*;

use super::*;

fn open(name: &str, bytes: &[u8]) -> (tempfile::TempDir, Result<Table, TableError>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    let table = Table::open(&path);
    (folder, table)
}

/// All rows of all columns.
fn read(table: &Table) -> Vec<ColumnData> {
    let wanted: Vec<usize> = (0..table.columns().len()).collect();
    let mut all: Vec<ColumnData> =
        table.columns().iter().map(|column| ColumnData::new(column.kind)).collect();
    let mut append = |batch: &Batch| {
        for (all, more) in all.iter_mut().zip(&batch.columns) {
            assert_eq!(more.len(), batch.rows);
            match (all, more) {
                (ColumnData::Numbers(all), ColumnData::Numbers(more)) => all.extend(more),
                (ColumnData::Bools(all), ColumnData::Bools(more)) => all.extend(more),
                (ColumnData::Texts(all), ColumnData::Texts(more)) => all.extend(more.iter().cloned()),
                other => panic!("{other:?}"),
            }
        }
    };
    table.read(&wanted, &mut append).unwrap();
    all
}

fn texts(values: &[Option<&str>]) -> ColumnData {
    ColumnData::Texts(values.iter().map(|value| value.map(str::to_owned)).collect())
}

fn names(table: &Table) -> Vec<&str> {
    table.columns().iter().map(|column| column.name.as_str()).collect()
}

#[test]
fn csv_is_read_twice_the_same() {
    let text = "\u{feff},a,b,c\n0,1,true,\"x, \"\"y\"\"\"\n1,NA,False,NA\n2,2.5,,z\n";
    let (_folder, table) = open("t.csv", text.as_bytes());
    let table = table.unwrap();
    assert_eq!(names(&table), ["a", "b", "c"]);
    let expected = vec![
        ColumnData::Numbers(vec![Some(1.0), None, Some(2.5)]),
        ColumnData::Bools(vec![Some(true), Some(false), None]),
        texts(&[Some("x, \"y\""), None, Some("z")]),
    ];
    assert_eq!(read(&table), expected);
    assert_eq!(read(&table), expected);
    let (_folder, table) = open("t.tsv", b"a\tb\n1\tx,y\n");
    assert_eq!(read(&table.unwrap())[1], texts(&[Some("x,y")]));
}

#[test]
fn batches_have_an_end() {
    let mut text = "a\n".to_owned();
    for row in 0..BATCH_ROWS * 2 + 5 {
        text.push_str(&format!("{row}\n"));
    }
    let (_folder, table) = open("t.csv", text.as_bytes());
    let table = table.unwrap();
    let mut rows = Vec::new();
    table.read(&[0], &mut |batch| rows.push(batch.rows)).unwrap();
    assert_eq!(rows, [BATCH_ROWS, BATCH_ROWS, 5]);
}

#[test]
fn json_lines_become_columns() {
    let text = r#"{"a": 1, "b": "x", "v": [1, 2], "mixed": 1, "nested": {"x": 1}}

{"a": "NaN", "b": null, "v": [3, null], "mixed": "y", "late": true, "ragged": [1]}
{"v": null, "ragged": [1, 2]}
"#;
    let (_folder, table) = open("t.jsonl", text.as_bytes());
    let table = table.unwrap();
    assert_eq!(names(&table), ["a", "b", "mixed", "v[0]", "v[1]", "late"]);
    let refused: Vec<&str> = table.refused().iter().map(|refused| refused.name.as_str()).collect();
    assert_eq!(refused, ["nested", "ragged"]);
    let found = read(&table);
    let ColumnData::Numbers(a) = &found[0] else { panic!("{found:?}") };
    assert!(a[0] == Some(1.0) && a[1].is_some_and(f64::is_nan) && a[2].is_none());
    assert_eq!(found[1], texts(&[Some("x"), None, None]));
    assert_eq!(found[2], texts(&[Some("1"), Some("y"), None]));
    assert_eq!(found[4], ColumnData::Numbers(vec![Some(2.0), None, None]));
    assert_eq!(found[5], ColumnData::Bools(vec![None, Some(true), None]));
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let check = |name: &str, bytes: &[u8], expected: &str| {
        let (folder, table) = open(name, bytes);
        let error = table.unwrap_err().to_string();
        let error = error.replace(&format!("{}/", folder.path().display()), "");
        assert_eq!(error, expected);
    };
    check("t.csv", b"a,b\n1,2\n1\n", "t.csv: row 2: has 1 cells, and the header has 2");
    check("t.csv", b"a,a\n1,2\n", "t.csv: has two columns 'a'");
    check("t.csv", b"a,b\n1,\xff\n", "t.csv: row 1, column 'b': is not UTF-8");
    check("t.csv", b"", "t.csv: has no columns that can be read");
    check(
        "t.jsonl",
        b"{\"a\": 1}\n[1]\n",
        "t.jsonl: row 2: is no JSON object: invalid type: sequence, expected a map at line 1 column 0",
    );
    check(
        "t.xlsx",
        b"",
        "t.xlsx: expected a file that ends in .parquet, .csv, .tsv, .jsonl or .ndjson, or a folder of .parquet files",
    );
    let (_folder, table) = open("t.parquet", b"PAR1 and nothing more");
    assert!(table.is_err());
    let missing = Table::open(Path::new("/nowhere/t.csv")).unwrap_err().to_string();
    assert!(missing.starts_with("/nowhere/t.csv: No such file"), "{missing}");
}

#[test]
fn a_quote_that_is_never_closed_and_a_line_without_end_are_refused() {
    let mut csv = b"a\n\"".to_vec();
    csv.resize(usize::try_from(ROW_BYTES_MAX).unwrap() + (1 << 20), b'x');
    let (_folder, table) = open("t.csv", &csv);
    assert!(table.unwrap_err().to_string().contains("row 1: is longer than"));
    let (_folder, table) = open("t.jsonl", &csv);
    assert!(table.is_err());
}

#[test]
fn parquet_written_by_pyarrow_is_read_right() {
    let (_folder, table) = open("t.parquet", include_bytes!("../../../tests/golden/drift/types.parquet"));
    let table = table.unwrap();
    let refused: Vec<String> =
        table.refused().iter().map(|refused| format!("{}: {}", refused.name, refused.reason)).collect();
    let expected: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/golden/drift/types.json")).unwrap();
    let expected_refused: Vec<&str> =
        expected["refused"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let refused_names: Vec<&str> = table.refused().iter().map(|refused| refused.name.as_str()).collect();
    assert_eq!(refused_names, expected_refused, "{refused:?}");
    let columns = expected["columns"].as_object().unwrap();
    assert_eq!(table.columns().len(), columns.len());
    for (column, found) in table.columns().iter().zip(read(&table)) {
        let found = match found {
            ColumnData::Numbers(values) => serde_json::json!(values),
            ColumnData::Bools(values) => serde_json::json!(values),
            ColumnData::Texts(values) => serde_json::json!(values),
        };
        assert_eq!(found, columns[&column.name], "{}", column.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_a_table_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        pieces in proptest::collection::vec(
            prop_oneof![
                Just("a"), Just(","), Just("\n"), Just("\""), Just("\r"), Just("1"), Just("NA"), Just("{"), Just("}"),
                Just("["), Just("]"), Just(":"), Just("\"a\""), Just("{\"a\":1}\n"), Just("\u{feff}"), Just("null"),
                Just("{\"a\":[1,2]}\n"), Just("{\"a\":[[1]]}\n"), Just("{\"a\":{}}\n"), Just("-1e999"),
            ],
            0..60,
        ),
    ) {
        for bytes in [bytes, pieces.concat().into_bytes()] {
            for name in ["t.csv", "t.tsv", "t.jsonl"] {
                let (_folder, table) = open(name, &bytes);
                if let Ok(table) = table {
                    read(&table);
                }
            }
        }
    }
}
