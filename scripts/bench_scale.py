#!/usr/bin/env python3
"""Measures commands over an experiment of many trials that are all over: seconds, memory, and system calls for each trial.

    python scripts/make_runs.py FOLDER --trials 10_000
    python scripts/bench_scale.py FOLDER

FOLDER is one that scripts/make_runs.py made. Each command is run some times: the seconds are of the fastest, the memory is the largest. Then
it is run once more under strace, where that is there, which counts what it asks of the file system. `--cold` has the system forget
what it knows of the disk before each run (needs root).
"""

import argparse
import collections
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

from program import find_votive

COMMANDS = {
    "status": ["status", "large"],
    "plan": ["plan", "large.yaml"],
    "run": ["run", "large.yaml"],
    "report": ["report", "large"],
}
CALLS = {
    "open": ["open", "openat"],
    "stat": ["stat", "lstat", "fstat", "newfstatat", "statx"],
    "list": ["getdents64"],
    "lock": ["flock"],
    "fsync": ["fsync", "fdatasync"],
}


def forget():
    os.sync()
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")


def measured(command, folder):
    """Seconds, seconds of processor time, and the largest memory in bytes."""
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {process.returncode}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def counted(command, folder):
    """How often each system call was made, by the command and what it starts."""
    with tempfile.NamedTemporaryFile("r") as counts:
        strace = ["strace", "-f", "-c", "-o", counts.name, "-U", "name,calls", *command]
        subprocess.run(strace, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=True)
        found = collections.Counter()
        for line in counts:
            if match := re.fullmatch(r"\s*(\w+)\s+(\d+)\s*", line):
                found[match[1]] = int(match[2])
    return {name: sum(found[call] for call in calls) for name, calls in CALLS.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--votive", help="the program")
    parser.add_argument("--runs", type=int, default=3, help="of each command")
    parser.add_argument("--only", choices=COMMANDS, nargs="+", default=list(COMMANDS))
    parser.add_argument("--cold", action="store_true")
    arguments = parser.parse_args()
    votive = find_votive(arguments.votive)
    trials = len(json.loads((arguments.folder / "runs/large/experiment.json").read_text())["trials"])
    print(f"{trials:,} trials{', nothing of the disk in memory' if arguments.cold else ''}")
    print(f"| command | seconds | of processor time | memory, MB | {' | '.join(f'{name} / trial' for name in CALLS)} |")
    print(f"| --- |{' ---: |' * (3 + len(CALLS))}")
    for name in arguments.only:
        command = [votive, *COMMANDS[name]]
        if name in ("plan", "run"):
            command += ["--max-trials", str(trials)]
        runs = []
        for _ in range(arguments.runs):
            if arguments.cold:
                forget()
            runs.append(measured(command, arguments.folder))
        seconds, processor, _ = min(runs)
        calls = counted(command, arguments.folder) if shutil.which("strace") else {}
        each = [f"{calls[name] / trials:.2f}" if calls else "" for name in CALLS]
        print(f"| {name} | {seconds:.2f} | {processor:.2f} | {max(run[2] for run in runs) / 1e6:.0f} | {' | '.join(each)} |", flush=True)


if __name__ == "__main__":
    main()
