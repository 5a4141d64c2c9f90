//! Which of a machine's GPUs an experiment's trials run on, and which are left alone.
//!
//! A GPU of which others use much is theirs. Trials of one experiment run on one kind of GPU, since another kind rounds otherwise
//! and a difference of two trials may then be one of their GPUs; `run.mixed` allows several.

use std::collections::BTreeSet;

use crate::device::{Device, Gpu};
use crate::error::{Error, Kind, Result};
use crate::model::gpu::cuda::{Process, Usage};
use crate::words::listed;

/// A GPU that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Usable {
    /// The GPU.
    pub(super) gpu: Gpu,
    /// Its memory, bytes.
    pub(super) memory: u64,
    /// What others use of it; `None` where it is not known.
    pub(super) others: Option<Others>,
}

impl Usable {
    /// Whether others use more of it than so many bytes, as far as is known.
    pub(super) fn is_busy(&self, bytes: u64) -> bool {
        self.others.as_ref().is_some_and(|others| others.bytes > bytes)
    }
}

/// What others use of a GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Others {
    /// Of its memory, bytes.
    pub(super) bytes: u64,
    /// Who they are, as far as that is known.
    pub(super) processes: Vec<Process>,
}

impl Others {
    /// Who uses a GPU beside the processes of this experiment.
    pub(super) fn of(usage: Usage, is_own: &dyn Fn(u32) -> bool) -> Self {
        let (own, processes): (Vec<Process>, Vec<Process>) = usage.processes.into_iter().partition(|one| is_own(one.pid));
        let own: u64 = own.iter().filter_map(|one| one.bytes).sum();
        Self { bytes: usage.used.saturating_sub(own), processes }
    }
}

/// A GPU that no trial runs on, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeftAlone {
    /// The GPU.
    pub(super) gpu: Gpu,
    /// Why.
    pub(super) why: Why,
}

/// Why a GPU is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    /// Others use it.
    Busy(Others),
    /// Trials run on GPUs of this other kind.
    OtherKind(String),
}

/// By what GPUs are chosen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    /// Others may use so many bytes of one that is taken.
    pub(super) busy: u64,
    /// Whether several kinds may be taken.
    pub(super) mixed: bool,
    /// The kinds that trials of the experiment were trained on.
    pub(super) kept: &'a BTreeSet<String>,
}

/// The GPUs that trials run on, in the order of their numbers, and those that are left alone.
///
/// # Errors
/// Where none is left.
pub(super) fn choose(usable: Vec<Usable>, rules: Rules<'_>) -> Result<(Vec<Usable>, Vec<LeftAlone>)> {
    if !rules.mixed && !rules.kept.is_empty() && !usable.iter().any(|one| rules.kept.contains(&one.gpu.name)) {
        return Err(other_machine(&usable, rules.kept));
    }
    let (busy, free): (Vec<Usable>, Vec<Usable>) = usable.into_iter().partition(|one| one.is_busy(rules.busy));
    let is_kept = |one: &&Usable| rules.kept.is_empty() || rules.kept.contains(&one.gpu.name);
    let candidates = free.iter().filter(|one| rules.mixed || is_kept(one));
    let count = |name: &str| free.iter().filter(|one| one.gpu.name == name).count();
    // Of as many the first.
    let kind = candidates.map(|one| one.gpu.name.clone()).rev().max_by_key(|name| count(name));
    let Some(kind) = kind else { return Err(all_busy(&busy)) };
    let (taken, others): (Vec<Usable>, Vec<Usable>) = free.into_iter().partition(|one| rules.mixed || one.gpu.name == kind);
    let busy = busy.into_iter().map(|one| LeftAlone { why: Why::Busy(one.others.unwrap_or_default()), gpu: one.gpu });
    let others = others.into_iter().map(|one| LeftAlone { gpu: one.gpu, why: Why::OtherKind(kind.clone()) });
    let mut left: Vec<LeftAlone> = busy.chain(others).collect();
    left.sort_by_key(|left| left.gpu.number);
    Ok((taken, left))
}

fn all_busy(busy: &[Usable]) -> Error {
    Error::new(Kind::Device, format!("others use every GPU that could be taken: {}", each_with_use(busy)))
        .help("try again when one is free, name one to share it (`--device cuda:0`), or set a larger `run.gpu_busy`")
}

/// That trials run on this device, since others use all GPUs.
pub(super) fn instead(busy: &[Usable], device: Device) -> String {
    let first = busy.first().map_or(Device::Cuda(0), |one| one.gpu.device());
    format!(
        "others use every GPU: {}; training on `{device}`, where this experiment then stays (`--device {first}` shares the GPU, \
         a larger `run.gpu_busy` lets others use more)",
        each_with_use(busy)
    )
}

