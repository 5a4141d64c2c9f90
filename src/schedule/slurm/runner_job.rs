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

/// The script of a runner. Its jobs outlive it: where its own time is over it is killed and queued again, and takes them up by their names. SIGTERM
/// reaches it, and stops its jobs.
pub(super) fn runner_script(shared: &Shared, name: &str, here: &Path) -> String {
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
    let _ = write!(
        text,
        "#SBATCH --signal=B:USR1@{ahead}
#SBATCH --requeue --open-mode=append
#SBATCH --chdir={here}
#SBATCH --output={log}

runner=
# Its own time is over, that of its jobs is not: it is queued again, and takes them up.
trap 'kill -KILL \"$runner\"; scontrol requeue \"$SLURM_JOB_ID\"; sleep 600' USR1
trap '[ -z \"$runner\" ] || kill -TERM \"$runner\"' TERM
{} </dev/null &
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

/// Gives a runner to Slurm; the number of its job.
///
/// # Errors
/// What `sbatch` says against it.
pub fn submit_runner(shared: &Shared, experiment: &ExperimentFolder, name: &str, here: &Path) -> Result<String> {
    let path = experiment.slurm().join("runner.sh");
    durable::create_folder(&experiment.slurm())?;
    durable::write(&path, runner_script(shared, name, here).as_bytes())?;
    let said = run("sbatch", &["--parsable".to_owned(), text_of(&path)], LIMIT).map_err(|fault| {
        let kind = if fault.passes() { Kind::Io } else { Kind::Usage };
        Error::new(kind, format!("Slurm does not take the job: {}", fault.words()))
    })?;
    Ok(said.trim().split(';').next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::settings::Slurm;

    #[test]
    fn a_runner_asks_for_little_and_is_queued_again_when_its_time_is_over() {
        let slurm = Slurm { partition: Some("cpu".to_owned()), time: Some("1d".to_owned()), gpus: 1, ..Slurm::default() };
        let program = ["/opt/votive", "run", "my file.yaml", "--on", "slurm"].map(str::to_owned).to_vec();
        let (folder, arguments) = ("/data/runs/one".to_owned(), Vec::new());
        let shared = Shared { slurm, patience: 30, program, arguments, train: true, folder };
        insta::assert_snapshot!(runner_script(&shared, "one", Path::new("/data/my files")), @r#"
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
}
