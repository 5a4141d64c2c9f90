#!/usr/bin/env python3
"""Trains nanoGPT's CPU configuration with PyTorch and with Votive, and scores both by Votive's protocol.

    pip install torch safetensors pandas pyarrow
    cargo build --release
    python scripts/compare_with_pytorch.py [--text FILE] [--steps 2000] [--seeds 3] [--threads 2] [--out FOLDER] [--votive PROGRAM]

4 layers, 4 heads, width 128, L 64, batch 12, stride 1, characters, no biases, tied, exact GELU, no dropout; AdamW with
β 0.9 and 0.99, decay 0.1 on matrices and embeddings, learning rate 1e-3 by a cosine to 1e-4 after 100 of 2,000 steps of
warm-up (a twentieth), gradients clipped at 1. The settings, the tokens of the training part and the learning rate of each step
are the same for both; the random numbers are not: PyTorch takes windows from random places as nanoGPT does, Votive each
window once an epoch in an order of its own, and each draws its own initial weights.

PyTorch's final weights are written as folders in Hugging Face's layout, and an experiment that starts from them
(`model.from`) and trains one step of learning rate 1e-30 scores them: that the step changed no weight by more than 1e-7 is checked.
So both losses are of the same tokens in the same windows (`kind` final, `protocol` common). With one seed a
difference says little; over three the means must not be more than 0.02 nats apart, else the exit code is 1.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy
import pandas
import torch
from plain_gpt import Gpt, adamw, learning_rate, random_windows, train_step
from program import find_votive
from safetensors.torch import load_file, save_file

LENGTH, BATCH, LAYERS, CLIP = 64, 12, 4, 1.0
TOLERANCE = 0.02

OURS = """\
name: ours
corpus: {{text: {text}}}
tokenizer: {{kind: char}}
model: {{family: gpt2, layers: 4, heads: 4, width: 128, bias: false, tied: true, activation: gelu, dropout: 0}}
train:
  sequence_length: 64
  stride: 1
  batch_size: 12
  budget: {{steps: {steps}}}
  learning_rate: 1e-3
  schedule: cosine
  warmup: 0.05
  final_learning_rate: 0.1
  weight_decay: 0.1
  beta1: 0.9
  beta2: 0.99
  clip_norm: 1.0
seeds: {seeds}
run: {{device: cpu, slots: 1, threads: {threads}}}
"""

THEIRS = """\
name: theirs
corpus: {{text: {text}}}
train: {{sequence_length: 64, stride: 1, batch_size: 12, budget: {{steps: 1}}, learning_rate: 1e-30, weight_decay: 0}}
grid: {{model.from: {folders}}}
run: {{device: cpu, slots: 1, threads: {threads}}}
"""


def run(votive, out, name, experiment):
    """Runs an experiment; returns its folder and its trials as (folder, trial.json)."""
    (out / f"{name}.yaml").write_text(experiment, encoding="utf-8")
    print(f"-- votive run {name}.yaml", flush=True)
    subprocess.run([votive, "run", f"{name}.yaml", "--no-probe"], cwd=out, check=True, stdout=subprocess.DEVNULL)
    folder = out / "runs" / name
    return folder, [(path.parent, json.loads(path.read_text())) for path in sorted(folder.glob("trials/*/trial.json"))]


def read_tokens(path):
    """The tokens of a part, from Votive's token file (src/corpus/token_file.rs describes it)."""
    data = path.read_bytes()
    if data[:8] != b"VOTIVETK":
        sys.exit(f"{path} is no token file")
    version, width = numpy.frombuffer(data, "<u4", 2, 8)
    if version != 1:
        sys.exit(f"{path} has version {version}, and this script reads 1")
    count = int(numpy.frombuffer(data, "<u8", 1, 16)[0])
    return torch.from_numpy(numpy.frombuffer(data, f"<u{width}", count, 64).astype(numpy.int64))


def final_weights(trial):
    """The folder of a trial's last checkpoint."""
    return sorted((trial / "checkpoints").glob("step-*"))[-1]


def final_score(trial):
    """What the final weights' evaluation was made on, and the mean loss."""
    rows = pandas.read_parquet(trial / "evaluations.parquet")
    row = rows[(rows.kind == "final") & (rows.part == "validation") & (rows.protocol == "common")].iloc[0]
    return (int(row.context), int(row.stride), int(row.scored_tokens), int(row.scored_bytes)), float(row.loss)


