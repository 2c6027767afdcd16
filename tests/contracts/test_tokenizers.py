"""The contract of a tokenizer, held by every one there is: those that are trained here, and those of others."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import laminate
from laminate.recipes.families import PUBLISHED, families, family_of, from_json, to_json
from laminate.recipes.latent import LoadedTokenizer
from laminate.recipes.masked_autoencoder.recipe import as_teacher
from laminate.recipes.modules import image_tokenizer, model_shapes
from laminate.runs.load_tokenizer import load_tokenizer
from laminate.runs.pretrained import load_pretrained, save_pretrained
from laminate.tokenizers.base import ImageTokenizer
from laminate.train.export import named_weights
from tests.experiments.jobs import (
    TINY,
    TINY_FSQ,
    TINY_PRODUCT_FSQ,
    TINY_SAE,
    TINY_TEACHER,
    TINY_VITOK,
    write_teacher,
    write_tokenizer,
)
from tests.oracles.arrays import filled
from tests.pretrained import published_autoencoders as published

SIDE = 16
FLOAT32 = jnp.dtype(jnp.float32)
RNG = np.random.default_rng(11)
PHOTO = RNG.integers(0, 256, (SIDE, SIDE, 3), np.uint8)


def _own(recipe) -> Callable[[Path], Path]:
    return lambda folder: write_tokenizer(folder, recipe=recipe)


def _vitok(folder: Path) -> Path:
    family = family_of(TINY_VITOK)
    made = filled(lambda key: family.modules().build(TINY_VITOK, key=key))
    save_pretrained(made, folder, recipe=TINY_VITOK)
    return folder


def _dino_sae(folder: Path) -> Path:
    frozen = write_teacher(folder.parent / "frozen")
    recipe = dataclasses.replace(TINY_SAE, teacher=as_teacher(TINY_TEACHER, str(frozen)))
    made = filled(lambda key: family_of(recipe).modules().build(recipe, key=key))
    save_pretrained(made, folder, recipe=recipe)
    return folder


def _published(name: str) -> Callable[[Path], Path]:
    return lambda folder: published.write_autoencoder(folder, name)


WRITE: dict[str, Callable[[Path], Path]] = {
    "vae": _own(TINY),
    "fsq": _own(TINY_FSQ),
    "fsq of two codebooks": _own(TINY_PRODUCT_FSQ),
    "vitok": _vitok,
    "dino-sae": _dino_sae,
    **{name: _published(name) for name in published.TINY},
}


class Subject(eqx.Module):
    """One of them: where it lies, as it is loaded, and as its readers see it."""

    folder: Path = eqx.field(static=True)
    loaded: LoadedTokenizer = eqx.field(static=True)
    tokenizer: ImageTokenizer
    raw: jax.Array
    image: jax.Array


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """Each program runs once."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module", params=WRITE)
def subject(request, tmp_path_factory) -> Subject:
    folder = WRITE[request.param](tmp_path_factory.mktemp("tokenizer") / request.param)
    loaded = load_tokenizer(folder, codes=True, image_size=SIDE)
    tokenizer = jax.tree.map(jnp.asarray, image_tokenizer(loaded, like=loaded.latent))
    raw, image = there_and_back(tokenizer, {"image": jnp.asarray(PHOTO)})
    return Subject(folder, loaded, tokenizer, raw, image)


@jax.jit
def there_and_back(tokenizer: ImageTokenizer, example: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
    raw = tokenizer.encode_raw(example, dtype=FLOAT32)[0]
    return raw, tokenizer.image(raw, dtype=FLOAT32)


def test_latents_are_as_its_spec_says(subject):
    latent = subject.loaded.latent
    assert subject.raw.dtype == jnp.float32 and subject.raw.shape == (latent.tokens, latent.latent_dim)
    assert np.isfinite(subject.raw).all() and np.ptp(subject.raw) > 0
    assert latent.image_size == SIDE
    assert latent.grid is None or latent.grid[0] * latent.grid[1] == latent.tokens
    assert bool(latent.codes) == (subject.tokenizer.codebook_size is not None)


def test_an_image_comes_back_in_its_size_and_range(subject):
    assert subject.image.dtype == jnp.float32 and subject.image.shape == (SIDE, SIDE, 3)
    assert 0.0 <= subject.image.min() and subject.image.max() <= 1.0 and np.ptp(subject.image) > 0
    np.testing.assert_allclose(
        subject.tokenizer.original({"image": jnp.asarray(PHOTO)}), PHOTO / 255.0, atol=1e-6
    )


def test_statistics_are_inside_and_are_undone(subject):
    statistics = subject.tokenizer.normalization
    if not subject.loaded.latent.normalised:
        normalised = subject.raw if statistics is None else statistics(subject.raw)
        np.testing.assert_array_equal(normalised, subject.raw)
        return
    assert statistics is not None
    np.testing.assert_allclose(statistics.inverse(statistics(subject.raw)), subject.raw, atol=1e-5)


def test_what_is_saved_is_loaded_with_every_number_under_the_same_name_and_hash(subject, tmp_path):
    found = load_pretrained(subject.folder)
    save_pretrained(found, tmp_path / "again")
    again = load_pretrained(tmp_path / "again")
    assert again.recipe == found.recipe == from_json(to_json(found.recipe))
    assert eqx.tree_equal(again.model, found.model)
    assert load_tokenizer(tmp_path / "again", codes=True).identity == subject.loaded.identity


def test_a_plan_needs_no_weights(subject):
    recipe, latent = subject.loaded.recipe, subject.loaded.latent
    shapes = named_weights(model_shapes(recipe))
    wanted = {name: leaf.shape for name, leaf in named_weights(subject.loaded.model).items()}
    assert {name: leaf.shape for name, leaf in shapes.items()} == wanted
    family = family_of(recipe)
    assert family in (*families(), *PUBLISHED) and family.kind == "tokenizer"
    described = family.text(recipe)
    assert described.title and dict(described.rows)
    planned = image_tokenizer(
        dataclasses.replace(subject.loaded, model=model_shapes(recipe)), like=latent, weights=False
    )
    example = {"image": jax.ShapeDtypeStruct((SIDE, SIDE, 3), jnp.uint8)}
    encode = lambda tokenizer, one: tokenizer.encode_raw(one, dtype=jnp.dtype(jnp.bfloat16))[0]
    out = jax.eval_shape(encode, planned, example)
    assert out.shape == (latent.tokens, latent.latent_dim) and out.dtype == jnp.float32


def test_anyone_opens_it_by_its_folder(subject):
    tokenizer = laminate.from_pretrained(subject.folder)
    tokens = tokenizer.encode_image(PHOTO)
    picture = tokenizer.decode_image(tokens)
    assert picture.size == tokenizer.seen(PHOTO).size == (SIDE, SIDE)
    assert tokenizer.identity == subject.loaded.identity
    assert tokenizer.latent.latent_dim == subject.loaded.latent.latent_dim
