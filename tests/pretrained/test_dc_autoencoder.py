"""DC-AE's published autoencoders: their sizes and names, both ways of sampling, and what is refused."""

from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.models.dc_autoencoder import DcAutoencoder
from laminate.pretrained.dc_autoencoder import autoencoder_dc, load_autoencoder_dc
from laminate.pretrained.keymaps.base import KeyMapError, export
from laminate.pretrained.keymaps.dc_autoencoder import autoencoder_slots
from tests.oracles.arrays import filled, normal


def published(widths: list[int], encoder: list[int], decoder: list[int], **options: Any) -> dict[str, Any]:
    stages = len(widths)
    kinds = ["ResBlock"] * 3 + ["EfficientViTBlock"] * (stages - 3)
    none: list[list[int]] = [[]] * stages
    return {
        "_class_name": "AutoencoderDC",
        "attention_head_dim": 32,
        "in_channels": 3,
        **{f"{half}_block_out_channels": widths for half in ("encoder", "decoder")},
        **{f"{half}_block_types": kinds for half in ("encoder", "decoder")},
        "encoder_layers_per_block": encoder,
        "decoder_layers_per_block": decoder,
        "encoder_qkv_multiscales": none,
        "decoder_qkv_multiscales": none,
        **options,
    }


WIDTHS = [128, 256, 512, 512, 1024, 1024]
AROUND = [[], [], [], [5], [5], [5]]
SANA = published(
    WIDTHS,
    [2, 2, 2, 3, 3, 3],
    [3] * 6,
    latent_channels=32,
    encoder_qkv_multiscales=AROUND,
    decoder_qkv_multiscales=AROUND,
    downsample_block_type="Conv",
    upsample_block_type="interpolate",
    decoder_norm_types="rms_norm",
    decoder_act_fns="silu",
    scaling_factor=0.41407,
)


def trained_on_images(latent_channels: int, more: int) -> dict[str, Any]:
    """The `-in-` and `-mix-` models, with `more` stages of 2048 channels behind the six."""
    later = 3 + more
    return published(
        [*WIDTHS, *[2048] * more],
        [0, 4, 8, 2, 2, 2, *[2] * more],
        [0, 5, 10, 2, 2, 2, *[2] * more],
        latent_channels=latent_channels,
        decoder_norm_types=["batch_norm"] * 3 + ["rms_norm"] * later,
        decoder_act_fns=["relu"] * 3 + ["silu"] * later,
    )


SMALL: dict[str, Any] = {
    "attention_head_dim": 3,
    "latent_channels": 2,
    "scaling_factor": 0.5,
    **{f"{half}_block_types": ["ResBlock", "EfficientViTBlock"] for half in ("encoder", "decoder")},
    **{f"{half}_block_out_channels": [4, 8] for half in ("encoder", "decoder")},
    **{f"{half}_qkv_multiscales": [[], [3]] for half in ("encoder", "decoder")},
    **{f"{half}_layers_per_block": [1, 2] for half in ("encoder", "decoder")},
    "decoder_norm_types": ["batch_norm", "rms_norm"],
}


def shapes(config: dict[str, Any]) -> DcAutoencoder:
    return eqx.filter_eval_shape(autoencoder_dc(config), jax.random.key(0))


@cache
def small() -> DcAutoencoder:
    return filled(autoencoder_dc(SMALL))


def listed(network: DcAutoencoder) -> dict[str, tuple[int, ...]]:
    """Published names and shapes."""
    hollow = jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), network)
    return {name: a.shape for name, a in export(hollow, autoencoder_slots(network)).items()}


def parameters(names: dict[str, tuple[int, ...]]) -> int:
    return sum(int(np.prod(shape)) for name, shape in names.items() if ".running_" not in name)


