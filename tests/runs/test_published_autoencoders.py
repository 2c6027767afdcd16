"""Autoencoders that others published: opened by name or folder, and used as any tokenizer here."""

import json
import shutil
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import laminate
from laminate.models.kl_autoencoder import GridPosterior
from laminate.pretrained.pickles import PickleRefused
from laminate.runs.load_tokenizer import load_tokenizer
from laminate.runs.tiled_tokenizer import TiledTokenizer
from laminate.tokenizers.autoencoder import AutoencoderTokenizer
from laminate.types import split_buffers
from tests.pretrained.hub_server import serve
from tests.pretrained.published_autoencoders import FILE, TINY, tiny_network, write_autoencoder

RNG = np.random.default_rng(7)
CAT = RNG.integers(0, 256, (7, 13, 3), np.uint8)
EVERY = pytest.mark.parametrize("name", TINY)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """A folder with one of every kind."""
    home = tmp_path_factory.mktemp("published")
    for name in TINY:
        write_autoencoder(home / name, name)
    return home


@pytest.fixture(scope="module")
def opened(folders) -> dict[str, TiledTokenizer]:
    return {name: laminate.from_pretrained(folders / name) for name in TINY}


def reflected(pixels: np.ndarray, patch: int) -> np.ndarray:
    below, right = (-side % patch for side in pixels.shape[:2])
    return np.pad(pixels, ((0, below), (0, right), (0, 0)), mode="reflect")


