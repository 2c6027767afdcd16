"""A training step of a FlatDINO β-VAE on patch features beside a large matrix product, and what compiling it takes."""

import resource
import time
from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from benchmarks.matmul import against_matmul, matmul_flops, measured
from laminate.bottlenecks.gaussian import Gaussian
from laminate.losses.divergence import kl_loss, kl_weight
from laminate.losses.reconstruction import mse_loss
from laminate.models import Trunk, Vit
from laminate.parallel.mesh import build_mesh, parse_mesh, prepare_devices
from laminate.parallel.sharding import batch_sharding, initialize
from laminate.recipes.network import Remat
from laminate.recipes.sizes import SIZES, matched_hidden
from laminate.tokenizers import FlatDino
from laminate.train.optim import adamw
from laminate.train.schedules import constant
from laminate.train.state import init_state
from laminate.train.step import Objective, make_step

TEACHER_DIM, FEATURES = 768, 128


def build(size: str, depth: int, patches: int, tokens: int, remat: Remat, key: jax.Array) -> FlatDino:
    shape = SIZES[size]
    trunk = Trunk(shape.dim, depth, shape.heads, matched_hidden(shape.dim), remat=remat)
    k_encoder, k_decoder = jax.random.split(key)
    encoder = Vit(
        trunk,
        tokens=patches,
        in_dim=TEACHER_DIM,
        out_dim=2 * FEATURES,
        registers=tokens,
        positions="none",
        key=k_encoder,
    )
    decoder = Vit(
        trunk,
        tokens=tokens,
        in_dim=FEATURES,
        out_dim=TEACHER_DIM,
        registers=patches,
        key=k_decoder,
    )
    return FlatDino(encoder, Gaussian(FEATURES), decoder)


def make_objective(tokens: int, dtype: jnp.dtype) -> Objective:
    beta = kl_weight(tokens, FEATURES)

    def objective(tokenizer, frozen, example, *, step, key):
        z, posterior = tokenizer.encode_raw(example["features"].astype(dtype), key=key)
        rebuilt = tokenizer.decode_raw(z, dtype=dtype).final
        return mse_loss(rebuilt, example["features"]) + beta * kl_loss(*posterior), {}

    return objective


def measure(
    *,
    size: str,
    depth: tuple[int, ...],
    images: int,
    patches: int,
    tokens: int,
    turns: int,
    precision: str,
    remat: Remat,
    mesh: str,
) -> Iterator[dict[str, object]]:
    shape, devices = prepare_devices(parse_mesh(mesh))
    for layers in depth:
        make = partial(build, size, layers, patches, tokens, remat)
        batch = np.random.default_rng(0).standard_normal(
            (images * shape.devices, patches, TEACHER_DIM), np.float32
        )
        step = _step(make, batch, tokens, build_mesh(shape), jnp.dtype(precision), turns)
        yield {"size": size, "depth": layers, "devices": f"{shape}, {devices}", **step}


def _step(
    make: Callable[[jax.Array], FlatDino],
    features: np.ndarray,
    tokens: int,
    mesh: Mesh,
    dtype: jnp.dtype,
    turns: int,
) -> dict[str, object]:
    optimizer = adamw(constant(1e-4))
    fresh = lambda key: init_state(make(key), optimizer, averaged=False, key=key)
    state = initialize(fresh, mesh, jax.random.key(0))
    model, (images, patches, _) = state.model, features.shape
    sequence = patches + tokens
    forward = matmul_flops(model.encoder, sequence, patches)
    forward += matmul_flops(model.decoder, sequence, sequence)
    batch = {"features": jax.device_put(features, batch_sharding(mesh))}
    step = make_step(make_objective(tokens, dtype), optimizer, state, (), mesh=mesh, compute_dtype=dtype)
    began = time.perf_counter()
    lowered = step.lower(state, (), batch)
    traced = time.perf_counter()
    compiled, flops = lowered.compile(), 3 * images * forward

    def one_step() -> object:
        nonlocal state
        state, metrics = compiled(state, (), batch)
        return state, metrics

    return {
        "images": images,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "trace_s": round(traced - began, 2),
        "compile_s": round(time.perf_counter() - traced, 2),
        "temporaries_mb": round(compiled.memory_analysis().temp_size_in_bytes / 1e6, 1),
        **measured("step", against_matmul(one_step, flops, dtype, turns), flops),
        "process_peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1),
    }
