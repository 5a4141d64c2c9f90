//! The columns of each file kind.

use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::schema::types::{Type as ParquetType, TypePtr};

use crate::error::{Error, Result};

/// Version of all schemas, in each file's metadata under `votive.schema_version`. Columns are only ever added.
pub const VERSION: u32 = 1;

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// True or false.
    Bool,
    /// Whole numbers of 32 bits.
    Int32,
    /// Whole numbers of 64 bits.
    Int64,
    /// Numbers in single precision.
    Float32,
    /// Numbers in double precision.
    Float64,
    /// UTF-8.
    Text,
    /// Microseconds since 1970, UTC.
    Time,
}

impl Type {
    /// The type's name as documentation shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Text => "text",
            Self::Time => "timestamp(µs, UTC)",
        }
    }

    pub(super) fn physical(self) -> Physical {
        match self {
            Self::Bool => Physical::BOOLEAN,
            Self::Int32 => Physical::INT32,
            Self::Int64 | Self::Time => Physical::INT64,
            Self::Float32 => Physical::FLOAT,
            Self::Float64 => Physical::DOUBLE,
            Self::Text => Physical::BYTE_ARRAY,
        }
    }

    fn logical(self) -> Option<LogicalType> {
        match self {
            Self::Text => Some(LogicalType::String),
            Self::Time => Some(LogicalType::timestamp(true, TimeUnit::MICROS)),
            _ => None,
        }
    }
}

/// One column: all columns may hold nulls, so that a later version can stop measuring something without a new type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name, with the unit where there is one.
    pub name: String,
    /// What its values are, and in how many bits.
    pub kind: Type,
}

impl Column {
    /// A column of this name and type.
    pub fn new(name: impl Into<String>, kind: Type) -> Self {
        Self { name: name.into(), kind }
    }
}

/// The columns of one file kind, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// What the file is called, without `.parquet`.
    pub name: &'static str,
    /// What a row is.
    pub row: &'static str,
    /// In the order in which every file has them.
    pub columns: Vec<Column>,
}

