//! Steps: submitted without waiting, and their results taken in order.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::{Engine, Flight};
use crate::error::{Error, Result};
use crate::model::Step;
use crate::model::gpu::forward::Model;
use crate::model::gpu::members::Outcome;
use crate::model::gpu::ring::{Published, Turn, published, result_words};
use crate::model::gpu::sizes::Sizes;
use crate::pulse::{self, NEVER};

/// How long a result is slept for at a time: a sixteenth of the time that it has been waited for, within these.
const NAPS: [Duration; 2] = [Duration::from_micros(20), Duration::from_millis(1)];

/// From this length of a step on its units are waited for one by one, so that a wish to stop is heeded between them.
const LONG: Duration = Duration::from_secs(1);

/// How often the device is asked for faults while it is waited for.
const ASKED_EVERY: Duration = Duration::from_millis(100);

impl Engine {
    /// Starts a step of every member, and waits for nothing. A member with `None` has no more steps to make: its weights stay.
    ///
    /// # Errors
    /// Tokens outside the vocabulary, windows that are not whole or too many, more steps in flight than
    /// [`depth`](crate::model::gpu::Options::depth); a fault of the device.
    pub fn submit(&mut self, steps: &[Option<Step<'_>>]) -> Result<()> {
        self.submit_unless(steps, &NEVER).map(drop)
    }

    /// [`Engine::submit`]; but where the step before took long, each of its units but the last is waited for, and `stop` heeded
    /// after it. False where it said so: the step is dropped, no weight was touched, and no further step may be submitted.
    ///
    /// # Errors
    /// Those of [`Engine::submit`].
    pub fn submit_unless(&mut self, steps: &[Option<Step<'_>>], stop: &AtomicBool) -> Result<bool> {
        self.check_steps(steps)?;
        let began = Instant::now();
        let pending = |member: usize| self.flights.iter().filter(|flight| flight.targets[member].is_some()).count() as u64;
        let turns: Vec<Turn<'_>> = (self.options.members.iter().zip(steps).enumerate())
            .map(|(k, (&member, &step))| {
                let updates = self.updates[k] + pending(k) + 1;
                Turn { member, step, updates, revive: self.revive[k] }
            })
            .collect();
        let words = self.slot.words;
        for unit in 0..self.sizes.units {
            let place = (self.submitted as usize % self.options.depth) * self.sizes.units + unit;
            self.writer.write(&self.sizes, unit, &turns, &self.slots.words()[place * words..][..words]);
            self.start_unit(unit == 0)?;
            if self.step_took >= LONG && unit + 1 < self.sizes.units {
                while !self.gpu.poll()? {
                    std::thread::sleep(NAPS[1]);
                }
                pulse::beat();
                if pulse::is_asked(stop) {
                    return Ok(false);
                }
            }
        }
        if self.sizes.units > 1 {
            self.start_update()?;
        }
        self.revive.fill(false);
        self.submitted += 1;
        self.flights.push_back(Flight {
            targets: steps.iter().map(|step| step.map(|step| step.sequences.targets.len())).collect(),
            began,
        });
        Ok(true)
    }

    /// Whether launches go to the device one by one: what loads lazily cannot be recorded, so the first step does.
    fn one_by_one(&self) -> bool {
        self.options.immediate || self.submitted == 0
    }

    fn start_unit(&mut self, first: bool) -> Result<()> {
        if self.one_by_one() {
            return self.unit(self.model(), first);
        }
        let known = if first { &self.graphs.first } else { &self.graphs.next };
        if known.is_none() {
            let graph = self.gpu.record(|| self.unit(self.model(), first))?;
            *(if first { &mut self.graphs.first } else { &mut self.graphs.next }) = Some(graph);
        }
        let known = if first { &self.graphs.first } else { &self.graphs.next };
        known.as_ref().map_or(Ok(()), |graph| self.gpu.replay(graph))
    }

    fn start_update(&mut self) -> Result<()> {
        if self.one_by_one() {
            return self.update(self.model());
        }
        if self.graphs.update.is_none() {
            self.graphs.update = Some(self.gpu.record(|| self.update(self.model()))?);
        }
        self.graphs.update.as_ref().map_or(Ok(()), |graph| self.gpu.replay(graph))
    }

    /// Waits for the oldest step in flight: what came of it for each member that took part.
    ///
    /// # Errors
    /// Where no step is in flight, and what the device failed with.
    pub fn result(&mut self) -> Result<Vec<Option<Outcome>>> {
        let Some(flight) = self.flights.pop_front() else {
            return Err(Error::internal("there is no step whose result could come"));
        };
        self.taken += 1;
        let of_members = self.wait_for(self.taken)?;
        let over = Instant::now();
        self.step_took = over - flight.began.max(std::mem::replace(&mut self.step_over, over));
        let outcomes = flight.targets.iter().zip(of_members).enumerate().map(|(k, (targets, of_member))| {
            targets.map(|targets| {
                let updated = !of_member.dead;
                self.updates[k] += u64::from(updated);
                Outcome { loss: of_member.loss / targets as f64, norm: of_member.norm, updated }
            })
        });
        Ok(outcomes.collect())
    }

    /// The results of a step, in short naps: another process may need the processor.
    fn wait_for(&self, step: u64) -> Result<Vec<Published>> {
        let words = result_words(self.sizes.members);
        let place = ((step - 1) % self.options.depth as u64) as usize * words;
        let slot = &self.results.words()[place..place + words];
        let began = Instant::now();
        let mut asked = began;
        loop {
            if let Some(results) = published(slot, step) {
                return Ok(results);
            }
            if asked.elapsed() >= ASKED_EVERY {
                // All done and still nothing there: it has to have been published before the question.
                if self.gpu.poll()? {
                    return published(slot, step)
                        .ok_or_else(|| Error::internal("the GPU is done with a step and has not said what came of it"));
                }
                asked = Instant::now();
            }
            std::thread::sleep((began.elapsed() / 16).clamp(NAPS[0], NAPS[1]));
        }
    }

    /// Takes the results of all steps in flight, oldest first.
    pub fn drain(&mut self) -> Result<Vec<Vec<Option<Outcome>>>> {
        (0..self.in_flight()).map(|_| self.result()).collect()
    }

    /// The launches of a unit, with the update behind it where it is the step's only one.
    pub(super) fn unit(&self, model: Model<'_>, first: bool) -> Result<()> {
        model.train(self.slots.at(0), self.options.depth * self.sizes.units, first)?;
        if self.sizes.units == 1 { self.update(model) } else { Ok(()) }
    }

    fn update(&self, model: Model<'_>) -> Result<()> {
        model.update(self.results.at(0), self.options.depth)
    }

    fn check_steps(&self, steps: &[Option<Step<'_>>]) -> Result<()> {
        let Sizes { length, batch, members, .. } = self.sizes;
        if steps.len() != members || self.in_flight() >= self.options.depth {
            let (given, flying, depth) = (steps.len(), self.in_flight(), self.options.depth);
            let message = format!("{given} steps for {members} members, and {flying} of {depth} steps in flight");
            return Err(Error::internal(message));
        }
        for &Step { sequences, .. } in steps.iter().flatten() {
            let tokens = sequences.inputs.len();
            if tokens == 0 || tokens > batch * length || sequences.length != length {
                return Err(Error::internal(format!("{tokens} tokens for {batch} windows of {length}")));
            }
            self.check_tokens(sequences)?;
        }
        Ok(())
    }
}
