#!/usr/bin/env python3
"""Two runners at once on one folder, each of which believes that it holds every lock: what they leave must be as if one had been alone.

    pip install pandas pyarrow
    python scripts/lease_test.py [--disturbances 100] [--seed 1] [--votive PROGRAM]

`flock` is taken away by a library that is loaded before the system's (`LD_PRELOAD`, compiled here by `c++`): it says that every lock is
held. The same library stops a worker now and then (SIGSTOP) just before it puts a file in place, after it has looked whether its trial is
still its own. So both runners start workers of the same trials, which take them over from each other all the time.

A round has ten disturbances, at moments drawn from the seed: SIGKILL or SIGSTOP to a runner or to a worker, SIGCONT to what was stopped
before (in half of the rounds nothing goes on before the end). A runner that ended is started again. Then one runner is left alone, with real locks, until all is over; only then everything
that still stands goes on, and writes what it had in hand. The same command again must find that, say so, and mend it.

In the end the same command says that nothing is to do, and the same trials have the same weights, rows of steps, evaluations and
checkpoints, scores of every token and outcomes as in an undisturbed run. Exits with 1 otherwise, and names the folder that it left.
"""

import argparse
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid

from kill_test import TABLES, difference, end_of_trial, processes, same, surroundings
from program import find_votive

EXPERIMENT = """\
name: lease
corpus: {text: builtin:keeper, max_bytes: 12000}
model: {layers: 1, heads: 2, width: 16}
train: {sequence_length: 16, batch_size: 8, budget: {steps: 60}}
points:
  - {model.dropout: 0.1}
  - {model.dropout: 0.0}
seeds: 2
evaluate: {every: 0.2, at_most: 1.0}
checkpoint: {every: 0.1, keep_last: 2}
run: {device: cpu, slots: 2, threads: 1}
"""
TRIALS = 4
# Before the system's own: every lock is held, and a worker is stopped between a look and a change.
LIBRARY = r"""
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern "C" int flock(int, int) { return 0; }

static bool stops() {
    static unsigned state = getpid() * 2654435761u ^ (unsigned)time(nullptr);
    state = state * 1664525u + 1013904223u;
    return (state >> 16) % 20 == 0;
}

extern "C" int rename(const char *from, const char *to) {
    static auto next = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    // What decides nothing is put in place all the time.
    if (strstr(to, "/trials/") && !strstr(to, "progress.json") && !strstr(to, "trial.json") && stops()) {
        int file = open(getenv("STOPS"), O_WRONLY | O_CREAT | O_APPEND, 0600);
        if (file < 0 || write(file, ".", 1) != 1) abort();
        close(file);
        raise(SIGSTOP);
    }
    return next(from, to);
}
"""
# Longest time of one command, seconds.
PATIENCE = 240


def library(folder):
    """The library, compiled."""
    source, built = folder / "no_locks.cpp", folder / "no_locks.so"
    source.write_text(LIBRARY)
    subprocess.run(["c++", "-shared", "-fPIC", "-O1", "-o", built, source, "-ldl"], check=True)
    return built


def is_stopped(process):
    """Whether it stands still."""
    try:
        for line in pathlib.Path("/proc", str(process.number), "status").read_text().splitlines():
            if line.startswith("State:"):
                return line.split()[1] == "T"
    except OSError:
        pass
    return False