def train_with_pytorch(tokens, vocabulary, steps, seed, check_rates):
    """nanoGPT's training; returns the model."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = Gpt(vocabulary, LENGTH, LAYERS)
    optimizer, warmup = adamw(model), int(0.05 * steps + 0.5)
    for step in range(steps):
        rate = learning_rate(step, steps, warmup)
        if abs(rate / check_rates[step] - 1) > 1e-9:
            sys.exit(f"step {step + 1}: PyTorch's learning rate is {rate}, Votive's was {check_rates[step]}")
        loss = train_step(model, optimizer, *random_windows(tokens, LENGTH, BATCH, generator), rate, CLIP)
        if (step + 1) % 500 == 0 or step + 1 == steps:
            print(f"   PyTorch, seed {seed}, step {step + 1}: training loss {loss.item():.4f}", flush=True)
    return model


def write_folder(model, like, folder):
    """Writes the weights in Hugging Face's names and shapes, beside the description and tokenizer of `like`, a checkpoint
    of Votive's with the same sizes. Names and shapes must be the same as there; its biases, all 0, are left as they are."""
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(like / name, folder / name)
    tensors = {"transformer.wte.weight": model.wte.weight, "transformer.wpe.weight": model.wpe.weight,
               "transformer.ln_f.weight": model.ln_f.weight}
    for i, block in enumerate(model.blocks):
        # Hugging Face's GPT-2 keeps its matrices as [in, out].
        tensors |= {f"transformer.h.{i}.{name}.weight": part.weight.t() if part.weight.dim() == 2 else part.weight
                    for name, part in [("ln_1", block.ln_1), ("attn.c_attn", block.c_attn), ("attn.c_proj", block.attn_proj),
                                       ("ln_2", block.ln_2), ("mlp.c_fc", block.c_fc), ("mlp.c_proj", block.mlp_proj)]}
    tensors = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    for name, tensor in load_file(like / "model.safetensors").items():
        if name.endswith(".bias"):
            if tensor.any():
                sys.exit(f"{name} of {like} is not 0")
            tensors[name] = tensor
        elif name not in tensors or tensors[name].shape != tensor.shape:
            sys.exit(f"{name} of {like}, {tuple(tensor.shape)}, is not in PyTorch's model")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def compare(votive, text, out, steps, seeds, threads):
    text = json.dumps(text)  # YAML reads JSON's strings
    _, trials = run(votive, out, "ours", OURS.format(text=text, steps=steps, seeds=list(seeds), threads=threads))
    ours = {job["seed"]: (trial, job) for trial, job in trials}
    first, job = ours[seeds[0]]
    tokens = read_tokens(out / "runs" / "ours" / job["corpus"]["train"]["file"])
    vocabulary = job["corpus"]["vocabulary"]
    rates = pandas.read_parquet(first / "steps.parquet").sort_values("step").learning_rate.to_numpy()
    if len(rates) != steps:
        sys.exit(f"Votive trained {len(rates)} steps instead of {steps}")
    print(f"   {len(tokens):,} tokens to train on, {vocabulary} kinds", flush=True)

    torch.set_num_threads(threads)
    for seed in seeds:
        model = train_with_pytorch(tokens, vocabulary, steps, seed, rates)
        write_folder(model, final_weights(first), out / "pytorch" / f"seed-{seed}")
    folders = [f"pytorch/seed-{seed}" for seed in seeds]
    _, trials = run(votive, out, "theirs", THEIRS.format(text=text, folders=json.dumps(folders), threads=threads))
    theirs = {pathlib.Path(job["from"]["folder"]).name: trial for trial, job in trials}

    rows, moved, protocols = [], 0.0, set()
    for seed in seeds:
        trial = theirs[f"seed-{seed}"]
        before = load_file(out / "pytorch" / f"seed-{seed}" / "model.safetensors")
        after = load_file(final_weights(trial) / "model.safetensors")
        if before.keys() != after.keys():
            sys.exit(f"the weights of {trial} have other names than PyTorch's")
        moved = max([moved] + [(after[name] - tensor).abs().max().item() for name, tensor in before.items()])
        scores = [final_score(trial), final_score(ours[seed][0])]
        protocols |= {protocol for protocol, _ in scores}
        rows.append((seed, *(loss for _, loss in scores)))
    if not moved <= 1e-7:
        sys.exit(f"scoring PyTorch's weights changed them by up to {moved}")
    if len(protocols) != 1:
        sys.exit(f"the losses are of different tokens or windows: {protocols}")
    context, stride, scored, _ = protocols.pop()
    print(f"\n{steps} steps; validation loss in nats a token, {scored:,} tokens in windows of {context} with stride {stride}")
    print(f"(scoring changed PyTorch's weights by at most {moved:.1e})\n")
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", help="a text file; the book that comes with Votive otherwise")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3, help="how many: 1, 2, ...")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=pathlib.Path, help="a new folder for all that is made; a temporary one otherwise")
    parser.add_argument("--votive", help="the program")
    arguments = parser.parse_args()
    votive = find_votive(arguments.votive)
    text = str(pathlib.Path(arguments.text).resolve()) if arguments.text else "builtin:keeper"
    with tempfile.TemporaryDirectory() as temporary:
        out = arguments.out or pathlib.Path(temporary)
        if out.exists() and any(out.iterdir()):
            sys.exit(f"{out} is not empty")
        out.mkdir(parents=True, exist_ok=True)
        seeds = range(1, arguments.seeds + 1)
        rows = compare(votive, text, out.resolve(), arguments.steps, seeds, arguments.threads)
    frame = pandas.DataFrame(rows, columns=["seed", "PyTorch", "Votive"])
    print("| seed | PyTorch | Votive | difference |")
    print("| --- | --- | --- | --- |")
    for seed, pytorch, ours in rows:
        print(f"| {seed} | {pytorch:.4f} | {ours:.4f} | {ours - pytorch:+.4f} |")
    difference = frame.Votive.mean() - frame.PyTorch.mean()
    print(f"| mean | {frame.PyTorch.mean():.4f} | {frame.Votive.mean():.4f} | {difference:+.4f} |\n")
    good = abs(difference) <= TOLERANCE
    print(f"the means are {'within' if good else 'NOT within'} {TOLERANCE}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