/// `cuda:0 (2.0 GB, python 4711) and cuda:1 (1.2 GB)`.
fn each_with_use(busy: &[Usable]) -> String {
    let one = |one: &Usable| {
        let others = one.others.clone().unwrap_or_default();
        format!("{} ({})", one.gpu.device(), used(&others))
    };
    listed(&busy.iter().map(one).collect::<Vec<String>>())
}

fn other_machine(usable: &[Usable], kept: &BTreeSet<String>) -> Error {
    let there: BTreeSet<&str> = usable.iter().map(|one| one.gpu.name.as_str()).collect();
    let kept: Vec<&str> = kept.iter().map(String::as_str).collect();
    let there: Vec<&str> = there.into_iter().collect();
    Error::new(
        Kind::Device,
        format!("trials of this experiment were trained on {}, and here is {}", listed(&kept), listed(&there)),
    )
    .help("`--set run.mixed=true` trains the others here; results of different kinds are told apart, and not called better")
}

/// `12.0 GB, python 4711`.
fn used(others: &Others) -> String {
    let who = processes(&others.processes);
    let bytes = gigabytes(others.bytes);
    if who.is_empty() { bytes } else { format!("{bytes}, {who}") }
}

/// `12.0 GB`.
fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

/// `python 4711, 4712`; those that use most first, and not all of many.
fn processes(processes: &[Process]) -> String {
    const SHOWN: usize = 3;
    let mut by_use: Vec<&Process> = processes.iter().collect();
    by_use.sort_by_key(|one| (std::cmp::Reverse(one.bytes), one.pid));
    let name = |one: &&Process| format!("{} {}", one.name, one.pid).trim().to_owned();
    let mut names: Vec<String> = by_use.iter().take(SHOWN).map(name).collect();
    if by_use.len() > SHOWN {
        names.push(format!("{} more", by_use.len() - SHOWN));
    }
    names.join(", ")
}

impl Others {
    /// `others use 12.0 GB of it (python 4711)`.
    pub(super) fn sentence(&self) -> String {
        let who = processes(&self.processes);
        let who = if who.is_empty() { who } else { format!(" ({who})") };
        format!("others use {} of it{who}", gigabytes(self.bytes))
    }
}

impl LeftAlone {
    /// `cuda:1 is left alone: others use 12.0 GB of it (python 4711)`.
    pub(super) fn sentence(&self) -> String {
        let why = match &self.why {
            Why::Busy(others) => others.sentence(),
            Why::OtherKind(taken) => {
                format!(
                    "it is {}, and trials of one experiment run on one kind of GPU, here {taken} (`run.mixed: true` takes all)",
                    self.gpu.name
                )
            }
        };
        format!("{} is left alone: {why}", self.gpu.device())
    }
}

