#!/usr/bin/env python3
"""The same sweep of 8 trainings by Votive, and by Hydra with its joblib launcher over a plain PyTorch program.

    pip install torch hydra-core hydra-joblib-launcher pandas pyarrow
    cargo build --release
    python scripts/bench_sweep.py [--rounds 3] [--steps 500] [--jobs 2] [--text FILE] [--out FOLDER] [--votive PROGRAM]

L 32, 64 × batch 6, 12 × clip 0.5, 1.0, each trained for 500 steps from random weights: nanoGPT's CPU model (4 layers, 4 heads,
128 wide, characters, no biases, tied), stride 1, AdamW with decay groups, warm-up and cosine; `--jobs` trainings
at a time with one thread each. Both learn from the same text and are evaluated on the same 15,360 tokens.

Times are of whole commands, from a new folder and to the end of the process, in turn, `--rounds` times:

  Votive  `votive run`: planning, tokenizing, probing, training, a row for every step, checkpoints, evaluation, a sample of text from each
          trial, the report. All 8 trials are trained: that each has its rows of steps is checked.
  peer    `python … --multirun hydra/launcher=joblib` with this file's own training program: imports (once in each of joblib's
          workers), training, evaluation, a printed line at each evaluation, and the model and optimizer saved then.

Evaluated tokens of each training:

  both    half way and at the end, 15,360 tokens each, every one predicted once, windows side by side. The peer's windows are
          its own L, Votive's the smallest L of the sweep, the same for all.
  Votive  moreover, as always: the final weights in full, the same 15,360 tokens in windows of 32 that overlap by half,
          where L is 64 also in windows of 64 that overlap by half: 15,360 or 30,720 more tokens through the model, since what
          windows that begin together share is computed once. Where the weights of half way were the better ones, those as well.

The perplexities printed are the peer's at the end, and Votive's at the end by the evaluation that is like it (`kind` periodic); where L is
32 both are of the same tokens and windows. They differ by chance, for the random numbers are not the same.
"""

import argparse
import json
import math
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from program import find_votive

LENGTHS, BATCHES, CLIPS = [32, 64], [6, 12], [0.5, 1.0]
EVALUATED = 15_360
# Windows that are evaluated at once by the peer; Votive takes as many.
AT_ONCE = 64

EXPERIMENT = """\
name: sweep
corpus: {{text: training.txt, validation: validation.txt}}
tokenizer: {{kind: char}}
model: {{family: gpt2, layers: 4, heads: 4, width: 128, bias: false}}
train: {{stride: 1, beta2: 0.99, budget: {{steps: {steps}}}}}
evaluate: {{every: 0.5, at_most: 1.0}}
checkpoint: {{every: 0.5}}
run: {{device: cpu, slots: {jobs}, threads: 1}}
grid:
  train.sequence_length: {lengths}
  train.batch_size: {batches}
  train.clip_norm: {clips}
"""


def train(settings):
    """The peer: one training, which Hydra calls in a process of joblib's. Returns the perplexity at the end."""
    import hydra
    import torch
    from plain_gpt import Gpt, adamw, learning_rate, random_windows, train_step

    torch.set_num_threads(1)
    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(1)
    data, length, steps = pathlib.Path(settings.data), settings.length, settings.steps
    texts = [(data / name).read_bytes().decode() for name in ("training.txt", "validation.txt")]
    numbers = {character: i for i, character in enumerate(sorted(set("".join(texts))))}
    tokens, held_out = (torch.tensor([numbers[character] for character in text]) for text in texts)
    model = Gpt(len(numbers), length)
    optimizer = adamw(model)
    folder = pathlib.Path(hydra.core.hydra_config.HydraConfig.get().runtime.output_dir)

    @torch.no_grad()
    def evaluate():
        windows = held_out.unfold(0, length + 1, length)
        losses = [model(part[:, :-1], part[:, 1:]).item() * len(part) for part in windows.split(AT_ONCE)]
        return sum(losses) / len(windows)

    for step in range(steps):
        inputs, targets = random_windows(tokens, length, settings.batch, generator)
        train_step(model, optimizer, inputs, targets, learning_rate(step, steps, int(0.05 * steps + 0.5)), settings.clip)
        if step + 1 in (steps // 2, steps):
            loss = evaluate()
            print(f"length {length} batch {settings.batch} clip {settings.clip} step {step + 1}: {loss:.4f}", flush=True)
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}, folder / "ckpt.pt")
    result = {"length": length, "batch": settings.batch, "clip": settings.clip, "loss": loss, "evaluated": len(held_out) - 1}
    (folder / "result.json").write_text(json.dumps(result))
    return loss


def hydra_program():
    """What `--peer` runs: Hydra reads the rest of the command line."""
    import hydra
    from hydra.core.config_store import ConfigStore

    base = {"length": 64, "batch": 12, "clip": 1.0, "steps": 500, "data": "???", "defaults": ["_self_", {"override hydra/launcher": "joblib"}]}
    ConfigStore.instance().store(name="sweep", node=base)
    hydra.main(version_base="1.3", config_path=None, config_name="sweep")(train)()


def timed(command, folder, log, environment=None):
    """Seconds of a command, run in this folder, and of processors; what it says goes into a file."""

    def processors():
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    with open(log, "wb") as out:
        before, start = processors(), time.perf_counter()
        code = subprocess.run(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT, env=environment).returncode
        seconds = (time.perf_counter() - start, processors() - before)
    if code:
        sys.exit(f"{' '.join(command)} exited with {code}:\n{log.read_text(errors='replace')[-4000:]}")
    return seconds


