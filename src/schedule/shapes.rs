//! Which shapes ran out of memory, and what their trials are tried with next.
//!
//! Trials of one *shape* need the same memory: model, lengths, batch and engine are the same. When one of them is killed for memory
//! the others wait, and that one tries for all of them, step by step: on half the threads, since on the processor each thread has
//! the activations of the windows that it works on (that is what half the micro-batch comes to there, and changes no bit
//! either); then alone, while nothing else runs; then the shape does not fit. On a GPU, where windows go through at once whatever
//! the threads are, and a smaller micro-batch would change bits, it is tried alone only. What helped one of a shape is how all
//! others of it are started.

use std::collections::HashMap;

use crate::plan::TrialId;

/// How a trial is tried: each one leaves it more memory than the one before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Room {
    /// As planned.
    #[default]
    Planned,
    /// On half the threads.
    HalfThreads,
    /// While no other trial runs.
    Alone,
}

/// What follows when a trial was killed for memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It is tried again, with what its shape is started with now.
    Again,
    /// Another one of its shape tries for it.
    Waits(usize),
    /// It does not fit. Nor does any other of its shape, as far as is known: none has ever been completed.
    NoneFits,
    /// It does not fit, but another one of its shape did.
    DoesNotFit,
}

/// All shapes that ran out of memory, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Shapes(HashMap<usize, Shape>);

#[derive(Debug, Default)]
struct Shape {
    room: Room,
    /// No trial of it is given more threads.
    threads: Option<u32>,
    /// The trial that tries for all of them.
    trying: Option<usize>,
    /// Whether one of them was completed.
    fits: bool,
    /// It does not fit, as this trial has shown.
    does_not_fit: Option<TrialId>,
}

impl Shapes {
    /// How trials of a shape are started.
    pub(super) fn room(&self, shape: usize) -> Room {
        self.0.get(&shape).map_or(Room::Planned, |s| s.room)
    }

    /// The most threads that a trial of a shape is given.
    pub(super) fn most_threads(&self, shape: usize) -> u32 {
        self.0.get(&shape).and_then(|s| s.threads).unwrap_or(u32::MAX)
    }

    /// The trial for which others of its shape wait.
    pub(super) fn trying(&self, shape: usize) -> Option<usize> {
        self.0.get(&shape)?.trying
    }

    /// The trial that has shown that a shape does not fit.
    pub(super) fn does_not_fit(&self, shape: usize) -> Option<&TrialId> {
        self.0.get(&shape)?.does_not_fit.as_ref()
    }

    /// A trial of this shape was completed.
    pub(super) fn completed(&mut self, shape: usize) {
        self.0.entry(shape).or_default().fits = true;
    }

    /// A trial ended otherwise than for want of memory: nobody waits for it any more.
    pub(super) fn ended(&mut self, shape: usize, trial: usize) {
        if let Some(shape) = self.0.get_mut(&shape) {
            shape.trying.take_if(|trying| *trying == trial);
        }
    }

    /// The trial number `trial`, called `id`, which ran with this room and so many threads, was killed for memory. `more_only` says that
    /// fewer threads are no help: on a GPU, or on a cluster, which has more memory.
    pub(super) fn killed(&mut self, shape: usize, trial: usize, id: &TrialId, ran: (Room, u32), more_only: bool) -> Next {
        let shape = self.0.entry(shape).or_default();
        let (room, threads) = ran;
        if room < shape.room {
            // It was started before the shape was known to need more room.
            return shape.trying.filter(|trying| *trying != trial).map_or(Next::Again, Next::Waits);
        }
        let halves = room == Room::Planned && !more_only && threads > 1;
        if room == Room::Alone {
            shape.trying = None;
            if shape.fits {
                return Next::DoesNotFit;
            }
            shape.does_not_fit = Some(id.clone());
            return Next::NoneFits;
        }
        shape.room = if halves { Room::HalfThreads } else { Room::Alone };
        shape.threads = Some(if halves { threads / 2 } else { threads });
        shape.trying = Some(trial);
        Next::Again
    }
}
