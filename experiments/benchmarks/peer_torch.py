"""The network that `bench.py peers` measures, in PyTorch, run by the interpreter of `--peer-python`.

Written from the formulas of the papers: DiT's adaLN-zero (Peebles & Xie 2023) with LightningDiT's RMSNorm, SwiGLU,
rotary positions and normalised queries and keys (Yao et al. 2025).
"""

import math

from peer_side import require, serve

require({"torch": "torch"})

import torch
from torch import nn
from torch.nn import functional as F


class RMSNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return F.rms_norm(x, self.scale.shape, self.scale, 1e-6)


class Attention(nn.Module):
    def __init__(self, dim, heads, tokens):
        super().__init__()
        self.heads, width = heads, dim // heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.q_norm, self.k_norm = RMSNorm(width), RMSNorm(width)
        frequencies = 10000.0 ** (-torch.arange(0, width, 2) / width)
        angles = torch.repeat_interleave(torch.arange(tokens)[:, None] * frequencies, 2, -1)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def rotate(self, x):
        first, second = x[..., ::2], x[..., 1::2]
        return x * self.cos + torch.stack([-second, first], -1).flatten(-2) * self.sin

    def forward(self, x):
        batch, tokens, dim = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = self.rotate(self.q_norm(q)), self.rotate(self.k_norm(k))
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(batch, tokens, dim))


class SwiGlu(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(dim, hidden), nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    def __init__(self, dim, heads, hidden, tokens):
        super().__init__()
        self.attention_norm, self.mlp_norm = RMSNorm(dim), RMSNorm(dim)
        self.attention, self.mlp = Attention(dim, heads, tokens), SwiGlu(dim, hidden)
        self.modulation = nn.Linear(dim, 6 * dim)

    def forward(self, x, condition):
        parts = self.modulation(F.silu(condition))[:, None].chunk(6, -1)
        shift1, scale1, gate1, shift2, scale2, gate2 = parts
        x = x + gate1 * self.attention(self.attention_norm(x) * (1 + scale1) + shift1)
        return x + gate2 * self.mlp(self.mlp_norm(x) * (1 + scale2) + shift2)


class Dit(nn.Module):
    def __init__(self, dim, depth, heads, hidden, tokens, channels, classes):
        super().__init__()
        self.embed = nn.Linear(channels, dim)
        self.register_buffer("positions", torch.randn(tokens, dim) * 0.02)
        self.register_buffer("frequencies", torch.randn(256))
        self.time = nn.Sequential(nn.Linear(512, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.label = nn.Embedding(classes + 1, dim)
        self.blocks = nn.ModuleList(Block(dim, heads, hidden, tokens) for _ in range(depth))
        self.norm, self.modulation = RMSNorm(dim), nn.Linear(dim, 2 * dim)
        self.output = nn.Linear(dim, channels)

    def forward(self, x, t, label):
        angles = 2 * math.pi * t[:, None] * self.frequencies
        condition = self.time(torch.cat([angles.cos(), angles.sin()], -1)) + self.label(label)
        x = self.embed(x) + self.positions
        for block in self.blocks:
            x = block(x, condition)
        shift, scale = self.modulation(F.silu(condition))[:, None].chunk(2, -1)
        return self.output(self.norm(x) * (1 + scale) + shift)


def pieces(spec):
    """Every piece of work by its name; the number of trained parameters and the version; nothing to keep."""
    torch.manual_seed(0)
    torch.set_num_threads(spec["threads"])
    sizes = {
        name: spec[name] for name in ("dim", "depth", "heads", "hidden", "tokens", "channels", "classes")
    }
    network = Dit(**sizes)
    batch, tokens, dim = spec["batch"], spec["tokens"], spec["dim"]
    data = torch.randn(batch, tokens, spec["channels"])
    label = torch.randint(spec["classes"], (batch,))
    hidden = torch.randn(batch, tokens, dim)
    square = torch.ones(spec["matmul"], spec["matmul"])

    def training(network, forward):
        rule = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=0.02, fused=True)

        def update():
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            rule.step()

        def step():
            t, noise = torch.rand(batch), torch.randn_like(data)
            at = t[:, None, None]
            velocity = forward(at * data + (1 - at) * noise, t, label)
            rule.zero_grad()
            F.mse_loss(velocity, data - noise).backward()
            update()

        return step, update

    def value_and_grad(layer):
        def work():
            x = hidden.detach().requires_grad_()
            layer.zero_grad()
            layer(x).square().mean().backward()

        return work

    def forward_of(layer):
        def work():
            with torch.no_grad():
                layer(hidden)

        return work

    compiled = Dit(**sizes)
    linear, attention = nn.Linear(dim, spec["hidden"]), Attention(dim, spec["heads"], tokens)
    step, update = training(network, network)
    step()  # gradients for `update`
    work = {
        "step": step,
        "update": update,
        "compiled_step": training(compiled, torch.compile(compiled))[0],
        "linear": forward_of(linear),
        "linear_grad": value_and_grad(linear),
        "attention": forward_of(attention),
        "attention_grad": value_and_grad(attention),
        "matmul": lambda: square @ square,
    }
    parameters = sum(p.numel() for p in network.parameters())
    keep = lambda name, made: None  # the weights of both sides are different random ones
    return work, {"parameters": parameters, "version": torch.__version__}, keep


if __name__ == "__main__":
    serve(pieces)
