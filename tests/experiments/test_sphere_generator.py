"""A generator on a sphere, as a user trains it and draws from it: on any mesh, in float32, and what has no place."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laminate.cli.command import flags_command
from laminate.cli.sample_flags import SampleFlags
from laminate.recipes.flatdino.modules import flatdino
from laminate.recipes.generator.flow import SpherePath
from laminate.runs.pretrained import load_pretrained, save_pretrained
from tests.experiments.jobs import TINY, TINY_DIT, Job, experiment, fingerprints

ON_SPHERE = replace(TINY_DIT, name="tiny-sphere", path=SpherePath(decode_radius=2.0))


@pytest.fixture
def job(tmp_path, photos, tokenizer) -> Job:
    return Job(tmp_path, photos, "generator", tokenizer)


def sampled(run, out, *arguments):
    common = ("--generator", str(run), "--mesh", "1", "--total", "3", "--npz", "--out", str(out))
    experiment("sample").main(flags_command(None, SampleFlags, arguments=[*common, *arguments]))
    with np.load(out / "samples.npz") as file:
        return file["arr_0"]


def test_it_trains_on_any_mesh_in_parts_resumed_bit_for_bit_and_is_drawn_along_arcs(job, tmp_path, capsys):
    job.main("--precision", "bfloat16", recipe=ON_SPHERE)
    said = capsys.readouterr().err
    assert said.count("--precision bfloat16: on a sphere half precision") == 1
    for more in (("--stop-after", "3"), ()):
        job.main(*more, recipe=ON_SPHERE, run=tmp_path / "resumed")
    assert fingerprints(tmp_path / "resumed", 6) == fingerprints(job.run, 6)
    parts = ("--device-batch-size", "1", "--stop-after", "3")
    job.main("--mesh", "2x2", *parts, recipe=ON_SPHERE, run=tmp_path / "mesh")
    losses = job.losses()
    assert list(losses) == [1, 2, 3, 4, 5, 6] and np.isfinite(list(losses.values())).all()
    first = {step: losses[step] for step in (1, 2, 3)}
    assert job.losses(tmp_path / "mesh") == pytest.approx(first, rel=1e-4)
    assert "arcs on a sphere of radius 2.44949" in (job.run / "report.html").read_text()
    assert load_pretrained(job.run).recipe.path == SpherePath(decode_radius=2.0)
    arcs = sampled(job.run, tmp_path / "arcs")
    assert ": expmap, 4 steps" in capsys.readouterr().err
    assert arcs.shape == (3, 16, 16, 3) and len(np.unique(arcs)) > 9
    with pytest.raises(SystemExit) as caught:
        sampled(job.run, tmp_path / "flat", "--solver", "heun")
    assert caught.value.code == 2
    assert "heun: that is no solver of the sphere path, whose solvers are expmap, euler-project" in (
        capsys.readouterr().err
    )


def test_an_image_whose_latent_is_zeros_is_named(job, tmp_path, capsys):
    model = jax.jit(lambda key: flatdino(TINY, key=key))(jax.random.key(0))
    one = jnp.ones((TINY.tokens, 6))
    model = eqx.tree_at(
        lambda m: (m.encoder.output.weight, m.normalization),
        model,
        (0.0 * model.encoder.output.weight, model.normalization.measured(0.0 * one, 4.0 * one)),
    )
    save_pretrained(model, tmp_path / "tokenizer", recipe=TINY)
    with pytest.raises(SystemExit) as caught:
        job.main("--tokenizer", str(tmp_path / "tokenizer"), recipe=ON_SPHERE)
    assert caught.value.code == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "cats/00.png: tokens of its latent are all zeros, which has no direction" in said
    assert "not finite at step 1. There is no checkpoint yet. Leave the image out" in said
