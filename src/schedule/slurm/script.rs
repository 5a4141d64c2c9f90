//! What is given to `sbatch`. Pure.

use std::fmt::Write;
use std::path::Path;

use crate::experiment::settings::Slurm;
use crate::runs::Submission;

/// A gigabyte and a megabyte, as Slurm counts.
const MIB: u64 = 1 << 20;
/// Memory is asked for in steps, so that jobs that need nearly the same are one array, bytes.
const STEP: u64 = 256 * MIB;
/// Beside what a trial was measured or planned to take: what the program and its libraries map, bytes.
const BESIDE: u64 = 256 * MIB;
/// Time is asked for in steps of so many minutes.
const MINUTES: u64 = 10;

/// What all jobs of an experiment have in common.
#[derive(Debug, Clone)]
pub struct Shared {
    /// What the experiment file asks of the cluster.
    pub slurm: Slurm,
    /// Seconds that a worker gets to save.
    pub patience: u64,
    /// The program, where all nodes see it, and its first arguments.
    pub program: Vec<String>,
    /// Arguments after the trial's folder.
    pub arguments: Vec<String>,
    /// Whether a trial that has an outcome is passed over.
    pub train: bool,
    /// The experiment's folder, absolute.
    pub folder: String,
}

/// What jobs of one array ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Asked {
    pub(super) threads: u32,
    /// MiB.
    pub(super) memory: u64,
    pub(super) minutes: Option<u64>,
}

impl Asked {
    /// For a trial that takes so much memory (bytes) and time (seconds), as far as is known. `ample` is four times the memory.
    pub(super) fn of(slurm: &Slurm, threads: u32, memory: u64, seconds: Option<f64>, ample: bool) -> Self {
        let planned = slurm.memory_bytes().unwrap_or_else(|| (memory / 4 * 5 + BESIDE).next_multiple_of(STEP));
        let memory = planned * if ample { 4 } else { 1 } / MIB;
        let of_trial = seconds.map(|seconds| ((2.0 * seconds / 60.0) as u64 + 1).next_multiple_of(MINUTES));
        let minutes = slurm.seconds().map(|seconds| seconds.div_ceil(60)).or(of_trial);
        Self { threads, memory, minutes }
    }
}

/// A job that does something.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) name: &'a str,
    /// Jobs of the array.
    pub(super) tasks: usize,
    pub(super) asked: Asked,
    /// Seconds ahead of its end at which it is told.
    pub(super) ahead: u64,
}

/// The lines that tell `sbatch` what is asked for.
pub(super) fn head(shared: &Shared, head: &Head<'_>) -> String {
    let Shared { slurm, folder, .. } = shared;
    let Head { name, tasks, asked, ahead } = head;
    let mut text = "#!/bin/sh\n".to_owned();
    let mut line = |option: String| {
        // Writing into a string does not fail.
        let _ = writeln!(text, "#SBATCH {option}");
    };
    line(format!("--job-name={name}"));
    line(format!("--array=0-{}", tasks.saturating_sub(1)));
    line("--nodes=1 --ntasks=1".to_owned());
    line(format!("--cpus-per-task={}", slurm.cpus.map_or(asked.threads as usize, |cpus| cpus.max(asked.threads as usize))));
    line(format!("--mem={}M", asked.memory));
    if let Some(minutes) = asked.minutes {
        line(format!("--time={minutes}"));
    }
    if slurm.gpus > 0 {
        line(format!("--gpus={}", slurm.gpus));
    }
    for (option, value) in
        [("partition", &slurm.partition), ("account", &slurm.account), ("qos", &slurm.qos), ("constraint", &slurm.constraint)]
    {
        if let Some(value) = value {
            line(format!("--{option}={}", for_sbatch(value)));
        }
    }
    // Only the script is told, and it tells the worker. A job of a minute is told half a minute ahead.
    let ahead = asked.minutes.map_or(*ahead, |minutes| (*ahead).min(30 * minutes));
    line(format!("--signal=B:TERM@{ahead}"));
    line("--requeue --open-mode=truncate".to_owned());
    line(format!("--chdir={}", for_sbatch(&format!("{folder}/slurm"))));
    line(format!("--output={name}.%a.log"));
    for option in &slurm.extra {
        line(option.clone());
    }
    text
}

