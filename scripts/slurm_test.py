#!/usr/bin/env python3
"""Runs a sweep on a real Slurm of one node, and disturbs it in every way that one node allows.

    python3 scripts/slurm_test.py --votive PATH

Starts a cluster with scripts/slurm.py (needs Debian's slurm-wlm and munge, and root), and ends it. Shows:

* a sweep of 12 trials on 2 CPUs ends with the same bytes in the weights, and the same rows, as the same sweep on this machine alone;
* so it does where one job is ended by `scancel`, one is killed, one is requeued by `scontrol requeue`, one reaches its time limit, slurmctld is
  started again in the middle, and the runner is killed and started again: no trial is trained twice, none is lost;
* an unknown partition is refused in sbatch's own words, with exit code 2, and nothing is left;
* while `squeue` fails nothing is lost; a run that is itself a job (`--detach`) ends with the same bytes too;
* `votive status` tells the jobs that wait in the queue; two Ctrl-C leave no job behind, those that wait included, and take seconds.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent

SWEEP = """\
name: sweep
corpus: {{text: builtin:keeper, max_bytes: 40000}}
model: {{layers: 1, heads: 2, width: 16, dropout: 0.1}}
train: {{sequence_length: 32, clip_norm: off, budget: {{steps: {steps}}}}}
grid: {{train.batch_size: [4, 8], train.learning_rate: [1e-3, 3e-3]}}
seeds: 3
evaluate: {{at_most: 0.02}}
run: {{device: cpu, threads: 1, patience: 10}}
"""


class Cluster:
    def __init__(self, folder):
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}

    def script(self, command, *options):
        subprocess.run([sys.executable, HERE / "slurm.py", command, self.folder, *options], check=True, stdout=subprocess.DEVNULL)

    def call(self, *command, check=True):
        return subprocess.run(command, env=self.environment, check=check, capture_output=True, text=True, timeout=60).stdout

    def jobs(self, states="RUNNING"):
        """The running jobs of trials: number and trial."""
        lines = self.call("squeue", "-h", "-r", "-t", states, "-o", "%i|%j").split()
        return [line.split("|") for line in lines if "votive-" in line]


def rows(folder):
    """What must be equal: the bytes of the weights and what was scored, by trial."""
    found = {}
    for trial in sorted((folder / "trials").iterdir()):
        outcome = json.loads((trial / "outcome.json").read_text())
        weights = sorted(trial.glob("checkpoints/*/model.safetensors"))[-1]
        scores = [{key: score[key] for key in ("part", "protocol", "kind", "nll_sum", "scored_tokens") if key in score}
                  for score in outcome["scores"]]
        found[trial.name] = (outcome["end"], outcome["steps"], hashlib.sha256(weights.read_bytes()).hexdigest(), json.dumps(scores))
    return found


def steps_of(folder):
    """Every row of every step, without what depends on time and attempts; None where pyarrow is not there."""
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        return None
    columns = ["trial_id", "step", "epoch", "tokens_seen", "loss", "grad_norm", "clip_coefficient", "learning_rate"]
    return {path.parent.name: parquet.read_table(path, columns=columns).to_pydict() for path in sorted(folder.glob("trials/*/steps.parquet"))}


def attempts(folder):
    return {trial.name: [json.loads(path.read_text()) for path in sorted((trial / "attempts").glob("*.json"))]
            for trial in (folder / "trials").iterdir()}


def until(what, condition, seconds=120):
    end = time.time() + seconds
    while not (found := condition()):
        if time.time() > end:
            sys.exit(f"never: {what}")
        time.sleep(0.1)
    return found


def progress(folder, trial):
    try:
        return json.loads((folder / "trials" / trial / "progress.json").read_text())
    except (OSError, ValueError):
        return {"step": 0}


class Run:
    """A runner at work."""

    def __init__(self, votive, cluster, place, *options, slots=2, environment=None):
        self.log = open(place / "log.txt", "a")
        command = [votive, "run", "sweep.yaml", "--on", "slurm", "--slots", str(slots), *options]
        self.process = subprocess.Popen(command, cwd=place, env=environment or cluster.environment, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=self.log, start_new_session=True)

    def ends(self, seconds=420):
        try:
            return self.process.wait(seconds)
        finally:
            self.log.close()


def task_of(place, job):
    """The trial of a job: 12_3 of the submission of this name."""
    number, name = job
    for path in (place / "runs/sweep/slurm").glob(f"{name}.json"):
        return json.loads(path.read_text())["tasks"][int(number.split("_")[1])]["trial"]
    return None


def running_at(cluster, place, step, seen):
    """A running job of a trial that was not disturbed before and has made so many steps."""
    for job in cluster.jobs():
        trial = task_of(place, job)
        if trial and trial not in seen and progress(place / "runs/sweep", trial)["step"] >= step:
            return job[0], trial
    return None


def task_of_number(cluster, place, number):
    return next(task_of(place, job) for job in cluster.jobs() if job[0] == number)


def over_its_limit(cluster, folder, job, trial):
    """The worker does not move, and hears no signal, until its limit of a minute is reached."""
    last = sorted((folder / "trials" / trial / "attempts").glob("*.json"))[-1]
    os.kill(json.loads(last.read_text())["pid"], signal.SIGSTOP)
    cluster.call("scontrol", "update", f"jobid={job}", "timelimit=1")


def jobs_that(state, cluster):
    """Lines of Slurm's record of the jobs that ended in this state."""
    lines = (cluster.folder / "jobs.txt").read_text().splitlines()
    return "\n".join(line for line in lines if f"JobState={state} " in line)


