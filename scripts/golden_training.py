#!/usr/bin/env python3
"""Makes the numbers that Votive's training is held against: ten steps of small fixed models in PyTorch.

    pip install torch numpy
    python scripts/golden_training.py tests/it/golden

Each file holds a model's sizes, and for ten steps the loss, the gradient norm before clipping and the learning rate; the
gradients of the first step; the weights after the last. The clip norm lies between the norms, so that some steps are
clipped and others are not. Nothing of Votive is used here: the models are plain functions of named tensors.
"""

import json
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

VOCABULARY, LENGTH, BATCH, STEPS = 11, 8, 4, 10
TRAIN = dict(learning_rate=1e-2, warmup=0.2, final_learning_rate=0.1, weight_decay=0.1, beta1=0.9, beta2=0.95, epsilon=1e-8)
CASES = {
    "gpt2": dict(family="gpt2", layers=2, heads=2, width=16, bias=True, tied=True, activation="gelu", clip_norm=1.2),
    "gpt2_tanh_untied": dict(family="gpt2", layers=1, heads=4, width=16, bias=False, tied=False, activation="gelu_tanh", clip_norm=1.5),
    "llama": dict(family="llama", layers=2, heads=4, kv_heads=2, width=16, bias=False, tied=False, clip_norm=1.0),
    "llama_tied_bias": dict(family="llama", layers=1, heads=2, kv_heads=2, width=16, bias=True, tied=True, clip_norm=0.9),
}


