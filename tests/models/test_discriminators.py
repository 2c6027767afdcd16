"""What discriminators promise each other: one interface, bounded layers, and statistics of the global batch."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from laminate.models.dino_discriminator import DinoDiscriminator
from laminate.models.discriminator import Pixels
from laminate.models.patchgan import PatchGan
from laminate.models.windows import Windows
from laminate.nn import SpectralNorm
from laminate.parallel.collectives import mesh_mean
from laminate.parallel.mesh import AXES, MeshShape, build_mesh
from laminate.types import is_buffer, join_buffers, split_buffers
from tests.oracles.arrays import filled, normal

IMAGES = jnp.tanh(normal(0, 4, 8, 12, 3))
WINDOWS = Windows(4, 2)
NORMS = ("batch", "spectral", "group")


def patchgan(norm):
    made = filled(lambda key: PatchGan(layers=1, width=4, norm=norm, key=key))
    if norm != "batch":
        return made
    positive = lambda m: [stage.norm.variance.value for stage in m.stages[1:]]
    return eqx.tree_at(positive, made, replace_fn=lambda a: jnp.exp(a))


PARTS = {
    **{f"patchgan-{norm}": (Pixels(), partial(patchgan, norm)) for norm in NORMS},
    "windows": (WINDOWS, lambda: filled(lambda key: DinoDiscriminator(48, 2, kernel=3, key=key))),
}
every = pytest.mark.parametrize("name", PARTS)


@jax.jit
def trained(discriminator, features):
    """Logits of a training pass, what is kept, and the gradient of a loss by the trained parameters."""
    params, buffers = split_buffers(discriminator)

    def loss(params):
        now, kept = join_buffers(params, buffers).training(features)
        logits = jax.vmap(now)(features)
        return jnp.mean(jnp.sin(logits)), (logits, kept)

    (_, (logits, kept)), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    return logits, kept, gradient


@every
def test_training_changes_buffers_alone_and_evaluation_nothing(name):
    backbone, make = PARTS[name]
    discriminator, features = make(), jax.jit(jax.vmap(backbone))(IMAGES)
    logits, kept, gradient = trained(discriminator, features)
    assert logits.dtype == jnp.float32 and logits.ndim == 2 and np.isfinite(logits).all()
    before, after = split_buffers(discriminator), split_buffers(kept)
    assert jax.tree.structure(kept) == jax.tree.structure(discriminator)
    assert jax.tree.all(jax.tree.map(np.array_equal, before[0], after[0]))
    moved = [
        not np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (before[1], after[1])), strict=True)
    ]
    assert bool(moved) == (name in ("patchgan-batch", "patchgan-spectral", "windows"))
    assert sum(moved) >= len(moved) - 3  # the vector of a layer with one output is 1 or -1 already
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    one = jax.jit(lambda d, f: d(f))(discriminator, jax.tree.map(lambda a: a[1], features))
    peak = float(jnp.max(jnp.abs(one)))
    np.testing.assert_allclose(jax.jit(jax.vmap(discriminator))(features)[1], one, atol=2e-6 * peak)


@every
def test_half_precision_goes_through_and_logits_are_float32(name):
    backbone, make = PARTS[name]
    half = jax.eval_shape(lambda d, image: d(backbone(image)), make(), IMAGES[0].astype(jnp.bfloat16))
    assert half.dtype == jnp.float32


def test_statistics_over_a_mesh_are_those_of_the_global_batch():
    discriminator, mesh = patchgan("batch"), build_mesh(MeshShape(1, 2, 2), jax.devices()[:4])

    def local(discriminator, images):
        def loss(params):
            now, kept = join_buffers(params, buffers).training(images, average=mesh_mean, parts=4)
            return mesh_mean(jnp.mean(jnp.sin(jax.vmap(now)(images)))), kept

        params, buffers = split_buffers(discriminator)
        (value, kept), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        return value, kept, gradient

    run = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=(P(), P(AXES)), out_specs=P()))
    _, kept, gradient = run(discriminator, IMAGES)
    _, kept_whole, gradient_whole = trained(discriminator, IMAGES)
    for found, wanted in ((kept, kept_whole), (gradient, gradient_whole)):
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_two_passes_go_on_from_each_other_with_one_set_of_parameters():
    discriminator = patchgan("spectral")

    @jax.jit
    def sigmas(discriminator):
        _, first = discriminator.training(IMAGES)
        _, second = first.training(IMAGES)
        spectral = lambda m: [stage.conv for stage in m.stages]
        return [[layer.sigma() for layer in spectral(m)] for m in (first, second)]

    first, second = np.asarray(sigmas(discriminator))
    assert np.all(second > first)


def test_without_batch_norm_no_image_looks_at_another():
    features = jax.vmap(WINDOWS)(IMAGES)
    heads = PARTS["windows"][1]()
    other = jax.tree.map(lambda a: a.at[2].set(0.5), features)
    kept, changed = (np.asarray(trained(heads, f)[0]) for f in (features, other))
    np.testing.assert_allclose(np.delete(kept, 2, 0), np.delete(changed, 2, 0), atol=1e-6)
    assert np.any(kept[2] != changed[2])


def test_windows_lie_across_the_seams_of_each_other_and_hold_every_pixel_once():
    image = jnp.arange(8 * 12 * 2, dtype=jnp.float32).reshape(8, 12, 2)
    maps = Windows(4, 4)(image)
    assert [m.shape for m in maps] == [(6, 32)] * 4
    for offset, tokens in enumerate(maps):
        np.testing.assert_array_equal(np.sort(np.asarray(tokens).ravel()), np.arange(image.size))
        first = np.roll(np.asarray(image), (-offset, -offset), (0, 1))[:4, :4]
        np.testing.assert_array_equal(np.asarray(tokens[0]).reshape(4, 4, 2), first)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_patch_is_as_wide_as_the_layers_make_it(layers):
    network = filled(lambda key: PatchGan(layers=layers, width=2, norm="none", key=key))
    side = 3 * 2**layers + 6
    count = (side // 2**layers - 2) ** 2
    gradient = jax.jit(jax.grad(lambda x: network(x)[count // 2]))(normal(1, side, side, 3))
    rows = np.flatnonzero(np.asarray(gradient).any((1, 2)))
    reach = 1
    for stride in (1, 1, *(2,) * layers):
        reach = reach * stride + 4 - stride
    assert rows[-1] - rows[0] + 1 <= reach
    with pytest.raises(ValueError, match=f"at least {3 * 2**layers} pixels, or fewer layers"):
        network(normal(1, 3 * 2**layers - 1, side, 3))


@pytest.mark.parametrize(
    ("make", "wanted"),
    [(lambda key: DinoDiscriminator(384, key=key), 7_386_245), (lambda key: PatchGan(key=key), 2_765_633)],
)
def test_the_published_sizes_have_the_published_number_of_parameters(make, wanted):
    leaves = jax.tree.leaves(eqx.filter_eval_shape(make, jax.random.key(0)), is_leaf=is_buffer)
    assert sum(leaf.size for leaf in leaves if not is_buffer(leaf)) == wanted


def test_every_convolution_of_a_spectral_discriminator_is_bounded():
    network = patchgan("spectral")
    assert all(
        isinstance(layer, SpectralNorm) for layer in [s.conv for s in network.stages] + [network.output]
    )
    assert all(stage.norm is None for stage in network.stages)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda key: PatchGan(layers=0, key=key), "layers >= 1, got layers=0"),
        (lambda key: DinoDiscriminator(8, 0, key=key), "at least one map to judge, got taps=0"),
        (lambda key: DinoDiscriminator(8, 1, norm="gn", key=key), "groups=32 must divide the width 8"),
        (lambda key: Windows(4, 5), "1 to 4 offsets, got taps=5"),
        (lambda key: Windows(4, 2)(IMAGES[0][:6]), "6x12 is no whole number of windows of 4"),
        (lambda key: PARTS["windows"][1]()(WINDOWS(IMAGES[0])[:1]), "2 heads were given 1 maps"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        eqx.filter_eval_shape(make, jax.random.key(0))
