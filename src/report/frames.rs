//! Parquet files as polars frames. A file that cannot be read is an error that names it; nothing here panics on one.

use std::fs::File;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use polars::prelude::*;

use crate::error::{Error, Result};
use crate::runs::Status;

/// Reads these columns of a Parquet file, or all.
pub(super) fn read(path: &Path, columns: Option<&[&str]>) -> Result<DataFrame> {
    let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
    let columns = columns.map(|names| names.iter().map(|&name| name.to_owned()).collect());
    // Readers have panicked on damaged files before; one of them must not take the report with it.
    let read = catch_unwind(AssertUnwindSafe(|| ParquetReader::new(file).with_columns(columns).finish()));
    let damaged = || Error::data(format!("{} is damaged", path.display()));
    match read {
        Ok(Ok(frame)) => Ok(frame),
        Ok(Err(error)) => Err(damaged().caused_by(error.to_string())),
        Err(_) => Err(damaged().caused_by("it cannot be read as Parquet")),
    }
}

/// Reads the content of a Parquet file that was made just now.
pub(super) fn from_bytes(bytes: Vec<u8>) -> Result<DataFrame> {
    ParquetReader::new(Cursor::new(bytes)).finish().map_err(wrong)
}

/// A failed computation over frames, as an error of ours.
pub(super) fn wrong(error: PolarsError) -> Error {
    Error::internal("the figures of the report cannot be computed").caused_by(error.to_string())
}

/// Carries out what was planned over a frame.
pub(super) fn collect(frame: LazyFrame) -> Result<DataFrame> {
    frame.collect().map_err(wrong)
}

fn column<T>(frame: &DataFrame, name: &str, take: impl Fn(&Column) -> PolarsResult<Vec<Option<T>>>) -> Result<Vec<Option<T>>> {
    frame.column(name).and_then(take).map_err(|e| Error::data(format!("there is no column `{name}`")).caused_by(e.to_string()))
}

/// A column of numbers.
pub(super) fn numbers(frame: &DataFrame, name: &str) -> Result<Vec<Option<f64>>> {
    column(frame, name, |c| Ok(c.cast(&DataType::Float64)?.f64()?.iter().map(|v| v.filter(|v| v.is_finite())).collect()))
}

/// A column of whole numbers, or of times in microseconds.
pub(super) fn integers(frame: &DataFrame, name: &str) -> Result<Vec<Option<i64>>> {
    column(frame, name, |c| Ok(c.cast(&DataType::Int64)?.i64()?.iter().collect()))
}

/// A column of words.
pub(super) fn words(frame: &DataFrame, name: &str) -> Result<Vec<Option<String>>> {
    column(frame, name, |c| Ok(c.str()?.iter().map(|v| v.map(str::to_owned)).collect()))
}

/// How each trial of a table stands; as damaged where the table says nothing that is known.
pub(super) fn statuses(frame: &DataFrame) -> Result<Vec<Status>> {
    let named = |name: Option<String>| name.and_then(|name| Status::named(&name)).unwrap_or(Status::Damaged);
    Ok(words(frame, "status")?.into_iter().map(named).collect())
}

/// A column of yes and no.
pub(super) fn truths(frame: &DataFrame, name: &str) -> Result<Vec<Option<bool>>> {
    column(frame, name, |c| Ok(c.bool()?.iter().collect()))
}

/// Every cell of a column as text, as a person would write it; empty where there is none.
pub(super) fn shown(frame: &DataFrame, name: &str) -> Result<Vec<String>> {
    let one = |value: AnyValue| match value {
        AnyValue::Null => String::new(),
        AnyValue::Boolean(yes) => if yes { "yes" } else { "no" }.to_owned(),
        AnyValue::String(text) => text.to_owned(),
        AnyValue::Float64(number) => number.to_string(),
        other => other.to_string(),
    };
    column(frame, name, |c| (0..c.len()).map(|row| Ok(Some(one(c.get(row)?)))).collect())
        .map(|cells| cells.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::settings::ClipNorm;
    use crate::record::{write_plan, write_trials};

    #[test]
    fn polars_reads_what_the_recorder_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trials.parquet");
        let plan = crate::record::tests::plan(&[32, 64], &[ClipNorm::Off], &[1]);
        let states = [crate::record::tests::completed(2.0, None), crate::record::tests::waiting()];
        write_trials(&path, &plan, &states).unwrap();
        let frame = read(&path, None).unwrap();
        assert_eq!(numbers(&frame, "common_loss").unwrap(), [Some(2.0), None]);
        assert_eq!(integers(&frame, "configuration").unwrap(), [Some(1), Some(2)]);
        assert_eq!(integers(&frame, "finished_utc").unwrap(), [Some(1_700_000_100_000_000), None]);
        assert_eq!(words(&frame, "status").unwrap()[1].as_deref(), Some("waiting"));
        let time = frame.column("finished_utc").unwrap().dtype().to_string();
        // polars writes UTC as the offset it is.
        assert!(["datetime[μs, UTC]", "datetime[μs, +00:00]"].contains(&time.as_str()), "{time}");
        assert!(words(&frame, "other").is_err());
        write_plan(&path, &plan).unwrap();
        assert_eq!(read(&path, Some(&["seed"])).unwrap().width(), 1);
    }

    #[test]
    fn a_file_cut_at_any_length_is_an_error_and_no_panic() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.parquet");
        write_plan(&path, &crate::record::tests::plan(&[32], &[ClipNorm::Off], &[1])).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for length in (0..bytes.len()).step_by(97) {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(read(&path, None).unwrap_err().to_string().ends_with("plan.parquet is damaged"));
        }
    }
}
