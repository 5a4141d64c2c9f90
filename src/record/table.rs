//! A table in memory, column by column, and its way into a Parquet file and back.

use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_typed_column_reader};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use super::hashed::Hashed;
use super::schema::{Schema, Type, VERSION};
use crate::durable;
use crate::error::{Error, Kind, Result};
use crate::experiment::Cell;
use crate::runs::Published;

const COMPRESSION_LEVEL: i32 = 3;

/// The values of one column that are there; which rows those are is in `present`.
#[derive(Debug, Clone, PartialEq)]
enum Values {
    Bool(Vec<bool>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Text(Vec<ByteArray>),
}

/// One column: definition levels (1 there, 0 null) and the values that are there.
#[derive(Debug, Clone, PartialEq)]
struct Lane {
    present: Vec<i16>,
    values: Values,
}

impl Lane {
    fn new(kind: Type, rows: usize) -> Self {
        let values = match kind {
            Type::Bool => Values::Bool(Vec::with_capacity(rows)),
            Type::Int32 => Values::Int32(Vec::with_capacity(rows)),
            Type::Int64 | Type::Time => Values::Int64(Vec::with_capacity(rows)),
            Type::Float32 => Values::Float32(Vec::with_capacity(rows)),
            Type::Float64 => Values::Float64(Vec::with_capacity(rows)),
            Type::Text => Values::Text(Vec::with_capacity(rows)),
        };
        Self { present: Vec::with_capacity(rows), values }
    }
}

/// A table in memory. Columns are filled one after the other by [`Table::push`] and read back by the typed getters.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    schema: Schema,
    rows: usize,
    lanes: Vec<Lane>,
}

/// One value for a [`Table`].
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Bool(Option<bool>),
    Int32(Option<i32>),
    Int64(Option<i64>),
    Float32(Option<f32>),
    Float64(Option<f64>),
    Text(Option<ByteArray>),
}

impl Value {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(Some(ByteArray::from(text.into().into_bytes())))
    }

    pub(super) fn texts(text: Option<impl Into<String>>) -> Self {
        Self::Text(text.map(|t| ByteArray::from(t.into().into_bytes())))
    }

    /// A count of the plan; null where it is beyond 63 bits.
    pub(super) fn count(count: u64) -> Self {
        Self::Int64(i64::try_from(count).ok())
    }
}

impl From<Cell> for Value {
    fn from(cell: Cell) -> Self {
        match cell {
            Cell::Bool(value) => Self::Bool(value),
            Cell::Int(value) => Self::Int64(value),
            Cell::Float(value) => Self::Float64(value),
            Cell::Text(value) => Self::texts(value),
        }
    }
}

impl Table {
    /// An empty table that will have about this many rows.
    pub(super) fn new(schema: Schema, rows: usize) -> Self {
        let lanes = schema.columns.iter().map(|c| Lane::new(c.kind, rows)).collect();
        Self { schema, rows: 0, lanes }
    }

    /// Number of rows.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Appends a row. Numbers that are not finite become null.
    ///
    /// # Panics
    /// If the row has other columns than the schema: a mistake in this module, caught by its tests.
    pub(super) fn push(&mut self, row: impl IntoIterator<Item = Value>) {
        let mut filled = 0;
        for (column, value) in row.into_iter().enumerate() {
            let lane = &mut self.lanes[column];
            let there = match (&mut lane.values, value) {
                (Values::Bool(values), Value::Bool(value)) => put(values, value),
                (Values::Int32(values), Value::Int32(value)) => put(values, value),
                (Values::Int64(values), Value::Int64(value)) => put(values, value),
                (Values::Float32(values), Value::Float32(value)) => put(values, value.filter(|v| v.is_finite())),
                (Values::Float64(values), Value::Float64(value)) => put(values, value.filter(|v| v.is_finite())),
                (Values::Text(values), Value::Text(value)) => put(values, value),
                (_, value) => panic!("column {} of {} cannot hold {value:?}", column, self.schema.name),
            };
            lane.present.push(i16::from(there));
            filled += 1;
        }
        assert_eq!(filled, self.lanes.len(), "a row of {} has too few columns", self.schema.name);
        self.rows += 1;
    }

