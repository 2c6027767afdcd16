"""What a step of an image decoder costs: decoder, discriminator and the frozen networks beside them, and their shares.

Frozen weights are random, of the shapes of the published ones: speed does not depend on them. Operations are counted
in the compiled step, by the scopes of `train.gan_step.SCOPES`. `prepare_passes` is how often teacher and tokenizer run
on the batch (both players share one pass), `real_passes` how often the discriminator's backbone sees the real images;
they are None where these have no matrix products.

A PatchGAN's share of matmul is that of XLA's convolutions. Products over patches are no faster: on two cores, 8
images of 64 pixels, XLA's convolutions of a PatchGAN reach 0.50 of matmul forward, 0.55 for the gradient in the input
and 0.53 in the weights, products 0.53, 0.44 and 0.33; for one of 256 pixels 0.70, 0.65 and 0.50 against 0.37, 0.58
and 0.26 (CPU time of the busier core). The patches of a 4x4 kernel of stride 2 are four times the image, and are
written and read once more for each gradient.
"""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.matmul import against_matmul, matmul_flops, measured
from benchmarks.teacher import forward_flops
from laminate.parallel.mesh import MeshShape, build_mesh
from laminate.parallel.sharding import batch_sharding, initialize, place
from laminate.planning.flops import count_flops, flops_by_scope
from laminate.planning.hlo import parse_hlo
from laminate.pretrained.discriminators import VitBackbone
from laminate.pretrained.teachers import VitTeacher
from laminate.recipes.image_decoder.family import IMAGE_DECODER
from laminate.recipes.image_decoder.modules import MODULES
from laminate.recipes.network import Compute
from laminate.runs.experiment import load_experiment
from laminate.runs.task import learning_rate
from laminate.tokenizers.features import FeatureTokenizer
from laminate.train.gan_step import SCOPES

DISCRIMINATORS = ("dino_discriminator", "patchgan")
STEPS = 100


def compiled_step(script, recipe, frozen, mesh, precision):
    """The compiled step of an experiment on images of noise, its first state and a batch."""
    images, side = recipe.global_batch_size, recipe.image_size
    task = load_experiment(script, beside=Path(__file__).parent).make_task(recipe, frozen, Compute(precision))
    counts = recipe.schedule.counts(examples=images, global_batch_size=images)
    optimizer = task.optimizer(learning_rate(recipe.schedule, counts), counts)
    state = initialize(task.init_state(optimizer), mesh, *jax.random.split(jax.random.key(0)))
    pixels = np.random.default_rng(0).integers(0, 256, (images, side, side, 3), np.uint8)
    batch = {"image": jax.device_put(pixels, batch_sharding(mesh))}
    step = task.step(optimizer, state, mesh=mesh, micro_batches=1, compute_dtype=jnp.dtype(precision))
    return step.lower(state, frozen, batch).compile(), state, batch


def measure(*, experiment: str, depth: int, images: int, turns: int, precision: str) -> dict[str, object]:
    dtype, mesh = jnp.dtype(precision), build_mesh(MeshShape(1))
    recipe = replace(IMAGE_DECODER.names.recipe(experiment).in_steps(STEPS), global_batch_size=images)
    recipe = replace(recipe, network=replace(recipe.network, depth=depth or recipe.network.depth))
    frozen = place(random(MODULES.frozen(recipe, weights=False)), mesh)
    compiled, state, batch = compiled_step(IMAGE_DECODER.script, recipe, frozen, mesh, precision)
    program = parse_hlo(compiled.as_text())
    flops = count_flops(program).total
    scopes = flops_by_scope(program, (*DISCRIMINATORS, *SCOPES))
    passes = {
        "prepare": prepare_flops(frozen),
        "see_real": seen_flops(frozen),
        "see_fake": seen_flops(frozen),
    }
    parameters = [sum(leaf.size for leaf in jax.tree.leaves(s.params)) for s in (state, state.discriminator)]

    def one_step() -> object:
        nonlocal state
        state, metrics = compiled(state, frozen, batch)
        return state, metrics

    speeds = against_matmul(one_step, flops, dtype, turns)
    discriminator = sum(scopes[name] for name in DISCRIMINATORS)
    return {
        "experiment": experiment,
        "images": images,
        "precision": precision,
        "parameters": parameters[0],
        "discriminator_parameters": parameters[1],
        "gflops_per_image": round(flops / images / 1e9, 2),
        **measured("step", speeds, flops),
        "images_per_s": round(images * speeds[0] / flops, 2),
        "share_decoder": round(scopes["decoder"] / flops, 3),
        "share_discriminator": round(discriminator / flops, 3),
        "share_frozen": round((flops - scopes["decoder"] - discriminator - scopes[""]) / flops, 3),
        "share_optimiser": round(scopes[""] / flops, 3),
        "shares": {name: round(scopes[name] / flops, 3) for name in SCOPES},
        "prepare_passes": times(scopes["prepare"], images * passes["prepare"]),
        "real_passes": times(scopes["see_real"], images * passes["see_real"]),
        "fake_passes": times(scopes["see_fake"], images * passes["see_fake"]),
    }


def random(shapes):
    """Arrays for shapes."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: np.asarray(0.02 * rng.standard_normal(leaf.shape), leaf.dtype), shapes)


def prepare_flops(frozen) -> int:
    """Of teacher and tokenizer's encoder for one image."""
    teacher = frozen.tokenizer.teacher
    flops = forward_flops(teacher) if isinstance(teacher, VitTeacher) else 0
    if isinstance(frozen.tokenizer, FeatureTokenizer):
        encoder = frozen.tokenizer.tokenizer.encoder
        patches = teacher.tokens
        # All tokens leave through the last map, the registers' alone are used.
        flops += matmul_flops(encoder, patches + encoder.prefix, patches)
        flops += 0 if encoder.output is None else 2 * encoder.output.weight.size * encoder.prefix
    return flops


def seen_flops(frozen) -> int:
    """Of the discriminator's backbone for one image."""
    return forward_flops(frozen.backbone.network) if isinstance(frozen.backbone, VitBackbone) else 0


def times(flops: int, once: int) -> float | None:
    return round(flops / once, 3) if once else None
