//! The figures of the page: each is data for the page's script, and the same numbers as a table or as the name of a file.
//!
//! A figure appears only when it has something to say: none with one bar, none of a single point. Loss curves have a
//! section of their own on the page; the others are [`Section`]s that the page shows one after another.

mod axes;
mod cost;
mod differences;
mod gradients;
mod pairs;
mod parallel;
mod positions;
mod section;
mod timeline;
mod varying;

use super::experiment::Report;

pub(super) use section::{Section, rounded};

/// The sections that this experiment has something to show in, in the order of the page.
pub(super) fn sections(report: &Report) -> Vec<Section> {
    let made = [
        differences::section(report),
        axes::section(report),
        pairs::section(report),
        parallel::section(report),
        cost::section(report),
        positions::section(report),
        gradients::section(report),
        timeline::section(report),
    ];
    made.into_iter().flatten().collect()
}