@pytest.mark.parametrize(
    ("config", "patch", "latent_dim", "count", "halves"),
    [
        (SANA, 32, 32, 312_250_275, (179, 196)),
        (trained_on_images(32, 0), 32, 32, 323_356_460, (150, 197)),
        (trained_on_images(128, 1), 64, 128, 676_896_140, (178, 225)),
        (trained_on_images(512, 2), 128, 512, 1_120_682_252, (206, 253)),
    ],
    ids=["f32c32 of Sana", "f32c32", "f64c128", "f128c512"],
)
def test_the_published_configurations_have_their_sizes(config, patch, latent_dim, count, halves):
    network = shapes(config)
    names = listed(network)
    assert (network.patch, network.latent_dim) == (patch, latent_dim)
    assert parameters(names) == count
    of = [sum(name.startswith(half) for name in names) for half in ("encoder.", "decoder.")]
    assert tuple(of) == halves
    latents = eqx.filter_eval_shape(network.encode, jax.ShapeDtypeStruct((2 * patch, patch, 3), jnp.bfloat16))
    assert (latents.shape, latents.dtype) == ((2, 1, latent_dim), jnp.float32)
    image = eqx.filter_eval_shape(network.decode, jax.ShapeDtypeStruct(latents.shape, jnp.bfloat16))
    assert (image.shape, image.dtype) == ((2 * patch, patch, 3), jnp.float32)
    assert all(len(shape) in (1, 2, 4) for shape in names.values())


def test_sana_s_names_are_those_of_its_files():
    names = listed(shapes(SANA))
    for name, shape in {
        "encoder.conv_in.weight": (128, 3, 3, 3),
        "encoder.down_blocks.0.2.conv.weight": (256, 128, 3, 3),
        "encoder.down_blocks.2.1.conv1.bias": (512,),
        "encoder.down_blocks.3.0.attn.to_q.weight": (512, 512),
        "encoder.down_blocks.3.2.attn.to_qkv_multiscale.0.proj_in.weight": (1536, 1, 5, 5),
        "encoder.down_blocks.5.2.attn.to_qkv_multiscale.0.proj_out.weight": (3072, 32, 1, 1),
        "encoder.down_blocks.5.2.attn.to_out.weight": (1024, 2048),
        "encoder.conv_out.bias": (32,),
        "decoder.conv_in.weight": (1024, 32, 3, 3),
        "decoder.up_blocks.5.2.conv_out.conv_inverted.weight": (8192, 1024, 1, 1),
        "decoder.up_blocks.4.0.conv.weight": (1024, 1024, 3, 3),
        "decoder.up_blocks.4.1.conv_out.norm.bias": (1024,),
        "decoder.up_blocks.0.3.norm.weight": (128,),
        "decoder.norm_out.bias": (128,),
        "decoder.conv_out.weight": (3, 128, 3, 3),
    }.items():
        assert names[name] == shape, name
    assert not any(
        name.endswith(("conv2.bias", "to_q.bias", "conv_point.bias", "5.3.conv.bias")) for name in names
    )


def test_a_first_stage_of_no_blocks_is_the_first_and_the_last_convolution():
    names = listed(shapes(trained_on_images(32, 0)))
    assert names["encoder.conv_in.conv.weight"] == (64, 3, 3, 3)  # a quarter of 256: four places become one
    assert names["decoder.conv_out.conv.weight"] == (12, 256, 3, 3)
    assert names["decoder.norm_out.weight"] == (256,)
    assert names["decoder.up_blocks.1.5.norm.running_var"] == (256,)
    assert not any(name.startswith(("encoder.down_blocks.0.", "decoder.up_blocks.0.")) for name in names)


def test_what_is_loaded_and_saved_again_is_the_same_in_every_bit():
    published = export(small(), autoencoder_slots(small()))
    counted = {"decoder.up_blocks.0.1.norm.num_batches_tracked": np.asarray(7, np.int32)}
    again = load_autoencoder_dc(SMALL, published | counted)
    assert eqx.tree_equal(again, small())
    assert "decoder.up_blocks.0.1.norm.running_mean" in published
    del published["decoder.up_blocks.1.1.attn.to_v.weight"]
    with pytest.raises(KeyMapError, match=r"missing decoder\.up_blocks\.1\.1\.attn\.to_v\.weight \(6, 8\)"):
        load_autoencoder_dc(SMALL, published)


