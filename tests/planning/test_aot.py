"""The experiments' own steps, compiled for TPU slices that are not there.

With libtpu installed (the `dev` extra has it on Linux) they are compiled; without, the same calls say what to install.
"""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import jax
import pytest

from laminate.cli.plan_flags import plan_command
from laminate.parallel.mesh import MeshShape, build_mesh
from laminate.planning.chips import parse_topology
from laminate.planning.devices import CompilerMissing, describe_slice, has_compiler
from laminate.planning.plan import Setting, least_bytes
from laminate.recipes.costs import vit_flops
from laminate.recipes.embedded import LATENT
from laminate.recipes.families import to_json
from laminate.recipes.flatdino.presets import photographs_vae
from laminate.recipes.generator.costs import generator_flops
from laminate.recipes.generator.presets import photographs_dit
from laminate.recipes.image_decoder.presets import photographs_decoder
from laminate.recipes.masked_autoencoder.recipe import embedded_teacher
from laminate.recipes.resolve import resolve_recipe
from laminate.runs.experiment import load_experiment
from laminate.runs.plan_job import job_maker

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
TINY = ["--global-batch-size", "16", "--topology", "v5e:2x4"]


def command():
    spec = importlib.util.spec_from_file_location("experiment_plan", EXPERIMENTS / "plan.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plan(tmp_path, *arguments):
    """The plan that the command writes; None where the compiler is missing and it ends with code 2."""
    flags = plan_command(None, [*TINY, "--out", str(tmp_path), *arguments])
    if not has_compiler():
        with pytest.raises(SystemExit) as caught:
            command().main(flags)
        assert caught.value.code == 2
        return None
    command().main(flags)
    assert (tmp_path / "plan.png").stat().st_size > 1000
    return json.loads((tmp_path / "plan.json").read_text())


@pytest.mark.parametrize(
    ("text", "devices", "hosts"),
    [
        ("v4:2x2x2", 8, 2),
        ("v5e:4x8", 32, 8),
        ("v5p:4x4x4", 64, 16),
        ("v6e:4x8", 32, 8),
        ("TPU7x:2x2x2", 16, 2),
        ("2*v5e:4x8", 64, 16),
    ],
)
def test_every_kind_of_slice_can_be_described(text, devices, hosts):
    if not has_compiler():
        with pytest.raises(CompilerMissing):
            describe_slice(parse_topology(text))
        return
    place = describe_slice(parse_topology(text))
    assert (len(place.devices), place.hosts) == (devices, hosts)


def test_a_slice_that_cannot_be_built_is_refused():
    expected, words = (ValueError, "knows no such slice") if has_compiler() else (CompilerMissing, "libtpu")
    with pytest.raises(expected, match=words):
        describe_slice(parse_topology("v5e:3x5"))


def test_the_vae_is_planned_on_a_mesh_that_cuts_its_parameters(tmp_path, capsys):
    recipe = photographs_vae()
    deep = {name: replace(getattr(recipe, name), depth=3) for name in ("encoder", "decoder")}
    (tmp_path / "deep.json").write_text(to_json(replace(recipe, **deep)))
    written = plan(tmp_path, "--recipe", str(tmp_path / "deep.json"), "--mesh", "2x4", "--remat", "dots")
    if written is None:
        assert "pip install -e '.[tpu]'" in capsys.readouterr().err
        return
    measured = written["measured"]
    assert written["fits"] and written["hosts"] == 2 and written["held"]["average"] > 0
    assert measured["flops"] > measured["recomputed_flops"] > 0
    # In bfloat16, what is cut is gathered once forward and once backward; its gradient is scattered once, by hops.
    kinds = {one["kind"]: one["bytes"] / (2 * written["parameters"]) for one in measured["collectives"]}
    assert 1.7 < kinds["all-gather"] < 2.1
    assert 0.9 * 3 / 4 < kinds["collective-permute"] < 1.1 * 3 / 4
    assert measured["overlapped_in_loops"] > 0.9 and measured["blocking"] == []
    assert "fits" in capsys.readouterr().out


def test_the_fsq_tokenizer_is_planned_by_the_same_command_over_two_slices(tmp_path):
    arguments = ("--experiment", "embedded-32-L88888888", "--topology", "v5e:2x2", "--slices", "2")
    flags = plan_command(None, list(arguments))
    assert flags.script_name == "fsq.py"
    written = plan(tmp_path, *arguments)
    if written is not None:
        assert written["topology"] == "2*v5e:2x2"
        # Only the mean of the gradients, and of a few metrics, crosses, each device sending its share.
        gradients = 4 * written["parameters"] // 4
        assert gradients <= written["measured"]["crossing_bytes"] < 1.5 * gradients
        assert written["measured"]["roofline"]["network"] > 0.0


def test_a_generator_is_planned_in_training_and_in_drawing(tmp_path):
    arguments = ("--experiment", "embedded-dit", "--topology", "v5e:2x2", "--mesh", "2x2")
    assert plan_command(None, list(arguments)).script_name == "generator.py"
    training = plan(tmp_path / "training", *arguments)
    drawing = plan(tmp_path / "drawing", *arguments, "--draw")
    if training is None or drawing is None:
        return
    assert training["parameters"] == drawing["parameters"]
    assert drawing["held"]["optimizer"] < training["held"]["optimizer"] / 100
    assert drawing["held"]["average"] == 0
    # Four images on a device: 50 steps, guided at all times, are 100 passes and the little that conditions them;
    # training costs three, the encoding, and Muon's iteration, which is most of it at so small a batch.
    forward = 2 * 4 * generator_flops(photographs_dit())
    network = photographs_dit().network
    # Of queries and keys, each rotation by positions is a product of a head's numbers with a square matrix.
    turns = 2 * 4 * network.depth * 2 * LATENT.tokens * network.dim * (network.dim // network.heads)
    assert 100 < drawing["measured"]["flops"] / (forward + turns) < 110
    teacher = 2 * 4 * vit_flops(embedded_teacher().encoder, embedded_teacher().grid ** 2)
    assert 3 < (training["measured"]["flops"] - teacher) / forward < 30


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--draw",), "--draw is for generators"),
        (("--experiment", "ditxl", "--teacher", "patches"), "--teacher is the tokenizer's"),
    ],
)
def test_plans_that_mean_nothing_are_refused(arguments, expected):
    with pytest.raises(ValueError, match=expected):
        _ = plan_command(None, list(arguments)).training


