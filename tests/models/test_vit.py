"""The order of the tokens, the options of the embedding, and what attention looks at."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.models.vit import Trunk, Vit
from laminate.nn import (
    LayerNorm,
    PatchEmbed,
    RMSNorm,
    Rotary,
    centred_grid_angles,
    resize_grid,
    sincos_2d,
    zeros,
)
from laminate.types import Buffer, split_buffers
from tests.oracles.arrays import filled, normal

TRUNK = Trunk(dim=12, depth=2, heads=3, hidden=10)
EMBED = jax.jit(lambda vit, x, registers=None: vit.embed(x, registers=registers))
CALL = jax.jit(lambda vit, x, registers=None: vit(x, registers=registers))


def build(trunk=TRUNK, **options):
    return filled(lambda key: Vit(trunk, key=key, **options))


def of_images(**options):
    def make(key):
        k_patch, k_vit = jax.random.split(key)
        return Vit(TRUNK, patch=PatchEmbed(6, 2, 12, key=k_patch), key=k_vit, **options)

    return filled(make)


IMAGES = of_images(cls_token=True, registers=2)
TOKENS = build(tokens=5, in_dim=4, out_dim=7, registers=2)
IMAGE, X = normal(0, 6, 6, 3), normal(1, 5, 4)


def test_the_order_is_cls_registers_patches_with_positions_on_the_patches_only():
    stream = np.asarray(EMBED(IMAGES, IMAGE))
    assert stream.shape == (1 + 2 + 9, 12) and IMAGES.prefix == 3
    np.testing.assert_array_equal(stream[:1], IMAGES.cls)
    np.testing.assert_array_equal(stream[1:3], IMAGES.registers)
    patches = jax.jit(PatchEmbed.__call__)(IMAGES.patch, IMAGE) + IMAGES.positions
    np.testing.assert_allclose(stream[3:], patches, atol=1e-6)


def test_tokens_pass_a_bias_free_map_into_the_trunk_and_one_out_of_it():
    stream = np.asarray(EMBED(TOKENS, X))
    assert stream.shape == (2 + 5, 12) and TOKENS.prefix == 2
    wanted = np.asarray(X) @ np.asarray(TOKENS.input.weight).T + np.asarray(TOKENS.positions)
    np.testing.assert_allclose(stream[2:], wanted, atol=1e-5)
    assert TOKENS.input.bias is None and TOKENS.output.bias is None
    tail = jax.jit(lambda vit, stream: vit.output(vit.norm(vit.stack(stream))))(TOKENS, stream)
    assert tail.shape == (7, 7)
    np.testing.assert_allclose(CALL(TOKENS, X), tail, atol=1e-5)


def test_equal_widths_need_no_maps():
    vit = build(tokens=5)
    assert vit.input is None and vit.output is None and vit.registers is None and vit.cls is None
    assert CALL(vit, normal(0, 5, 12)).shape == (5, 12)


def test_registers_can_be_replaced_for_a_call():
    other = normal(3, 2, 12)
    np.testing.assert_array_equal(EMBED(IMAGES, IMAGE, other)[1:3], other)
    assert not np.allclose(CALL(IMAGES, IMAGE, other)[3:], CALL(IMAGES, IMAGE)[3:], atol=1e-3)


def test_position_tables_are_trained_fixed_or_absent():
    learned, sincos, none = (of_images(positions=kind).positions for kind in ("learned", "sincos", "none"))
    assert learned.shape == (9, 12) and none is None and isinstance(sincos, Buffer)
    fresh = Vit(
        Trunk(dim=12, depth=1, heads=1, hidden=1, init=zeros),
        tokens=9,
        positions="sincos",
        init=zeros,
        key=jax.random.key(0),
    )
    np.testing.assert_allclose(fresh.positions.value, sincos_2d(12, 3, 3), atol=1e-7)
    trained, buffers = split_buffers(of_images(positions="sincos"))
    assert trained.positions.value is None and buffers.positions.value.shape == (9, 12)


@pytest.mark.parametrize("shape", [(4, 10, 3), (2, 2, 3)])
def test_an_image_of_another_size_gets_the_resized_table(shape):
    image, grid = normal(0, *shape), (shape[0] // 2, shape[1] // 2)
    stream = EMBED(IMAGES, image)
    table = resize_grid(IMAGES.positions, (3, 3), grid)
    wanted = jax.jit(PatchEmbed.__call__)(IMAGES.patch, image) + table
    np.testing.assert_allclose(stream[3:], wanted, atol=1e-6)


def test_fewer_tokens_get_the_first_positions_and_more_are_refused():
    np.testing.assert_allclose(EMBED(TOKENS, X[:3])[2:], EMBED(TOKENS, X)[2:5], atol=1e-6)
    with pytest.raises(ValueError, match="positions for 5 tokens and was given 6"):
        TOKENS.embed(normal(0, 6, 4))


def test_without_positions_the_order_of_tokens_is_free():
    vit = build(tokens=5, positions="none", registers=2)
    x, order = normal(0, 5, 12), np.asarray([3, 0, 4, 1, 2])
    straight, permuted = CALL(vit, x), CALL(vit, x[order])
    np.testing.assert_allclose(permuted[:2], straight[:2], atol=1e-5)
    np.testing.assert_allclose(permuted[2:], straight[2:][order], atol=1e-5)
    assert not np.allclose(CALL(TOKENS, X[order])[2:], CALL(TOKENS, X)[2:][order], atol=1e-3)


def test_attention_weights_are_those_of_a_loop_over_the_layers():
    weights = jax.jit(Vit.attention_weights)(IMAGES, IMAGE)
    assert weights.shape == (2, 3, 12, 12) and weights.dtype == jnp.float32
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)

    @jax.jit
    def by_hand(vit, x):
        found, stream = [], vit.embed(x)
        for i in range(2):
            block = jax.tree.map(lambda leaf, i=i: leaf[i], vit.stack.layers)
            found.append(block.attention_weights(stream))
            stream = block(stream)
        return jnp.stack(found)

    np.testing.assert_allclose(weights, by_hand(IMAGES, IMAGE), atol=1e-5)


def test_a_mask_is_over_all_tokens():
    mask = jnp.ones((7, 7), bool).at[:2, 2:].set(False)  # registers see only themselves
    call = jax.jit(lambda vit, x: vit(x, mask))
    np.testing.assert_allclose(call(TOKENS, X)[:2], call(TOKENS, X + 1)[:2], atol=1e-6)
    weights = jax.jit(lambda vit, x: vit.attention_weights(x, mask))(TOKENS, X)
    np.testing.assert_array_equal(weights[:, :, :2, 2:], 0)


def test_the_stream_keeps_the_dtype_of_the_input():
    shape = jax.eval_shape(CALL, TOKENS, jax.ShapeDtypeStruct((5, 4), jnp.bfloat16))
    assert shape.dtype == jnp.bfloat16


def test_a_trunk_of_rms_norms_has_no_norm_bias_but_for_the_last():
    vit = build(Trunk(dim=12, depth=2, heads=3, hidden=10, norm=RMSNorm), tokens=5)
    layers = vit.stack.layers
    norms = (layers.attention_norm, layers.mlp_norm, layers.attention.q_norm, layers.attention.k_norm)
    assert all(isinstance(norm, RMSNorm) for norm in norms)
    assert vit.norm.bias.shape == (12,)


@pytest.mark.parametrize("remat", ["attention", "products", "dots", "block"])
def test_remat_changes_no_output(remat):
    vit = build(
        Trunk(dim=12, depth=2, heads=3, hidden=10, remat=remat), tokens=5, in_dim=4, out_dim=7, registers=2
    )
    np.testing.assert_allclose(CALL(vit, X), CALL(TOKENS, X), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either patch .* or tokens"),
        ({"tokens": 5, "positions": "rope"}, "."),  # the type checker of the tests may speak first
        ({"tokens": 5, "positions": "sincos"}, "5 patches do not form a square grid"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(Exception, match=message):
        Vit(TRUNK, key=jax.random.key(0), **options)


def test_the_first_row_of_a_table_can_be_that_of_the_cls_token():
    vit = of_images(cls_token=True, registers=2, cls_position=True, resampling="bicubic")
    assert vit.positions.shape == (1 + 9, 12)
    stream = EMBED(vit, IMAGE)
    np.testing.assert_allclose(stream[:1], vit.cls + vit.positions[:1], atol=1e-6)
    np.testing.assert_array_equal(stream[1:3], vit.registers)
    patches = jax.jit(PatchEmbed.__call__)(vit.patch, IMAGE)
    np.testing.assert_allclose(stream[3:], patches + vit.positions[1:], atol=1e-6)
    wide = EMBED(vit, normal(0, 4, 10, 3))
    table = resize_grid(vit.positions[1:], (3, 3), (2, 5), "bicubic")
    patches = jax.jit(PatchEmbed.__call__)(vit.patch, normal(0, 4, 10, 3))
    np.testing.assert_allclose(wide[3:], patches + table, atol=1e-6)


def test_rotary_positions_turn_the_patches_of_any_grid_and_need_a_grid():
    vit = filled(
        lambda key: Vit(
            Trunk(dim=12, depth=2, heads=3, hidden=10, layer_scale=1.0, attention_bias=(True, False, True)),
            patch=PatchEmbed(2, 2, 12, key=key),
            positions="rotary",
            cls_token=True,
            key=key,
        )
    )
    image = normal(0, 6, 4, 3)
    assert vit.positions is None
    rotary = Rotary(centred_grid_angles(4, 3, 2), pairing="halves")
    by_hand = jax.jit(lambda vit, x: vit.norm(vit.stack(vit.embed(x), None, rotary)))
    np.testing.assert_allclose(CALL(vit, image), by_hand(vit, image), atol=1e-5)
    upside_down = CALL(vit, image[::-1, ::-1])[1:]
    assert not np.allclose(upside_down, CALL(vit, image)[1:], atol=1e-3)
    with pytest.raises(ValueError, match="those of a grid of patches"):
        Vit(TRUNK, tokens=5, positions="rotary", key=jax.random.key(0))


def test_maps_with_biases_are_there_even_for_equal_widths():
    vit = build(tokens=5, maps="biased")
    assert vit.input.bias.shape == vit.output.bias.shape == (12,)
    images = of_images(maps="biased", out_dim=7)
    assert images.input is None and images.output.bias.shape == (7,)


def test_the_map_behind_the_trunk_can_be_left_to_others():
    vit = build(tokens=5, maps="biased-input")
    assert vit.input.bias.shape == (12,) and vit.output is None
    with pytest.raises(ValueError, match="has no map behind the trunk"):
        build(tokens=5, maps="biased-input", out_dim=7)


def test_taps_are_the_stream_behind_each_layer():
    final, taps = jax.jit(lambda vit, x: vit.taps(x, (0, 1)))(TOKENS, X)
    np.testing.assert_allclose(final, CALL(TOKENS, X), atol=1e-5)
    end = jax.jit(lambda vit, stream: vit.output(vit.norm(stream)))(TOKENS, taps[1])
    np.testing.assert_allclose(end, final, atol=1e-5)


def test_the_final_norm_can_be_given():
    vit = build(tokens=5, norm=LayerNorm(12, eps=1e-3, scale=False, bias=False))
    assert vit.norm.scale is None and vit.norm.eps == 1e-3


def test_a_position_of_the_cls_token_needs_a_cls_token():
    with pytest.raises(ValueError, match="cls_position needs cls_token and learned positions"):
        Vit(TRUNK, tokens=5, cls_position=True, key=jax.random.key(0))
