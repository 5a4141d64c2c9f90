#!/usr/bin/env python3
"""What only a GPU can show of Votive's GPU engine, in one command and without a network.

    pip install torch pandas pyarrow numpy
    python scripts/check_gpu.py [--votive PROGRAM] [--out FOLDER]

Needs an NVIDIA GPU with its driver, PyTorch for CUDA (whose NVRTC and cublasLt are used), this folder and a release build of
Votive. Under six minutes; each part has its own limit, and its result lies in FOLDER/PART.json before the next begins.
FOLDER/check_gpu.json has all of them, and a table is printed last. Exits with 1 where a part fails.

  products    every kind of matrix product, by cublasLt, against float64; the same bits twice, and for 1 and 6 at once
  kernels     every kernel against what it makes of the same memory on the processor: the file given by --kernels, or one that is
              made now, for which a C++ compiler and the folder tests/host_gpu of this repository are needed
  engine      `votive check-gpu`: the program's own products in the shapes of real models, gradients of all parameters against
              candle's operations on the processor, a member's bits alone and among four, and what a step takes
  parity      10 and 200 steps of both families against the CPU engine, with dropout, biases, grouped heads, partial batches
  bits        the same training twice
  kills       a training that is killed twenty times has the bits of one that is not
  speeds      milliseconds a step, beside PyTorch: eager, compiled, compiled with graphs, and the whole step in one graph by hand
  first       seconds from the command to the first step, with and without compiled kernels in the cache
  memory      the most memory in use on the GPU, beside what the plan says
  counts      launches, waits and allocations a step (with the stand-ins only: they count)

Without a GPU: `--libraries $(bash tests/host_gpu/build.sh FOLDER)` runs all of it on the processor, at tiny sizes, through the
stand-ins of NVIDIA's libraries that the tests use. Its figures say nothing of a GPU and are marked so.

  --record FILE   only writes what kernels are given and make of it on the processor, for --kernels FILE on another machine
"""

import argparse
import glob
import json
import os
import pathlib
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile

from program import find_votive

HERE = pathlib.Path(__file__).resolve().parent
LIMITS = {"environment": 30, "products": 60, "kernels": 120, "engine": 180, "parity": 90, "bits": 60, "kills": 120, "speeds": 300, "first": 60, "memory": 60, "counts": 60}
SIZES = {
    "S": dict(layers=4, heads=4, width=128, length=64, batch=12, vocabulary=65),
    "M": dict(layers=6, heads=6, width=384, length=256, batch=64, vocabulary=65),
    "L": dict(layers=12, heads=12, width=768, length=1024, batch=8, vocabulary=4096),
    "G": dict(layers=12, heads=12, width=768, length=1024, batch=12, vocabulary=50304),
}
TINY = dict(layers=2, heads=2, width=32, length=16, batch=4, vocabulary=65)
WAYS = [("eager", "f32"), ("eager", "bf16"), ("graph", "bf16"), ("reduced", "bf16"), ("compiled", "bf16")]
PEER_LIMIT = 60  # seconds for one of them, compilation included
# The two families, and everything that chooses other kernels.
MODELS = {
    "gpt2 with biases and dropout": "{family: gpt2, layers: 2, heads: 2, width: 32, dropout: 0.1}",
    "gpt2, tanh, untied": "{family: gpt2, layers: 2, heads: 2, width: 32, bias: false, tied: false, activation: gelu_tanh}",
    "llama with grouped heads": "{family: llama, layers: 2, heads: 4, kv_heads: 2, width: 64}",
}
SMALL_MODELS = [
    "{family: gpt2, layers: 1, heads: 2, width: 16, dropout: 0.1}",
    "{family: gpt2, layers: 1, heads: 2, width: 16, bias: false, tied: false, activation: gelu_tanh}",
    "{family: llama, layers: 1, heads: 4, kv_heads: 2, width: 32}",
    # In bfloat16 attention is made in tiles for heads as wide as these.
    "{family: gpt2, layers: 1, heads: 2, width: 32, dropout: 0.1}",
    "{family: llama, layers: 1, heads: 2, kv_heads: 1, width: 32}",
]
EXPERIMENT = """\
name: {name}
corpus: {{text: {data}/training.txt, validation: {data}/validation.txt}}
tokenizer: {{kind: char}}
model: {model}
train: {{sequence_length: {length}, stride: 1, batch_size: {batch}, precision: {precision}, budget: {{steps: {steps}}}}}
evaluate: {{every: 1.0, at_most: 1.0, context: {length}}}
checkpoint: {{every: {checkpoint}}}
run: {{device: {device}, slots: 1{engine}}}
"""


