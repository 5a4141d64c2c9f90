#!/usr/bin/env python3
"""What a trial costs beside its training: sweeps of many trials of one step each.

    python scripts/bench_runner.py [--trials 200,1000] [--rounds 1] [--slots 2] [--votive PROGRAM]

Each sweep is `votive run` in a new folder, planning, probing, tables and report included; half as many learning rates as trials, with two
seeds each, of a model that takes no time. Printed: seconds of the whole command by the clock, by trial; seconds of processors that the
runner itself used, by trial (without its workers and other processes that it started, whose seconds stand beside it); and how busy the
machine was before. On a machine with nothing else to do a trial should take at most 0.02 s, and 2 ms of the runner.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from program import find_votive

EXPERIMENT = """\
name: many
corpus: {{text: builtin:keeper, max_bytes: 20000}}
model: {{layers: 1, heads: 1, width: 8}}
train: {{sequence_length: 16, batch_size: 2, budget: {{steps: 1}}}}
evaluate: {{max_bytes: 500, at_most: 0}}
run: {{device: cpu, slots: {slots}, threads: 1}}
seeds: 2
grid:
  train.learning_rate: {rates}
"""


def sweep(votive, trials, slots):
    """Seconds by the clock, of the runner, and of the processes that it started."""
    with tempfile.TemporaryDirectory() as folder:
        rates = [round(1e-3 * (1 + n / trials), 9) for n in range(trials // 2)]
        pathlib.Path(folder, "many.yaml").write_text(EXPERIMENT.format(slots=slots, rates=rates))
        began = time.perf_counter()
        with open(pathlib.Path(folder, "said.log"), "wb") as said:
            running = subprocess.Popen([votive, "run", "many.yaml"], cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
            # It stays until it is waited for, and with it what it used.
            os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOWAIT)
        seconds = time.perf_counter() - began
        own, others = used(running.pid)
        if code := running.wait():
            sys.exit(f"exit code {code}:\n{pathlib.Path(folder, 'said.log').read_text()[-2000:]}")
    return seconds, own, others


def used(pid):
    """Seconds of processors that a process used itself, and that those it waited for did."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system, waited_user, waited_system = (int(field) / os.sysconf("SC_CLK_TCK") for field in fields[11:15])
    return user + system, waited_user + waited_system


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", default="200,1000", help="of each sweep, with commas between them")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--votive", help="the program")
    arguments = parser.parse_args()
    votive = find_votive(arguments.votive)
    print("| trials | load before | seconds | s a trial | runner, ms a trial | its processes, ms a trial |\n| --- | --- | --- | --- | --- | --- |")
    for _ in range(arguments.rounds):
        for trials in map(int, arguments.trials.split(",")):
            load = os.getloadavg()[0]
            seconds, own, others = sweep(votive, trials, arguments.slots)
            print(f"| {trials:,} | {load:.1f} | {seconds:.1f} | {seconds / trials:.4f} | {1e3 * own / trials:.2f} | {1e3 * others / trials:.1f} |", flush=True)


if __name__ == "__main__":
    main()
