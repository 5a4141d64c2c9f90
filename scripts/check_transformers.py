#!/usr/bin/env python3
"""Loads the checkpoints of an experiment in Hugging Face's transformers, and checks that they compute what Votive computed.

    pip install torch transformers pandas pyarrow
    python scripts/check_transformers.py runs/small validation.txt

The second argument is the text that the experiment names as `corpus.validation`, a file of its own of at most 64 KiB. For each
complete trial: the tokenizer gives the same token ids; the NLL of every token agrees within 1e-4 nats and the perplexity
under both protocols within 1e-5, by windows that are worked out here. Where a trial's folder has an `ours.json`
(tests/it/transformers.rs writes it), its logits agree within 1e-4 and 50 tokens of greedy text are the same, also those that
`votive sample` wrote.
Exits with 1 and a line for each fault otherwise. Nothing of Votive is used here.
"""

import argparse
import json
import math
import pathlib
import sys

import pandas
import torch
import transformers

LOGITS, NLL, PERPLEXITY = 1e-4, 1e-4, 1e-5


def token_nll(model, ids, context, stride):
    """The NLL of the tokens 1, 2, … of `ids`: windows of `context` inputs that move on by `stride`, each scoring the targets
    that no window before it has scored; the last one is moved to the left so that it is as long as the others."""
    targets = len(ids) - 1
    length = min(context, targets)
    result = torch.full((targets,), math.nan, dtype=torch.float64)
    scored = 0
    while scored < targets:
        end = min(targets, length if scored == 0 else scored + stride)
        window = torch.tensor(ids[end - length : end + 1])
        with torch.no_grad():
            logits = model(window[None, :-1]).logits[0].double()
        nll = torch.nn.functional.cross_entropy(logits, window[1:], reduction="none")
        result[scored:end] = nll[length - (end - scored) :]
        scored = end
    return result


def check_scores(trial, model, ids, faults):
    evaluations = pandas.read_parquet(trial / "evaluations.parquet")
    tokens = pandas.read_parquet(trial / "token_nll.parquet")
    final = evaluations[(evaluations.kind == "final") & (evaluations.part == "validation")]
    if set(final.protocol) != {"common", "native"}:
        faults.append(f"the final weights are scored under {sorted(final.protocol)}")
    worst = 0.0
    for row in final.itertuples():
        nll = token_nll(model, ids[: row.scored_tokens + 1], row.context, row.stride)
        perplexity = math.exp(nll.mean().item())
        difference = abs(perplexity / row.perplexity - 1)
        worst = max(worst, difference)
        if not difference <= PERPLEXITY:
            faults.append(f"{row.protocol}: perplexity {row.perplexity}, here {perplexity}")
        same = (tokens.checkpoint_kind == "final") & (tokens.protocol == row.protocol)
        written = tokens[same].sort_values("position")
        if len(written) == 0 and row.protocol == "native" and len(set(final.context)) == 1:
            continue  # both protocols are the same, and their tokens are written once
        if list(written.token) != ids[1 : row.scored_tokens + 1]:
            faults.append(f"{row.protocol}: the tokenizer gives other tokens")
            continue
        apart = (torch.tensor(written.nll.to_numpy(float)) - nll).abs().max().item()
        if not apart <= NLL:
            faults.append(f"{row.protocol}: the NLL of a token is {apart} apart")
    return worst


def check_ours(ours, model, faults):
    worst = 0.0
    for prompt in ours["prompts"]:
        with torch.no_grad():
            logits = model(torch.tensor([prompt["ids"]])).logits[0]
        for name, theirs in [("logits", logits), ("engine_log_probabilities", torch.log_softmax(logits, -1))]:
            apart = (torch.tensor(prompt[name]) - theirs).abs().max().item()
            worst = max(worst, apart)
            if not apart <= LOGITS:
                faults.append(f"{name} of {len(prompt['ids'])} tokens are {apart} apart")
    greedy = ours["greedy"]
    prompt = torch.tensor([greedy["prompt"]])
    # The end of a text is a token like any other here.
    model.generation_config.eos_token_id = None
    text = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=50)[0]
    if text[prompt.shape[1] :].tolist() != greedy["tokens"]:
        faults.append(f"greedy text differs: {greedy['tokens']}, here {text[prompt.shape[1]:].tolist()}")
    return worst


def check_sample(sample, model, tokenizer, faults):
    """What `votive sample --temperature 0` wrote is the greedy text, as far as whole characters go."""
    prompt = torch.tensor([tokenizer(sample["prompt"], add_special_tokens=False)["input_ids"]])
    tokens = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=50)[0]
    text = tokenizer.decode(tokens).rstrip("\ufffd")
    if sample["text"].rstrip("\n") != text.rstrip("\n"):
        faults.append(f"`votive sample` wrote {sample['text']!r}, here {text!r}")


def check(trial, text):
    """Checks one trial; returns what is wrong with it."""
    faults = []
    checkpoint = sorted((trial / "checkpoints").glob("step-*"))[-1]
    model, told = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, output_loading_info=True)
    model = model.float().eval()
    for kind in ["missing_keys", "unexpected_keys", "mismatched_keys"]:
        if told[kind]:
            faults.append(f"{kind}: {told[kind]}")
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    # A character that the training part does not have is lost, which Votive measures and says.
    lossless = json.loads((trial / "trial.json").read_text())["corpus"]["lossless"]
    if (tokenizer.decode(ids) == text) != lossless:
        faults.append(f"the tokens {'do not give' if lossless else 'give'} the text back")
    perplexity = check_scores(trial, model, ids, faults)
    line = f"{trial.name}: {model.config.model_type}, {len(ids)} tokens, perplexity within {perplexity:.1e}"
    if (trial / "ours.json").exists():
        ours = json.loads((trial / "ours.json").read_text())
        logits = check_ours(ours, model, faults)
        check_sample(ours["sample"], model, tokenizer, faults)
        line += f", logits within {logits:.1e}"
    for fault in faults:
        print(f"{checkpoint}: {fault}", file=sys.stderr)
    print(f"{line}; {len(faults)} faults")
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", type=pathlib.Path, help="an experiment's folder, as runs/small")
    parser.add_argument("text", type=pathlib.Path, help="its validation text")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    text = arguments.text.read_bytes().decode()
    trials = [outcome.parent for outcome in sorted(arguments.experiment.glob("trials/*/outcome.json"))]
    if not trials:
        print(f"{arguments.experiment}: no trial is over", file=sys.stderr)
        return 1
    faults = [fault for trial in trials for fault in check(trial, text)]
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
