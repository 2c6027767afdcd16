"""The model card of shared weights: what they are, how to load them, what was measured, whose licences apply."""

import html
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from laminate.pretrained.registry import KNOWN
from laminate.recipes import family
from laminate.recipes.families import family_of
from laminate.recipes.family import Described
from laminate.recipes.network import TeacherConfig
from laminate.recipes.run_names import run_name

CARD = "README.md"
_UNSTATED = "not stated by whoever saved these weights"


@dataclass(frozen=True)
class Card:
    """What only the one who saves a model knows. Everything is optional, and left out things are said to be."""

    title: str = ""
    """Heading; the name of the recipe, and of data other than its usual ones, without one."""
    licence: str = ""
    """Licence of these weights, best as an SPDX name such as Apache-2.0."""
    data: str = ""
    """What they were trained on."""
    data_label: str = ""
    """The name and a short hash of that (`run_names.data_label`); nothing for the usual ones of the recipe."""
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


def card_text(recipe: Described, card: Card) -> str:
    """The card as Markdown, with the front matter that the Hugging Face hub reads."""
    text = family_of(recipe).text(recipe)
    sections = [
        _front_matter(text.card, card),
        f"# {_quoted(card.title or run_name(recipe.name, card.data_label))}",
        *text.card.use,
        "## Recipe",
        _table(("", ""), text.rows),
        "`config.json` holds the full recipe.",
        "## Measured",
        _table(("", ""), tuple((name, f"{value:.6g}") for name, value in card.metrics.items()))
        if card.metrics
        else "Nothing was measured.",
        "## Training",
        f"Data: {_quoted(card.data) or _UNSTATED}.",
        *([_fenced(_plain(card.command))] if card.command else []),
        "## Licences",
        _table(("part", "licence"), _licences(text.card.teacher, card)),
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(model: family.CardText, card: Card) -> str:
    lines = ["library_name: laminate"]
    if model.task is not None:
        lines.append(f"pipeline_tag: {model.task}")
    lines.append(f"tags: [{', '.join(('jax', 'equinox', *model.tags))}]")
    if card.licence:
        short = re.fullmatch(r"[\w.-]+", card.licence)  # the hub knows short names only
        lines.append(f"license: {card.licence.lower() if short else 'other'}")
    if model.teacher is not None and model.teacher.name in KNOWN:
        lines.append(f"base_model: {KNOWN[model.teacher.name].repository}")
    return "\n".join(["---", *lines, "---"])


def _licences(teacher: TeacherConfig | None, card: Card) -> family.Rows:
    beside = () if teacher is None else ((f"teacher `{teacher.name}`", _teacher_licence(teacher)),)
    return (
        ("these weights", card.licence or _UNSTATED),
        *beside,
        ("training data", card.data_licence or _UNSTATED),
    )


def _teacher_licence(teacher: TeacherConfig) -> str:
    if teacher.name in KNOWN:
        known = KNOWN[teacher.name]
        return f"{known.licence} ({known.source}); it is not part of these weights"
    return "none: it has no weights" if teacher.name == "patches" else _UNSTATED


def _table(head: tuple[str, str], rows: family.Rows) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    lines += [f"| {_cell(row[0])} | {_cell(row[1])} |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return _quoted(text).replace("|", "\\|")


def _quoted(text: str) -> str:
    """`text` on one line, shown as it is: a browser and Markdown find nothing of theirs in it."""
    return re.sub(r"[\\\[\]]", r"\\\g<0>", html.escape(_plain(text), quote=False))


def _fenced(command: str) -> str:
    """`command` as a block that nothing in it ends."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", command)), default=0))
    return f"{fence}sh\n{command}\n{fence}"


def _plain(text: str) -> str:
    """`text` on one line."""
    return " ".join(text.split())
