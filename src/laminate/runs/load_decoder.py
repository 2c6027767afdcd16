"""What decodes the latents of a tokenizer to images: found, loaded, and seen to be the right one."""

import os
from dataclasses import dataclass, replace
from typing import Any

from etils import epath

from laminate.models.pixel_decoder import PixelDecoder
from laminate.parallel.hosts import of_first
from laminate.pretrained.family import CONFIG
from laminate.recipes.describe import teacher_identity_text
from laminate.recipes.embedded import DECODER_NAME
from laminate.recipes.families import family_of, require_kind
from laminate.recipes.latent import LoadedTokenizer, for_latents
from laminate.recipes.modules import identified, pixel_decoder, same_teacher
from laminate.recipes.network import AttentionKernel, TeacherConfig, find_teacher
from laminate.recipes.resolve import RECIPE_FILE
from laminate.runs.pretrained import exported, load_pretrained, recipe_at, require_there
from laminate.tokenizers.base import ImageTokenizer
from laminate.tokenizers.latent_decoders import (
    DirectLatentDecoder,
    FeatureLatentDecoder,
    LatentDecoder,
    OwnLatentDecoder,
)
from laminate.train.export import DECODER, TOKENIZER

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

    With several hosts all come here, and go by what the first one finds beside the tokenizer.

    Raises ValueError for what is no decoder, or one of other latents or features, and OSError if it is not there.
    """
    if decoder == NONE:
        return _own(tokenizer)
    if decoder is not None:
        return _given(decoder, tokenizer, kernel)
    found, remark = of_first("image decoder", "\n".join(_beside(tokenizer))).split("\n")
    if not found:
        return _own(tokenizer, remark)
    try:
        return _given(found, tokenizer, kernel)
    except (ValueError, OSError) as error:
        raise ValueError(f"{error} --decoder {NONE} goes on without it.") from error


def _beside(tokenizer: LoadedTokenizer) -> tuple[str, str]:
    """The run of the image decoder that was trained on `tokenizer`, in the folder that the tokenizer's run lies in: the
    one called `embedded-decoder`, else the newest. Without one, why not, as far as that is worth a word.

    Raises ValueError or OSError if the recipe of that first one cannot be read.
    """
    folder = _home(tokenizer.source)
    default = os.fspath(folder / DECODER_NAME)
    there, ended = epath.Path(default).exists(), exported(default) != default
    if ended:
        try:
            if _reads(recipe_at(default), tokenizer):
                return default, ""
        except (ValueError, OSError) as error:
            raise ValueError(f"{error} --decoder {NONE} goes on without it.") from error
    others = [other for other in _decoders_in(folder) if _is_of(other, tokenizer)]
    if others:
        return os.fspath(max(others, key=lambda other: (other / DECODER / CONFIG).stat().mtime or 0)), ""
    return "", f" ({default} {'is of another one' if ended else 'has not ended'})" if there else ""


def _home(source: str) -> epath.Path:
    """The folder in which the run of a tokenizer lies; `source` may be the run, or what it shares, `RUN/tokenizer`."""
    place = epath.Path(os.path.expanduser(source))
    return (
        place.parent.parent
        if place.name == TOKENIZER and (place.parent / RECIPE_FILE).exists()
        else place.parent
    )


def _decoders_in(folder: epath.Path) -> list[epath.Path]:
    """The runs in `folder` that have left an image decoder."""
    if not folder.is_dir():
        return []
    return [run for run in sorted(folder.iterdir()) if (run / DECODER / CONFIG).exists()]


def _is_of(run: epath.Path, tokenizer: LoadedTokenizer) -> bool:
    """Whether the image decoder in `run` reads the latents of `tokenizer`; one that cannot be read does not."""
    try:
        return _reads(recipe_at(os.fspath(run)), tokenizer)
    except (ValueError, OSError):
        return False


def _reads(recipe: Any, tokenizer: LoadedTokenizer) -> bool:
    """Whether `recipe` is that of an image decoder on the latents of `tokenizer`."""
    if recipe is None or family_of(recipe).kind != "image-decoder" or recipe.tokenizer is None:
        return False
    return recipe.tokenizer.sha256 == tokenizer.identity.sha256


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
    shows = teacher is None or teacher.shows_images
    said = f"{tokenizer.recipe.name} itself" if shows else "nothing: its features are no pixels"
    return DecoderChoice(None, False, said + more)


def _given(where: str, tokenizer: LoadedTokenizer, kernel: AttentionKernel) -> DecoderChoice:
    require_there(where)
    recipe = recipe_at(where)
    if recipe is None:
        return _published(where, tokenizer)
    if family_of(recipe).kind == "teacher":
        _require_features(where, identified(find_teacher(where)), tokenizer)
        return DecoderChoice(load_pretrained(where, kernel=kernel).model.decoder, False, where)
    require_kind(recipe, "image-decoder", f"--decoder: {where}")
    if recipe.reads == "latents":
        if recipe.tokenizer is None:
            raise ValueError(f"--decoder: {where} does not say which tokenizer's latents it reads.")
        for_latents(recipe, tokenizer.latent, tokenizer.identity, what="decoder")
    else:
        _require_features(where, recipe.teacher, tokenizer)
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


def _require_features(where: str, teacher: TeacherConfig, tokenizer: LoadedTokenizer) -> None:
    """Raises ValueError unless features of `teacher` are those of the tokenizer's: same sizes, same weights."""
    given = tokenizer.latent.teacher
    # How the teacher's image was resized is no matter to what decodes its features.
    if given is None or not same_teacher(replace(teacher, resampling=given.resampling), given):
        of = "images themselves" if given is None else f"of {teacher_identity_text(given)}"
        raise ValueError(
            f"--decoder: {where} decodes the features of the teacher {teacher_identity_text(teacher)}, and "
            f"those of the tokenizer {tokenizer.recipe.name} are {of}: give a decoder that was trained on that teacher."
        )
