#!/usr/bin/env python3
"""gpu_peer -- the generators in plain PyTorch, as a measure for the CUDA backend.

Written from the formulas (kernels/README.md and the headers beside it), with random weights of the
real shapes: StyleGAN 2 at 1024 and 256 pixels, StyleGAN 3-t and -r at 1024; half precision,
channels_last, cuDNN. A convolution's style is put into its input's channels ("scaled"), or into
weights of each sample, with groups ("grouped"). Modes: eager; graph (a CUDA graph around eager);
compile (max-autotune-no-cudagraphs); overhead (compile with reduce-overhead). A time is that of a
whole call: z on the host in, bytes on the host out.

    gpu_peer.py [--seconds S] [--ours bench.jsonl] [--out peer.jsonl]
        every net and mode, each in a process of its own, until S seconds are over: what matters most
        first. JSON lines as they come, then ratios to ours beside the targets. Exit status 3: a
        target was not reached; 1: nothing could be measured.
    gpu_peer.py --one NET MODE
        one of them, in this process
"""
import argparse
import json
import math
import os
import subprocess
import sys
import time

NETS = ("stylegan2-1024", "stylegan2-256", "stylegan3-t-1024", "stylegan3-r-1024")
BATCHES = {"eager": (1, 8, 32), "grouped": (1, 8, 32), "graph": (1, 8, 32), "compile": (1, 32),
           "overhead": (1, 32)}
# What matters most first: the run may be cut off.
ORDER = [(net, mode) for mode in ("eager", "graph") for net in NETS] + [
    ("stylegan2-1024", "overhead"), ("stylegan2-1024", "compile"), ("stylegan2-1024", "grouped"),
    ("stylegan2-256", "overhead"), ("stylegan2-256", "compile"),
    ("stylegan3-t-1024", "overhead"), ("stylegan3-r-1024", "overhead")]
LIMITS_S = {"eager": 25, "grouped": 25, "graph": 25, "compile": 300, "overhead": 300}
ROUNDS, ROUND_S = 5, 0.12
PSI, CLAMP = 0.7, 256.0


# ---- Geometry of StyleGAN 3, without torch ----

def stylegan3_layers(resolution, channel_base, channel_max, kernel, radial):
    """The input's (channels, size, rate, cutoff), and a dict for each layer, the last is ToRGB."""
    count, critical, margin = 14, 2, 10
    last_cutoff, first_cutoff, first_stopband = resolution / 2, 2.0, 2 ** 2.1
    last_stopband = last_cutoff * 2 ** 0.3

    def stage(i):
        e = min(i / (count - critical), 1.0)
        cutoff = first_cutoff * (last_cutoff / first_cutoff) ** e
        stopband = first_stopband * (last_stopband / first_stopband) ** e
        rate = 2 ** math.ceil(math.log2(min(stopband * 2, resolution)))
        size = resolution if i >= count - 1 else rate + 2 * margin
        channels = 3 if i == count else round(min(channel_base / 2 / cutoff, channel_max))
        return dict(cutoff=cutoff, rate=rate, size=size, channels=channels)

    layers = []
    for i in range(count + 1):
        a, b, rgb = stage(max(i - 1, 0)), stage(i), i == count
        inner = max(a["rate"], b["rate"]) * (1 if rgb else 2)
        up, down, k = inner // a["rate"], inner // b["rate"], 1 if rgb else kernel
        up_taps = 6 * up if up > 1 and not rgb else 1
        down_taps = 6 * down if down > 1 and not rgb else 1
        pad = ((b["size"] - 1) * down + 1 - (a["size"] + k - 1) * up + up_taps + down_taps - 2)
        lo = (pad + up) // 2
        layers.append(dict(inputs=a["channels"], outputs=b["channels"], in_size=a["size"],
                           out_size=b["size"], kernel=k, up=up, down=down, up_taps=up_taps,
                           down_taps=down_taps, lo=lo, hi=pad - lo, rgb=rgb,
                           radial=radial and down_taps > 1 and i < count - critical))
    return stage(0), layers