    /// Reads a file of this schema whole.
    pub(super) fn read(path: &Path, schema: Schema) -> Result<Self> {
        let groups = Groups::open(path, schema)?;
        let mut table = Self::new(groups.schema.clone(), 0);
        for index in 0..groups.reader.num_row_groups() {
            guarded(path, || read_group(&groups.reader, index, &mut table))?;
        }
        Ok(table)
    }

    /// The same rows with this text in a column of words.
    pub(super) fn with_text(mut self, name: &str, text: &str) -> Self {
        let place = self.schema.columns.iter().position(|c| c.name == name && c.kind == Type::Text);
        let lane = &mut self.lanes[place.unwrap_or_else(|| panic!("no column of words is called {name}"))];
        let text = ByteArray::from(text.as_bytes().to_vec());
        *lane = Lane { present: vec![1; self.rows], values: Values::Text(vec![text; self.rows]) };
        self
    }

    fn lane(&self, name: &str) -> &Lane {
        let place = self.schema.columns.iter().position(|c| c.name == name);
        &self.lanes[place.unwrap_or_else(|| panic!("{} has no column {name}", self.schema.name))]
    }

    /// A column of whole numbers or times; `None` is null.
    pub(super) fn int64(&self, name: &str) -> Vec<Option<i64>> {
        let lane = self.lane(name);
        match &lane.values {
            Values::Int64(values) => expand(&lane.present, values),
            Values::Int32(values) => expand(&lane.present, values).into_iter().map(|v| v.map(i64::from)).collect(),
            other => panic!("column {name} holds {other:?}"),
        }
    }

    /// A column of numbers; `None` is null.
    pub(super) fn float64(&self, name: &str) -> Vec<Option<f64>> {
        let lane = self.lane(name);
        match &lane.values {
            Values::Float64(values) => expand(&lane.present, values),
            Values::Float32(values) => expand(&lane.present, values).into_iter().map(|v| v.map(f64::from)).collect(),
            other => panic!("column {name} holds {other:?}"),
        }
    }

    /// A column of true or false; `None` is null.
    pub(super) fn bool(&self, name: &str) -> Vec<Option<bool>> {
        let lane = self.lane(name);
        match &lane.values {
            Values::Bool(values) => expand(&lane.present, values),
            other => panic!("column {name} holds {other:?}"),
        }
    }

    /// A column of words; `None` is null.
    pub(super) fn text(&self, name: &str) -> Vec<Option<String>> {
        let lane = self.lane(name);
        match &lane.values {
            Values::Text(values) => {
                let words = |v: Option<ByteArray>| v.map(|v| String::from_utf8_lossy(v.data()).into_owned());
                expand(&lane.present, values).into_iter().map(words).collect()
            }
            other => panic!("column {name} holds {other:?}"),
        }
    }

    /// The content of a file that has it as its only row group.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        let failed = |e: ParquetError| Error::internal(format!("the table of {} cannot be made", self.schema.name)).caused_by(e);
        let properties = Arc::new(properties(&self.schema, None)?);
        let mut writer = SerializedFileWriter::new(Vec::new(), self.schema.message_type()?, properties).map_err(failed)?;
        append(&mut writer, self).map_err(failed)?;
        writer.into_inner().map_err(failed)
    }

    /// Writes it as the only row group of a file, whole or not at all. What was written.
    pub(super) fn write(&self, path: &Path, trial_id: Option<&str>) -> Result<Published> {
        write_tables(path, &self.schema, trial_id, std::iter::once(Ok(self)))
    }
}

/// The row groups of a file, one table after the other: a large file is never in memory whole.
pub(super) struct Groups {
    path: PathBuf,
    reader: SerializedFileReader<File>,
    schema: Schema,
    next: usize,
}