impl Schema {
    pub(super) fn message_type(&self) -> Result<TypePtr> {
        let wrong = |e| Error::internal(format!("the schema of `{}` is not valid", self.name)).caused_by(e);
        let fields = self
            .columns
            .iter()
            .map(|column| {
                ParquetType::primitive_type_builder(&column.name, column.kind.physical())
                    .with_repetition(Repetition::OPTIONAL)
                    .with_logical_type(column.kind.logical())
                    .build()
                    .map(Arc::new)
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(wrong)?;
        ParquetType::group_type_builder("schema").with_fields(fields).build().map(Arc::new).map_err(wrong)
    }
}

fn columns(list: &[(&str, Type)]) -> Vec<Column> {
    list.iter().map(|&(name, kind)| Column::new(name, kind)).collect()
}

pub(super) fn steps() -> Schema {
    use Type::{Bool, Float64, Int32, Int64, Text, Time};
    Schema {
        name: "steps",
        row: "a step",
        columns: columns(&[
            ("trial_id", Text),
            ("attempt", Int32),
            ("step", Int64),
            ("epoch", Int64),
            ("tokens_seen", Int64),
            ("loss", Float64),
            ("perplexity", Float64),
            ("grad_norm", Float64),
            ("clip_coefficient", Float64),
            ("clipped", Bool),
            ("learning_rate", Float64),
            ("step_seconds", Float64),
            ("tokens_per_second", Float64),
            ("time_utc", Time),
        ]),
    }
}

pub(super) fn evaluations() -> Schema {
    use Type::{Float64, Int64, Text, Time};
    Schema {
        name: "evaluations",
        row: "an evaluation",
        columns: columns(&[
            ("trial_id", Text),
            ("step", Int64),
            ("tokens_seen", Int64),
            ("protocol", Text),
            ("kind", Text),
            ("part", Text),
            ("context", Int64),
            ("stride", Int64),
            ("scored_tokens", Int64),
            ("scored_bytes", Int64),
            ("nll_sum", Float64),
            ("loss", Float64),
            ("perplexity", Float64),
            ("bits_per_byte", Float64),
            ("seconds", Float64),
            ("time_utc", Time),
        ]),
    }
}

pub(super) fn checkpoints() -> Schema {
    use Type::{Float64, Int64, Text, Time};
    Schema {
        name: "checkpoints",
        row: "a checkpoint ever written, also those deleted since",
        columns: columns(&[
            ("trial_id", Text),
            ("step", Int64),
            ("tokens_seen", Int64),
            ("kind", Text),
            ("path", Text),
            ("bytes", Int64),
            ("blake3", Text),
            ("validation_loss", Float64),
            ("save_seconds", Float64),
            ("time_utc", Time),
            ("deleted_utc", Time),
        ]),
    }
}

pub(super) fn token_nll() -> Schema {
    use Type::{Float32, Int64, Text};
    Schema {
        name: "token_nll",
        row: "a scored token of an evaluation in full",
        columns: columns(&[
            ("trial_id", Text),
            ("protocol", Text),
            ("context", Int64),
            ("stride", Int64),
            ("checkpoint_kind", Text),
            ("position", Int64),
            ("token", Int64),
            ("nll", Float32),
        ]),
    }
}

pub(super) fn positions() -> Schema {
    use Type::{Float64, Int64, Text};
    Schema {
        name: "positions",
        row: "a range of places in the window, over every target of an evaluation in full",
        columns: columns(&[
            ("trial_id", Text),
            ("checkpoint_kind", Text),
            ("protocol", Text),
            ("context", Int64),
            ("first_position", Int64),
            ("last_position", Int64),
            ("tokens", Int64),
            ("nll_sum", Float64),
        ]),
    }
}

/// The columns of every file kind that a trial leaves, for documentation and for the test that keeps it right. The two tables
/// of the whole experiment have columns that depend on what is swept: [`super::plan_schema`], [`super::trials_schema`].
pub fn schemas() -> Vec<Schema> {
    vec![steps(), evaluations(), token_nll(), positions(), checkpoints()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_kind_has_the_documented_columns() {
        let documented = [
            (
                "steps",
                "trial_id, attempt, step, epoch, tokens_seen, loss, perplexity, grad_norm, clip_coefficient, clipped, \
                 learning_rate, step_seconds, tokens_per_second, time_utc",
            ),
            (
                "evaluations",
                "trial_id, step, tokens_seen, protocol, kind, part, context, stride, scored_tokens, scored_bytes, nll_sum, \
                 loss, perplexity, bits_per_byte, seconds, time_utc",
            ),
            ("token_nll", "trial_id, protocol, context, stride, checkpoint_kind, position, token, nll"),
            ("positions", "trial_id, checkpoint_kind, protocol, context, first_position, last_position, tokens, nll_sum"),
            (
                "checkpoints",
                "trial_id, step, tokens_seen, kind, path, bytes, blake3, validation_loss, save_seconds, time_utc, deleted_utc",
            ),
        ];
        let found = schemas();
        assert_eq!(found.len(), documented.len());
        for (schema, (name, columns)) in found.iter().zip(documented) {
            let names: Vec<&str> = schema.columns.iter().map(|c| c.name.as_str()).collect();
            assert_eq!((schema.name, names.join(", ").as_str()), (name, columns));
        }
    }

    #[test]
    fn names_are_snake_case_and_used_once_and_of_one_type_in_all_files() {
        let mut kinds = std::collections::HashMap::new();
        for schema in schemas() {
            let mut seen = std::collections::HashSet::new();
            for column in schema.columns {
                assert!(
                    column.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                    "{}",
                    column.name
                );
                assert!(seen.insert(column.name.clone()), "{} twice", column.name);
                let kind = *kinds.entry(column.name.clone()).or_insert(column.kind);
                assert_eq!(kind, column.kind, "{} has two types", column.name);
            }
        }
    }

    #[test]
    fn integers_are_of_32_or_64_bits_signed_and_times_are_utc() {
        for schema in schemas() {
            let message = schema.message_type().unwrap();
            for (field, column) in message.get_fields().iter().zip(&schema.columns) {
                assert!(field.is_optional());
                let logical = field.get_basic_info().logical_type_ref().cloned();
                assert_eq!(logical, column.kind.logical());
                match column.kind {
                    Type::Time => assert_eq!(logical, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
                    Type::Text => assert_eq!(logical, Some(LogicalType::String)),
                    _ => assert_eq!(logical, None),
                }
            }
        }
    }
}
