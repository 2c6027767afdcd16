"""Published DINO-SAE checkpoints there and back: the names, and wherever in a file they lie."""

import re

import equinox as eqx
import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from laminate.models.conv_blocks import LinearAttentionBlock, ResBlock
from laminate.models.conv_stem import ConvStem, with_stem
from laminate.models.dc_decoder import DcDecoder
from laminate.models.dino_sae import DinoSae, StemAndDecoder
from laminate.pretrained import hub
from laminate.pretrained.dino_sae import export_autoencoder, load_autoencoder
from laminate.pretrained.dinov3 import DINOV3_ORIGINAL
from laminate.pretrained.keymaps.base import KeyMapError
from laminate.pretrained.patches import IMAGENET_MEAN, IMAGENET_STD
from laminate.pretrained.pickles import PickleRefused
from laminate.runs.init_from import plan_start
from laminate.train.export import named_weights
from tests.oracles.arrays import filled

VIT_L = {"embed_dim": 1024, "depth": 24, "num_heads": 16}
TINY = {"embed_dim": 32, "depth": 2, "num_heads": 4, "ffn_ratio": 2.0}
PUBLISHED = {"mask_k_bias": True, "n_storage_tokens": 4, "norm_layer": "layernormbf16"}


def make(config, widths, decoder, **options):
    def build(key) -> DinoSae:
        vit = DINOV3_ORIGINAL.make({**PUBLISHED, **config}, key=key)
        encoder = with_stem(vit, ConvStem(vit.norm.dim, widths, key=key))
        return DinoSae(
            encoder,
            DcDecoder(vit.norm.dim, *decoder, key=key, **options),
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        )

    return build


KINDS = (ResBlock, ResBlock, ResBlock, LinearAttentionBlock, LinearAttentionBlock)
SMALL = ((8, 16, 16, 32, 32), (2, 1, 1, 1, 2), KINDS)


@pytest.fixture(scope="module")
def network() -> DinoSae:
    return filled(make(TINY, (4, 6, 8), SMALL))


@pytest.fixture(scope="module")
def weights(network) -> dict[str, np.ndarray]:
    return export_autoencoder(network)


def same(one, other) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_released_layout_has_its_names_and_shapes():
    released = ((256, 512, 512, 1024, 1024), (5, 5, 3, 3, 3), KINDS)
    network = eqx.filter_eval_shape(make(VIT_L, (64, 128, 256), released), jax.random.key(0))
    hollow = jax.tree.map(lambda s: np.broadcast_to(np.float32(0), s.shape), network)
    shapes = {name: a.shape for name, a in export_autoencoder(hollow).items()}
    decoder = {name: shape for name, shape in shapes.items() if name.startswith("decoder.")}
    assert len(decoder) == 107 and sum(int(np.prod(shape)) for shape in decoder.values()) == 172_004_099
    stem = {name: shape for name, shape in shapes.items() if ".patch_embed." in name}
    assert len(stem) == 7 and stem["dino_model.patch_embed.cnn.3.conv.weight"] == (1024, 256, 3, 3)
    for name, shape in {
        "dino_model.patch_embed.cnn.2.norm.weight": (1, 256, 1, 1),
        "dino_model.blocks.23.attn.qkv.bias_mask": (3072,),
        "dino_model.rope_embed.periods": (16,),
        "decoder.project_in.main.conv.weight": (1024, 1024, 3, 3),
        "decoder.stages.0.op_list.2.context_module.main.qkv.conv.weight": (3072, 1024, 1, 1),
        "decoder.stages.1.op_list.0.main.conv.conv.weight": (1024, 1024, 3, 3),
        "decoder.stages.1.op_list.3.local_module.main.depth_conv.conv.weight": (8192, 1, 3, 3),
        "decoder.stages.1.op_list.1.local_module.main.inverted_conv.conv.bias": (8192,),
        "decoder.stages.1.op_list.1.local_module.main.point_conv.conv.weight": (1024, 4096, 1, 1),
        "decoder.stages.2.op_list.0.main.conv.conv.bias": (512,),
        "decoder.stages.4.op_list.5.main.conv2.norm.weight": (1, 256, 1, 1),
        "decoder.project_out.op_list.0.weight": (1, 256, 1, 1),
        "decoder.project_out.op_list.2.conv.bias": (3,),
    }.items():
        assert shapes[name] == shape


