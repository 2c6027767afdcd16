"""A trained tokenizer for whoever reads its latents: found, loaded, and seen to be one."""

import os
from pathlib import Path
from typing import Any

from laminate.recipes.families import family_of, require_kind
from laminate.recipes.latent import LoadedTokenizer, ReadsLatents, TokenizerId
from laminate.recipes.network import AttentionKernel, HeldDtype, Remat
from laminate.runs.held import held_in, require_held
from laminate.runs.pretrained import load_pretrained, require_there
from laminate.train.export import content_hash


def load_tokenizer(
    source: str | os.PathLike[str],
    *,
    codes: bool = False,
    kernel: AttentionKernel = "xla",
    remat: Remat = "none",
    stored: HeldDtype = "float32",
    image_size: int | None = None,
    cache: Path | None = None,
) -> LoadedTokenizer:
    """The tokenizer in a run, a saved folder or a hub repository, or a published one by its name; with `codes` its
    latents may be whole numbers.

    Its weights are held in the format `stored` (`held.held_in`); its hash is that of the weights as they are saved.
    `image_size` is the side of the square images that whoever asks has, for a tokenizer of images of any size; of
    another one, what it reads stays as it is.

    Raises:
        ValueError: it is no tokenizer, its latents are whole numbers, or it has nothing that could be held in int8.
        OSError: there is nothing of that name.
    """
    where = os.fspath(source)
    require_there(where)
    found = load_pretrained(source, kernel=kernel, remat=remat, cache=cache)
    require_kind(found.recipe, "tokenizer", where)
    family = family_of(found.recipe)
    assert family.latent is not None
    recipe = found.recipe if image_size is None else _at(found.recipe, image_size)
    latent = family.latent(recipe)
    if latent.codes and not codes:
        raise ValueError(
            f"{where} is an FSQ tokenizer, whose latents are whole numbers: flow matching needs those of vae.py."
        )
    identity = TokenizerId(found.name, content_hash(found.model))
    model = held_in(found.model, stored)
    require_held(model, stored, where)
    return LoadedTokenizer(model, recipe, latent, where, identity, found.data_label)


def side_of(image_size: int | None, recipe: ReadsLatents) -> int | None:
    """Of the images whose latents `recipe` is to read, for a tokenizer of any size: that which is asked for, else that
    which its run began with; None for what the tokenizer usually sees."""
    return image_size or (None if recipe.tokenizer is None else recipe.augment.image_size)


def _at(recipe: Any, image_size: int) -> Any:
    """`recipe` for squares of another side, if it is for images of any size."""
    family = family_of(recipe)
    assert family.latent is not None
    latent = family.latent(recipe)
    if latent.image_size == image_size or latent.patch is None or family.at_image_size is None:
        return recipe
    return family.at_image_size(recipe, image_size)
