//! Nights that are made up: machines with little memory, crashes, hangs, workers that cannot be killed, GPUs that fail, full disks,
//! clocks that are set, and somebody who asks for a stop. What a worker does is decided here, where nothing of the queue's own state is known; what the queue may do is said again, as
//! plainly as it can be. A night that goes wrong is told by its number, and `one_night` plays it again.

use std::collections::{BTreeSet, HashMap};

use super::*;
use crate::device::Gpu;
use crate::experiment::settings::ClipNorm;
use crate::plan::TrialId;
use crate::runs::{End, Outcome};

const SECOND: i64 = 1_000_000;
pub(super) const NIGHTS: u64 = if cfg!(debug_assertions) { 3_000 } else { 100_000 };
/// Before every night, whatever the clock is set to.
const LONG_AGO: i64 = -1_000_000 * SECOND;
/// More events than any night has.
const LONGEST: usize = 20_000;
/// After every night.
const NEVER: i64 = i64::MAX / 4;
/// What a worker says whose GPU is gone.
const LOST: &str = "error: the GPU was lost";

/// splitmix64: numbers that look drawn at random, the same for the same seed.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What happens to an attempt, as far as it has memory and disk.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Ends(End),
    Fails(Cause, &'static str),
    /// Somebody stops this worker alone.
    Stopped,
    /// Another worker turns out to be at it.
    Held,
    /// It hangs, and is still there a while after it was killed: so many seconds long, or for ever.
    StillThere(Option<i64>),
}

/// A mistake that is made on purpose: the rules must be seen to be broken.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// A worker that is still there although it was killed is taken for one that ended.
    SlotGivenAgain,
    /// The queue is not told that a worker is still there.
    WaitedForEver,
    /// The queue hears nothing of the GPU in what a trial on it failed of.
    GpuForgotten,
    /// The queue is told of a worker that hung as if it had saved and left by itself.
    HangForgotten,
    /// The queue hears of a GPU that is lost as of one that failed.
    LossForgotten,
    /// The queue hears that trials end well on a GPU on which they fail.
    TakenForResult,
    /// The queue is told of another kind of GPU than there is.
    KindForgotten,
    /// The queue has a slot more than there are.
    SlotTooMany,
    /// The queue tries each trial once more than the rules say.
    TryTooMany,
    /// The queue's pauses are too short.
    TriedTooSoon,
    /// The queue goes on whatever fails alike.
    StreakForgotten,
    /// The queue knows of no deadline.
    DeadlineForgotten,
}

#[derive(Debug)]
struct Job {
    shape: usize,
    round: usize,
    seconds: i64,
    /// One an attempt, the last one again and again.
    fates: Vec<Fate>,
    standing: Standing,
}

/// A trial as the rules see it.
#[derive(Debug, Default)]
struct Seen {
    attempts: usize,
    begun: bool,
    /// Failures that count against `retries`.
    failures: u32,
    failed_last: bool,
    ready: i64,
    /// When its last attempt began.
    began: i64,
    /// Running: its end, how, its shape's level when it was started, its threads.
    running: Option<(i64, Fate, u32, u32)>,
    over: Option<Conclusion>,
    held_until: Option<i64>,
    /// The slot it was started in last.
    slot: u32,
    /// The kind of GPU that it was begun on.
    kind: Option<String>,
    /// Its worker was killed and is still there: until then.
    lost_until: Option<i64>,
}

/// What the rules say of a shape: 0 as planned, 1 on half the threads, 2 alone, 3 does not fit.
#[derive(Debug, Default, Clone)]
struct Level {
    level: u32,
    threads: Option<u32>,
    trying: Option<usize>,
    completed: bool,
}

