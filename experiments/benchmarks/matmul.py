"""The limit of what is made of matrix products: a large one, timed in turn with the work, on the same machine."""

import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from laminate.models import Vit

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


def against_matmul(
    work: Callable[[], object], flops: int, dtype: jnp.dtype, turns: int
) -> tuple[float, float, float]:
    """FLOP/s of `work`, which is of so many `flops`, those of the product, and their ratio: medians over `turns`."""
    square = jnp.ones((MATMUL, MATMUL), dtype)
    matmul = jax.jit(jnp.matmul)
    limit = lambda: 2 * MATMUL**3 / timed(lambda: matmul(square, square))
    limit()
    timed(work)
    speeds, limits = [], []
    for _ in range(turns):
        before = limit()
        speeds.append(flops / timed(work))
        limits.append((before + limit()) / 2)
    ratios = [speed / limit for speed, limit in zip(speeds, limits, strict=True)]
    return statistics.median(speeds), statistics.median(limits), statistics.median(ratios)


def measured(name: str, speeds: tuple[float, float, float], flops: int) -> dict[str, float]:
    """What `against_matmul` found, as a line of results."""
    speed, limit, ratio = speeds
    return {
        f"{name}_ms": round(1e3 * flops / speed, 1),
        f"{name}_gflops_per_s": round(speed / 1e9, 1),
        "matmul_gflops_per_s": round(limit / 1e9, 1),
        "fraction_of_matmul": round(ratio, 3),
    }
