#!/usr/bin/env python3
"""One training step of the same transformer: cm3leon beside PyTorch, speed and memory, in one run.

Both sides train the decoder of the CM3Leon paper in fp32 with the same shape, batch and threads: pre-norm LayerNorm without
gain and bias, causal attention, ReLU, no biases, learned positions, tied embeddings, cross-entropy over every token, the
gradient's global norm clipped to 1, AdamW. PyTorch's side is what its documentation recommends on a CPU:
scaled_dot_product_attention, F.cross_entropy, the fused AdamW. Every measurement is a process of its own, the two sides
take turns, and each side's best turn counts, so that whatever else the machine does harms both alike.

PyTorch is no dependency of cm3leon. To install it for this script only:

    python3 -m venv /tmp/torch && /tmp/torch/bin/pip install torch numpy
    /tmp/torch/bin/python tools/bench/torch_step.py --cm3leon build/cm3leon --shape emoji-quick
"""

import argparse
import json
import os
import subprocess
import sys
import time

# The recipe that `cm3leon bench step` reads, and the same shape for PyTorch.
SHAPES = {
    "350m": dict(recipe="configs/paper-350m.yaml", layers=24, width=1024, heads=16, ffn=4096, vocabulary=65536,
                 sequence=4096, batch=1, steps=2),
    "emoji-quick": dict(recipe="configs/emoji-quick.yaml", layers=4, width=256, heads=4, ffn=1024, vocabulary=800,
                        sequence=288, batch=4, steps=40),
}


def make_step(shape, compiled):
    """Returns step(), which trains on one batch of random tokens and returns the loss."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    width, heads, vocabulary = shape["width"], shape["heads"], shape["vocabulary"]
    batch, sequence = shape["batch"], shape["sequence"]

    def norm(x):
        return F.layer_norm(x, (width,), eps=1e-5)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(width, 3 * width, bias=False)
            self.out = nn.Linear(width, width, bias=False)
            self.up = nn.Linear(width, shape["ffn"], bias=False)
            self.down = nn.Linear(shape["ffn"], width, bias=False)

        def forward(self, x):  # (B, S, d)
            q, k, v = (t.view(batch, sequence, heads, -1).transpose(1, 2) for t in self.qkv(norm(x)).split(width, 2))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, S, D)
            x = x + self.out(y.transpose(1, 2).reshape(batch, sequence, width))
            return x + self.down(F.relu(self.up(norm(x))))

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(vocabulary, width)
            self.positions = nn.Parameter(torch.empty(sequence, width))
            self.blocks = nn.ModuleList(Block() for _ in range(shape["layers"]))
            for parameter in self.parameters():
                nn.init.normal_(parameter, std=0.006)

        def forward(self, ids, targets):
            x = self.tokens(ids) + self.positions
            for block in self.blocks:
                x = block(x)
            return F.cross_entropy(F.linear(norm(x), self.tokens.weight).flatten(0, 1), targets.flatten())

    torch.manual_seed(0)
    model = Transformer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, fused=True)
    forward = torch.compile(model) if compiled else model

    def step():
        ids = torch.randint(vocabulary, (batch, sequence + 1))
        loss = forward(ids[:, :-1], ids[:, 1:])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step


def peak_rss():
    """The most memory this process ever held, bytes. (ru_maxrss would also count the parent it was forked from.)"""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def worker(shape, threads, compiled):
    """The child process of PyTorch's side: prints one JSON object."""
    import torch

    torch.set_num_threads(threads)
    runtime = peak_rss()
    step = make_step(shape, compiled)
    for _ in range(2 if compiled else 1):  # the first step allocates, tunes and compiles
        step()
    start = time.perf_counter()
    for _ in range(shape["steps"]):
        loss = step()
    seconds = (time.perf_counter() - start) / shape["steps"]
    print(json.dumps(dict(tokens_per_second=shape["batch"] * shape["sequence"] / seconds, rss=peak_rss(),
                          runtime=runtime, loss=loss, version=torch.__version__)))


def run_child(command, threads):
    """Runs a command that prints a JSON object as its last line; adds the child's peak memory."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    child = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"torch_step: '{' '.join(command)}' failed with status {os.waitstatus_to_exitcode(status)}")
    try:
        result = json.loads(output)
    except ValueError:
        result = json.loads(output.strip().splitlines()[-1])
    result.setdefault("rss", usage.ru_maxrss * 1024)
    return result


def best(turns):
    return max(turns, key=lambda turn: turn["tokens_per_second"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cm3leon", metavar="PROGRAM", help="the built program, build/cm3leon; without it only PyTorch")
    parser.add_argument("--shape", choices=SHAPES, default="emoji-quick")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of each side (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=2, help="measurements of each side (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="timed steps of PyTorch in a turn")
    parser.add_argument("--compile", action="store_true", help="also measure torch.compile")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="for the recipe that cm3leon measures")
    options = parser.parse_args()
    if options.worker:
        return worker(json.loads(options.worker), options.threads, options.compile)

    shape = dict(SHAPES[options.shape])
    if options.steps:
        shape["steps"] = options.steps
    this = [sys.executable, os.path.abspath(__file__), "--threads", str(options.threads), "--worker", json.dumps(shape)]
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    commands = {"PyTorch": this}
    if options.compile:
        commands["PyTorch, compiled"] = this + ["--compile"]
    if options.cm3leon:
        commands["cm3leon"] = [options.cm3leon, "bench", "step", os.path.join(root, shape["recipe"]), "--json",
                               *options.overrides]
    turns = {name: [] for name in commands}
    for _ in range(options.turns):
        for name, command in commands.items():
            turns[name].append(run_child(command, options.threads))
    results = {name: best(turn) for name, turn in turns.items()}

    if options.json:
        print(json.dumps(dict(shape=options.shape, threads=options.threads, results=results)))
        return
    torch_side = results["PyTorch"]
    print(f"{options.shape}: {shape['layers']} layers, d {shape['width']}, {shape['heads']} heads, vocabulary "
          f"{shape['vocabulary']}, {shape['batch']} x {shape['sequence']} tokens, fp32, {options.threads} threads; "
          f"PyTorch {torch_side['version']}; best of {options.turns} turns")
    print(f"{'':18}  {'tokens/s':>9}  {'speed':>6}  {'peak RSS':>10}  {'memory':>6}")
    for name, result in results.items():
        print(f"{name:18}  {result['tokens_per_second']:9.1f}  {result['tokens_per_second'] / torch_side['tokens_per_second']:5.2f}x"
              f"  {result['rss'] / 2**20:6.0f} MiB  {result['rss'] / torch_side['rss']:5.2f}x")
    runtime = torch_side["runtime"]
    print(f"Of PyTorch's memory {runtime / 2**20:.0f} MiB are the library itself, before any tensor.", end="")
    if "cm3leon" in results:
        ours = results["cm3leon"]
        print(f" Without them cm3leon needs {ours['rss'] / (torch_side['rss'] - runtime):.2f}x.\n"
              f"cm3leon: {ours['flops_per_second'] / 1e9:.0f} GFLOP/s, {ours['ratio']:.2f} of sgemm's "
              f"{ours['sgemm_flops_per_second'] / 1e9:.0f} GFLOP/s; memory of the step {ours['peak_bytes'] / 2**20:.0f} MiB.", end="")
    print()


if __name__ == "__main__":
    main()
