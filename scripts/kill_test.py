#!/usr/bin/env python3
"""Kills a small sweep again and again, at random moments and at every call that changes the disk: it must end as if nothing had happened.

    pip install pandas pyarrow
    python scripts/kill_test.py [--kills 200] [--points 60] [--seed 1] [--votive PROGRAM] [--out FILE]

The sweep has trials with and without dropout, two that diverge, and two that are the same as another one; all shuffle, are evaluated and
saved on their way. First every trial of it is trained once without harm.

Random kills (`--kills`; 2,000 by hand): rounds of a few kills each, at moments drawn from the seed, and after each the same command again.

    SIGKILL, SIGTERM, SIGINT and two SIGINT to the runner; SIGKILL to a worker or a probe, to all of them, to all of them and the
    runner; SIGSTOP to the runner and SIGKILL a moment later, the same to a worker; SIGSTOP to a worker whose runner is killed, and
    SIGKILL while the next runner waits for it

Points (`--points`: so many, drawn from the seed, `distinct` or `all`): with strace a SIGKILL, EIO or ENOSPC at the Nth rename, fsync,
fdatasync, openat or write below the experiment's folder. `distinct` are, of calls that differ in numbers only (of a step, a trial, an
attempt), the first two, the one in the middle and the last; by hand, about an hour. `all` take half a day. Calls are counted first, for a runner with an empty folder and with one in which trials
are left, and for the worker of a new trial and of one that goes on from a checkpoint. Calls are those of one thread. Without strace, or
where it may not trace, this part is skipped.

In the end, when the command has been given again (without harm) until all trials are over: the same trials with the same statuses, the
same bytes in all checkpoints that are kept, the same rows of steps, evaluations, checkpoints and scores, the same outcomes, tables of the
plan and of the trials (but for times, memory and attempts), no temporary file, no process. Exits with 1 otherwise, and names the
command that repeats each fault, and the folder that it left.

  --round N    only this round of random kills           --point P    only this point, as a fault names it
"""

import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid

import pandas
from program import find_votive

EXPERIMENT = """\
name: kills
corpus: {text: builtin:keeper, max_bytes: 30000}
tokenizer: {kind: bpe, vocab_size: 300}
model: {layers: 1, heads: 2, width: 16}
train: {sequence_length: 32, stride: 16, batch_size: 32, budget: {steps: 60}}
points:
  - {model.dropout: 0.1}
  - {model.dropout: 0.0, train.clip_norm: off}
  - {model.dropout: 0.0, train.clip_norm: 1000.0}
  - {train.learning_rate: 1e6, train.clip_norm: off}
seeds: 2
evaluate: {every: 0.2, at_most: 1.0}
checkpoint: {every: 0.1, keep_last: 2, when_done: all}
run: {device: cpu, slots: 2, threads: 1}
"""
# The checkpoint that every trial ends with that does not diverge.
LAST = "step-00000060"
# What `run` exits with where all is over: two trials diverge.
OVER = 3
# Longest time of one command, seconds: a trial that was killed is started again after 2 s, then after 8.
PATIENCE = 120
# Columns and keys that tell times (a hash of a table with times is one), memory, and by which attempt and on how many threads something was made.
OF_THE_CLOCK = {
    "attempt", "attempts", "step_seconds", "tokens_per_second", "seconds", "save_seconds", "time_utc", "training_seconds", "started_utc",
    "finished_utc", "files", "probed_memory_bytes", "peak_memory_bytes", "peak_device_memory_bytes", "threads", "last_lines",
}
# Columns that tell which trial was trained where two are the same, and what only the one that was trained has.
OF_THE_TRAINED = {"alias_of", "host", "device", "processor"}
TABLES = ["steps", "evaluations", "checkpoints", "token_nll", "positions"]
# What an alias has of its own.
TABLES_OF_ALIAS = ["evaluations", "token_nll", "positions"]

CALLS = ["rename", "fsync", "fdatasync", "openat", "write"]
FAULTS = {"kill": "signal=SIGKILL", "eio": "error=EIO", "enospc": "error=ENOSPC"}
# An injected run that is not over by then is killed: one that finds the disk full waits for half a minute.
INJECTED_PATIENCE = 15


