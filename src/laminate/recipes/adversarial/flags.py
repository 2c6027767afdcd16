"""The flags of a perceptual distance and a discriminator, for every family that has both."""

from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

from laminate.recipes.adversarial.recipe import (
    Adversary,
    AdversaryKind,
    Perceptual,
    PerceptualKind,
    with_backbone,
)
from laminate.recipes.flags import RunFlags


@dataclass(frozen=True)
class LossFlags(RunFlags):
    """What every training has, and what makes its images look right."""

    perceptual: PerceptualKind | None = None
    """lpips, embedded (by the features of the network in the package), pyramid (needs no weights) or none. Default:
    the recipe's."""
    lpips: str | None = None
    """File or folder of the LPIPS weights: VGG-16 and its heads, together; for --perceptual and --evaluate lpips."""
    adversary: AdversaryKind | None = None
    """dino; windows, patchgan or details, which need no weights; or none. Default: the recipe's."""
    adversary_backbone: str | None = None
    """The frozen network of the discriminator: a known name, file or folder of a DINO, embedded, or the run of
    teacher.py. Default: dino-s8."""


@runtime_checkable
class HasLosses(Protocol):
    """A recipe with both."""

    @property
    def name(self) -> str: ...
    @property
    def perceptual(self) -> Perceptual: ...
    @property
    def adversary(self) -> Adversary: ...


R = TypeVar("R", bound=HasLosses)


def with_losses(recipe: R, flags: LossFlags) -> R:
    """`recipe` as the flags change its losses. Raises ValueError for flags that say what the others leave out."""
    kind, adversary = flags.perceptual or recipe.perceptual.kind, recipe.adversary
    if kind != "lpips" and flags.lpips is not None and "lpips" not in flags.asked:
        raise ValueError(f"--lpips: {recipe.name} compares images by {kind}; add --perceptual lpips.")
    if flags.adversary is not None:
        adversary = replace(adversary, kind=flags.adversary)
    if flags.adversary_backbone is not None:
        if adversary.kind != "dino":
            raise ValueError(
                f"--adversary-backbone: the adversary is {adversary.kind}; add --adversary dino."
            )
        adversary = with_backbone(adversary, flags.adversary_backbone)
    source = flags.lpips if kind == "lpips" and flags.lpips is not None else recipe.perceptual.source
    perceptual = replace(recipe.perceptual, kind=kind, source=source)
    changed: dict[str, Any] = {"perceptual": perceptual, "adversary": adversary}
    return replace(recipe, **changed)  # pyright: ignore[reportCallIssue, reportArgumentType, reportUnknownVariableType]
