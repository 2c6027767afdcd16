"""What decodes the latents of a tokenizer to images: found, loaded, and seen to be the right one."""

import os
from dataclasses import dataclass, replace
from typing import Any

from etils import epath

from laminate.models.pixel_decoder import PixelDecoder
from laminate.parallel.hosts import of_first
from laminate.recipes.describe import teacher_identity_text
from laminate.recipes.embedded import DECODER_NAME
from laminate.recipes.families import family_of, require_kind
from laminate.recipes.latent import LoadedTokenizer, for_latents
from laminate.recipes.modules import pixel_decoder, same_teacher
from laminate.recipes.network import AttentionKernel
from laminate.runs.pretrained import exported, load_pretrained, recipe_at, require_there
from laminate.tokenizers.base import ImageTokenizer
from laminate.tokenizers.latent_decoders import (
    DirectLatentDecoder,
    FeatureLatentDecoder,
    LatentDecoder,
    OwnLatentDecoder,
)

NONE = "none"
"""What `--decoder` calls the tokenizer's own way to pixels."""


@dataclass(frozen=True)
class DecoderChoice:
    """What makes images of latents: a decoder of latents or of features, or without one the tokenizer itself.

    `said` names it in the header. The weights are not on a mesh yet.
    """

    decoder: PixelDecoder | None
    reads_latents: bool
    said: str

    def of(self, tokenizer: ImageTokenizer) -> LatentDecoder | None:
        """The way from raw latents of `tokenizer` to images; None if there is none."""
        if self.decoder is None:
            return OwnLatentDecoder(tokenizer) if tokenizer.shows_images else None
        return (
            DirectLatentDecoder(self.decoder)
            if self.reads_latents
            else FeatureLatentDecoder(tokenizer, self.decoder)
        )


def find_decoder(
    decoder: str | None, tokenizer: LoadedTokenizer, *, kernel: AttentionKernel = "xla"
) -> DecoderChoice:
    """What `--decoder` names for the latents of `tokenizer`: see the flag.

    With several hosts all come here, and go by what the first one finds.

    Raises ValueError for what is no decoder, or one of other latents or features, and OSError if it is not there.
    """
    if decoder == NONE:
        return _own(tokenizer)
    if decoder is not None:
        return _given(decoder, tokenizer, kernel)
    beside = os.fspath(epath.Path(os.path.expanduser(tokenizer.source)).parent / DECODER_NAME)
    weights = os.fspath(exported(beside)) if epath.Path(beside).exists() else ""
    weights = of_first("image decoder", weights)
    if not weights:
        return _own(tokenizer)
    if weights == beside:
        return _own(tokenizer, f" ({beside} has not ended)")
    try:
        recipe = recipe_at(beside)
        reads = None
        if recipe is not None and family_of(recipe).kind == "image-decoder":
            reads = recipe.tokenizer
        if reads is None or reads.sha256 != tokenizer.identity.sha256:
            return _own(tokenizer, f" ({beside} is of another one)")
        return _given(beside, tokenizer, kernel)
    except (ValueError, OSError) as error:
        raise ValueError(f"{error} --decoder {NONE} goes on without it.") from error


def require_images(way: LatentDecoder | None, tokenizer: LoadedTokenizer) -> None:
    """Raises ValueError if nothing makes images of the latents."""
    if way is None:
        of = "" if tokenizer.latent.teacher is None else f" of the teacher {tokenizer.latent.teacher.name}"
        raise ValueError(
            f"The features{of} are no pixels: give --decoder the run of decoder.py on this tokenizer, or the decoder "
            "of a published autoencoder on this teacher."
        )


def _own(tokenizer: LoadedTokenizer, more: str = "") -> DecoderChoice:
    teacher = tokenizer.latent.teacher
    shows = teacher is None or teacher.name == "patches"
    said = f"{tokenizer.recipe.name} itself" if shows else "nothing: its features are no pixels"
    return DecoderChoice(None, False, said + more)


def _given(where: str, tokenizer: LoadedTokenizer, kernel: AttentionKernel) -> DecoderChoice:
    require_there(where)
    recipe = recipe_at(where)
    if recipe is None:
        return _published(where, tokenizer)
    require_kind(recipe, "image-decoder", f"--decoder: {where}")
    if recipe.reads == "latents":
        if recipe.tokenizer is None:
            raise ValueError(f"--decoder: {where} does not say which tokenizer's latents it reads.")
        for_latents(recipe, tokenizer.latent, tokenizer.identity, what="decoder")
    else:
        _require_features(where, recipe, tokenizer)
    return DecoderChoice(load_pretrained(where, kernel=kernel).model, recipe.reads == "latents", where)


def _published(where: str, tokenizer: LoadedTokenizer) -> DecoderChoice:
    """The decoder of a published autoencoder on the tokenizer's teacher."""
    if tokenizer.latent.teacher is None:
        raise ValueError(
            f"--decoder {where}: {tokenizer.recipe.name} compresses images and no features that a published decoder "
            "could show."
        )
    found = pixel_decoder(where, tokenizer.latent.teacher, flag="--decoder")
    return DecoderChoice(found.decoder, False, where)


def _require_features(where: str, recipe: Any, tokenizer: LoadedTokenizer) -> None:
    """Raises ValueError unless the features are those of the tokenizer's teacher: same sizes, same weights."""
    given = tokenizer.latent.teacher
    # How the teacher's image was resized is no matter to what decodes its features.
    if given is None or not same_teacher(replace(recipe.teacher, resampling=given.resampling), given):
        of = "images themselves" if given is None else f"of {teacher_identity_text(given)}"
        raise ValueError(
            f"--decoder: {where} decodes the features of the teacher {teacher_identity_text(recipe.teacher)}, and "
            f"those of the tokenizer {tokenizer.recipe.name} are {of}: give a decoder that was trained on that teacher."
        )
