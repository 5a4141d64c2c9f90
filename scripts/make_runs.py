#!/usr/bin/env python3
"""Makes the folder of a large experiment that nobody trained, to see how a report takes it.

    pip install numpy pyarrow
    votive run experiments/quickstart.yaml
    python scripts/make_runs.py runs/quickstart runs/large --trials 1000 --steps 10_000
    votive report runs/large

Tables and files are those of a real experiment (the first argument), of which one complete trial is the pattern: every column has its
name and type, so that this follows the program. Losses are made up: each setting has an effect, each seed a shift, each
trial some noise, and the curve falls from that of guessing to where it ends. The same arguments give the same figures.
"""

import argparse
import hashlib
import json
import math
import pathlib
import shutil
import sys

import numpy
import pyarrow
import pyarrow.parquet

LENGTHS = [32, 48, 64, 96, 128, 192, 256]
BATCHES = [4, 8, 12, 16, 24, 32, 48]
CLIPS = ["off", "0.25", "0.5", "1.0"]
SWEPT = ["train.sequence_length", "train.batch_size", "train.clip_norm", "train.learning_rate"]
START = 1_767_225_600_000_000  # microseconds since 1970


def configurations():
    """Settings in the order of a file, the last axis fastest; learning rates are added until there are enough."""
    rate = 0
    while True:
        rate += 1
        for length in LENGTHS:
            for batch in BATCHES:
                for clip in CLIPS:
                    yield length, batch, clip, round(2e-4 * 1.5**rate, 7)


def true_loss(length, batch, clip, rate):
    return (
        1.45
        + 0.03 * (math.log2(length / 96)) ** 2
        + 0.02 * (math.log2(batch / 12)) ** 2
        + (0.01 if clip == "off" else 0.005 * abs(math.log2(float(clip) / 0.5)))
        + 0.015 * math.log(rate / 1e-3) ** 2
    )


def filled(schema, rows, pattern, columns):
    """A table of this schema: these columns, elsewhere the pattern's value in every row."""
    arrays = []
    for field in schema:
        values = columns.get(field.name, pattern.get(field.name))
        if isinstance(values, (list, numpy.ndarray)):
            arrays.append(pyarrow.array(values, type=field.type, from_pandas=True))
        else:
            arrays.append(pyarrow.repeat(pyarrow.scalar(values, type=field.type), rows))
    return pyarrow.Table.from_arrays(arrays, schema=schema)


def write(table, path):
    pyarrow.parquet.write_table(table, path, compression="zstd", use_dictionary=["trial_id", "protocol", "checkpoint_kind"])


def with_swept(schema):
    """The table's schema with our swept columns instead of the pattern's."""
    fields = [field for field in schema if not field.name.startswith("swept_")]
    place = 1 + [field.name for field in fields].index("seed")
    ours = [pyarrow.field("swept_" + key.replace(".", "_"), pyarrow.string()) for key in SWEPT]
    return pyarrow.schema(fields[:place] + ours + fields[place:], metadata=schema.metadata)


class Pattern:
    """A complete trial of a real experiment."""

    def __init__(self, folder):
        self.plan = pyarrow.parquet.read_table(folder / "plan.parquet")
        self.trials = pyarrow.parquet.read_table(folder / "trials.parquet")
        rows = self.trials.to_pylist()
        complete = [row for row in rows if row["status"] == "completed" and (folder / "trials" / row["trial_id"] / "steps.parquet").exists()]
        if not complete:
            sys.exit(f"{folder} has no complete trial")
        self.row = complete[0]
        self.folder = folder / "trials" / self.row["trial_id"]
        self.json = {path.name: json.loads(path.read_text()) for path in self.folder.glob("*.json")}
        self.attempt = json.loads(sorted(self.folder.glob("attempts/*.json"))[0].read_text())
        self.tables = {path.stem: pyarrow.parquet.read_table(path) for path in self.folder.glob("*.parquet")}
        self.experiment = json.loads((folder / "experiment.json").read_text())