/// Failures that are alike, one after another: of what, of which shapes, by how many events, when the first and the last came.
#[derive(Debug, Default)]
struct Alike {
    of: Option<(Cause, &'static str)>,
    shapes: BTreeSet<usize>,
    events: u32,
    first: i64,
    last: i64,
}

struct Night {
    dice: Dice,
    jobs: Vec<Job>,
    policy: Policy,
    /// Memory of the machine, and what a trial of each shape needs: in any case, and for each thread.
    memory: u32,
    needs: Vec<(u32, u32)>,
    disk_full: std::ops::Range<i64>,
    /// Whether looks at the full disk find room although there is none.
    looks_lie: bool,
    asked_at: Option<i64>,
    /// When the clock is set, and by how much.
    clock_set: Option<(i64, i64)>,
    seen: Vec<Seen>,
    levels: Vec<Level>,
    ids: HashMap<TrialId, usize>,
    disk_waited_from: Option<i64>,
    streak: Alike,
    /// Nothing is started before.
    rests_until: i64,
    /// From when on each GPU fails under every trial, if it does, and whether its driver says that it is lost.
    broken: Vec<Option<(i64, bool)>>,
    /// What ended on which GPU by which trial: by its fault (`true`), or with an outcome.
    on_gpus: Vec<(usize, usize, bool)>,
    /// GPUs that are used no more.
    out: BTreeSet<usize>,
    stopped: Option<Stop>,
    fault: Option<Fault>,
}

impl Night {
    fn of(number: u64) -> Self {
        let mut dice = Dice(number.wrapping_mul(0xd134_2543_de82_ef95));
        let shapes = 1 + dice.below(5) as usize;
        let on_gpu = dice.one_in(4);
        let gpus: Vec<GpuSlots> = (0..if on_gpu { 1 + dice.below(4) as u32 } else { 0 })
            .map(|number| {
                let kind = if dice.one_in(4) { "X2" } else { "X1" };
                GpuSlots { gpu: Gpu::example(number, kind), slots: 1 + dice.below(2) as usize, memory: 1 }
            })
            .collect();
        let broken = gpus.iter().map(|_| dice.one_in(3).then(|| (dice.below(900) as i64 * SECOND, dice.one_in(3)))).collect();
        let slots = if on_gpu { gpus.iter().map(|gpu| gpu.slots).sum() } else { 1 + dice.below(4) as usize };
        let rough = dice.below(3);
        let mut jobs = (0..1 + dice.below(10))
            .map(|_| Job {
                shape: dice.below(shapes as u64) as usize,
                round: dice.below(3) as usize,
                seconds: 1 + dice.below(400) as i64,
                fates: (0..=dice.below(4)).map(|_| fate(&mut dice, rough)).collect(),
                standing: match dice.below(12) {
                    0 => Standing::Done(End::Completed),
                    1 => Standing::HeldElsewhere,
                    2 => Standing::Interrupted,
                    3 | 4 => Standing::Failed,
                    _ => Standing::Waiting,
                },
            })
            .collect::<Vec<_>>();
        let policy = Policy {
            slots,
            cores: slots * (1 + dice.below(4) as usize),
            threads: dice.one_in(4).then_some(2),
            on_gpu,
            gpus,
            retries: dice.below(3) as u32,
            until_utc: dice.one_in(3).then(|| (300 + dice.below(4_000) as i64) * SECOND),
            same_failures: 2 + dice.below(4) as usize,
            ..Policy::default()
        };
        if policy.until_utc.is_some() {
            // From trials that are completed the queue learns how long others take, and starts none that cannot end in time: what it
            // learned is not said again here.
            let fates = jobs.iter_mut().flat_map(|job| &mut job.fates);
            fates.filter(|fate| **fate == Fate::Ends(End::Completed)).for_each(|fate| *fate = Fate::Ends(End::Diverged));
        }
        let full_at = dice.below(1_500) as i64 * SECOND;
        let full_for = if dice.one_in(4) { dice.below(6_000) as i64 * SECOND } else { 0 };
        let levels = (0..shapes)
            .map(|shape| Level {
                completed: jobs.iter().any(|j| j.shape == shape && j.standing == Standing::Done(End::Completed)),
                ..Level::default()
            })
            .collect();
        let seen = jobs
            .iter()
            .map(|job| Seen {
                ready: LONG_AGO,
                begun: job.standing == Standing::Interrupted,
                failed_last: job.standing == Standing::Failed,
                over: if let Standing::Done(end) = job.standing { Some(Conclusion::DoneBefore(end)) } else { None },
                held_until: (job.standing == Standing::HeldElsewhere).then(|| dice.below(900) as i64 * SECOND),
                ..Seen::default()
            })
            .collect();
        Self {
            policy,
            memory: 100,
            needs: (0..shapes).map(|_| (1 + dice.below(130) as u32, dice.below(30) as u32)).collect(),
            disk_full: full_at..full_at + full_for,
            looks_lie: dice.one_in(3),
            asked_at: dice.one_in(6).then(|| dice.below(2_000) as i64 * SECOND),
            clock_set: dice.one_in(6).then(|| (dice.below(1_000) as i64 * SECOND, (dice.below(7_200) as i64 - 3_600) * SECOND)),
            seen,
            levels,
            ids: (0..jobs.len()).map(|n| (id(n), n)).collect(),
            disk_waited_from: None,
            streak: Alike::default(),
            rests_until: LONG_AGO,
            broken,
            on_gpus: Vec::new(),
            out: BTreeSet::new(),
            stopped: None,
            fault: None,
            jobs,
            dice,
        }
    }

    fn queue(&self) -> Queue {
        let candidate = |(n, job): (usize, &Job)| Candidate {
            id: id(n),
            round: job.round,
            shape: job.shape,
            clip_norm: ClipNorm::Off,
            kin: None,
            twins: None,
            needs: Needs::default(),
            expected_seconds: None,
            standing: job.standing,
        };
        let mut policy = self.policy.clone();
        match self.fault {
            Some(Fault::KindForgotten) => policy.gpus.iter_mut().for_each(|one| one.gpu.name = "X1".to_owned()),
            Some(Fault::SlotTooMany) => policy.slots += 1,
            Some(Fault::TryTooMany) => policy.retries += 1,
            Some(Fault::TriedTooSoon) => policy.backoff_seconds = 0.5,
            Some(Fault::StreakForgotten) => policy.same_failures = usize::MAX,
            Some(Fault::DeadlineForgotten) => policy.until_utc = None,
            _ => {}
        }
        Queue::new(self.jobs.iter().enumerate().map(candidate).collect(), policy)
    }

    /// Memory of a trial on so many threads.
    fn needs(&self, shape: usize, threads: u32) -> u32 {
        let (base, of_thread) = self.needs[shape];
        base + if self.policy.on_gpu { 0 } else { of_thread * threads }
    }

    fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.seen.len()).filter(|n| self.seen[*n].running.is_some())
    }

    /// Slots that are taken.
    fn taken(&self) -> impl Iterator<Item = u32> {
        self.seen.iter().filter(|seen| seen.running.is_some() || seen.lost_until.is_some()).map(|seen| seen.slot)
    }

    /// The GPU of a slot: the first slots are on one each, the next ones on those again that have more.
    fn gpu_of(&self, slot: u32) -> Option<usize> {
        let gpus = &self.policy.gpus;
        let turns = gpus.iter().map(|gpu| gpu.slots).max()?;
        let in_turn = |turn: usize| (0..gpus.len()).filter(move |gpu| gpus[*gpu].slots > turn);
        (0..turns).flat_map(in_turn).nth(slot as usize - 1)
    }

    /// Slots that are of no use: a worker that cannot be killed is there, or the GPU is used no more.
    fn lost(&self) -> usize {
        let stuck: BTreeSet<u32> = self.seen.iter().filter(|seen| seen.lost_until.is_some()).map(|seen| seen.slot).collect();
        let is_out = |slot: u32| self.gpu_of(slot).is_some_and(|gpu| self.out.contains(&gpu));
        (1..=self.policy.slots as u32).filter(|slot| stuck.contains(slot) || is_out(*slot)).count()
    }

    /// Whether a GPU has a slot that is free or will be.
    fn is_used(&self, gpu: usize) -> bool {
        let stuck = |slot: u32| self.seen.iter().any(|seen| seen.lost_until.is_some() && seen.slot == slot);
        let mut slots = (1..=self.policy.slots as u32).filter(|slot| self.gpu_of(*slot) == Some(gpu));
        !self.out.contains(&gpu) && !slots.all(stuck)
    }

    /// The trials that failed on a GPU since one ended there otherwise, with the moments of it.
    fn failed_in_a_row(&self, gpu: usize) -> Vec<(usize, usize)> {
        let on_it = self.on_gpus.iter().enumerate().rev().filter(|(_, end)| end.0 == gpu);
        on_it.take_while(|(_, end)| end.2).map(|(moment, end)| (moment, end.1)).collect()
    }

    /// The GPUs that a trial may be started on: of the kind that it was begun on, and those first on which it has not just failed.
    fn gpus_for(&self, n: usize) -> Vec<usize> {
        let is_kind = |gpu: &usize| self.seen[n].kind.as_ref().is_none_or(|kind| *kind == self.policy.gpus[*gpu].gpu.name);
        let all: Vec<usize> = (0..self.policy.gpus.len()).filter(|gpu| self.is_used(*gpu)).filter(is_kind).collect();
        let failed = |gpu: &usize| self.failed_in_a_row(*gpu).iter().any(|(_, trial)| *trial == n);
        let others: Vec<usize> = all.iter().copied().filter(|gpu| !failed(gpu)).collect();
        if others.is_empty() { all } else { others }
    }

    /// Whether a GPU of these has a slot that is free.
    fn is_free(&self, gpus: &[usize]) -> bool {
        let mut free = (1..=self.policy.slots as u32).filter(|slot| !self.taken().any(|taken| taken == *slot));
        self.policy.gpus.is_empty() || free.any(|slot| self.gpu_of(slot).is_some_and(|gpu| gpus.contains(&gpu)))
    }

    /// Whether a trial may ever be started on a GPU that is there.
    fn has_gpu(&self, n: usize) -> bool {
        self.policy.gpus.is_empty() || !self.gpus_for(n).is_empty()
    }

    /// A trial failed by a fault of its GPU: whether it is that GPU's, which is used no more then.
    fn blames(&mut self, gpu: usize, n: usize, is_lost: bool) -> bool {
        self.on_gpus.push((gpu, n, true));
        let shape = |n: usize| self.jobs[n].shape;
        let ends_well = |of: usize| self.on_gpus.iter().any(|end| !end.2 && shape(end.1) == of);
        let done_before = |of: usize| self.jobs.iter().any(|j| j.shape == of && j.standing == Standing::Done(End::Completed));
        let elsewhere = |of: usize| self.on_gpus.iter().any(|end| end.2 && end.0 != gpu && shape(end.1) == of);
        let others: Vec<usize> = (0..self.policy.gpus.len()).filter(|other| *other != gpu && self.is_used(*other)).collect();
        let all_fail_since = |moment: usize| {
            let since = |other: &usize| self.failed_in_a_row(*other).first().is_some_and(|(newest, _)| *newest > moment);
            !others.is_empty() && others.iter().all(since)
        };
        let row = self.failed_in_a_row(gpu).into_iter().filter(|(moment, _)| !all_fail_since(*moment)).map(|(_, n)| n);
        let row: BTreeSet<usize> =
            row.filter(|n| ends_well(shape(*n)) || done_before(shape(*n)) || !elsewhere(shape(*n))).collect();
        let shapes: BTreeSet<usize> = row.iter().map(|n| shape(*n)).collect();
        let waits = |other: usize| self.seen[other].over.is_none() && self.seen[other].lost_until.is_none();
        let others_wait = (0..self.jobs.len()).any(|other| shape(other) != shape(n) && waits(other));
        let others_end_well = self.on_gpus.iter().any(|end| !end.2 && !shapes.contains(&shape(end.1)));
        let may_be_the_shape = others.is_empty() && shapes.len() == 1 && (others_wait || others_end_well);
        if is_lost || row.len() >= 2 && !may_be_the_shape {
            self.out.insert(gpu);
        }
        self.out.contains(&gpu)
    }

    /// Whether a trial waits to be started, and nothing but a slot is missing.
    fn is_startable(&self, n: usize, now: i64) -> bool {
        let seen = &self.seen[n];
        let in_time = self.policy.until_utc.is_none_or(|until| now < until);
        let taken = seen.running.is_some() || seen.held_until.is_some() || seen.lost_until.is_some();
        let queued = seen.over.is_none() && !taken && seen.ready <= now && self.rests_until <= now;
        queued && in_time && !self.waits(n, now) && self.is_free(&self.gpus_for(n))
    }

    /// Whether another one of its shape tries for it.
    fn waits(&self, n: usize, now: i64) -> bool {
        let Some(other) = self.levels[self.jobs[n].shape].trying.filter(|other| *other != n) else { return false };
        let seen = &self.seen[other];
        let in_time = self.policy.until_utc.is_none_or(|until| now.max(seen.ready) < until);
        let is_lost = seen.lost_until.is_some();
        let comes = seen.held_until.is_none() && in_time && self.has_gpu(other);
        seen.over.is_none() && !is_lost && (seen.running.is_some() || comes)
    }

    fn runs_alone(&self, n: usize) -> bool {
        self.levels[self.jobs[n].shape].level == 2
    }

    /// In which order trials of a round start.
    fn begun(&self, n: usize) -> u8 {
        let seen = &self.seen[n];
        match seen.failed_last {
            true => 2,
            false => u8::from(!seen.begun),
        }
    }

    fn on_start(&mut self, start: &Start, now: i64, world: i64) {
        let n = self.ids[&start.trial];
        assert!(self.stopped.is_none(), "started after the stop");
        assert!(self.disk_waited_from.is_none(), "started while the disk is full");
        assert!(self.is_startable(n, now), "{n} may not start: {:?}", self.seen[n]);
        let is_free = !self.taken().any(|slot| slot == start.slot);
        assert!(is_free && (1..=self.policy.slots as u32).contains(&start.slot), "slot {} is not free", start.slot);
        assert_eq!(start.gpu.as_ref().map(|gpu| gpu.number as usize), self.gpu_of(start.slot));
        if let Some(gpu) = self.gpu_of(start.slot) {
            assert!(!self.out.contains(&gpu), "GPU {gpu} is used no more");
            let load = |gpu| self.taken().filter(|slot| self.gpu_of(*slot) == Some(gpu)).count();
            let may = self.gpus_for(n);
            assert!(may.contains(&gpu), "{n} is not to run on GPU {gpu}: {:?}", self.seen[n]);
            let room = |other: &usize| load(*other) < self.policy.gpus[*other].slots;
            let least = may.into_iter().filter(room).map(load).min();
            assert_eq!(Some(load(gpu)), least, "another GPU has fewer trials");
        }
        let others_alone = self.running().any(|other| self.seen[other].running.is_some_and(|r| r.2 == 2));
        assert!(!others_alone, "another one is to be alone");
        assert!(!self.runs_alone(n) || self.running().next().is_none(), "{n} is to be alone");
        if !self.runs_alone(n) {
            for other in (0..self.jobs.len()).filter(|other| self.is_startable(*other, now) && !self.runs_alone(*other)) {
                let rank = |n: usize| (self.jobs[n].round, self.begun(n));
                assert!(rank(n) <= rank(other), "{n} before {other}");
            }
        }
        let level = &self.levels[self.jobs[n].shape];
        assert!(level.level < 3, "its shape does not fit");
        assert!(start.threads >= 1 && start.threads <= level.threads.unwrap_or(u32::MAX), "{} threads", start.threads);
        let (level, seconds) = (level.level, self.jobs[n].seconds);
        let seen = &mut self.seen[n];
        let fates = &self.jobs[n].fates;
        let fate = match (fates.get(seen.attempts), fates.last()) {
            (Some(fate), _) => *fate,
            // Not held by others again and again.
            (None, Some(fate)) if *fate != Fate::Held => *fate,
            (None, _) => Fate::Ends(End::Diverged),
        };
        let broken = self.gpu_of(start.slot).and_then(|gpu| self.broken[gpu]).filter(|(from, _)| world >= *from);
        let fate = match (broken, fate) {
            (Some((_, is_lost)), Fate::Ends(_)) => Fate::Fails(Cause::Device, if is_lost { LOST } else { "exit code 69" }),
            _ => fate,
        };
        let kind = self.gpu_of(start.slot).map(|gpu| self.policy.gpus[gpu].gpu.name.clone());
        let seen = &mut self.seen[n];
        seen.attempts += 1;
        seen.begun = true;
        seen.began = now;
        seen.slot = start.slot;
        seen.kind = kind;
        assert!(seen.failures <= self.policy.retries, "tried too often");
        let takes = match fate {
            Fate::Ends(_) => seconds,
            Fate::Fails(Cause::Hang, _) => seconds / 2 + 120,
            Fate::StillThere(_) => seconds / 2 + 130,
            Fate::Held => 1,
            Fate::Fails(..) | Fate::Stopped => 1 + seconds / 2,
        };
        seen.running = Some((world + takes * SECOND, fate, level, start.threads));
        self.kill_what_does_not_fit(world);
    }

    /// The kernel kills the largest as long as all together need too much.
    fn kill_what_does_not_fit(&mut self, world: i64) {
        let killed = Fate::Fails(Cause::Memory, "killed for memory");
        loop {
            let alive = |n: &usize| self.seen[*n].running.is_some_and(|r| r.1 != killed);
            let size = |n: usize| self.needs(self.jobs[n].shape, self.seen[n].running.map_or(1, |r| r.3));
            let alive: Vec<usize> = self.running().filter(alive).collect();
            if alive.iter().map(|n| size(*n)).sum::<u32>() <= self.memory {
                return;
            }
            let largest = alive.into_iter().max_by_key(|n| size(*n)).expect("somebody needs it");
            if let Some(running) = &mut self.seen[largest].running {
                (running.0, running.1) = (world + SECOND, killed);
            }
        }
    }

    /// Tells the queue of a worker's end and holds what follows against the rules.
    fn on_end(&mut self, queue: &mut Queue, n: usize, now: i64, world: i64) {
        let (_, mut fate, level, threads) = self.seen[n].running.take().expect("it runs");
        // What is written at the end finds no room.
        if self.disk_full.contains(&world) && matches!(fate, Fate::Ends(_)) {
            fate = Fate::Fails(Cause::Disk, "the disk is full");
            self.seen[n].attempts -= 1;
        }
        if queue.stops_running() && matches!(fate, Fate::Ends(_)) && self.dice.one_in(2) {
            fate = Fate::Stopped;
        }
        if let Fate::StillThere(seconds) = fate {
            return self.on_still_there(queue, n, seconds, now, world);
        }
        self.on_exit(queue, n, (fate, level, threads), now, world);
    }

    /// A worker was killed a while ago, and is still there.
    fn on_still_there(&mut self, queue: &mut Queue, n: usize, seconds: Option<i64>, now: i64, world: i64) {
        self.seen[n].lost_until = Some(seconds.map_or(NEVER, |seconds| world + seconds * SECOND));
        let shape = self.jobs[n].shape;
        self.levels[shape].trying.take_if(|trying| *trying == n);
        let hung = || Exit::Failed(Failure { cause: Cause::Hang, reason: "silent".to_owned(), last_lines: Vec::new() });
        let events = match self.fault {
            Some(Fault::SlotGivenAgain) => queue.on_exit(&id(n), hung(), now),
            Some(Fault::WaitedForEver) => Vec::new(),
            _ => queue.on_still_there(&id(n)),
        };
        self.hear(&events, now);
    }

    /// A worker has ended so.
    fn on_exit(&mut self, queue: &mut Queue, n: usize, (fate, level, threads): (Fate, u32, u32), now: i64, world: i64) {
        let shape = self.jobs[n].shape;
        let exit = match fate {
            Fate::Fails(Cause::Hang, _) if self.fault == Some(Fault::HangForgotten) => Exit::Interrupted,
            Fate::Ends(end) => Exit::Done(Box::new(Outcome::example(end))),
            Fate::Fails(Cause::Device, reason) if self.fault == Some(Fault::GpuForgotten) => {
                Exit::Failed(Failure { cause: Cause::Crash, reason: reason.to_owned(), last_lines: Vec::new() })
            }
            Fate::Fails(Cause::Device, LOST) if self.fault == Some(Fault::LossForgotten) => {
                Exit::Failed(Failure { cause: Cause::Device, reason: LOST.to_owned(), last_lines: Vec::new() })
            }
            Fate::Fails(Cause::Device, _) if self.fault == Some(Fault::TakenForResult) => {
                Exit::Done(Box::new(Outcome::example(End::Completed)))
            }
            Fate::Fails(cause, reason) => {
                Exit::Failed(Failure { cause, reason: reason.to_owned(), last_lines: vec![reason.to_owned()] })
            }
            Fate::Stopped => Exit::Interrupted,
            Fate::Held => Exit::HeldElsewhere,
            Fate::StillThere(_) => unreachable!("it has not ended"),
        };
        let stopped_before = self.stopped.clone();
        let gpu = self.gpu_of(self.seen[n].slot);
        let events = queue.on_exit(&id(n), exit, now);
        let stopping = stopped_before.is_some();
        if let (Some(gpu), Fate::Ends(_)) = (gpu, fate) {
            self.on_gpus.push((gpu, n, false));
        }
        let is_blamed = match (gpu, fate) {
            (Some(gpu), Fate::Fails(Cause::Device | Cause::Hang, reason)) => self.blames(gpu, n, reason == LOST),
            _ => false,
        };
        let nothing_left = self.lost() >= self.policy.slots;
        let seen = &mut self.seen[n];
        // Unless a pause is told.
        seen.ready = LONG_AGO;
        if !matches!(fate, Fate::Fails(Cause::Memory, _)) {
            self.levels[shape].trying.take_if(|trying| *trying == n);
        }
        let retries = self.policy.retries;
        match fate {
            Fate::Ends(end) => {
                seen.over = Some(Conclusion::Ended(end));
                self.levels[shape].completed |= end == End::Completed;
                self.streak = Alike::default();
            }
            Fate::Held => seen.held_until = Some(world + 50 * SECOND),
            Fate::StillThere(_) => {}
            Fate::Stopped => {
                seen.failures += 1;
                if stopping || seen.failures > retries {
                    seen.over = Some(Conclusion::Left(Left::Interrupted));
                }
            }
            Fate::Fails(Cause::Disk, _) => {
                if stopping {
                    seen.over = Some(Conclusion::Left(Left::Interrupted));
                } else {
                    self.disk_waited_from.get_or_insert(now);
                }
            }
            Fate::Fails(Cause::Memory, _) => {
                seen.failed_last = true;
                self.on_kill(n, level, threads, stopping);
            }
            Fate::Fails(..) if is_blamed => {
                if stopping || nothing_left {
                    seen.over = Some(Conclusion::Left(Left::Interrupted));
                }
            }
            Fate::Fails(cause, reason) => {
                seen.failed_last = true;
                self.count(cause, reason, n, now);
                let seen = &mut self.seen[n];
                if matches!(cause, Cause::Refused | Cause::BadData) {
                    seen.over = Some(Conclusion::Ended(End::Failed));
                } else {
                    seen.failures += 1;
                    if seen.failures > retries {
                        seen.over = Some(Conclusion::Ended(End::Failed));
                    } else if self.stopped.is_some() {
                        seen.over = Some(Conclusion::Left(Left::Failed));
                    }
                }
            }
        }
        self.hear(&events, now);
    }

    fn count(&mut self, cause: Cause, reason: &'static str, n: usize, now: i64) {
        let of = Some((cause, reason));
        let (shape, began) = (self.jobs[n].shape, self.seen[n].began);
        let is_start = cause == Cause::NotStarted;
        let went_well = self.running().any(|other| self.seen[other].began > self.streak.last);
        if self.streak.of != of || is_start && went_well {
            self.streak = Alike { of, first: now, ..Alike::default() };
        }
        let streak = &mut self.streak;
        if streak.events == 0 || began >= streak.last || now - streak.last >= 60 * SECOND {
            (streak.last, streak.events) = (now, streak.events + 1);
        }
        self.streak.shapes.insert(shape);
        let trials = self.streak.shapes.len();
        if self.stopped.is_some() {
            return;
        }
        let reason = reason.to_owned();
        if is_start && now - self.streak.first >= 3600 * SECOND {
            self.stopped = Some(Stop::CannotStart { reason });
        } else if is_start {
            self.rests_until = now + self.policy.backoff(self.streak.events);
        } else if trials.min(self.streak.events as usize) >= self.policy.same_failures {
            self.stopped = Some(Stop::SameFailure { reason, trials });
        }
    }

    fn on_kill(&mut self, n: usize, level: u32, threads: u32, stopping: bool) {
        let shape = self.jobs[n].shape;
        let on_gpu = self.policy.on_gpu;
        let needs = self.needs(shape, threads);
        if level == 2 && self.seen.iter().any(|seen| seen.lost_until.is_some()) {
            // Who cannot be killed has its memory still.
            self.levels[shape].trying.take_if(|trying| *trying == n);
            self.seen[n].over = Some(Conclusion::Left(Left::Failed));
            return;
        }
        let state = &mut self.levels[shape];
        if level == state.level {
            if level == 2 {
                assert!(needs > self.memory, "it was alone and fits");
                state.trying = None;
                self.seen[n].over = Some(Conclusion::Ended(End::DidNotFit));
                if !state.completed {
                    state.level = 3;
                    for other in 0..self.jobs.len() {
                        if self.jobs[other].shape == shape
                            && self.seen[other].over.is_none()
                            && self.seen[other].held_until.is_none()
                        {
                            self.seen[other].over = Some(Conclusion::Ended(End::DidNotFit));
                        }
                    }
                }
                return;
            }
            let halves = level == 0 && !on_gpu && threads > 1;
            (state.level, state.threads) = if halves { (1, Some(threads / 2)) } else { (2, Some(threads)) };
            state.trying = Some(n);
        }
        if stopping {
            self.seen[n].over = Some(Conclusion::Left(Left::Failed));
        }
    }

    /// What the queue tells must be what follows.
    fn hear(&mut self, events: &[Event], now: i64) {
        for event in events {
            match event {
                Event::Ended { trial, end, .. } => {
                    assert_eq!(self.seen[self.ids[trial]].over, Some(Conclusion::Ended(*end)), "{event:?}");
                }
                Event::Left { trial, why } => {
                    let seen = &mut self.seen[self.ids[trial]];
                    assert_eq!(*seen.over.get_or_insert(Conclusion::Left(*why)), Conclusion::Left(*why), "{event:?}");
                }
                Event::Skipped { trial, end } => {
                    assert_eq!(self.seen[self.ids[trial]].over, Some(Conclusion::DoneBefore(*end)));
                }
                Event::Retrying { trial, in_seconds, .. } => {
                    let seen = &mut self.seen[self.ids[trial]];
                    assert!(seen.over.is_none() && *in_seconds >= 2.0, "{event:?}");
                    seen.ready = now + (in_seconds * 1e6) as i64;
                }
                Event::StillThere { trial, slot, waits: false } => {
                    let seen = &self.seen[self.ids[trial]];
                    assert!(seen.lost_until.is_some() && seen.slot == *slot, "{event:?}");
                }
                // Also where the deadline comes before the other one is tried again.
                Event::Waits { trial, other } => {
                    assert_eq!(self.levels[self.jobs[self.ids[trial]].shape].trying, Some(self.ids[other]), "{event:?}");
                }
                Event::GpuLeftOut { gpu, left, .. } => {
                    assert!(self.out.contains(&(gpu.number as usize)), "{event:?}");
                    assert_eq!(*left, self.policy.gpus.len() - self.out.len());
                }
                Event::Pause { seconds, failures } => {
                    assert_eq!(now + (seconds * 1e6) as i64, self.rests_until, "{event:?}");
                    assert_eq!(*failures, self.streak.events);
                }
                Event::DiskFull => assert_eq!(self.disk_waited_from, Some(now)),
                Event::DiskHasRoom => self.disk_waited_from = None,
                Event::Stopping { why } => {
                    let right = match why {
                        Stop::Deadline => self.policy.until_utc.is_some_and(|until| now >= until),
                        Stop::SameFailure { .. } | Stop::CannotStart { .. } => self.stopped.as_ref() == Some(why),
                        Stop::Asked | Stop::DiskFull => true,
                        Stop::NoSlot | Stop::NoGpu => self.lost() >= self.policy.slots,
                    };
                    assert!(right, "{event:?}");
                    self.stopped.get_or_insert(why.clone());
                }
                _ => {}
            }
        }
    }

    /// No slot is empty while a trial could start that no failure of its own shape keeps back.
    fn nothing_is_held_back(&self, now: i64) {
        let alone = self.running().any(|n| self.seen[n].running.is_some_and(|r| r.2 == 2));
        let is_out = |slot: u32| self.gpu_of(slot).is_some_and(|gpu| self.out.contains(&gpu));
        let full = (1..=self.policy.slots as u32).all(|slot| is_out(slot) || self.taken().any(|taken| taken == slot));
        if self.stopped.is_some() || self.disk_waited_from.is_some() || alone || full {
            return;
        }
        for n in (0..self.jobs.len()).filter(|n| self.is_startable(*n, now)) {
            let paused = |n: usize| self.seen[n].over.is_none() && !self.runs_alone(n) && self.seen[n].ready > now;
            let waits_for_others = self.running().next().is_some() || (0..self.jobs.len()).any(paused);
            assert!(self.runs_alone(n) && waits_for_others, "{n} could start: {:?}", self.seen[n]);
        }
    }

    fn play(mut self) -> Summary {
        let mut queue = self.queue();
        let (mut world, mut events) = (0, queue.begin());
        self.hear(&events, 0);
        for turn in 0.. {
            assert!(turn < LONGEST, "the night does not end");
            let now = world + self.clock_set.map_or(0, |(at, by)| if world >= at { by } else { 0 });
            if self.asked_at.is_some_and(|at| world >= at) {
                events = queue.stop(Stop::Asked);
                self.hear(&events, now);
            }
            events = queue.tick(now);
            self.hear(&events, now);
            for n in 0..self.jobs.len() {
                if self.seen[n].held_until.is_some_and(|until| world >= until) && self.stopped.is_none() {
                    self.let_go(&mut queue, n, now);
                }
            }
            if queue.disk_to_look_at(now).is_some() {
                let has_room = self.looks_lie || !self.disk_full.contains(&world);
                events = queue.on_disk(has_room, now);
                self.hear(&events, now);
            }
            while let Some(start) = queue.next(now) {
                self.on_start(&start, now, world);
            }
            self.nothing_is_held_back(now);
            if queue.is_over(now) {
                break;
            }
            if queue.stops_running() {
                for seen in &mut self.seen {
                    if let Some(running) = &mut seen.running {
                        running.0 = running.0.min(world + SECOND);
                    }
                }
            }
            world = self.next_turn(now, world);
            let now = world + self.clock_set.map_or(0, |(at, by)| if world >= at { by } else { 0 });
            for n in 0..self.jobs.len() {
                if self.seen[n].running.is_some_and(|r| r.0 <= world) {
                    self.on_end(&mut queue, n, now, world);
                } else if self.seen[n].lost_until.take_if(|until| *until <= world).is_some() {
                    self.on_exit(&mut queue, n, (Fate::Fails(Cause::Hang, "silent"), 0, 1), now, world);
                }
            }
        }
        self.finish(queue)
    }

    /// Another worker leaves a trial.
    fn let_go(&mut self, queue: &mut Queue, n: usize, now: i64) {
        self.seen[n].held_until = None;
        let does_not_fit = self.levels[self.jobs[n].shape].level == 3;
        self.seen[n].failed_last = true;
        if does_not_fit {
            self.seen[n].over = Some(Conclusion::Ended(End::DidNotFit));
        }
        let events = queue.on_standing(&id(n), Standing::Failed);
        self.hear(&events, now);
    }

    /// When something can happen next.
    fn next_turn(&self, now: i64, world: i64) -> i64 {
        let ends = self.seen.iter().filter_map(|s| s.running.map(|r| r.0));
        let held = self.seen.iter().filter_map(|s| s.held_until);
        let lost = self.seen.iter().filter_map(|s| s.lost_until).filter(|until| *until < NEVER);
        let ready = self.seen.iter().filter(|s| s.over.is_none()).map(|s| world + s.ready - now);
        let until = self.policy.until_utc.map(|until| world + until - now);
        let rests = (self.rests_until > now).then(|| world + self.rests_until - now);
        let disk = self.disk_waited_from.map(|_| world + 10 * SECOND);
        let all = ends
            .chain(held)
            .chain(lost)
            .chain(ready)
            .chain(until)
            .chain(rests)
            .chain(disk)
            .chain(self.asked_at)
            .chain(self.clock_set.map(|c| c.0));
        all.filter(|t| *t > world).min().unwrap_or(world + SECOND)
    }

    fn finish(mut self, mut queue: Queue) -> Summary {
        let (events, summary) = queue.finish();
        for event in &events {
            let Event::Left { trial, why } = event else { panic!("{event:?}") };
            let seen = &mut self.seen[self.ids[trial]];
            assert!(seen.over.is_none() && seen.running.is_none(), "{event:?}: concluded twice, or it runs");
            let is_lost = seen.lost_until.is_some();
            assert_eq!(*why == Left::StillThere, is_lost, "{event:?}");
            assert!(is_lost || summary.stopped.is_some(), "{event:?}, and nothing stopped it");
            seen.over = Some(Conclusion::Left(*why));
        }
        let all = self.seen.iter().map(|seen| seen.over.expect("each trial is concluded"));
        assert_eq!(summary, Summary::of(all, summary.stopped.clone()));
        for (n, job) in self.jobs.iter().enumerate() {
            let least = self.needs(job.shape, 1);
            if self.seen[n].over == Some(Conclusion::Ended(End::Completed)) {
                assert!(least <= self.memory, "{n} cannot have fitted");
            }
            let untouched = self.seen[n].attempts == 0 && summary.stopped.is_none();
            let decided = matches!(self.seen[n].over, Some(Conclusion::DoneBefore(_) | Conclusion::Ended(End::DidNotFit)));
            assert!(!untouched || decided, "{n} was never tried");
        }
        summary
    }
}

