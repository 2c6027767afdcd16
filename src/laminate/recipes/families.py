"""The families there are: the one list, and what is asked of all of them together."""

import difflib
import json
from typing import Any

from laminate.recipes.autoencoder.family import AUTOENCODER
from laminate.recipes.dino_sae.family import DINO_SAE
from laminate.recipes.family import Described, Family, Kind, Recipe
from laminate.recipes.flatdino.family import FSQ, VAE
from laminate.recipes.generator.family import GENERATOR
from laminate.recipes.image_decoder.family import IMAGE_DECODER
from laminate.recipes.latent import LatentSpec
from laminate.recipes.masked_autoencoder.family import MASKED_AUTOENCODER
from laminate.recipes.network import TeacherConfig
from laminate.recipes.serialization import parse_json, read, said
from laminate.recipes.vitok.family import VITOK

FAMILIES: tuple[Family[Any], ...] = (VAE, FSQ, GENERATOR, IMAGE_DECODER, MASKED_AUTOENCODER, VITOK, DINO_SAE)
PUBLISHED: tuple[Family[Any], ...] = (AUTOENCODER,)
"""Those whose models others trained and published, and no experiment here."""
_JOINED: list[Family[Any]] = []

AUTO = "auto"
"""What asks for the family that reads a name, so that none is called it."""
RUN = "run"
"""What a run folder notes beside its recipe: seed, data and what else decides it."""


def families() -> tuple[Family[Any], ...]:
    """`FAMILIES`, and those that other packages have joined."""
    return (*FAMILIES, *_JOINED)


def all_families() -> tuple[Family[Any], ...]:
    """`families()`, and those of published models."""
    return (*families(), *PUBLISHED)


def join(family: Family[Any]) -> None:
    """Make a family of another package known to this process: its names, its recipes in JSON, its saved models.

    Raises ValueError if its name or script is taken, if its tag is that of another recipe class, if its recipe derives
    from that of another family, which would own both, or if it has no name to begin with.
    """
    if family.name == AUTO or not family.names.presets or family.names.default not in family.names.presets:
        raise ValueError(
            f"The family {family.name!r} needs a name that is not {AUTO!r}, and presets that hold its default "
            f"{family.names.default!r}: it has {', '.join(family.names.presets) or 'none'}."
        )
    for other in all_families():
        if family.recipe is not other.recipe and (
            issubclass(family.recipe, other.recipe) or issubclass(other.recipe, family.recipe)
        ):
            raise ValueError(
                f"The recipes of the families {family.name!r} and {other.name!r} derive from each other "
                f"({family.recipe.__name__}, {other.recipe.__name__}), and each has to be of one: give it a class of "
                "its own."
            )
        same_tag = family.tag == other.tag and family.recipe is not other.recipe
        if family.name == other.name or family.script == other.script or same_tag:
            raise ValueError(
                f"The family {family.name!r} (tag {family.tag!r}, script {family.script!r}) collides with "
                f"{other.name!r} (tag {other.tag!r}, script {other.script!r}): give it ones of its own."
            )
    _JOINED.append(family)


def family_of(recipe: Any) -> Family[Any]:
    """The family that `recipe` is of. Raises TypeError for what is no recipe."""
    for family in all_families():
        if family.owns(recipe):
            return family
    raise TypeError(f"{type(recipe).__name__} is the recipe of no family: `families.join` makes one known.")


def family_named(name: str) -> Family[Any]:
    """The family called `name`. Raises ValueError with those there are."""
    known = {family.name: family for family in families()}
    if name not in known:
        raise ValueError(f"There is no family {name!r}: {', '.join(known)}.")
    return known[name]


def family_of_script(script: str) -> Family[Any] | None:
    """The family that the experiment `script` trains; None if it is of none."""
    return next((family for family in families() if family.script == script), None)


def find_family(name: str) -> Family[Any]:
    """The family that the experiment `name` belongs to; the first in the list, if several read it.

    Raises ValueError with the nearest names of the family that it resembles most.
    """
    known = families()
    for fits in (
        lambda family: name in family.names.presets,
        lambda family: family.names.reads(name),
    ):
        for family in known:
            if fits(family):
                return family
    nearest = max(known, key=lambda family: _likeness(name, family))
    nearest.names.recipe(name)  # refuses it, with the nearest names
    raise ValueError(f"Unknown experiment {name!r}.")


