"""The model card of shared weights: what they are, how to load them, what was measured, whose licences apply."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from laminate.pretrained.registry import KNOWN
from laminate.recipes.costs import parameters
from laminate.recipes.explain import recipe_rows
from laminate.recipes.flatdino import FlatDinoRecipe

CARD = "README.md"
_UNSTATED = "not stated by whoever saved these weights"


@dataclass(frozen=True)
class Card:
    """What only the one who saves a model knows. Everything is optional, and left out things are said to be."""

    title: str = ""
    """Heading; the name of the recipe without one."""
    licence: str = ""
    """Licence of these weights, best as an SPDX name such as Apache-2.0."""
    data: str = ""
    """What they were trained on."""
    data_licence: str = ""
    """Licence of the data."""
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    """What was measured, by name; names say on what."""
    command: str = ""
    """The command that trained them."""

    def __post_init__(self) -> None:
        for name, value in self.metrics.items():
            if not math.isfinite(value):
                raise ValueError(f"Card.metrics: {name} is {value}; leave out what could not be measured.")


def card_text(recipe: FlatDinoRecipe, card: Card) -> str:
    """The card as Markdown, with the front matter that the Hugging Face hub reads."""
    sections = [
        _front_matter(recipe, card),
        f"# {_plain(card.title or recipe.name)}",
        "An image tokenizer of the Python library laminate (distribution `laminate-jax`): it compresses the patch "
        "features of a frozen network into a few tokens.",
        "## Use",
        "```python\nimport laminate\n\n"
        'tokenizer = laminate.from_pretrained("PATH OR ORGANISATION/NAME")\n'
        f"latents = tokenizer.encode(features)  # features {_shape(recipe.teacher.patches, recipe.teacher.dim)}, "
        f"latents {_shape(recipe.tokens, recipe.bottleneck.width)}\n"
        "features = tokenizer.decode(latents)\n```",
        f"The features are those of the teacher `{recipe.teacher.name}`, of one image of "
        f"{recipe.teacher.image_size} x {recipe.teacher.image_size} pixels. The mean and variance of the latents over "
        "the training data are part of the weights: `encode` gives latents of mean 0 and variance 1.",
        "## Recipe",
        _table(("", ""), [*recipe_rows(recipe), ("parameters", f"{parameters(recipe):,}")]),
        "`config.json` holds the full recipe.",
        "## Measured",
        _table(("", ""), [(name, f"{value:.6g}") for name, value in card.metrics.items()])
        if card.metrics
        else "Nothing was measured.",
        "## Training",
        f"Data: {_plain(card.data) or _UNSTATED}.",
        *([f"```sh\n{_plain(card.command)}\n```"] if card.command else []),
        "## Licences",
        _table(
            ("part", "licence"),
            [
                ("these weights", card.licence or _UNSTATED),
                (f"teacher `{recipe.teacher.name}`", _teacher_licence(recipe)),
                ("training data", card.data_licence or _UNSTATED),
            ],
        ),
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(recipe: FlatDinoRecipe, card: Card) -> str:
    lines = ["library_name: laminate", "pipeline_tag: image-feature-extraction"]
    lines.append("tags: [jax, equinox, image-tokenizer, flatdino]")
    if card.licence:
        short = re.fullmatch(r"[\w.-]+", card.licence)  # the hub knows short names only
        lines.append(f"license: {card.licence.lower() if short else 'other'}")
    if recipe.teacher.name in KNOWN:
        lines.append(f"base_model: {KNOWN[recipe.teacher.name].repository}")
    return "\n".join(["---", *lines, "---"])


def _teacher_licence(recipe: FlatDinoRecipe) -> str:
    if recipe.teacher.name in KNOWN:
        known = KNOWN[recipe.teacher.name]
        return f"{known.licence} ({known.source}); it is not part of these weights"
    return "none: it has no weights" if recipe.teacher.name == "patches" else _UNSTATED


def _table(head: tuple[str, str], rows: list[tuple[str, ...]]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    lines += [f"| {_cell(row[0])} | {_cell(row[1])} |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    """`text` on one line."""
    return " ".join(text.split())


def _shape(*sides: int) -> str:
    return f"[{', '.join(map(str, sides))}]"
