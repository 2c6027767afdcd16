"""Files of experiments as modules: found whole or not at all, and asked for what they have."""

import sys

import pytest

from laminate.recipes.generator.presets import photographs_dit
from laminate.runs.experiment import load_experiment
from laminate.runs.plan_job import job_maker
from tests.experiments.jobs import ROOT, experiment


def test_an_experiment_that_fails_to_load_leaves_nothing_half_made(tmp_path):
    script = tmp_path / "of_my_own.py"
    script.write_text("first = 1\nraise RuntimeError('no second')\n")
    with pytest.raises(RuntimeError, match="no second"):
        load_experiment(str(script), beside=__file__)
    assert "experiment_of_my_own" not in sys.modules
    script.write_text("first = second = 2\n")
    try:
        assert load_experiment(str(script), beside=__file__).second == 2
        assert load_experiment(str(script), beside=__file__) is sys.modules["experiment_of_my_own"]
    finally:
        sys.modules.pop("experiment_of_my_own", None)


def test_a_script_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"--script nowhere\.py: there is no "):
        load_experiment("nowhere.py", beside=ROOT / "experiments" / "plan.py")


@pytest.mark.parametrize(
    ("script", "draws", "missing"), [("sample", False, "make_task"), ("vae", True, "make_drawing")]
)
def test_an_experiment_that_trains_or_draws_nothing_cannot_be_planned(script, draws, missing):
    with pytest.raises(ValueError, match=rf"--script .*{script}\.py: it has no {missing}.* generator\.py\.$"):
        job_maker(experiment(script), photographs_dit(), draws=draws)