@pytest.mark.parametrize("front", ["", "model.", "module.", "ema_model.", "ema.", "autoencoder.", "net."])
def test_loading_what_was_exported_gives_the_same_network_whatever_stands_in_front(network, weights, front):
    same(load_autoencoder({front + name: a for name, a in weights.items()}), network)


@pytest.mark.parametrize(
    "outside", ["state_dict", "model", "ema", "ema_state_dict", "model_state_dict", "module"]
)
def test_a_training_s_dictionaries_are_looked_into(network, weights, outside):
    optimizer = {"step": 3, "lr": np.float32(1.0), "state": {"0": {"exp_avg": np.zeros(2, np.float32)}}}
    same(load_autoencoder({outside: weights, "optimizer": optimizer, "epoch": 3}), network)
    same(load_autoencoder({outside: {f"model.{name}": a for name, a in weights.items()}}), network)


def test_of_two_autoencoders_the_averaged_one_is_read(network, weights):
    zeros = {name: np.zeros_like(a) for name, a in weights.items()}
    same(load_autoencoder({"model": zeros, "ema": weights}), network)
    same(load_autoencoder({"ema_model": weights, "online_model": zeros}), network)


def test_what_the_module_computes_itself_may_be_there_or_not(network, weights):
    mask = {"dino_model.mask_token": np.zeros((1, 32), np.float32)}
    same(load_autoencoder(weights | mask), network)
    less = {name: a for name, a in weights.items() if "bias_mask" not in name}
    assert len(less) == len(weights) - 2
    same(load_autoencoder(less), network)
    with pytest.raises(KeyMapError, match="periods"):
        load_autoencoder(weights | {"dino_model.rope_embed.periods": np.ones(2, np.float32)})


def test_decoders_that_shuffle_and_gated_networks_are_read():
    config = {**TINY, "ffn_layer": "swiglu", "ffn_ratio": 3.0, "n_storage_tokens": 0}
    network = filled(make(config, (4, 6, 8), SMALL, up="shuffle"))
    same(load_autoencoder(export_autoencoder(network)), network)


def test_what_does_not_fit_is_named(weights):
    with pytest.raises(KeyMapError, match=r"no name in it ends in dino_model\.patch_embed"):
        load_autoencoder({"decoder.project_in.main.conv.bias": np.zeros(3, np.float32)})
    last = "decoder.project_out.op_list.2.conv.weight"
    with pytest.raises(KeyMapError, match=re.escape(f"missing {last}")):
        load_autoencoder({name: a for name, a in weights.items() if name != last})
    with pytest.raises(KeyMapError, match=r"unexpected dino_model\.surplus"):
        load_autoencoder(weights | {"dino_model.surplus": np.zeros(2, np.float32)})
    wide = "decoder.stages.0.op_list.1.local_module.main.point_conv.conv.weight"
    with pytest.raises(KeyMapError, match=re.escape(f"{wide} has shape (32, 5, 1, 1)")):
        load_autoencoder(weights | {wide: np.zeros((32, 5, 1, 1), np.float32)})
    with pytest.raises(KeyMapError, match="every stage of a published decoder"):
        load_autoencoder({name: a for name, a in weights.items() if "stages.2.op_list.0" not in name})


def test_a_file_is_recognised_and_a_pickle_is_refused_with_the_command_that_converts_it(
    weights, tmp_path, network
):
    save_file(weights, tmp_path / "sae.safetensors")
    same(load_autoencoder(hub.load(tmp_path / "sae.safetensors", family="dino-sae").weights), network)
    (tmp_path / "ema_model_step_470000.pt").write_bytes(b"PK\x03\x04" + bytes(64))
    with pytest.raises(PickleRefused, match="safetensors"):
        hub.load(tmp_path / "ema_model_step_470000.pt", family="dino-sae")


def test_a_training_begins_with_published_weights(weights, network, tmp_path):
    save_file({f"ema_model.{name}": a for name, a in weights.items()}, tmp_path / "sae.safetensors")
    parts = StemAndDecoder(network.encoder.patch, network.decoder)
    start = plan_start(tmp_path / "sae.safetensors", parts)
    assert start.share == 1.0 and not start.drawn and not start.unused
    for name, leaf in named_weights(parts).items():
        np.testing.assert_array_equal(start.kept[name], leaf)