def steps_table(schema, trial, steps, tokens_per_step, loss, rng):
    """A row a step: an exponential fall with noise, a rare spike, and gradient norms that settle."""
    step = numpy.arange(1, steps + 1)
    top = math.log(trial["vocabulary"] or 65)
    losses = loss + (top - loss) * numpy.exp(-6.0 * step / steps) + rng.normal(0, 0.04, steps)
    losses[rng.integers(0, steps, 1 + steps // 3000)] += 1.5
    norms = numpy.exp(rng.normal(-0.5, 0.4, steps)) * (1 + 3 * numpy.exp(-20.0 * step / steps))
    limit = math.inf if trial["clip"] == "off" else float(trial["clip"])
    coefficient = numpy.minimum(1.0, limit / (norms + 1e-6))
    seconds = rng.gamma(40, 1 / 40, steps) * 0.01
    warmup = max(1.0, 0.05 * steps)
    columns = {
        "trial_id": trial["id"],
        "attempt": 1,
        "step": step,
        "epoch": 1 + step * 8 // steps,
        "tokens_seen": step * tokens_per_step,
        "loss": losses,
        "perplexity": numpy.exp(losses),
        "grad_norm": norms,
        "clip_coefficient": coefficient,
        "clipped": (coefficient < 1.0).tolist(),
        "learning_rate": trial["rate"] * numpy.minimum(step / warmup, 0.55 + 0.45 * numpy.cos(math.pi * step / steps)),
        "step_seconds": seconds,
        "tokens_per_second": tokens_per_step / seconds,
        "time_utc": START + (numpy.cumsum(seconds) * 1e6).astype(numpy.int64),
    }
    return filled(schema, steps, {}, columns), norms, coefficient


def evaluations_table(pattern, trial, steps, tokens_per_step, loss, contexts):
    """Ten on the way, and the final ones by both protocols."""
    rows = pattern.to_pylist()
    final = next(row for row in rows if row["kind"] == "final" and row["protocol"] == "common")
    top = math.log(trial["vocabulary"] or 65)
    made = []
    for part in range(1, 11):
        step = steps * part // 10
        here = loss + (top - loss) * math.exp(-6.0 * step / steps)
        made.append((step, "common", "periodic", contexts[0], contexts[0], here))
    made.append((steps, "common", "final", contexts[0], contexts[0] // 2, loss))
    if contexts[1] != contexts[0]:
        made.append((steps, "native", "final", contexts[1], contexts[1] // 2, loss - 0.02 * math.log2(contexts[1] / contexts[0])))
    table = []
    for step, protocol, kind, context, stride, value in made:
        row = dict(final, trial_id=trial["id"], step=step, tokens_seen=step * tokens_per_step, protocol=protocol, kind=kind)
        row.update(context=context, stride=stride, loss=value, perplexity=math.exp(value), nll_sum=value * final["scored_tokens"])
        row["bits_per_byte"] = row["nll_sum"] / (final["scored_bytes"] * math.log(2))
        table.append(row)
    # The common and the native one, which are the same row where both contexts are the same.
    return pyarrow.Table.from_pylist(table, schema=pattern.schema), table[10], table[-1]


def token_table(pattern, trial, loss, rng):
    """The pattern's tokens, each as hard as it was there, moved to this trial's loss, with noise of its own."""
    place = [k == "final" and p == "common" for k, p in zip(pattern["checkpoint_kind"].to_pylist(), pattern["protocol"].to_pylist())]
    table = pattern.filter(pyarrow.array(place))
    nll = numpy.maximum(table["nll"].to_numpy() * numpy.exp(rng.normal(0, 0.1, len(table))), 1e-4)
    nll *= loss / nll.mean()
    columns = {name: table[name] for name in table.column_names}
    columns["nll"] = pyarrow.array(nll.astype(numpy.float32))
    columns["trial_id"] = pyarrow.repeat(pyarrow.scalar(trial["id"]), len(table))
    return pyarrow.Table.from_arrays([columns[n] for n in table.column_names], schema=table.schema)


def renamed(table, trial):
    """A table as it is, under another trial's id."""
    place = table.column_names.index("trial_id")
    return table.set_column(place, table.schema.field(place), pyarrow.repeat(pyarrow.scalar(trial["id"]), len(table)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pattern", type=pathlib.Path, help="an experiment's folder with a complete trial")
    parser.add_argument("into", type=pathlib.Path, help="where the large one goes; must not exist")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    into, count, steps = arguments.into, arguments.trials, arguments.steps
    pattern = Pattern(arguments.pattern)
    (into / "trials").mkdir(parents=True)

    plan_rows, states, listed = [], [], []
    grid = configurations()
    for number in range(count):
        configuration, seed = number // arguments.seeds + 1, number % arguments.seeds + 1
        if seed == 1:
            length, batch, clip, rate = next(grid)
        rng = numpy.random.default_rng(number)
        trial = {
            "id": hashlib.sha256(f"large {number}".encode()).hexdigest()[:12],
            "clip": clip,
            "rate": rate,
            "vocabulary": pattern.row["vocabulary"],
        }
        loss = true_loss(length, batch, clip, rate) + 0.01 * (seed - 2) + rng.normal(0, 0.008)
        tokens_per_step = length * batch
        table, norms, coefficient = steps_table(pattern.tables["steps"].schema, trial, steps, tokens_per_step, loss, rng)
        contexts = (min(LENGTHS), length)
        evaluations, common, native = evaluations_table(
            pattern.tables["evaluations"], trial, steps, tokens_per_step, loss, contexts
        )
        folder = into / "trials" / trial["id"]
        (folder / "attempts").mkdir(parents=True)
        write(table, folder / "steps.parquet")
        write(evaluations, folder / "evaluations.parquet")
        write(token_table(pattern.tables["token_nll"], trial, loss, rng), folder / "token_nll.parquet")
        for kind, other in pattern.tables.items():
            if kind not in ("steps", "evaluations", "token_nll"):
                write(renamed(other, trial), folder / f"{kind}.parquet")

        seconds = float(table["step_seconds"].to_numpy().sum())
        started = START + number * 60_000_000
        finished = started + int(seconds * 1e6)
        outcome = dict(
            pattern.json["outcome.json"],
            steps=steps,
            tokens_seen=steps * tokens_per_step,
            training_seconds=seconds,
            finished_utc=finished,
        )
        # The report asks the folders how trials stand: their scores count, and those of the table only until then.
        first = outcome["scores"][0]
        fields = ("step", "tokens_seen", "protocol", "context", "stride", "nll_sum")
        scored = [common] if native is common else [common, native]
        outcome["scores"] = [dict(first, kind="final", **{field: row[field] for field in fields}) for row in scored]
        for name, content in pattern.json.items():
            if name == "outcome.json":
                content = outcome
            elif name == "trial.json":
                content = dict(content, id=trial["id"], configuration=configuration, seed=seed, steps=steps)
            elif name == "sample.json":
                content = dict(content, step=steps, seed=seed)
            (folder / name).write_text(json.dumps(content))
        attempt = dict(pattern.attempt, started_utc=started, ended_utc=finished)
        (folder / "attempts" / "0001.json").write_text(json.dumps(attempt))

        swept = dict(zip(SWEPT, [str(length), str(batch), clip, str(rate)]))
        plan = {"swept_" + key.replace(".", "_"): value for key, value in swept.items()}
        plan.update(
            trial_id=trial["id"], configuration=configuration, seed=seed, steps=steps, tokens_per_step=tokens_per_step,
            target_tokens=steps * tokens_per_step, train_sequence_length=length, train_stride=length,
            train_batch_size=batch, train_learning_rate=rate, train_clip_norm=None if clip == "off" else float(clip),
            train_clip_norm_off=clip == "off", train_budget_unit="steps", train_budget=float(steps),
            views=steps * tokens_per_step / (pattern.row["distinct_targets"] or 1),
            flops=6.0 * (pattern.row["parameters"] or 1) * steps * tokens_per_step,
        )
        plan_rows.append(plan)
        state = dict(plan, status="completed", reason=None, attempts=1, steps_done=steps, tokens_seen=steps * tokens_per_step)
        state.update(training_seconds=seconds, tokens_per_second=steps * tokens_per_step / seconds)
        for name, row in [("common", common), ("native", native), ("best_common", common), ("best_native", native)]:
            for unit in ["loss", "perplexity", "bits_per_byte"]:
                state[f"{name}_{unit}"] = row[unit]
        state.update(
            common_context=common["context"], common_stride=common["stride"], native_context=native["context"],
            native_stride=native["stride"], best_step=steps, clipped_share=float((coefficient < 1).mean()),
        )
        for name, value in zip(["p50", "p90", "p99", "max"], numpy.quantile(norms, [0.5, 0.9, 0.99, 1.0])):
            state[f"grad_norm_{name}"] = float(value)
        states.append((state, started, finished))
        label = f"length {length} · batch {batch} · clip {clip} · learning rate {rate}"
        listed.append({"id": trial["id"], "configuration": configuration, "seed": seed, "label": label})
        if (number + 1) % 100 == 0:
            print(f"{number + 1} of {count} trials", file=sys.stderr)

    for name, real, rows in [("plan", pattern.plan, plan_rows), ("trials", pattern.trials, [s for s, _, _ in states])]:
        schema = with_swept(real.schema)
        columns = {key: [row.get(key) for row in rows] for key in rows[0]}
        if name == "trials":
            columns["started_utc"] = [started for _, started, _ in states]
            columns["finished_utc"] = [finished for _, _, finished in states]
        write(filled(schema, count, pattern.row, columns), into / f"{name}.parquet")
    experiment = dict(pattern.experiment, name=into.name, swept=SWEPT, common_context=min(LENGTHS), trials=listed)
    (into / "experiment.json").write_text(json.dumps(experiment))
    for name in ["experiment.yaml", "events.jsonl"]:
        if (arguments.pattern / name).exists():
            shutil.copy(arguments.pattern / name, into / name)


if __name__ == "__main__":
    main()
