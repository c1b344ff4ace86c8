#!/usr/bin/env python3
"""The same image tokenizer, cm3leon beside PyTorch, in one run: images encoded, decoded and trained on a second.

PyTorch builds the VQ network of a recipe - the number of its parameters is compared - from what its documentation
recommends: channels_last, scaled_dot_product_attention, the fused AdamW; on a GPU TF32 in convolutions and matrix
products (--exact: f32), and with --compile, torch.compile. Both sides compute in f32 on random images that lie in the
host's memory, and clip the gradient's norm. Every measurement is a process of its own, the two sides take turns, and
each side's fastest run counts.

    /tmp/torch/bin/python tools/bench/torch_images.py --cm3leon build/cm3leon configs/emoji-quick.yaml
    python3 tools/bench/torch_images.py --cm3leon build/cm3leon --device cuda --compile configs/paper-350m.yaml \\
        image_tokenizer.train.micro_batch=16
"""

import argparse
import json
import os
import sys
import time

from torch_step import read_recipe, run_child

KINDS = ("encoded", "decoded", "trained")


def read_network(program, recipe, overrides):
    config, plan = read_recipe(program, recipe, overrides)
    network = {key.removeprefix("image_tokenizer.network."): value for key, value in config.items()
               if key.startswith("image_tokenizer.network.")}
    network = {key: json.loads(value) if value[:1] in "[0123456789" else value for key, value in network.items()}
    network["batch"] = int(config["image_tokenizer.train.micro_batch"]) or int(config["image_tokenizer.data.batch"])
    network["parameters"] = plan["image_tokenizer"]["parameters"]
    return network


