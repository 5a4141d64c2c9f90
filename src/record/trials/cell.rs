//! A cell of the tables of trials, with the name and the type of its column.

use crate::record::schema::Type;
use crate::record::table::Value;

pub(super) type NamedCell = (String, Type, Value);

pub(super) fn text(name: &str, value: Option<&str>) -> NamedCell {
    (name.to_owned(), Type::Text, Value::texts(value))
}

pub(super) fn int(name: &str, value: Option<i64>) -> NamedCell {
    (name.to_owned(), Type::Int64, Value::Int64(value))
}

pub(super) fn count(name: &str, value: u64) -> NamedCell {
    (name.to_owned(), Type::Int64, Value::count(value))
}

pub(super) fn float(name: &str, value: Option<f64>) -> NamedCell {
    (name.to_owned(), Type::Float64, Value::Float64(value))
}

/// A time in microseconds since 1970, UTC.
pub(super) fn time(name: &str, value: Option<i64>) -> NamedCell {
    (name.to_owned(), Type::Time, Value::Int64(value))
}
