//! Runs on a Slurm cluster, as far as one node cannot produce it: `sbatch`, `squeue`, `scancel` and `sacct` are scripts here, which start
//! jobs as processes of this machine. What a real Slurm does is shown by `scripts/slurm_test.py`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::support::{Said, Scene, small, until};

/// Starts the tasks of an array. A file `first` holds a state: the first array ends in it, and does nothing. With `unheard` the first call
/// starts its jobs and says that it failed.
const SBATCH: &str = r##"
for script; do :; done
[ ! -e "$FAKE/refuses" ] || { cat "$FAKE/refuses" >&2; exit 1; }
[ "$1" != --test-only ] || exit 0
name=$(sed -n 's/^#SBATCH --job-name=//p' "$script")
last=$(sed -n 's/^#SBATCH --array=0-//p' "$script")
grep '^#SBATCH --mem=' "$script" >>"$FAKE/memory"
echo x >>"$FAKE/calls"
id=$(wc -l <"$FAKE/calls" | tr -d ' ')
task=0
while [ "$task" -le "$last" ]; do
  job="$FAKE/jobs/$id.$task"
  if [ -e "$FAKE/first" ]; then
    echo "$name|$task|$id|$(cat "$FAKE/first")|None" >"$job"
  else
    echo "$name|$task|$id|RUNNING|None" >"$job"
    (
      SLURM_ARRAY_TASK_ID=$task sh "$script" >"$(dirname "$script")/$name.$task.log" 2>&1
      [ $? = 0 ] && state=COMPLETED || state=FAILED
      echo "$name|$task|$id|$state|None" >"$job.part" && mv "$job.part" "$job"
    ) </dev/null >/dev/null 2>&1 &
  fi
  task=$((task + 1))
done
rm -f "$FAKE/first"
if [ -e "$FAKE/unheard" ]; then
  rm "$FAKE/unheard"
  echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2
  exit 1
fi
echo "$id"
"##;

/// Fails once where there is a file `deaf`.
const SQUEUE: &str = r#"
if [ -e "$FAKE/deaf" ]; then
  rm "$FAKE/deaf"
  echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2
  exit 1
