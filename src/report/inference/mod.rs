//! From numbers to decisions: which of some configurations may be the best, and how sure that is. It knows no files, no tables and
//! no words.
//!
//! [`residual`] fits configurations and seeds, [`pairs`] says how sure each difference is, [`rule`] decides by them, [`reach`] says
//! what could have been seen, [`fresh`] what the winner owes to luck, [`effects`] what each setting does. How often the rule is wrong
//! is measured in `calibration`.

pub(in crate::report) mod effects;
pub(in crate::report) mod fresh;
pub(in crate::report) mod pairs;
pub(in crate::report) mod reach;
pub(in crate::report) mod residual;
pub(in crate::report) mod results;
pub(in crate::report) mod rule;

#[cfg(test)]
mod calibration;
