"""Published discriminators in their layouts, and the network that heads look with."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.models.dino_discriminator import DinoDiscriminator
from laminate.models.patchgan import PatchGan
from laminate.nn import iterated
from laminate.pretrained.discriminators import VitBackbone, load_backbone, load_heads, load_patchgan
from laminate.pretrained.keymaps.base import KeyMapError, export
from laminate.pretrained.keymaps.discriminator import flatdino_head_slots, patchgan_slots, rae_head_slots
from laminate.pretrained.plain import DINO_ORIGINAL
from laminate.pretrained.teachers import VitTeacher
from tests.oracles.arrays import filled, normal
from tests.pretrained import checkpoints

HEADS = filled(lambda key: DinoDiscriminator(6, 2, kernel=3, key=key))
NORMS = ("batch", "act", "spectral", "group", "none")
SMALL = {"embed_dim": 12, "depth": 3, "num_heads": 3, "image_size": 8, "patch_size": 4}
IMAGE = jnp.tanh(normal(5, 10, 6, 3))


def same(a, b):
    return jax.tree.all(jax.tree.map(np.array_equal, a, b))


def test_rae_heads_come_back_as_they_were_written():
    weights = export(HEADS, rae_head_slots(HEADS))
    assert weights["heads.1.1.fn.0.weight_orig"].shape == (6, 6, 3)
    assert weights["heads.1.1.fn.0.weight_v"].shape == (18,)
    found = load_heads({**weights, "dino.norm.weight": np.ones(6, np.float32)})
    assert same(found, HEADS)


def test_flatdino_heads_have_made_the_step_that_its_evaluation_makes():
    weights = export(HEADS, flatdino_head_slots(HEADS))
    assert weights["heads/1/layers/1/fn/conv/layer_instance/kernel"].shape == (3, 6, 6)
    sigma = {name.replace("'u'", "'sigma'"): np.ones((), np.float32) for name in weights if "'u'" in name}
    found, wanted = load_heads({**weights, **sigma}), jax.jit(iterated)(HEADS)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_the_names_of_a_patchgan_tell_its_norm_and_its_shapes_the_rest(norm):
    network = filled(lambda key: PatchGan(layers=2, width=4, norm=norm, channels=2, key=key))
    weights = export(network, patchgan_slots(network))
    assert ("main.8.bias" in weights) == (norm in ("batch", "act", "group"))
    counters = {"main.3.num_batches_tracked": np.ones((), np.int64)} if norm == "batch" else {}
    found = load_patchgan({**weights, **counters})
    assert same(found, network) and jax.tree.structure(found) == jax.tree.structure(network)


def test_other_weights_are_refused_by_what_they_look_like():
    heads, network = (
        export(HEADS, rae_head_slots(HEADS)),
        filled(lambda key: PatchGan(layers=1, width=4, norm="none", key=key)),
    )
    patches = export(network, patchgan_slots(network))
    with pytest.raises(
        KeyMapError, match=r"looks like a PatchGAN .*asked for discriminator of heads over DINO"
    ):
        load_heads(patches)
    with pytest.raises(
        KeyMapError, match=r"looks like heads of a discriminator over DINO, as RAE .*for PatchGAN"
    ):
        load_patchgan(heads)
    lacking = {name: a for name, a in heads.items() if name != "heads.1.0.1.bias"}
    with pytest.raises(KeyMapError, match=r"missing heads\.1\.0\.1\.bias"):
        load_heads(lacking)
    with pytest.raises(KeyMapError, match=r"missing main\.2\.bias"):
        load_patchgan({name: a for name, a in patches.items() if name != "main.2.bias"})


def backbone(depths=(0, 2)):
    vit = filled(lambda key: DINO_ORIGINAL.make(SMALL, key=key))
    network = VitTeacher(vit, 8, mean=DINO_ORIGINAL.mean, std=DINO_ORIGINAL.std, resampling="bilinear")
    return VitBackbone(network, depths)


def test_a_backbone_gives_the_last_block_and_then_the_tapped_ones_without_cls_and_norm():
    frozen = backbone()
    maps = jax.jit(lambda b, image: b(image))(frozen, IMAGE)
    assert [m.shape for m in maps] == [(4, 12)] * 3
    np.testing.assert_array_equal(maps[0], maps[2])  # two heads look at the last block
    seen = frozen.network.seen((IMAGE + 1) / 2)
    taps = jax.jit(lambda vit, x: vit.taps(x, (0, 2))[1])(frozen.network.vit, seen)
    np.testing.assert_allclose(maps[1], taps[0, 1:], atol=1e-5)
    np.testing.assert_allclose(maps[0], taps[1, 1:], atol=1e-5)


def test_the_gradient_goes_through_the_backbone_to_the_image():
    frozen = backbone()
    gradient = jax.jit(jax.grad(lambda x: sum(jnp.sum(jnp.sin(m)) for m in frozen(x))))(IMAGE)
    assert np.isfinite(gradient).all() and np.all(np.any(np.asarray(gradient) != 0, axis=-1))


def test_a_backbone_is_read_by_its_source_and_runs_with_the_activation_asked_for(tmp_path):
    network = filled(lambda key: DINO_ORIGINAL.make(SMALL, key=key))
    folder = checkpoints.write(tmp_path / "dino", DINO_ORIGINAL.export(network), SMALL)
    run = eqx.filter_jit(lambda b, image: b(image))
    exact, tanh = (
        run(load_backbone(folder, depths=(1,), image_size=8, hidden_act=act), IMAGE)
        for act in (None, "gelu_pytorch_tanh")
    )
    assert len(exact) == 2
    difference = float(jnp.max(jnp.abs(exact[0] - tanh[0])))
    assert 0 < difference < 0.05
    with pytest.raises(ValueError, match=r"blocks 0 to 2, and depths \[5\] were asked for"):
        load_backbone(folder, depths=(1, 5), image_size=8)
