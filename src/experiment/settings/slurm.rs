//! `run.slurm`: what is asked of a Slurm cluster for each trial.

use serde::de::Deserializer;
use serde::{Deserialize, Serialize};

use crate::experiment::text::{Scalar, duration, fields};

/// Options of `sbatch` that are given by this program, and what sets them.
const OWN: &[(&str, &str)] = &[
    ("--partition", "`run.slurm.partition`"),
    ("-p", "`run.slurm.partition`"),
    ("--time", "`run.slurm.time`"),
    ("-t", "`run.slurm.time`"),
    ("--gpus", "`run.slurm.gpus`"),
    ("-G", "`run.slurm.gpus`"),
    ("--gpus-per-task", "`run.slurm.gpus`"),
    ("--cpus-per-task", "`run.slurm.cpus`"),
    ("-c", "`run.slurm.cpus`"),
    ("--mem", "`run.slurm.memory`"),
    ("--account", "`run.slurm.account`"),
    ("-A", "`run.slurm.account`"),
    ("--qos", "`run.slurm.qos`"),
    ("-q", "`run.slurm.qos`"),
    ("--constraint", "`run.slurm.constraint`"),
    ("-C", "`run.slurm.constraint`"),
    ("--array", "`run.slots`"),
    ("-a", "`run.slots`"),
    ("--job-name", "votive"),
    ("-J", "votive"),
    ("--output", "votive"),
    ("-o", "votive"),
    ("--error", "votive"),
    ("-e", "votive"),
    ("--signal", "votive"),
    ("--wrap", "votive"),
    ("--requeue", "votive"),
    ("--no-requeue", "votive"),
    ("--chdir", "votive"),
    ("-D", "votive"),
    ("--nodes", "votive"),
    ("-N", "votive"),
    ("--ntasks", "votive"),
    ("-n", "votive"),
];

/// `run.slurm`: what is asked of the cluster for each trial. What is not set is chosen by the plan (memory, time), or by the
/// cluster (partition, account, quality of service).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Slurm {
    /// The partition.
    #[serde(deserialize_with = "fields::maybe_words")]
    pub partition: Option<String>,
    /// The time limit of a job, `4h`. A trial that takes longer goes on in another job.
    #[serde(deserialize_with = "fields::maybe_duration")]
    pub time: Option<String>,
    /// GPUs of a trial: 0 trains on the processor.
    #[serde(deserialize_with = "one_or_none")]
    pub gpus: u32,
    /// CPUs of a trial; `None` is `run.threads`, or 1.
    #[serde(deserialize_with = "fields::maybe_few")]
    pub cpus: Option<usize>,
    /// Memory of a trial, `8G`; `None` goes by the plan and what was measured.
    #[serde(deserialize_with = "maybe_memory")]
    pub memory: Option<String>,
    /// The account that is charged.
    #[serde(deserialize_with = "fields::maybe_words")]
    pub account: Option<String>,
    /// The quality of service.
    #[serde(deserialize_with = "fields::maybe_words")]
    pub qos: Option<String>,
    /// Features that nodes must have, as sbatch has them.
    #[serde(deserialize_with = "fields::maybe_words")]
    pub constraint: Option<String>,
    /// More options of sbatch, each as on its command line.
    #[serde(deserialize_with = "options")]
    pub extra: Vec<String>,
}

impl Slurm {
    /// The memory of a trial, bytes.
    pub fn memory_bytes(&self) -> Option<u64> {
        memory(self.memory.as_deref()?)
    }

    /// Where that is, in words: the partition, and what its nodes must have.
    pub fn place(&self) -> String {
        let partition = self.partition.as_ref().map(|partition| format!("partition {partition}"));
        let constraint = self.constraint.clone();
        let parts: Vec<String> = partition.into_iter().chain(constraint).collect();
        if parts.is_empty() { "Slurm".to_owned() } else { format!("Slurm ({})", parts.join(", ")) }
    }

    /// The time limit of a job, seconds.
    pub fn seconds(&self) -> Option<u64> {
        duration(self.time.as_deref()?).map(|time| time.as_secs())
    }
}

/// `8G`, `500M`, `8GB`, `8GiB`: as Slurm counts, in powers of 1024.
fn memory(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let shift = match text[end..].to_ascii_uppercase().as_str() {
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        _ => return None,
    };
    let amount: u64 = text[..end].parse().ok()?;
    amount.checked_mul(1 << shift).filter(|bytes| (1..1 << 60).contains(bytes))
}

fn maybe_memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Scalar::deserialize(deserializer)? {
        Scalar::Nothing => Ok(None),
        Scalar::Text(text) if matches!(text.as_str(), "none" | "auto") => Ok(None),
        Scalar::Text(text) if memory(&text).is_some() => Ok(Some(text)),
        other => other.refuse("a memory such as `8G` or `500M`"),
    }
}

/// A trial is trained on one GPU, or on none.
fn one_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let value = Scalar::deserialize(deserializer)?;
    match value.whole(0, 1) {
        Ok(gpus) => Ok(gpus as u32),
        Err(_) => value.refuse_helping("0 or 1", "a trial is trained on one GPU; how many at a time is `run.slots`"),
    }
}

fn options<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    use serde::de::Error;
    let options = fields::texts(deserializer)?;
    for option in &options {
        let name = option.split(['=', ' ']).next().unwrap_or_default();
        if !option.starts_with('-') || option.contains(['\n', '\r']) {
            let message = format!("holds options of sbatch, and `{}` is none", option.escape_debug());
            return Err(D::Error::custom(format!("{message}\nwrite them as on its command line: `[--nice=100]`")));
        }
        if let Some((_, by)) = OWN.iter().find(|(own, _)| *own == name) {
            return Err(D::Error::custom(format!("cannot hold `{name}`: it is set by {by}")));
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_as_slurm_counts() {
        for (text, expected) in [
            ("8G", Some(8 << 30)),
            ("500M", Some(500 << 20)),
            ("8gb", Some(8 << 30)),
            ("1TiB", Some(1 << 40)),
            ("8", None),
            ("G", None),
            ("8 G", None),
            ("1.5G", None),
            ("0G", None),
            ("99999999999T", None),
            ("", None),
        ] {
            assert_eq!(memory(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_written_as_json_reads_back_the_same() {
        let slurm = Slurm {
            partition: Some("gpu".to_owned()),
            time: Some("4h".to_owned()),
            gpus: 1,
            cpus: Some(4),
            memory: Some("8G".to_owned()),
            account: Some("a".to_owned()),
            qos: Some("q".to_owned()),
            constraint: Some("a&b".to_owned()),
            extra: vec!["--nice=100".to_owned()],
        };
        for slurm in [slurm, Slurm::default()] {
            let json = serde_json::to_string(&slurm).unwrap();
            assert_eq!(serde_json::from_str::<Slurm>(&json).unwrap(), slurm, "{json}");
        }
        let all = Slurm { time: Some("1h30m".to_owned()), memory: Some("2G".to_owned()), ..Slurm::default() };
        assert_eq!((all.seconds(), all.memory_bytes()), (Some(5_400), Some(2 << 30)));
    }
}
