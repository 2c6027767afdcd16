"""From the flags of a training to the recipe that it trains, and to the folder that it is written to."""

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from laminate.recipes.embedded import TOKENIZER_NAME
from laminate.recipes.families import from_json, require_family
from laminate.recipes.family import Family, Recipe
from laminate.recipes.flags import RunFlags
from laminate.recipes.overrides import override, require_kept, with_name
from laminate.recipes.run_names import run_name

RECIPE_FILE = "recipe.json"

R = TypeVar("R")


def resolve_recipe(flags: RunFlags, family: Family[R]) -> R:
    """The recipe that the flags ask for: a JSON file, a name or the family's default, with the overrides applied.

    `--set` comes last: it has the last word. Raises `ValueError` or `OSError` with what is wrong and how to mend it.
    """
    recipe = family.apply(_named(flags, family), flags)
    recipe = override(_shortcuts(recipe, flags, family), flags.set)
    require_family(recipe, family)
    return recipe


def _named(flags: RunFlags, family: Family[R]) -> R:
    """The recipe of the file or the name; of a file, seen to be of this experiment."""
    if flags.recipe is None:
        return family.names.recipe(family.names.default if flags.experiment is None else flags.experiment)
    recipe = read_recipe(flags.recipe)
    require_family(recipe, family)
    return recipe


def _shortcuts(recipe: Any, flags: RunFlags, family: Family[Any]) -> Any:
    """`recipe` with the fields that have flags of their own, but for those of the family."""
    if flags.steps is not None:
        recipe = recipe.in_steps(flags.steps)
    if flags.global_batch_size is not None:
        recipe = replace(recipe, global_batch_size=flags.global_batch_size)
    if flags.lr is not None:
        recipe = replace(recipe, schedule=recipe.schedule.at_peak(flags.lr))
    if flags.image_size is not None:
        resized = family.at_image_size or (
            lambda one, side: replace(one, augment=replace(one.augment, image_size=side))
        )
        recipe = resized(recipe, flags.image_size)
    if flags.tokens is not None:
        recipe = override(recipe, (f"tokens={flags.tokens}",), named=False)
    named = {"lr": flags.lr, "image_size": flags.image_size, "tokens": flags.tokens}
    return with_name(recipe, {name: f"{value:g}" for name, value in named.items() if value is not None})


def read_recipe(path: Path) -> Any:
    """The recipe in the JSON file `path`, or in `recipe.json` of the folder `path`."""
    file = path / RECIPE_FILE if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"There is no recipe at {file}: give a run folder or its {RECIPE_FILE}.")
    try:
        return from_json(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def run_folder(flags: RunFlags, recipe: Recipe, label: str = "", tokenizer: str = "") -> str:
    """Where the run is written: `--run-dir`, else `runs/NAME` (`runs/NAME-released` for that variant).

    With the name of the `tokenizer` that it reads, unless that is the default one, and the `label` of its data, so that
    two runs of one recipe do not meet.
    """
    of = "" if tokenizer in ("", TOKENIZER_NAME) else f"-of-{tokenizer}"
    return flags.run_dir or f"runs/{run_name(f'{recipe.name}{flags.suffix}{of}', label)}"


def require_asked(flags: RunFlags, recipe: Recipe) -> None:
    """Raises ValueError if a field that the flags set was decided otherwise by a tokenizer, a teacher or data."""
    named = {"tokens": flags.tokens, "augment.image_size": flags.image_size}
    asked = [*flags.set, *(f"{path}={value}" for path, value in named.items() if value is not None)]
    require_kept(asked, recipe)
