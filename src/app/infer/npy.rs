//! NumPy's `.npy` format, versions 1 to 3, for arrays in row-major little-endian order: what the protocol's elements
//! are too, so nothing is converted but fixed-width texts.

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use half::bf16;

use crate::tensor::{DataType, Shape, StringsIter, StringsWriter};

/// How every file begins.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";
/// A header is padded so that the data begin at a multiple of this.
const ALIGNMENT: usize = 64;

/// Datatypes as NumPy writes them.
const DESCRIPTIONS: [(&str, DataType); 12] = [
    ("|b1", DataType::Bool),
    ("|u1", DataType::Uint8),
    ("<u2", DataType::Uint16),
    ("<u4", DataType::Uint32),
    ("<u8", DataType::Uint64),
    ("|i1", DataType::Int8),
    ("<i2", DataType::Int16),
    ("<i4", DataType::Int32),
    ("<i8", DataType::Int64),
    ("<f2", DataType::Fp16),
    ("<f4", DataType::Fp32),
    ("<f8", DataType::Fp64),
];

/// An array with its elements in the protocol's wire form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Array {
    pub(super) dtype: DataType,
    pub(super) shape: Shape,
    pub(super) data: Bytes,
}

/// Reads a file.
pub(super) fn read(bytes: &[u8]) -> anyhow::Result<Array> {
    let (header, data) = split(bytes).context("the NumPy header is cut off")?;
    let header = std::str::from_utf8(header).context("the NumPy header is not text")?;
    let description = field(header, "descr").context("the NumPy header has no descr")?;
    let description = description.trim_matches(['\'', '"']);
    let is_fortran = field(header, "fortran_order").is_some_and(|value| value == "True");
    let shape = field(header, "shape").context("the NumPy header has no shape")?;
    let dims: Vec<usize> = shape
        .trim_matches(['(', ')'])
        .split(',')
        .map(str::trim)
        .filter(|dim| !dim.is_empty())
        .map(str::parse)
        .collect::<Result<_, _>>()
        .context("the NumPy header's shape")?;
    ensure!(
        !is_fortran || dims.len() < 2,
        "column-major arrays are not read: save numpy.ascontiguousarray(x)"
    );
    let shape = Shape::new(&dims)?;
    if let Some((_, dtype)) = DESCRIPTIONS.iter().find(|(name, _)| *name == description) {
        let expected = shape.element_count() * dtype.element_size().unwrap_or(1);
        ensure!(
            data.len() == expected,
            "shape {shape} of {dtype} takes {expected} bytes, the file has {}",
            data.len()
        );
        return Ok(Array { dtype: *dtype, shape, data: Bytes::copy_from_slice(data) });
    }
    let texts = texts(description, &shape, data)?;
    Ok(Array { dtype: DataType::Bytes, shape, data: texts })
}

/// The header's text and the data after it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (version, rest) = rest.split_first_chunk::<2>()?;
    let (len, rest) = match version[0] {
        1 => {
            let (len, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_le_bytes(*len)), rest)
        }
        _ => {
            let (len, rest) = rest.split_first_chunk::<4>()?;
            (usize::try_from(u32::from_le_bytes(*len)).ok()?, rest)
        }
    };
    rest.split_at_checked(len)
}

/// The value of a key of the header, which is a Python dictionary of three plain entries.
fn field<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = header.split_once(&format!("'{key}'"))?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start();
    let end = match rest.as_bytes().first()? {
        b'(' => rest.find(')')? + 1,
        quote @ (b'\'' | b'"') => rest.get(1..)?.find(char::from(*quote))? + 2,
        _ => rest.find([',', '}'])?,
    };
    rest.get(..end).map(str::trim)
}

/// Fixed-width texts (`<U12`, `|S12`), whose padding is NUL, as BYTES elements.
fn texts(description: &str, shape: &Shape, data: &[u8]) -> anyhow::Result<Bytes> {
    let (unit, width) = match description.split_at_checked(2) {
        Some(("<U", width)) => (4, width),
        Some(("|S", width)) => (1, width),
        _ => bail!("arrays of {description:?} are not read; known are little-endian numbers, bool, U and S"),
    };
    let width: usize = width.parse().context("the NumPy header's descr")?;
    let size = width.checked_mul(unit).context("the NumPy header's descr")?;
    let expected = shape.element_count().checked_mul(size).context("the NumPy header's shape")?;
    ensure!(
        data.len() == expected,
        "shape {shape} of {description} takes {expected} bytes, the file has {}",
        data.len()
    );
    let mut writer = StringsWriter::new();
    if size == 0 {
        // Empty texts have no bytes to count, so the number of elements is the header's word only.
        ensure!(shape.element_count() <= 1 << 20, "too many empty texts");
        (0..shape.element_count()).try_for_each(|_| writer.push(b""))?;
        return Ok(writer.finish());
    }
    for element in data.chunks_exact(size) {
        if unit == 1 {
            let len = element.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            writer.push(element.get(..len).unwrap_or_default())?;
            continue;
        }
        let mut text = String::new();
        for unit in element.chunks_exact(4) {
            let number = unit.iter().rev().fold(0u32, |number, byte| number << 8 | u32::from(*byte));
            text.push(char::from_u32(number).context("a text is not Unicode")?);
        }
        writer.push(text.trim_end_matches('\0').as_bytes())?;
    }
    Ok(writer.finish())
}

