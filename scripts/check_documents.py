#!/usr/bin/env python3
"""Holds the JSON Schema against the program, and runs the SQL and Python examples of README and guide.

    pip install jsonschema ruamel.yaml duckdb pandas polars
    python scripts/check_documents.py --votive target/release/votive [--runs runs]

Every experiment file and every YAML example must be right by `votive schema`. For each setting and many values, the schema must take
what `votive check` takes, and refuse what it refuses for its type or range. Units of systemd are checked by it, where it is installed.
With `--runs`, a folder with the results of
`experiments/quickstart.yaml`, every SQL and Python example is run on them. YAML and shell examples are also run by
`cargo test --test it documents::`. Exits with 1 and a line for each fault.
"""

import argparse
import contextlib
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import jsonschema
from ruamel.yaml import YAML

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "src" / "guide").glob("*.md"))]
BASE = "name: x\ncorpus: {text: a.txt}\ntrain: {budget: {steps: 100}}\n"
VALUES = """0 1 -1 2 3 0.5 0.1 1.0 1.5 16 257 1e3 1e-3 20_000 2e9 1e10 1e30 007 off full auto none all never native final best true false
yes no True cpu cuda cuda:1 cuda:x metal gpu 07:00 7:05 25:00 8h 1h30m 90s 30m1h byte char bpe gpt2 llama cosine linear words weights
common local '' [1,2] {a: 1} {tokens: 5} {tokens: 5, steps: 5} {hours: 1} {kind: byte} {kind: bpe, vocab_size: 300}
{kind: xyz} ["a.txt", "b.txt"] []""".replace("\n", " ")
WRONG = [
    "train: {strides: 1}", "trian: {stride: 1}", "grid: {run.slots: [1, 2]}", "grid: {train.strid: [1, 2]}", "zip: [{train.stride: 5}]",
    "exclude: [{because: x}]", "search: {train.learning_rate: [1, 2]}", "seeds: 0", "seeds: []", "grid: {train.stride: {from: 1, by: 2}}",
]


def values():
    """The values above: words, and what stands in brackets or braces whole."""
    return re.findall(r"\{[^}]*\}|\[[^\]]*\]|\S+", VALUES)


def load(text):
    """YAML 1.2, as editors read it."""
    return json.loads(json.dumps(YAML(typ="safe", pure=True).load(text), default=str))


def blocks(page, language):
    """The examples of a page in this language, each with its line."""
    text = page.read_text()
    for found in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.M | re.S):
        yield text[: found.start()].count("\n") + 2, found.group(1)


def check_schema(votive, faults):
    schema = json.loads(subprocess.run([votive, "schema"], check=True, capture_output=True, text=True).stdout)
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)
    files = [*sorted((ROOT / "experiments").glob("*.yaml"))]
    texts = [(file.name, file.read_text()) for file in files]
    for page in PAGES:
        for line, text in blocks(page, "yaml"):
            texts.append((f"{page.name}:{line}", text if re.search("^name:", text, re.M) else "name: example\n" + text))
    for name, text in texts:
        for error in validator.iter_errors(load(text)):
            faults.append(f"{name}: {'.'.join(map(str, error.path))}: {error.message[:200]}")
    for text in WRONG:
        if validator.is_valid(load("name: x\n" + text)):
            faults.append(f"the schema takes `{text}`")
    probes = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name in ("a.txt", "b.txt"):
            (folder / name).write_text("A lamp was lit at dusk.\n" * 100)
        settings = [key for key in schema["definitions"] if key not in ("range", "expression") and not key.startswith("tokenizer.")]
        for key in settings:
            for value in values():
                base = BASE.replace("train: {budget: {steps: 100}}\n", "") if key.startswith("train.budget") else BASE
                text = ("name: x\n" if key == "corpus.text" else base) + f"{key}: {value}\n"
                if key == "corpus.text":
                    text += "train: {budget: {steps: 100}}\n"
                (folder / "x.yaml").write_text(text)
                said = subprocess.run([votive, "check", "x.yaml"], cwd=folder, capture_output=True, text=True)
                taken = validator.is_valid(load(text))
                probes += 1
                # What settings must hold together, and what a machine has, no schema knows.
                wrong_type = re.search(r"should be|takes one value|has no `|does not count|needs a |should not", said.stderr)
                if said.returncode == 0 and not taken and not unsaid(key, value):
                    faults.append(f"the schema refuses `{key}: {value}`, which is right")
                if said.returncode == 2 and wrong_type and taken and not known(key, value):
                    faults.append(f"the schema takes `{key}: {value}`: {said.stderr.splitlines()[0].strip()}")
    print(f"schema: {len(texts)} files and examples, {probes} values")


