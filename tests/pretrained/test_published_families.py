"""Laws of the published vision transformers: names, sizes, and what is refused."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laminate.models.inception import InceptionV3
from laminate.models.vgg import Lpips
from laminate.pretrained import rae
from laminate.pretrained.dinov2 import DINOV2, DINOV2_REGISTERS
from laminate.pretrained.dinov3 import DINOV3, DINOV3_ORIGINAL
from laminate.pretrained.keymaps.base import KeyMapError, export
from laminate.pretrained.layouts import guess
from laminate.pretrained.lpips import load_lpips, lpips_slots
from laminate.pretrained.patches import IMAGENET_MEAN, IMAGENET_STD
from laminate.pretrained.plain import DINO, DINO_ORIGINAL, MAE
from laminate.pretrained.published import PUBLISHED
from laminate.pretrained.siglip2 import SIGLIP2, PooledVision, load_pooled, make_pooled, pooled_slots
from tests.oracles.arrays import filled

FAMILIES = (DINOV2, DINOV2_REGISTERS, DINOV3, DINOV3_ORIGINAL, DINO, DINO_ORIGINAL, MAE, SIGLIP2)
FLAG = st.booleans()
SCALE = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}


@st.composite
def configurations(draw, family) -> dict[str, Any]:
    """A small configuration of the family, every option of it drawn."""
    heads, quarter, patch = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 3))
    dim, depth = heads * quarter * 4, draw(st.integers(1, 3))
    options: dict[str, Any] = {"patch_size": patch}
    if family in (DINOV3_ORIGINAL, DINO_ORIGINAL):
        options |= {"embed_dim": dim, "depth": depth, "num_heads": heads}
    else:
        options |= {"hidden_size": dim, "num_hidden_layers": depth, "num_attention_heads": heads}
    drawn = {
        "intermediate_size": st.integers(1, 9),
        "mlp_ratio": st.integers(1, 3),
        "ffn_ratio": st.integers(1, 3),
        "ffn_layer": st.sampled_from(["mlp", "swiglu", "swiglu32"]),
        "image_size": st.sampled_from([2 * patch, 3 * patch + 1]),
        "num_register_tokens": st.integers(0, 3),
        "n_storage_tokens": st.integers(0, 3),
        **dict.fromkeys(("qkv_bias", "query_bias", "key_bias", "value_bias", "proj_bias"), FLAG),
        **dict.fromkeys(("mlp_bias", "ffn_bias", "mask_k_bias", "use_gated_mlp", "use_swiglu_ffn"), FLAG),
    }
    options |= {field: draw(values) for field, values in drawn.items() if field in family.defaults}
    return options


def equal(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)
        assert array.dtype == second[name].dtype


@settings(max_examples=24)
@given(st.sampled_from(FAMILIES).flatmap(lambda family: st.tuples(st.just(family), configurations(family))))
def test_what_is_loaded_and_saved_again_is_the_same_in_every_bit(drawn):
    family, config = drawn
    published = family.export(filled(lambda key: family.make(config, key=key)))
    strangers = {family.prefix + name.replace("*", "x"): np.zeros(1) for name in family.ignored}
    loaded = family.load(config, published | strangers)
    equal(family.export(loaded), published)
    bare = family.load(config, published, affine=False)
    norm = family.prefix + family.names.norm
    equal(family.export(bare), {k: a for k, a in published.items() if not k.startswith(f"{norm}.")})
    without = {name.removeprefix(family.prefix): a for name, a in published.items()}
    equal(family.export(family.load(config, without), prefix=""), without)
    if config.get("num_register_tokens") != 0:  # without registers, the two DINOv2 have the same names
        found = guess({name: array.shape for name, array in published.items()})
        assert found is not None and found.layout.reader == family.name


@settings(max_examples=5)
@given(
    dim=st.sampled_from([4, 12]), hidden=st.integers(1, 9), depth=st.integers(1, 3), side=st.integers(1, 3)
)
def test_so_are_decoders_and_pooling_heads(dim, hidden, depth, side):
    config = {
        "decoder_hidden_size": dim,
        "decoder_intermediate_size": hidden,
        "decoder_num_attention_heads": 2,
        "decoder_num_hidden_layers": depth,
    }
    sizes = {"tokens": side * side, "in_dim": dim, "patch": side, **SCALE}
    decoder = filled(lambda key: rae.make_decoder(config, key=key, **sizes))
    published = export(decoder, rae.decoder_slots(decoder))
    again = rae.load_decoder(config, published, **sizes)
    equal(export(again, rae.decoder_slots(again)), published)
    without = {name: a for name, a in published.items() if name != "trainable_cls_token"}
    np.testing.assert_array_equal(rae.load_decoder(config, without, **sizes).vit.cls, 0)

    config = {
        "hidden_size": dim,
        "num_hidden_layers": depth,
        "num_attention_heads": 2,
        "image_size": 4 * side,
    }
    config |= {"patch_size": 2, "intermediate_size": hidden}
    tower: PooledVision = filled(lambda key: make_pooled(config, key=key))
    published = export(tower, pooled_slots(tower))
    equal(export(load_pooled(config, published), pooled_slots(tower)), published)


@pytest.mark.parametrize("naming", ["torchvision", "lpips"])
def test_so_is_the_perceptual_network_in_both_namings(naming):
    lpips = filled(lambda key: Lpips((2, 3, 2, 4, 3), key=key))
    published = export(lpips, lpips_slots(lpips, naming=naming))
    beside = {"lins.0.model.1.weight": np.zeros(2), "classifier.0.weight": np.zeros(2)}
    loaded = load_lpips(published | beside, widths=(2, 3, 2, 4, 3))
    equal(export(loaded, lpips_slots(loaded, naming=naming)), published)


COUNTS = {
    "dinov2-s-plain": 22_056_576,
    "dinov2-b-plain": 86_580_480,
    "dinov2-l-plain": 304_368_640,
    "dinov2-g-plain": 1_136_480_768,
    "dinov2-s": 22_058_112,
    "dinov2-b": 86_583_552,
    "dinov2-l": 304_372_736,
    "dinov2-g": 1_136_486_912,
    "dinov3-s": 21_596_544,
    "dinov3-b": 85_660_416,
    "dinov3-l": 303_129_600,
    "dinov3-s-original": 21_596_544,
    "dinov3-b-original": 85_660_416,
    "dinov3-l-original": 303_129_600,
    "mae-b": 85_798_656,
    "mae-l": 303_301_632,
    "mae-h": 630_764_800,
    "dino-s8": 21_670_272,
    "dino-s16": 21_665_664,
    "dino-s8-original": 21_670_272,
    "siglip2-b": 85_843_200,
}


def count(make) -> int:
    abstract = eqx.filter_eval_shape(make, jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(abstract))


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_sizes_have_the_published_numbers_of_parameters(name):
    one = PUBLISHED[name]
    width = one.config.get("hidden_size", one.config.get("embed_dim", 0))
    unused = width if one.family in (DINOV2, DINOV2_REGISTERS, DINOV3, DINOV3_ORIGINAL) else 0  # mask token
    assert count(lambda key: one.family.make(one.config, key=key)) + unused == COUNTS[name]


@pytest.mark.parametrize(
    ("sizes", "millions"),
    [((768, 3072, 12, 12), 86.435), ((1024, 4096, 16, 24), 304.150), ((1152, 4096, 16, 28), 415.353)],
    ids=["ViTB", "ViTL", "ViTXL"],
)
def test_so_have_the_decoders(sizes, millions):
    names = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers")
    config = {f"decoder_{name}": size for name, size in zip(names, sizes, strict=True)}
    made = count(lambda key: rae.make_decoder(config, tokens=256, in_dim=768, **SCALE, key=key))
    assert round(made / 1e6, 3) == millions


def test_so_have_the_other_networks():
    config = PUBLISHED["siglip2-b"].config
    assert count(lambda key: make_pooled(config, key=key)) == 92_930_304
    assert count(lambda key: Lpips(key=key)) == 14_714_688 + 1472
    means_and_variances = 2 * 17_216
    assert count(lambda key: InceptionV3(key=key)) == 23_850_960 + means_and_variances


# What is refused

CONFIG = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 4,
    "patch_size": 2,
}
MADE = filled(lambda key: DINOV2.make(CONFIG, key=key))
WEIGHTS = DINOV2.export(MADE, prefix="")


def test_weights_of_another_family_are_named():
    config = {**CONFIG, "intermediate_size": 5}
    mae = MAE.export(filled(lambda key: MAE.make(config, key=key)))
    with pytest.raises(
        KeyMapError,
        match=r"This looks like ViT-MAE \(8 wide, 2 layers\), you asked for DINOv2-B with registers",
    ):
        PUBLISHED["dinov2-b"].load(mae)


def test_weights_of_another_size_are_listed_with_both_shapes():
    with pytest.raises(KeyMapError, match="DINOv2 that was asked for") as caught:
        DINOV2.load({**CONFIG, "hidden_size": 12, "num_hidden_layers": 3}, WEIGHTS)
    message = str(caught.value)
    assert "missing encoder.layer.2.norm2.weight (12,); and 15 more like these" in message
    assert "embeddings.position_embeddings has shape (1, 5, 8), expected (1, 5, 12); and 39 more" in message


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "teacher.backbone."]
)
def test_a_wrapper_before_every_name_changes_nothing(prefix: str):
    wrapped = DINOV2.load(CONFIG, {prefix + name: array for name, array in WEIGHTS.items()})
    assert eqx.tree_equal(wrapped, DINOV2.load(CONFIG, WEIGHTS))


def test_what_is_beside_wrapped_weights_is_named_in_one_short_line():
    both = {"backbone." + name: array for name, array in WEIGHTS.items()}
    both["dino_head.mlp.0.weight"] = np.zeros((3, 8), np.float32)
    with pytest.raises(KeyMapError, match=r"\(1 names\): unexpected dino_head\.mlp\.0\.weight"):
        DINOV2.load(CONFIG, both)


def test_missing_unexpected_misshapen_and_integer_arrays_are_one_error():
    broken = dict(WEIGHTS)
    broken["encoder.layer.0.norm3.weight"] = broken.pop("encoder.layer.0.norm2.weight")
    broken["embeddings.cls_token"] = np.zeros((1, 2, 8), np.float32)
    broken["layernorm.bias"] = np.zeros(8, np.int64)
    with pytest.raises(KeyMapError, match=r"\(4 names\)") as caught:
        DINOV2.load(CONFIG, broken)
    for part in (
        "missing encoder.layer.0.norm2.weight (8,)",
        "unexpected encoder.layer.0.norm3.weight (8,)",
        "embeddings.cls_token has shape (1, 2, 8), expected (1, 1, 8)",
        "layernorm.bias has dtype int64, expected a floating one",
    ):
        assert part in str(caught.value)


def test_rotary_periods_and_bias_masks_of_another_network_are_refused():
    config = {"embed_dim": 16, "depth": 1, "num_heads": 2, "mask_k_bias": True}
    made = filled(lambda key: DINOV3_ORIGINAL.make(config, key=key))
    published = DINOV3_ORIGINAL.export(made)
    mask = published["blocks.0.attn.qkv.bias_mask"]
    np.testing.assert_array_equal(mask, np.repeat([1, 0, 1], 16))
    np.testing.assert_array_equal(published["blocks.0.attn.qkv.bias"][16:32], 0)
    for name in ("rope_embed.periods", "blocks.0.attn.qkv.bias_mask"):
        with pytest.raises(KeyMapError, match=f"{name} is not this module's table"):
            DINOV3_ORIGINAL.load(config, published | {name: published[name] + 1})


def test_weights_may_come_and_be_stored_in_bfloat16():
    narrow = {name: a.astype(ml_dtypes.bfloat16) for name, a in WEIGHTS.items()}
    wide = DINOV2.export(DINOV2.load(CONFIG, narrow), prefix="")
    stored = DINOV2.export(DINOV2.load(CONFIG, WEIGHTS, dtype=jnp.dtype(jnp.bfloat16)), prefix="")
    for name, array in narrow.items():
        np.testing.assert_array_equal(wide[name], array.astype(np.float32))
        np.testing.assert_array_equal(stored[name], array)


@pytest.mark.parametrize(
    ("family", "config", "message"),
    [
        (DINOV2, {"model_type": "vit_mae"}, "model_type='vit_mae', and DINOv2 has dinov2"),
        (DINOV2, {"hidden_size": "768"}, "hidden_size='768'; it should be of type int, for example 768"),
        (DINOV2, {"hidden_size": -8}, "hidden_size=-8; it must lie between 1 and"),
        (MAE, {"hidden_act": "mish"}, "hidden_act='mish' is not known; the known ones are gelu"),
        (DINOV3_ORIGINAL, {"pos_embed_rope_dtype": "bf16"}, "only 'fp32' is"),
        (DINOV3_ORIGINAL, {"norm_layer": "rmsnorm"}, "none of layernorm, layernormbf16"),
        (DINOV3_ORIGINAL, {"ffn_layer": "moe"}, "none of mlp, swiglu"),
        (SIGLIP2, {"vision_config": {"model_type": "clip"}}, "model_type='clip'"),
    ],
)
def test_configurations_that_are_not_understood_are_refused(family, config, message):
    with pytest.raises(ValueError, match=message):
        family.make(config, key=jax.random.key(0))


def test_an_autoencoder_is_split_and_strangers_are_named():
    names = ("encoder.encoder.layernorm.weight", "encoder.model.head.probe", "decoder.decoder_embed.bias")
    parts = rae.split_autoencoder({name: np.zeros(1) for name in names})
    assert list(parts.encoder) == ["layernorm.weight", "head.probe"]
    assert list(parts.decoder) == ["decoder_embed.bias"]
    with pytest.raises(KeyMapError, match="these do not: optimizer"):
        rae.split_autoencoder({"optimizer.step": np.zeros(1)})
