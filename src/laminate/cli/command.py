"""The command line of an experiment, answered before JAX is imported."""

import contextlib
import dataclasses
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeVar

import tyro

from laminate.evals.figure_names import FigureName, asked_figures
from laminate.parallel.huge_pages import take_huge_pages
from laminate.recipes.family import Family
from laminate.recipes.flags import RunFlags
from laminate.recipes.overrides import HELP, without_help
from laminate.recipes.resolve import resolve_recipe
from laminate.recipes.tables import show_fields
from laminate.storage.object_store import require_clients

Flags = TypeVar("Flags")
R = TypeVar("R")


def training_command(
    description: str | None, family: Family[R], *, arguments: list[str] | None = None
) -> tuple[Any, R]:
    """The flags of a training of `family`, and the recipe that they ask for (`resolve.resolve_recipe`).

    Prints help and exits, or exits with code 2 and one line on what is wrong.
    """
    with refusals():
        flags = _parsed(description, family.flags, arguments)
        if HELP in flags.set:
            show_fields(resolve_recipe(dataclasses.replace(flags, set=without_help(flags.set)), family))
            raise SystemExit(0)
        measurable(flags, family)
        recipe = resolve_recipe(flags, family)
        family.require_trainable(recipe)
    if arguments is None:  # else another program asks, and is not to be started again
        take_huge_pages()
    return flags, recipe


def measurable(flags: RunFlags, family: Family[Any]) -> list[FigureName]:
    """What `--evaluate` asks for in a training of `family`.

    Raises ValueError for what cannot be measured there, and what chooses no best weights.
    """
    subject = "samples" if family.kind == "generator" else "reconstructions"
    found = asked_figures(flags.asked, subject, flags.networks())
    for one in found:
        if one.name == flags.best_by and one.highest is None:
            raise ValueError(
                f"--best-by {one.name}: its figures are two, precision and recall, and one chooses."
            )
    return found


def flags_command(description: str | None, kind: type[Flags], *, arguments: list[str] | None = None) -> Flags:
    """The flags of a command; as `training_command`. Places in an object store need its client."""
    with refusals():
        flags = _parsed(description, kind, arguments)
    if arguments is None:
        take_huge_pages()
    return flags


def _parsed(description: str | None, kind: type[Flags], arguments: list[str] | None) -> Flags:
    flags: Any = tyro.cli(kind, prog=_program(), description=description, args=arguments)
    require_clients(
        (f"--{field.name.replace('_', '-')}", getattr(flags, field.name))
        for field in dataclasses.fields(flags)
    )
    return flags


@contextlib.contextmanager
def refusals() -> Generator[None]:
    """What a user can mend becomes one line on standard error and exit code 2."""
    try:
        yield
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{_program()}: {error}\n")
        raise SystemExit(2) from error


def _program() -> str:
    return Path(sys.argv[0]).name
