"""A published autoencoder's modules: its network as a tokenizer, from a recipe and from published files."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from laminate.models.dc_autoencoder import DcAutoencoder
from laminate.pretrained.autoencoders import architecture_of, load_autoencoder, make_autoencoder
from laminate.pretrained.keymaps.base import KeyMapError
from laminate.pretrained.registry import KNOWN
from laminate.recipes.autoencoder.recipe import AutoencoderRecipe
from laminate.recipes.family import Modules
from laminate.recipes.network import PLAIN, Compute
from laminate.recipes.serialization import parse_json
from laminate.tokenizers.autoencoder import AutoencoderTokenizer
from laminate.types import RandomKey

_COLOURS = 3


def autoencoder(
    recipe: AutoencoderRecipe, compute: Compute = PLAIN, *, key: RandomKey
) -> AutoencoderTokenizer:
    """The network of `recipe` with freshly drawn float32 parameters, and its scaling."""
    network = make_autoencoder(recipe.architecture, parse_json(recipe.config))(key)
    return AutoencoderTokenizer(network, recipe.augment.image_size)


def published(
    config: Mapping[str, Any] | None, weights: Mapping[str, np.ndarray], where: str
) -> tuple[AutoencoderTokenizer, AutoencoderRecipe] | None:
    """The tokenizer and the recipe of published files; None for files of anything else.

    Raises ValueError for a configuration that is not covered, by the name of its field, or weights that do not fit it.
    """
    try:
        architecture = architecture_of(config, weights)
        if architecture is None:
            return None
        stated = {name: value for name, value in (config or {}).items() if not name.startswith("_")}
        network = load_autoencoder(architecture, stated, weights)
    except KeyMapError as error:
        raise ValueError(f"{where} does not fit its configuration: {error}") from error
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    for field in ("in_channels", "out_channels", "input_channels"):
        if stated.get(field, _COLOURS) != _COLOURS:
            raise ValueError(
                f"{where}: the configuration has {field}={stated[field]!r}, and images here have {_COLOURS} channels."
            )
    found = AutoencoderTokenizer(network)
    text = json.dumps(stated, sort_keys=True)
    deviates = not isinstance(network, DcAutoencoder)
    recipe = AutoencoderRecipe(name_of(where), architecture, text, found.patch, found.latent_dim, deviates)
    return replace_side(found, recipe), recipe


def name_of(where: str) -> str:
    """What the recipe of published files is called: a known name, else that of their folder, file or repository."""
    if where in KNOWN:
        return where
    parts = [part for part in os.path.normpath(where.partition("@")[0]).split(os.sep) if part]
    while len(parts) > 1 and (parts[-1] == "vae" or parts[-1].startswith("diffusion_pytorch_model")):
        parts.pop()
    name = re.sub(r"[^\w.-]+", "-", re.sub(r"\.safetensors(\.index\.json)?$", "", parts[-1] if parts else ""))
    return name.strip("._-") or "autoencoder"


def replace_side(model: AutoencoderTokenizer, recipe: AutoencoderRecipe) -> AutoencoderTokenizer:
    """`model` for the square images of `recipe`."""
    return replace(model, side=recipe.augment.image_size)


def _as_tokenizer(
    recipe: AutoencoderRecipe, model: AutoencoderTokenizer, *, encodes: bool = True, weights: bool = True
) -> AutoencoderTokenizer:
    return replace_side(model, recipe)


MODULES = Modules(build=autoencoder, tokenizer=_as_tokenizer, foreign=published)
