"""Qwen-Image's autoencoder: its sizes, what a single frame meets of its weights, and what is refused."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
import pytest

from laminate.pretrained.keymaps.base import KeyMapError, export
from laminate.pretrained.keymaps.kl_autoencoder import QWEN_IMAGE, autoencoder_slots
from laminate.pretrained.qwen_image import autoencoder_qwen_image, load_autoencoder_qwen_image
from tests.oracles.arrays import filled

SMALL: dict[str, Any] = {
    "base_dim": 4,
    "z_dim": 3,
    "dim_mult": [1, 2],
    "num_res_blocks": 1,
    "temperal_downsample": [True],
    "latents_mean": [0.1, -0.2, 0.3],
    "latents_std": [1.5, 0.5, 2.0],
}


def test_the_published_network_is_that_of_the_defaults():
    network = eqx.filter_eval_shape(autoencoder_qwen_image({}), jax.random.key(0))
    assert network.patch == 8 and network.latent_dim == 16
    names = {key for slot in autoencoder_slots(network, QWEN_IMAGE) for key in slot.keys}
    # Two blocks and a halving a level, and no halving behind the last: 0 to 10 in one row.
    assert {f"encoder.down_blocks.{n}.resample.1.weight" for n in (2, 5, 8)} <= names
    assert "encoder.down_blocks.10.conv1.weight" in names
    assert not any(name.startswith("encoder.down_blocks.11.") for name in names)
    shortcuts = {name.removesuffix(".conv_shortcut.bias") for name in names if name.endswith("shortcut.bias")}
    assert shortcuts == {"encoder.down_blocks.3", "encoder.down_blocks.6", "decoder.up_blocks.1.resnets.0"}
    widths = [level.resample.conv.out_channels for level in network.decoder.levels[:-1]]
    assert widths == [192, 192, 96]


def test_a_first_frame_meets_the_last_part_of_every_convolution():
    network = filled(autoencoder_qwen_image(SMALL))
    published = export(network, autoencoder_slots(network, QWEN_IMAGE))
    assert published["encoder.conv_in.weight"].shape == (4, 3, 3, 3, 3)
    assert published["encoder.mid_block.attentions.0.norm.gamma"].shape == (8, 1, 1)
    assert published["encoder.norm_out.gamma"].shape == (8, 1, 1, 1)
    before = {
        name: np.concatenate([a[:, :, :-1] + 7, a[:, :, -1:]], axis=2) if a.ndim == 5 else a
        for name, a in published.items()
    }
    before["encoder.down_blocks.1.time_conv.weight"] = np.zeros((4, 4, 3, 1, 1), np.float32)
    assert eqx.tree_equal(load_autoencoder_qwen_image(SMALL, before), network)
    del before["decoder.up_blocks.0.upsamplers.0.resample.1.bias"]
    with pytest.raises(KeyMapError, match=r"missing decoder\.up_blocks\.0\.upsamplers\.0\.resample\.1\.bias"):
        load_autoencoder_qwen_image(SMALL, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"is_residual": True}, "fields that are not known: is_residual"),
        ({"attn_scales": [1.0]}, r"attn_scales=\[1.0\]; covered is \[\]"),
        ({"temperal_downsample": [True, False]}, "2 levels in dim_mult and 2 ways"),
        ({"latents_std": None}, "lacks latents_mean or latents_std for z_dim=3"),
        ({"temperal_downsample": [1]}, "a list of true and false"),
    ],
)
def test_a_configuration_that_is_not_covered_is_refused_by_its_field(options, message):
    with pytest.raises(ValueError, match=message):
        autoencoder_qwen_image({**SMALL, **options})