def make_network(c):
    """The layers of model/vqgan.c in PyTorch."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    levels = [c["channels"] * m for m in c["multipliers"]]
    folded = 3 * c["patch"] ** 2

    def norm(channels):
        groups = max(1, min(32, channels // 4))
        while channels % groups:
            groups -= 1
        return nn.GroupNorm(groups, channels, eps=1e-6)

    class Residual(nn.Module):
        def __init__(self, before, after):
            super().__init__()
            self.norm1, self.norm2 = norm(before), norm(after)
            self.conv1, self.conv2 = nn.Conv2d(before, after, 3, padding=1), nn.Conv2d(after, after, 3, padding=1)
            self.shortcut = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

        def forward(self, x):
            h = self.conv1(F.silu(self.norm1(x)))
            return self.shortcut(x) + self.conv2(F.silu(self.norm2(h)))

    class Attention(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.heads = 1 if channels % 64 else channels // 64
            self.norm = norm(channels)
            self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

        def forward(self, x):
            b, d, h, w = x.shape
            qkv = self.qkv(self.norm(x).permute(0, 2, 3, 1).reshape(b, h * w, d))
            q, k, v = (t.reshape(b, h * w, self.heads, -1).transpose(1, 2) for t in qkv.chunk(3, 2))
            y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, h * w, d)
            return x + self.out(y).reshape(b, h, w, d).permute(0, 3, 1, 2)

    class Down(nn.Conv2d):
        def forward(self, x):
            return super().forward(F.pad(x, (0, 1, 0, 1)))

    def middle(channels):
        for block in range(c["middle_blocks"]):
            yield Residual(channels, channels)
            if block == 0 and c["attention"] in ("yes", "true"):
                yield Attention(channels)

    def encoder():
        channels = levels[0]
        yield nn.Conv2d(folded, channels, 3, padding=1)
        for level, wide in enumerate(levels):
            for _ in range(c["encoder_blocks"]):
                yield Residual(channels, wide)
                channels = wide
            if level < len(levels) - 1:
                yield Down(channels, channels, 3, stride=2)
        yield from middle(channels)
        yield from (norm(channels), nn.SiLU(), nn.Conv2d(channels, c["code_width"], 3, padding=1))

    def decoder():
        channels = levels[-1]
        yield nn.Conv2d(c["code_width"], channels, 3, padding=1)
        yield from middle(channels)
        for level in reversed(range(len(levels))):
            for _ in range(c["decoder_blocks"]):
                yield Residual(channels, levels[level])
                channels = levels[level]
            if level:
                yield from (nn.Upsample(scale_factor=2), nn.Conv2d(channels, channels, 3, padding=1))
        yield from (norm(channels), nn.SiLU(), nn.Conv2d(channels, folded, 3, padding=1))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.codebook = nn.Parameter((2 * torch.rand(c["codes"], c["code_width"]) - 1) / c["codes"])
            self.encoder, self.decoder = nn.Sequential(*encoder()), nn.Sequential(*decoder())

        def vectors(self, images):
            return self.encoder(F.pixel_unshuffle(images, c["patch"])).permute(0, 2, 3, 1)

        def nearest(self, z):  # |e|^2 - 2 z e: |z|^2 does not choose
            flat, e = z.detach().flatten(0, 2), self.codebook.detach()
            return torch.addmm(e.square().sum(1), flat, e.T, alpha=-2).argmin(1).view(z.shape[:3])

        def paint(self, vectors):
            return F.pixel_shuffle(self.decoder(vectors.permute(0, 3, 1, 2)), c["patch"])

        def encode(self, images):
            return self.nearest(self.vectors(images))

        def decode(self, codes):
            return self.paint(self.codebook[codes])

        def forward(self, images):
            z = self.vectors(images)
            e = self.codebook[self.nearest(z)]
            y = self.paint(z + (e - z).detach())
            code = F.mse_loss(e, z.detach()) + c["commitment"] * F.mse_loss(z, e.detach())
            return c["l1"] * F.l1_loss(y, images) + c["l2"] * F.mse_loss(y, images) + c["codebook_loss"] * code

    network = Network()
    count = sum(p.numel() for p in network.parameters())
    if count != c["parameters"]:
        sys.exit(f"torch_images: PyTorch's network has {count} parameters, cm3leon's {c['parameters']}")
    return network


def make_runs(c, device, compiled):
    """What is timed, {kind: run}: like cm3leon's codec from and to the host's memory."""
    import torch

    torch.manual_seed(0)
    network = make_network(c).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, betas=(0.9, 0.95), eps=1e-8, fused=True)
    encode, decode, loss_of = network.encode, network.decode, network
    if compiled:
        encode, decode, loss_of = torch.compile(encode), torch.compile(decode), torch.compile(network)
    images = torch.rand(c["batch"], 3, c["image_size"], c["image_size"]) * 2 - 1
    side = c["image_size"] // c["patch"] >> (len(c["multipliers"]) - 1)
    codes = torch.randint(c["codes"], (c["batch"], side, side))

    def there():
        return images.to(device, memory_format=torch.channels_last)

    def train():
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(there())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    def without_gradients(run):
        def made():
            with torch.inference_mode():
                return run()
        return made

    return dict(encoded=without_gradients(lambda: encode(there()).cpu()),
                decoded=without_gradients(lambda: decode(codes.to(device)).clamp(-1, 1).cpu()), trained=train)


def worker(c, options):
    """The child process of PyTorch's side: prints one JSON object."""
    import torch

    torch.set_num_threads(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = not options.exact
    torch.backends.cudnn.benchmark = True
    result = dict(version=torch.__version__)
    for kind, run in make_runs(c, options.device, options.compile).items():
        for _ in range(3 if options.device == "cuda" else 1):  # allocates, tunes, compiles
            run()
        fastest, begin = float("inf"), time.perf_counter()
        while time.perf_counter() - begin < options.seconds:
            start = time.perf_counter()
            run()
            if options.device == "cuda":
                torch.cuda.synchronize()
            fastest = min(fastest, time.perf_counter() - start)
        result[f"{kind}_per_second"] = c["batch"] / fastest
    print(json.dumps(result))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cm3leon", metavar="PROGRAM", required=True, help="the built program, build/cm3leon")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)),
                        help="of each side (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=2, help="measurements of each side (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3, help="for each figure of a turn (default: %(default)s)")
    parser.add_argument("--compile", action="store_true", help="PyTorch's side by torch.compile")
    parser.add_argument("--exact", action="store_true", help="no TF32 on PyTorch's side")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    options = parser.parse_args()
    if options.worker:
        return worker(json.loads(options.worker), options)

    overrides = [f"device={options.device}", *options.overrides]
    network = read_network(options.cm3leon, options.recipe, overrides)
    commands = {"PyTorch": [sys.executable, os.path.abspath(__file__), *sys.argv[1:], "--worker", json.dumps(network)],
                "cm3leon": [options.cm3leon, "bench", "image-tokenizer", options.recipe, "--json", "--seconds",
                            str(options.seconds), *overrides]}
    turns = {name: [] for name in commands}
    for _ in range(options.turns):
        for name, command in commands.items():
            turns[name].append(run_child(command, options.threads, options.device == "cuda"))
    results = {name: {kind: max(turn[f"{kind}_per_second"] for turn in of) for kind in KINDS}
               for name, of in turns.items()}
    if options.json:
        print(json.dumps(dict(recipe=options.recipe, network=network, results=results)))
        return
    print(f"{options.recipe}: {network['parameters'] / 1e6:.1f} M parameters, {network['image']} px, "
          f"{network['batch']} images at a time, {options.device}; PyTorch {turns['PyTorch'][0]['version']}; "
          "images/s")
    for name, result in results.items():
        print(f"{name:8}" + "".join(f"  {kind} {result[kind]:9.1f} ({result[kind] / results['PyTorch'][kind]:.2f} x)"
                                    for kind in KINDS))


if __name__ == "__main__":
    main()