# Processes.


class Process:
    """A process that inherited a mark. Its handle stays its own, whoever gets its number later."""

    def __init__(self, handle, number):
        self.handle, self.number, self.role, self.argument = handle, number, "", ""

    def send(self, number):
        try:
            signal.pidfd_send_signal(self.handle, number)
        except ProcessLookupError:
            pass  # it has just left

    def __del__(self):
        os.close(self.handle)


def processes(mark):
    """The living processes whose environment holds this mark; the role is the command that they were given."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            process = Process(os.pidfd_open(int(entry)), int(entry))
            environment = pathlib.Path("/proc", entry, "environ").read_bytes()
            words = pathlib.Path("/proc", entry, "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"MARK={mark}".encode() in environment.split(b"\0"):
            # The command, and what it is about.
            process.role, process.argument = (word.decode() for word in [*words, b"", b"", b""][1:3])
            found.append(process)
    return found


def surroundings(mark):
    """The environment of a command: nothing that changes what the program does, and the mark."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VOTIVE") and name != "RAYON_NUM_THREADS"}
    return kept | {"MARK": mark, "CUDA_VISIBLE_DEVICES": "", "TZ": "UTC"}


# What must be the same.


def table(path):
    """A table without what the clock decides. That something was deleted is a fact; when, is not."""
    frame = pandas.read_parquet(path)
    if "deleted_utc" in frame:
        frame["deleted_utc"] = frame["deleted_utc"].notna()
    return frame.drop(columns=OF_THE_CLOCK & set(frame.columns))


def without_clock(value):
    if isinstance(value, dict):
        return {key: without_clock(inner) for key, inner in value.items() if key not in OF_THE_CLOCK}
    return [without_clock(inner) for inner in value] if isinstance(value, list) else value


def read(path):
    return json.loads(path.read_bytes())


def end_of_trial(folder):
    """Everything of a trial that must be the same, by its name, and whether it is an alias."""
    outcome = without_clock(read(folder / "outcome.json"))
    alias = outcome.pop("alias_of", None) is not None
    outcome.pop("processor", None)
    found = {"outcome.json": outcome}
    if (folder / "sample.json").exists():
        found["sample.json"] = read(folder / "sample.json")
    for name in TABLES_OF_ALIAS if alias else TABLES:
        if (folder / f"{name}.parquet").exists():
            found[f"{name}.parquet"] = table(folder / f"{name}.parquet")
    if not alias:
        for path in sorted(p for p in (folder / "checkpoints").rglob("*") if p.is_file()):
            if path.name == "state.json":
                content = without_clock(read(path))
            else:
                # The manifest holds the hash of state.json.
                content = path.read_bytes() if path.name != "manifest.json" else None
            found[str(path.relative_to(folder))] = content
    return found, alias


def same(one, other):
    return one.equals(other) if isinstance(one, pandas.DataFrame) and isinstance(other, pandas.DataFrame) else type(one) is type(other) and one == other


def difference(one, other):
    """Where two things differ, in a few words."""
    if isinstance(one, pandas.DataFrame) and isinstance(other, pandas.DataFrame):
        if list(one.columns) != list(other.columns) or len(one) != len(other):
            return f"{len(one)} rows of {len(one.columns)} columns, {len(other)} of {len(other.columns)} expected"
        unlike = [name for name in one.columns if not one[name].equals(other[name])]
        row = next((i for i in range(len(one)) if not one[unlike].iloc[[i]].equals(other[unlike].iloc[[i]])), 0)
        return f"{', '.join(unlike)}; row {row} has {one[unlike].iloc[row].to_dict()}, {other[unlike].iloc[row].to_dict()} expected"
    if isinstance(one, bytes):
        return "other bytes"
    return f"{str(one)[:200]}, {str(other)[:200]} expected"


def without_lost_checkpoints(found, wanted):
    """What must be the same of a trial that went on without some of its checkpoints, since the disk was full: all but those."""

    def kept(one, other):
        parts = {part: content for part, content in one.items() if part in other or not part.startswith("checkpoints/") or LAST in part}
        for part in [part for part in parts if part.endswith("state.json")]:
            parts[part] = {key: value for key, value in parts[part].items() if key != "kept"}
        if (name := "checkpoints.parquet") in parts and name in other:
            # One that was to go may stay in place of one that was lost.
            rows = parts[name].drop(columns="deleted_utc")
            parts[name] = rows[rows.path.isin(other[name].path) | rows.path.str.contains(LAST)].reset_index(drop=True)
        return parts

    return kept(found, wanted), kept(wanted, found)