fi
for job in "$FAKE"/jobs/*; do
  case "$job" in *.part) ;; *) cat "$job" 2>/dev/null ;; esac
done
exit 0
"#;

/// A scene whose path has these scripts.
struct Cluster {
    scene: Scene,
    fake: PathBuf,
}

impl Cluster {
    fn new(rest: &str) -> Self {
        let scene = Scene::new(&small(rest));
        let fake = scene.path().join("fake");
        fs::create_dir_all(fake.join("jobs")).unwrap();
        let nothing = "exit 0\n";
        let no_accounts = "echo 'Slurm accounting storage is disabled' >&2; exit 1\n";
        for (name, script) in [("sbatch", SBATCH), ("squeue", SQUEUE), ("scancel", nothing), ("sacct", no_accounts)] {
            let path = fake.join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { scene, fake }
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.fake.join(name), text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Said {
        self.measure_and_run(&[&["--no-probe"], arguments].concat())
    }

    fn measure_and_run(&self, arguments: &[&str]) -> Said {
        let mut command = self.scene.command(&[&["run", "small.yaml", "--on", "slurm"], arguments].concat());
        let path = format!("{}:{}", self.fake.display(), std::env::var("PATH").unwrap());
        Said::of(command.env("PATH", path).env("FAKE", &self.fake).output().unwrap())
    }

    /// Names of files that were left of submissions.
    fn left(&self) -> Vec<String> {
        let entries = fs::read_dir(self.scene.experiment().path().join("slurm")).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
    }
}

#[test]
fn trials_are_jobs_of_an_array_and_nothing_is_left_of_it() {
    let cluster = Cluster::new("grid: {train.batch_size: [4, 8]}");
    cluster.run(&[]).exits(0).says("2 trials on Slurm").says("submitted").says("completed");
    assert_eq!(fs::read_to_string(cluster.fake.join("calls")).unwrap().lines().count(), 1, "one array");
    assert_eq!((cluster.scene.attempts(), cluster.left()), (vec![1, 1], Vec::new()));
    cluster.run(&[]).exits(0).says("nothing to train");
}

#[test]
fn what_a_cluster_does_to_a_job_is_told_and_the_trial_is_submitted_again() {
    for (state, said) in [
        ("NODE_FAIL", "its node failed (NODE_FAIL)"),
        ("PREEMPTED", "Slurm took its place (PREEMPTED)"),
        ("TIMEOUT", "Slurm took its place (TIMEOUT)"),
        ("OUT_OF_MEMORY", "with four times the memory"),
    ] {
        let cluster = Cluster::new("");
        cluster.put("first", state);
        cluster.run(&[]).exits(0).says(said).says("completed");
        let memory = fs::read_to_string(cluster.fake.join("memory")).unwrap();
        let memory: Vec<u64> =
            memory.lines().map(|l| l.trim_start_matches("#SBATCH --mem=").trim_end_matches('M').parse().unwrap()).collect();
        assert_eq!(memory[1], memory[0] * if state == "OUT_OF_MEMORY" { 4 } else { 1 }, "{state}");
        // Its script may just be saying how it ended.
        until(&format!("nothing is left of {state}"), || cluster.left().is_empty());
    }
}

#[test]
fn a_job_that_sbatch_has_submitted_without_saying_so_is_found_by_its_name() {
    let cluster = Cluster::new("");
    cluster.put("unheard", "");
    cluster.put("deaf", "");
    cluster
        .run(&[])
        .exits(0)
        .says("Slurm takes no job now: Batch job submission failed: Socket timed out")
        .says("Slurm does not answer");
    assert_eq!(cluster.scene.attempts(), [1], "it is not trained twice");
    assert_eq!(fs::read_to_string(cluster.fake.join("calls")).unwrap().lines().count(), 1);
}

#[test]
fn what_sbatch_refuses_is_told_in_its_words_before_anything_is_started() {
    let cluster = Cluster::new("run: {slurm: {partition: nowhere}}");
    cluster.put("refuses", "sbatch: error: invalid partition specified: nowhere\n");
    cluster.run(&[]).exits(2).says("invalid partition specified: nowhere").says("run.slurm");
    assert!(cluster.left().is_empty() && cluster.scene.trials().is_empty());
    // Without Slurm it is said what is missing.
    let mut command = cluster.scene.command(&["run", "small.yaml", "--on", "slurm"]);
    Said::of(command.env("PATH", "/nonexistent").output().unwrap()).exits(2).says("there is no `sbatch`").says("login node");
}

#[test]
fn a_dry_run_prints_the_script_and_submits_nothing() {
    let cluster = Cluster::new("run: {slurm: {partition: gpu, time: 4h}}");
    let said = cluster.run(&["--dry-run"]).exits(0);
    assert!(said.out.starts_with("#!/bin/sh\n#SBATCH --job-name=votive-"), "{}", said.out);
    assert!(said.out.contains("#SBATCH --partition=gpu\n") && said.out.contains("#SBATCH --time=240\n"), "{}", said.out);
    assert!(!cluster.fake.join("calls").exists());
    cluster.scene.votive(&["run", "small.yaml", "--dry-run"]).exits(2).says("--on slurm");
    cluster.scene.votive(&["run", "small.yaml", "--detach"]).exits(2).says("--on slurm");
}

#[test]
fn a_measurement_that_will_never_start_is_given_up_and_the_trials_are_submitted() {
    let cluster = Cluster::new("run: {slurm: {constraint: nowhere}}");
    cluster.put("first", "PENDING|BadConstraints");
    let said = cluster.measure_and_run(&[]).exits(0);
    said.says("a shape could not be measured: its job waits, and will not start as it is (BadConstraints").says("completed");
    assert_eq!((cluster.scene.attempts(), cluster.left()), (vec![1], Vec::new()));
}

#[test]
fn a_run_that_is_left_to_the_cluster_keeps_its_deadline_when_it_is_started_again() {
    let cluster = Cluster::new("run: {time: 8h}");
    cluster.run(&["--detach", "--until", "07:00"]).exits(0).says("the run is job 1 of Slurm");
    let script = fs::read_to_string(cluster.scene.experiment().path().join("slurm/runner.sh")).unwrap();
    assert!(script.contains("$(($(date +%s) + 28800))") && script.contains("VOTIVE_DEADLINE=\""), "{script}");
    // What the script says that has come.
    let mut command = cluster.scene.command(&["run", "small.yaml", "--no-probe"]);
    Said::of(command.env("VOTIVE_DEADLINE", "2000000000000 1000").output().unwrap()).exits(5).says("deadline");
    assert!(cluster.scene.trials().is_empty() || cluster.scene.steps() == 0);
}
