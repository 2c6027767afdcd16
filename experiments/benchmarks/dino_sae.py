"""What a step of a DINO-SAE stage costs: stem, frozen network and convolutional decoder, and linear attention alone.

Frozen weights are random. Operations are counted in the compiled step; those of depthwise convolutions, which are sums
of shifted images, are no products and are not counted.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp

from benchmarks.decoder import compiled_step, random
from benchmarks.matmul import against_matmul, measured, timed
from laminate.nn import LinearAttention
from laminate.parallel.mesh import MeshShape, build_mesh
from laminate.parallel.sharding import place
from laminate.planning.flops import flops_by_opcode
from laminate.planning.hlo import parse_hlo
from laminate.recipes.dino_sae.family import DINO_SAE
from laminate.recipes.dino_sae.modules import MODULES

SIDES = (16, 32, 64)


def measure(*, experiment: str, images: int, turns: int, precision: str) -> dict[str, object]:
    dtype, mesh = jnp.dtype(precision), build_mesh(MeshShape(1))
    recipe = replace(DINO_SAE.names.recipe(experiment), global_batch_size=images)
    frozen = place(random(MODULES.frozen(recipe, weights=False)), mesh)
    compiled, state, batch = compiled_step(DINO_SAE.script, recipe, frozen, mesh, precision)
    kinds = flops_by_opcode(parse_hlo(compiled.as_text()))
    flops = sum(kinds.values())

    def one_step() -> object:
        nonlocal state
        state, metrics = compiled(state, frozen, batch)
        return state, metrics

    speeds = against_matmul(one_step, flops, dtype, turns)
    return {
        "experiment": experiment,
        "images": images,
        "precision": precision,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "gflops_per_image": round(flops / images / 1e9, 2),
        **measured("step", speeds, flops),
        "images_per_s": round(images * speeds[0] / flops, 2),
        "share_convolutions": round(kinds["convolution"] / flops, 3),
        "attention_us_per_token": attention(recipe.decoder.widths[-1], recipe.decoder.head_dim, dtype, turns),
    }


def attention(dim: int, head_dim: int, dtype: jnp.dtype, turns: int) -> dict[str, float]:
    """Microseconds of a token in linear attention over square grids: the same on all, if its cost is linear."""
    layer = jax.jit(lambda key: LinearAttention(dim, head_dim=head_dim, key=key))(jax.random.key(0))
    apply = jax.jit(lambda x: layer(x))
    found: dict[str, float] = {}
    for side in SIDES:
        x = jnp.ones((side**2, dim), dtype)
        timed(lambda x=x: apply(x))
        best = min(timed(lambda x=x: apply(x)) for _ in range(4 * turns))
        found[f"{side}x{side}"] = round(1e6 * best / side**2, 3)
    return found
