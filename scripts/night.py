#!/usr/bin/env python3
"""A night in small in which everything goes wrong that can: the report of the morning must be complete all the same.

    pip install pandas pyarrow
    python scripts/night.py [--minutes 5] [--device cpu] [--votive PROGRAM] [--out FILE] [--folder FOLDER]

One experiment, begun on a terminal, with a deadline of minutes, in which

  diverges     a trial has a learning rate of 1e6
  memory       a control group leaves less memory, from the first step on, than one shape takes; with `--device cuda:0` another process
               (this one, with PyTorch) takes the GPU's memory then
  killed       a worker gets SIGKILL
  stopped      a worker gets SIGSTOP and says nothing any more (`run.timeout` is set to 20 s)
  disk         the file system is full for a minute, in which a trial would end
  terminal     the terminal is closed
  too long     a trial takes longer than the night

Each of them is done for real where this machine and this user can do it: control groups (version 1 or 2) and a small file system of its own
need root, or the right to mount one in a name space (`unshare -rm`); a silent worker needs a program that has `run.timeout`. What cannot
be done is said and left out. Then it is checked that the command exited with the code for a deadline, that every trial stands in the report
and in trials.parquet with its status, that those that are not complete have a reason which names what was done to them, that the trial
which the full disk met has waited for room and has lost no attempt, and that nothing half-written is left. Exits with 1 where something is not so.
"""

import argparse
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid

import pandas

from kill_test import processes, surroundings
from program import find_votive

EXPERIMENT = """\
name: night
corpus: {{text: builtin:keeper, max_bytes: 60000}}
model: {{layers: 2, heads: 2, width: 32}}
train: {{sequence_length: 32, batch_size: 16, budget: {{steps: {steps}}}}}
evaluate: {{every: 0.5, at_most: 0.5}}
checkpoint: {{every: 0.02}}
run: {{device: "{device}", {slots}, time: {minutes}m{timeout}}}
points:
{points}
"""
# What makes each trial one of its own, by what is done to it.
POINTS = {
    "ordinary": "{train.learning_rate: 1e-3}",
    "diverges": "{train.learning_rate: 1e6, train.clip_norm: off}",
    "killed": "{train.learning_rate: 2e-3}",
    "stopped": "{train.learning_rate: 3e-3}",
    "disk": "{train.learning_rate: 4e-3}",
    "memory": "{{model.layers: {layers}, model.heads: {heads}, model.width: {width}, train.batch_size: {batch}, train.budget: {{steps: 4}}}}",
    "too long": "{train.learning_rate: 5e-3, train.budget: {steps: 100000000}}",
}
# The shape that takes much memory: some 700 MB of this machine's, some 12 GB of a GPU's.
LARGE, LARGE_ON_GPU = dict(layers=6, heads=8, width=512, batch=16), dict(layers=12, heads=12, width=1536, batch=512)
# What the control group leaves to all of it, bytes: while it is planned, when the large shape fits, and from the first step on.
MEMORY, LESS_MEMORY = 900_000_000, 350_000_000
# What is left of a GPU's memory from the first step on, bytes.
LESS_GPU_MEMORY = 4_000_000_000
DISK = 96_000_000
# Seconds for which it is full: longer than between two looks at it.
FULL = 60
TIMEOUT = 20


