"""Training steps of the same model in PyTorch, in the ways that somebody with a GPU would choose; for check_gpu.py.

    python scripts/torch_peers.py '{"way": "graph", "precision": "bf16", "layers": 4, …}'

prints a line of JSON. Ways: `eager`; `compiled` (torch.compile); `reduced` (torch.compile with `reduce-overhead`: forward
and backward are CUDA graphs); `graph` (the whole step, optimizer included, in one CUDA graph, by hand).
"""

import json
import os
import sys
import time

import torch
from plain_gpt import Gpt, adamw


def main():
    task = json.loads(sys.argv[1])
    cuda = torch.cuda.is_available() and not task.get("cpu")
    device = torch.device("cuda" if cuda else "cpu")
    if task["way"] in ("graph", "reduced") and not cuda:
        print(json.dumps({"not_available": "CUDA graphs need a GPU"}))
        return
    if not cuda:
        torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = task["precision"] == "tf32"
    model = Gpt(task["vocabulary"], task["length"], task["layers"], task["heads"], task["width"]).to(device)
    optimizer = adamw(model)
    if task["way"] == "graph":
        for group in optimizer.param_groups:
            group["capturable"] = True
    run = model
    if task["way"] in ("compiled", "reduced"):
        run = torch.compile(model, mode="reduce-overhead" if task["way"] == "reduced" else "default")
    tokens = torch.randint(task["vocabulary"], (task["batch"], task["length"] + 1), device=device)
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    parameters = list(model.parameters())

    def step():
        with torch.autocast(device.type, torch.bfloat16, enabled=task["precision"] == "bf16"):
            loss = run(inputs, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=task["way"] != "graph")
        return loss

    def wait():
        if cuda:
            torch.cuda.synchronize()

    began = time.perf_counter()
    if task["way"] == "graph":
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            static_loss = step()

        def step():
            graph.replay()
            return static_loss

    for _ in range(task["warmup"]):
        step()
    wait()
    first = time.perf_counter() - began
    # Each round ends with its loss on the host, as a program has it that writes it down now and then.
    times = []
    for _ in range(task["rounds"]):
        start = time.perf_counter()
        for _ in range(task["steps"]):
            loss = step()
        value = loss.item()
        times.append((time.perf_counter() - start) / task["steps"] * 1e3)
    times.sort()
    peak = torch.cuda.max_memory_allocated() if cuda else None
    print(json.dumps({"ms": times[len(times) // 2], "min_ms": times[0], "warmup_s": first, "loss": value, "peak_bytes": peak}))


if __name__ == "__main__":
    main()
