//! The kinds of GPU that an experiment's trials were trained on.

use std::collections::BTreeSet;

use super::{ExperimentFolder, Outcome, TrialFolder, attempts};
use crate::device::Device;
use crate::durable;

/// The names of the GPUs on which trials of this folder came to a result. Files that cannot be read say nothing.
pub fn kinds_of_gpus(folder: &ExperimentFolder) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder.trials()).into_iter().flatten().flatten();
    entries.filter_map(|entry| kind_of(&TrialFolder::at(&entry.path()))).collect()
}

fn kind_of(folder: &TrialFolder) -> Option<String> {
    // Of an alias it is that of its source.
    let outcome = durable::read_json::<Outcome>(&folder.outcome()).ok()??;
    let last = attempts(folder).ok()?.pop()?;
    let on_gpu = matches!(last.device, Device::Cuda(_));
    last.gpu.map(|gpu| gpu.name).or(outcome.processor).filter(|_| on_gpu)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Gpu;
    use crate::plan::TrialId;
    use crate::runs::{Attempt, End, begin_attempt};

    #[test]
    fn only_results_of_gpus_count() {
        let directory = tempfile::tempdir().unwrap();
        let folder = ExperimentFolder::at(directory.path());
        assert!(kinds_of_gpus(&folder).is_empty());
        let trial = |name: &str, device, gpu: Option<&str>, processor: Option<&str>| {
            let trial = folder.trial(&TrialId::of(name));
            let gpu = gpu.map(|name| Gpu::example(0, name));
            begin_attempt(&trial, &Attempt { device, gpu, ..Attempt::example() }).unwrap();
            if let Some(processor) = processor {
                let outcome = Outcome { processor: Some(processor.to_owned()), ..Outcome::example(End::Completed) };
                durable::write_json(&trial.outcome(), &outcome).unwrap();
            }
        };
        trial("a", Device::Cpu, None, Some("Xeon"));
        trial("b", Device::Cuda(1), Some("H200"), Some("H200"));
        trial("of an earlier version", Device::Cuda(0), None, Some("A100"));
        trial("not over", Device::Cuda(0), Some("T4"), None);
        let expected: Vec<String> = kinds_of_gpus(&folder).into_iter().collect();
        assert_eq!(expected, ["A100", "H200"]);
    }
}
