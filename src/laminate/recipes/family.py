"""A family of models: everything that generic code asks of one kind of thing that can be trained, as one value.

A new one is a folder with such a value, and its line in `families.FAMILIES`. Nothing here or in what uses it imports
JAX, apart from the functions of `Modules`, which `Family.modules` imports when it is called.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

from laminate.data.records import Records
from laminate.data.sources.embedded import DEFAULT
from laminate.recipes.flags import RunFlags
from laminate.recipes.latent import LatentSpec, LoadedTokenizer
from laminate.recipes.network import Compute, TeacherConfig
from laminate.recipes.training import Optimizer, Schedule

Kind = Literal["tokenizer", "generator", "image-decoder", "teacher"]
Rows = tuple[tuple[str, ...], ...]
Facts = tuple[tuple[str, str], ...]

Shapes = Mapping[str, tuple[tuple[int, ...], str]]


@runtime_checkable
class Described(Protocol):
    """What the recipes of all models have, those that others trained included: saving and loading need no more."""

    @property
    def name(self) -> str: ...
    @property
    def augment(self) -> Any: ...


@runtime_checkable
class Recipe(Described, Protocol):
    """What the recipes of all trainings have: data, devices, loop, checkpoints and run folder need no more."""

    @property
    def schedule(self) -> Schedule: ...
    @property
    def optimizer(self) -> Optimizer: ...
    @property
    def global_batch_size(self) -> int: ...

    def in_steps(self, steps: int) -> Any:
        """The same training squeezed or stretched to so many optimiser steps."""
        ...


R = TypeVar("R")


def _as_it_is(recipe: Any) -> Any:
    return recipe


@dataclass(frozen=True)
class Names(Generic[R]):
    """The names that stand for recipes.

    `parse` reads those that follow a grammar and raises `ValueError` with the nearest ones; `meaning` says what their
    parts are. `near` finds the valid names nearest to one that is not, nearest first; without it, those of the presets.
    `variants` change the recipe of any name. `glossary` are the words of which names are made. `photographs` are the
    presets for one's own photographs at larger sizes than the default's, and what each costs. `usual` are the images in
    the package that a recipe is trained on where none are named, `data` those of presets that were made for others.
    """

    presets: Mapping[str, Callable[[], R]]
    default: str
    usage: str = ""
    options: Rows = ()
    parse: Callable[[str], R] | None = None
    meaning: Callable[[str], Rows] | None = None
    near: Callable[[str], Sequence[str]] | None = None
    variants: Mapping[str, Callable[[R], R]] = field(default_factory=lambda: {"paper": _as_it_is})
    glossary: Mapping[str, Rows] = field(default_factory=dict[str, Rows])
    photographs: Mapping[str, str] = field(default_factory=dict[str, str])
    usual: str = DEFAULT
    data: Mapping[str, str] = field(default_factory=dict[str, str])

    def recipe(self, name: str, variant: str = "paper") -> R:
        """The recipe of `name`. Raises `ValueError` with the nearest names."""
        if variant not in self.variants:
            raise ValueError(f"There is no variant {variant!r} of {name!r}: {', '.join(self.variants)}.")
        if name in self.presets:
            return self.variants[variant](self.presets[name]())
        if self.parse is not None:
            return self.variants[variant](self.parse(name))
        raise ValueError(f"Unknown experiment {name!r}. Did you mean {' or '.join(self.nearest(name))}?")

    def nearest(self, name: str) -> Sequence[str]:
        """Valid names near `name`, nearest first."""
        if self.near is not None:
            return self.near(name)
        return difflib.get_close_matches(name, self.presets, n=3, cutoff=0.0)

    def reads(self, name: str) -> bool:
        """Whether `name` is one of these."""
        if name in self.presets or self.parse is None:
            return name in self.presets
        try:
            self.parse(name)
        except ValueError:
            return False
        return True

    def rows(self, name: str) -> Rows:
        """(part of the name, meaning, value) from left to right."""
        if name in self.presets or self.meaning is None:
            said = self.photographs.get(name)
            return (
                (name, "a fixed name" if said is None else f"a fixed name: {said}", "all values are below"),
            )
        return self.meaning(name)


@dataclass(frozen=True)
class CardText:
    """What the model card says of every model of a recipe, beside what its training knows."""

    task: str | None
    """The `pipeline_tag` of the hub; None where it has none that fits."""
    tags: tuple[str, ...]
    use: tuple[str, ...]
    """What it is and how it is used: paragraphs of Markdown."""
    teacher: TeacherConfig | None = None
    """The frozen network whose features are read or made."""


@dataclass(frozen=True)
class Text:
    """What is said of a recipe to a person."""

    title: str
    """Of a run and its report."""
    header: Facts
    """(what, value): the first lines of a run."""
    rows: Facts
    """(what, value) of everything that it resolves to, costs included."""
    summary: str
    """One sentence under the title of a report."""
    card: CardText
    notes: tuple[str, ...] = ()
    """What is decided later, by a tokenizer or by data."""
    arguments: str = ""
    """What its command needs beside the name of the experiment."""


@runtime_checkable
class Build(Protocol):
    """A fresh model with float32 parameters. Under `equinox.filter_eval_shape` nothing is allocated."""

    def __call__(self, recipe: Any, compute: Compute = ..., *, key: Any) -> Any: ...


@runtime_checkable
class Frozen(Protocol):
    """The networks that stand beside the trained one, their weights in NumPy arrays; without `weights`, their shapes.

    `tokenizer` is the loaded one that the recipe reads; a plan has none. `stored`: the data hold what the network
    would compute.
    """

    def __call__(
        self,
        recipe: Any,
        *,
        tokenizer: LoadedTokenizer | None = None,
        stored: bool = False,
        weights: bool = True,
    ) -> Any: ...


@runtime_checkable
class Accept(Protocol):
    """The recipe for these training data and this tokenizer, with the hashes of all frozen weights.

    Raises `ValueError` if they do not fit each other, and OSError for weights that are not there.
    """

    def __call__(self, recipe: Any, records: Records, *, tokenizer: LoadedTokenizer | None = None) -> Any: ...


@runtime_checkable
class AsTokenizer(Protocol):
    """A model of the family as a `tokenizers.base.ImageTokenizer`, with the frozen networks that stand before it.

    One that `encodes` nothing may leave those out; without `weights` they are shapes.
    """

    def __call__(self, recipe: Any, model: Any, *, encodes: bool = True, weights: bool = True) -> Any: ...


@runtime_checkable
class Foreign(Protocol):
    """The model and the recipe of published files: the `config.json` beside them, or None, and the weights; None for
    files of another family."""

    def __call__(self, config: Any, weights: Any, where: str) -> "tuple[Any, Described] | None": ...


def nothing_frozen(
    recipe: Any,
    *,
    tokenizer: LoadedTokenizer | None = None,
    stored: bool = False,
    weights: bool = True,
) -> None:
    """Nothing stands beside the trained network."""
    return None


def accept_images(recipe: Any, records: Records, *, tokenizer: LoadedTokenizer | None = None) -> Any:
    """Any images are accepted; records of arrays are refused."""
    arrays = records.manifest.arrays
    if arrays is not None:
        raise ValueError(
            f"--data holds {arrays.field} of {records.manifest.source}, and {recipe.name!r} reads images: give the "
            "images that they were made from."
        )
    return recipe


def the_model_itself(recipe: Any, model: Any, *, encodes: bool = True, weights: bool = True) -> Any:
    """The model is an `ImageTokenizer`: no frozen network stands before it."""
    return model


def nothing_foreign(config: Any, weights: Any, where: str) -> None:
    """No files of others are of this family."""
    return None


def image_and_label(recipe: Any) -> Shapes:
    """The arrays of an example of an image family, (shape, dtype)."""
    side = recipe.augment.image_size
    return {"image": ((side, side, 3), "uint8"), "label": ((), "int32")}


def nothing_published(recipe: Any, *, cache: Path | None = None) -> Any:
    """Raises ValueError: nothing of such a family was published."""
    raise ValueError(f"There are no published weights of {recipe.name!r}.")


@dataclass(frozen=True)
class Modules:
    """What a family needs JAX for."""

    build: Build
    frozen: Frozen = nothing_frozen
    accept: Accept = accept_images
    example_shapes: Callable[[Any], Shapes] = image_and_label
    """The arrays of one example as the loader gives it, for a plan."""
    tokenizer: AsTokenizer = the_model_itself
    """For families of kind `tokenizer`."""
    published: Callable[..., Any] = nothing_published
    """`published(recipe, cache=None)` is the model of published weights, of a recipe that `Family.published` gives.

    Raises ValueError or OSError if they cannot be used or fetched."""
    foreign: Foreign = nothing_foreign
    """Reads what others published, for `families.PUBLISHED`."""
    trained: Callable[[Any], Callable[[Any], Any] | None] = lambda recipe: None
    """`trained(recipe)(model)` picks the parts of a model that its training changes; None is all of them."""
    whole_batch: Callable[[Any], str] = lambda recipe: ""
    """Why a global batch cannot be gone through in parts, and what mends that; empty if it can."""
    float32: Callable[[Any], str] = lambda recipe: ""
    """Why everything is computed in float32, whatever `--precision` says; empty if it need not be."""


def _unchanged(recipe: Any, flags: Any) -> Any:
    return recipe


@dataclass(frozen=True)
class Family(Generic[R]):
    """One kind of model: how it is named, described, told by flags, and built.

    `tag` is its "family" in JSON. Two families may share a recipe class and tag where `holds` tells their recipes
    apart. `script` is the experiment that trains it, `flags` its command line, which `apply` works into a recipe.
    `latent` describes the latents of a tokenizer; `like` is a recipe with latents of a shape, for the cost of what
    stands beside a generator or a decoder that is planned without a tokenizer.
    """

    name: str
    tag: str
    script: str
    kind: Kind
    recipe: type[R]
    names: Names[R]
    text: Callable[[R], Text]
    modules: Callable[[], Modules]
    holds: Callable[[R], bool] = lambda recipe: True
    flags: type[RunFlags] = RunFlags
    apply: Callable[[R, Any], R] = _unchanged
    at_image_size: Callable[[R, int], R] | None = None
    """The recipe for images of another side, where that is more than `augment.image_size`."""
    begins: Callable[[R], str | None] = lambda recipe: None
    """What a training begins with, as `--init-from` names it, where neither that nor `--restore` is given."""
    require_trainable: Callable[[R], None] = lambda recipe: None
    """Raises ValueError for a recipe that can be planned and not trained, as where weights are not named yet."""
    flops: Callable[[R], int] = lambda recipe: 0
    """Multiply-adds of one example in training, at the least; 0 if they are not known."""
    latent: Callable[[R], LatentSpec] | None = None
    like: Callable[[LatentSpec], R] | None = None
    published: Callable[[str], R | None] = lambda name: None
    """The recipe of published weights of that name, which `Modules.published` reads; None if it is no such name."""
    generator: str = ""
    """The experiment that trains a generator on such latents where none is named; empty for the default of all."""
    teacher: Callable[[R, str], TeacherConfig] | None = None
    """Of networks whose features others compress: the model saved at a place as their teacher. It shows its features
    as images itself (`pretrained.teachers.ShowingTeacher`), and the family is named as its `TeacherConfig.family`."""

    def owns(self, recipe: Any) -> bool:
        """Whether `recipe` is one of this family."""
        return isinstance(recipe, self.recipe) and self.holds(recipe)