def known(key, value):
    """Where the schema takes more than the program: of a text that has a form it knows no more, and a text of digits is not bounded."""
    return bool(re.fullmatch(r"[0-9_]+", value)) or key in ("run.device", "run.slurm.memory")


def unsaid(key, value):
    """What the program takes and nobody needs: one word for another, and names of digits without quotes."""
    names = ("account", "constraint", "extra", "partition", "qos")
    return value in ("auto", "all", "none") or key in ("run.cuda_libraries", *(f"run.slurm.{name}" for name in names))


def check_examples(runs, faults):
    import duckdb

    count = 0
    with tempfile.TemporaryDirectory() as folder:
        os.symlink(runs.resolve(), pathlib.Path(folder) / "runs")
        before = os.getcwd()
        os.chdir(folder)
        for page in PAGES:
            for line, text in blocks(page, "sql"):
                for statement in filter(str.strip, re.sub("--[^\n]*", "", text).split(";")):
                    count += 1
                    try:
                        if not duckdb.sql(statement).fetchall():
                            faults.append(f"{page.name}:{line}: no rows: {statement.strip()[:80]}")
                    except duckdb.Error as error:
                        faults.append(f"{page.name}:{line}: {error}")
            for line, text in blocks(page, "python"):
                count += 1
                try:
                    with contextlib.redirect_stdout(io.StringIO()):
                        exec(compile(text, f"{page.name}:{line}", "exec"), {})  # noqa: S102
                except Exception as error:  # noqa: BLE001
                    faults.append(f"{page.name}:{line}: {type(error).__name__}: {error}")
        os.chdir(before)
    print(f"examples: {count} of SQL and Python")


def check_units(votive, faults):
    """Whether systemd takes the guide's units as they stand, with the program where `cargo install` puts it."""
    if not shutil.which("systemd-analyze"):
        print("units: not checked, since there is no systemd-analyze")
        return
    count = 0
    for page in PAGES:
        for line, text in blocks(page, "ini"):
            count += 1
            with tempfile.TemporaryDirectory() as home:
                (pathlib.Path(home) / ".cargo/bin").mkdir(parents=True)
                (pathlib.Path(home) / ".cargo/bin/votive").symlink_to(votive)
                unit = pathlib.Path(home) / "votive.service"
                unit.write_text(text)
                # What it does not know it names, and goes on.
                checked = subprocess.run(
                    ["systemd-analyze", "verify", "--user", str(unit)], capture_output=True, text=True, env=os.environ | {"HOME": home, "XDG_RUNTIME_DIR": home})
                if checked.returncode or checked.stderr.strip():
                    faults.append(f"{page.name}:{line}: systemd: {checked.stderr.strip()}")
    print(f"units: {count} checked by systemd")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--votive", required=True, type=lambda path: str(pathlib.Path(path).resolve()))
    parser.add_argument("--runs", type=pathlib.Path)
    arguments = parser.parse_args()
    faults = []
    check_schema(arguments.votive, faults)
    check_units(arguments.votive, faults)
    if arguments.runs:
        check_examples(arguments.runs, faults)
    for fault in faults:
        print(f"fault: {fault}")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