class Check:
    """Where everything lies, and what is done with it."""

    def __init__(self, arguments):
        self.out = arguments.out.resolve()
        self.libraries = str(arguments.libraries.resolve()) if arguments.libraries else None
        self.stand_ins = bool(self.libraries) and os.path.exists(os.path.join(self.libraries, "cuda_on_host.h"))
        self.kernels = arguments.kernels
        self.sizes = {"tiny": TINY} if self.stand_ins else {name: SIZES[name] for name in arguments.sizes.split(",")}
        self.votive = str(pathlib.Path(arguments.votive).resolve())

    def environment(self, **more):
        settings = {"VOTIVE_SET__RUN__CUDA_LIBRARIES": self.libraries} if self.libraries else {}
        return os.environ | {"XDG_CACHE_HOME": str(self.out / "cache")} | settings | more

    def text(self, vocabulary, length):
        """A folder with random text of so many different characters (one of the vocabulary stands for those not seen)."""
        folder = self.out / f"text-{vocabulary}-{length}"
        if not folder.exists():
            folder.mkdir()
            # Printable ones, then those of East Asia.
            codes, chance = [*range(33, 127), *range(0x3400, 0xD7A4), *range(0x20000, 0x2A000)], random.Random(1)
            letters = [chr(code) for code in codes[: vocabulary - 1]]
            chance.shuffle(letters)
            (folder / "training.txt").write_text("".join(letters + chance.choices(letters, k=max(20_000, 20 * length))))
            (folder / "validation.txt").write_text("".join(chance.choices(letters, k=2 * length + 1)))
        return folder

    def command(self, name, model, steps, length=16, batch=4, vocabulary=65, precision="f32", device="cuda", checkpoint=1.0, engine=""):
        """The command of a training, in a folder of its own; and where its results will lie."""
        folder = self.out / "runs" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        experiment = EXPERIMENT.format(
            name="e", data=self.text(vocabulary, length), model=model, length=length, batch=batch, precision=precision, steps=steps, checkpoint=checkpoint, device=device,
            engine=f", engine: {engine}" if engine else "")
        (folder / "e.yaml").write_text(experiment)
        return [self.votive, "run", str(folder / "e.yaml"), "--no-alias", "--runs", str(folder / "runs")], folder / "runs" / "e"

    def train(self, name, model, steps, environment=None, **settings):
        """Trains; the rows of its steps."""
        command, results = self.command(name, model, steps, **settings)
        done = subprocess.run(command, env=environment or self.environment(), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{name}: exit code {done.returncode}: {done.stderr[-2000:]}")
        return self.steps(results)

    @staticmethod
    def steps(results):
        import pandas

        parts = [pandas.read_parquet(path) for path in glob.glob(f"{results}/trials/*/steps.parquet")]
        return pandas.concat(parts).sort_values("step")

    @staticmethod
    def weights(results):
        """The bytes of the final weights."""
        files = sorted(glob.glob(f"{results}/trials/*/checkpoints/*/model.safetensors"))
        return pathlib.Path(files[-1]).read_bytes()

    # The parts, in order.

    def part_environment(self):
        import torch

        smi = shutil.which("nvidia-smi")
        lines = subprocess.run([smi, "--query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit", "--format=csv,noheader"], capture_output=True, text=True).stdout if smi else ""
        version = subprocess.run([self.votive, "--version"], capture_output=True, text=True).stdout.strip()
        return {"good": True, "votive": version, "nvidia_smi": lines.strip(), "torch": torch.__version__, "torch_cuda": torch.version.cuda, "python": platform.python_version(), "machine": platform.platform(),
                "cpus": os.cpu_count(), "a_gpu": not self.stand_ins}

    def part_products(self):
        import gpu_libraries

        gpu = gpu_libraries.Gpu(self.libraries)
        rows = gpu_libraries.check_products(gpu, [(96, 80, 64)] if self.stand_ins else [(96, 80, 64), (1024, 768, 512), (768, 2304, 768)])
        return {"good": all(row["good"] for row in rows), "kinds": len(rows), "wrong": [row for row in rows if not row["good"]], "libraries": gpu.facts,
                "largest_errors": {p: max(row["error"] for row in rows if row["precision"] == p) for p in dict.fromkeys(row["precision"] for row in rows)}}

    def part_kernels(self):
        import gpu_libraries

        kernels = self.kernels or self.out / "kernels.zip"
        if not kernels.exists():
            lacking = self.record(kernels)
            if lacking:
                return {"skipped": lacking}
        rows = gpu_libraries.check_kernels(gpu_libraries.Gpu(self.libraries), kernels)
        return {"good": all(row["good"] for row in rows), "launches": len(rows), "kernels": len({row["kernel"] for row in rows}), "wrong": [row for row in rows if not row["good"]],
                "largest_difference": max((d for row in rows for d in row["differences"].values()), default=0.0)}

    def part_engine(self):
        command = [self.votive, "check-gpu", "--sizes", "small" if self.stand_ins else "large", "--cache", str(self.out / "cache" / "engine")]
        command += ["--libraries", self.libraries] if self.libraries else []
        # A line as soon as it is known: what was known before a fault is kept.
        told = self.out / "engine.jsonl"
        with told.open("w") as file:
            done = subprocess.run(command, env=self.environment(), stdout=file, stderr=subprocess.PIPE, text=True)
        lines = [json.loads(line) for line in told.read_text().splitlines()]
        products = [line for line in lines if line["part"] == "product"]
        result = {"good": done.returncode == 0, "products": len(products), "wrong": [line for line in lines if line.get("good") is False], "rows": [line for line in lines if line["part"] != "product"]}
        return result if result["good"] else result | {"error": done.stderr[-2000:]}

    def part_parity(self):
        rows = []
        for name, model in MODELS.items():
            for steps, limit in [(10, 1e-4), (200 if not self.stand_ins else 20, 2e-2)]:
                cpu, gpu = (self.train(f"parity-{device}", model, steps, batch=6, device=device) for device in ("cpu", "cuda"))
                loss = float(abs(gpu.loss.values / cpu.loss.values - 1).max())
                norm = float(abs(gpu.grad_norm.values / cpu.grad_norm.values - 1).max())
                rows.append({"model": name, "steps": steps, "loss": loss, "grad_norm": norm, "limit": limit, "good": loss <= limit and norm <= 10 * limit and len(gpu) == steps})
        return {"good": all(row["good"] for row in rows), "rows": rows}

    def part_bits(self):
        rows = []
        for precision in ("f32", "tf32", "bf16"):
            pairs = []
            for number in (1, 2):
                rows_of_steps = self.train(f"bits-{precision}-{number}", MODELS["gpt2 with biases and dropout"], 60, precision=precision)
                pairs.append((list(rows_of_steps.loss), list(rows_of_steps.grad_norm), self.weights(self.out / "runs" / f"bits-{precision}-{number}" / "runs" / "e")))
            rows.append({"precision": precision, "good": pairs[0] == pairs[1]})
        return {"good": all(row["good"] for row in rows), "rows": rows}

    def part_kills(self):
        model, kills = MODELS["gpt2 with biases and dropout"], 4 if self.stand_ins else 20
        # Steps of twenty seconds: a kill comes when a small part of them is made.
        pilot = self.train("pilot", model, 100)
        steps = 200 if self.stand_ins else min(200_000, int(20 / max(float(pilot.step_seconds.median()), 1e-4)))
        began = time.perf_counter()
        expected = self.train("whole", model, steps, checkpoint=0.02)
        training = float(expected.step_seconds.sum())
        around = time.perf_counter() - began - training
        command, results = self.command("killed", model, steps, checkpoint=0.02)
        chance, killed = random.Random(1), 0
        while killed < kills:
            running = subprocess.Popen(command, env=self.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
            try:
                running.wait(0.5 * around + chance.uniform(0.2, 1.0) * training / (1.5 * kills))
                break
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGKILL)
                running.wait()
                killed += 1
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True)
        if done.returncode:
            return {"good": False, "kills": killed, "error": done.stderr[-2000:]}
        rows = self.steps(results)
        same = list(rows.step) == list(expected.step) and list(rows.loss) == list(expected.loss) and list(rows.grad_norm) == list(expected.grad_norm)
        same &= self.weights(results) == self.weights(self.out / "runs" / "whole" / "runs" / "e")
        # Where the machine was slower in the first training a few kills fewer find it at work.
        return {"good": same and 2 * killed >= kills, "same_bits": same, "kills": killed, "steps": steps, "attempts": int(rows.attempt.max())}

    def part_speeds(self):
        rows = []
        for name, size in self.sizes.items():
            big = size["layers"] >= 12
            model = "{family: gpt2, bias: false, layers: %(layers)d, heads: %(heads)d, width: %(width)d}" % size
            shape = {key: size[key] for key in ("length", "batch", "vocabulary")}
            engines = [("own", precision) for precision in ("f32", "tf32", "bf16")]
            for engine, precision in engines + [("candle", "f32")]:
                row = {"size": name, "who": "Votive" if engine == "own" else "candle's operations", "precision": precision}
                try:
                    steps = self.train(f"speed-{name}", model, 60 if big else 200 if not self.stand_ins else 30, precision=precision, engine="candle" if engine == "candle" else "", **shape)
                    # Steps are submitted ahead and their ends are seen in bursts: only the mean says what one takes.
                    times = steps.step_seconds.values[20 if not big else 10 :] * 1e3
                    row |= {"ms": float(times.mean()), "loss": float(steps.loss.values[-1])}
                except RuntimeError as error:
                    said = re.search(r"error: (.*)", str(error))
                    row["failed" if engine == "own" else "not_available"] = said[1] if said else str(error)[-300:]
                rows.append(row)
                self.keep("speeds", {"rows": rows, "finished": False})
            for way, precision in WAYS:
                task = dict(size, way=way, precision=precision, warmup=5, rounds=5, steps=5 if big or self.stand_ins else 20, cpu=self.stand_ins)
                rows.append({"size": name, "who": f"PyTorch {way}", "precision": precision} | peer(task))
                self.keep("speeds", {"rows": rows, "finished": False})
        return {"good": not any("failed" in row for row in rows), "finished": True, "rows": rows}

    def part_first(self):
        rows = []
        for kernels in ("compiled now", "in the cache"):
            cache = self.out / "cache-first"
            if kernels == "compiled now":
                shutil.rmtree(cache, ignore_errors=True)
            command, results = self.command("first", MODELS["gpt2 with biases and dropout"], 20)
            began = time.time()
            done = subprocess.run(command, env=dict(self.environment(), XDG_CACHE_HOME=str(cache)), capture_output=True, text=True)
            if done.returncode:
                return {"good": False, "error": done.stderr[-2000:]}
            first = self.steps(results).time_utc.min()
            rows.append({"kernels": kernels, "seconds_to_first_step": first.timestamp() - began, "seconds_of_command": time.time() - began})
        return {"good": True, "rows": rows}

    def part_memory(self):
        size = self.sizes.get("M", TINY)
        model = "{family: gpt2, bias: false, layers: %(layers)d, heads: %(heads)d, width: %(width)d}" % size
        command, results = self.command("memory", model, 100, **{key: size[key] for key in ("length", "batch", "vocabulary")})
        planned = subprocess.run([self.votive, "plan", command[2], "--runs", str(results.parent), "--json"], env=self.environment(), capture_output=True, text=True)
        if planned.returncode:
            return {"good": False, "error": planned.stderr[-2000:]}
        plan = json.loads(planned.stdout)["trials"][0]["facts"]["memory_bytes"]
        smi, peak, before = shutil.which("nvidia-smi"), 0, 0

        def used():
            lines = subprocess.run([smi, "--query-gpu=memory.used", "--format=csv,noheader,nounits"], capture_output=True, text=True).stdout.split()
            return int(lines[0]) << 20 if lines else 0

        if smi:
            before = used()
        running = subprocess.Popen(command, env=self.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while running.poll() is None:
            if smi:
                peak = max(peak, used() - before)
            time.sleep(0.02)
        result = {"good": running.returncode == 0, "planned_bytes": plan, "exit_code": running.returncode}
        if smi and not self.stand_ins:
            result |= {"peak_bytes": peak, "good": result["good"] and 0 < peak <= plan}
        return result

    def part_counts(self):
        if not self.stand_ins:
            return {"skipped": "the stand-ins count; the numbers are the same on a GPU"}
        sums = []
        for steps in (20, 40):
            counted = self.out / f"counts-{steps}"
            counted.unlink(missing_ok=True)
            self.train("counts", MODELS["gpt2 with biases and dropout"], steps, environment=self.environment(HOST_GPU_COUNT=str(counted)))
            lines = [json.loads(line) for line in counted.read_text().splitlines()]
            sums.append({key: sum(line[key] for line in lines) for key in lines[0]})
        return {"good": True, "of_a_step": {key: (sums[1][key] - sums[0][key]) / 20 for key in sums[0]}}

    # Around them.

    def keep(self, part, result):
        """Writes a part's result, whole or not at all."""
        path = self.out / f"{part}.json"
        path.with_suffix(".new").write_text(json.dumps(result, indent=1))
        path.with_suffix(".new").replace(path)

    def record(self, file):
        """Writes what kernels are given and make of it on the processor; why it cannot, otherwise."""
        script, sources = HERE.parent / "tests/host_gpu/build.sh", HERE.parent / "src/model/gpu/kernels"
        if not script.exists():
            return "the stand-ins are not here: --kernels takes a file that --record has made elsewhere"
        built = subprocess.run(["bash", str(script), str(self.out / "host_gpu")], capture_output=True, text=True)
        if built.returncode:
            return built.stderr.strip()[-300:]
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(sources.glob("*.cu")):
                archive.write(path, f"kernels/{path.name}")
            for operand in ("f32", "bf16"):
                for number, model in enumerate(SMALL_MODELS):
                    folder = self.out / f"recorded-{operand}-{number}"
                    shutil.rmtree(folder, ignore_errors=True)
                    folder.mkdir()
                    environment = self.environment(HOST_GPU_RECORD=str(folder), VOTIVE_SET__RUN__CUDA_LIBRARIES=built.stdout.strip())
                    self.train("record", model, 2, batch=3, length=8, precision=operand, environment=environment)
                    for path in sorted(folder.iterdir()):
                        archive.write(path, f"{operand}/{number}-{path.name}")
        return None


def peer(task):
    """What torch_peers.py measures, or why it does not."""
    try:
        done = subprocess.run([sys.executable, str(HERE / "torch_peers.py"), json.dumps(task)], capture_output=True, text=True, timeout=PEER_LIMIT)
    except subprocess.TimeoutExpired:
        return {"not_available": f"it took more than {PEER_LIMIT} s"}
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"not_available": done.stderr[-300:]}