/// Writes a file of version 1. BF16, which NumPy does not have, becomes FP32; BYTES become the narrowest texts.
pub(super) fn write(array: &Array) -> anyhow::Result<Vec<u8>> {
    let (description, data) = match array.dtype {
        DataType::Bf16 => {
            let wide = array
                .data
                .chunks_exact(2)
                .flat_map(|pair| bf16::from_le_bytes([pair[0], pair[1]]).to_f32().to_le_bytes());
            ("<f4".to_owned(), wide.collect::<Vec<u8>>())
        }
        DataType::Bytes => write_texts(&array.data)?,
        dtype => {
            let name = DESCRIPTIONS.iter().find(|(_, known)| *known == dtype).map(|(name, _)| *name);
            (name.context("the datatype has no NumPy name")?.to_owned(), array.data.to_vec())
        }
    };
    let dims: Vec<String> = array.shape.dims().iter().map(|dim| format!("{dim}, ")).collect();
    let dims = dims.concat();
    let dims = if array.shape.rank() == 1 { dims.trim_end() } else { dims.trim_end_matches(", ") };
    let mut header = format!("{{'descr': '{description}', 'fortran_order': False, 'shape': ({dims}), }}");
    let prefix = MAGIC.len() + 4;
    let padding = (prefix + header.len() + 1).next_multiple_of(ALIGNMENT) - (prefix + header.len() + 1);
    header.push_str(&" ".repeat(padding));
    header.push('\n');
    let len = u16::try_from(header.len()).context("the shape is too long for a NumPy header")?;
    let mut file = [MAGIC, &[1, 0], &len.to_le_bytes(), header.as_bytes()].concat();
    file.extend_from_slice(&data);
    Ok(file)
}

fn write_texts(data: &[u8]) -> anyhow::Result<(String, Vec<u8>)> {
    let mut texts = Vec::new();
    for element in StringsIter::new(data) {
        let text = std::str::from_utf8(element?).context("an element is not UTF-8: use --json")?;
        texts.push(text.chars().map(u32::from).collect::<Vec<u32>>());
    }
    let width = texts.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let mut data = Vec::new();
    for mut text in texts {
        text.resize(width, 0);
        data.extend(text.into_iter().flat_map(u32::to_le_bytes));
    }
    Ok((format!("<U{width}"), data))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn strings(texts: &[&str]) -> Bytes {
        let mut writer = StringsWriter::new();
        texts.iter().for_each(|text| writer.push(text.as_bytes()).unwrap());
        writer.finish()
    }

    #[test]
    fn what_numpy_writes_is_read() {
        // numpy.save of numpy.array([[1, 2, 3]], "<i2")
        let mut file =
            b"\x93NUMPY\x01\x00v\x00{'descr': '<i2', 'fortran_order': False, 'shape': (1, 3), }".to_vec();
        file.resize(10 + 0x75, b' ');
        file.push(b'\n');
        file.extend([1, 0, 2, 0, 3, 0]);
        let array = read(&file).unwrap();
        assert_eq!((array.dtype, array.shape.dims()), (DataType::Int16, &[1, 3][..]));
        assert_eq!(write(&array).unwrap().len() % 64, 6);
        assert_eq!(read(&write(&array).unwrap()).unwrap(), array);
    }

    #[test]
    fn texts_lose_only_their_padding() {
        let array = Array {
            dtype: DataType::Bytes,
            shape: Shape::new(&[3]).unwrap(),
            data: strings(&["a", "", "äöü"]),
        };
        assert_eq!(read(&write(&array).unwrap()).unwrap(), array);
    }

    #[test]
    fn bad_files_are_refused() {
        let file = |header: &str, data: &[u8]| {
            let len = u16::try_from(header.len()).unwrap();
            [MAGIC, &[1, 0], &len.to_le_bytes(), header.as_bytes(), data].concat()
        };
        let check = |bytes: &[u8], expected: &str| {
            let error = format!("{:#}", read(bytes).unwrap_err());
            assert!(error.contains(expected), "{error}");
        };
        check(b"\x93NUMPY\x01\x00\xff\xff{", "cut off");
        check(&file("{}", b""), "no descr");
        check(&file("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", &[0; 4]), "are not read");
        check(&file("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2), }", &[0; 8]), "column-major");
        check(&file("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", &[0; 4]), "takes 8 bytes");
        check(&file("{'descr': '<U0', 'fortran_order': False, 'shape': (99999999999,), }", b""), "too many");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut file = MAGIC.to_vec();
            file.extend(&bytes);
            drop((read(&bytes), read(&file)));
        }

        #[test]
        fn numbers_come_back(rows in 0usize..5, columns in 0usize..5, seed in any::<u8>()) {
            for (_, dtype) in DESCRIPTIONS {
                let shape = Shape::new(&[rows, columns]).unwrap();
                let data = vec![seed; shape.element_count() * dtype.element_size().unwrap()].into();
                let array = Array { dtype, shape, data };
                prop_assert_eq!(read(&write(&array).unwrap()).unwrap(), array);
            }
        }
    }
}