def votive_round(votive, folder, steps, jobs):
    """Seconds and {(length, batch, clip): perplexity} of `votive run`."""
    import pandas

    experiment = EXPERIMENT.format(steps=steps, jobs=jobs, lengths=LENGTHS, batches=BATCHES, clips=CLIPS)
    (folder.parent / "sweep.yaml").write_text(experiment)
    seconds = timed([votive, "run", "sweep.yaml", "--no-alias", "--runs", str(folder / "runs")], folder.parent, folder / "votive.log")
    found, rows = {}, 0
    for trial in pandas.read_parquet(folder / "runs" / "sweep" / "plan.parquet").itertuples():
        path = folder / "runs" / "sweep" / "trials" / trial.trial_id
        trained = sorted(pandas.read_parquet(path / "steps.parquet").step)
        if trained != list(range(1, steps + 1)):
            sys.exit(f"{path} has {len(trained)} rows of steps instead of one for each of {steps}")
        rows += len(trained)
        evaluations = pandas.read_parquet(path / "evaluations.parquet")
        on_the_way = evaluations[evaluations.kind == "periodic"].sort_values("step")
        if list(on_the_way.step) != [steps // 2, steps] or not (evaluations.scored_tokens == EVALUATED).all():
            sys.exit(f"{path} was evaluated otherwise:\n{evaluations[['step', 'kind', 'scored_tokens']]}")
        key = (int(trial.train_sequence_length), int(trial.train_batch_size), float(trial.train_clip_norm))
        found[key] = on_the_way.perplexity.iloc[-1]
    if rows != 8 * steps or len(found) != 8:
        sys.exit(f"Votive has {rows} rows of steps in {len(found)} trials instead of {8 * steps} in 8")
    return seconds, found


def peer_round(folder, steps, jobs):
    """Seconds and {(length, batch, clip): perplexity} of the peer."""
    axes = [f"{name}={','.join(map(str, values))}" for name, values in [("length", LENGTHS), ("batch", BATCHES), ("clip", CLIPS)]]
    command = [sys.executable, str(pathlib.Path(__file__).resolve()), "--peer", "--multirun", *axes, f"steps={steps}",
               f"data={folder.parent}", f"hydra.launcher.n_jobs={jobs}", f"hydra.sweep.dir={folder / 'multirun'}"]
    environment = dict(os.environ, OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    seconds = timed(command, folder, folder / "peer.log", environment)
    found = {}
    for path in sorted((folder / "multirun").glob("*/result.json")):
        result = json.loads(path.read_text())
        if result["evaluated"] != EVALUATED:
            sys.exit(f"the peer was evaluated on {result['evaluated']} tokens instead of {EVALUATED}")
        found[result["length"], result["batch"], result["clip"]] = math.exp(result["loss"])
    if len(found) != 8:
        sys.exit(f"the peer trained {len(found)} of 8")
    return seconds, found


def main():
    if sys.argv[1:2] == ["--peer"]:
        del sys.argv[1]
        return hydra_program()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, one thread each")
    parser.add_argument("--text", type=pathlib.Path, help="a text file; the book that comes with Votive otherwise")
    parser.add_argument("--out", type=pathlib.Path, help="a new folder for all that is made; a temporary one otherwise")
    parser.add_argument("--votive", help="the program")
    arguments = parser.parse_args()
    if arguments.steps % 2 or arguments.steps < 100:
        sys.exit("--steps must be even, since half of them are made before the first evaluation, and 100 or more: in a shorter "
                 "training Votive would evaluate on fewer tokens, so that it costs no more than the training")
    votive = find_votive(arguments.votive)
    book = arguments.text or pathlib.Path(__file__).resolve().parent.parent / "experiments" / "data" / "keeper.txt"
    text = book.read_bytes().decode()
    if len(text) < 4 * EVALUATED:
        sys.exit(f"{book} has {len(text):,} characters; {4 * EVALUATED:,} or more are needed")
    with tempfile.TemporaryDirectory() as temporary:
        out = (arguments.out or pathlib.Path(temporary)).resolve()
        if out.exists() and any(out.iterdir()):
            sys.exit(f"{out} is not empty")
        out.mkdir(parents=True, exist_ok=True)
        # The first token of the held-out text is context only, for both.
        (out / "training.txt").write_bytes(text[: -EVALUATED - 1].encode())
        (out / "validation.txt").write_bytes(text[-EVALUATED - 1 :].encode())
        ours, theirs = [], []
        for number in range(1, arguments.rounds + 1):
            folder = out / f"round-{number}"
            folder.mkdir()
            ours.append(votive_round(votive, folder, arguments.steps, arguments.jobs))
            (wall, cpu), _ = ours[-1]
            print(f"round {number}: Votive            {wall:6.1f} s ({cpu:.1f} s of processors)", flush=True)
            theirs.append(peer_round(folder, arguments.steps, arguments.jobs))
            (peer_wall, cpu), _ = theirs[-1]
            print(f"round {number}: Hydra and PyTorch {peer_wall:6.1f} s ({cpu:.1f} s of processors), {peer_wall / wall:.2f} times that", flush=True)
    print(f"\n8 trainings of {arguments.steps} steps, {arguments.jobs} at a time; perplexity at the end\n")
    print("| length | batch | clip | Votive | peer |")
    print("| --- | --- | --- | --- | --- |")
    for key in sorted(ours[0][1]):
        print(f"| {key[0]} | {key[1]} | {key[2]} | {ours[0][1][key]:.2f} | {theirs[0][1][key]:.2f} |")
    a, b = (statistics.median(wall for (wall, _), _ in rounds) for rounds in (ours, theirs))
    print(f"\nmedian of {arguments.rounds}: Votive {a:.1f} s, Hydra and PyTorch {b:.1f} s: {b / a:.2f} times that")
    return 0


if __name__ == "__main__":
    sys.exit(main())
