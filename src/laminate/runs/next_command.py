"""What one does after a training: the commands that go on with what it left, exactly as they are typed."""

import os
import shlex
import sys
from pathlib import Path

from laminate.recipes.families import families
from laminate.recipes.family import Kind
from laminate.runs.setup import Run
from laminate.runs.tokenizer_place import noted_place
from laminate.storage.writing import is_local
from laminate.train.export import TEACHER


def next_commands(run: Run) -> tuple[tuple[str, str], ...]:
    """(what for, command) after `run`, the one that leads on to samples first.

    After a tokenizer come an image decoder on it, a generator of its latents if they can be drawn, and one's own
    pictures; after an image decoder the latter two; after a generator samples; after a teacher a tokenizer.
    """
    folder = _seen_from_here(os.fspath(run.folder.path))
    if run.family.kind == "generator":
        return (("images", _command("sample.py", "--generator", folder)),)
    if run.family.kind == "teacher":
        saved = os.path.join(folder, TEACHER)
        return (("a tokenizer of its features", _command(_script("tokenizer"), "--teacher", saved)),)
    is_tokenizer = run.family.kind == "tokenizer"
    noted = folder if is_tokenizer else noted_place(folder)
    if noted is None:
        return ()
    tokenizer = _seen_from_here(noted)
    commands: list[tuple[str, str]] = []
    if is_tokenizer:
        commands.append(("sharper pictures", _command(_script("image-decoder"), "--tokenizer", tokenizer)))
    if _can_be_drawn(run):
        commands.append(("a generator", _command(_script("generator"), "--tokenizer", tokenizer)))
    commands.append(("your own pictures", _command("roundtrip.py", "IMAGE", "--tokenizer", tokenizer)))
    return tuple(commands)


def _seen_from_here(place: str) -> str:
    """`place` as a person would type it: relative to the present folder if it lies in that."""
    if not os.path.isabs(place) or not is_local(place):
        return place
    relative = os.path.relpath(place)
    return place if relative.startswith("..") else relative


def _can_be_drawn(run: Run) -> bool:
    """Whether flow matching can draw the latents that are trained or read: those that are no whole numbers."""
    if run.tokenizer is not None:
        return not run.tokenizer.latent.codes
    return run.family.latent is not None and not run.family.latent(run.recipe).codes


def _script(kind: Kind) -> str:
    return next(family.script for family in families() if family.kind == kind)


def _command(script: str, *arguments: str) -> str:
    beside = Path(sys.argv[0]).with_name(script)
    place = beside if beside.is_file() else Path("experiments") / script
    return f"python {shlex.join([str(place), *arguments])}"
