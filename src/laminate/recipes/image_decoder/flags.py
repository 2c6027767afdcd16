"""The command line of an image decoder's training, and what it changes in a recipe."""

from dataclasses import dataclass
from typing import ClassVar

from laminate.recipes.adversarial.flags import LossFlags, with_losses
from laminate.recipes.image_decoder.recipe import DecoderRecipe, for_features
from laminate.recipes.network import find_teacher


@dataclass(frozen=True)
class DecoderFlags(LossFlags):
    """Train an image decoder on a frozen tokenizer, or on the features of a frozen network."""

    tokenizer: str | None = None
    """Run, saved folder or hub repository of the tokenizer whose latents, or reconstructed features, are read. Default:
    runs/embedded-vae, trained first if need be."""
    teacher: str | None = None
    """For experiments that read features (rae-xl): the frozen network, as in vae.py. Default: the recipe's."""
    inception: str | None = None
    """File or folder of FID's Inception-v3: validation then measures rFID as well."""
    best_by: str | None = None
    """Which validation figure chooses the weights that are exported: loss, psnr, ssim, perceptual, rfid, or one that
    --evaluate asks for. Default: none, those of the last step: an adversary makes images better and their loss
    worse."""

    FIGURES: ClassVar[tuple[str, ...]] = ("loss", "psnr", "ssim", "perceptual", "rfid")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.best_by == "rfid" and self.inception is None:
            raise ValueError("--best-by rfid needs the weights of Inception-v3: give --inception.")


def apply_flags(recipe: DecoderRecipe, flags: DecoderFlags) -> DecoderRecipe:
    """`recipe` with the teacher, the losses and the adversary that the flags name. Raises ValueError and OSError."""
    if flags.tokenizer is not None and recipe.reads == "features":
        raise ValueError(
            f"--tokenizer: {recipe.name} reads features and no latents, give it a --teacher; or add --set "
            "reads=reconstructed, for the features that a tokenizer gives back."
        )
    if flags.teacher is not None:
        recipe = for_features(recipe, find_teacher(flags.teacher))
    return with_losses(recipe, flags)
