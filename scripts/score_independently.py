#!/usr/bin/env python3
"""Scores the checkpoints of an experiment again without any of Votive's code, and compares with what Votive wrote down.

    pip install torch transformers pandas pyarrow
    python scripts/score_independently.py runs/small book.txt

The second argument is the one file that the experiment names as `corpus.text`. Everything from its bytes on is worked out here: the
validation and test parts (`corpus.validation`, `corpus.test`: fractions), the tokens (by each checkpoint's `tokenizer.json`), how many
of them are scored (`evaluate.max_bytes`), the windows of both protocols, and the loss by the place in the window. For each
complete trial and each of its weights that are still there (final and best) the same tokens and bytes must be scored, and the sums of
the NLL agree within 1e-5 of themselves. Exits with 1 and a line for each fault otherwise.
"""

import argparse
import json
import math
import pathlib
import sys

import pandas
import tokenizers
import torch
import transformers

NEAR = PIECE = 64 * 1024
AGREE = 1e-5


# The split: by bytes, at a paragraph, before anything is tokenized.


def ends_line(text, place):
    return place > 0 and text[place - 1 : place] == b"\n"


def ends_paragraph(text, place):
    if not ends_line(text, place) or text[place : place + 1] in (b"\n", b"\r"):
        return False
    return text[: place - 1].removesuffix(b"\r").endswith(b"\n")


def starts_character(text, place):
    return place >= len(text) or text[place] & 0b1100_0000 != 0b1000_0000