/// GPUs in words: `cuda:0 (NVIDIA H200)`, `cuda:0 and cuda:1 (NVIDIA H200)`, and each with its kind where they differ.
pub(super) fn in_words(gpus: &[&Gpu]) -> String {
    let alike = gpus.iter().all(|gpu| gpu.name == gpus[0].name);
    match gpus.first() {
        Some(first) if alike => {
            let devices: Vec<String> = gpus.iter().map(|gpu| gpu.device().to_string()).collect();
            format!("{} ({})", listed(&devices), first.name)
        }
        _ => listed(&gpus.iter().map(ToString::to_string).collect::<Vec<_>>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const G: u64 = 1_000_000_000;

    /// GPUs of these kinds, and what others use of each.
    fn machine(gpus: &[(&str, Option<u64>)]) -> Vec<Usable> {
        let python = Process { pid: 4711, name: "python".to_owned(), bytes: None };
        let one = |(number, (name, bytes)): (u32, &(&str, Option<u64>))| Usable {
            gpu: Gpu::example(number, name),
            memory: 80 * G,
            others: bytes.map(|bytes| Others { bytes, processes: vec![python.clone()] }),
        };
        (0..).zip(gpus).map(one).collect()
    }

    /// The numbers of those that are taken, or the error; what is said of the others.
    fn chosen(gpus: &[(&str, Option<u64>)], mixed: bool, kept: &[&str]) -> (Vec<u32>, Vec<String>) {
        let kept = kept.iter().map(|&kind| kind.to_owned()).collect();
        match choose(machine(gpus), Rules { busy: G, mixed, kept: &kept }) {
            Ok((taken, left)) => {
                (taken.iter().map(|one| one.gpu.number).collect(), left.iter().map(LeftAlone::sentence).collect())
            }
            Err(error) => (Vec::new(), vec![error.chain()]),
        }
    }

    #[test]
    fn gpus_that_are_free_and_of_the_most_frequent_kind_are_taken() {
        let free = Some(0);
        for (gpus, mixed, kept, taken) in [
            (&[("A", free)] as &[_], false, &[] as &[&str], &[0u32] as &[u32]),
            (&[("A", None), ("A", None)], false, &[], &[0, 1]),
            (&[("A", Some(G)), ("A", Some(G + 1))], false, &[], &[0]),
            (&[("A", free), ("B", free), ("B", free)], false, &[], &[1, 2]),
            (&[("A", free), ("B", free)], false, &[], &[0]),
            (&[("B", free), ("A", free)], false, &[], &[0]),
            (&[("A", free), ("B", free), ("B", free)], true, &[], &[0, 1, 2]),
            (&[("A", free), ("B", free), ("B", free)], false, &["A"], &[0]),
            (&[("A", free), ("B", free), ("B", free)], false, &["A", "B"], &[1, 2]),
            (&[("A", free), ("B", Some(9 * G)), ("B", Some(9 * G))], false, &[], &[0]),
            (&[("A", Some(9 * G)), ("B", free)], true, &["A"], &[1]),
            (&[("A", Some(9 * G)), ("B", free)], false, &["A"], &[]),
            (&[("A", Some(9 * G)), ("A", Some(9 * G))], true, &[], &[]),
            (&[("B", free)], false, &["A"], &[]),
            (&[("B", free)], true, &["A"], &[0]),
        ] {
            assert_eq!(chosen(gpus, mixed, kept).0, taken, "{gpus:?} {mixed} {kept:?}");
        }
    }

    #[test]
    fn what_is_left_alone_is_said_with_the_reason() {
        let (taken, said) = chosen(&[("A", Some(0)), ("A", Some(12 * G)), ("B", Some(0)), ("A", Some(0))], false, &[]);
        assert_eq!(taken, [0, 3]);
        assert_eq!(
            said,
            [
                "cuda:1 is left alone: others use 12.0 GB of it (python 4711)",
                "cuda:2 is left alone: it is B, and trials of one experiment run on one kind of GPU, here A (`run.mixed: true` takes all)",
            ]
        );
        let (_, said) = chosen(&[("A", Some(12 * G)), ("A", Some(2 * G))], false, &[]);
        assert_eq!(
            said,
            ["others use every GPU that could be taken: cuda:0 (12.0 GB, python 4711) and cuda:1 (2.0 GB, python 4711)"]
        );
        let busy = machine(&[("A", Some(12 * G))]);
        assert_eq!(
            instead(&busy, Device::Cpu),
            "others use every GPU: cuda:0 (12.0 GB, python 4711); training on `cpu`, where this experiment then stays (`--device cuda:0` \
             shares the GPU, a larger `run.gpu_busy` lets others use more)"
        );
        let (_, said) = chosen(&[("B", None)], false, &["A"]);
        assert_eq!(said, ["trials of this experiment were trained on A, and here is B"]);
    }

    #[test]
    fn processes_of_the_experiment_itself_are_no_others() {
        let process = |pid, bytes| Process { pid, name: format!("p{pid}"), bytes };
        let usage = Usage { used: 10, processes: vec![process(1, Some(4)), process(2, Some(5)), process(3, None)] };
        let others = Others::of(usage, &|pid| pid != 2);
        assert_eq!(others, Others { bytes: 6, processes: vec![process(2, Some(5))] });
        let many: Vec<Process> = (1..=5).map(|pid| process(pid, Some(u64::from(pid)))).collect();
        assert_eq!(processes(&many), "p5 5, p4 4, p3 3, 2 more");
        assert_eq!(processes(&[Process { pid: 7, name: String::new(), bytes: None }]), "7");
        assert_eq!(Others { bytes: 2 * G, processes: Vec::new() }.sentence(), "others use 2.0 GB of it");
    }

    #[test]
    fn gpus_are_named_with_their_kinds() {
        let gpus = [Gpu::example(0, "A"), Gpu::example(2, "A"), Gpu::example(3, "B")];
        let words = |which: &[usize]| in_words(&which.iter().map(|n| &gpus[*n]).collect::<Vec<_>>());
        assert_eq!(words(&[1]), "cuda:2 (A)");
        assert_eq!(words(&[0, 1]), "cuda:0 and cuda:2 (A)");
        assert_eq!(words(&[0, 1, 2]), "cuda:0 (A), cuda:2 (A) and cuda:3 (B)");
    }
}
