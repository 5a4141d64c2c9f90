//! A runner that is a job itself.

use std::fmt::Write;
use std::path::Path;

use super::command::{LIMIT, run};
use super::script::{Shared, for_sbatch, for_shell, text_of};
use crate::durable;
use crate::error::{Error, Kind, Result};
use crate::runs::ExperimentFolder;

/// Seconds ahead of its end at which it makes room for itself: the next one takes up its jobs.
const AHEAD: u64 = 120;
/// Its memory, MiB: the plan, the queue, and the report beside it.
const MEMORY: u64 = 4_096;

/// The variable of a runner's environment that says when everything must have ended: seconds since 1970 (UTC), several with spaces between,
/// of which the first counts.
pub const DEADLINE: &str = "VOTIVE_DEADLINE";

/// When everything must have ended of a run that is given to Slurm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ends {
    /// Then, seconds since 1970 (UTC).
    pub until: Option<i64>,
    /// So many seconds after its runner begins first.
    pub time: Option<u64>,
}

impl Ends {
    /// What the script of a runner has of it: lines before, and words before the program, which is to heed it.
    fn in_script(self, folder: &str) -> (String, String) {
        let fixes = self.time.map(|seconds| {
            format!(
                "# The deadline is that of the first start, however often it is queued again.\n\
                 deadline={}\"/slurm/runner.$SLURM_JOB_ID.deadline\"\n\
                 [ -s \"$deadline\" ] || echo \"$(($(date +%s) + {seconds}))\" >\"$deadline\"\n",
                for_shell(folder)
            )
        });
        let moments = [self.until.map(|until| until.to_string()), self.time.map(|_| "$(cat \"$deadline\")".to_owned())];
        let moments: Vec<String> = moments.into_iter().flatten().collect();
        let words = if moments.is_empty() { String::new() } else { format!("{DEADLINE}=\"{}\" ", moments.join(" ")) };
        (fixes.unwrap_or_default(), words)
    }
}

/// The script of a runner. Its jobs outlive it: where its own time is over it is killed and queued again, and takes them up by their names. SIGTERM
/// reaches it, and stops its jobs.
pub(super) fn runner_script(shared: &Shared, name: &str, here: &Path, ends: Ends) -> String {
    let Shared { slurm, program, folder, .. } = shared;
    let mut text = format!(
        "#!/bin/sh\n#SBATCH --job-name=votive-run-{name}\n#SBATCH --nodes=1 --ntasks=1 --cpus-per-task=1\n#SBATCH --mem={MEMORY}M\n"
    );
    for (option, value) in [("partition", &slurm.partition), ("account", &slurm.account), ("qos", &slurm.qos)] {
        if let Some(value) = value {
            // Writing into a string does not fail.
            let _ = writeln!(text, "#SBATCH --{option}={}", for_sbatch(value));
        }
    }
    if let Some(seconds) = slurm.seconds() {
        let _ = writeln!(text, "#SBATCH --time={}", seconds.div_ceil(60));
    }
    let ahead = slurm.seconds().map_or(AHEAD, |seconds| AHEAD.min(seconds / 2));
    let words: Vec<String> = program.iter().map(|word| for_shell(word)).collect();
    let (fixes, deadline) = ends.in_script(folder);
    let _ = write!(
        text,
        "#SBATCH --signal=B:USR1@{ahead}
#SBATCH --requeue --open-mode=append
#SBATCH --chdir={here}
#SBATCH --output={log}

{fixes}runner=
# Its own time is over, that of its jobs is not: it is queued again, and takes them up.
trap 'kill -KILL \"$runner\"; scontrol requeue \"$SLURM_JOB_ID\"; sleep 600' USR1
trap '[ -z \"$runner\" ] || kill -TERM \"$runner\"' TERM
{deadline}{} </dev/null &
runner=$!
wait \"$runner\"
code=$?
while kill -0 \"$runner\" 2>/dev/null; do
  wait \"$runner\"
  code=$?
done
exit \"$code\"
",
        words.join(" "),
        here = for_sbatch(&text_of(here)),
        log = for_sbatch(&format!("{folder}/slurm/runner.log")),
    );
    text
}

