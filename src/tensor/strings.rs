//! BYTES elements in their wire form: a little-endian `u32` length, then that many bytes, one after the other
//! (Open Inference Protocol, binary tensor data extension). Nothing here copies or requires UTF-8.

use bytes::{BufMut, BytesMut};

/// Why bytes are not a run of BYTES elements.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StringsError {
    /// The data ends inside an element or its length.
    #[error("BYTES element {index} is cut off at byte {offset}")]
    Truncated {
        /// Which element.
        index: usize,
        /// Where the data ends.
        offset: usize,
    },
    /// An element is longer than a `u32` can say.
    #[error("a BYTES element of {len} bytes is longer than 4 GiB")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
}

/// Iterates over the elements of data in wire form. Stops with an error at the first defect.
#[derive(Debug, Clone)]
pub struct StringsIter<'a> {
    data: &'a [u8],
    offset: usize,
    index: usize,
}

impl<'a> StringsIter<'a> {
    /// Iterates over `data`, which need not have been checked.
    pub fn new(data: &'a [u8]) -> StringsIter<'a> {
        StringsIter { data, offset: 0, index: 0 }
    }

    /// How many bytes have been read, lengths included.
    pub fn offset(&self) -> usize {
        self.offset
    }

    fn read(&mut self) -> Option<&'a [u8]> {
        let rest = self.data.get(self.offset..)?;
        let (prefix, rest) = rest.split_first_chunk::<4>()?;
        let len = u32::from_le_bytes(*prefix) as usize;
        let element = rest.get(..len)?;
        self.offset += 4 + len;
        self.index += 1;
        Some(element)
    }
}

impl<'a> Iterator for StringsIter<'a> {
    type Item = Result<&'a [u8], StringsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.data.len() {
            return None;
        }
        let index = self.index;
        let element = self.read();
        if element.is_none() {
            let error = StringsError::Truncated { index, offset: self.data.len() };
            self.offset = self.data.len();
            return Some(Err(error));
        }
        element.map(Ok)
    }
}

/// The number of elements in `data`.
///
/// # Errors
/// [`StringsError::Truncated`] when the data ends inside an element.
pub fn count_strings(data: &[u8]) -> Result<usize, StringsError> {
    let mut count = 0;
    for element in StringsIter::new(data) {
        element?;
        count += 1;
    }
    Ok(count)
}

/// The length in bytes of each run of `elements_per_row` elements in `data`.
///
/// # Errors
/// [`StringsError::Truncated`] when the data ends inside an element or a row.
pub fn strings_len_of_rows(
    data: &[u8],
    elements_per_row: usize,
    rows: usize,
) -> Result<Vec<usize>, StringsError> {
    let mut iter = StringsIter::new(data);
    let mut lens = Vec::new();
    for _ in 0..rows {
        let start = iter.offset();
        for _ in 0..elements_per_row {
            let index = iter.index;
            iter.next().unwrap_or(Err(StringsError::Truncated { index, offset: data.len() }))?;
        }
        lens.push(iter.offset() - start);
    }
    Ok(lens)
}

/// Writes elements in wire form.
#[derive(Debug, Default)]
pub struct StringsWriter {
    data: BytesMut,
    count: usize,
}

impl StringsWriter {
    /// An empty writer.
    pub fn new() -> StringsWriter {
        StringsWriter::default()
    }

    /// Appends one element.
    ///
    /// # Errors
    /// [`StringsError::TooLong`] above 4 GiB.
    pub fn push(&mut self, element: &[u8]) -> Result<(), StringsError> {
        let len = u32::try_from(element.len()).map_err(|_| StringsError::TooLong { len: element.len() })?;
        self.data.put_u32_le(len);
        self.data.put_slice(element);
        self.count += 1;
        Ok(())
    }

    /// How many elements were written.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The bytes in wire form.
    pub fn finish(self) -> bytes::Bytes {
        self.data.freeze()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(elements in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let mut writer = StringsWriter::new();
            for element in &elements {
                writer.push(element).unwrap();
            }
            prop_assert_eq!(writer.count(), elements.len());
            let data = writer.finish();
            let read: Vec<Vec<u8>> = StringsIter::new(&data).map(|e| e.unwrap().to_vec()).collect();
            prop_assert_eq!(&read, &elements);
            if !data.is_empty() {
                prop_assert!(count_strings(&data[..data.len() - 1]).is_err() || elements.last().is_some_and(Vec::is_empty));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop((count_strings(&data), strings_len_of_rows(&data, 2, 3)));
        }
    }
}