def test_an_image_decoders_step_is_made_for_a_slice_with_both_players_and_without_weights():
    """Traced and lowered in bfloat16, as the plan does before it compiles: compiling takes a minute."""
    recipe = photographs_decoder()
    small = replace(
        recipe,
        network=replace(recipe.network, depth=1),
        adversary=replace(recipe.adversary, kind="patchgan", layers=1, channels=8),
    )
    assert plan_command(None, ["--experiment", "vit-xl"]).script_name == "decoder.py"
    flags = plan_command(None, ["--experiment", "embedded-decoder", "--topology", "v5e:2x2", "--mesh", "2x2"])
    if not has_compiler():
        with pytest.raises(CompilerMissing):
            describe_slice(parse_topology(flags.topology))
        return
    place = describe_slice(parse_topology(flags.topology))
    experiment = load_experiment(str(EXPERIMENTS / flags.script_name), beside=__file__)
    setting = Setting(MeshShape(2, 2), 16, 1, "dots")
    alone = replace(small, adversary=replace(small.adversary, kind="none"))
    both, one = (least_bytes(place, setting, job_maker(experiment, made))[0] for made in (small, alone))
    assert both > one > 0
    job = job_maker(experiment, small)(setting, build_mesh(setting.mesh, place.devices))
    assert "all_gather" in job.step.lower(job.state, job.frozen, job.batch).as_text()
    # LPIPS, DINO and teacher of the published recipe are there by their shapes.
    planned = plan_command(None, ["--experiment", "vit-xl"])
    frozen = planned.family.modules().frozen(resolve_recipe(planned.training, planned.family), weights=False)
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(frozen))
    assert all(network is not None for network in frozen)