class End:
    """What an experiment has come to."""

    def __init__(self, folder):
        self.folder = folder
        self.trials = {path.name: end_of_trial(path) for path in sorted((folder / "trials").iterdir()) if (path / "outcome.json").exists()}
        self.plan = table(folder / "plan.parquet")
        self.table = table(folder / "trials.parquet").drop(columns=list(OF_THE_TRAINED))
        self.experiment = read(folder / "experiment.json")

    def differences(self, expected, full_disk=False):
        """What is not as expected, a sentence each. Where the disk was full, a trial went on without some of its checkpoints."""
        faults = []
        if list(self.trials) != list(expected.trials):
            faults.append(f"trials with an outcome: {list(self.trials)}, {list(expected.trials)} expected")
        for name in self.trials.keys() & expected.trials.keys():
            (found, alias), (wanted, _) = self.trials[name], expected.trials[name]
            if alias:
                wanted = {part: content for part, content in wanted.items() if not part.startswith(("steps", "checkpoints"))}
            if full_disk:
                found, wanted = without_lost_checkpoints(found, wanted)
            for part in sorted(found.keys() | wanted.keys()):
                if part not in found or part not in wanted:
                    faults.append(f"{name}/{part} {'is missing' if part in wanted else 'should not be there'}")
                elif not same(found[part], wanted[part]):
                    faults.append(f"{name}/{part}: {difference(found[part], wanted[part])}")
        for what in ("plan", "table", "experiment"):
            if not same(getattr(self, what), getattr(expected, what)):
                faults.append(f"{what}: {difference(getattr(self, what), getattr(expected, what))}")
        faults += [f"{path.relative_to(self.folder)} was left behind" for path in self.folder.rglob(".tmp-*")]
        for line in (self.folder / "events.jsonl").read_bytes().splitlines():
            try:
                json.loads(line)
            except ValueError:
                faults.append(f"events.jsonl has a line that is no JSON: {line[:100]!r}")
        if not (self.folder / "report" / "index.html").exists():
            faults.append("there is no report")
        return faults


# A sweep in a folder of its own.


class Sweep:
    """A place for the experiment, with the processes that work on it."""

    def __init__(self, test, name, keep=False):
        self.test, self.place, self.mark = test, test.folder / name, uuid.uuid4().hex
        if not keep:
            shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True, exist_ok=True)
        (self.place / "kills.yaml").write_text(EXPERIMENT)
        self.results = self.place / "runs" / "kills"

    def start(self, *more, before=(), arguments=None):
        """The same command as ever; what it says goes to the end of a file."""
        command = [*before, self.test.votive, *(arguments or ("run", "kills.yaml", *more))]
        with open(self.place / "said.log", "ab") as said:
            return subprocess.Popen(command, cwd=self.place, env=surroundings(self.mark), stdin=subprocess.PIPE, stdout=said, stderr=said, start_new_session=True)

    def processes(self, *roles):
        return [process for process in processes(self.mark) if not roles or process.role in roles]

    def kill_all(self):
        """Until nothing is left of it."""
        until = time.monotonic() + 10
        while (left := self.processes()) and time.monotonic() < until:
            for process in left:
                process.send(signal.SIGKILL)
            time.sleep(0.01)

    def is_over(self):
        """Whether each trial has ended otherwise than by failing."""
        outcomes = [path / "outcome.json" for path in (self.results / "trials").iterdir()] if (self.results / "trials").exists() else []
        return len(outcomes) == self.test.trials and all(path.exists() and read(path)["end"] != "failed" for path in outcomes)

    def to_the_end(self, faults):
        """The same command without harm until all is over; a trial that failed too often in a night is tried again in the next one."""
        for _ in range(3):
            running = self.start()
            try:
                code = running.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                faults.append(f"the command without harm took more than {PATIENCE} s")
                return
            finally:
                running.stdin.close()
            if code != OVER:
                faults.append(f"the command without harm exited with {code}, {OVER} expected")
                return
            if self.is_over():
                return
        faults.append("three commands without harm were not enough")

    def check(self, faults, full_disk=False):
        """What is not as it should be in the end, the disk having been full or not."""
        until = time.monotonic() + 5
        while (left := self.processes()) and time.monotonic() < until:
            time.sleep(0.02)
        faults += [f"a process is left: votive {process.role}" for process in left]
        if not faults:
            try:
                faults += End(self.results).differences(self.test.expected, full_disk)
            except (OSError, ValueError, KeyError) as error:
                faults.append(f"{type(error).__name__}: {error}")


