"""Published autoencoders with a posterior for every place: their sizes, both namings, and what is refused."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.pretrained.keymaps.base import KeyMapError, export
from laminate.pretrained.keymaps.kl_autoencoder import (
    DIFFUSERS,
    LATENT_DIFFUSION,
    OLD_DIFFUSERS,
    autoencoder_slots,
)
from laminate.pretrained.kl_autoencoder import (
    autoencoder_kl,
    autoencoder_kl_flux2,
    load_autoencoder_kl,
    load_autoencoder_kl_flux2,
    load_va_vae,
    va_vae,
)
from tests.oracles.arrays import filled, normal

PUBLISHED: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "sample_size": 512,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
WITHOUT_MAPS = {"use_quant_conv": False, "use_post_quant_conv": False}
SMALL: dict[str, Any] = {
    "block_out_channels": [4, 6],
    "latent_channels": 3,
    "norm_num_groups": 2,
    "scaling_factor": 0.5,
}


def shapes(make: Any) -> Any:
    return eqx.filter_eval_shape(make, jax.random.key(0))


def count(tree: Any) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({"latent_channels": 4}, 83_653_863),
        ({"latent_channels": 16, "shift_factor": 0.1159, **WITHOUT_MAPS}, 83_819_683),
    ],
    ids=["Stable Diffusion", "FLUX.1"],
)
def test_the_published_configurations_have_the_published_numbers_of_parameters(options, parameters):
    network = shapes(autoencoder_kl({**PUBLISHED, **options}))
    assert count(network) == parameters and network.patch == 8
    posterior = eqx.filter_eval_shape(network.encode, jax.ShapeDtypeStruct((64, 32, 3), jnp.bfloat16))
    assert posterior.mean.shape == posterior.logvar.shape == (8, 4, options["latent_channels"])
    assert posterior.mean.dtype == jnp.float32


def test_flux2_has_its_parameters_and_scales_squares_of_latents():
    config = {**PUBLISHED, "latent_channels": 32, "batch_norm_eps": 1e-4, "patch_size": [2, 2]}
    network = shapes(autoencoder_kl_flux2(config))
    statistics = 2 * 4 * 32
    assert count(network) == 84_046_115 + statistics
    scaled = eqx.filter_eval_shape(network.scaling, jax.ShapeDtypeStruct((6, 4, 32), jnp.float32))
    assert scaled.shape == (3, 2, 128)
    small = shapes(autoencoder_kl_flux2({**config, "decoder_block_out_channels": [96, 192, 384, 384]}))
    assert count(small.encoder) == count(network.encoder)
    assert small.decoder.first.out_channels == 384 and small.decoder.last.in_channels == 96
    with pytest.raises(ValueError, match=r"patch_size=\[1, 1\]"):
        autoencoder_kl_flux2({**config, "patch_size": [1, 1]})
    with pytest.raises(ValueError, match="4 levels and the decoder 2"):
        shapes(autoencoder_kl_flux2({**config, "decoder_block_out_channels": [32, 64]}))


def test_the_statistics_of_flux2_are_loaded_and_its_latents_come_back():
    config = {name: value for name, value in SMALL.items() if name != "scaling_factor"}
    network = filled(autoencoder_kl_flux2(config), scale=1.0)
    network = eqx.tree_at(lambda m: m.scaling.variance.value, network, jnp.linspace(0.5, 2.0, 12))
    published = export(network, autoencoder_slots(network, DIFFUSERS))
    published["bn.num_batches_tracked"] = np.asarray(3, np.int32)
    again = load_autoencoder_kl_flux2(config, published)
    assert eqx.tree_equal(again, network)
    z = normal(0, 4, 6, 3)
    np.testing.assert_allclose(again.scaling.inverse(again.scaling(z)), z, atol=1e-5)
    with pytest.raises(ValueError, match="3x6 are given"):
        again.scaling(normal(0, 3, 6, 3))


def test_va_vae_halves_four_times_and_attends_where_that_was_trained():
    network = shapes(va_vae())
    assert network.patch == 16 and network.latent_dim == 32
    assert [len(level.attentions) for level in network.encoder.levels] == [0, 0, 0, 0, 2]
    assert [len(level.attentions) for level in network.decoder.levels] == [3, 0, 0, 0, 0]
    keys = {key for slot in autoencoder_slots(network, LATENT_DIFFUSION) for key in slot.keys}
    assert {"encoder.down.4.attn.1.q.weight", "decoder.up.4.attn.2.proj_out.bias"} <= keys
    assert {"encoder.down.2.block.0.nin_shortcut.weight", "decoder.up.1.upsample.conv.bias"} <= keys
    assert "decoder.up.0.upsample.conv.bias" not in keys


@pytest.mark.parametrize("names", [DIFFUSERS, OLD_DIFFUSERS], ids=["now", "before"])
def test_what_is_loaded_and_saved_again_is_the_same_in_every_bit(names):
    network = filled(autoencoder_kl(SMALL))
    published = export(network, autoencoder_slots(network, names))
    again = load_autoencoder_kl(SMALL, published)
    assert eqx.tree_equal(again, network)
    assert ("encoder.mid_block.attentions.0.query.weight" in published) == (names is OLD_DIFFUSERS)
    published["encoder.extra.weight"] = np.zeros(2, np.float32)
    with pytest.raises(KeyMapError, match=r"unexpected encoder\.extra\.weight"):
        load_autoencoder_kl(SMALL, published)


def test_what_was_trained_beside_va_vae_is_left():
    make = va_vae(width=32, multipliers=(1, 1), depth=1, attended=(1,), latent_dim=3)
    network = filled(make)
    published = export(network, autoencoder_slots(network, LATENT_DIFFUSION))
    beside = {"linear_proj.weight": np.zeros((5, 3, 1, 1)), "loss.logvar": np.zeros(())}
    assert eqx.tree_equal(load_va_vae(published | beside, make), network)
    del published["quant_conv.weight"]
    with pytest.raises(KeyMapError, match=r"missing quant_conv\.weight \(6, 6, 1, 1\)"):
        load_va_vae(published, make)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm_type": "spatial"}, "fields that are not known: norm_type"),
        ({"act_fn": "gelu"}, "act_fn='gelu'; covered is 'silu'"),
        (
            {"down_block_types": ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"]},
            "covered is 'DownEncoderBlock2D'",
        ),
        ({"norm_num_groups": 4}, "norm_num_groups=4; covered is what divides all widths.*one is 6"),
        ({"block_out_channels": [4, 0]}, r"block_out_channels=\[4, 0\]"),
        ({"use_quant_conv": 1}, "use_quant_conv=1; covered is true or false"),
        ({"latents_mean": [0.0, 0.0, 0.0]}, "latents_mean and latents_std, or neither"),
        ({"latents_mean": [0.0]}, "a list of 3 numbers"),
        ({"scaling_factor": 0.0}, "multiplied by zero"),
    ],
)
def test_a_configuration_that_is_not_covered_is_refused_by_its_field(options, message):
    with pytest.raises(ValueError, match=message):
        autoencoder_kl({**SMALL, **options})
    with pytest.raises(ValueError, match="lacks block_out_channels"):
        autoencoder_kl({})


def test_scaled_latents_come_back():
    mean, std = np.asarray([0.1, -0.4, 2.0]), np.asarray([0.5, 3.0, 1.2])
    statistics = {"latents_mean": mean.tolist(), "latents_std": std.tolist()}
    z = np.asarray(normal(0, 2, 4, 3))
    scaling = shapes(autoencoder_kl({**SMALL, **statistics})).scaling
    np.testing.assert_allclose(scaling(jnp.asarray(z)), (z - mean) * 0.5 / std, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scaling.inverse(scaling(jnp.asarray(z))), z, atol=1e-6)
    one = shapes(autoencoder_kl({**SMALL, "shift_factor": 0.3})).scaling
    np.testing.assert_allclose(one(jnp.asarray(z)), (z - 0.3) * 0.5, rtol=1e-5, atol=1e-6)


def test_images_of_no_whole_number_of_latents_are_refused():
    network = shapes(autoencoder_kl(SMALL))
    with pytest.raises(ValueError, match=r"7x4 pixels has no whole number.*multiples of 2"):
        eqx.filter_eval_shape(network.encode, jax.ShapeDtypeStruct((7, 4, 3), jnp.float32))
