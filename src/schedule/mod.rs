//! Planned trials become started, retried and finished ones.
//!
//! [`Queue`] decides: a state machine without a clock, a process or a file, told what happened and when, that says what is to be
//! started and tells [`Event`]s, which are facts for others to show. An [`Executor`] does: [`LocalExecutor`] starts a process
//! a trial on this machine. [`drive()`] joins the two until nothing is left to do.
//!
//! What follows when an attempt ends badly depends on its [`Cause`] (`policy`): never tried again, tried again from its checkpoint, tried with
//! more memory while others of its shape wait (`shapes`), or the whole queue waits for the disk (`disk`). A failure of one shape
//! keeps no trial of another from being started.
//!
//! Trials that differ in nothing but their clip norm may turn out to be the same, to the bit: then one is trained and the others
//! are recorded ([`Executor::alias`]); `kin` says who waits for whom.
//!
//! Why a process a trial: memory, panics, GPU errors and thread pools stay inside it. Runner and worker share the trial's folder
//! and a pipe: when the pipe ends the worker saves and leaves ([`watch_runner`]), however the runner died. A runner finds
//! a worker of an earlier runner by the lock of its trial, waits for it, and never kills by a stored process id.

mod allotment;
mod candidate;
mod cause;
mod clock;
mod devices;
mod disk;
mod drive;
mod ends;
mod estimate;
mod event;
mod executor;
mod held;
mod kinship;
mod leases;
mod local;
mod lookout;
mod memory;
mod policy;
mod queue;
mod shapes;
pub mod slurm;
mod stop;
mod tail;
mod watch;

pub use allotment::{Allotment, Machine, allot};
pub use candidate::{Candidate, Standing, Start};
pub use cause::{Cause, Exit, Failure, HELD_ELSEWHERE, INTERRUPTED, Kill, TAKEN_OVER, TERMINATED};
pub use clock::{Clock, Deadline, Moment, SystemClock};
pub use devices::{GpuSlots, Needs, gpu_slots};
pub use drive::{Pace, STOP_AFTER_STEP, STOP_NOW, drive};
pub use event::{Conclusion, Event, Left, Observer, Overview, Summary};
pub use executor::{Executor, Finished, MakeAlias, Prepare, Work};
pub use local::{LocalExecutor, LocalSettings, this_program};
pub use lookout::{Patience, Silence, longest};
pub use memory::Memory;
pub use policy::{Lighter, Policy};
pub use queue::Queue;
pub use stop::Stop;
pub use watch::{leave_with_runner, watch_runner};

#[cfg(test)]
#[path = "simulation_tests.rs"]
mod simulation;
