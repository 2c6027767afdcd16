"""Published tokenizers of images of any size by their names, as everybody else's code takes them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save

import laminate
from laminate.pretrained.keymaps.base import export
from laminate.pretrained.keymaps.vitok import autoencoder_slots
from laminate.pretrained.registry import KNOWN
from laminate.recipes.vitok.modules import vitok
from laminate.recipes.vitok.presets import known_weights, named_vitok
from laminate.recipes.vitok_names import PUBLISHED
from laminate.runs.load_tokenizer import load_tokenizer
from tests.pretrained.hub_server import serve

NAME = "350M-f16x64"
SMALL = dataclasses.replace(PUBLISHED[NAME], variant="w16_d1_h2-w24_d2_h3/1x4x5")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with the two files of a small network in the published layout, under the name of a large one."""
    known = known_weights(NAME)
    monkeypatch.setitem(PUBLISHED, NAME, SMALL)
    monkeypatch.setitem(KNOWN, known, dataclasses.replace(KNOWN[known], width=16))
    monkeypatch.chdir(tmp_path)
    with serve(monkeypatch, tmp_path) as found:
        yield found


def test_a_published_name_is_a_tokenizer(hub):
    model = vitok(named_vitok(NAME), key=jax.random.key(3))
    named = export(model.autoencoder, autoencoder_slots(model.autoencoder))
    of_encoder = ("patch_embed", "to_code", "encoder_blocks")
    for half in ("encoder", "decoder"):
        kept = {
            name: np.ascontiguousarray(array)
            for name, array in named.items()
            if name.startswith(of_encoder) == (half == "encoder")
        }
        hub.files[SMALL.repository, f"{half}.safetensors"] = save(kept)
    tokenizer = laminate.from_pretrained(NAME)
    image = np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)
    tokens = tokenizer.encode_image(image)
    assert tokens.shape == (3, 4, 5) and tokenizer.decode_image(tokens).size == (14, 9)
    for mine, theirs in zip(jax.tree.leaves(tokenizer.model), jax.tree.leaves(model), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    by_hub_name = load_tokenizer(known_weights(NAME))
    assert by_hub_name.identity == load_tokenizer(NAME).identity
    assert (by_hub_name.latent.patch, by_hub_name.latent.latent_dim) == (4, 5)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(by_hub_name.model))


def test_offline_it_is_one_line_that_names_the_repository(hub, monkeypatch):
    hub.failing = True
    with pytest.raises(OSError, match=SMALL.repository) as caught:
        laminate.from_pretrained(NAME)
    assert "\n" not in str(caught.value)
