"""``--init-from``: a training that begins with saved weights, says what it kept, and can be resumed without them."""

import dataclasses
import shutil

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import laminate
from laminate.recipes.flatdino.modules import flatdino
from laminate.runs import training as launch
from laminate.runs.setup import setup
from laminate.train.export import named_weights
from tests.experiments.jobs import TINY


@pytest.fixture
def saved(job):
    """The folder of a tokenizer of `TINY`, all of whose numbers are 0.25."""
    shapes = eqx.filter_eval_shape(flatdino, TINY, key=jax.random.key(0))
    model = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.25, leaf.dtype), shapes)
    return laminate.save_pretrained(model, job.folder / "saved", recipe=TINY)


def test_a_training_begins_with_the_weights_that_fit_and_says_so(job, saved, monkeypatch, capsys):
    seen = {}

    def first_state(step, state, frozen, batches, **_):
        seen.update(state=state)
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "fit", first_state)
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit):
        job.main("--init-from", str(saved), "--mesh", "2x2", recipe=dataclasses.replace(TINY, tokens=5))
    said = " ".join(capsys.readouterr().err.split())
    assert f"weights 42 of 44 arrays from {saved} (" in said
    assert "newly drawn: encoder.registers ((3, 16) there, (5, 16) here), decoder.positions" in said
    for part in (seen["state"].params, seen["state"].ema):
        kept = {name for name, leaf in named_weights(part).items() if (np.asarray(leaf) == 0.25).all()}
        assert named_weights(part).keys() - kept == {"encoder.registers", "decoder.positions"}


def test_a_begun_training_goes_on_without_the_weights_it_began_with(job, saved, capsys):
    arguments = ("--init-from", str(saved))
    job.main(*arguments, "--stop-after", "1")
    assert "nothing newly drawn" in capsys.readouterr().err
    shutil.rmtree(saved)
    with setup(*job.command(*arguments)).folder:
        pass
    with pytest.raises(ValueError, match=r"run\.init_from: .*saved \(saved\), absent \(now\)"):
        setup(*job.command())


def test_weights_that_are_absent_or_do_not_fit_are_refused_before_anything_is_written(job, saved):
    narrow = dataclasses.replace(TINY.encoder, dim=8, hidden=12, heads=4)
    other = dataclasses.replace(TINY, name="other", encoder=narrow, decoder=narrow)
    for source, expected in (
        (saved, "fit, which is no beginning"),
        (job.folder / "absent", "There is no file"),
    ):
        with pytest.raises((ValueError, OSError), match=expected):
            setup(*job.command("--init-from", str(source), recipe=other))
    assert not job.run.exists()
