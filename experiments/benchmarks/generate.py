"""What drawing costs: passes of a diffusion transformer over few and many tokens, guidance, compilations.

`ratio` is images a second at 32 tokens over those at 256, of networks of equal size (the paper's Figure 15);
`int8_time` is the time of a pass whose layers are in int8 over that of the same without. `fraction_of_matmul` is the
speed of a pass beside that of a large matrix product, timed in turn with it. `inside` and
`outside` are the time of a guided sampler, all or none of whose steps lie in its interval, over one without guidance.
"""

from collections.abc import Iterator
from dataclasses import replace

import jax
import jax.numpy as jnp

from laminate.analysis.generation import FlowConfig
from laminate.analysis.sampling import SamplerConfig, SamplerParams, make_sampler
from laminate.flow import EULER, Interval, solve, time_grid
from laminate.parallel.mesh import MeshShape, build_mesh
from laminate.recipes.embedded import LATENT
from laminate.recipes.generator.costs import generator_flops
from laminate.recipes.generator.modules import generator
from laminate.recipes.generator.presets import named_generator
from laminate.recipes.latent import LatentSpec, for_latents
from laminate.recipes.modules import image_tokenizer
from laminate.runs.analyses.speed import compiled_pass, in_turn
from laminate.tokenizers.latent_decoders import OwnLatentDecoder

MATMUL = 2048
FEATURES = 128
TOKENS = (32, 256)


def measure(
    *, size: str, depth: int, batches: tuple[int, ...], turns: int, precision: str
) -> Iterator[dict[str, object]]:
    named = named_generator(f"dit{size}")
    recipe = replace(named, network=replace(named.network, depth=depth or named.network.depth))
    for batch in batches:
        yield {"size": size, **passes(recipe, batch, turns, jnp.dtype(precision))}
    yield {"size": size, **guidance(recipe, turns, jnp.dtype(precision))}


def passes(recipe, batch, turns, dtype):
    """One pass of the network over a batch, at either number of tokens, beside the matrix product."""
    calls, flops = {}, {}
    for tokens in TOKENS:
        sized = for_latents(recipe, LatentSpec(tokens, FEATURES, recipe.augment.image_size))
        calls[tokens] = compiled_pass(sized, batch, dtype)
        calls[f"int8_{tokens}"] = compiled_pass(sized, batch, dtype, "int8")
        flops[tokens] = 2 * batch * generator_flops(sized)
    square = jnp.ones((MATMUL, MATMUL), dtype)
    product = jax.jit(jnp.matmul).lower(square, square).compile()
    calls["matmul"] = lambda: product(square, square)
    seconds = in_turn(calls, turns)
    speed = {tokens: flops[tokens] / seconds[tokens] for tokens in TOKENS}
    limit = 2 * MATMUL**3 / seconds["matmul"]
    return {
        "batch": batch,
        **{f"images_per_s_{tokens}": round(batch / seconds[tokens], 1) for tokens in TOKENS},
        "ratio": round(seconds[256] / seconds[32], 2),
        **{f"int8_time_{tokens}": round(seconds[f"int8_{tokens}"] / seconds[tokens], 2) for tokens in TOKENS},
        **{f"fraction_of_matmul_{tokens}": round(speed[tokens] / limit, 3) for tokens in TOKENS},
    }


def guidance(recipe, turns, dtype, *, batch=16, steps=4):
    """A sampler all of whose steps are inside the interval, or none, and one without guidance.

    `programs` counts those that the guided one needed for other steps, scales and seeds: 1.
    """
    sized = for_latents(recipe, LATENT)
    network = generator(sized, key=jax.random.key(0))
    shapes = image_tokenizer(None, like=LATENT)
    tokenizer = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.02, leaf.dtype), shapes)
    frozen = OwnLatentDecoder(tokenizer), tokenizer.normalization, None
    flow = FlowConfig.of(replace(sized, normalize=True), dtype)
    inside = Interval(0.0, 1.0, closed=True)
    chosen = {
        "outside": SamplerParams(0, time_grid(steps), scale=3.0, interval=Interval(1.0, 1.0, closed=True)),
        "inside": SamplerParams(0, time_grid(steps), scale=3.0, interval=inside),
        "longer": SamplerParams(1, time_grid(2 * steps), scale=2.0, interval=inside),
    }
    mesh = build_mesh(MeshShape(1))
    first = (*frozen, chosen["inside"])
    draw = make_sampler(flow, SamplerConfig(EULER), network, first, mesh=mesh)
    rows = {"label": jnp.zeros((batch,), jnp.int32), "index": jnp.arange(batch, dtype=jnp.uint32)}
    calls = {name: lambda k=params: draw(network, (*frozen, k), rows) for name, params in chosen.items()}
    decoder, normalization, _ = frozen

    @jax.jit
    def unguided(network, decoder, normalization, rows):
        def one(label, index):
            noise = jax.random.normal(
                jax.random.fold_in(jax.random.key(0), index), (sized.tokens, sized.latent_dim)
            )
            velocity = lambda x, t: flow.velocity(network, x, t, label)
            drawn = solve(velocity, noise, time_grid(steps), EULER).state
            return decoder(flow.raw(normalization, drawn), dtype=flow.dtype)

        return jax.vmap(one)(rows["label"], rows["index"])

    calls["unguided"] = lambda: unguided(network, decoder, normalization, rows)
    seconds = in_turn(calls, turns)
    return {
        "batch": batch,
        "inside_over_unguided": round(seconds["inside"] / seconds["unguided"], 2),
        "outside_over_unguided": round(seconds["outside"] / seconds["unguided"], 2),
        "programs": draw._cache_size(),
    }