impl Groups {
    /// Opens a file of this schema. Columns it has beyond the schema are an error, since it was written by a newer program.
    pub(super) fn open(path: &Path, schema: Schema) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
        let reader = guarded(path, || open_table(file, &schema))?;
        Ok(Self { path: path.to_owned(), reader, schema, next: 0 })
    }
}

impl Iterator for Groups {
    type Item = Result<Table>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.reader.num_row_groups() {
            return None;
        }
        let mut table = Table::new(self.schema.clone(), 0);
        let read = guarded(&self.path, || read_group(&self.reader, self.next, &mut table));
        // After an error nothing more is read.
        self.next = if read.is_ok() { self.next + 1 } else { usize::MAX };
        Some(read.map(|()| table))
    }
}

/// Reads something of a file. The reader has panicked on truncated metadata before; a damaged file must not take the program
/// with it.
fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T> {
    let damaged = || Error::data(format!("{} is damaged", path.display()));
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(error)) => Err(damaged().caused_by(error)),
        Err(_) => Err(damaged().caused_by("it cannot be read as Parquet")),
    }
}

/// Writes a file of several row groups, whole or not at all; the tables are made one after the other. What was written.
pub(super) fn write_tables<T: std::borrow::Borrow<Table>>(
    path: &Path,
    schema: &Schema,
    trial_id: Option<&str>,
    tables: impl Iterator<Item = Result<T>>,
) -> Result<Published> {
    let (mut rows, mut blake3) = (0, String::new());
    let found = durable::write_with(path, |file| {
        let (file, properties) = (Hashed::new(file), Arc::new(properties(schema, trial_id)?));
        let mut writer = SerializedFileWriter::new(file, schema.message_type()?, properties).map_err(|e| failed(path, e))?;
        for table in tables {
            let table = table?;
            rows += table.borrow().rows() as u64;
            append(&mut writer, table.borrow()).map_err(|e| failed(path, e))?;
        }
        blake3 = writer.into_inner().map_err(|e| failed(path, e))?.finish();
        Ok(())
    })?;
    Ok(Published::of(&path.file_name().unwrap_or_default().to_string_lossy(), &found, Some(rows), blake3))
}

fn put<T>(values: &mut Vec<T>, value: Option<T>) -> bool {
    let there = value.is_some();
    values.extend(value);
    there
}

fn expand<T: Clone>(present: &[i16], values: &[T]) -> Vec<Option<T>> {
    let mut values = values.iter();
    present.iter().map(|&level| if level == 1 { values.next().cloned() } else { None }).collect()
}

