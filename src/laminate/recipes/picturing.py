"""What shows the latents of a tokenizer as images: found, loaded, and seen to be the right one."""

import dataclasses
import os
from dataclasses import dataclass

from etils import epath

from laminate.models.pixel_decoder import PixelDecoder
from laminate.parallel.hosts import of_first
from laminate.pretrained import hub
from laminate.pretrained.patches import Patches
from laminate.recipes import build
from laminate.recipes.decoder import DecoderRecipe, for_tokenizer
from laminate.recipes.embedded import embedded_decoder
from laminate.recipes.families import Recipe, script
from laminate.recipes.flags import AttentionKernel
from laminate.recipes.json_text import from_tree
from laminate.recipes.latents import Tokenizer
from laminate.recipes.sharing import exported, load_pretrained, require_there
from laminate.tokenizers.flatdino import FlatDino
from laminate.tokenizers.latent_decoders import (
    DirectLatentDecoder,
    FeatureLatentDecoder,
    LatentDecoder,
    PatchLatentDecoder,
)

NONE = "none"
"""What `--decoder` calls the tokenizer's own way to pixels."""


@dataclass(frozen=True)
class Pictures:
    """What makes images of latents; None if nothing can."""

    shows: PixelDecoder | Patches | None
    reads_latents: bool
    said: str
    """For the header: by what images are painted."""

    def painter(self, tokenizer: FlatDino) -> LatentDecoder | None:
        """The painter of the raw latents of `tokenizer`."""
        return painter_of(self.shows, tokenizer, reads_latents=self.reads_latents)


def painter_of(shows: object, tokenizer: FlatDino, *, reads_latents: bool = False) -> LatentDecoder | None:
    """The painter that `shows`, a decoder or a teacher, makes with `tokenizer`; None if it makes no images."""
    if isinstance(shows, PixelDecoder):
        return DirectLatentDecoder(shows) if reads_latents else FeatureLatentDecoder(tokenizer, shows)
    return PatchLatentDecoder(tokenizer, shows) if isinstance(shows, Patches) else None


def find_pictures(decoder: str | None, tokenizer: Tokenizer, *, kernel: AttentionKernel = "xla") -> Pictures:
    """What `--decoder` names for the latents of `tokenizer`: see the flag.

    With several hosts all come here, and go by what the first one finds. The weights are not on a mesh yet.

    Raises ValueError for what is no decoder, or one of other latents or features, and OSError if it is not there.
    """
    if decoder == NONE:
        return _own(tokenizer)
    if decoder is not None:
        return _given(decoder, tokenizer, kernel)
    beside = os.fspath(epath.Path(os.path.expanduser(tokenizer.source)).parent / embedded_decoder().name)
    weights = os.fspath(exported(beside)) if epath.Path(beside).exists() else ""
    weights = of_first("image decoder", weights)
    if not weights:
        return _own(tokenizer)
    if weights == beside:
        return _own(tokenizer, f" ({beside} has not ended)")
    try:
        recipe = _recipe_at(beside)
        reads = recipe.tokenizer if isinstance(recipe, DecoderRecipe) else None
        if reads is None or reads.sha256 != tokenizer.identity.sha256:
            return _own(tokenizer, f" ({beside} is of another one)")
        return _given(beside, tokenizer, kernel)
    except (ValueError, OSError) as error:
        raise ValueError(f"{error} --decoder {NONE} goes on without it.") from error


def require_images(pictures: Pictures, tokenizer: Tokenizer) -> None:
    """Raises ValueError if nothing makes images of the latents."""
    if pictures.shows is None:
        raise ValueError(
            f"The features of the teacher {tokenizer.recipe.teacher.name} are no pixels: give --decoder the run of "
            "decoder.py on this tokenizer, or the decoder of a published autoencoder on this teacher."
        )


def _own(tokenizer: Tokenizer, more: str = "") -> Pictures:
    teacher = tokenizer.recipe.teacher
    shows = Patches(teacher.image_size, teacher.patch_size) if teacher.name == "patches" else None
    said = "nothing: its features are no pixels" if shows is None else f"{tokenizer.recipe.name} itself"
    return Pictures(shows, False, said + more)


def _given(where: str, tokenizer: Tokenizer, kernel: AttentionKernel) -> Pictures:
    require_there(where)
    recipe = _recipe_at(where)
    if recipe is None:
        published = build.pixel_decoder(where, tokenizer.recipe.teacher, flag="--decoder")
        return Pictures(published.decoder, False, where)
    if not isinstance(recipe, DecoderRecipe):
        raise ValueError(
            f"--decoder: {where} holds what {script(recipe)} trains and no image decoder: give the run of decoder.py."
        )
    if recipe.reads == "latents":
        if recipe.tokenizer is None:
            raise ValueError(f"--decoder: {where} does not say which tokenizer's latents it reads.")
        for_tokenizer(recipe, tokenizer.recipe, tokenizer.identity)
    else:
        _require_features(where, recipe, tokenizer)
    return Pictures(load_pretrained(where, kernel=kernel).model, recipe.reads == "latents", where)


def _recipe_at(where: str) -> Recipe | None:
    """The recipe of the model at `where`; None if this library did not write it."""
    config = hub.config_of(hub.locate(exported(where)))
    if config is None or "laminate" not in config:
        return None
    try:
        return from_tree(config.get("recipe"))
    except ValueError as error:
        raise ValueError(f"The recipe of {where}: {error}") from error


def _require_features(where: str, recipe: DecoderRecipe, tokenizer: Tokenizer) -> None:
    """Raises ValueError unless the features are those of the tokenizer's teacher: same sizes, same weights."""
    read, given = recipe.teacher, tokenizer.recipe.teacher
    assert read is not None
    same = dataclasses.replace(
        read, name=given.name, dtype=given.dtype, weights=read.weights or given.weights
    )
    if same != dataclasses.replace(given, weights=given.weights or read.weights):
        a, b = (
            f"{one.name} ({one.patches} of {one.dim} numbers, weights {one.weights[:12] or 'none'})"
            for one in (read, given)
        )
        raise ValueError(
            f"--decoder: {where} paints the features of the teacher {a}, and those of the tokenizer "
            f"{tokenizer.recipe.name} are of {b}: give a decoder that was trained on that teacher."
        )
