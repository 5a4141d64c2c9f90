#!/usr/bin/env python3
"""Whole training steps of the same model: PyTorch (eager, compiled, bf16), candle's plain path, and the engine.

Usage: python scripts/bench_training.py [--sizes small,large,llama] [--threads 2,1] [--rounds 3] [--lengths] [--where] [--two]

Every contender runs in a process of its own, in turn, `--rounds` times; the table shows the median of the rounds' medians
and the best step of all. Needs PyTorch, and a benchmark binary: `cargo bench --features benchmarks --bench engine --no-run` builds it.
Layers, sizes, tokens a step, AdamW with decay groups and clipping at 1.0 are the same for all; float32 unless said.

  --lengths  the small model at L = 64 ... 2,048 and equal tokens a step
  --where    where the engine's time goes, operation by operation
  --two      two trainings on one thread each beside one another, against one alone
"""

import argparse
import glob
import json
import os
import platform
import statistics
import subprocess
import sys

SIZES = {
    "small": dict(family="gpt2", layers=4, heads=4, width=128, vocabulary=65, length=64, batch=12),
    "large": dict(family="gpt2", layers=6, heads=6, width=384, vocabulary=65, length=256, batch=8),
    "llama": dict(family="llama", layers=6, heads=8, width=256, vocabulary=65, length=256, batch=8),
}
STEPS = {"small": 60, "large": 8, "llama": 12}


