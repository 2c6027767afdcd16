"""R^2 of validation: the same number however the set is cut, and never one above 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminate.analysis.reconstruction import explained_variance, summarise
from laminate.analysis.tokenizer_report import _measured
from laminate.parallel.mesh import MeshShape, build_mesh
from laminate.parallel.sharding import batch_sharding
from laminate.train.moments import Moments
from laminate.train.step import make_evaluation

TOKENS, DIM, ROWS = 5, 3, 8


def validated(target, rebuilt, shape=(1, 1)):
    """R^2 as a training measures it: batch by batch on a mesh, the last one padded, added up on the host."""
    mesh = build_mesh(MeshShape(*shape))

    def measure(model, frozen, example):
        error = jnp.sum(jnp.square(example["rebuilt"] - example["target"]))
        return {"loss": error, "squared_error": error, "features": Moments.of(example["target"])}

    evaluate = make_evaluation(measure, (), None, mesh=mesh)
    total = {}
    for start in range(0, len(target), ROWS):
        rows = {"target": target[start : start + ROWS], "rebuilt": rebuilt[start : start + ROWS]}
        padding = ROWS - len(rows["target"])
        batch = {name: np.pad(x, [(0, padding), (0, 0), (0, 0)]) for name, x in rows.items()}
        batch["valid"] = np.arange(ROWS) < ROWS - padding
        sums = jax.device_get(evaluate((), None, jax.device_put(batch, batch_sharding(mesh))))
        for name, value in sums.items():
            total[name] = total.get(name, 0.0) + (
                value if isinstance(value, Moments) else np.asarray(value, np.float64)
            )
    return summarise(total)["val/r2"]


@pytest.mark.parametrize("shape", [(1, 1), (2, 4)])
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (3.0, 1e-3), (1e3, 0.1)])
def test_r2_is_that_of_float64_however_small_the_deviation_beside_the_mean(shape, mean, std):
    rng = np.random.default_rng(0)
    centre = mean * np.array([1.0, -0.5, 2.0])
    examples = centre + std * (rng.standard_normal((19, TOKENS, DIM)) + rng.standard_normal((19, 1, DIM)))
    target = examples.astype(np.float32)
    rebuilt = (target + 0.3 * std * rng.standard_normal(target.shape)).astype(np.float32)
    wide, near = target.astype(np.float64), rebuilt.astype(np.float64)
    deviation = np.square(wide - wide.mean((0, 1))).sum()
    wanted = 1 - np.square(wide - near).sum() / deviation
    assert validated(target, rebuilt, shape) == pytest.approx(wanted, abs=1e-4)


@given(st.floats(-300.0, 300.0, width=32), st.integers(1, 20), st.booleans())
def test_features_that_never_vary_have_no_r2(value, count, exact):
    target = np.full((count, TOKENS, DIM), value, np.float32)
    assert np.isnan(validated(target, target if exact else target + 1))


@pytest.mark.parametrize("value", [0.0, -1.8044444, 0.17, 1e4])
def test_plain_sums_of_constant_features_have_none_either(value):
    target = jnp.full((4, 16, 768), value, jnp.float32)
    sums = {
        "count": 4.0,
        "squared_error": 4.0,
        "squares": jnp.sum(jnp.square(target)),
        "means": jnp.sum(jnp.mean(target, axis=1), axis=0),
        "numbers": float(target.size),
    }
    assert np.isnan(explained_variance(sums))


def test_two_constant_images_of_different_colours_do_vary():
    target = np.stack([np.full((TOKENS, DIM), grey, np.float32) for grey in (0.25, 0.75)])
    assert validated(target, np.full_like(target, 0.5)) == pytest.approx(0.0, abs=1e-6)


def test_a_report_says_the_figure_of_the_weights_that_it_is_about():
    records = [
        {"step": 1, "val/r2": 0.9},
        {"step": 2, "val/r2": 0.4},
        {"step": 3, "val/r2": 0.6},
        {"step": 3},
    ]
    assert _measured(records, "val/r2", 2) == {"val/r2": 0.4}
    assert _measured(records, "val/r2", 3) == {"val/r2": 0.6}
    assert _measured([{"step": 2, "val/r2": None}], "val/r2", 2) == {}
    assert _measured([{"step": 2}], "val/r2", 2) == {}