def low_pass(taps):
    """Some symmetric low-pass filter of sum 1: how long it takes does not depend on its values."""
    middle = (taps - 1) / 2
    f = []
    for i in range(taps):
        x = (i - middle) / middle
        f.append(math.cos(x * math.pi / 2.2) ** 2)
    total = sum(f)
    return [v / total for v in f]


# ---- The generators ----

def build(name, grouped):
    """A torch module from z [N, 512] float32 on the device to bytes [N, H, W, 3] there."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    half = torch.float16

    def activate(x, gain=math.sqrt(2)):
        return (F.leaky_relu(x, 0.2) * gain).clamp(-CLAMP, CLAMP)

    def parameter(*shape):
        return nn.Parameter(torch.randn(*shape), requires_grad=False)

    class Linear(nn.Module):
        def __init__(self, inputs, outputs, bias=0.0):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(outputs, inputs) / math.sqrt(inputs),
                                       requires_grad=False)
            self.bias = nn.Parameter(torch.full((outputs,), bias), requires_grad=False)

        def forward(self, x):
            return F.linear(x, self.weight, self.bias)

    class Mapping(nn.Module):
        def __init__(self, layers):
            super().__init__()
            self.layers = nn.ModuleList(Linear(512, 512) for _ in range(layers))
            self.w_avg = parameter(512)

        def forward(self, z):
            x = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
            for layer in self.layers:
                x = F.leaky_relu(layer(x), 0.2) * math.sqrt(2)
            return self.w_avg + PSI * (x - self.w_avg)

    class Modulated(nn.Module):
        """A convolution whose input's channels have a style; up: the scatter by two."""

        def __init__(self, inputs, outputs, kernel, up=False, demodulate=True, padding=None):
            super().__init__()
            self.affine = Linear(512, inputs, 1.0)
            self.up, self.demodulate = up, demodulate
            self.padding = kernel // 2 if padding is None else padding
            # Brought into half's range beforehand; demodulation takes the factor out again.
            weight = torch.randn(outputs, inputs, kernel, kernel) / math.sqrt(inputs * kernel ** 2)
            self.squares = nn.Parameter(weight.square().sum((2, 3)).t().contiguous(),
                                        requires_grad=False)
            if up and not grouped:
                weight = weight.transpose(0, 1)
            self.weight = nn.Parameter(
                weight.to(half).contiguous(memory_format=torch.channels_last), requires_grad=False)

        def forward(self, x, w):
            s = self.affine(w)
            s = s / s.abs().amax(1, keepdim=True)
            d = None
            if self.demodulate:
                d = (s.square() @ self.squares + 1e-8).rsqrt()
            if grouped:
                return self.by_groups(x, s, d)
            x = x * s.to(half)[:, :, None, None]
            if self.up:
                x = F.conv_transpose2d(x, self.weight, stride=2)
            else:
                x = F.conv2d(x, self.weight, padding=self.padding)
            return x if d is None else x * d.to(half)[:, :, None, None]

        def by_groups(self, x, s, d):
            n, c, height, width = x.shape
            weight = self.weight[None] * s.to(half)[:, None, :, None, None]
            if d is not None:
                weight = weight * d.to(half)[:, :, None, None, None]
            outputs = weight.shape[1]
            x = x.reshape(1, n * c, height, width)
            if self.up:
                weight = weight.transpose(1, 2).reshape(n * c, outputs, *weight.shape[3:])
                x = F.conv_transpose2d(x, weight, stride=2, groups=n)
            else:
                x = F.conv2d(x, weight.reshape(n * outputs, c, *weight.shape[3:]),
                             padding=self.padding, groups=n)
            return x.reshape(n, outputs, *x.shape[2:]).contiguous(
                memory_format=torch.channels_last)

    class Layer2(nn.Module):
        def __init__(self, inputs, outputs, size, up):
            super().__init__()
            self.conv = Modulated(inputs, outputs, 3, up)
            self.noise = parameter(size, size)
            self.strength = nn.Parameter(torch.tensor(0.1), requires_grad=False)
            self.bias = parameter(outputs)
            row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
            self.register_buffer("fir", (row[:, None] * row).to(half).repeat(outputs, 1, 1, 1))

        def forward(self, x, w):
            x = self.conv(x, w)
            if self.conv.up:
                x = F.conv2d(x, self.fir, padding=1, groups=x.shape[1])
            x = x + (self.noise * self.strength).to(half)
            return activate(x + self.bias.to(half)[:, None, None])

    class Synthesis2(nn.Module):
        def __init__(self, resolution, base):
            super().__init__()
            channels = lambda r: min(base // r, 512)
            self.mapping = Mapping(8)
            self.const = nn.Parameter(torch.randn(1, 512, 4, 4).to(half), requires_grad=False)
            self.first, self.second, self.rgb = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
            self.rgb_bias = nn.ParameterList()
            size = 4
            while size <= resolution:
                if size > 4:
                    self.first.append(Layer2(channels(size // 2), channels(size), size, True))
                self.second.append(Layer2(channels(size), channels(size), size, False))
                self.rgb.append(Modulated(channels(size), 3, 1, demodulate=False))
                self.rgb_bias.append(parameter(3))
                size *= 2
            row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
            self.register_buffer("fir", (row[:, None] * row).repeat(3, 1, 1, 1))

        def forward(self, z):
            w = self.mapping(z)
            x = self.const.expand(z.shape[0], -1, -1, -1).contiguous(
                memory_format=torch.channels_last)
            image = None
            for i, second in enumerate(self.second):
                if i > 0:
                    x = self.first[i - 1](x, w)
                    image = F.conv_transpose2d(image, self.fir, stride=2, padding=1, groups=3)
                x = second(x, w)
                rgb = self.rgb[i](x, w).float() + self.rgb_bias[i][:, None, None]
                rgb = rgb.clamp(-CLAMP, CLAMP)
                image = rgb if image is None else image + rgb
            return to_bytes(image)

    def to_bytes(image):
        return (image * 127.5 + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    class Layer3(nn.Module):
        def __init__(self, l):
            super().__init__()
            self.l = l
            self.conv = Modulated(l["inputs"], l["outputs"], l["kernel"], demodulate=not l["rgb"],
                                  padding=l["kernel"] - 1)
            self.bias = parameter(l["outputs"])
            c = l["outputs"]
            up = torch.tensor(low_pass(l["up_taps"])) * l["up"] if l["up_taps"] > 1 else None
            down = torch.tensor(low_pass(l["down_taps"])) if l["down_taps"] > 1 else None
            if up is not None:
                self.register_buffer("up_x", up.to(half).view(1, 1, 1, -1).repeat(c, 1, 1, 1))
                self.register_buffer("up_y", up.to(half).view(1, 1, -1, 1).repeat(c, 1, 1, 1))
            if down is not None and l["radial"]:
                self.register_buffer("down_xy", (down[:, None] * down).to(half).repeat(c, 1, 1, 1))
            elif down is not None:
                self.register_buffer("down_x", down.to(half).view(1, 1, 1, -1).repeat(c, 1, 1, 1))
                self.register_buffer("down_y", down.to(half).view(1, 1, -1, 1).repeat(c, 1, 1, 1))

        def forward(self, x, w):
            l, c = self.l, self.l["outputs"]
            x = self.conv(x, w) + self.bias.to(half)[:, None, None]
            if l["rgb"]:
                return x.clamp(-CLAMP, CLAMP)
            up, down = l["up"], l["down"]
            # Zeros inserted, padded and filtered is what the transposed convolution makes, but for
            # its ends: lo - taps + 1 and hi + up - taps more of them, or fewer.
            x = F.conv_transpose2d(x, self.up_x, stride=(1, up), groups=c)
            x = F.conv_transpose2d(x, self.up_y, stride=(up, 1), groups=c)
            low, high = l["lo"] - l["up_taps"] + 1, l["hi"] + up - l["up_taps"]
            x = activate(F.pad(x, (low, high, low, high)))
            if l["radial"]:
                return F.conv2d(x, self.down_xy, stride=down, groups=c)
            x = F.conv2d(x, self.down_x, stride=(1, down), groups=c)
            return F.conv2d(x, self.down_y, stride=(down, 1), groups=c)

    class Synthesis3(nn.Module):
        def __init__(self, base, most, kernel, radial):
            super().__init__()
            first, layers = stylegan3_layers(1024, base, most, kernel, radial)
            self.mapping = Mapping(2)
            self.affine = Linear(512, 4)
            self.first = first
            self.freqs = parameter(first["channels"], 2)
            self.phases = parameter(first["channels"])
            self.weight = parameter(first["channels"], first["channels"])
            self.layers = nn.ModuleList(Layer3(l) for l in layers)
            n = first["size"]
            grid = ((2 * torch.arange(n) + 1) / n - 1) * 0.5 * n / first["rate"]
            self.register_buffer("grid", grid)

        def waves(self, w):
            t = self.affine(w)
            t = t / t[:, :2].norm(dim=1, keepdim=True)
            rc, rs, tx, ty = t.unbind(1)
            f = self.freqs
            fx = f[:, 0] * rc[:, None] + f[:, 1] * rs[:, None]
            fy = f[:, 1] * rc[:, None] - f[:, 0] * rs[:, None]
            phase = self.phases - fx * tx[:, None] - fy * ty[:, None]
            size = (fx.square() + fy.square()).sqrt()
            amplitude = (1 - (size - self.first["cutoff"]) /
                         (self.first["rate"] / 2 - self.first["cutoff"])).clamp(0, 1)
            x = fx[:, :, None, None] * self.grid + fy[:, :, None, None] * self.grid[:, None]
            x = torch.sin((x + phase[:, :, None, None]) * (2 * math.pi))
            x = x * amplitude[:, :, None, None]
            weight = self.weight / math.sqrt(self.weight.shape[1])
            return F.conv2d(x, weight[:, :, None, None]).to(half).contiguous(
                memory_format=torch.channels_last)

        def forward(self, z):
            w = self.mapping(z)
            x = self.waves(w)
            for layer in self.layers:
                x = layer(x, w)
            return to_bytes(x.float() * 0.25)

    if name == "stylegan2-1024":
        return Synthesis2(1024, 32768)
    if name == "stylegan2-256":
        return Synthesis2(256, 16384)
    if name == "stylegan3-t-1024":
        return Synthesis3(32768, 512, 3, False)
    return Synthesis3(65536, 1024, 1, True)


# ---- One net in one mode ----

def run_one(name, mode):
    import torch

    torch.manual_seed(1)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    net = build(name, mode == "grouped").cuda().eval()
    with torch.no_grad():
        for batch in BATCHES[mode]:
            try:
                measure(torch, net, name, mode, batch)
            except torch.cuda.OutOfMemoryError:
                print(json.dumps(dict(net=name, mode=mode, batch=batch, failed="out of memory")),
                      flush=True)
                torch.cuda.empty_cache()


def measure(torch, net, name, mode, batch):
    z_host = torch.randn(batch, 512).pin_memory()
    z = z_host.cuda()
    call = net
    if mode in ("compile", "overhead"):
        torch._dynamo.reset()
        call = torch.compile(net, dynamic=False, mode="reduce-overhead" if mode == "overhead"
                             else "max-autotune-no-cudagraphs")
    for _ in range(3):
        out = call(z)
    torch.cuda.synchronize()
    host = torch.empty(out.shape, dtype=torch.uint8).pin_memory()
    graph = None
    if mode == "graph":
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            net(z)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = net(z)

    def once():
        z.copy_(z_host, non_blocking=True)
        if graph is not None:
            graph.replay()
            made = out
        else:
            made = call(z)
        host.copy_(made, non_blocking=True)
        torch.cuda.synchronize()

    for _ in range(3):
        once()
    rounds = []
    for _ in range(ROUNDS):
        times, until = [], time.perf_counter() + ROUND_S
        while len(times) < 3 or time.perf_counter() < until:
            begun = time.perf_counter()
            once()
            times.append(1e3 * (time.perf_counter() - begun))
        rounds.append(sorted(times)[len(times) // 2])
    rounds.sort()
    ms = rounds[len(rounds) // 2]
    print(json.dumps(dict(net=name, mode=mode, batch=batch, ms=round(ms, 4),
                          low=round(rounds[0], 4), high=round(rounds[-1], 4),
                          images_s=round(1e3 * batch / ms, 2),
                          memory_gb=round(torch.cuda.max_memory_allocated() / 1e9, 3))), flush=True)


# ---- All of them, and the ratios ----

def run_all(seconds, keep):
    until, rows = time.monotonic() + seconds, []
    for name, mode in ORDER:
        limit = min(LIMITS_S[mode], until - time.monotonic())
        if limit < 5:
            print(f"peer: no time was left for {name} {mode}", flush=True)
            continue
        child = subprocess.Popen([sys.executable, os.path.abspath(__file__), "--one", name, mode],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                 start_new_session=True)
        try:
            said, errors = child.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, 9)         # its compilers' processes with it
            said, errors = child.communicate()
            print(f"peer: {name} {mode} was stopped after {limit:.0f} s", flush=True)
        else:
            if child.returncode != 0:
                last = errors.strip().splitlines()[-1:] or ["no words"]
                print(f"peer: {name} {mode} failed: {last[0]}", flush=True)
        for line in said.splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            print(line, flush=True)
            rows.append(row)
            if keep:
                print(line, file=keep, flush=True)
    return [row for row in rows if "ms" in row]


def read_ours(path):
    ours = {}
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                if row.get("precision") == "fp16" and "ms" in row:
                    ours[row["net"], row["batch"]] = row["ms"]
    except (OSError, ValueError) as e:
        print(f"peer: no figures of ours: {e}")
    return ours


def best(rows, net, batch, modes):
    """(ms, mode) of the fastest, or None."""
    found = [(r["ms"], r["mode"]) for r in rows
             if r["net"] == net and r["batch"] == batch and r["mode"] in modes]
    return min(found) if found else None


def compare(rows, ours):
    """Prints every ratio; how many targets were not reached, or could not be judged."""
    eager, compiled = ("eager",), ("compile", "overhead")
    every = ("eager", "grouped", "graph", "compile", "overhead")
    short = 0
    print("\nhow many times as fast as PyTorch: net, batch, over eager, over the best of all")
    for net in NETS:
        for batch in (1, 8, 32):
            mine, plain, top = (ours.get((net, batch)), best(rows, net, batch, eager),
                                best(rows, net, batch, every))
            if mine and top:
                over = f"{plain[0] / mine:7.2f}" if plain else "      -"
                print(f"  {net:18} N={batch:<3} {over} {top[0] / mine:7.2f} ({top[1]})")
    print("targets")
    for words, net, batch, modes, wanted in (
            ("3 x eager", "stylegan2-1024", 32, eager, 3.0),
            ("1.8 x the best compiled, graphs included", "stylegan2-1024", 32,
             compiled + ("graph",), 1.8),
            ("half of the best latency", "stylegan2-1024", 1, every, 2.0),
            ("2 x eager", "stylegan2-256", 32, eager, 2.0),
            ("3 x eager", "stylegan3-t-1024", 32, eager, 3.0),
            ("3 x eager", "stylegan3-r-1024", 32, eager, 3.0)):
        mine, peer = ours.get((net, batch)), best(rows, net, batch, modes)
        if not mine or not peer:
            verdict = "not measured"
        else:
            verdict = f"{peer[0] / mine:.2f} ({peer[1]})"
        reached = bool(mine and peer and peer[0] / mine >= wanted)
        short += not reached
        print(f"  {'reached' if reached else 'SHORT  '} {net:18} N={batch:<3} {words}: {verdict}")
    mine = ours.get(("stylegan2-1024", 1))
    reached = bool(mine and mine <= 0.8)
    short += not reached
    print(f"  {'reached' if reached else 'SHORT  '} stylegan2-1024     N=1   at most 0.8 ms: "
          f"{f'{mine:.3f} ms' if mine else 'not measured'}")
    return short


def main():
    words = argparse.ArgumentParser(description=__doc__,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--seconds", type=float, default=1200)
    words.add_argument("--ours")
    words.add_argument("--out")
    words.add_argument("--one", nargs=2, metavar=("NET", "MODE"))
    asked = words.parse_args()
    if asked.one:
        run_one(*asked.one)
        return 0
    keep = open(asked.out, "w", encoding="utf-8") if asked.out else None
    rows = run_all(asked.seconds, keep)
    if not rows:
        return 1
    if asked.ours:
        return 3 if compare(rows, read_ours(asked.ours)) else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
