"""Image decoders beside frozen networks in their published layouts: LPIPS, DINO, Inception, and features of DINOv2."""

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from laminate.analysis import decoder_report
from laminate.analysis.decoder_input import DecoderInput
from laminate.models.inception import InceptionV3
from laminate.models.vgg import Lpips
from laminate.pretrained.keymaps.base import export
from laminate.pretrained.lpips import lpips_slots
from laminate.pretrained.plain import DINO
from laminate.recipes.adversarial.recipe import Adversary
from laminate.recipes.image_decoder.modules import MODULES
from laminate.recipes.image_decoder.recipe import Noise, for_features
from laminate.recipes.modules import image_tokenizer
from laminate.recipes.network import VitConfig, find_teacher
from laminate.runs import training as launch
from laminate.runs.load_decoder import find_decoder
from laminate.runs.load_tokenizer import load_tokenizer
from laminate.runs.pretrained import load_pretrained
from laminate.train.export import named_weights
from tests.experiments.jobs import (
    TINY,
    TINY_DECODER,
    TINY_TEACHER,
    VIT,
    Job,
    experiment,
    metrics,
    write_teacher,
    write_tokenizer,
)
from tests.oracles.arrays import filled
from tests.pretrained import checkpoints

SMALL_DINO = {
    "model_type": "vit",
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 16,
    "image_size": 224,
    "patch_size": 56,
}
DINO_HEADS = Adversary(
    kind="dino",
    taps=(0,),
    kernel=3,
    norm="sample",
    discriminator_start=0,
    adversarial_start=0,
    antialias=False,
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights in the published layouts."""
    folder = tmp_path_factory.mktemp("weights")
    lpips = filled(lambda key: Lpips(key=key), scale=0.05)
    save_file(export(lpips, lpips_slots(lpips)), folder / "lpips.safetensors")
    dino = filled(lambda key: DINO.make(SMALL_DINO, key=key))
    checkpoints.write(folder / "dino", DINO.export(dino, prefix=""), SMALL_DINO)
    checkpoints.write(folder / "dinov2", checkpoints.dinov2_weights(), checkpoints.DINOV2)
    checkpoints.write(folder / "decoder", checkpoints.decoder_weights(patch=4), checkpoints.DECODER)
    return folder


@pytest.fixture
def of_features(weights):
    """A small recipe like those of RAE, on a small DINOv2, with the sizes of `checkpoints.DECODER`."""
    network = VitConfig(8, 2, 2, 10, mlp="gelu-exact", norm_eps=1e-12, qk_norm=False, positions="learned")
    recipe = dataclasses.replace(
        TINY_DECODER,
        name="tiny-rae",
        network=network,
        reads="features",
        teacher=find_teacher(str(weights / "dinov2")),
        tokens=16,
        latent_dim=12,
        noise=Noise("uniform", 0.8),
        clip=False,
    )
    return for_features(recipe, recipe.teacher)


def test_a_decoder_of_features_trains_beside_lpips_and_dino_and_remembers_their_weights(
    tmp_path, photos, weights, of_features
):
    job = Job(tmp_path, photos, "decoder")
    recipe = dataclasses.replace(of_features, adversary=DINO_HEADS)
    arguments = (
        *("--perceptual", "lpips", "--lpips", str(weights / "lpips.safetensors")),
        *("--adversary-backbone", str(weights / "dino")),
    )
    job.main(*arguments, "--stop-after", "2", recipe=recipe)
    lines = [line for line in metrics(job.run) if "train/loss" in line]
    assert [line["step"] for line in lines] == [1, 2]
    for name in ("perceptual_loss", "adversarial_weight", "discriminator_loss", "logits_gap"):
        assert all(np.isfinite(line[f"train/{name}"]) and line[f"train/{name}"] for line in lines), name
    written = json.loads((job.run / "recipe.json").read_text())
    hashes = {
        written["teacher"]["weights"],
        written["perceptual"]["weights"],
        written["adversary"]["weights"],
    }
    assert len(hashes) == 3 and all(len(one) == 64 for one in hashes)
    other = dataclasses.replace(recipe.teacher, weights="0" * 64)
    changed = dataclasses.replace(recipe, teacher=other)
    with pytest.raises(SystemExit):
        job.main(*arguments, recipe=changed, run=tmp_path / "changed")
    assert not (tmp_path / "changed").exists()


def test_rfid_joins_the_validation_and_may_choose_the_best(tmp_path, photos, of_features, monkeypatch):
    # The network and its file are compared with their reference elsewhere; here, what is done with its features.
    shapes = eqx.filter_eval_shape(lambda key: InceptionV3(key=key), jax.random.key(0))
    empty = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    monkeypatch.setattr(experiment("decoder"), "inception", {"inception.safetensors": empty}.get)
    monkeypatch.setattr(decoder_report, "FID_FEATURES", 6)
    monkeypatch.setattr(
        decoder_report,
        "fid_features",
        lambda network, image: jnp.concatenate([image.mean((0, 1)), image.std((0, 1))]),
    )
    job = Job(tmp_path, photos, "decoder")
    adversary = dataclasses.replace(TINY_DECODER.adversary, kind="none")
    recipe = dataclasses.replace(of_features, adversary=adversary)
    job.main("--inception", "inception.safetensors", "--best-by", "rfid", "--stop-after", "3", recipe=recipe)
    (validated,) = [line for line in metrics(job.run) if "val/loss" in line]
    assert validated["step"] == 3 and validated["val/rfid"] > 0.0
    manifest = json.loads((job.run / "checkpoints" / "3" / "manifest.json").read_text())
    assert manifest["metric"] == pytest.approx(validated["val/rfid"])


def test_fine_tuning_begins_with_a_published_decoder(
    tmp_path, photos, weights, of_features, monkeypatch, capsys
):
    seen = {}

    def first_state(step, state, frozen, batches, **_):
        seen.update(state=state)
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "fit", first_state)
    monkeypatch.setenv("COLUMNS", "1000")
    job = Job(tmp_path, photos, "decoder")
    with pytest.raises(SystemExit):
        job.main("--init-from", str(weights / "decoder"), recipe=of_features)
    said = " ".join(capsys.readouterr().err.split())
    assert f"from {weights / 'decoder'} (100.0% of the numbers); nothing newly drawn" in said
    published = checkpoints.decoder_weights(patch=4)
    params = named_weights(seen["state"].params)
    np.testing.assert_array_equal(params["last.weight"], published["decoder_pred.weight"])
    np.testing.assert_array_equal(params["vit.input.weight"], published["decoder_embed.weight"])

    # Within a whole autoencoder, and refused where the same shapes mean something else.
    whole = {f"decoder.{name}": array for name, array in published.items()}
    whole |= {f"encoder.encoder.{name}": array for name, array in checkpoints.dinov2_weights().items()}
    checkpoints.write(tmp_path / "whole", whole, checkpoints.DECODER)
    with pytest.raises(SystemExit):
        job.main("--init-from", str(tmp_path / "whole"), recipe=of_features, run=tmp_path / "two")
    np.testing.assert_array_equal(
        named_weights(seen["state"].params)["vit.input.weight"], published["decoder_embed.weight"]
    )
    capsys.readouterr()
    four = dataclasses.replace(of_features, network=dataclasses.replace(of_features.network, heads=4))
    with pytest.raises(SystemExit) as caught:
        job.main("--init-from", str(weights / "decoder"), recipe=four, run=tmp_path / "three")
    assert caught.value.code == 2
    assert "the published decoder has 2 attention heads, and this recipe has 4" in capsys.readouterr().err
    assert not (tmp_path / "three").exists()


def test_reconstructed_features_are_decoded_from_the_decoder_of_their_network_on(
    tmp_path, photos, monkeypatch, capsys
):
    monkeypatch.setenv("COLUMNS", "1000")
    own = find_teacher(str(write_teacher(tmp_path / "teacher")))
    tokenizer = write_tokenizer(tmp_path / "tokenizer", recipe=dataclasses.replace(TINY, teacher=own))
    recipe = dataclasses.replace(
        TINY_DECODER,
        network=TINY_TEACHER.decoder,
        overlap=1,
        reads="reconstructed",
        teacher=own,
        from_teacher=True,
        tokens=16,
        latent_dim=VIT.dim,
        pixels="detail",
    )
    begun, fit = {}, launch.fit

    def first_state(step, state, frozen, batches, **settings):
        begun.update(jax.tree.map(np.asarray, named_weights(state.params)))
        return fit(step, state, frozen, batches, **settings)

    monkeypatch.setattr(launch, "fit", first_state)
    job = Job(tmp_path, photos, "decoder", tokenizer)
    job.main(recipe=recipe)
    said = " ".join(capsys.readouterr().err.split())
    assert f"arrays from {own.name} (100.0% of the numbers); nothing newly drawn" in said
    assert f"16 tokens of 16: the features of {own.name} as tiny (" in said
    for name, array in named_weights(load_pretrained(own.name).model.decoder).items():
        np.testing.assert_array_equal(begun[name], array)

    # Its pictures are those of the trained decoder on what the tokenizer gives back, here and beside the tokenizer.
    loaded = load_tokenizer(tokenizer)
    choice = find_decoder(str(job.run), loaded)
    decoder = load_pretrained(job.run).model
    raw = jnp.asarray(np.random.default_rng(0).normal(size=(3, 6)), jnp.float32)
    way = choice.of(image_tokenizer(loaded, like=loaded.latent))
    expected = decoder(loaded.model.decode_raw(raw).final)
    np.testing.assert_allclose(way(raw, dtype=jnp.dtype("float32")), np.clip(expected, 0, 1), atol=1e-5)
    assert not choice.reads_latents and find_decoder(None, loaded).said == str(job.run)

    frozen = jax.tree.map(jnp.asarray, MODULES.frozen(load_pretrained(job.run).recipe, tokenizer=loaded))
    example = {"image": jnp.asarray(np.random.default_rng(1).integers(0, 256, (16, 16, 3), np.uint8))}
    inputs = DecoderInput("uniform", 0.0, jnp.dtype("float32"), reconstructed=True)
    given = inputs.prepared(frozen, example, key=jax.random.key(0), fresh=True)
    whole = loaded.model.decode_raw(frozen.tokenizer.encode_raw(example, dtype=inputs.dtype)[0]).final
    for read in (given.inputs, given.clean, inputs.clean(frozen, example)):
        np.testing.assert_allclose(read, whole, atol=1e-5)
    noisy = dataclasses.replace(inputs, strength=0.5).prepared(
        frozen, example, key=jax.random.key(0), fresh=True
    )
    np.testing.assert_allclose(noisy.clean, whole, atol=1e-5)
    assert np.abs(noisy.inputs - whole).max() > 1e-2