class Round:
    """A folder that two runners work in."""

    def __init__(self, votive, folder, name, preload):
        self.votive, self.place, self.preload, self.mark = votive, folder / name, preload, uuid.uuid4().hex
        self.place.mkdir()
        (self.place / "lease.yaml").write_text(EXPERIMENT)
        self.trials = self.place / "runs" / "lease" / "trials"
        self.counts = {"killed": 0, "stopped": 0}

    def start(self, alone):
        """The same command as ever; what it says goes to the end of a file."""
        environment = surroundings(self.mark) | ({} if alone else {"LD_PRELOAD": str(self.preload), "STOPS": str(self.place / "stops")})
        with open(self.place / "said.log", "ab") as said:
            return subprocess.Popen([self.votive, "run", "lease.yaml", "--no-probe"], cwd=self.place, env=environment,
                                    stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True)

    def processes(self):
        return processes(self.mark)

    def is_over(self):
        return self.trials.exists() and len(list(self.trials.glob("*/outcome.json"))) == TRIALS

    def disturb(self, chance):
        """One kill or stop, or what was stopped goes on; false where there was nothing to disturb."""
        alive = [process for process in self.processes() if process.role in ("run", "worker")]
        stopped = [process for process in alive if is_stopped(process)]
        moving = [process for process in alive if process not in stopped]
        what = chance.choice(["kill", "stop", "stop", "continue"])
        if (what == "continue" and not self.lets_stand) or len(stopped) > 8:
            for process in chance.sample(stopped, min(len(stopped), 1 + len(stopped) // 4)):
                process.send(signal.SIGCONT)
            return False
        # Mostly workers: a runner's end takes its workers with it.
        workers = [process for process in moving if process.role == "worker"]
        what = "kill" if what == "continue" else what
        chosen = workers if workers and chance.random() < 0.75 else moving
        if not chosen:
            return False
        chance.choice(chosen).send(signal.SIGKILL if what == "kill" else signal.SIGSTOP)
        self.counts["killed" if what == "kill" else "stopped"] += 1
        return True

    def wait(self, faults, expected):
        """The same command, alone, to its end; what it said."""
        log = self.place / "said.log"
        before = log.stat().st_size if log.exists() else 0
        running = self.start(alone=True)
        try:
            code = running.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            running.kill()
            code = f"no end after {PATIENCE} s"
        if code != expected:
            faults.append(f"the command alone ended with {code}, {expected} expected")
        return log.read_bytes()[before:].decode(errors="replace")

    def run(self, chance, disturbances, faults):
        self.lets_stand = chance.random() < 0.5
        runners = [self.start(alone=False), self.start(alone=False)]
        done, until = 0, time.monotonic() + PATIENCE
        while done < disturbances and time.monotonic() < until:
            time.sleep(chance.uniform(0.01, 0.3))
            done += self.disturb(chance)
            runners = [self.start(alone=False) if runner.poll() is not None and not self.is_over() else runner for runner in runners]
            if self.is_over() and all(runner.poll() is not None for runner in runners) and not self.processes():
                break
        for runner in runners:
            runner.kill()
            runner.wait()
        # Workers whose runner is gone save and leave, but for those that stand still: they go on when all is over.
        self.counts["standing to the end"] = sum(map(is_stopped, self.processes()))
        self.wait(faults, 0)
        for _ in range(50):
            for process in self.processes():
                # The library may stop it once more.
                process.send(signal.SIGCONT)
            if not self.processes():
                break
            time.sleep(0.2)
        else:
            faults.append(f"processes are left: {[process.role for process in self.processes()]}")
            for process in self.processes():
                process.send(signal.SIGKILL)
        mended = self.wait(faults, 0)
        last = self.wait(faults, 0)
        if "nothing to train" not in last or "overwritten" in last:
            faults.append(f"something was still to be done after all was mended: {last}")
        stops = self.place / "stops"
        self.counts["stopped before a rename"] = stops.stat().st_size if stops.exists() else 0
        self.counts["mended"] = mended.count("overwritten after the trial had ended")
        return done

    def end(self):
        """What must be the same, by trial: all but what the clock decides, and of checkpoints the weights."""
        found = {}
        for path in sorted(self.trials.iterdir()):
            parts, _ = end_of_trial(path)
            wanted = {"outcome.json", "sample.json", *(f"{name}.parquet" for name in TABLES)}
            found[path.name] = {name: part for name, part in parts.items() if name in wanted or name.endswith("model.safetensors")}
        return found


def differences(found, expected):
    """What is not as expected, a sentence each. A checkpoint more, which one left that had lost the trial, does no harm."""
    faults = []
    if list(found) != list(expected):
        faults.append(f"trials {list(found)}, {list(expected)} expected")
    for trial in found.keys() & expected.keys():
        for part, wanted in expected[trial].items():
            if part not in found[trial]:
                faults.append(f"{trial}/{part} is missing")
            elif not same(found[trial][part], wanted):
                faults.append(f"{trial}/{part}: {difference(found[trial][part], wanted)}")
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--votive", type=pathlib.Path)
    parser.add_argument("--disturbances", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path, help="where the folders go, and stay")
    arguments = parser.parse_args()
    votive = find_votive(arguments.votive)
    folder = arguments.out or pathlib.Path(tempfile.mkdtemp(prefix="votive-lease-"))
    folder.mkdir(parents=True, exist_ok=True)
    preload = library(folder)

    undisturbed, faults = Round(votive, folder, "undisturbed", preload), []
    undisturbed.wait(faults, 0)
    if faults:
        sys.exit(f"the sweep does not end undisturbed: {faults[0]}\n{(undisturbed.place / 'said.log').read_text()}")
    expected = undisturbed.end()
    done, number, failed, total = 0, 0, 0, {}
    while done < arguments.disturbances:
        number += 1
        chance = random.Random(f"{arguments.seed} {number}")
        this, faults = Round(votive, folder, f"round-{number}", preload), []
        done += this.run(chance, min(10, arguments.disturbances - done), faults)
        if not faults:
            try:
                faults += differences(this.end(), expected)
            except (OSError, ValueError, KeyError) as error:
                faults.append(f"{type(error).__name__}: {error}")
        said = (this.place / "said.log").read_text(errors="replace")
        for name, count in [*this.counts.items(), ("taken over", said.count("taken over  "))]:
            total[name] = total.get(name, 0) + count
        for fault in faults:
            print(f"round {number}: {fault} ({this.place})", flush=True)
        failed += bool(faults)
        if not faults and not arguments.out:
            shutil.rmtree(this.place)
    print(f"{done} kills and stops in {number} rounds, {failed} with faults; " + ", ".join(f"{name}: {count}" for name, count in total.items()))
    if failed:
        sys.exit(1)
    if not arguments.out:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
