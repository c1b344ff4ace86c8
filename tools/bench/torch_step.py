#!/usr/bin/env python3
"""One training step of the same transformer: cm3leon beside PyTorch, speed and memory, in one run.

Both sides train the decoder of the CM3Leon paper in fp32 with the same shape, batch and threads: pre-norm LayerNorm
without gain and bias, causal attention, ReLU, no biases, the recipe's positions (learned or rotary), tied embeddings,
cross-entropy over every token, the gradient's global norm clipped to 1, AdamW. PyTorch's side is what its documentation
recommends on a CPU: scaled_dot_product_attention, F.cross_entropy, the fused AdamW. Every measurement is a process of
its own, the two sides take turns, and each side's fastest step counts, so that whatever else the machine does harms
neither.

With --device cuda both sides train on the GPU: cm3leon in bf16 with f32 parameters, PyTorch with f32 parameters under
autocast to bf16, its fused AdamW and, with --compile, torch.compile. Memory is then the GPU's: what PyTorch's allocator
held at most, and what cm3leon's plan says.

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

# What `cm3leon bench step` is given, and PyTorch's timed steps in a turn.
GPU_BATCH = ["pretrain.data.batch=8", "pretrain.train.micro_batch=8", "cluster.gpus=1"]
SHAPES = {
    "350m": dict(recipe="configs/paper-350m.yaml", steps=2,
                 overrides=["pretrain.data.batch=1", "pretrain.train.micro_batch=1", "cluster.gpus=1"]),
    "760m": dict(recipe="configs/paper-760m.yaml", steps=2,
                 overrides=["pretrain.data.batch=1", "pretrain.train.micro_batch=1", "cluster.gpus=1"]),
    "7b-layers": dict(recipe="configs/paper-7b.yaml", steps=2,
                      overrides=["pretrain.data.batch=4", "pretrain.train.micro_batch=4", "cluster.gpus=1",
                                 "model.layers=4"]),
    "emoji-quick": dict(recipe="configs/emoji-quick.yaml", overrides=[], steps=100),
}


def read_recipe(program, recipe, overrides):
    """Every setting, {"section.key": "value"}, and the plan, asked of cm3leon itself."""
    resolved = subprocess.run([program, "pretrain", recipe, *overrides, "--print-config"], check=True, text=True,
                              stdout=subprocess.PIPE).stdout
    config, path = {}, []
    for line in resolved.splitlines():
        key, _, value = line.partition(":")
        path[(len(key) - len(key.lstrip())) // 2:] = [key.strip()]
        config[".".join(path)] = value.strip()
    plan = json.loads(subprocess.run([program, "plan", recipe, *overrides, "--json"], check=True, text=True,
                                     stdout=subprocess.PIPE).stdout)
    return config, plan


def read_shape(program, recipe, overrides):
    """The shape that a recipe describes, so that both sides train the same network."""
    config, plan = read_recipe(program, recipe, overrides)

    def number(field):
        return int(config[field])

    layers, width, sequence = number("model.layers"), number("model.width"), number("pretrain.data.context")
    ffn = number("model.ffn") or 4 * width
    rotary = config["model.positions"] == "rotary"
    # All parameters but the table of embeddings are known; what remains is its rows.
    positions = 0 if rotary else number("model.context") * width
    rows, rest = divmod(plan["parameters"] - positions - layers * width * (4 * width + 2 * ffn), width)
    if rest or config["model.architecture"] != "cm3leon":
        sys.exit(f"torch_step: {recipe} is not of the architecture that this script builds")
    return dict(layers=layers, width=width, heads=number("model.heads"), ffn=ffn, vocabulary=rows, sequence=sequence,
                batch=number("pretrain.train.micro_batch") or number("pretrain.data.batch"), rotary=rotary)


def make_step(shape, compiled):
    """Returns step(), which trains on one batch of random tokens and returns the loss."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    width, heads, vocabulary = shape["width"], shape["heads"], shape["vocabulary"]
    batch, sequence = shape["batch"], shape["sequence"]

    def norm(x):
        return F.layer_norm(x, (width,), eps=1e-5)

    size = width // heads
    angles = torch.outer(torch.arange(sequence), 1e4 ** (-torch.arange(0, size, 2) / size))
    cos, sin = angles.cos(), angles.sin()  # (S, D/2)

    def rotate(x):  # (B, H, S, D): pairs (j, j + D/2)
        a, b = x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(width, 3 * width, bias=False)
            self.out = nn.Linear(width, width, bias=False)
            self.up = nn.Linear(width, shape["ffn"], bias=False)
            self.down = nn.Linear(shape["ffn"], width, bias=False)

        def forward(self, x):  # (B, S, d)
            q, k, v = (t.view(batch, sequence, heads, -1).transpose(1, 2) for t in self.qkv(norm(x)).split(width, 2))
            if shape["rotary"]:
                q, k = rotate(q), rotate(k)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, S, D)
            x = x + self.out(y.transpose(1, 2).reshape(batch, sequence, width))
            return x + self.down(F.relu(self.up(norm(x))))

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(vocabulary, width)
            self.positions = None if shape["rotary"] else nn.Parameter(torch.empty(sequence, width))
            self.blocks = nn.ModuleList(Block() for _ in range(shape["layers"]))
            for parameter in self.parameters():
                nn.init.normal_(parameter, std=0.006)

        def forward(self, ids, targets):
            x = self.tokens(ids)
            if self.positions is not None:
                x = x + self.positions
            for block in self.blocks:
                x = block(x)
            return F.cross_entropy(F.linear(norm(x), self.tokens.weight).flatten(0, 1), targets.flatten())

    torch.manual_seed(0)
    device = shape["device"]
    cos, sin = cos.to(device), sin.to(device)
    model = Transformer().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1,
                                  fused=True)
    forward = torch.compile(model) if compiled else model

    def step():
        ids = torch.randint(vocabulary, (batch, sequence + 1), device=device)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
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
    on_gpu = shape["device"] == "cuda"
    for _ in range(2 if compiled or on_gpu else 1):  # the first step allocates, tunes and compiles
        step()
    seconds = float("inf")
    for _ in range(shape["steps"]):
        start = time.perf_counter()
        loss = step()
        if on_gpu:
            torch.cuda.synchronize()  # loss.item() waits for the loss alone
        seconds = min(seconds, time.perf_counter() - start)
    memory = torch.cuda.max_memory_allocated() if on_gpu else peak_rss()
    print(json.dumps(dict(tokens_per_second=shape["batch"] * shape["sequence"] / seconds, rss=memory,
                          runtime=0 if on_gpu else runtime, loss=loss, version=torch.__version__)))