/// Gives a runner to Slurm, which ends all when that says so; the number of its job.
///
/// # Errors
/// What `sbatch` says against it.
pub fn submit_runner(shared: &Shared, experiment: &ExperimentFolder, name: &str, here: &Path, ends: Ends) -> Result<String> {
    let path = experiment.slurm().join("runner.sh");
    durable::create_folder(&experiment.slurm())?;
    durable::write(&path, runner_script(shared, name, here, ends).as_bytes())?;
    let said = run("sbatch", &["--parsable".to_owned(), text_of(&path)], LIMIT).map_err(|fault| {
        let kind = if fault.passes() { Kind::Io } else { Kind::Usage };
        Error::new(kind, format!("Slurm does not take the job: {}", fault.words()))
    })?;
    Ok(said.trim().split(';').next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;
    use crate::experiment::settings::Slurm;
    use crate::rows::now_utc;

    fn shared(program: &[&str], folder: &str) -> Shared {
        let slurm = Slurm { partition: Some("cpu".to_owned()), time: Some("1d".to_owned()), gpus: 1, ..Slurm::default() };
        let program = program.iter().map(|word| (*word).to_owned()).collect();
        Shared { slurm, patience: 30, program, arguments: Vec::new(), train: true, folder: folder.to_owned() }
    }

    #[test]
    fn a_runner_asks_for_little_and_is_queued_again_when_its_time_is_over() {
        let shared = shared(&["/opt/votive", "run", "my file.yaml", "--on", "slurm"], "/data/runs/one");
        insta::assert_snapshot!(runner_script(&shared, "one", Path::new("/data/my files"), Ends::default()), @r#"
        #!/bin/sh
        #SBATCH --job-name=votive-run-one
        #SBATCH --nodes=1 --ntasks=1 --cpus-per-task=1
        #SBATCH --mem=4096M
        #SBATCH --partition=cpu
        #SBATCH --time=1440
        #SBATCH --signal=B:USR1@120
        #SBATCH --requeue --open-mode=append
        #SBATCH --chdir="/data/my files"
        #SBATCH --output=/data/runs/one/slurm/runner.log

        runner=
        # Its own time is over, that of its jobs is not: it is queued again, and takes them up.
        trap 'kill -KILL "$runner"; scontrol requeue "$SLURM_JOB_ID"; sleep 600' USR1
        trap '[ -z "$runner" ] || kill -TERM "$runner"' TERM
        /opt/votive run 'my file.yaml' --on slurm </dev/null &
        runner=$!
        wait "$runner"
        code=$?
        while kill -0 "$runner" 2>/dev/null; do
          wait "$runner"
          code=$?
        done
        exit "$code"
        "#);
    }

    #[test]
    fn the_deadline_of_a_runner_is_that_of_its_first_start() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("slurm")).unwrap();
        let folder = text_of(dir.path());
        let shared = shared(&["printenv", DEADLINE], &folder);
        let said = |ends| {
            let script = runner_script(&shared, "one", dir.path(), ends);
            let output = Command::new("sh").args(["-c", &script]).env("SLURM_JOB_ID", "7").output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        assert_eq!(said(Ends::default()), "");
        assert_eq!(said(Ends { until: Some(1_790_000_000), time: None }), "1790000000");
        let hour = Ends { until: None, time: Some(3_600) };
        let left = said(hour).parse::<i64>().unwrap() - now_utc() / 1_000_000;
        assert!((3_500..=3_600).contains(&left), "{left} s");
        let kept = dir.path().join("slurm/runner.7.deadline");
        assert!(kept.exists());
        // Its own time was over, and it was queued again.
        fs::write(&kept, "1000\n").unwrap();
        assert_eq!(said(Ends { until: Some(2_000), ..hour }), "2000 1000");
    }
}
