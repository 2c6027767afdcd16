"""CLIP's vision tower: what an independent implementation computes of the same file, and files that are no CLIP."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.evals.feature_networks import PooledClip
from laminate.evals.protocols import PROTOCOLS
from laminate.pretrained.clip import MEAN, STD, clip_facts, clip_slots, load_clip, make_clip
from laminate.pretrained.keymaps.base import export
from laminate.pretrained.tensors import WeightsError
from laminate.runs.feature_networks import open_feature_networks
from tests.oracles.clip_vision import drawn_weights, image_embedding
from tests.pretrained.checkpoints import write

SIZES = {"dim": 12, "depth": 2, "hidden": 10, "patch": 3, "grid": 4, "out_dim": 5}
CONFIG = {
    "model_type": "clip",
    "projection_dim": 5,
    "vision_config": {
        "model_type": "clip_vision_model",
        "hidden_size": 12,
        "intermediate_size": 10,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "image_size": 12,
        "patch_size": 3,
        "projection_dim": 77,
    },
    "text_config": {"hidden_size": 7},
}
IMAGE = np.random.default_rng(3).random((12, 12, 3)).astype(np.float32)


def test_the_embedding_is_that_of_an_independent_implementation() -> None:
    weights = drawn_weights(**SIZES)
    found = load_clip(CONFIG, weights)(jnp.asarray(IMAGE))
    np.testing.assert_allclose(found, image_embedding(weights, IMAGE, heads=3), rtol=2e-5, atol=2e-5)


def test_without_a_configuration_sizes_are_those_of_the_weights_with_the_published_heads() -> None:
    weights = drawn_weights(**{**SIZES, "dim": 128})
    network = load_clip(None, weights)
    assert (network.vit.stack.depth, network.image_size, network.out_dim) == (2, 12, 5)
    found = network(jnp.asarray(IMAGE))
    np.testing.assert_allclose(found, image_embedding(weights, IMAGE, heads=2), rtol=2e-4, atol=2e-3)
    with pytest.raises(WeightsError, match="12 wide here, which no heads of 64 numbers divide"):
        load_clip(None, drawn_weights(**SIZES))


def test_what_is_read_is_what_is_written() -> None:
    weights = drawn_weights(**SIZES)
    tower = export(network := load_clip(CONFIG, weights), clip_slots(network))
    assert set(weights) - set(tower) == {
        *(name for name in weights if name.startswith("text_")),
        "logit_scale",
        "vision_model.embeddings.position_ids",
    }
    assert all(np.array_equal(array, weights[name]) for name, array in tower.items())


@pytest.mark.parametrize(
    ("config", "changed", "said"),
    [
        ({**CONFIG, "vision_config": {"model_type": "siglip_vision_model"}}, {}, "give the folder of a CLIP"),
        ({**CONFIG, "vision_config": 3}, {}, "vision_config=3, and it should hold fields"),
        ({**CONFIG, "projection_dim": 6}, {}, "visual_projection.weight"),
        ({**CONFIG, "vision_config": {**CONFIG["vision_config"], "hidden_act": "x"}}, {}, "hidden_act='x'"),
        (None, {"visual_projection.weight": None}, "Without a config.json its sizes are those of"),
        (None, {"vision_model.embeddings.position_embedding.weight": np.zeros(3)}, "Without a config.json"),
    ],
)
def test_what_is_no_such_tower_is_refused(config, changed, said) -> None:
    weights = {**drawn_weights(**{**SIZES, "dim": 64 if config is None else 12}), **changed}
    with pytest.raises(ValueError, match=said):
        load_clip(config, {name: array for name, array in weights.items() if array is not None})


def test_images_of_any_size_are_seen_as_cmmd_has_them(tmp_path) -> None:
    weights = drawn_weights(**SIZES)
    write(tmp_path / "clip", weights, CONFIG)
    (network,) = open_feature_networks(None, None, str(tmp_path / "clip"))
    assert network.name == "clip" and network.said == "CLIP ViT-12 wide/3 at 12, image embedding"
    large = np.random.default_rng(4).random((20, 30, 3)).astype(np.float32)
    sized = jax.image.resize(large, (12, 12, 3), "bicubic")  # the authors' own
    seen = (np.asarray(sized, np.float64) - MEAN) / STD
    found = jax.tree.map(jnp.asarray, network.module)(jnp.asarray(large))["pool"]
    np.testing.assert_allclose(found, image_embedding(weights, seen, heads=3), rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="looks like"):
        write(tmp_path / "dino", {"embeddings.cls_token": np.zeros((1, 1, 12), np.float32), **DINO})
        open_feature_networks(None, None, str(tmp_path / "dino"))


DINO = {
    "embeddings.position_embeddings": np.zeros((1, 5, 12), np.float32),
    "encoder.layer.0.layernorm_before.weight": np.zeros(12, np.float32),
}


def test_the_published_network_is_that_of_the_protocol() -> None:
    facts = clip_facts({"vision_config": {"model_type": "clip_vision_model"}, "projection_dim": 768})
    shapes = jax.eval_shape(lambda: make_clip(facts, jax.random.key(0)))
    assert shapes.image_size == 336 and shapes.vit.positions.shape == (577, 1024)
    wanted = PROTOCOLS["cmmd@google"].protocol
    assert (
        PooledClip(shapes).resampling == "bicubic-antialias"
        and wanted.resize == "bicubic to 336, antialiased"
    )
    assert wanted.network == "CLIP ViT-L/14 at 336, image embedding"