/// Seconds ahead of its end at which a worker is told that gets so many seconds to save.
pub(super) fn ahead(patience: u64) -> u64 {
    patience.saturating_add(30).min(3_600)
}

/// The script of a submission: each job trains one trial, and leaves the worker's exit code.
pub(super) fn script(shared: &Shared, submission: &Submission, asked: Asked, slots: &[u32]) -> String {
    let Submission { name, tasks, .. } = submission;
    let mut text = head(shared, &Head { name, tasks: tasks.len(), asked, ahead: ahead(shared.patience) });
    let Asked { threads, .. } = asked;
    let trials = tasks.iter().zip(slots).map(|(task, slot)| format!("{}:{slot}", task.trial));
    let program: Vec<String> = shared.program.iter().map(|word| for_shell(word)).collect();
    let arguments: String = shared.arguments.iter().map(|word| format!(" {}", for_shell(word))).collect();
    let over = if shared.train { "[ ! -e \"$trial/outcome.json\" ] || exit 0\n" } else { "" };
    let folder = for_shell(&shared.folder);
    let _ = write!(
        text,
        "
# The trials of this array, each with its slot.
set -- {trials}
shift \"$SLURM_ARRAY_TASK_ID\"
experiment={folder}
trial=\"$experiment/trials/${{1%%:*}}\" slot=${{1##*:}}
exit_code=\"$experiment/slurm/{name}.$SLURM_ARRAY_TASK_ID.exit\"

# Given up since it was submitted, or over: a job may be started twice.
[ -e \"$experiment/slurm/{name}.json\" ] || exit 0
{over}rm -f \"$exit_code\"

# The signal ahead of the end asks the worker to save and to leave.
worker= stop=
trap 'stop=yes; [ -z \"$worker\" ] || kill -TERM \"$worker\" 2>/dev/null' TERM
RAYON_NUM_THREADS={threads} OMP_NUM_THREADS={threads} \\
  {program} \"$trial\" --slot \"$slot\" --threads {threads}{arguments} </dev/null &
worker=$!
[ -z \"$stop\" ] || kill -TERM \"$worker\"
wait \"$worker\"
code=$?
while kill -0 \"$worker\" 2>/dev/null; do
  wait \"$worker\"
  code=$?
done
# Nobody looks for it where the outcome was enough.
if [ -e \"$experiment/slurm/{name}.json\" ]; then
  echo \"$code\" >\"$exit_code.part\" && mv \"$exit_code.part\" \"$exit_code\"
  [ -e \"$experiment/slurm/{name}.json\" ] || rm -f \"$exit_code\"
fi
exit \"$code\"
",
        trials = trials.collect::<Vec<_>>().join(" "),
        program = program.join(" "),
    );
    text
}

/// What would be given to `sbatch` for these trials, which all take so much memory (bytes) and time (seconds).
pub fn dry_run(shared: &Shared, submission: &Submission, threads: u32, memory: u64, seconds: Option<f64>) -> String {
    let slots: Vec<u32> = (1..).take(submission.tasks.len()).collect();
    script(shared, submission, Asked::of(&shared.slurm, threads, memory, seconds, false), &slots)
}

/// A word for a POSIX shell.
pub(super) fn for_shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=,+@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A value for a line of options in a script, where `sbatch` takes quotes and backslashes.
pub(super) fn for_sbatch(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=,+@&|*!()[]%".contains(c);
    if value.chars().all(plain) {
        return value.to_owned();
    }
    format!("\"{}\"", value.replace('\\', r"\\").replace('"', "\\\""))
}

/// A folder as scripts have it.
pub(super) fn text_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::TrialId;
    use crate::runs::Task;

    fn shared() -> Shared {
        Shared {
            slurm: Slurm {
                partition: Some("gpu".to_owned()),
                time: Some("4h".to_owned()),
                constraint: Some("a100&nvme".to_owned()),
                extra: vec!["--nice=100".to_owned()],
                ..Slurm::default()
            },
            patience: 30,
            program: vec!["/opt/votive".to_owned(), "worker".to_owned()],
            arguments: vec!["--device".to_owned(), "cpu".to_owned()],
            train: true,
            folder: "/data/it's here/runs/one".to_owned(),
        }
    }

    #[test]
    fn a_script_asks_for_what_is_needed_and_starts_a_worker_a_task() {
        let task = |n: &str| Task { trial: TrialId::of(n), attempt: 1, from_step: 0 };
        let tasks = vec![task("a"), task("b")];
        let submission =
            Submission { name: "votive-0123456789ab".to_owned(), tasks, submitted_utc: 1, job: None, scores_again: false };
        let ids: Vec<String> = submission.tasks.iter().zip(1..).map(|(task, slot)| format!("{}:{slot}", task.trial)).collect();
        let text = dry_run(&shared(), &submission, 2, 300 << 20, Some(60.0)).replace(&ids.join(" "), "TRIALS");
        insta::assert_snapshot!(text, @r#"
        #!/bin/sh
        #SBATCH --job-name=votive-0123456789ab
        #SBATCH --array=0-1
        #SBATCH --nodes=1 --ntasks=1
        #SBATCH --cpus-per-task=2
        #SBATCH --mem=768M
        #SBATCH --time=240
        #SBATCH --partition=gpu
        #SBATCH --constraint=a100&nvme
        #SBATCH --signal=B:TERM@60
        #SBATCH --requeue --open-mode=truncate
        #SBATCH --chdir="/data/it's here/runs/one/slurm"
        #SBATCH --output=votive-0123456789ab.%a.log
        #SBATCH --nice=100

        # The trials of this array, each with its slot.
        set -- TRIALS
        shift "$SLURM_ARRAY_TASK_ID"
        experiment='/data/it'\''s here/runs/one'
        trial="$experiment/trials/${1%%:*}" slot=${1##*:}
        exit_code="$experiment/slurm/votive-0123456789ab.$SLURM_ARRAY_TASK_ID.exit"

        # Given up since it was submitted, or over: a job may be started twice.
        [ -e "$experiment/slurm/votive-0123456789ab.json" ] || exit 0
        [ ! -e "$trial/outcome.json" ] || exit 0
        rm -f "$exit_code"

        # The signal ahead of the end asks the worker to save and to leave.
        worker= stop=
        trap 'stop=yes; [ -z "$worker" ] || kill -TERM "$worker" 2>/dev/null' TERM
        RAYON_NUM_THREADS=2 OMP_NUM_THREADS=2 \
          /opt/votive worker "$trial" --slot "$slot" --threads 2 --device cpu </dev/null &
        worker=$!
        [ -z "$stop" ] || kill -TERM "$worker"
        wait "$worker"
        code=$?
        while kill -0 "$worker" 2>/dev/null; do
          wait "$worker"
          code=$?
        done
        # Nobody looks for it where the outcome was enough.
        if [ -e "$experiment/slurm/votive-0123456789ab.json" ]; then
          echo "$code" >"$exit_code.part" && mv "$exit_code.part" "$exit_code"
          [ -e "$experiment/slurm/votive-0123456789ab.json" ] || rm -f "$exit_code"
        fi
        exit "$code"
        "#);
    }

    #[test]
    fn what_is_asked_for_follows_the_settings_and_then_the_trial() {
        let plain = Slurm::default();
        let of = |slurm: &Slurm, memory, seconds, ample| {
            let Asked { memory, minutes, .. } = Asked::of(slurm, 1, memory, seconds, ample);
            (memory, minutes)
        };
        assert_eq!(of(&plain, 0, None, false), (256, None));
        assert_eq!(of(&plain, 1 << 30, Some(30.0), false), (1536, Some(10)));
        assert_eq!(of(&plain, 1 << 30, Some(3_600.0), true), (4 * 1536, Some(130)));
        let set = Slurm { memory: Some("8G".to_owned()), time: Some("90s".to_owned()), ..Slurm::default() };
        assert_eq!(of(&set, 1 << 40, Some(1e9), false), (8192, Some(2)));
        assert_eq!(of(&set, 0, None, true), (4 * 8192, Some(2)));
    }

    #[test]
    fn words_come_through_a_shell_as_they_are() {
        for word in ["/a/b", "it's", "a b", "", "$HOME", "\"x\"", "a\\b"] {
            let printed =
                std::process::Command::new("sh").args(["-c", &format!("printf %s {}", for_shell(word))]).output().unwrap();
            assert_eq!(String::from_utf8(printed.stdout).unwrap(), word);
        }
    }
}
