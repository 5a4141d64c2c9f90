#!/usr/bin/env python3
"""Makes the folder of a large experiment, few trials of which were trained, to see how the program takes it.

    pip install numpy pyarrow
    python scripts/make_runs.py FOLDER --trials 10_000 --steps 1_000
    cd FOLDER && votive status large

Writes FOLDER/large.yaml and has the program train one of its trials for each sequence length and clip norm. Every other trial gets a copy
of their files under the id that the plan gives it, with its own settings in `trial.json`: as many files as a real run leaves, as large, with
every column that the program writes. Losses are made up: each setting has an effect, each trial some noise; the same arguments give the
same figures. What is copied as it is are the weights. At the end `votive run` finds that nothing is left to train, and writes tables and
report.

scripts/bench_scale.py measures how long commands take over such a folder.
"""

import argparse
import json
import math
import multiprocessing
import pathlib
import re
import shutil
import subprocess
import sys

import numpy
import pyarrow
import pyarrow.parquet

from program import find_votive

LENGTHS = [16, 24, 32, 48, 64]
BATCHES = [2, 4, 6, 8, 10, 12, 14, 16, 20, 24]
CLIPS = ["off", "0.25", "0.5", "1.0"]
SEEDS = 5
# So many trials for each learning rate.
EACH = len(LENGTHS) * len(BATCHES) * len(CLIPS) * SEEDS

EXPERIMENT = """\
name: large
corpus: {{text: builtin:keeper, max_bytes: 40000}}
model: {{layers: 1, heads: 2, width: 16}}
train: {{budget: {{steps: {steps}}}}}
grid:
  train.sequence_length: {lengths}
  train.batch_size: {batches}
  train.clip_norm: [{clips}]
  train.learning_rate: {rates}
seeds: {seeds}
evaluate: {{at_most: 0.02}}
run: {{device: cpu, threads: 1}}
"""

TEXTS = {"trial_id", "protocol", "checkpoint_kind", "kind", "part", "path", "blake3"}


def values(settings):
    """Sequence length, batch size, clip norm and learning rate of a trial."""
    train = settings["train"]
    clip = train["clip_norm"]
    return train["sequence_length"], train["batch_size"]["windows"], "off" if clip == "off" else str(float(clip["at"])), train["learning_rate"]


def true_loss(length, batch, clip, rate):
    return (
        1.45
        + 0.03 * (math.log2(length / 48)) ** 2
        + 0.02 * (math.log2(batch / 12)) ** 2
        + (0.01 if clip == "off" else 0.005 * abs(math.log2(float(clip) / 0.5)))
        + 0.015 * math.log(rate / 2e-3) ** 2
    )


class Pattern:
    """A trial that was trained."""

    def __init__(self, folder):
        self.folder = folder
        self.job = json.loads((folder / "trial.json").read_text())
        self.outcome = json.loads((folder / "outcome.json").read_text())
        self.tables = {path.name: pyarrow.parquet.read_table(path) for path in folder.glob("*.parquet")}