@eqx.filter_jit
def there_and_back(network, signed):
    """Scaled latents of an image in [-1, 1], and the image in [0, 1] that comes of them."""
    found = network.encode(signed)
    scaled = network.scaling(found.mean if isinstance(found, GridPosterior) else found)
    return scaled, jnp.clip(network.decode(network.scaling.inverse(scaled)) * 0.5 + 0.5, 0.0, 1.0)


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """These tests compile many small programs and run each once."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@EVERY
def test_any_image_becomes_scaled_latents_on_a_grid_and_a_picture_of_its_size(opened, name):
    tokenizer, one, network = opened[name], TINY[name], tiny_network(name)
    tokens = tokenizer.encode_image(CAT)
    rows, columns = -(-7 // one.patch), -(-13 // one.patch)
    assert tokens.shape == (rows, columns, one.latent_dim) and tokens.size == (7, 13)
    signed = jnp.asarray(2.0 * reflected(CAT, one.patch) / 255.0 - 1.0, jnp.float32)
    scaled, unit = there_and_back(network, signed)
    np.testing.assert_allclose(tokens, scaled, atol=2e-5 * np.abs(scaled).max())
    picture = tokenizer.decode_image(tokens)
    assert picture.size == (13, 7)
    assert np.abs(np.asarray(picture, int) - np.rint(unit[:7, :13] * 255)).max() <= 1
    latent = tokenizer.latent
    assert (latent.patch, latent.latent_dim, latent.normalised) == (one.patch, one.latent_dim, False)
    assert latent.posterior == (one.architecture != "AutoencoderDC")  # whose latents have no deviation
    assert latent.grid == (256 // one.patch,) * 2 and latent.codes == 0


def test_an_image_that_is_smaller_than_a_patch_is_reflected_again_and_again(opened):
    for size in ((1, 1), (1, 5), (2, 3)):
        tokens = opened["flux2"].encode_image(RNG.integers(0, 256, (*size, 3), np.uint8))
        assert opened["flux2"].decode_image(tokens).size == size[::-1]


@EVERY
def test_what_is_saved_here_is_the_same_tokenizer_and_has_a_card(opened, name, tmp_path):
    tokenizer = opened[name]
    laminate.save_pretrained(tokenizer, tmp_path / "saved")
    again = laminate.from_pretrained(tmp_path / "saved")
    assert again.identity == tokenizer.identity and again.recipe == tokenizer.recipe
    np.testing.assert_array_equal(again.encode_image(CAT), tokenizer.encode_image(CAT))
    card = (tmp_path / "saved" / "README.md").read_text()
    assert TINY[name].architecture in card and "pipeline_tag: image-to-image" in card


def test_shards_pipelines_and_files_beside_them_are_one_tokenizer(folders, opened, tmp_path):
    wanted = opened["flux"].identity.sha256
    sharded = write_autoencoder(tmp_path / "sharded", "flux", parts=3)
    assert load_tokenizer(sharded).identity.sha256 == wanted
    shutil.copytree(folders / "flux", tmp_path / "pipeline" / "vae")
    (tmp_path / "pipeline" / "model_index.json").write_text("{}")
    pipeline = load_tokenizer(tmp_path / "pipeline")
    assert pipeline.identity.sha256 == wanted and pipeline.recipe.name == "pipeline"
    assert load_tokenizer(tmp_path / "pipeline" / "vae").recipe.name == "pipeline"
    halves = {k: v.astype(np.float16) for k, v in load_file(folders / "flux" / f"{FILE}.safetensors").items()}
    save_file(halves, tmp_path / "pipeline" / "vae" / f"{FILE}.fp16.safetensors")
    assert load_tokenizer(tmp_path / "pipeline").identity.sha256 == wanted


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("sd", {"scaling_factor": 0.13025}),
        ("flux", {"shift_factor": 0.0609}),
        ("sd", {"latents_mean": [0.1, 0.2, 0.3], "latents_std": [1.0, 1.0, 1.0]}),
        ("flux2", {"batch_norm_eps": 1e-4}),
        ("qwen", {"latents_std": [1.5, 0.5, 2.5]}),
        ("dc-ae", {"scaling_factor": 0.41407}),
    ],
    ids=["scale", "shift", "mean", "eps", "deviation", "scale of DC-AE"],
)
def test_weights_whose_latents_are_scaled_otherwise_are_another_tokenizer(
    folders, opened, tmp_path, name, changed
):
    other = shutil.copytree(folders / name, tmp_path / name)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, **changed}))
    found, known = load_tokenizer(other), opened[name]
    assert found.identity.name == known.identity.name and found.identity.sha256 != known.identity.sha256
    assert all(
        np.array_equal(*both) for both in zip(*map(jax.tree.leaves, (found.model, known.model)), strict=True)
    )


def test_every_name_of_a_file_is_used_once_and_every_field_is_known(folders, tmp_path):
    broken = shutil.copytree(folders / "sd", tmp_path / "broken")
    weights = load_file(broken / f"{FILE}.safetensors")
    save_file({**weights, "encoder.extra.weight": np.ones(2, np.float32)}, broken / f"{FILE}.safetensors")
    with pytest.raises(ValueError, match=r"broken does not fit.*unexpected encoder\.extra\.weight"):
        laminate.from_pretrained(broken)
    cases = {
        "norm_type": ("sd", {"norm_type": "spatial"}, "fields that are not known: norm_type"),
        "act_fn": ("flux", {"act_fn": "gelu"}, "act_fn='gelu'; covered is 'silu'"),
        "patch_size": ("flux2", {"patch_size": [1, 1]}, r"patch_size=\[1, 1\]"),
        "input_channels": ("qwen", {"input_channels": 4}, "input_channels"),
        "ddconfig": ("vavae", {"ddconfig": {"ch": 32, "tanh_out": True}}, "not known: tanh_out"),
        "_class_name": ("sd", {"_class_name": "AutoencoderKLWan"}, "'AutoencoderKLWan'; covered is Auto"),
    }
    for field, (name, changed, words) in cases.items():
        folder = shutil.copytree(folders / name, tmp_path / field)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changed}))
        with pytest.raises(ValueError, match=words):
            laminate.from_pretrained(folder)


def test_a_known_name_is_fetched_with_its_config_and_without_a_hub_is_one_line(
    folders, opened, tmp_path, monkeypatch
):
    with serve(monkeypatch, tmp_path) as hub:
        for file in ("config.json", f"{FILE}.safetensors"):
            data = (folders / "flux" / file).read_bytes()
            hub.files["black-forest-labs/FLUX.1-schnell", f"vae/{file}"] = data
            hub.files["someone/pipeline", f"vae/{file}"] = data
        for source in ("flux", "someone/pipeline"):
            found = laminate.from_pretrained(source)
            assert found.identity.sha256 == opened["flux"].identity.sha256
            assert found.recipe.name == source.rpartition("/")[2]
    with pytest.raises(OSError, match=r"diffusion_pytorch_model\.safetensors of stabilityai/sd-vae-ft-mse"):
        laminate.from_pretrained("sd")
    with pytest.raises(PickleRefused, match="published as a pickle"):
        laminate.from_pretrained("vavae")


def test_weights_are_held_in_half_the_memory_on_request_and_statistics_stay(folders, opened):
    half = laminate.from_pretrained(folders / "flux2", stored="bfloat16")
    weights, buffers = split_buffers(half.model)
    assert {leaf.dtype for leaf in jax.tree.leaves(weights)} == {jnp.dtype(jnp.bfloat16)}
    assert {leaf.dtype for leaf in jax.tree.leaves(buffers)} == {jnp.dtype(jnp.float32)}
    assert half.identity == opened["flux2"].identity
    whole, narrow = (np.asarray(one.encode_image(CAT)) for one in (opened["flux2"], half))
    assert narrow.dtype == np.float32
    assert 0 < np.abs(whole - narrow).max() < 0.03 * np.abs(whole).max()


def test_squares_of_another_side_are_read_by_what_reads_any_size(folders, opened):
    loaded = load_tokenizer(folders / "qwen", image_size=9)
    assert (loaded.latent.tokens, loaded.latent.grid, loaded.latent.image_size) == (25, (5, 5), 9)
    assert loaded.identity == opened["qwen"].identity
    assert isinstance(loaded.model, AutoencoderTokenizer)
