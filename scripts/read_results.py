#!/usr/bin/env python3
"""Reads the results of an experiment the way other tools would, and checks them.

    pip install duckdb pandas pyarrow polars
    python scripts/read_results.py runs/quickstart

Checks that every Parquet file opens in DuckDB, in pandas and (where it is installed) in polars with the same columns and number of
rows, that no number is NaN or infinite, that the files of a kind have one schema, that the patterns a person would write work, that
no step is there twice, that each complete trial has its steps, and that its loss in the table of trials is that of its
evaluations and of its tokens. Exits with 1 and a line for each fault otherwise.
"""

import argparse
import pathlib
import sys

import duckdb
import numpy
import pandas

try:
    import polars
except ImportError:
    polars = None

KINDS = ["steps", "evaluations", "checkpoints", "token_nll", "positions"]


def quoted(path):
    return "'" + str(path).replace("'", "''") + "'"


def one(database, query):
    """The only value of a query; `execute` works in old and new versions of DuckDB."""
    return database.execute(query).fetchall()[0][0]


def check_file(database, path, faults):
    """Opens one file in both tools; returns its pandas frame, or None."""
    try:
        frame = pandas.read_parquet(path)
        rows = one(database, f"SELECT count(*) FROM {quoted(path)}")
        described = database.execute(f"DESCRIBE SELECT * FROM {quoted(path)}").fetchall()
    except Exception as error:  # any reader's complaint is a fault of the file
        faults.append(f"{path}: {error}")
        return None
    columns = [row[0] for row in described]
    if rows != len(frame):
        faults.append(f"{path}: DuckDB sees {rows} rows, pandas {len(frame)}")
    if columns != list(frame.columns):
        faults.append(f"{path}: DuckDB and pandas see different columns")
    if polars is not None:
        try:
            read = polars.read_parquet(path)
        except Exception as error:
            faults.append(f"{path}: polars: {error}")
        else:
            if (read.height, read.columns) != (rows, columns):
                faults.append(f"{path}: polars sees {read.height} rows of {read.width} columns")
    # pandas shows null as NaN, so the numbers themselves are asked through DuckDB.
    for name, kind in (row[:2] for row in described):
        if kind in ("FLOAT", "DOUBLE"):
            bad = one(database, f'SELECT count(*) FROM {quoted(path)} WHERE isnan("{name}") OR isinf("{name}")')
            if bad:
                faults.append(f"{path}: {bad} values of {name} are NaN or infinite")
        if kind in ("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "TINYINT", "SMALLINT"):
            faults.append(f"{path}: {name} is {kind}, not a signed integer of 32 or 64 bits")
        if name.endswith("_utc") and kind != "TIMESTAMP WITH TIME ZONE":
            faults.append(f"{path}: {name} is {kind}, not a time in UTC")
    infinite = [c for c in frame.select_dtypes("number") if numpy.isinf(frame[c].to_numpy(float, na_value=0.0)).any()]
    faults.extend(f"{path}: {name} holds an infinite number in pandas" for name in infinite)
    return frame


def check_loss(database, folder, trial, faults):
    """A trial's loss three times: in the table of trials, in its evaluations, and token by token."""
    files = [(folder / "evaluations.parquet", "kind", "last(nll_sum ORDER BY time_utc) / last(scored_tokens ORDER BY time_utc)")]
    files.append((folder / "token_nll.parquet", "checkpoint_kind", "avg(nll)"))
    for path, kind, loss in files:
        if not path.exists():
            continue
        part = "AND part = 'validation'" if kind == "kind" else f"AND context = {int(trial.common_context)}"
        query = f"SELECT {loss} FROM {quoted(path)} WHERE {kind} = 'final' AND protocol = 'common' {part}"
        value = one(database, query)
        if value is not None and abs(value - trial.common_loss) > 1e-5 * max(1.0, trial.common_loss):
            faults.append(f"{path}: a loss of {value}, the table of trials has {trial.common_loss}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", type=pathlib.Path, help="an experiment's folder, as runs/quickstart")
    folder = parser.parse_args().experiment
    database = duckdb.connect()
    faults = []
    rows = {}

    tables = {}
    for name in ["plan", "trials"]:
        path = folder / f"{name}.parquet"
        if path.exists():
            tables[name] = check_file(database, path, faults)
        else:
            faults.append(f"{path}: missing")
    if all(tables.get(name) is not None for name in ["plan", "trials"]):
        if list(tables["plan"].trial_id) != list(tables["trials"].trial_id):
            faults.append("plan.parquet and trials.parquet hold different trials")

    for kind in KINDS:
        files = sorted(folder.glob(f"trials/*/{kind}.parquet"))
        frames = [(path, check_file(database, path, faults)) for path in files]
        schemas = {tuple(zip(f.columns, map(str, f.dtypes))) for _, f in frames if f is not None and len(f)}
        names = {schema and tuple(name for name, _ in schema) for schema in schemas}
        if len(names) > 1:
            faults.append(f"the files of {kind} have {len(names)} different lists of columns")
        for path, frame in frames:
            if frame is None:
                continue
            if not (frame.trial_id == path.parent.name).all():
                faults.append(f"{path}: rows of another trial")
            if kind == "steps" and (frame.step.duplicated().any() or not frame.step.is_monotonic_increasing):
                faults.append(f"{path}: a step is there twice or out of order")
        rows[kind] = sum(len(frame) for _, frame in frames if frame is not None)
        if files:
            pattern = folder / "trials" / "*" / f"{kind}.parquet"
            try:
                together = one(database, f"SELECT count(*) FROM (SELECT * FROM {quoted(pattern)})")
            except Exception as error:
                faults.append(f"SELECT * FROM {quoted(pattern)}: {error}")
            else:
                if together != rows[kind]:
                    faults.append(f"{pattern}: {together} rows, one by one {rows[kind]}")
            if polars is not None:
                try:
                    together = polars.scan_parquet(str(pattern)).select(polars.len()).collect().item()
                except Exception as error:
                    faults.append(f"polars.scan_parquet({pattern}): {error}")
                else:
                    if together != rows[kind]:
                        faults.append(f"polars.scan_parquet({pattern}): {together} rows, one by one {rows[kind]}")

    trials = tables.get("trials")
    if trials is not None:
        for trial in trials[trials.status == "completed"].itertuples():
            check_loss(database, folder / "trials" / trial.trial_id, trial, faults)
            path = folder / "trials" / trial.trial_id / "steps.parquet"
            # What was trained once under another clip norm has no steps of its own.
            if isinstance(getattr(trial, "alias_of", None), str):
                continue
            if not path.exists():
                faults.append(f"{path}: missing, but the trial is completed")
            elif int(trial.steps_done) != one(database, f"SELECT count(*) FROM {quoted(path)}"):
                faults.append(f"{path}: not {int(trial.steps_done)} rows, as many as the trial has steps")

    for fault in faults:
        print(fault, file=sys.stderr)
    counts = ", ".join(f"{count} {kind}" for kind, count in rows.items())
    print(f"{folder}: {0 if trials is None else len(trials)} trials, rows: {counts}; {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