fn fate(dice: &mut Dice, rough: u64) -> Fate {
    let ends = [Fate::Ends(End::Completed), Fate::Ends(End::Completed), Fate::Ends(End::Completed), Fate::Ends(End::Diverged)];
    let fails = [
        Fate::Fails(Cause::Crash, "exit code 101"),
        Fate::Fails(Cause::Crash, "exit code 101"),
        Fate::Fails(Cause::Crash, "signal 11"),
        Fate::Fails(Cause::Device, "exit code 69"),
        Fate::Fails(Cause::Unknown, "signal 9"),
        Fate::Fails(Cause::Hang, "silent"),
        Fate::Fails(Cause::Refused, "exit code 2"),
        Fate::Fails(Cause::BadData, "exit code 65"),
        Fate::Fails(Cause::NotStarted, "no process"),
        Fate::Stopped,
        Fate::Held,
        Fate::StillThere((!dice.one_in(4)).then(|| 1 + dice.below(900) as i64)),
    ];
    if dice.below(4) >= rough { ends[dice.below(4) as usize] } else { fails[dice.below(12) as usize] }
}

fn id(n: usize) -> TrialId {
    TrialId::of(&n.to_string())
}

#[test]
fn nights_that_are_made_up_end_as_their_causes_say() {
    let mut seen = Summary::default();
    for number in 0..NIGHTS {
        let played = std::panic::catch_unwind(|| Night::of(number).play());
        let summary = played.unwrap_or_else(|_| panic!("night {number} went wrong: see above"));
        seen.completed += summary.completed;
        seen.did_not_fit += summary.did_not_fit;
        seen.failed += summary.failed;
        seen.left += summary.left;
    }
    // Enough of each sort, so that none of it is without meaning.
    let least = NIGHTS as usize / 10;
    assert!([seen.completed, seen.did_not_fit, seen.failed, seen.left].iter().all(|n| *n > least), "{seen:?}");
}

#[test]
fn mistakes_that_are_made_on_purpose_are_found() {
    for fault in [
        Fault::SlotGivenAgain,
        Fault::WaitedForEver,
        Fault::HangForgotten,
        Fault::GpuForgotten,
        Fault::LossForgotten,
        Fault::TakenForResult,
        Fault::KindForgotten,
        Fault::SlotTooMany,
        Fault::TryTooMany,
        Fault::TriedTooSoon,
        Fault::StreakForgotten,
        Fault::DeadlineForgotten,
    ] {
        let goes_wrong = |number| {
            let night = Night { fault: Some(fault), ..Night::of(number) };
            std::panic::catch_unwind(|| night.play()).is_err()
        };
        assert!((0..300).any(goes_wrong), "{fault:?} is not found");
    }
}

#[test]
fn one_night() {
    let number = std::env::var("VOTIVE_NIGHT").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    Night::of(number).play();
}
