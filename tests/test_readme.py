"""Every command and snippet of the README works: parsed by the real parsers, run where that is quick."""

import contextlib
import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
import tyro
from PIL import Image

from laminate.cli.analyse_flags import AnalyseFlags
from laminate.cli.command import training_command
from laminate.cli.encode_flags import EncodeFlags
from laminate.cli.evaluate_flags import Compare, Evaluation, Generate, Probe, Reconstruct
from laminate.cli.paper_flags import PaperFlags
from laminate.cli.plan_flags import plan_command
from laminate.cli.roundtrip_flags import RoundtripFlags
from laminate.cli.sample_flags import SampleFlags
from laminate.data.__main__ import Command, Prepare
from laminate.data.options import SourceOptions
from laminate.pretrained.__main__ import Command as PretrainedCommand
from laminate.recipes.__main__ import main as recipes_main
from laminate.recipes.families import families, family_of_script, to_json
from laminate.recipes.flatdino.family import VAE
from laminate.recipes.flatdino.modules import flatdino
from laminate.recipes.flatdino.presets import photographs_vae
from laminate.recipes.resolve import RECIPE_FILE
from laminate.runs.experiment import load_experiment
from laminate.runs.pretrained import save_pretrained

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


PARSERS: dict[str, Any] = {
    "encode.py": EncodeFlags,
    "evaluate.py": Evaluation,
    "analyse.py": AnalyseFlags,
    "roundtrip.py": RoundtripFlags,
    "paper.py": PaperFlags,
}


def fences(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """One command each: of the shell fences, and of the code spans that are commands."""
    lines = [line for fence in fences("sh") for line in fence.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    lines += re.findall(r"`((?:python|pip|pytest)(?: [^`]*)?)`", prose)
    split = [part.strip() for line in lines for part in line.split("#")[0].split("&&")]
    return sorted({command for command in split if command})


def check_training(script: str, arguments: list[str]) -> None:
    if "--help" in arguments:
        return
    family = family_of_script(script)
    if family is None:
        assert script == "sample.py"
        tyro.cli(SampleFlags, args=arguments)
        return
    try:
        training_command(None, family, arguments=arguments)
    except SystemExit as left:  # `--set help`
        assert left.code == 0


def check_module(module: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if module == "laminate.data":
        tyro.cli(Command, args=arguments)
    elif module == "laminate.pretrained":
        tyro.cli(PretrainedCommand, args=arguments)
    elif module == "laminate.recipes":
        monkeypatch.setattr(sys, "argv", ["laminate.recipes", *arguments])
        with contextlib.suppress(SystemExit):
            recipes_main()
    else:
        assert module == "tests.golden"
        assert all((ROOT / file).is_file() for file in arguments)


def check_install(arguments: list[str]) -> None:
    assert arguments[:2] == ["install", "-e"], "from the clone: the name on PyPI is another project"
    wanted = re.fullmatch(r"\.(?:\[(.*)\])?", arguments[2])
    assert wanted
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set((wanted[1] or "dev").split(",")) <= set(extras)


@pytest.mark.parametrize("command", commands())
def test_the_commands_name_files_and_flags_that_exist(command, monkeypatch):
    check_command(command, monkeypatch)


def check_command(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program is there, and its own parser takes the arguments."""
    program, *arguments = shlex.split(command)
    arguments = ["." if argument == "runs/NAME" else argument for argument in arguments]
    if program == "pip":
        check_install(arguments)
    elif program == "pytest":
        assert not arguments
    elif arguments[0] == "-m":
        check_module(arguments[1], [a for a in arguments[2:] if a != "NAME"] or ["list"], monkeypatch)
    else:
        script = ROOT / arguments[0]
        assert script.is_file()
        if script.name in PARSERS:
            tyro.cli(PARSERS[script.name], args=arguments[1:])
        if script.name == "plan.py":
            plan_command(None, arguments[1:])
        if script.name == "bench.py":
            monkeypatch.syspath_prepend(script.parent)  # where its own package lies
            tyro.cli(load_experiment("bench.py", beside=script).Command, args=arguments[1:])
        if script.name == "sample.py" or family_of_script(script.name) is not None:
            check_training(script.name, arguments[1:])


def test_every_flag_that_is_named_exists():
    """Those of the FlatDINO code stand in the left column of their table and nowhere else."""
    ours = {
        f"--{name.replace('_', '-')}"
        for flags in (
            *(family.flags for family in families()),
            EncodeFlags,
            SampleFlags,
            RoundtripFlags,
            SourceOptions,
            AnalyseFlags,
            PaperFlags,
            Prepare,
            *(Reconstruct, Generate, Compare, Probe),
        )
        for name in flags.__dataclass_fields__
    }
    ours |= {"--no-checkpoint", "--help", "--out", "--batch-size"}
    prose = re.sub(r"^\| `--[^|]*\|", "", README, flags=re.MULTILINE)
    named = set(re.findall(r"--[a-z][a-z-]*", prose))
    assert {"--mesh", "--resume", "--data-workers"} <= named
    assert named <= ours


def test_the_extras_that_are_named_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"extra `(\w+)`", README)) <= set(extras)


def test_links_lead_to_files():
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert targets
    assert not [target for target in targets if not (ROOT / target).is_file()]


def test_the_library_files_that_are_named_exist():
    names = re.findall(r"`((?:data|parallel|train|recipes)/\w+\.py)`", README)
    assert len(names) >= 4
    assert not [name for name in names if not (ROOT / "src" / "laminate" / name).is_file()]


@pytest.fixture
def finished_run(tmp_path, monkeypatch) -> Path:
    """The files of a run that the README reads, of an untrained tokenizer."""
    run = tmp_path / "runs" / "embedded-vae"
    run.mkdir(parents=True)
    recipe = photographs_vae()
    (run / RECIPE_FILE).write_text(to_json(recipe))
    shapes = eqx.filter_eval_shape(flatdino, recipe, key=jax.random.key(7))
    weights = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.5, leaf.dtype), shapes)
    save_pretrained(weights, run / "tokenizer", recipe=recipe)
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (50, 40), "orange").save("cat.jpg")
    return run


def test_the_modules_of_the_readme_run(finished_run):
    shapes: list[tuple[int, ...]] = []
    for snippet in fences("python"):
        names: dict[str, object] = {}
        exec(compile(snippet, "README.md", "exec"), names)
        shapes += [value.shape for name, value in names.items() if name == "tokens"]
    latent = VAE.latent(photographs_vae())
    assert shapes == [(8, 16, 64), (latent.tokens, latent.latent_dim)]
    with Image.open("again.png") as again:
        assert again.size == (latent.image_size,) * 2
