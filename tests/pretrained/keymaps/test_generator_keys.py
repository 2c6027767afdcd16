"""Key maps of generators: nothing is lost, time and velocity are turned, and published files have these names."""

import math
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.models import Ddt, Dit, FlatLatent, ImageLatent, Trunk
from laminate.nn import RMSNorm, zeros
from laminate.pretrained.keymaps.base import KeyMapError, export, load
from laminate.pretrained.keymaps.generator import IGNORED, ddt_slots, dit_slots, latent_statistics
from laminate.pretrained.keymaps.stage2 import export_stage2, load_stage2, stage2_slots
from tests.oracles.arrays import filled, normal

TRUNK = Trunk(dim=8, depth=2, heads=2, hidden=5, norm=RMSNorm, init=zeros)
HEAD = Trunk(dim=12, depth=1, heads=3, hidden=7, norm=RMSNorm, init=zeros)
FLAT, IMAGE = FlatLatent(5, 3), ImageLatent(4, 3)
FIXED = ("freqs_cos", "freqs_sin", "pos_embed")


def fresh(make):
    """The network with zeros for weights, which need no compiled random generator."""
    return make(init=zeros, embed_init=zeros, key=jax.random.key(0))


@pytest.mark.parametrize(
    ("make", "slots_of"),
    [
        (partial(Dit, TRUNK, FLAT, classes=4, cls_dim=6), dit_slots),
        (partial(Dit, TRUNK, ImageLatent(4, 3, 2), classes=4, learn_sigma=True), dit_slots),
        (partial(Ddt, TRUNK, HEAD, FLAT, classes=4, cls_dim=6), ddt_slots),
    ],
    ids=["dit", "dit of images", "ddt"],
)
def test_loading_what_was_exported_gives_the_same_network(make, slots_of):
    network = fresh(make)
    slots = slots_of(network)
    published = export(network, slots)
    shaken = {key: a if key.endswith(FIXED) else a + 1 for key, a in published.items()}
    statistics = {"latent_mean": np.ones((5, 3)), "latent_std": np.full((5, 3), 2.0)}
    extra = {"blocks/0/mlp/drop/rngs/key": np.zeros(2), **statistics}
    again = export(load(network, slots, shaken | extra, ignored=IGNORED), slots)
    assert again.keys() == shaken.keys()
    for key, value in shaken.items():
        np.testing.assert_array_equal(again[key], value)
    assert latent_statistics(published) is None
    assert latent_statistics(shaken | extra) == (statistics["latent_mean"], statistics["latent_std"])


def test_a_backward_network_is_minus_the_published_one_at_the_turned_time():
    make = partial(Ddt, TRUNK, HEAD, IMAGE, classes=4, positions="sincos")
    published = export_stage2(filled(lambda key: make(key=key)), velocity=False)
    tables = export_stage2(fresh(make))
    published |= {key: tables[key] for key in tables if "freqs" in key}
    raw = load_stage2(fresh(make), published)
    turned = load_stage2(fresh(partial(make, time_backwards=True)), published)
    x, label = normal(0, 4, 4, 3), jnp.asarray(1)
    run = jax.jit(lambda network, t: network(x, t, label))
    np.testing.assert_allclose(
        run(turned, jnp.asarray(0.2)), -run(raw, jnp.asarray(0.8)), rtol=1e-4, atol=1e-5
    )
    for key, value in export_stage2(turned).items():
        np.testing.assert_array_equal(value, published[key])


def test_a_gate_and_an_up_projection_share_one_name_in_that_order():
    network = filled(lambda key: Dit(TRUNK, IMAGE, classes=4, key=key))
    weights = export_stage2(network)
    fused = weights["blocks.1.mlp.w12.weight"]
    np.testing.assert_array_equal(fused[:5], network.stack.layers.mlp.gate.weight[1])
    np.testing.assert_array_equal(fused[5:], network.stack.layers.mlp.up.weight[1])


def test_all_wrong_names_are_listed():
    network = fresh(partial(Dit, TRUNK, IMAGE, classes=4))
    weights = export_stage2(network)
    weights["stranger"] = weights.pop("t_embedder.W")
    weights["feat_rope.freqs_cos"] = weights["feat_rope.freqs_cos"][:3]
    with pytest.raises(KeyMapError, match=r"missing t_embedder\.W") as caught:
        load_stage2(network, weights)
    assert "unexpected stranger" in str(caught.value)
    assert "feat_rope.freqs_cos has shape (3, 4), expected (16, 4)" in str(caught.value)


def names_of(make):
    network = eqx.filter_eval_shape(lambda key: make(key=key), jax.random.key(0))
    keys = [key for slot in stage2_slots(network) for key in slot.keys]
    return {key.replace("[gate]", "").replace("[up]", "") for key in keys}


XL = Trunk(dim=1152, depth=28, heads=16, hidden=3072, norm=RMSNorm, qk_norm=False)
WIDE_HEAD = Trunk(dim=2048, depth=2, heads=16, hidden=5461, norm=RMSNorm, qk_norm=False)
RAE_DDT = partial(Ddt, XL, WIDE_HEAD, positions="sincos", time_backwards=True)
RAE_DIT = partial(Dit, XL, positions="sincos", time_backwards=True)


def test_the_largest_published_files_have_so_many_names():
    assert len(names_of(partial(RAE_DDT, ImageLatent(16, 768)))) == 382
    assert len(names_of(partial(Dit, XL, ImageLatent(16, 32), time_features="sinusoidal"))) == 351


@pytest.mark.parametrize(
    ("make", "millions", "of_a_channel"),
    # A channel is a column of each embedding, and a row and a bias of the last layer.
    [(RAE_DIT, 677.25, 1152 + 1152 + 1), (RAE_DDT, 838.68, 1152 + 2048 + 2048 + 1)],
    ids=["dit", "ddt"],
)
def test_generators_of_the_1024_numbers_of_dinov3_are_the_published_ones_with_wider_ends(
    make, millions, of_a_channel
):
    def numbers(channels):
        network = partial(make, ImageLatent(16, channels))
        found = eqx.filter_eval_shape(lambda key: network(key=key), jax.random.key(0))
        stored = [slot for slot in stage2_slots(found) if "freqs" not in slot.keys[0]]
        return sum(math.prod(leaf.shape) for slot in stored for leaf in slot.leaves(found)), names_of(network)

    published, names = numbers(768)
    ours, same_names = numbers(1024)
    assert published / 1e6 == pytest.approx(millions, abs=0.005)
    assert ours - published == 256 * of_a_channel
    assert same_names == names


@pytest.mark.parametrize("make", [partial(Dit, TRUNK), partial(Ddt, TRUNK, HEAD)], ids=["dit", "ddt"])
def test_weights_of_generators_with_1024_channels_come_back_from_their_names(make):
    network = fresh(partial(make, ImageLatent(2, 1024), classes=4, positions="sincos", time_backwards=True))
    named = export_stage2(network)
    assert named["x_embedder.proj.weight"].shape[1:] == (1024, 1, 1)
    shaken = {key: a if "freqs" in key else a + np.float32(0.5) for key, a in named.items()}
    again = export_stage2(load_stage2(network, shaken))
    assert again.keys() == shaken.keys()
    for key, value in shaken.items():
        np.testing.assert_array_equal(again[key], value)
    with pytest.raises(
        KeyMapError, match=r"final_layer\.linear\.weight has shape \(1024, .*expected \(768, "
    ):
        load_stage2(fresh(partial(make, ImageLatent(2, 768), classes=4, positions="sincos")), shaken)