def torch_worker(task):
    """Trains in this process and prints a line of JSON. PyTorch only; the model is written out plainly."""
    import resource
    import time

    import torch
    import torch.nn as nn
    import torch.nn.functional as F
    from plain_gpt import Gpt, adamw

    class LlamaBlock(nn.Module):
        def __init__(self, width, heads, length):
            super().__init__()
            self.heads = heads
            head, hidden = width // heads, -(-(-(-8 * width // 3)) // 32) * 32
            self.ln_1 = nn.RMSNorm(width, eps=1e-5)
            self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
            self.ln_2 = nn.RMSNorm(width, eps=1e-5)
            self.gate, self.up = (nn.Linear(width, hidden, bias=False) for _ in range(2))
            self.down = nn.Linear(hidden, width, bias=False)
            turns = torch.outer(torch.arange(length), 10000.0 ** (-torch.arange(0, head, 2) / head))
            self.register_buffer("cos", torch.cat([turns, turns], 1).cos(), persistent=False)
            self.register_buffer("sin", torch.cat([turns, turns], 1).sin(), persistent=False)

        def forward(self, x):
            b, t, c = x.shape
            normed = self.ln_1(x)
            q, k, v = (part(normed).view(b, t, self.heads, c // self.heads).transpose(1, 2) for part in (self.q, self.k, self.v))

            def turned(x):
                left, right = x.chunk(2, dim=-1)
                return x * self.cos[:t] + torch.cat([-right, left], -1) * self.sin[:t]

            y = F.scaled_dot_product_attention(turned(q), turned(k), v, is_causal=True)
            x = x + self.o(y.transpose(1, 2).contiguous().view(b, t, c))
            normed = self.ln_2(x)
            return x + self.down(F.silu(self.gate(normed)) * self.up(normed))

    class Llama(nn.Module):
        def __init__(self, vocabulary, length, layers, heads, width):
            super().__init__()
            self.wte = nn.Embedding(vocabulary, width)
            self.blocks = nn.ModuleList([LlamaBlock(width, heads, length) for _ in range(layers)])
            self.ln_f = nn.RMSNorm(width, eps=1e-5)
            for parameter in self.parameters():
                if parameter.dim() == 2:
                    nn.init.normal_(parameter, 0.0, 0.02)

        def forward(self, inputs, targets):
            x = self.wte(inputs)
            for block in self.blocks:
                x = block(x)
            logits = self.ln_f(x) @ self.wte.weight.t()
            return F.cross_entropy(logits.view(-1, logits.shape[-1]).float(), targets.view(-1))

    torch.set_num_threads(task["threads"])
    torch.manual_seed(1)
    family = Llama if task["family"] == "llama" else Gpt
    model = family(**{key: task[key] for key in ("vocabulary", "length", "layers", "heads", "width")})
    optimizer = adamw(model)
    run = torch.compile(model) if task["compiled"] else model
    tokens = torch.randint(task["vocabulary"], (task["batch"], task["length"] + 1))
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    times = []
    for _ in range(task["steps"]):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=task["bf16"]):
            loss = run(inputs, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()
        times.append((time.perf_counter() - start) * 1e3)
    times = sorted(times[2:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"min_ms": times[0], "median_ms": times[len(times) // 2], "peak_bytes": peak}))


def matrix_limit(threads):
    """GFLOP/s of one large float32 product in PyTorch, the best of several: what the machine can do."""
    program = (
        "import torch, time\n"
        f"torch.set_num_threads({threads})\n"
        "a, b, best = torch.rand(1536, 1536), torch.rand(1536, 1536), 1e9\n"
        "for _ in range(12):\n"
        "    t = time.perf_counter(); a @ b; best = min(best, time.perf_counter() - t)\n"
        "print(2 * 1536**3 / best / 1e9)\n"
    )
    return float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)


def binary():
    """The newest benchmark binary under the target folder."""
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    found = [p for p in glob.glob(f"{target}/release/deps/engine-*") if os.access(p, os.X_OK) and not p.endswith(".d")]
    if not found:
        sys.exit("no benchmark binary: run `cargo bench --features benchmarks --bench engine --no-run` first")
    return max(found, key=os.path.getmtime)


def measure(contender, task):
    """One process of one contender: its JSON, or None if it could not run."""
    if contender.startswith("torch"):
        task = dict(task, compiled="compiled" in contender, bf16="bf16" in contender)
        command, environment = [sys.executable, __file__, "--worker", json.dumps(task)], {}
    else:
        settings = [f"{key}={value}" for key, value in task.items()]
        command = [binary(), contender, *settings]
        environment = {"RAYON_NUM_THREADS": str(task["threads"])}
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, **environment))
    if done.returncode:
        print(f"{contender} failed: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def processor():
    """The processor's name."""
    if os.path.exists("/proc/cpuinfo"):
        names = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def where(task):
    """Each operation's share of the engine's step on one thread."""
    settings = [f"{key}={value}" for key, value in dict(task, steps=61).items()]
    done = subprocess.run([binary(), "operations", *settings], check=True, capture_output=True, text=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    step = measure("engine", dict(task, threads=1, steps=60))["median_ms"]
    print("| operation | ms a step | share | GFLOP/s |")
    print("| --- | --- | --- | --- |")
    for row in sorted(rows, key=lambda row: -row["ms_per_step"]):
        speed = f"{row['gflops_per_second']:.0f}" if row["gflops_per_second"] else ""
        print(f"| {row['operation']} | {row['ms_per_step']:.2f} | {row['ms_per_step'] / step:.1%} | {speed} |")
    rest = step - sum(row["ms_per_step"] for row in rows)
    print(f"| norm of the gradients, AdamW, cold caches | {rest:.2f} | {rest / step:.1%} | |")
    print(f"| whole step | {step:.2f} | | |\n", flush=True)


def two(task, rounds):
    """Tokens a second of two trainings at once, one thread each, over those of one alone."""
    settings = [f"{key}={value}" for key, value in dict(task, threads=1, steps=200).items()]
    environment = dict(os.environ, RAYON_NUM_THREADS="1")
    ratios = []
    for _ in range(rounds):
        medians = []
        for count in (1, 2):
            running = [subprocess.Popen([binary(), "engine", *settings], stdout=subprocess.PIPE, env=environment) for _ in range(count)]
            results = [json.loads(process.communicate()[0]) for process in running]
            medians.append(sum(1 / result["median_ms"] for result in results))
        ratios.append(medians[1] / medians[0])
    print(f"two trainings on one thread each: {statistics.median(ratios):.2f} x one alone ({', '.join(f'{r:.2f}' for r in ratios)})\n")


def table(task, contenders, rounds, limit):
    """Runs the contenders in turn and prints their rows."""
    results = {contender: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            result = measure(contender, task)
            if result:
                results[contender].append(result)
    eager = statistics.median(r["median_ms"] for r in results["torch eager"])
    eager_best = min(r["min_ms"] for r in results["torch eager"])
    tokens = task["batch"] * task["length"]
    flops = next((r["flops_per_token"] for rs in results.values() for r in rs if "flops_per_token" in r), None)
    print("| | median ms | best ms | tokens/s | × eager (median) | × eager (best) | GFLOP/s | of the limit | peak MB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for contender, rows in results.items():
        if not rows:
            continue
        median, best = statistics.median(r["median_ms"] for r in rows), min(r["min_ms"] for r in rows)
        peak = max(r["peak_bytes"] or 0 for r in rows) / 1e6
        speed = flops * tokens / median / 1e6 if flops else float("nan")
        print(
            f"| {contender} | {median:.1f} | {best:.1f} | {tokens / median * 1e3:,.0f} | {eager / median:.2f} | "
            f"{eager_best / best:.2f} | {speed:.0f} | {speed / limit:.0%} | {peak:.0f} |"
        )
    print(flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="small,large")
    parser.add_argument("--threads", default="2,1")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contenders", default="torch eager,torch compiled,torch bf16,torch bf16 compiled,plain,engine")
    parser.add_argument("--lengths", action="store_true", help="the small model at L = 64 ... 2,048 and equal tokens")
    parser.add_argument("--where", action="store_true", help="where the engine's time goes")
    parser.add_argument("--two", action="store_true", help="two trainings beside one another")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return torch_worker(json.loads(arguments.worker))
    print(f"{processor()}, {os.cpu_count()} CPUs\n")
    if arguments.where:
        for size in arguments.sizes.split(","):
            print(f"{size}: {SIZES[size]}, 1 thread\n")
            where(SIZES[size])
        return None
    if arguments.two:
        return two(SIZES["small"], arguments.rounds)
    for threads in map(int, arguments.threads.split(",")):
        limit = matrix_limit(threads)
        print(f"{threads} threads: large float32 products reach {limit:.0f} GFLOP/s\n")
        if arguments.lengths:
            for length in (64, 128, 256, 512, 1024, 2048):
                print(f"L {length}, batch {4096 // length}, {threads} threads\n")
                task = dict(SIZES["small"], length=length, batch=4096 // length, threads=threads, steps=12)
                table(task, ["torch eager", "engine"], arguments.rounds, limit)
            continue
        for size in arguments.sizes.split(","):
            print(f"{size}: {SIZES[size]}, {threads} threads\n")
            task = dict(SIZES[size], threads=threads, steps=STEPS[size])
            table(task, arguments.contenders.split(","), arguments.rounds, limit)


if __name__ == "__main__":
    main()
