"""A trained tokenizer for whoever reads its latents: found, loaded, and seen to be one."""

import os
from pathlib import Path

from laminate.recipes.families import family_of, require_kind
from laminate.recipes.latent import LoadedTokenizer, TokenizerId
from laminate.recipes.network import AttentionKernel, Remat
from laminate.runs.pretrained import load_pretrained, require_there
from laminate.train.export import content_hash


def load_tokenizer(
    source: str | os.PathLike[str],
    *,
    codes: bool = False,
    kernel: AttentionKernel = "xla",
    remat: Remat = "none",
    cache: Path | None = None,
) -> LoadedTokenizer:
    """The tokenizer in a run, a saved folder or a hub repository; with `codes` its latents may be whole numbers.

    Raises:
        ValueError: it is no tokenizer, or its latents are whole numbers.
        OSError: there is nothing of that name.
    """
    where = os.fspath(source)
    require_there(where)
    found = load_pretrained(source, kernel=kernel, remat=remat, cache=cache)
    require_kind(found.recipe, "tokenizer", where)
    family = family_of(found.recipe)
    assert family.latent is not None
    latent = family.latent(found.recipe)
    if latent.codes and not codes:
        raise ValueError(
            f"{where} is an FSQ tokenizer, whose latents are whole numbers: flow matching needs those of vae.py."
        )
    identity = TokenizerId(found.name, content_hash(found.model))
    return LoadedTokenizer(found.model, found.recipe, latent, where, identity, found.data_label)
