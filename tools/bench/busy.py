#!/usr/bin/env python3
"""One training step of `emoji-quick` alone, and beside busy processes on the same cores: cm3leon and PyTorch.

Each figure is the mean of all steps of a run (a step on a busy machine is as long as it is on average), the median of
the turns; the sides take turns. A fair share of C cores beside B busy processes makes a step on C threads
(B + C) / C times as long. PyTorch is measured if this Python has it (tools/bench/torch_step.py says how to install it).

    python3 tools/bench/busy.py --cm3leon build/cm3leon
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time

import torch_step


def torch_worker(shape, threads, seconds):
    """The child process of PyTorch's side: prints one JSON object."""
    import torch

    torch.set_num_threads(threads)
    step = torch_step.make_step(shape, False)
    step()
    steps, start = 0, time.perf_counter()
    while steps < 2 or time.perf_counter() - start < seconds:
        step()
        steps += 1
    print(json.dumps(dict(mean_seconds=(time.perf_counter() - start) / steps)))


def measure(command, busy):
    """Milliseconds of a step beside `busy` processes that do nothing but run."""
    others = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(busy)]
    try:
        output = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.DEVNULL).stdout
    finally:
        for other in others:
            other.kill()
            other.wait()
    return 1e3 * json.loads(output)["mean_seconds"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cm3leon", metavar="PROGRAM", action="append", required=True,
                        help="the built program; again for another build beside it")
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2], help="busy processes (default: 0 1 2)")
    parser.add_argument("--turns", type=int, default=3, help="measurements of each (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3, help="of a measurement (default: %(default)s)")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    threads = int(os.environ.get("OMP_NUM_THREADS", cores))
    if options.worker:
        return torch_worker(json.loads(options.worker), threads, options.seconds)

    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    recipe = os.path.join(root, torch_step.SHAPES["emoji-quick"]["recipe"])
    sides = {program: [program, "bench", "step", recipe, "--json", "--seconds", str(options.seconds), "device=cpu"]
             for program in options.cm3leon}
    if importlib.util.find_spec("torch"):
        shape = dict(torch_step.read_shape(options.cm3leon[0], recipe, ["device=cpu"]), device="cpu")
        sides["PyTorch"] = [sys.executable, os.path.abspath(__file__), "--cm3leon", "", "--seconds",
                            str(options.seconds), "--worker", json.dumps(shape)]
    else:
        print("PyTorch: not installed in this Python")
    times = {side: {busy: [] for busy in options.busy} for side in sides}
    for _ in range(options.turns):
        for busy in options.busy:
            for side, command in sides.items():
                times[side][busy].append(measure(command, busy))
    print(f"a step of emoji-quick on {threads} threads and {cores} cores, milliseconds: median of {options.turns} runs")
    print(f"{'':24}" + "".join(f"  {busy} busy          " for busy in options.busy))
    for side, of in times.items():
        alone = statistics.median(of[options.busy[0]])
        medians = [statistics.median(of[busy]) for busy in options.busy]
        print(f"{side[-24:]:24}" + "".join(f"  {m:7.1f} {m / alone:5.2f} x" for m in medians))
    fair = [(busy + cores) / cores if threads == cores else float("nan") for busy in options.busy]
    print(f"{'fair share':24}" + "".join(f"  {'':7} {f:5.2f} x" for f in fair))


if __name__ == "__main__":
    main()
