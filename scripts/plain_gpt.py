"""The model and the training that Votive is compared with: nanoGPT's, written plainly in PyTorch.

Used by compare_with_pytorch.py and bench_sweep.py; nothing of Votive is in it.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(width, bias=False)
        self.c_attn = nn.Linear(width, 3 * width, bias=False)
        self.attn_proj = nn.Linear(width, width, bias=False)
        self.ln_2 = nn.LayerNorm(width, bias=False)
        self.c_fc = nn.Linear(width, 4 * width, bias=False)
        self.mlp_proj = nn.Linear(4 * width, width, bias=False)

    def forward(self, x):
        b, t, c = x.shape
        parts = self.c_attn(self.ln_1(x)).split(c, dim=2)
        q, k, v = (p.view(b, t, self.heads, c // self.heads).transpose(1, 2) for p in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_proj(y.transpose(1, 2).reshape(b, t, c))
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x))))


class Gpt(nn.Module):
    """GPT-2 without biases and dropout, its output tied to its embedding; N(0, 0.02), residual projections by depth."""

    def __init__(self, vocabulary, length, layers=4, heads=4, width=128):
        super().__init__()
        self.wte = nn.Embedding(vocabulary, width)
        self.wpe = nn.Embedding(length, width)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.ln_f = nn.LayerNorm(width, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() >= 2:
                residual = name.endswith("_proj.weight")
                nn.init.normal_(parameter, 0.0, 0.02 / math.sqrt(2 * layers) if residual else 0.02)

    def forward(self, inputs, targets):
        """The mean loss, in nats a token."""
        x = self.wte(inputs) + self.wpe.weight[: inputs.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = self.ln_f(x) @ self.wte.weight.t()
        return F.cross_entropy(logits.view(-1, logits.shape[-1]).float(), targets.reshape(-1))


def learning_rate(step, steps, warmup, peak=1e-3, end=1e-4):
    """nanoGPT's schedule: (step + 1) / (warm-up steps + 1) of the peak at first, then half a cosine down to the end."""
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    done = (step - warmup) / max(steps - warmup, 1)
    return end + (peak - end) * 0.5 * (1 + math.cos(math.pi * done))


def adamw(model):
    """AdamW with weight decay on matrices and embeddings only."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), eps=1e-8, fused=True)


def random_windows(tokens, length, batch, generator):
    """Inputs and targets of windows from random places, as nanoGPT takes them."""
    starts = torch.randint(len(tokens) - length, (batch,), generator=generator)
    windows = tokens[starts[:, None] + torch.arange(length + 1)]
    return windows[:, :-1], windows[:, 1:]


def train_step(model, optimizer, inputs, targets, rate, clip):
    """One step; returns its loss."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = model(inputs, targets)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return loss.detach()