fn properties(schema: &Schema, trial_id: Option<&str>) -> Result<WriterProperties> {
    let level = ZstdLevel::try_new(COMPRESSION_LEVEL).map_err(|e| Error::internal("no such compression").caused_by(e))?;
    let mut metadata = vec![
        KeyValue::new("votive.schema_version".to_owned(), VERSION.to_string()),
        KeyValue::new("votive.file_kind".to_owned(), schema.name.to_owned()),
    ];
    metadata.extend(trial_id.map(|id| KeyValue::new("votive.trial_id".to_owned(), id.to_owned())));
    let mut builder = WriterProperties::builder()
        .set_created_by(format!("votive version {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(level))
        .set_key_value_metadata(Some(metadata))
        // Numbers hardly ever repeat: a dictionary of them costs time and no byte less.
        .set_dictionary_enabled(false);
    for column in schema.columns.iter().filter(|c| c.kind == Type::Text) {
        builder = builder.set_column_dictionary_enabled(ColumnPath::from(column.name.as_str()), true);
    }
    Ok(builder.build())
}

fn failed(path: &Path, error: ParquetError) -> Error {
    if let ParquetError::External(inner) = error {
        return match inner.downcast::<std::io::Error>() {
            Ok(io) => Error::io("write", path, *io),
            Err(other) => Error::new(Kind::Io, format!("failed to write {}", path.display())).caused_by(other.to_string()),
        };
    }
    Error::internal(format!("failed to write {}", path.display())).caused_by(error)
}

fn append<W: Write + Send>(writer: &mut SerializedFileWriter<W>, table: &Table) -> Result<(), ParquetError> {
    let mut group = writer.next_row_group()?;
    for lane in &table.lanes {
        let Some(mut column) = group.next_column()? else {
            return Err(ParquetError::General("the file has fewer columns than the table".to_owned()));
        };
        let levels = Some(lane.present.as_slice());
        match &lane.values {
            Values::Bool(values) => column.typed::<BoolType>().write_batch(values, levels, None)?,
            Values::Int32(values) => column.typed::<Int32Type>().write_batch(values, levels, None)?,
            Values::Int64(values) => column.typed::<Int64Type>().write_batch(values, levels, None)?,
            Values::Float32(values) => column.typed::<FloatType>().write_batch(values, levels, None)?,
            Values::Float64(values) => column.typed::<DoubleType>().write_batch(values, levels, None)?,
            Values::Text(values) => column.typed::<ByteArrayType>().write_batch(values, levels, None)?,
        };
        column.close()?;
    }
    group.close()?;
    Ok(())
}

fn open_table(file: File, schema: &Schema) -> Result<SerializedFileReader<File>, ParquetError> {
    let reader = SerializedFileReader::new(file)?;
    let found: Vec<_> = reader
        .metadata()
        .file_metadata()
        .schema_descr()
        .columns()
        .iter()
        .map(|c| (c.name().to_owned(), c.physical_type()))
        .collect();
    let expected: Vec<_> = schema.columns.iter().map(|c| (c.name.clone(), c.kind.physical())).collect();
    if found != expected {
        return Err(ParquetError::General("its columns are those of another version".to_owned()));
    }
    Ok(reader)
}

/// Appends one row group to a table.
fn read_group(reader: &SerializedFileReader<File>, index: usize, table: &mut Table) -> Result<(), ParquetError> {
    let group = reader.get_row_group(index)?;
    let rows = usize::try_from(group.metadata().num_rows()).map_err(|e| ParquetError::General(e.to_string()))?;
    for (column, lane) in table.lanes.iter_mut().enumerate() {
        let reader = group.get_column_reader(column)?;
        match &mut lane.values {
            Values::Bool(values) => read_column::<BoolType>(reader, rows, &mut lane.present, values)?,
            Values::Int32(values) => read_column::<Int32Type>(reader, rows, &mut lane.present, values)?,
            Values::Int64(values) => read_column::<Int64Type>(reader, rows, &mut lane.present, values)?,
            Values::Float32(values) => read_column::<FloatType>(reader, rows, &mut lane.present, values)?,
            Values::Float64(values) => read_column::<DoubleType>(reader, rows, &mut lane.present, values)?,
            Values::Text(values) => read_column::<ByteArrayType>(reader, rows, &mut lane.present, values)?,
        }
    }
    table.rows += rows;
    Ok(())
}

fn read_column<T: DataType>(
    reader: ColumnReader,
    rows: usize,
    present: &mut Vec<i16>,
    values: &mut Vec<T::T>,
) -> Result<(), ParquetError> {
    let mut reader: ColumnReaderImpl<T> = get_typed_column_reader(reader);
    let mut left = rows;
    while left > 0 {
        let (records, _, _) = reader.read_records(left, Some(present), None, values)?;
        if records == 0 {
            return Err(ParquetError::EOF("a column ends before the table does".to_owned()));
        }
        left -= records;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::schema::Column;

    fn schema() -> Schema {
        let kinds = [
            ("flag", Type::Bool),
            ("small", Type::Int32),
            ("whole", Type::Int64),
            ("single", Type::Float32),
            ("number", Type::Float64),
            ("words", Type::Text),
            ("time_utc", Type::Time),
        ];
        Schema { name: "test", row: "a row", columns: kinds.map(|(name, kind)| Column::new(name, kind)).to_vec() }
    }

    fn row(number: f64) -> Vec<Value> {
        vec![
            Value::Bool(Some(true)),
            Value::Int32(Some(-3)),
            Value::Int64(Some(1 << 40)),
            Value::Float32(Some(0.5)),
            Value::Float64(Some(number)),
            Value::text("naïve, \"quoted\"\n"),
            Value::Int64(Some(1_700_000_000_000_000)),
        ]
    }

    fn nulls() -> Vec<Value> {
        vec![
            Value::Bool(None),
            Value::Int32(None),
            Value::Int64(None),
            Value::Float32(None),
            Value::Float64(None),
            Value::Text(None),
            Value::Int64(None),
        ]
    }

    #[test]
    fn a_table_comes_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.parquet");
        let mut table = Table::new(schema(), 3);
        table.push(row(1.5));
        table.push(nulls());
        table.push(row(-2.5));
        table.write(&path, Some("abc")).unwrap();
        let back = Table::read(&path, schema()).unwrap();
        assert_eq!(back, table);
        assert_eq!(back.float64("number"), [Some(1.5), None, Some(-2.5)]);
        assert_eq!(back.float64("single"), [Some(0.5), None, Some(0.5)]);
        assert_eq!(back.int64("small"), [Some(-3), None, Some(-3)]);
        assert_eq!(back.bool("flag"), [Some(true), None, Some(true)]);
        assert_eq!(back.text("words")[0].as_deref(), Some("naïve, \"quoted\"\n"));
    }

    #[test]
    fn what_is_not_finite_becomes_null() {
        let mut table = Table::new(schema(), 3);
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut row = row(number);
            row[3] = Value::Float32(Some(number as f32));
            table.push(row);
        }
        assert_eq!(table.float64("number"), [None, None, None]);
        assert_eq!(table.float64("single"), [None, None, None]);
    }

    #[test]
    fn an_empty_table_and_several_row_groups_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.parquet");
        Table::new(schema(), 0).write(&path, None).unwrap();
        assert_eq!(Table::read(&path, schema()).unwrap().rows(), 0);
        let parts: Vec<Table> = [1.0, 2.0, 3.0]
            .into_iter()
            .map(|number| {
                let mut part = Table::new(schema(), 1);
                part.push(row(number));
                part
            })
            .collect();
        write_tables(&path, &schema(), None, parts.into_iter().map(Ok)).unwrap();
        assert_eq!(Table::read(&path, schema()).unwrap().float64("number"), [Some(1.0), Some(2.0), Some(3.0)]);
    }

    #[test]
    fn metadata_names_version_kind_and_trial() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.parquet");
        Table::new(schema(), 0).write(&path, Some("0123456789ab")).unwrap();
        let reader = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
        let metadata = reader.metadata().file_metadata();
        assert!(metadata.created_by().unwrap().starts_with("votive version "));
        let pairs = metadata.key_value_metadata().unwrap();
        let value = |key: &str| pairs.iter().find(|p| p.key == key).and_then(|p| p.value.clone());
        assert_eq!(value("votive.schema_version"), Some(VERSION.to_string()));
        assert_eq!(value("votive.file_kind").as_deref(), Some("test"));
        assert_eq!(value("votive.trial_id").as_deref(), Some("0123456789ab"));
    }

    #[test]
    fn a_file_cut_at_any_length_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.parquet");
        let mut table = Table::new(schema(), 2);
        table.push(row(1.5));
        table.write(&path, None).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let error = Table::read(&path, schema()).unwrap_err();
            assert_eq!(error.kind(), Kind::Data);
            assert!(error.to_string().ends_with("test.parquet is damaged"), "{error}");
        }
    }

    #[test]
    fn another_schema_is_told_from_a_damaged_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.parquet");
        Table::new(schema(), 0).write(&path, None).unwrap();
        let error = Table::read(&path, crate::record::schema::steps()).unwrap_err();
        assert!(error.chain().contains("its columns are those of another version"), "{}", error.chain());
    }

    #[test]
    fn a_full_disk_is_told_as_one() {
        let io = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(failed(Path::new("a"), ParquetError::from(io)).kind(), Kind::DiskFull);
    }
}