def table(results, stand_ins):
    """The result of each part, and the speeds, for a person."""
    mark = " (on this machine's processor through stand-ins: says nothing of a GPU)" if stand_ins else ""
    print(f"\n| part | result{mark} |\n| --- | --- |")
    for part, result in results.items():
        words = "good" if result.get("good") else result.get("skipped") or "WRONG"
        details = {key: value for key, value in result.items() if key not in ("good", "rows", "skipped", "finished", "seconds") and value not in ([], "")}
        print(f"| {part} | {words}{': ' + json.dumps(details)[:400] if details else ''} |")
    rows = results.get("speeds", {}).get("rows", [])
    if rows:
        print(f"\n| size | who | precision | ms a step{mark} | Votive bf16 is faster by |\n| --- | --- | --- | --- | --- |")
    for row in rows:
        ours = next((r["ms"] for r in rows if r["size"] == row["size"] and r["who"] == "Votive" and r["precision"] == "bf16" and "ms" in r), None)
        if "ms" in row:
            ratio = f"{row['ms'] / ours:.2f}" if ours else ""
            print(f"| {row['size']} | {row['who']} | {row['precision']} | {row['ms']:.3f} | {ratio} |")
        else:
            words = (row.get("not_available") or row.get("failed") or "").strip().splitlines()
            print(f"| {row['size']} | {row['who']} | {row['precision']} | {'not available' if 'not_available' in row else 'FAILED'}: {words[-1][:120] if words else ''} | |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--votive", help="the program")
    parser.add_argument("--out", type=pathlib.Path, help="a folder for all that is made; a temporary one otherwise")
    parser.add_argument("--libraries", type=pathlib.Path, help="the folder of NVIDIA's libraries, or of the stand-ins")
    parser.add_argument("--kernels", type=pathlib.Path, help="what kernels made on a processor")
    parser.add_argument("--sizes", default="S,M,L", help="of S, M, L, G (GPT-2 small with its vocabulary)")
    parser.add_argument("--patience", type=float, default=1.0, help="what the limits of time are multiplied by")
    parser.add_argument("--only", help="parts, with commas between them")
    parser.add_argument("--record", type=pathlib.Path, help="write what kernels make with the stand-ins")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.out = arguments.out or pathlib.Path(tempfile.mkdtemp(prefix="check_gpu-"))
    arguments.out.mkdir(parents=True, exist_ok=True)
    if not arguments.votive:
        arguments.votive = find_votive(None)
    check = Check(arguments)
    if arguments.record:
        return check.record(arguments.record)
    if arguments.part:
        check.keep(arguments.part, getattr(check, f"part_{arguments.part}")())
        return 0
    parts, results = arguments.only.split(",") if arguments.only else list(LIMITS), {}
    print(f"results: {check.out}" + ("; through stand-ins, not on a GPU" if check.stand_ins else ""), flush=True)
    for part in parts:
        (check.out / f"{part}.json").unlink(missing_ok=True)
        command = [sys.executable, str(pathlib.Path(__file__).resolve()), "--part", part, "--out", str(check.out), "--votive", check.votive, "--sizes", arguments.sizes]
        command += ["--libraries", check.libraries] if check.libraries else []
        command += ["--kernels", str(arguments.kernels.resolve())] if arguments.kernels else []
        began = time.perf_counter()
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
        try:
            words = running.communicate(timeout=LIMITS[part] * arguments.patience)[0]
            problem = None if running.returncode == 0 else words[-2000:]
        except subprocess.TimeoutExpired:
            # With all that it has started.
            os.killpg(running.pid, signal.SIGKILL)
            running.communicate()
            problem = f"it took more than {LIMITS[part] * arguments.patience:.0f} s"
        kept = check.out / f"{part}.json"
        result = json.loads(kept.read_text()) if kept.exists() else {}
        result |= {"seconds": time.perf_counter() - began} | ({"good": False, "error": problem} if problem else {})
        results[part] = result
        check.keep(part, result)
        check.keep("check_gpu", {"a_gpu": not check.stand_ins, "parts": results})
        print(f"{part:12} {'good' if result.get('good') else result.get('skipped') or 'WRONG'} ({result['seconds']:.1f} s)", flush=True)
    table(results, check.stand_ins)
    return 1 if any(not result.get("good") and not result.get("skipped") for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