class Night:
    """The experiment, and what is done to it."""

    def __init__(self, arguments, votive, folder):
        self.votive, self.folder, self.minutes, self.device = votive, folder, arguments.minutes, arguments.device
        self.mark, self.began = uuid.uuid4().hex, time.monotonic()
        self.waited = False
        self.left_out, self.faults, self.did, self.group, self.lessen_memory = {}, [], {}, None, None
        self.runs, self.step_seconds = folder / "runs", None
        self.results = self.runs / "night"

    def say(self, what):
        print(f"{time.monotonic() - self.began:6.1f} s  {what}", flush=True)

    def expect(self, holds, words):
        if not holds:
            self.faults.append(words)

    def leave_out(self, what, why):
        self.left_out[what] = why
        print(f"left out  {what}: {why}", flush=True)

    # Before it.

    def make_group(self):
        """A control group with a limit of memory, of the version that this machine has."""
        one, two = pathlib.Path("/sys/fs/cgroup/memory"), pathlib.Path("/sys/fs/cgroup")
        try:
            above, limit = (one, "memory.limit_in_bytes") if (one / "memory.limit_in_bytes").exists() else (two, "memory.max")
            if above is two and "memory" not in (two / "cgroup.subtree_control").read_text().split():
                (two / "cgroup.subtree_control").write_text("+memory")
            group = above / f"votive-night-{os.getpid()}"
            group.mkdir()
            self.group = group
            (group / limit).write_text(str(MEMORY))
            self.lessen_memory = lambda: (group / limit).write_text(str(LESS_MEMORY))
        except OSError as error:
            self.leave_out("memory", f"no control group: {error}")

    def open_gpu(self):
        """Makes ready to take nearly all that is free of the GPU's memory."""
        import torch

        torch.zeros(1, device=self.device)

        def take():
            free, _ = torch.cuda.mem_get_info(self.device)
            self.taken = torch.empty(max(0, free - LESS_GPU_MEMORY), dtype=torch.uint8, device=self.device)

        self.lessen_memory = take

    def mount(self):
        """A small file system for the results, if this user may mount one."""
        self.runs.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "night", str(self.runs)], capture_output=True, text=True)
        if done.returncode:
            self.leave_out("disk", f"no file system of its own: {done.stderr.strip() or done.stdout.strip()} (try as root, or under `unshare -rm`)")
        return done.returncode == 0

    def write(self):
        """The experiment, of what can be done here."""
        path = self.folder / "night.yaml"
        for timeout in (f", timeout: {TIMEOUT}s", ""):
            names = [name for name in POINTS if name not in self.left_out and (timeout or name != "stopped")]
            large = LARGE if self.device == "cpu" else LARGE_ON_GPU
            points = "\n".join(f"  - {POINTS[name].format(**large) if name == 'memory' else POINTS[name]}" for name in names)
            path.write_text(self.experiment(self.steps(), self.minutes, points, timeout))
            done = subprocess.run([self.votive, "plan", "night.yaml", "--json", "--runs", str(self.folder / "planned")], cwd=self.folder, env=self.surroundings(), capture_output=True, text=True)
            if done.returncode == 0:
                break
            if not timeout:
                sys.exit(done.stderr)
            self.leave_out("stopped", "this program has no `run.timeout`")
        trials = json.loads(done.stdout)["trials"]
        self.trials = dict(zip(names, (trial["id"] for trial in trials), strict=True))

    def experiment(self, steps, minutes, points, timeout=""):
        # As many trials at a time on a GPU as else on the processor.
        slots = "slots: 2, threads: 1" if self.device == "cpu" else "per_device: 2"
        return EXPERIMENT.format(steps=steps, minutes=minutes, points=points, timeout=timeout, device=self.device, slots=slots)

    def surroundings(self):
        """The environment of a command, with the GPUs where they are asked for."""
        environment = surroundings(self.mark)
        if self.device != "cpu":
            environment.pop("CUDA_VISIBLE_DEVICES")
        return environment

    def steps(self):
        """Of an ordinary trial: they take some ten seconds."""
        if not self.step_seconds:
            (self.folder / "measure.yaml").write_text(self.experiment(1000, 5, "  - {}"))
            planned = self.folder / "planned"
            subprocess.run([self.votive, "run", "measure.yaml", "--runs", str(planned)], cwd=self.folder, env=self.surroundings(), capture_output=True, check=True)
            self.step_seconds = pandas.read_parquet(planned / "night" / "trials.parquet").training_seconds.iloc[0] / 1000
        return max(100, int(10 / self.step_seconds))

    # It.

    def start(self):
        """Begins it on a terminal of its own, in the control group; returns the terminal."""
        terminal, inside = pty.openpty()

        def enter():
            os.setsid()
            import fcntl
            import termios

            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            if self.group:
                (self.group / "cgroup.procs").write_text(str(os.getpid()))

        environment = self.surroundings() | {"TERM": "xterm", "COLUMNS": "150"}
        self.runner = subprocess.Popen([self.votive, "run", "night.yaml"], cwd=self.folder, env=environment, stdin=inside, stdout=inside, stderr=inside, preexec_fn=enter)
        os.close(inside)
        self.said, self.terminal = bytearray(), terminal

        def listen():
            while True:
                try:
                    self.said += (part := os.read(terminal, 65536))
                except OSError:
                    return
                if not part:
                    return

        threading.Thread(target=listen, daemon=True).start()

    def worker_of(self, name):
        """The worker of this trial, once it has made some steps; None where the night ends before."""
        trial, progress = self.trials[name], self.results / "trials" / self.trials[name] / "progress.json"
        while self.runner.poll() is None:
            try:
                if json.loads(progress.read_bytes())["step"] > 0:
                    for process in processes(self.mark):
                        if process.role == "worker" and process.argument.endswith(trial):
                            return process
            except (OSError, ValueError, KeyError):
                pass
            time.sleep(0.1)
        return None

    def to_worker(self, name, number):
        if (worker := self.worker_of(name)) is None:
            self.faults.append(f"the trial for `{name}` was never begun")
            return
        worker.send(number)
        self.did[name] = time.monotonic() - self.began
        self.say(f"{signal.Signals(number).name} to the worker of {self.trials[name]} ({name})")

    def fill(self):
        """Fills the file system, and gives the room back after a minute."""
        filler = self.runs / "filler"
        with open(filler, "wb") as file:
            try:
                while True:
                    os.write(file.fileno(), bytes(1 << 16))
            except OSError:
                pass
        self.say("the disk is full")
        until, progress = time.monotonic() + FULL, self.results / "trials" / self.trials["disk"] / "progress.json"
        while time.monotonic() < until and self.runner.poll() is None:
            time.sleep(0.2)
            try:
                # Its log finds no room.
                self.waited |= json.loads(progress.read_bytes())["phase"] == "waiting"
            except (OSError, ValueError):
                pass
            # What is freed in between is taken too.
            try:
                with open(filler, "ab") as file:
                    os.write(file.fileno(), bytes(1 << 16))
            except OSError:
                pass
        filler.unlink()
        self.did["disk"] = time.monotonic() - self.began
        self.say("the disk has room again")

    def go(self, full):
        self.start()
        self.say(f"begins with {len(self.trials)} trials and {self.minutes} minutes")
        acts = [threading.Thread(target=self.to_worker, args=("killed", signal.SIGKILL))]
        if "stopped" in self.trials:
            acts.append(threading.Thread(target=self.to_worker, args=("stopped", signal.SIGSTOP)))
        for act in acts:
            act.start()
        while self.lessen_memory and self.runner.poll() is None and "memory" not in self.did:
            if any(process.role == "worker" for process in processes(self.mark)):
                self.lessen_memory()
                self.did["memory"] = time.monotonic() - self.began
                self.say("there is less memory")
            time.sleep(0.02)
        if full and self.worker_of("disk"):
            self.fill()
        acts[0].join()
        time.sleep(2)
        os.close(self.terminal)
        self.did["terminal"] = time.monotonic() - self.began
        self.say("the terminal is closed")
        try:
            self.code = self.runner.wait(60 * self.minutes + 60)
        except subprocess.TimeoutExpired:
            self.faults.append("the runner did not end within a minute after the deadline")
            self.runner.kill()
            self.code = self.runner.wait()
        self.seconds = time.monotonic() - self.began
        self.say(f"over, exit code {self.code}")
        for act in acts:
            act.join()
        (self.folder / "said.log").write_bytes(self.said)

    # After it.

    def attempts(self, name):
        folder = self.results / "trials" / self.trials[name] / "attempts"
        return [json.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))]

    def check(self, full):
        self.expect(self.code == 5, f"exit code {self.code}, 5 expected: stopped by the deadline, trials are left")
        table = pandas.read_parquet(self.results / "trials.parquet").set_index("trial_id")
        # Some versions of pandas say "not a number" where there is no reason.
        table["reason"] = [reason if isinstance(reason, str) else "" for reason in table["reason"]]
        summary = json.loads((self.results / "report" / "summary.json").read_bytes())
        page, markdown = (self.results / "report" / name for name in ("index.html", "report.md"))
        self.expect(page.stat().st_size > 10_000 and markdown.stat().st_size > 100, "the report is not whole")
        self.expect(sorted(table.index) == sorted(self.trials.values()), "trials.parquet does not have every trial once")
        rows = summary["configurations"]
        self.expect(len(rows) == len(self.trials), f"the report has {len(rows)} configurations, {len(self.trials)} expected")
        expected = {"diverges": ("diverged", "the loss is|norm is"), "memory": ("did_not_fit", "killed for memory" if self.device == "cpu" else "the GPU's memory ran out"), "too long": ("interrupted", "")}
        for name, trial in self.trials.items():
            status, reason = expected.get(name, ("completed", ""))
            row = table.loc[trial]
            self.expect(re.fullmatch(status, row.status), f"{name}: status {row.status}, {status} expected ({row.reason})")
            self.expect(re.search(reason, row.reason), f"{name}: the reason `{row.reason}` does not say `{reason}`")
            said = next(configuration["status"] for configuration in rows if configuration["configuration"] == row.configuration)
            self.expect(any(re.fullmatch(status, word) for word in said), f"{name}: {said} in report/summary.json, {status} expected")
        for name, words in (("killed", "signal 9"), ("stopped", "silent")):
            if name in self.trials:
                ends = [attempt.get("ended") or "" for attempt in self.attempts(name)]
                self.expect(any(words in end for end in ends), f"{name}: its attempts ended as {ends}; `{words}` expected")
                self.expect(len(ends) >= 2, f"{name}: it was not started again")
        kinds = []
        for line in (self.results / "events.jsonl").read_text().splitlines():
            try:
                kinds.append(json.loads(line)["kind"])
            except ValueError:
                # The full disk tore it off, as readers of this file know; at most one.
                kinds.append("torn")
        self.expect(kinds.count("torn") <= full, "the log of events has torn lines")
        if full:
            self.expect(self.waited, "disk: it did not say that it waited for room")
            self.expect(len(self.attempts("disk")) == 1, "disk: the full disk ended an attempt")
        left = [str(path) for path in self.results.rglob(".tmp-*")]
        self.expect(not left, f"left behind: {left}")
        words = self.said.decode(errors="replace")
        self.expect("training" in words, "nothing was seen on the terminal before it was closed")
        return {
            trial: {"what": name, "status": table.loc[trial].status, "reason": table.loc[trial].reason, "attempts": [attempt.get("ended") for attempt in self.attempts(name)]}
            for name, trial in self.trials.items()
        }

    def end(self, mounted):
        for process in processes(self.mark):
            process.send(signal.SIGKILL)
        time.sleep(0.2)
        if mounted:
            kept = self.folder / "kept"
            shutil.copytree(self.runs, kept, dirs_exist_ok=True)
            subprocess.run(["umount", str(self.runs)], check=False)
        if self.group:
            self.group.rmdir()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=5, help="until the deadline")
    parser.add_argument("--device", default="cpu", help="cpu, or a GPU such as cuda:0")
    parser.add_argument("--out", type=pathlib.Path, help="a file for the result, as JSON")
    parser.add_argument("--folder", type=pathlib.Path, help="a new folder for all that is made; a temporary one otherwise")
    parser.add_argument("--votive", help="the program")
    arguments = parser.parse_args()
    folder = arguments.folder or pathlib.Path(tempfile.mkdtemp(prefix="night-"))
    folder.mkdir(parents=True, exist_ok=True)
    night = Night(arguments, find_votive(arguments.votive), folder.resolve())
    if arguments.device == "cpu":
        night.make_group()
    else:
        night.open_gpu()
    full = night.mount()
    trials = None
    try:
        night.write()
        night.go(full)
        if not (night.results / "trials.parquet").exists():
            sys.exit(f"nothing was begun; the terminal showed:\n{night.said.decode(errors='replace')}")
        trials = night.check(full)
    finally:
        night.end(full)
    result = {"exit_code": night.code, "seconds": night.seconds, "left_out": night.left_out, "did": night.did, "trials": trials, "faults": night.faults}
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print("\n| trial | what | status | reason | its attempts |\n| --- | --- | --- | --- | --- |")
    for trial, row in trials.items():
        print(f"| {trial} | {row['what']} | {row['status']} | {row['reason'] or ''} | {'; '.join(end or 'running' for end in row['attempts'])} |")
    for fault in night.faults:
        print(f"WRONG     {fault}")
    print(f"\n{len(night.faults)} faults; {folder}")
    return 1 if night.faults else 0


if __name__ == "__main__":
    sys.exit(main())