def test_weights_stored_in_bfloat16_give_nearly_the_same_image():
    network = eqx.tree_at(
        lambda m: m.decoder.stages[1].blocks.layers.norm.variance.value, small(), jnp.full((1, 4), 0.7)
    )
    published = export(network, autoencoder_slots(network))
    half = load_autoencoder_dc(SMALL, published, dtype=jnp.dtype(jnp.bfloat16))
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(half))
    run = jax.jit(lambda network, image: network(image))
    image = normal(0, 4, 6, 3) * 0.5
    whole, rough = run(network, image), run(half, image.astype(jnp.bfloat16))
    assert rough.dtype == jnp.float32
    assert np.abs(rough - whole).max() < 0.05 * np.abs(whole).max()


def test_scaled_latents_come_back_and_no_factor_is_one():
    z = normal(0, 2, 3, 2)
    scaling = shapes(SMALL).scaling
    np.testing.assert_allclose(scaling(z), 0.5 * z, rtol=1e-6)
    np.testing.assert_allclose(scaling.inverse(scaling(z)), z, rtol=1e-6)
    for config in (
        {**SMALL, "scaling_factor": None},
        {k: v for k, v in SMALL.items() if k != "scaling_factor"},
    ):
        np.testing.assert_array_equal(shapes(config).scaling(z), z)


@given(word=st.text())
def test_every_word_but_one_is_the_other_way_of_sampling(word):
    given = {**SMALL, "downsample_block_type": word, "upsample_block_type": word}
    network = shapes(given)
    down, up = network.encoder.stages[0].downsample, network.decoder.stages[1].upsample
    assert down.down == ("unshuffle" if word == "pixel_unshuffle" else "strided")
    assert up.up == ("nearest" if word == "interpolate" else "shuffle")


@pytest.mark.parametrize("word", ["Conv", "conv", "pixel_unshuffle"])
def test_the_words_of_published_files_halve_as_they_say(word):
    network = shapes({**SMALL, "downsample_block_type": word})
    assert network.encoder.stages[0].downsample.conv.out_channels == (2 if word == "pixel_unshuffle" else 8)


def test_one_word_for_all_stages_is_a_list_of_them():
    for name, one in (("decoder_norm_types", "batch_norm"), ("decoder_act_fns", "relu")):
        assert shapes({**SMALL, name: one}) == shapes({**SMALL, name: [one] * 2})
    kinds = {f"{half}_block_types": "EfficientViTBlock" for half in ("encoder", "decoder")}
    several = {f"{half}_qkv_multiscales": [[3, 5], []] for half in ("encoder", "decoder")}
    both = {half: [kind] * 2 for half, kind in kinds.items()}
    assert shapes(SMALL | kinds | several) == shapes(SMALL | both | several)
    names = listed(shapes(SMALL | kinds | several))
    assert names["decoder.up_blocks.0.1.attn.to_qkv_multiscale.1.proj_in.weight"] == (9, 1, 5, 5)
    assert names["encoder.down_blocks.1.0.attn.to_out.weight"] == (8, 6)