def check(name, condition, why=""):
    print(f"{'ok  ' if condition else 'FAIL'} {name}{'' if condition else ': ' + str(why)}", flush=True)
    if not condition:
        raise SystemExit(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--votive", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1_500, help="of a trial; it should take some seconds")
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    votive = arguments.votive.resolve()
    root = Path(tempfile.mkdtemp(prefix="votive-slurm-"))
    # slurmd's children must reach it.
    root.chmod(0o755)
    cluster = Cluster(root / "cluster")
    cluster.folder.mkdir()
    cluster.script("start", "--cpus", "2")
    began = time.time()
    try:
        test(votive, cluster, root, arguments.steps)
    finally:
        cluster.script("stop")
        if arguments.keep:
            print(f"kept: {root}")
        else:
            shutil.rmtree(root, ignore_errors=True)
    print(f"done in {time.time() - began:.0f} s")


def test(votive, cluster, root, steps):
    text = SWEEP.format(steps=steps)
    places = {name: root / name for name in ("local", "slurm", "refused", "detached", "stopped")}
    for place in places.values():
        place.mkdir()
        (place / "sweep.yaml").write_text(text)

    refused = subprocess.run([votive, "run", "sweep.yaml", "--on", "slurm", "--set", "run.slurm.partition=nowhere"], cwd=places["refused"],
                             env=cluster.environment, capture_output=True, text=True)
    check("an unknown partition is refused in sbatch's words", refused.returncode == 2 and "nvalid partition" in refused.stderr, refused.stderr)
    check("and leaves no job", not cluster.jobs("all"))

    local = subprocess.run([votive, "run", "sweep.yaml", "--slots", "2", "--no-probe"], cwd=places["local"], capture_output=True, text=True)
    check("the sweep on this machine", local.returncode == 0, local.stderr)

    place, seen = places["slurm"], set()
    folder = place / "runs/sweep"
    run = Run(votive, cluster, place)
    # There is a checkpoint by then.
    first = steps // 5
    disturbed = {}
    for name, disturb in [
        ("time limit", lambda job: over_its_limit(cluster, folder, job, task_of_number(cluster, place, job))),
        ("scancel", lambda job: cluster.call("scancel", job)),
        ("requeue", lambda job: cluster.call("scontrol", "requeue", job)),
        ("kill", lambda job: cluster.call("scancel", "--signal=KILL", "--full", job)),
        ("signal", lambda job: cluster.call("scancel", "--signal=TERM", "--batch", job)),
    ]:
        job, trial = until(f"a job for {name}", lambda: running_at(cluster, place, first, seen))
        seen.add(trial)
        disturbed[name] = trial
        disturb(job)
    cluster.script("restart")
    # The runner is killed while jobs run, and they are not.
    until("a running job", lambda: running_at(cluster, place, 1, set()))
    run.process.send_signal(signal.SIGKILL)
    run.process.wait()
    before = {tuple(job) for job in cluster.jobs("RUNNING,PENDING")}
    check("jobs outlive their runner", before)
    status = subprocess.run([votive, "status", "runs/sweep"], cwd=place, capture_output=True, text=True)
    check("status without the cluster's commands", status.returncode == 0 and "running" in status.stdout, status.stdout + status.stderr)
    # And started again while squeue fails.
    broken = root / "broken"
    broken.mkdir()
    (broken / "squeue").write_text(f"#!/bin/sh\n[ -e {broken}/fixed ] && exec {shutil.which('squeue')} \"$@\"\necho 'squeue: error: Unable to contact slurm controller' >&2\nexit 1\n")
    (broken / "squeue").chmod(0o755)
    environment = {**cluster.environment, "PATH": f"{broken}:{os.environ['PATH']}"}
    run = Run(votive, cluster, place, environment=environment)
    until("squeue's failure is told", lambda: "Slurm does not answer" in (place / "log.txt").read_text())
    (broken / "fixed").touch()
    code = run.ends()
    said = (place / "log.txt").read_text()
    check("the disturbed sweep ends", code == 0, said[-3_000:])
    check("that Slurm answers again is told", "Slurm answers again" in said, said[-3_000:])
    check("the same weights and scores as on this machine", rows(folder) == rows(places["local"] / "runs/sweep"))
    ours, theirs = steps_of(folder), steps_of(places["local"] / "runs/sweep")
    if ours is not None:
        check("the same rows of every step", ours == theirs)
    tried = attempts(folder)
    for name, trial in disturbed.items():
        check(f"{name}: it went on in another attempt, from its checkpoint",
              len(tried[trial]) == 2 and tried[trial][1]["from_step"] > 0, tried[trial])
    check("no other trial was begun twice", all(len(tries) == 1 for trial, tries in tried.items() if trial not in disturbed.values()),
          {trial: len(tries) for trial, tries in tried.items()})
    check("nothing is left of what was submitted", not list((folder / "slurm").glob("votive-*.json")), list((folder / "slurm").iterdir()))
    check("the time limit was reached", "TIMEOUT" in (cluster.folder / "jobs.txt").read_text())
    check("nothing is left in the queue", not cluster.jobs("RUNNING,PENDING"))

    # The runner is a job itself, beside those of its trials.
    place = places["detached"]
    command = [votive, "run", "sweep.yaml", "--on", "slurm", "--slots", "1", "--no-probe", "--only", "batch_size == 4 and seed == 1"]
    detached = subprocess.run([*command, "--detach"], cwd=place, env=cluster.environment, capture_output=True, text=True)
    job = re.search(r"the run is job (\d+) of Slurm", detached.stdout + detached.stderr)
    check("the run is left to Slurm", detached.returncode == 0 and job, detached.stdout + detached.stderr)
    until("the runner's job ends", lambda: job[1] not in cluster.call("squeue", "-h", "-t", "RUNNING,PENDING,COMPLETING", "-o", "%i").split())
    said, found = (place / "runs/sweep/slurm/runner.log").read_text(), rows(place / "runs/sweep")
    check("its job ends well", f"JobId={job[1]} " in jobs_that("COMPLETED", cluster), said)
    expected = {trial: row for trial, row in rows(places["local"] / "runs/sweep").items() if trial in found}
    check("it has trained both trials, with the same weights and scores", len(found) == 2 and found == expected, said)

    # Two Ctrl-C.
    place = places["stopped"]
    run = Run(votive, cluster, place, "--no-probe", slots=6)
    until("running jobs", lambda: len(cluster.jobs()) == 2 and len(cluster.jobs("PENDING")) >= 1)
    def told():
        return subprocess.run([votive, "status", "runs/sweep"], cwd=place, capture_output=True, text=True).stdout.count("in the queue as job")

    check("status tells the jobs that wait in the queue", until("4 waiting jobs in the status", lambda: told() == 4))
    run.process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    run.process.send_signal(signal.SIGINT)
    began, code = time.time(), run.ends(90)
    said = (place / "log.txt").read_text()
    check("two Ctrl-C end the run", code == 130, said[-2_000:])
    check("at once, also what waits in the queue", time.time() - began < 30 and "still there" not in said, said[-2_000:])
    check("and leave no job", until("the queue is empty", lambda: not cluster.jobs("RUNNING,PENDING"), 20))


if __name__ == "__main__":
    main()