def _likeness(name: str, family: Family[Any]) -> float:
    """How near the nearest valid name is, presets included."""
    valid = {*family.names.presets, *family.names.nearest(name)}
    return max(difflib.SequenceMatcher(None, name, one).ratio() for one in valid)


def published_recipe(name: str) -> Any | None:
    """The recipe of the published weights called `name`; None if no family knows any of that name."""
    return next((found for family in families() if (found := family.published(name)) is not None), None)


def other_families(name: str, found: Family[Any]) -> tuple[Family[Any], ...]:
    """Those beside `found` that read `name` too."""
    return tuple(family for family in families() if family is not found and family.names.reads(name))


def family_of_teachers(name: str) -> Family[Any] | None:
    """The family whose networks a `TeacherConfig` calls `name`; None for published ones, and for `patches`."""
    return next((family for family in families() if family.teacher is not None and family.name == name), None)


def saved_teacher(where: str, config: Any) -> TeacherConfig | None:
    """The teacher whose saved `config.json` says `config`; None unless a family here trained it as one.

    Raises ValueError for a recipe that cannot be read, or one of another kind of model.
    """
    if not isinstance(config, dict) or "laminate" not in config:
        return None
    recipe = from_tree(config.get("recipe"))
    family = family_of(recipe)
    if family.teacher is None:
        raise ValueError(f"{where} holds what {family.script} trains, and no network that can be a teacher.")
    return family.teacher(recipe, where)


def require_family(recipe: Recipe, wanted: Family[Any]) -> None:
    """Raises ValueError if another experiment than that of `wanted` trains `recipe`."""
    found = family_of(recipe)
    if found is not wanted:
        raise ValueError(
            f"The recipe {recipe.name!r} is of another experiment than {wanted.script}: experiments/{found.script} "
            "trains it."
        )


def require_kind(recipe: Described, kind: Kind, where: str) -> None:
    """Raises ValueError unless `recipe`, that of what was found at `where`, is one of such a kind."""
    found = family_of(recipe)
    if found.kind != kind:
        wanted = next(family for family in families() if family.kind == kind)
        raise ValueError(
            f"{where} holds what {found.script} trains and no {kind.replace('-', ' ')}: give the run of "
            f"{wanted.script}."
        )


def usual_data(recipe: Described, tokenizer: Described | None = None) -> str:
    """The images in the package on which `recipe` is trained where no others are named: those that its preset was made
    for, else those of the `tokenizer` whose latents it reads, else those of its family."""
    names = family_of(recipe).names
    own = names.data.get(recipe.name.partition("+")[0])
    if own is not None:
        return own
    return names.usual if tokenizer is None else usual_data(tokenizer)


def tokenizer_like(latent: LatentSpec) -> Any:
    """The recipe of a tokenizer with such latents, for the cost of what runs beside a generator or an image decoder."""
    return next(family.like for family in families() if family.like is not None)(latent)


def to_tree(recipe: Described) -> dict[str, Any]:
    """The full recipe as dictionaries and lists: every field, but for those that are `serialization.UNSAID`."""
    return {"family": family_of(recipe).tag, **said(recipe)}


def to_json(recipe: Described) -> str:
    """`to_tree` as text."""
    return json.dumps(to_tree(recipe), indent=2) + "\n"


def from_tree(tree: Any) -> Any:
    """The recipe of `to_tree`. Raises `ValueError` as `from_json` does."""
    if not isinstance(tree, dict):
        raise ValueError(
            f"The recipe must be a JSON object, got {'null' if tree is None else type(tree).__name__}."
        )
    classes = {family.tag: family.recipe for family in all_families()}
    tag = tree.get("family")
    if not isinstance(tag, str) or tag not in classes:
        raise ValueError(f'The recipe must say "family": one of {", ".join(classes)}; got {tag!r}.')
    return read({key: value for key, value in tree.items() if key not in ("family", RUN)}, classes[tag])


def rewritten(tree: dict[str, Any]) -> dict[str, Any]:
    """What an earlier version wrote into a run folder, as this one writes it; what is no recipe stays as it is.

    So a run goes on whose recipe has fields that are read and dropped.
    """
    try:
        recipe = to_tree(from_tree(tree))
    except ValueError:
        return tree
    return recipe | ({RUN: tree[RUN]} if RUN in tree else {})


def from_json(text: str) -> Any:
    """The recipe that `text` holds.

    Raises `ValueError` that names the field if one is missing, unknown, of another type or impossible.
    """
    return from_tree(parse_json(text))