# Random kills.


def to_runner(*numbers):
    def kill(sweep, chance):
        for process in sweep.processes("run"):
            for number in numbers:
                process.send(number)
                time.sleep(chance.uniform(0, 0.02))
        return True

    return kill


def to_one_worker(sweep, chance):
    workers = sweep.processes("worker", "probe")
    if workers:
        chance.choice(workers).send(signal.SIGKILL)
    return False


def to_workers(sweep, chance):
    for process in sweep.processes("worker", "probe"):
        process.send(signal.SIGKILL)
    return False


def to_all(sweep, chance):
    for process in sweep.processes():
        process.send(signal.SIGKILL)
    return True


def stopped_runner(sweep, chance):
    for process in sweep.processes("run"):
        process.send(signal.SIGSTOP)
        time.sleep(chance.uniform(0, 0.3))
        process.send(signal.SIGKILL)
    return True


def stopped_worker(sweep, chance):
    workers = sweep.processes("worker", "probe")
    if workers:
        worker = chance.choice(workers)
        worker.send(signal.SIGSTOP)
        time.sleep(chance.uniform(0, 0.3))
        worker.send(signal.SIGKILL)
    return False


def stopped_orphan(sweep, chance):
    workers, runners = sweep.processes("worker", "probe"), sweep.processes("run")
    for process in workers:
        process.send(signal.SIGSTOP)
    for process in runners:
        process.send(signal.SIGKILL)
    sweep.orphans = workers
    return True


# What is done, and whether it ends the runner.
KINDS = {
    "SIGKILL to the runner": to_runner(signal.SIGKILL),
    "SIGTERM to the runner": to_runner(signal.SIGTERM),
    "SIGINT to the runner": to_runner(signal.SIGINT),
    "SIGINT twice to the runner": to_runner(signal.SIGINT, signal.SIGINT),
    "SIGKILL to a worker": to_one_worker,
    "SIGKILL to all workers": to_workers,
    "SIGKILL to all": to_all,
    "SIGSTOP, SIGKILL to the runner": stopped_runner,
    "SIGSTOP, SIGKILL to a worker": stopped_worker,
    "SIGSTOP to workers, SIGKILL to the runner, then to them": stopped_orphan,
}
# Exit codes of a runner that was harmed: over, interrupted, killed (Python's word for it), or a signal came before it was watched for.
HARMED = {OVER, 130, 143, -signal.SIGKILL, -signal.SIGINT, -signal.SIGTERM}


def one_round(test, number, kills):
    """A few kills, and the end. Returns what was done and what is wrong."""
    chance = random.Random(f"{test.seed} {number}")
    sweep, done, faults, orphans = Sweep(test, f"round-{number}"), [], [], []
    while len(done) < kills and not sweep.is_over():
        running, ended = sweep.start(), False
        while not ended:
            # So that the sweep is not over before the last one.
            moment = chance.uniform(0, 2.5 * test.seconds / kills)
            # Those of the last runner's workers that were stopped go while this one waits for them.
            if orphans:
                time.sleep(chance.uniform(0, 0.3))
                for process in orphans:
                    process.send(signal.SIGKILL)
                orphans = []
            try:
                code = running.wait(moment)
                break
            except subprocess.TimeoutExpired:
                pass
            kind = chance.choice(list(KINDS)) if len(done) < kills - 1 else chance.choice([k for k in KINDS if "worker" not in k])
            done.append(kind)
            sweep.orphans = []
            ended = KINDS[kind](sweep, chance)
            orphans = sweep.orphans
        try:
            code = running.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            faults.append(f"after {done[-1]} the runner did not end within {PATIENCE} s")
            break
        finally:
            running.stdin.close()
        if code not in HARMED:
            faults.append(f"after {done[-1:]} the runner exited with {code}")
            break
    for process in orphans:
        process.send(signal.SIGKILL)
    if not faults:
        sweep.to_the_end(faults)
    if not faults:
        sweep.check(faults)
    sweep.kill_all()
    if not faults:
        shutil.rmtree(sweep.place)
    return done, faults


