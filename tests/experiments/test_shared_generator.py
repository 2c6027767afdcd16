"""ViTok's transformer and solver in a generator, as a user trains it and draws from it."""

from dataclasses import replace

import numpy as np
import pytest

from laminate.cli.command import flags_command
from laminate.cli.sample_flags import SampleFlags
from laminate.recipes.generator.flow import Guidance
from laminate.recipes.generator.recipe import SharedModulation
from laminate.recipes.network import VitConfig
from tests.experiments.jobs import TINY_DIT, Job, experiment

SHARED = replace(
    TINY_DIT,
    name="tiny-shared",
    network=VitConfig(16, 2, 2, 24, norm="rms", bias=False),
    shared=SharedModulation(cls_token=True, registers=1, layer_scale=0.1, window=1),
    solver="unipc",
    prediction="velocity",
    guidance=Guidance(3.0, (0.1, 0.9), 0.7),
)


@pytest.fixture
def job(tmp_path, photos, tokenizer) -> Job:
    return Job(tmp_path, photos, "generator", tokenizer)


def test_it_trains_on_any_mesh_and_is_drawn_from_its_own_predictions(job, tmp_path, capsys):
    job.main("--mesh", "2x2", recipe=SHARED)
    job.main("--stop-after", "2", recipe=SHARED, run=tmp_path / "one")
    losses = job.losses()
    assert job.losses(tmp_path / "one") == pytest.approx({step: losses[step] for step in (1, 2)}, rel=1e-5)
    report = (job.run / "report.html").read_text()
    assert "one for all layers, 2 tokens in front, every second layer sees 1 places far" in report

    def drawn(name, *arguments):
        common = ("--generator", str(job.run), "--mesh", "1", "--total", "2", "--npz", "--steps", "3")
        arguments = [*common, "--out", str(tmp_path / name), *arguments]
        experiment("sample").main(flags_command(None, SampleFlags, arguments=arguments))
        with np.load(tmp_path / name / "samples.npz") as file:
            return file["arr_0"]

    usual = drawn("usual")
    assert ": unipc, 3 steps, guidance 3" in capsys.readouterr().err
    assert (drawn("plain", "--rescale", "0", "--unipc.order", "1") != usual).any()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--rescale", "1.5"), "--rescale must lie in [0.0, 1.0]"),
        (("--rescale", "0.5", "--auto", "runs/weak"), "--rescale is for guidance by the null class"),
        (
            ("--solver", "heun", "--unipc.order", "3"),
            "--unipc.* are settings of --solver unipc, and it is heun",
        ),
        (("--unipc.order", "0"), "unipc.order must be at least 1"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_read(capsys, arguments, expected):
    with pytest.raises(SystemExit) as caught:
        flags_command(None, SampleFlags, arguments=list(arguments))
    assert caught.value.code == 2
    assert expected in " ".join(capsys.readouterr().err.split())
