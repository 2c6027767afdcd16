"""Networks over patches at any places: padding, windows, halves, and the released code's numbers."""

import math
from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.data.patches import from_patches, patch_grid, to_patches
from laminate.models.naflex import (
    NaFlexAutoencoder,
    NaFlexTransformer,
    Places,
    Window,
    naflex_trunk,
    whole_grid,
)
from laminate.nn import Attention, RMSNorm, Rotary, place_angles, trunc_normal
from laminate.pretrained.keymaps.base import export, load
from laminate.pretrained.keymaps.vitok import autoencoder_slots

PATCH, CHANNELS = 2, 5
INIT = trunc_normal(0.3)


def network(window: Window | None = None, *, registers: int = 0, layer_scale: float | None = 0.7):
    """An encoder and a decoder of other sizes, with weights that let every token matter."""

    def half(width: int, depth: int, heads: int, in_dim: int, out_dim: int, key: jax.Array):
        trunk = naflex_trunk(width, depth, heads, layer_scale=layer_scale, init=INIT)
        return NaFlexTransformer(
            trunk, in_dim, out_dim, registers=registers, window=window, table_init=INIT, key=key
        )

    pixels = 3 * PATCH**2
    return NaFlexAutoencoder(
        half(16, 2, 2, pixels, CHANNELS, jax.random.key(1)),
        half(12, 3, 3, CHANNELS, pixels, jax.random.key(2)),
        patch=PATCH,
    )


@cache
def compiled(window: Window | None = None):
    model = network(window, registers=1)

    @jax.jit
    @jax.vmap
    def run(patches: jax.Array, places: Places) -> tuple[jax.Array, jax.Array]:
        latents = model.encode(patches, places)
        return latents, model.decode(latents, places)

    return run


def there_and_back(images: list[np.ndarray], tokens: int, window: Window | None = None):
    patched = [to_patches(image, PATCH, tokens) for image in images]
    row, col, mask, patches = (
        jnp.asarray(np.stack([one[name] for one in patched])) for name in ("row", "col", "mask", "patches")
    )
    latents, decoded = compiled(window)(patches, Places(row, col, mask))
    return np.asarray(latents), np.asarray(decoded), patched


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(height, width, 3)).astype(np.float32)


@pytest.mark.parametrize("window", [None, Window(1), Window(2, "raster")])
@given(height=st.integers(1, 9), width=st.integers(1, 9))
def test_an_image_has_the_same_latents_alone_in_a_batch_and_with_more_padding(window, height, width):
    image, used = picture(height, width), math.prod(patch_grid(height, width, PATCH))
    alone, decoded, _ = there_and_back([image] * 3, 25, window)
    for tokens, others in ((25, [picture(10, 10, 1), picture(1, 1, 2)]), (60, [picture(20, 12, 3)] * 2)):
        among, of_others, patched = there_and_back([image, *others], tokens, window)
        np.testing.assert_allclose(among[0, :used], alone[0, :used], atol=2e-5)
        np.testing.assert_allclose(of_others[0, :used], decoded[0, :used], atol=2e-5)
        assert not among[0, used:].any() and not of_others[0, used:].any()
        assert np.isfinite(of_others).all() and np.isfinite(among).all()
        back = from_patches(patched[0] | {"patches": of_others[0]}, PATCH)
        assert back.shape == image.shape


def test_what_stands_in_padding_changes_nothing():
    patched = to_patches(picture(5, 4), PATCH, 25)
    arrays = [jnp.asarray(patched[name])[None] for name in ("patches", "row", "col", "mask")]
    patches, row, col, mask = arrays
    noise = jnp.where(mask[..., None], patches, 1e3)
    elsewhere = jnp.where(mask, row, 17)
    for given_patches, given_row in ((noise, row), (patches, elsewhere), (noise, elsewhere)):
        changed = compiled()(given_patches, Places(given_row, col, mask))
        for one, other in zip(changed, compiled()(patches, Places(row, col, mask)), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)


def test_an_image_without_a_valid_token_is_zeros_with_finite_gradients():
    model = network(Window(1), registers=1)
    nowhere = Places(*(jnp.zeros(25, jnp.int32),) * 2, jnp.zeros(25, bool))

    @jax.jit
    @jax.value_and_grad
    def loss(patches: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(model(patches, nowhere)))

    value, gradient = loss(jnp.ones((25, 12)))
    assert value == 0 and np.isfinite(gradient).all()


def test_latents_have_mean_zero_and_variance_one_token_by_token():
    latents, _, patched = there_and_back([picture(7, 9)], 25)
    valid = latents[0][patched[0]["mask"]]
    np.testing.assert_allclose(valid.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(valid.var(axis=1), 1, atol=1e-3)


def test_without_a_mask_a_full_grid_gives_the_same():
    model, image = network(), picture(6, 8)
    patched = to_patches(image, PATCH, 12)
    masked = Places(*(jnp.asarray(patched[name]) for name in ("row", "col", "mask")))
    run = jax.jit(lambda patches, places: model(patches, places))
    patches = jnp.asarray(patched["patches"])
    np.testing.assert_allclose(run(patches, masked), run(patches, whole_grid(3, 4)), atol=2e-6)


def test_logits_depend_on_the_distance_of_places_alone_also_for_as_many_tokens_as_heads():
    attention = Attention(16, 4, bias=False, qk_norm=RMSNorm, init=INIT, key=jax.random.key(0))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 16)), jnp.float32)
    row, col = jnp.asarray([0, 2, 1, 5]), jnp.asarray([3, 0, 1, 1])
    weights = jax.jit(lambda row, col: attention.weights(x, None, Rotary(place_angles(row, col, 4))))
    np.testing.assert_allclose(weights(row, col), weights(row + 7, col + 11), atol=2e-5)
    assert not np.allclose(weights(row, col), weights(row, col[::-1]), atol=1e-3)


