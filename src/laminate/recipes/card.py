"""The model card of shared weights: what they are, how to load them, what was measured, whose licences apply."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from laminate.pretrained.registry import KNOWN
from laminate.recipes.costs import parameters
from laminate.recipes.decoder import DecoderRecipe
from laminate.recipes.decoder_rows import decoder_rows
from laminate.recipes.explain import Row, recipe_rows
from laminate.recipes.families import Recipe
from laminate.recipes.flatdino import FlatDinoRecipe
from laminate.recipes.generator import GeneratorRecipe
from laminate.recipes.generator_rows import generator_rows
from laminate.recipes.network import Teacher

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


def card_text(recipe: Recipe, card: Card) -> str:
    """The card as Markdown, with the front matter that the Hugging Face hub reads."""
    if isinstance(recipe, GeneratorRecipe):
        rows, use = generator_rows(recipe), _generator_use(recipe)
    elif isinstance(recipe, DecoderRecipe):
        rows, use = decoder_rows(recipe), _decoder_use(recipe)
    else:
        rows, use = _tokenizer_rows(recipe), _tokenizer_use(recipe)
    sections = [
        _front_matter(recipe, card),
        f"# {_plain(card.title or recipe.name)}",
        *use,
        "## Recipe",
        _table(("", ""), list(rows)),
        "`config.json` holds the full recipe.",
        "## Measured",
        _table(("", ""), [(name, f"{value:.6g}") for name, value in card.metrics.items()])
        if card.metrics
        else "Nothing was measured.",
        "## Training",
        f"Data: {_plain(card.data) or _UNSTATED}.",
        *([f"```sh\n{_plain(card.command)}\n```"] if card.command else []),
        "## Licences",
        _table(("part", "licence"), _licences(recipe, card)),
    ]
    return "\n\n".join(sections) + "\n"


def _tokenizer_use(recipe: FlatDinoRecipe) -> list[str]:
    return [
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
    ]


def _generator_use(recipe: GeneratorRecipe) -> list[str]:
    tokenizer = recipe.tokenizer
    of = "" if tokenizer is None else f" `{tokenizer.name}` whose weights have the hash `{tokenizer.sha256}`"
    return [
        "A generator of the Python library laminate (distribution `laminate-jax`): a diffusion transformer that draws "
        "latents of an image tokenizer by flow matching.",
        "## Use",
        "```sh\npython experiments/sample.py --generator PATH --tokenizer PATH\n```",
        "```python\nimport laminate\n\n"
        'generator = laminate.from_pretrained("PATH OR ORGANISATION/NAME")\n'
        f"output = generator(x, t, label)  # x {_shape(recipe.tokens, recipe.features)}, t from 0 (noise) to 1 (data)\n"
        "```",
        f"It speaks the latents of the tokenizer{of}, and of no other.",
    ]


def _decoder_use(recipe: DecoderRecipe) -> list[str]:
    tokenizer, teacher = recipe.tokenizer, recipe.teacher
    if teacher is not None:
        of = f"the features of `{teacher.name}`, and of no other network"
    elif tokenizer is None:
        of = "the raw latents of a tokenizer"
    else:
        of = (
            f"the raw latents of the tokenizer `{tokenizer.name}` whose weights have the hash `{tokenizer.sha256}`, "
            "and of no other"
        )
    return [
        "An image decoder of the Python library laminate (distribution `laminate-jax`): it paints images, trained by "
        "reconstruction and against a discriminator.",
        "## Use",
        "```sh\npython experiments/sample.py --decoder PATH\n```",
        "```python\nimport laminate\n\n"
        'decoder = laminate.from_pretrained("PATH OR ORGANISATION/NAME")\n'
        f"image = decoder(latents)  # latents {_shape(recipe.tokens, recipe.features)}, image "
        f"{_shape(recipe.image_size, recipe.image_size, 3)}, nominally in [0, 1]\n"
        "```",
        f"It reads {of}.",
    ]


def _tokenizer_rows(recipe: FlatDinoRecipe) -> list[Row]:
    return [*recipe_rows(recipe), ("parameters", f"{parameters(recipe):,}")]


def _front_matter(recipe: Recipe, card: Card) -> str:
    task, kind = "image-feature-extraction", "image-tokenizer"
    if isinstance(recipe, GeneratorRecipe):
        task, kind = "unconditional-image-generation", "flow-matching"
    elif isinstance(recipe, DecoderRecipe):
        task, kind = "image-to-image", "image-decoder"
    lines = ["library_name: laminate", f"pipeline_tag: {task}"]
    lines.append(f"tags: [jax, equinox, {kind}, flatdino]")
    if card.licence:
        short = re.fullmatch(r"[\w.-]+", card.licence)  # the hub knows short names only
        lines.append(f"license: {card.licence.lower() if short else 'other'}")
    teacher = _teacher(recipe)
    if teacher is not None and teacher.name in KNOWN:
        lines.append(f"base_model: {KNOWN[teacher.name].repository}")
    return "\n".join(["---", *lines, "---"])


def _licences(recipe: Recipe, card: Card) -> list[Row]:
    teacher = _teacher(recipe)
    beside = [] if teacher is None else [(f"teacher `{teacher.name}`", _teacher_licence(teacher))]
    return [
        ("these weights", card.licence or _UNSTATED),
        *beside,
        ("training data", card.data_licence or _UNSTATED),
    ]


def _teacher(recipe: Recipe) -> Teacher | None:
    """The frozen network whose features the model reads or makes."""
    return None if isinstance(recipe, GeneratorRecipe) else recipe.teacher


def _teacher_licence(teacher: Teacher) -> str:
    if teacher.name in KNOWN:
        known = KNOWN[teacher.name]
        return f"{known.licence} ({known.source}); it is not part of these weights"
    return "none: it has no weights" if teacher.name == "patches" else _UNSTATED


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
