//! From a file to finished trials: what `votive run` does, without a word of it on a terminal.
//!
//! [`Session::open`] reads the file, prepares its texts ([`texts`]) and plans. [`run()`] is the flow: what is over already is looked at
//! ([`reopen`](crate::runs::reopen), [`alias`], [`rescore`]), each distinct shape is measured ([`probe`]), and the queue of what is missing
//! is worked off by a process a trial ([`workers`]), while the tables are kept up to date ([`tables`]) and the report is
//! written by a process of its own ([`reports`]). Time and processes are those of a [`World`], which tests pretend. What there is to
//! tell goes to a [`Listener`] as facts ([`Notice`], and the schedule's events); who shows them decides on the words.

pub mod alias;
mod announce;
mod changes;
mod child;
mod cluster;
mod cluster_jobs;
mod context;
mod deadline;
mod description;
mod device;
mod difference;
mod failure;
mod fixed;
mod forecast;
mod git;
mod gpus;
mod job;
mod memory;
mod mended;
mod notice;
mod observers;
pub mod probe;
mod probe_process;
mod report_process;
mod reports;
mod rescore;
mod run;
mod session;
mod signals;
mod submit;
mod tables;
mod texts;
mod throttle;
mod workers;
mod world;

pub use changes::Changes;
pub use device::usable_device;
pub use difference::Difference;
pub use failure::Failure;
pub use forecast::{Forecast, forecast};
pub use memory::Memory;
pub use notice::{Expected, Listener, Notice};
pub use run::{Ended, Request, run};
pub use session::{Asked, Session};
pub use signals::Signals;
pub use submit::{detach, dry_run};
pub use texts::unused_field;
pub use world::{Cluster, Reporting, ThisMachine, Workers, World};