def run_child(command, threads, on_gpu):
    """Runs a command that prints one JSON object; adds the child's peak memory."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    child = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"torch_step: '{' '.join(command)}' failed with status {os.waitstatus_to_exitcode(status)}")
    result = json.loads(output)
    if on_gpu and "planned_bytes" in result:
        result["rss"] = result["planned_bytes"]
    result.setdefault("rss", usage.ru_maxrss * 1024)
    return result


def best(turns):
    return max(turns, key=lambda turn: turn["tokens_per_second"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cm3leon", metavar="PROGRAM", help="the built program, build/cm3leon")
    parser.add_argument("--shape", choices=SHAPES, default="emoji-quick")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)),
                        help="of each side (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=2, help="measurements of each side (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="timed steps of PyTorch in a turn")
    parser.add_argument("--compile", action="store_true", help="also measure torch.compile")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", metavar="section.key=value",
                        help="for the recipe that cm3leon measures")
    options = parser.parse_args()
    if options.worker:
        return worker(json.loads(options.worker), options.threads, options.compile)

    if not options.cm3leon:
        parser.error("--cm3leon PROGRAM is needed: the shape is read from its recipe")
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    recipe = os.path.join(root, SHAPES[options.shape]["recipe"])
    on_gpu = options.device == "cuda"
    overrides = SHAPES[options.shape]["overrides"] + [f"device={options.device}"] + options.overrides
    if on_gpu and "pretrain.data.batch=1" in overrides:  # a GPU wants more than one sequence
        overrides = [f"device={options.device}"] + GPU_BATCH + options.overrides
    shape = read_shape(options.cm3leon, recipe, overrides)
    shape["steps"] = options.steps or (20 if on_gpu else SHAPES[options.shape]["steps"])
    shape["device"] = options.device
    this = [sys.executable, os.path.abspath(__file__), "--threads", str(options.threads), "--worker", json.dumps(shape)]
    commands = {"PyTorch": this}
    if options.compile:
        commands["PyTorch, compiled"] = this + ["--compile"]
    commands["cm3leon"] = [options.cm3leon, "bench", "step", recipe, "--json", *overrides]
    turns = {name: [] for name in commands}
    for _ in range(options.turns):
        for name, command in commands.items():
            turns[name].append(run_child(command, options.threads, options.device == "cuda"))
    results = {name: best(turn) for name, turn in turns.items()}

    if options.json:
        print(json.dumps(dict(shape=options.shape, threads=options.threads, results=results)))
        return
    torch_side = results["PyTorch"]
    print(f"{options.shape}: {shape['layers']} layers, d {shape['width']}, {shape['heads']} heads, vocabulary "
          f"{shape['vocabulary']}, {shape['batch']} x {shape['sequence']} tokens, "
          f"{'bf16' if on_gpu else f'fp32, {options.threads} threads'}; "
          f"PyTorch {torch_side['version']}; fastest step of {options.turns} turns")
    print(f"{'':18}  {'tokens/s':>9}  {'speed':>6}  {'memory' if on_gpu else 'peak RSS':>10}  {'memory':>6}")
    for name, result in results.items():
        speed = result["tokens_per_second"] / torch_side["tokens_per_second"]
        print(f"{name:18}  {result['tokens_per_second']:9.1f}  {speed:5.2f}x  {result['rss'] / 2**20:6.0f} MiB  "
              f"{result['rss'] / torch_side['rss']:5.2f}x")
    runtime, ours = torch_side["runtime"], results["cm3leon"]
    if on_gpu:
        print(f"cm3leon: {ours['flops_per_second'] / 1e12:.0f} TFLOP/s, {ours['ratio']:.2f} of a large product's "
              f"{ours['sgemm_flops_per_second'] / 1e12:.0f}.")
        return
    print(f"Of PyTorch's memory {runtime / 2**20:.0f} MiB are the library itself, before any tensor. Without them "
          f"cm3leon needs {ours['rss'] / (torch_side['rss'] - runtime):.2f}x.\n"
          f"cm3leon: {ours['flops_per_second'] / 1e9:.0f} GFLOP/s, {ours['ratio']:.2f} of sgemm's "
          f"{ours['sgemm_flops_per_second'] / 1e9:.0f} GFLOP/s; memory of the step "
          f"{ours['peak_bytes'] / 2**20:.0f} MiB.")


if __name__ == "__main__":
    main()