def random_kills(test, kills):
    """Rounds until so many kills were made."""
    counted, faults, rounds, began = collections.Counter(), [], 0, time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(test.jobs) as pool:
        running, number = {}, 0
        while running or sum(counted.values()) < kills:
            while len(running) < test.jobs and sum(counted.values()) + 8 * len(running) < kills:
                number += 1
                running[pool.submit(one_round, test, number, random.Random(f"{test.seed} {number} kills").randint(3, 15))] = number
            for future in concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED).done:
                ended = running.pop(future)
                done, wrong = future.result()
                counted.update(done)
                rounds += 1
                if wrong:
                    faults.append(test.fault(f"round {ended} ({'; '.join(done)})", f"--round {ended}", f"round-{ended}", wrong))
                if rounds % 10 == 0:
                    print(f"{sum(counted.values()):6,} kills in {rounds} rounds, {len(faults)} faults ({time.monotonic() - began:.0f} s)", flush=True)
    return {"kills": sum(counted.values()), "rounds": rounds, "kinds": dict(counted), "seconds": time.monotonic() - began}, faults


# Injected points.


def strip(folder, all_but=()):
    """Takes everything out of a trial's folder but these."""
    for path in folder.iterdir():
        if path.name not in all_but:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


class Scene:
    """A process that faults are injected into, and the state of the folder that it begins with."""

    def __init__(self, test, name):
        self.test, self.name, self.runner = test, name, name.startswith("runner")
        self.model = Sweep(test, f"scene-{name}")
        # A trial with dropout, and one that another one is an alias of.
        trials = pandas.read_parquet(test.expected.folder / "plan.parquet")
        first = trials[trials.seed == trials.seed.min()]
        self.trial = first[first.model_dropout > 0].trial_id.iloc[0]
        family = first[(first.model_dropout == 0) & (first.train_learning_rate < 1)].trial_id
        if name == "runner-new":
            return
        shutil.copytree(test.expected.folder.parent, self.model.place / "runs")
        left = list(family) if self.runner else [self.trial]
        for trial in left:
            strip(self.model.results / "trials" / trial, ("trial.json",))
        if self.runner:
            # A new trial beside one that is begun, one with an alias, and tables to write.
            strip(self.model.results / "trials" / self.trial, ("trial.json",))
        if name != "worker-new":
            # As a kill in the middle leaves it: the newest of several checkpoints is being moved into place.
            begun = Sweep(test, f"begun-{name}")
            shutil.rmtree(begun.place)
            shutil.copytree(self.model.place, begun.place)
            if not self.inject(begun, "rename", 24, "kill", worker=True)[0]:
                sys.exit(f"{name}: no worker could be killed on its way")
            shutil.copytree(begun.results / "trials" / self.trial, self.model.results / "trials" / self.trial, dirs_exist_ok=True)

    def command(self, worker):
        if not worker:
            return ("run", "kills.yaml")
        # The next attempt: a number that is there is another worker's claim.
        there = [int(path.stem) for path in (self.model.results / "trials" / self.trial / "attempts").glob("[0-9]*.json")]
        return ("worker", f"runs/kills/trials/{self.trial}", "--attempt", str(max([8, *there]) + 1), "--slot", "1", "--threads", "1", "--device", "cpu")

    def inject(self, sweep, call, number, fault, worker=None):
        """Runs the process with this fault; whether it was hit, and whether it was over in time."""
        log, worker = sweep.place / "strace.log", not self.runner if worker is None else worker
        before = ["strace", "-f", "-y", "-o", str(log), "-e", f"trace={','.join(CALLS)}"]
        # Of a runner its own threads only: a worker is a scene of its own.
        before += [] if worker else ["-b", "execve"]
        before += ["-e", f"inject={call}:{FAULTS[fault]}:when={number}"] if fault else []
        running = sweep.start(before=before, arguments=self.command(worker))
        try:
            running.wait(INJECTED_PATIENCE)
            in_time = True
        except subprocess.TimeoutExpired:
            in_time = False
        running.stdin.close()
        sweep.kill_all()
        said = log.read_text(errors="replace")
        return ("(INJECTED)" in said or "+++ killed by SIGKILL +++" in said), in_time, said

    def points(self):
        """What each call below the experiment's folder, or that says something, is made on, but for its numbers: by (call, number),
        whichever thread makes it."""
        sweep = Sweep(self.test, f"count-{self.name}")
        self.prepare(sweep)
        _, in_time, said = self.inject(sweep, None, None, None)
        if not in_time:
            sys.exit(f"{self.name} is not over after {INJECTED_PATIENCE} s with strace")
        if said.count("rename(") < 5:
            sys.exit(f"{self.name} does next to nothing:\n{said[-2000:]}")
        counted, found = collections.Counter(), {}
        for line in said.splitlines():
            if match := re.match(r"(\d+) +(\w+)\((.*)", line):
                thread, call, rest = match.groups()
                counted[thread, call] += 1
                file = re.search(r'runs/kills/[^>"]*', rest.split(" = ")[0])
                if file or call == "write" and rest.startswith(("1<", "2<")):
                    found.setdefault((call, counted[thread, call]), re.sub(r"[0-9a-f]{12}|\d+", "#", file[0] if file else "said"))
        shutil.rmtree(sweep.place)
        return dict(sorted(found.items()))

    def prepare(self, sweep):
        if (self.model.place / "runs").exists():
            shutil.copytree(self.model.place / "runs", sweep.place / "runs")


