"""The command line of an experiment, answered before JAX is imported."""

import sys
from collections.abc import Callable
from pathlib import Path

import tyro

from laminate.recipes.flags import TrainFlags, resolve_recipe
from laminate.recipes.flatdino import FlatDinoRecipe


def train_command(
    description: str | None,
    from_name: Callable[[str], FlatDinoRecipe],
    *,
    default: str,
    arguments: list[str] | None = None,
) -> tuple[TrainFlags, FlatDinoRecipe]:
    """The flags of this process, and the recipe they ask for (`flags.resolve_recipe`).

    Prints help and exits, or exits with code 2 and one line on what is wrong.
    """
    program = Path(sys.argv[0]).name
    try:
        flags = tyro.cli(TrainFlags, prog=program, description=description, args=arguments)
        recipe = resolve_recipe(flags, from_name, default=default)
        _check_family(recipe, from_name(default))
        return flags, recipe
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{program}: {error}\n")
        raise SystemExit(2) from error


def _check_family(recipe: FlatDinoRecipe, default: FlatDinoRecipe) -> None:
    given, wanted = (type(one.bottleneck).__name__ for one in (recipe, default))
    if given != wanted:
        raise ValueError(
            f"The recipe {recipe.name!r} has a {given} and this experiment trains a {wanted}: "
            "experiments/vae.py is for the one, experiments/fsq.py for the other."
        )
