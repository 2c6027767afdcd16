"""Published ViTok files there and back: whole, either half, and under the names of a training."""

import equinox as eqx
import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from laminate.models.naflex import NaFlexAutoencoder, NaFlexTransformer, naflex_trunk
from laminate.pretrained.hub import load as load_hub
from laminate.pretrained.keymaps.base import KeyMapError, export
from laminate.pretrained.keymaps.vitok import autoencoder_slots
from laminate.pretrained.vitok import load_autoencoder
from laminate.recipes.vitok_names import PUBLISHED, parse
from tests.oracles.arrays import filled


def shapes_of(name: str) -> NaFlexAutoencoder:
    """The network of a name without its weights."""
    variant = parse(name)

    def make(key: jax.Array) -> NaFlexAutoencoder:
        encoder, decoder = (naflex_trunk(*sizes) for sizes in (variant.encoder, variant.decoder))
        return NaFlexAutoencoder(
            NaFlexTransformer(encoder, variant.patch_dim, variant.channels, key=key),
            NaFlexTransformer(decoder, variant.channels, variant.patch_dim, key=key),
            patch=variant.patch,
        )

    return eqx.filter_eval_shape(make, jax.random.key(0))


def count(tree: object) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("name", "encoder", "decoder"),
    [
        ("350M-f16x16", 51_209_744, 303_239_936),
        ("350M-f16x32", 51_226_144, 303_256_320),
        ("350M-f16x64", 51_258_944, 303_289_088),
        ("5B-f16x16", 456_011_792, 4_538_414_848),
        ("5B-f16x32", 456_060_960, 4_538_464_000),
        ("5B-f16x64", 456_159_296, 4_538_562_304),
        ("5B-f32x64", 463_237_184, 4_545_642_496),
        ("5B-f32x128", 463_433_856, 4_545_839_104),
        ("5B-f32x256", 463_827_200, 4_546_232_320),
        ("Ld2-Ld22/1x16x64", 26_056_000, 278_086_144),
    ],
)
def test_parameters_are_those_that_are_published(name, encoder, decoder):
    network = shapes_of(name)
    assert (count(network.encoder), count(network.decoder)) == (encoder, decoder)
    assert name not in PUBLISHED or PUBLISHED[name].repository == f"philippehansen/ViTok-v2-{name}"


def test_the_layout_is_the_published_one():
    network = shapes_of("Ld4-Ld24/1x16x64")
    shapes = {
        key: a.shape
        for key, a in export(
            jax.tree.map(lambda s: np.broadcast_to(np.float32(0), s.shape), network),
            autoencoder_slots(network),
        ).items()
    }
    assert len(shapes) == 232
    assert shapes["patch_embed.weight"] == (1024, 768) and shapes["to_code.bias"] == (64,)
    assert shapes["decoder_blocks.23.ffn.fc1.weight"] == (5472, 1024)
    assert shapes["encoder_blocks.3.attn.qkv_proj.weight"] == (3072, 1024)
    assert shapes["encoder_blocks.3.layer_scale.gamma"] == (1024,)


@pytest.fixture(scope="module")
def network() -> NaFlexAutoencoder:
    def make(key: jax.Array) -> NaFlexAutoencoder:
        encoder, decoder = naflex_trunk(16, 2, 2), naflex_trunk(12, 3, 3, layer_scale=None)
        return NaFlexAutoencoder(
            NaFlexTransformer(encoder, 12, 5, cls_token=True, registers=2, key=key),
            NaFlexTransformer(decoder, 5, 12, registers=1, key=key),
            patch=2,
        )

    return filled(make)


def same(one: object, other: object) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_loading_what_was_exported_gives_the_same_network_whole_and_in_halves(network, tmp_path):
    weights = export(network, autoencoder_slots(network))
    same(load_autoencoder(weights), network)
    for half in ("encoder", "decoder"):
        alone = load_autoencoder(weights, half=half)
        same(getattr(alone, half), getattr(network, half))
        published = export(alone, autoencoder_slots(alone))
        save_file(published, tmp_path / f"{half}.safetensors")
        same(load_autoencoder(load_file(tmp_path / f"{half}.safetensors")), alone)
    same(load_autoencoder(load_hub(tmp_path / "decoder.safetensors", family="vitok").weights), alone)


def test_values_stand_above_gates_in_the_first_map(network):
    both = export(network, autoencoder_slots(network))["encoder_blocks.1.ffn.fc1.weight"]
    mlp = network.encoder.stack.layers.mlp
    np.testing.assert_array_equal(both, np.concatenate([mlp.up.weight[1], mlp.gate.weight[1]]))


def test_names_of_a_training_are_read_too(network):
    weights = export(network, autoencoder_slots(network))
    trained = {
        "_orig_mod."
        + name.replace("encoder_blocks.", "encoder.").replace("decoder_blocks.", "decoder."): array
        for name, array in weights.items()
    }
    assert "_orig_mod.encoder.0.norm1.weight" in trained
    same(load_autoencoder(trained), network)


def test_what_does_not_fit_is_named(network):
    weights = export(network, autoencoder_slots(network))
    with pytest.raises(KeyMapError, match=r"missing to_code\.bias"):
        load_autoencoder({name: a for name, a in weights.items() if name != "to_code.bias"})
    with pytest.raises(KeyMapError, match="unexpected surplus"):
        load_autoencoder(weights | {"surplus": np.zeros(2, np.float32)})
    with pytest.raises(KeyMapError, match="does not hold an encoder"):
        load_autoencoder({name: a for name, a in weights.items() if "decoder" in name}, half="encoder")
    with pytest.raises(KeyMapError, match="heads of width 5 cannot be"):
        load_autoencoder(weights | {"encoder_blocks.0.attn.norm_q.weight": np.ones(5, np.float32)})
    with pytest.raises(KeyMapError, match=r"norm_q\.weight has shape \(\)"):
        load_autoencoder(weights | {"encoder_blocks.0.attn.norm_q.weight": np.ones((), np.float32)})