def cut(text, kept, end):
    """Where a part ends: where the fraction says, at the nearest paragraph end; else at the nearest line end, else at a character."""
    ideal = min(math.floor(len(text) * kept + 0.5), end)
    reach = min(NEAR, ideal // 2, (end - ideal) // 2)
    places = [p for p in range(ideal - reach, ideal + reach + 1) if 0 < p < end]
    for fits in (ends_paragraph, ends_line):
        found = [p for p in places if fits(text, p)]
        if found:
            return min(found, key=lambda p: abs(p - ideal))
    while not starts_character(text, ideal):
        ideal -= 1
    return ideal


def split(text, validation, test):
    """The bytes of the validation and the test part: from the end of the text, the test part last."""
    second = cut(text, 1 - test, len(text)) if test else len(text)
    first = cut(text, 1 - test - validation, second) if validation else second
    return {"validation": text[first:second], "test": text[second:]}


def pieces(text):
    """A text is tokenized in pieces of 64 KiB or a little more, which end at a paragraph."""
    while text:
        end = len(text)
        if end > PIECE:
            places = range(PIECE, min(end, 2 * PIECE) + 1)
            for fits in (ends_paragraph, ends_line):
                found = next((p for p in places if fits(text, p)), None)
                if found:
                    end = found
                    break
            else:
                if end > 2 * PIECE:
                    end = next(p for p in reversed(places) if starts_character(text, p))
        yield text[:end].decode()
        text = text[end:]


# Tokens, and the bytes of the text that each stands for.


def byte_characters():
    """The character that stands for each byte in a byte-level vocabulary."""
    seen = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [b for b in range(256) if b not in seen]
    return {chr(b): b for b in seen} | {chr(256 + n): b for n, b in enumerate(hidden)}


def tokens_of(tokenizer, text):
    """The tokens of a part, and the bytes of each."""
    byte_level = json.loads(tokenizer.to_str())["decoder"] or {}
    spelled = byte_characters() if byte_level.get("type") == "ByteLevel" else None
    ids, lengths = [], []
    for piece in pieces(text):
        encoding = tokenizer.encode(piece, add_special_tokens=False)
        ids += encoding.ids
        if spelled:
            assert all(c in spelled for token in encoding.tokens for c in token)
            own = [len(token) for token in encoding.tokens]
        else:
            # What lies between two tokens goes to the later one, and what is left at the end to the last.
            ends = [len(piece[:end].encode()) for _, end in encoding.offsets]
            ends[-1:] = [len(piece.encode())]
            own = [end - start for start, end in zip([0, *ends], ends)]
        assert sum(own) == len(piece.encode())
        lengths += own
    return ids, lengths


def scored(lengths, most):
    """How many tokens from the start stand for at most so many bytes."""
    total = 0
    for place, length in enumerate(lengths):
        total += length
        if total > most:
            return place
    return len(lengths)


# The protocol.


def windows(tokens, context, stride):
    """(first input, inputs, first scored target) of each window: every token but the first is scored once."""
    targets = tokens - 1
    length = min(context, targets)
    result, done = [(0, length, 0)], length
    while done < targets:
        fresh = min(stride, targets - done)
        done += fresh
        result.append((done - length, length, length - fresh))
    return result


def score(model, ids, context, stride):
    """The NLL sum of all tokens but the first, and {place in the window: (targets, NLL sum)} over every target of every window."""
    total, places = 0.0, {}
    laid = windows(len(ids), context, stride)
    for group in (laid[i : i + 32] for i in range(0, len(laid), 32)):
        rows = torch.tensor([ids[start : start + length + 1] for start, length, _ in group])
        with torch.no_grad():
            logits = model(rows[:, :-1]).logits.double()
        nll = -torch.log_softmax(logits, -1).gather(-1, rows[:, 1:, None])[..., 0]
        total += sum(row[window[2] :].sum().item() for row, window in zip(nll, group))
        for place, column in enumerate(nll.T.tolist(), 1):
            count, sum_ = places.get(place, (0, 0.0))
            places[place] = (count + len(column), sum_ + sum(column))
    return total, places


def differs(ours, theirs):
    return not abs(ours - theirs) <= AGREE * abs(theirs)


def check_positions(trial, kind, context, places, faults):
    table = pandas.read_parquet(trial / "positions.parquet")
    table = table[table.checkpoint_kind == kind]
    if set(table.context) != {context} or set(table.protocol) != {"native"}:
        faults.append(f"{kind}: the loss by position is of context {set(table.context)}")
    if [*table.last_position][-1] != max(places) or [*table.first_position][0] != 1:
        faults.append(f"{kind}: the loss by position does not reach from 1 to {max(places)}")
    for row in table.itertuples():
        inside = [places[p] for p in range(row.first_position, row.last_position + 1)]
        tokens, nll = sum(t for t, _ in inside), sum(n for _, n in inside)
        if tokens != row.tokens or differs(row.nll_sum, nll):
            faults.append(f"{kind}, places {row.first_position} to {row.last_position}: {row.nll_sum}, here {nll}")


def check(trial, text):
    """Checks one trial; returns what is wrong with it."""
    faults, job = [], json.loads((trial / "trial.json").read_text())
    settings = job["settings"]
    held_out = [settings["corpus"][name] for name in ("validation", "test")]
    parts = split(text, *(0.0 if part == "none" else part["fraction"] for part in held_out))
    rows = pandas.read_parquet(trial / "evaluations.parquet")
    rows = rows[rows.kind != "periodic"]
    if (rows.kind == "final").sum() != 2 + bool(parts["test"]):
        faults.append(f"the final weights have {(rows.kind == 'final').sum()} scores")
    worst = 0.0
    for (kind, step), group in rows.groupby(["kind", "step"]):
        checkpoint = trial / f"checkpoints/step-{step:08}"
        tokenizer = tokenizers.Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
        model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint).float().eval()
        for row in group.itertuples():
            what = f"{kind}, {row.part}, {row.protocol}"
            context = job["evaluation"]["common_context"] if row.protocol == "common" else settings["train"]["sequence_length"]
            if (row.context, row.stride) != (context, max(1, context // 2)):
                faults.append(f"{what}: context {row.context}, stride {row.stride}, and the protocol says {context}")
            ids, lengths = tokens_of(tokenizer, parts[row.part])
            count = scored(lengths, settings["evaluate"]["max_bytes"])
            if (row.scored_tokens, row.scored_bytes) != (count - 1, sum(lengths[1:count])):
                faults.append(f"{what}: {row.scored_tokens} tokens of {row.scored_bytes} bytes, here {count - 1}")
            nll, places = score(model, ids[:count], context, max(1, context // 2))
            worst = max(worst, abs(row.nll_sum / nll - 1))
            if differs(row.nll_sum, nll):
                faults.append(f"{what}: NLL sum {row.nll_sum}, here {nll}")
            if row.protocol == "native":
                check_positions(trial, kind, context, places, faults)
    for fault in faults:
        print(f"{trial}: {fault}", file=sys.stderr)
    print(f"{trial.name}: {len(rows)} scores, sums within {worst:.1e}; {len(faults)} faults")
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", type=pathlib.Path, help="an experiment's folder, as runs/small")
    parser.add_argument("text", type=pathlib.Path, help="its text: one file")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    text = arguments.text.read_bytes()
    trials = [outcome.parent for outcome in sorted(arguments.experiment.glob("trials/*/outcome.json"))]
    if not trials:
        print(f"{arguments.experiment}: no trial is over", file=sys.stderr)
        return 1
    return 1 if [fault for trial in trials for fault in check(trial, text)] else 0


if __name__ == "__main__":
    sys.exit(main())
