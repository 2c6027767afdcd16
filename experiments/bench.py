"""Measurements, one JSON line each: speed as a ratio to a limit that was measured in the same run.

python experiments/bench.py step --size s --depth 4 --images 8     a FlatDINO training step, beside matmul
python experiments/bench.py step --size s --depth 12 48            compile time over depth
python experiments/bench.py data --images 256                      the loader, beside decoding alone
python experiments/bench.py load --megabytes 350                   weights from a file, beside reading it
python experiments/bench.py generate --batches 1 8 64              passes of a generator over 32 and 256 tokens
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class Step:
    """A whole training step of a FlatDINO β-VAE on patch features: forward, backward, clipping, AdamW."""

    size: Literal["t", "s", "b", "l", "xl"] = "s"
    """Size of encoder and decoder, with parameter-matched SwiGLU."""
    depth: tuple[int, ...] = (4,)
    """Layers of each of the two; several are measured in turn."""
    images: int = 8
    """Images per step and device."""
    patches: int = 256
    """Teacher patches per image, of 768 numbers."""
    tokens: int = 32
    """Latent tokens, of 128 numbers."""
    turns: int = 5
    """How often step and matmul are timed, in turn; the median ratio is reported."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of step and matmul."""
    remat: Literal["none", "dots", "block", "attention"] = "none"
    """What the backward pass computes again."""
    mesh: str = "1x1"
    """Devices, as in vae.py."""


@dataclass(frozen=True)
class Data:
    """The loader on synthetic 500x375 JPEGs of 90 KB, to random crops of 256x256."""

    images: int = 256
    """Images."""
    turns: int = 8
    """How often every method is visited."""


@dataclass(frozen=True)
class Load:
    """Weights from a safetensors file: mapped, checked for NaN, with and without its hash."""

    megabytes: int = 350
    """Size of the file."""
    turns: int = 8
    """How often every method is visited."""


@dataclass(frozen=True)
class Generate:
    """Passes of a LightningDiT over 32 and 256 tokens of 128 numbers, and the price of guidance."""

    size: Literal["s", "b", "l", "xl"] = "s"
    """Size of the network."""
    depth: int = 0
    """Layers, 0 for all of that size."""
    batches: tuple[int, ...] = (1, 4, 16, 64)
    """Images in a pass; several are measured in turn."""
    turns: int = 5
    """How often everything is timed, in turn."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of network and matmul."""


Command = (
    Annotated[Step, tyro.conf.subcommand(name="step")]
    | Annotated[Data, tyro.conf.subcommand(name="data")]
    | Annotated[Load, tyro.conf.subcommand(name="load")]
    | Annotated[Generate, tyro.conf.subcommand(name="generate")]
)

if __name__ == "__main__":  # before the imports below, which --help need not wait for
    COMMAND = tyro.cli(Command, description=__doc__)

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from laminate.bottlenecks.gaussian import Gaussian
from laminate.losses.divergence import kl_loss, kl_weight
from laminate.losses.reconstruction import mse_loss
from laminate.models import Trunk, Vit
from laminate.parallel.mesh import build_mesh, parse_mesh, prepare_devices
from laminate.parallel.sharding import batch_sharding, initialize
from laminate.recipes.sizes import SIZES, matched_hidden
from laminate.tokenizers import FlatDino
from laminate.train.optim import adamw
from laminate.train.schedules import constant
from laminate.train.state import init_state
from laminate.train.step import make_step

TEACHER_DIM, FEATURES = 768, 128
MATMUL = 2048  # side of the square matrices whose product is the limit


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - began


def matmul_flops(vit: Vit, sequence: int, tokens: int) -> int:
    """Floating-point operations of one forward pass over one image: matrix products only, a multiply-add is two."""
    matrices = sum(leaf.size for leaf in jax.tree.leaves(vit.stack) if leaf.ndim == 3)
    heads_dim = vit.stack.layers.attention.heads * vit.stack.layers.attention.head_dim
    projections = sum(0 if p is None else p.weight.size for p in (vit.input, vit.output)) * tokens
    return 2 * (matrices * sequence + projections) + 4 * vit.stack.depth * sequence**2 * heads_dim


