//! What people see: bars and lines while trials run, a status, a walk through one configuration. Text only: what it tells of is
//! worked out elsewhere.

mod bars;
pub mod explain;
pub(super) mod lines;
pub mod markdown;
pub(super) mod notice;
pub(super) mod plan;
pub(super) mod plan_csv;
mod plan_table;
pub mod reporter;
mod screen;
pub mod settings;
pub mod status;
pub(super) mod terminal;