def test_the_order_of_tokens_does_not_matter_since_each_knows_its_place():
    model, image = network(Window(1)), picture(9, 7)
    patched = to_patches(image, PATCH, 20)
    order = np.random.default_rng(0).permutation(20)
    run = jax.jit(lambda patches, places: model(patches, places))
    arrays = [jnp.asarray(patched[name]) for name in ("patches", "row", "col", "mask")]
    straight = run(arrays[0], Places(*arrays[1:]))
    patches, *places = (a[order] for a in arrays)
    np.testing.assert_allclose(run(patches, Places(*places)), straight[order], atol=1e-5)


def test_either_half_works_alone_and_says_so_if_the_other_is_asked_for():
    model = network()
    places, latents = whole_grid(1, 2), jnp.ones((2, CHANNELS))
    encoder = NaFlexAutoencoder(model.encoder, None, patch=PATCH)
    decoder = NaFlexAutoencoder(None, model.decoder, patch=PATCH)
    assert (encoder.channels, decoder.channels) == (CHANNELS, CHANNELS)
    with pytest.raises(ValueError, match="an encoder alone: load its decoder"):
        encoder.decode(latents, places)
    with pytest.raises(ValueError, match="a decoder alone: load its encoder"):
        decoder.encode(jnp.ones((2, 12)), places)
    for halves in ((None, None), (model.encoder, model.encoder)):
        with pytest.raises(ValueError, match="must agree on the channels"):
            NaFlexAutoencoder(*halves, patch=PATCH)


@pytest.mark.parametrize(("dim", "heads"), [(10, 3), (12, 2), (64, 64)])
def test_heads_that_cannot_be_are_refused(dim, heads):
    with pytest.raises(ValueError, match=f"dim={dim} cannot be split over heads={heads}"):
        naflex_trunk(dim, 1, heads)


def ruled(name: str, number: int, like: np.ndarray) -> np.ndarray:
    """Weights by a rule that needs no file: `0.1 sin(0.7 k + 1.1 t + 0.3)`, and one more for scales."""
    k = np.arange(like.size, dtype=np.float64).reshape(like.shape)
    scale = name.endswith(("norm1.weight", "norm_q.weight", "norm_k.weight", "gamma"))
    return (0.1 * np.sin(0.7 * k + 1.1 * number + 0.3) + scale).astype(np.float32)


def test_the_released_code_gives_the_same_numbers():
    def half(in_dim: int, out_dim: int) -> NaFlexTransformer:
        return NaFlexTransformer(naflex_trunk(64, 2, 4), in_dim, out_dim, key=jax.random.key(0))

    model = NaFlexAutoencoder(half(48, 8), half(8, 48), patch=4)
    names = export(model, autoencoder_slots(model))
    assert len(names) == 40 and names["encoder_blocks.1.ffn.fc1.weight"].shape == (352, 64)
    weights = {name: ruled(name, t, names[name]) for t, name in enumerate(sorted(names))}
    model = load(model, autoencoder_slots(model), weights)
    n, j = np.mgrid[0:8, 0:48]
    valid = np.arange(8) < 6
    patches = jnp.asarray(np.where(valid[:, None], np.sin(0.01 * j + 0.5 * n), 0), jnp.float32)
    row, col = (jnp.asarray(a, jnp.int32) for a in ([0, 0, 0, 1, 1, 1, 0, 0], [0, 1, 2, 0, 1, 2, 0, 0]))
    masked = Places(row, col, jnp.asarray(valid))
    encode = jax.jit(lambda places: model.encode(patches, places))
    z = encode(masked)
    first = [-0.778119, -1.41373, -1.12508, -0.109805, 0.979725, 1.45377, 1.02171, -0.0284595]
    last = [-0.801425, -1.41642, -1.10436, -0.0779602, 1.00317, 1.45458, 1.00015, -0.0577255]
    np.testing.assert_allclose(np.stack([z[0], z[5]]), [first, last], rtol=2e-5, atol=2e-6)
    decoded = jax.jit(lambda z: model.decode(z, masked))(z)
    np.testing.assert_allclose(
        decoded[0, :6], [2.79284, 1.92728, -0.171684, -2.16962, -2.79242, -1.63699], rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
        decoded[5, :6], [2.80573, 1.95984, -0.140044, -2.1589, -2.8094, -1.67093], rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(jnp.sum(decoded), 27.6948, rtol=1e-4)
    unmasked = [-0.830429, -1.41786, -1.07783, -0.0396406, 1.03043, 1.455, 0.974233, -0.0939073]
    np.testing.assert_allclose(encode(Places(row, col))[0], unmasked, rtol=2e-5, atol=2e-6)


def test_one_program_serves_every_size_and_aspect_ratio_of_a_budget():
    model, traced = network(), []

    @eqx.filter_jit
    def run(model: NaFlexAutoencoder, patches: jax.Array, places: Places) -> jax.Array:
        traced.append(patches.shape)
        return model(patches, places)

    for size in ((1, 1), (1, 24), (6, 8), (24, 1)):
        patched = to_patches(picture(*size), PATCH, 12)
        arrays = [jnp.asarray(patched[name]) for name in ("patches", "row", "col", "mask")]
        run(model, arrays[0], Places(*arrays[1:]))
    assert len(traced) == 1