def scaled(table, trial, factor, steps_per_epoch, batches):
    """A pattern's table as that of another trial: losses by this factor, tokens seen by so many times the batch."""
    columns = []
    for name in table.column_names:
        column, field = table[name], table.schema.field(name)
        match name:
            case "trial_id":
                column = pyarrow.repeat(pyarrow.scalar(trial["id"], type=field.type), len(table))
            case "tokens_seen":
                column = pyarrow.array(column.to_numpy() * batches, type=field.type)
            case "epoch":
                column = pyarrow.array(1 + (table["step"].to_numpy() - 1) // steps_per_epoch, type=field.type)
            case "loss" | "nll" | "nll_sum" | "bits_per_byte" | "validation_loss":
                column = pyarrow.array([None if value is None else value * factor for value in column.to_pylist()], type=field.type)
            case "perplexity":
                column = pyarrow.array([math.exp(value * factor) for value in table["loss"].to_pylist()], type=field.type)
        columns.append(column)
    metadata = {**table.schema.metadata, b"votive.trial_id": trial["id"].encode()}
    return pyarrow.Table.from_arrays(columns, schema=table.schema.with_metadata(metadata))


def make(patterns, root, trial):
    """The folder of this trial of the plan."""
    length, batch, clip, rate = values(trial["settings"])
    pattern = patterns[length, clip]
    rng = numpy.random.default_rng([trial["configuration"], trial["seed"]])
    batches = batch // BATCHES[0]
    factor = true_loss(length, batch, clip, rate) * math.exp(rng.normal(0, 0.005)) / true_loss(*values(pattern.job["settings"]))
    folder = root / trial["id"]
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(pattern.folder, folder, ignore=shutil.ignore_patterns("*.parquet", "trial.json", "outcome.json"))
    job = dict(pattern.job, **{key: trial[key] for key in ("id", "configuration", "seed", "settings", "evaluation")}, steps=trial["facts"]["steps"])
    (folder / "trial.json").write_text(json.dumps(job, indent=2) + "\n")
    for name, table in pattern.tables.items():
        table = scaled(table, trial, factor, trial["facts"]["steps_per_epoch"], batches)
        texts = [name for name in table.column_names if name in TEXTS]
        pyarrow.parquet.write_table(table, folder / name, compression="zstd", use_dictionary=texts)
    scores = [dict(score, nll_sum=score["nll_sum"] * factor, tokens_seen=score["tokens_seen"] * batches) for score in pattern.outcome["scores"]]
    outcome = dict(pattern.outcome, scores=scores, tokens_seen=pattern.outcome["tokens_seen"] * batches)
    outcome["files"] = [as_it_is(folder, file) for file in outcome.get("files", [])]
    (folder / "outcome.json").write_text(json.dumps(outcome, indent=2) + "\n")


def as_it_is(folder, file):
    """What an outcome says of a file. Where its size and time are right its hash is not looked at."""
    found = (folder / file["name"]).stat()
    return dict(file, bytes=found.st_size, modified_utc=found.st_mtime_ns // 1000)


def complete_the_experiment(folder, trials, patterns):
    """What the experiment's own files say of each trial: what its probe measured, when it began and ended."""
    probed = json.loads((folder / "cache" / "probed.json").read_text())
    memory = next(iter(probed.values()))
    (folder / "cache" / "probed.json").write_text(json.dumps({trial["id"]: memory for trial in trials}, indent=2) + "\n")
    there = {pattern.job["id"] for pattern in patterns.values()}
    lines = (folder / "events.jsonl").read_text().splitlines()
    events = [next(line for line in lines if f'"{kind}"' in line) for kind in ("started", "ended")]
    with open(folder / "events.jsonl", "a") as file:
        for trial in trials:
            if trial["id"] not in there:
                file.writelines(re.sub('"trial":"[^"]*"', f'"trial":"{trial["id"]}"', event) + "\n" for event in events)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("into", type=pathlib.Path, help="where the experiment's file goes, and `runs` beside it")
    parser.add_argument("--trials", type=int, default=10_000, help=f"a multiple of {EACH:,}")
    parser.add_argument("--steps", type=int, default=1_000, help="of each trial")
    parser.add_argument("--votive", help="the program")
    arguments = parser.parse_args()
    votive = find_votive(arguments.votive)
    if arguments.trials % EACH:
        parser.error(f"--trials must be a multiple of {EACH:,}")
    arguments.into.mkdir(parents=True, exist_ok=True)

    def call(*command):
        print("votive", *command, file=sys.stderr)
        return subprocess.run([votive, *command], cwd=arguments.into, check=True, capture_output=True, text=True).stdout

    rates = [round(1e-3 * 1.2**number, 7) for number in range(arguments.trials // EACH)]
    text = EXPERIMENT.format(steps=arguments.steps, lengths=LENGTHS, batches=BATCHES, clips=", ".join(CLIPS), rates=rates, seeds=SEEDS)
    (arguments.into / "large.yaml").write_text(text)
    trained = f"batch_size == {BATCHES[0]} and learning_rate == {rates[0]} and seed == 1"
    call("run", "large.yaml", "--max-trials", str(arguments.trials), "--no-alias", "--only", trained)
    plan = json.loads(call("plan", "large.yaml", "--max-trials", str(arguments.trials), "--json"))

    folder = arguments.into / "runs" / "large"
    trials, patterns = plan["trials"], {}
    for place in sorted((folder / "trials").iterdir()):
        pattern = Pattern(place)
        length, batch, clip, rate = values(pattern.job["settings"])
        if (batch, rate, pattern.job["seed"]) == (BATCHES[0], rates[0], 1):
            patterns[length, clip] = pattern
    there = {pattern.job["id"] for pattern in patterns.values()}
    missing = [trial for trial in trials if trial["id"] not in there]
    chunks = [missing[start : start + 100] for start in range(0, len(missing), 100)]
    with multiprocessing.Pool() as pool:
        for number, _ in enumerate(pool.imap_unordered(Chunk(patterns, folder / "trials"), chunks), 1):
            print(f"{min(number * 100, len(missing)):,} of {len(missing):,} trials", end="\r", file=sys.stderr)
    complete_the_experiment(folder, trials, patterns)
    call("run", "large.yaml", "--max-trials", str(arguments.trials))


class Chunk:
    """Makes the folders of some trials, in a process of its own."""

    def __init__(self, patterns, root):
        self.patterns, self.root = patterns, root

    def __call__(self, trials):
        for trial in trials:
            make(self.patterns, self.root, trial)


if __name__ == "__main__":
    main()