def shapes(c):
    """Names and shapes in Hugging Face's layout, in a fixed order; GPT-2's matrices are [in, out], Llama's [out, in]."""
    w, out = c["width"], {}
    if c["family"] == "gpt2":
        out["transformer.wte.weight"] = (VOCABULARY, w)
        out["transformer.wpe.weight"] = (LENGTH, w)
        for i in range(c["layers"]):
            for name, shape in [("ln_1", (w,)), ("attn.c_attn", (w, 3 * w)), ("attn.c_proj", (w, w)), ("ln_2", (w,)),
                                ("mlp.c_fc", (w, 4 * w)), ("mlp.c_proj", (4 * w, w))]:
                out[f"transformer.h.{i}.{name}.weight"] = shape
                if c["bias"]:
                    out[f"transformer.h.{i}.{name}.bias"] = (shape[-1],)
        out["transformer.ln_f.weight"] = (w,)
        if c["bias"]:
            out["transformer.ln_f.bias"] = (w,)
    else:
        hidden = -(-8 * w // 3)
        hidden = -(-hidden // 32) * 32
        kv = c["kv_heads"] * (w // c["heads"])
        out["model.embed_tokens.weight"] = (VOCABULARY, w)
        for i in range(c["layers"]):
            for name, shape in [("input_layernorm", (w,)), ("self_attn.q_proj", (w, w)), ("self_attn.k_proj", (kv, w)),
                                ("self_attn.v_proj", (kv, w)), ("self_attn.o_proj", (w, w)), ("post_attention_layernorm", (w,)),
                                ("mlp.gate_proj", (hidden, w)), ("mlp.up_proj", (hidden, w)), ("mlp.down_proj", (w, hidden))]:
                out[f"model.layers.{i}.{name}.weight"] = shape
                if c["bias"] and name.startswith("self_attn"):
                    out[f"model.layers.{i}.{name}.bias"] = (shape[0],)
        out["model.norm.weight"] = (w,)
    if not c["tied"]:
        out["lm_head.weight"] = (VOCABULARY, w)
    return out


def start(place, shape):
    """Values that any language can make: a linear congruence in whole numbers."""
    count = math.prod(shape)
    noise = [((i * 1103515245 + 12345 + place * 7919) % 2**31) / 2**31 - 0.5 for i in range(count)]
    return torch.tensor([0.4 * u for u in noise], dtype=torch.float64).reshape(shape).float()


def rope(x):
    t, d = x.shape[-2], x.shape[-1]
    inverse = 1.0 / 10000.0 ** (torch.arange(0, d, 2).double() / d)
    angles = torch.outer(torch.arange(t).float(), inverse.float())
    cos, sin = torch.cat([angles, angles], -1).cos(), torch.cat([angles, angles], -1).sin()
    half = torch.cat([-x[..., d // 2:], x[..., : d // 2]], -1)
    return x * cos + half * sin


def attend(q, k, v):
    t = q.shape[-2]
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(torch.triu(torch.ones(t, t, dtype=torch.bool), 1), float("-inf"))
    return torch.softmax(scores, -1) @ v


def logits(c, p, ids):
    b, t = ids.shape
    w, heads = c["width"], c["heads"]
    split = lambda x, n: x.view(b, t, n, w // heads).transpose(1, 2)
    merge = lambda x: x.transpose(1, 2).reshape(b, t, w)
    if c["family"] == "gpt2":
        norm = lambda x, n: F.layer_norm(x, (w,), p[n + ".weight"], p.get(n + ".bias"), 1e-5)
        conv = lambda x, n: x @ p[n + ".weight"] + p.get(n + ".bias", 0.0)
        x = p["transformer.wte.weight"][ids] + p["transformer.wpe.weight"][:t]
        for i in range(c["layers"]):
            n = f"transformer.h.{i}."
            q, k, v = conv(norm(x, n + "ln_1"), n + "attn.c_attn").split(w, -1)
            x = x + conv(merge(attend(split(q, heads), split(k, heads), split(v, heads))), n + "attn.c_proj")
            hidden = conv(norm(x, n + "ln_2"), n + "mlp.c_fc")
            hidden = F.gelu(hidden, approximate="tanh" if c["activation"] == "gelu_tanh" else "none")
            x = x + conv(hidden, n + "mlp.c_proj")
        x, embedding = norm(x, "transformer.ln_f"), p["transformer.wte.weight"]
    else:
        norm = lambda x, n: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * p[n + ".weight"]
        linear = lambda x, n: F.linear(x, p[n + ".weight"], p.get(n + ".bias"))
        x = p["model.embed_tokens.weight"][ids]
        times = heads // c["kv_heads"]
        for i in range(c["layers"]):
            n = f"model.layers.{i}."
            h = norm(x, n + "input_layernorm")
            q = rope(split(linear(h, n + "self_attn.q_proj"), heads))
            k = rope(split(linear(h, n + "self_attn.k_proj"), c["kv_heads"])).repeat_interleave(times, 1)
            v = split(linear(h, n + "self_attn.v_proj"), c["kv_heads"]).repeat_interleave(times, 1)
            x = x + linear(merge(attend(q, k, v)), n + "self_attn.o_proj")
            h = norm(x, n + "post_attention_layernorm")
            x = x + linear(F.silu(linear(h, n + "mlp.gate_proj")) * linear(h, n + "mlp.up_proj"), n + "mlp.down_proj")
        x, embedding = norm(x, "model.norm"), p["model.embed_tokens.weight"]
    return x @ (embedding if c["tied"] else p["lm_head.weight"]).T


def learning_rate(step):
    warmup = round(TRAIN["warmup"] * STEPS)
    peak, end = TRAIN["learning_rate"], TRAIN["final_learning_rate"]
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    left = 0.5 * (1 + math.cos(math.pi * (step - warmup) / (STEPS - warmup)))
    return peak * (end + (1 - end) * left)


def run(c):
    p = {}
    for place, (name, shape) in enumerate(shapes(c).items()):
        value = start(place, shape)
        if name.endswith("weight") and len(shape) == 1:
            value = value + 1.0
        p[name] = value.requires_grad_()
    decay = [x for x in p.values() if x.dim() == 2]
    other = [x for x in p.values() if x.dim() == 1]
    optimizer = torch.optim.AdamW([dict(params=decay, weight_decay=TRAIN["weight_decay"]), dict(params=other, weight_decay=0.0)],
                                  betas=(TRAIN["beta1"], TRAIN["beta2"]), eps=TRAIN["epsilon"])
    text = [(i * i * 7 + 3 * i) % VOCABULARY for i in range(STEPS * BATCH * LENGTH + 1)]
    steps, gradients = [], {}
    for step in range(STEPS):
        first = step * BATCH * LENGTH
        ids = torch.tensor(text[first: first + BATCH * LENGTH]).view(BATCH, LENGTH)
        targets = torch.tensor(text[first + 1: first + BATCH * LENGTH + 1]).view(BATCH, LENGTH)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        optimizer.zero_grad()
        loss = F.cross_entropy(logits(c, p, ids).view(-1, VOCABULARY), targets.view(-1))
        loss.backward()
        if step == 0:
            gradients = {name: [float(f"{v:.9g}") for v in x.grad.flatten().tolist()] for name, x in p.items()}
        norm = torch.nn.utils.clip_grad_norm_(p.values(), c["clip_norm"])
        optimizer.step()
        steps.append(dict(loss=loss.item(), grad_norm=norm.item(), learning_rate=learning_rate(step)))
    weights = {name: [float(f"{v:.9g}") for v in x.detach().flatten().tolist()] for name, x in p.items()}
    return dict(torch=torch.__version__, vocabulary=VOCABULARY, length=LENGTH, batch=BATCH, train=TRAIN, model=c, steps=steps,
                gradients=gradients, weights=weights)


if __name__ == "__main__":
    torch.manual_seed(0)
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "tests/it/golden")
    folder.mkdir(parents=True, exist_ok=True)
    for name, case in CASES.items():
        result = run(case)
        clipped = sum(s["grad_norm"] > case["clip_norm"] for s in result["steps"])
        assert 0 < clipped < STEPS, f"{name}: {clipped} of {STEPS} steps are clipped: {[round(s['grad_norm'], 3) for s in result['steps']]}"
        (folder / f"{name}.json").write_text(json.dumps(result) + "\n")
        print(f"{name}: loss {result['steps'][0]['loss']:.4f} to {result['steps'][-1]['loss']:.4f}, {clipped} of {STEPS} steps clipped")
