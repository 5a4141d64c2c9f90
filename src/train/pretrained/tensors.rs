//! The header of a safetensors file: which tensors lie where. It is held against the size of the file before anything else.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::half::{from_bf16, from_f16};
use crate::error::{Error, Result};
use crate::pulse;

/// Longest header that is read, bytes: the limit of the safetensors library.
const LONGEST_HEADER: u64 = 100_000_000;
/// Bytes that are read at a time; a multiple of every size of a value.
const CHUNK: usize = 1 << 20;

/// How a value is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    F32,
    F16,
    Bf16,
}

impl Number {
    fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// A tensor as the header has it. Its place is inside of the file and as long as its shape says, where the type is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// How its values are stored; the header's word where they cannot be used.
    pub(super) number: Result<Number, String>,
    pub(super) shape: Vec<usize>,
    start: u64,
    end: u64,
}

/// An open safetensors file.
#[derive(Debug)]
pub(super) struct TensorFile {
    path: PathBuf,
    file: File,
    pub(super) entries: BTreeMap<String, Entry>,
}

impl TensorFile {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    /// A header that is longer than the file or than 100 MB, that is not JSON, or that speaks of other bytes than there are.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
        let size = file.metadata().map_err(|e| Error::io("open", path, e))?.len();
        let damaged = |why: String| Error::data(format!("{} is damaged", path.display())).caused_by(why);
        let mut length = [0; 8];
        if size < 8 {
            return Err(damaged(format!("it has {size} bytes, and its header needs more")));
        }
        (&file).read_exact(&mut length).map_err(|e| Error::io("read", path, e))?;
        let length = u64::from_le_bytes(length);
        if length > LONGEST_HEADER || length > size - 8 {
            return Err(damaged(format!("its header claims {length} bytes, and the file has {size}")));
        }
        let mut header = vec![0; length as usize];
        (&file).read_exact(&mut header).map_err(|e| Error::io("read", path, e))?;
        let header: BTreeMap<String, Value> =
            serde_json::from_slice(&header).map_err(|e| damaged(format!("its header is not the JSON it should be: {e}")))?;
        let (first, mut last) = (8 + length, 8 + length);
        let mut entries = BTreeMap::new();
        for (name, described) in header {
            if name == "__metadata__" {
                continue;
            }
            let entry = entry(&described, first, size).map_err(|why| damaged(format!("`{name}`: {why}")))?;
            last = last.max(entry.end);
            entries.insert(name, entry);
        }
        if last != size {
            return Err(damaged(format!("its header speaks of {last} bytes, and the file has {size}")));
        }
        Ok(Self { path: path.to_owned(), file, entries })
    }

    /// The values of a tensor as 32-bit numbers, row by row.
    pub(super) fn values(&self, name: &str, entry: &Entry) -> Result<Vec<f32>> {
        let number = match &entry.number {
            Ok(number) => *number,
            Err(word) => return Err(Error::data(format!("`{name}` of {} has {word} values", self.path.display()))),
        };
        let bytes = (entry.end - entry.start) as usize;
        let mut values = Vec::with_capacity(bytes / number.bytes() as usize);
        let mut chunk = vec![0; CHUNK.min(bytes)];
        for start in (0..bytes).step_by(CHUNK) {
            let part = &mut chunk[..CHUNK.min(bytes - start)];
            self.file.read_exact_at(part, entry.start + start as u64).map_err(|e| Error::io("read", &self.path, e))?;
            pulse::beat();
            match number {
                Number::F32 => values.extend(part.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b))),
                Number::F16 => values.extend(part.as_chunks::<2>().0.iter().map(|b| from_f16(u16::from_le_bytes(*b)))),
                Number::Bf16 => values.extend(part.as_chunks::<2>().0.iter().map(|b| from_bf16(u16::from_le_bytes(*b)))),
            }
        }
        Ok(values)
    }
}

/// Reads what a header says of one tensor, whose values lie after byte `first` of a file of `size` bytes.
fn entry(described: &Value, first: u64, size: u64) -> Result<Entry, String> {
    let number = match described["dtype"].as_str() {
        Some("F32") => Ok(Number::F32),
        Some("F16") => Ok(Number::F16),
        Some("BF16") => Ok(Number::Bf16),
        Some(other) => Err(other.to_owned()),
        None => return Err("it has no `dtype`".to_owned()),
    };
    let whole = |value: &Value| value.as_array()?.iter().map(Value::as_u64).collect::<Option<Vec<u64>>>();
    let shape = whole(&described["shape"]).ok_or("it has no `shape`")?;
    let (start, end) = match whole(&described["data_offsets"]).as_deref() {
        Some(&[start, end]) if start <= end => (start, end),
        _ => return Err("it has no `data_offsets`".to_owned()),
    };
    let (Some(from), Some(to)) = (first.checked_add(start), first.checked_add(end).filter(|&to| to <= size)) else {
        let there = size - first;
        return Err(format!("its values should end at byte {end}, and the file has {there} bytes of values"));
    };
    if let Ok(number) = number {
        let needed = shape.iter().try_fold(number.bytes(), |product, &n| product.checked_mul(n));
        if needed != Some(end - start) {
            return Err(format!("a shape of {shape:?} does not fit into its {} bytes", end - start));
        }
    }
    let shape = shape.into_iter().map(|n| usize::try_from(n).map_err(|_| "its shape is too large".to_owned()));
    Ok(Entry { number, shape: shape.collect::<Result<_, _>>()?, start: from, end: to })
}