def test_shortcuts_have_no_weights_and_need_none_to_fit_when_they_are_off():
    off = {"encoder_out_shortcut": False, "decoder_in_shortcut": False}
    assert listed(shapes(SMALL)) == listed(shapes(SMALL | off))
    odd = {**SMALL, "latent_channels": 3}
    assert shapes(odd | off).latent_dim == 3
    with pytest.raises(
        ValueError, match=r"latent_channels=3; covered is what divides the last width.*, 8, for"
    ):
        shapes(odd)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shift_factor": 0.1}, "fields that are not known: shift_factor"),
        (
            {"decoder_norm_types": "layer_norm"},
            "decoder_norm_types='layer_norm'; covered is 'rms_norm' or 'batch",
        ),
        ({"decoder_norm_types": ["rms_norm"]}, "alone or in a list of 2"),
        ({"decoder_act_fns": ["relu", "elu"]}, r"decoder_act_fns=\['relu', 'elu'\]; covered is 'silu'"),
        ({"decoder_act_fns": None}, "decoder_act_fns=None"),
        ({"encoder_norm_types": "rms_norm"}, "fields that are not known: encoder_norm_types"),
        (
            {"encoder_block_types": "ViT"},
            "encoder_block_types='ViT'; covered is 'ResBlock' or 'EfficientViTBlock'",
        ),
        (
            {"encoder_qkv_multiscales": [[], [4]]},
            r"encoder_qkv_multiscales=\[\[\], \[4\]\]; .*2 lists of odd",
        ),
        ({"decoder_qkv_multiscales": [[]]}, "a list of 2 lists of odd numbers"),
        ({"decoder_layers_per_block": [1, 2, 3]}, "a list of 2 whole numbers from 0"),
        ({"encoder_layers_per_block": [1, -1]}, r"encoder_layers_per_block=\[1, -1\]"),
        ({"attention_head_dim": 9}, "attention_head_dim=9; .* encoder_block_out_channels has one of 8"),
        ({"downsample_block_type": None}, "downsample_block_type=None; covered is a string"),
        ({"encoder_out_shortcut": 1}, "encoder_out_shortcut=1; covered is true or false"),
        ({"decoder_conv_act_fn": "tanh"}, "decoder_conv_act_fn='tanh'"),
        ({"scaling_factor": "0.4"}, "scaling_factor='0.4'; covered is a number"),
        ({"scaling_factor": 0.0}, "multiplied by zero"),
        ({"latent_channels": 0}, "latent_channels=0"),
    ],
)
def test_a_configuration_that_is_not_covered_is_refused_by_its_field(options, message):
    with pytest.raises(ValueError, match=message):
        autoencoder_dc({**SMALL, **options})


@pytest.mark.parametrize("field", [*SANA, "encoder_out_shortcut", "decoder_conv_act_fn"])
def test_every_field_is_of_its_kind_or_refused_in_one_line(field):
    for value in (
        None,
        -1,
        0,
        10**18,
        2**70,
        "8",
        [],
        [8],
        {},
        True,
        1.5,
        [[]],
        [["3"]] * 6,
        [[10**9 + 1]] * 6,
    ):
        try:
            autoencoder_dc({**SANA, field: value})
        except ValueError as error:
            assert "\n" not in str(error)
            assert "AutoencoderDC" in str(error) or "scale=(0.0,)" in str(error)


def test_halves_that_do_not_fit_each_other_are_refused():
    shallow = {
        "decoder_block_out_channels": [8],
        "decoder_block_types": "ResBlock",
        "decoder_qkv_multiscales": [[]],
        "decoder_layers_per_block": [1],
        "decoder_norm_types": "rms_norm",
    }
    with pytest.raises(ValueError, match="2 numbers for every 2 pixels, and the decoder takes 2 for every 1"):
        shapes(SMALL | shallow)
    with pytest.raises(ValueError, match=r"Stage 2 \(from the finest\) begins with 8 channels and has 4"):
        left_out = {"encoder_block_out_channels": [4, 8, 4], "encoder_layers_per_block": [1, 0, 1]}
        shapes({**SMALL, **left_out, "encoder_block_types": "ResBlock", "encoder_qkv_multiscales": [[]] * 3})
    with pytest.raises(ValueError, match=r"5x4 pixels has no whole number.*multiples of 2"):
        eqx.filter_eval_shape(shapes(SMALL).encode, jax.ShapeDtypeStruct((5, 4, 3), jnp.float32))