def build(options: Step, depth: int, key: jax.Array) -> FlatDino:
    size = SIZES[options.size]
    trunk = Trunk(size.dim, depth, size.heads, matched_hidden(size.dim), remat=options.remat)
    k_encoder, k_decoder = jax.random.split(key)
    encoder = Vit(
        trunk,
        tokens=options.patches,
        in_dim=TEACHER_DIM,
        out_dim=2 * FEATURES,
        registers=options.tokens,
        positions="none",
        key=k_encoder,
    )
    decoder = Vit(
        trunk,
        tokens=options.tokens,
        in_dim=FEATURES,
        out_dim=TEACHER_DIM,
        registers=options.patches,
        key=k_decoder,
    )
    return FlatDino(encoder, Gaussian(FEATURES), decoder)


def make_objective(options: Step):
    beta, dtype = kl_weight(options.tokens, FEATURES), jnp.dtype(options.precision)

    def objective(tokenizer, frozen, example, *, step, key):
        z, posterior = tokenizer.compress(example["features"].astype(dtype), key=key)
        rebuilt = tokenizer.expand(z, dtype=dtype).final
        return mse_loss(rebuilt, example["features"]) + beta * kl_loss(*posterior), {}

    return objective


def bench_step(options: Step, depth: int) -> dict[str, object]:
    shape, devices = prepare_devices(parse_mesh(options.mesh))
    mesh, dtype = build_mesh(shape), jnp.dtype(options.precision)
    optimizer = adamw(constant(1e-4))
    fresh = lambda key: init_state(build(options, depth, key), optimizer, averaged=False, key=key)
    state = initialize(fresh, mesh, jax.random.key(0))
    model, images = state.model, options.images * shape.devices
    sequence = options.patches + options.tokens
    forward = matmul_flops(model.encoder, sequence, options.patches)
    forward += matmul_flops(model.decoder, sequence, sequence)
    features = np.random.default_rng(0).standard_normal((images, options.patches, TEACHER_DIM), np.float32)
    batch = {"features": jax.device_put(features, batch_sharding(mesh))}
    step = make_step(make_objective(options), optimizer, state, (), mesh=mesh, compute_dtype=dtype)
    began = time.perf_counter()
    lowered = step.lower(state, (), batch)
    traced = time.perf_counter()
    compiled = lowered.compile()
    return {
        "bench": "step",
        "size": options.size,
        "depth": depth,
        "images": images,
        "devices": f"{shape}, {devices}",
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "trace_s": round(traced - began, 2),
        "compile_s": round(time.perf_counter() - traced, 2),
        "temporaries_mb": round(compiled.memory_analysis().temp_size_in_bytes / 1e6, 1),
        **against_matmul(compiled, state, batch, 3 * images * forward, dtype, options.turns),
        "process_peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1),
    }


def against_matmul(compiled, state, batch, flops: int, dtype: jnp.dtype, turns: int) -> dict[str, float]:
    """Step and large matrix product timed in turn, so that both see the same machine; medians."""
    square = jnp.ones((MATMUL, MATMUL), dtype)
    matmul = jax.jit(jnp.matmul)
    limit = lambda: 2 * MATMUL**3 / timed(lambda: matmul(square, square))
    limit()
    state, _ = jax.block_until_ready(compiled(state, (), batch))
    speeds, limits = [], []
    for _ in range(turns):
        before, began = limit(), time.perf_counter()
        state, _ = jax.block_until_ready(compiled(state, (), batch))
        speeds.append(flops / (time.perf_counter() - began))
        limits.append((before + limit()) / 2)
    return {
        "step_ms": round(1e3 * flops / statistics.median(speeds), 1),
        "step_gflops_per_s": round(statistics.median(speeds) / 1e9, 1),
        "matmul_gflops_per_s": round(statistics.median(limits) / 1e9, 1),
        "fraction_of_matmul": round(
            statistics.median(speed / limit for speed, limit in zip(speeds, limits, strict=True)), 3
        ),
    }


def main(command: Command) -> None:
    if isinstance(command, Step):
        for depth in command.depth:
            sys.stdout.write(json.dumps(bench_step(command, depth)) + "\n")
            sys.stdout.flush()
        return
    if isinstance(command, Generate):
        from bench_generate import measure as measure_generation

        for result in measure_generation(
            size=command.size,
            depth=command.depth,
            batches=command.batches,
            turns=command.turns,
            precision=command.precision,
        ):
            sys.stdout.write(json.dumps(result) + "\n")
            sys.stdout.flush()
        return
    if isinstance(command, Load):
        from bench_load import measure as measure_loading

        result = {"bench": "load", **measure_loading(megabytes=command.megabytes, turns=command.turns)}
    else:
        from bench_data import measure as measure_data

        result = {"bench": "data", **measure_data(images=command.images, turns=command.turns)}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(COMMAND)