def distinct(points):
    """Of points on the same file, but for its numbers, the first two, the one in the middle and the last."""
    alike = collections.defaultdict(list)
    for (call, number), file in points.items():
        alike[call, file].append((call, number))
    return sorted({same[index] for same in alike.values() for index in (0, min(1, len(same) - 1), len(same) // 2, -1)})


def one_point(test, scene, call, number, fault):
    """One fault, and the end. Returns whether it was hit, whether it had to be killed, and what is wrong."""
    name = f"{scene.name}:{call}:{number}:{fault}"
    sweep, faults = Sweep(test, f"point-{name.replace(':', '-')}"), []
    scene.prepare(sweep)
    hit, in_time, _ = scene.inject(sweep, call, number, fault)
    sweep.to_the_end(faults)
    if not faults:
        sweep.check(faults, full_disk=fault == "enospc")
    sweep.kill_all()
    if not faults:
        shutil.rmtree(sweep.place)
    return name, hit, in_time, faults


def why_no_strace():
    if not shutil.which("strace"):
        return "there is no strace"
    done = subprocess.run(["strace", "-f", "-b", "execve", "-o", os.devnull, "-e", "inject=fsync:error=EIO:when=1", "true"], capture_output=True, text=True)
    return None if done.returncode == 0 else f"strace does not work here: {done.stderr.strip().splitlines()[-1:]}"


def injected_points(test, asked, only=None):
    """Each of the points, or so many of them."""
    began = time.monotonic()
    if why := why_no_strace():
        print(f"points      skipped: {why}", flush=True)
        return {"skipped": why}, []
    names = [only.split(":")[0]] if only else ["runner-new", "runner-left", "worker-new", "worker-begun"]
    scenes = {name: Scene(test, name) for name in names}
    if only:
        name, call, number, fault = only.split(":")
        chosen = [(scenes[name], call, int(number), fault)]
        counted = {}
    else:
        points = {scene: scene.points() for scene in scenes.values()}
        every = [(scene, *point, fault) for scene, found in points.items() for point in found for fault in FAULTS]
        counted = dict(collections.Counter(f"{scene.name} {call}" for scene, call, _, fault in every if fault == "kill"))
        print("calls       " + ", ".join(f"{count} {name}" for name, count in counted.items()), flush=True)
        if asked == "distinct":
            chosen = [(scene, *point, fault) for scene, found in points.items() for point in distinct(found) for fault in FAULTS]
        else:
            chosen = every if asked == "all" else random.Random(f"{test.seed} points").sample(every, min(int(asked), len(every)))
    hits, killed, faults = 0, 0, []
    with concurrent.futures.ThreadPoolExecutor(test.jobs) as pool:
        for done, future in enumerate(concurrent.futures.as_completed([pool.submit(one_point, test, *point) for point in chosen]), 1):
            name, hit, in_time, wrong = future.result()
            hits, killed = hits + hit, killed + (not in_time)
            if wrong:
                faults.append(test.fault(name, f"--point {name}", f"point-{name.replace(':', '-')}", wrong))
            if done % 50 == 0:
                print(f"{done:6,} of {len(chosen):,} points, {len(faults)} faults ({time.monotonic() - began:.0f} s)", flush=True)
    return {"calls": counted, "points": len(chosen), "hit": hits, "killed_later": killed, "seconds": time.monotonic() - began}, faults


class Test:
    """What all parts have in common."""

    def __init__(self, arguments, votive, folder):
        self.arguments, self.votive, self.folder = arguments, votive, folder
        self.seed, self.jobs, self.trials = arguments.seed, arguments.jobs, 8
        # Also those are trained here that are the same as another: an alias must be what its training would have been.
        whole = Sweep(self, "expected")
        began = time.monotonic()
        running = whole.start("--no-alias")
        code = running.wait(PATIENCE)
        self.seconds = time.monotonic() - began
        if code != OVER or not whole.is_over():
            sys.exit(f"without harm the sweep exited with {code}:\n{(whole.place / 'said.log').read_text()}")
        self.expected = End(whole.results)

    def fault(self, what, repeat, left, wrong):
        """Told at once; the folder stays."""
        command = f"python scripts/kill_test.py --votive {self.votive} --seed {self.seed} {repeat}"
        print("\n".join([f"WRONG       {what}", *(f"            {line}" for line in wrong[:10]), f"            again: {command}", f"            left: {self.folder / left}"]), flush=True)
        return {"what": what, "wrong": wrong, "repeat": command, "folder": str(self.folder / left)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="random kills, about so many")
    parser.add_argument("--points", default="60", help="injected points, `distinct` or `all`")
    parser.add_argument("--round", type=int, help="only this round of random kills")
    parser.add_argument("--point", help="only this point: SCENE:CALL:NUMBER:FAULT")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="sweeps at a time")
    parser.add_argument("--out", type=pathlib.Path, help="a file for the result, as JSON")
    parser.add_argument("--folder", type=pathlib.Path, help="where sweeps lie while they run, and those that went wrong afterwards")
    parser.add_argument("--votive", help="the program")
    arguments = parser.parse_args()
    if sys.platform != "linux":
        sys.exit("this needs Linux: /proc and handles of processes")
    folder = arguments.folder or pathlib.Path(tempfile.mkdtemp(prefix="kill_test-"))
    test = Test(arguments, find_votive(arguments.votive), folder.resolve())
    result, faults = {"seed": test.seed, "program": subprocess.run([test.votive, "--version"], capture_output=True, text=True).stdout.strip()}, []
    if arguments.round is not None:
        done, wrong = one_round(test, arguments.round, random.Random(f"{test.seed} {arguments.round} kills").randint(3, 15))
        result["random"] = {"kills": len(done)}
        faults += [test.fault(f"round {arguments.round} ({'; '.join(done)})", f"--round {arguments.round}", f"round-{arguments.round}", wrong)] if wrong else []
    elif arguments.point is None:
        result["random"], wrong = random_kills(test, arguments.kills)
        faults += wrong
    if arguments.round is None and (arguments.point or arguments.points != "0"):
        result["points"], wrong = injected_points(test, arguments.points, arguments.point)
        faults += wrong
    result["faults"] = faults
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    for part in ("random", "points"):
        if part in result:
            print(f"{part:11} " + ", ".join(f"{key} {value:.0f}" if isinstance(value, float) else f"{key} {value}" for key, value in result[part].items() if not isinstance(value, dict)))
    print(f"{len(faults)} faults")
    if not faults and not arguments.folder:
        shutil.rmtree(folder)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
