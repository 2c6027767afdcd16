"""From the flags of a training to the recipe that it trains, and to the folder that it is written to."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from laminate.recipes.embedded import TOKENIZER_NAME
from laminate.recipes.families import family_of, from_json, require_family
from laminate.recipes.family import Described, Family, Recipe
from laminate.recipes.flags import RunFlags
from laminate.recipes.overrides import override, require_kept, value_text, with_name
from laminate.recipes.run_names import run_name

RECIPE_FILE = "recipe.json"

R = TypeVar("R")

_PATHS = {
    "steps": "schedule.length",
    "global_batch_size": "global_batch_size",
    "lr": "schedule.peak",
    "image_size": "augment.image_size",
    "tokens": "tokens",
}
"""Flags that stand for one field, and its path."""


def resolve_recipe(flags: RunFlags, family: Family[R]) -> R:
    """The recipe that the flags ask for: a JSON file, a name, that of the run in `--run-dir` or the family's default,
    with the overrides applied.

    `--set` comes last: it has the last word. Raises `ValueError` or `OSError` with what is wrong and how to mend it.
    """
    _require_one_way(flags)
    recipe = family.apply(_named(flags, family), flags)
    recipe = override(_shortcuts(recipe, flags, family), flags.set)
    require_family(recipe, family)
    return recipe


def for_tokenizer(flags: RunFlags, family: Family[R], recipe: R, tokenizer: Described) -> R:
    """`recipe`, or where no flag says which, the one that suits the latents of such a tokenizer. Raises as
    `resolve_recipe`."""
    suited = family_of(tokenizer).generator
    if not suited or flags.experiment is not None or flags.recipe is not None or goes_on(flags) is not None:
        return recipe
    return resolve_recipe(replace(flags, experiment=suited), family)


def _named(flags: RunFlags, family: Family[R]) -> R:
    """The recipe of the file, the name or the run that goes on; of a file, seen to be of this experiment."""
    file = goes_on(flags) if flags.recipe is None else flags.recipe
    if file is None:
        return family.names.recipe(family.names.default if flags.experiment is None else flags.experiment)
    recipe = read_recipe(file)
    require_family(recipe, family)
    return recipe


def goes_on(flags: RunFlags) -> Path | None:
    """The folder of the run that goes on, if it is on this machine and nothing else says what is trained."""
    if flags.experiment is not None or flags.run_dir is None or flags.fresh:
        return None
    folder = Path(flags.run_dir).expanduser()
    return folder if (folder / RECIPE_FILE).is_file() else None


def _shortcuts(recipe: Any, flags: RunFlags, family: Family[Any]) -> Any:
    """`recipe` with the fields that have flags of their own, but for those of the family.

    What it is called says so where it changed, apart from its length and batch.
    """
    resized = family.at_image_size or (
        lambda one, side: replace(one, augment=replace(one.augment, image_size=side))
    )
    changes: dict[str, Callable[[Any, Any], Any]] = {
        "steps": lambda one, steps: one.in_steps(steps),
        "global_batch_size": lambda one, size: replace(one, global_batch_size=size),
        "lr": lambda one, peak: replace(one, schedule=one.schedule.at_peak(peak)),
        "image_size": resized,
        "tokens": _with_tokens,
    }
    for name, change in changes.items():
        value = getattr(flags, name)
        if value is None:
            continue
        try:
            changed = change(recipe, value)
        except ValueError as error:
            raise ValueError(f"{_flag(name)} {value_text(value)}: {error}") from error
        silent = changed == recipe or name in ("steps", "global_batch_size")
        recipe = changed if silent else with_name(changed, {name: value_text(value)})
    return recipe


def _with_tokens(recipe: Any, tokens: int) -> Any:
    if "tokens" not in {field.name for field in fields(recipe)}:
        raise ValueError(f"the recipe {recipe.name!r} has no number of tokens.")
    return replace(recipe, tokens=tokens)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _require_one_way(flags: RunFlags) -> None:
    """Raises ValueError if a field is set by its flag and by `--set`."""
    paths = {setting.partition("=")[0].strip() for setting in flags.set}
    for name, path in _PATHS.items():
        if getattr(flags, name) is not None and path in paths:
            raise ValueError(f"{_flag(name)} and --set {path} say the same: give one of them.")


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
    words = {
        f"{_PATHS[name]}={getattr(flags, name)}": f"{_flag(name)} {getattr(flags, name)}"
        for name in ("tokens", "image_size")
        if getattr(flags, name) is not None
    }
    require_kept([*flags.set, *words], recipe, flags=words)
