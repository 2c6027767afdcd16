"""The recipe of an image decoder: latents or patch features to pixels, by reconstruction and an adversary."""

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from laminate.recipes.adversarial.recipe import Adversary, Perceptual, require_source
from laminate.recipes.augment import SquashCropConfig, ViewConfig
from laminate.recipes.checks import at_least, folder_name, one_of, within
from laminate.recipes.latent import LatentSpec, TokenizerId, for_latents
from laminate.recipes.network import MASKED_AUTOENCODER, TeacherConfig, VitConfig
from laminate.recipes.serialization import ABSENT, FOUND, JSON
from laminate.recipes.training import Optimizer, Schedule

Reads = Literal["latents", "features", "reconstructed"]
NoiseKind = Literal["none", "posterior", "uniform", "half-normal"]
Pixels = Literal["l1", "l2", "charbonnier", "detail"]


@dataclass(frozen=True)
class Noise:
    """What is added to the latents in training, so that the decoder bears those of a generator."""

    kind: NoiseKind = "posterior"
    """`posterior`: the latent's own deviation, if it has one, times `strength` (FlatDINO); `uniform` or `half-normal`:
    one level per image, drawn up to `strength` or with that deviation (RAE's code, RAE's paper)."""
    strength: float = 0.2
    """See `kind`."""

    def __post_init__(self) -> None:
        one_of("noise.kind", self.kind, get_args(NoiseKind))
        at_least("noise.strength", self.strength, 0.0)


@dataclass(frozen=True)
class DecoderRecipe:
    """What is read, the network that decodes it, the losses, and how they are trained.

    `tokens`, `latent_dim`, `tokenizer` and the image size are those of the tokenizer: `for_tokenizer` and
    `for_features` set them.
    """

    name: str
    """Canonical name of the experiment."""
    network: VitConfig
    """The transformer."""
    patch_size: int
    """Side of the square of pixels that an output token becomes."""
    overlap: int = field(default=0, kw_only=True, metadata={ABSENT: 0})
    """Pixels around it that the token has a say in too: windows add up where they lie over each other, so there are no
    seams; 0 as published."""
    schedule: Schedule
    """Length of the training and its learning rate."""
    reads: Reads = "latents"
    """`latents`: of a tokenizer, by registers that become the image (FlatDINO); `features`: of the teacher itself, each
    of which becomes a patch (RAE); `reconstructed`: features as a tokenizer gives them back, decoded in that way."""
    teacher: TeacherConfig | None = None
    """The frozen network whose features are read; None where latents are."""
    from_teacher: bool = field(default=False, kw_only=True, metadata={ABSENT: False})
    """Begin with the decoder that the teacher was trained with, where it is a network of `teacher.py` and neither
    --init-from nor --restore says otherwise."""
    tokens: int = 32
    """Tokens, or features, that are read."""
    latent_dim: int = field(default=128, metadata={JSON: "features"})
    """Numbers per token."""
    tokenizer: TokenizerId | None = field(default=None, metadata={FOUND: "the tokenizer that is read"})
    """The tokenizer whose latents or features are read; None before one is chosen, and for the teacher's own."""
    noise: Noise = field(default_factory=Noise)
    """What makes the latents, or the teacher's own features, noisy in training."""
    pixels: Pixels = "l1"
    """Loss between pixels; `detail`: L1, and fine detail by its direction and strength (`losses.detail`)."""
    clip: bool = True
    """Decoded pixels beyond [0, 1] are clipped before networks look at them (FlatDINO); RAE's are not."""
    perceptual: Perceptual = field(default_factory=Perceptual)
    """Loss between what networks see."""
    adversary: Adversary = field(default_factory=Adversary)
    """The discriminator."""
    augment: ViewConfig = field(default_factory=SquashCropConfig)
    """What training sees of an image; the image size is also that of what is decoded."""
    optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(
            betas=(0.9, 0.95), weight_decay=0.0, clip_norm=None, ema_decay=0.9978
        )
    )
    """Of the decoder."""
    global_batch_size: int = 512
    """Images per optimiser step, over all devices."""

    def __post_init__(self) -> None:
        folder_name("name", self.name)
        for name in ("patch_size", "tokens", "global_batch_size"):
            at_least(name, getattr(self, name), 1)
        at_least("features", self.latent_dim, 1)
        within("overlap", self.overlap, 0, self.patch_size)
        one_of("reads", self.reads, get_args(Reads))
        one_of("pixels", self.pixels, get_args(Pixels))
        if self.image_size % self.patch_size:
            raise ValueError(
                f"An image of {self.image_size} pixels is no whole number of patches of {self.patch_size}: give "
                "images, or patches, of another size."
            )
        if self.reads == "features" and self.noise.kind == "posterior":
            raise ValueError("Features have no posterior: noise.kind must be uniform, half-normal or none.")
        if self.reads != "latents" and (self.teacher is None or self.teacher.grid != self.grid):
            grid = "none" if self.teacher is None else f"{self.teacher.grid} x {self.teacher.grid}"
            raise ValueError(
                f"A decoder of features makes one patch for each of them: the teacher's grid is {grid}, and images "
                f"of {self.image_size} pixels have {self.grid} x {self.grid} patches of {self.patch_size}."
            )
        self.adversary.require_within(self.schedule)

    @property
    def image_size(self) -> int:
        return self.augment.image_size

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size

    def in_steps(self, steps: int) -> "DecoderRecipe":
        """The same training squeezed or stretched to `steps`, with the adversary's beginnings."""
        return replace(
            self,
            schedule=self.schedule.in_steps(steps),
            optimizer=self.optimizer.in_steps(steps, self.schedule),
            adversary=self.adversary.in_steps(steps, self.schedule),
        )


def for_tokenizer(recipe: DecoderRecipe, latent: LatentSpec, identity: TokenizerId) -> DecoderRecipe:
    """`recipe` for the latents of a tokenizer, or for the features that it gives back; of one without a posterior, no
    noise is made of it.

    Raises ValueError if it was trained on those of another one, or where there are no features.
    """
    if recipe.reads == "reconstructed":
        recipe, latent = _for_reconstructed(recipe, latent, identity)
    elif recipe.reads == "latents":
        recipe = replace(recipe, teacher=None)
    silent = recipe.noise.kind == "posterior" and not latent.posterior
    fitted = for_latents(recipe, latent, identity, what="decoder")
    return replace(fitted, noise=Noise("none", 0.0)) if silent else fitted


def _for_reconstructed(
    recipe: DecoderRecipe, latent: LatentSpec, identity: TokenizerId
) -> tuple[DecoderRecipe, LatentSpec]:
    """`recipe` for features of the tokenizer's teacher, and these in the place of the latents."""
    teacher = latent.teacher
    if teacher is None:
        raise ValueError(
            f"The decoder {recipe.name!r} reads the features that a tokenizer gives back, and {identity.name} "
            "compresses images themselves: add --set reads=latents."
        )
    augment = replace(recipe.augment, image_size=latent.image_size)
    patch = max(1, latent.image_size // teacher.grid)
    recipe = replace(
        recipe, teacher=teacher, patch_size=patch, overlap=min(recipe.overlap, patch), augment=augment
    )
    return recipe, replace(latent, tokens=teacher.patches, latent_dim=teacher.dim)


def for_features(recipe: DecoderRecipe, teacher: TeacherConfig) -> DecoderRecipe:
    """`recipe` for the features of another teacher, with patches that fill an image of the size that it is shown.

    How images are brought to the teacher's own size stays the recipe's.
    """
    if recipe.reads != "features":
        raise ValueError(
            f"The decoder {recipe.name!r} reads what a tokenizer makes: give it a --tokenizer, not a --teacher."
        )
    size = teacher.crop_size
    if recipe.teacher is not None and teacher.family:
        teacher = replace(teacher, resampling=recipe.teacher.resampling)
    return replace(
        recipe,
        teacher=teacher,
        tokens=teacher.patches,
        latent_dim=teacher.dim,
        patch_size=size // teacher.grid,
        augment=replace(recipe.augment, image_size=size),
    )


def begins_with(recipe: DecoderRecipe) -> str | None:
    """The network whose decoder the training begins with, see `DecoderRecipe.from_teacher`."""
    teacher = recipe.teacher if recipe.from_teacher and recipe.reads != "latents" else None
    return None if teacher is None or teacher.family != MASKED_AUTOENCODER else teacher.name


def at_image_size(recipe: DecoderRecipe, side: int) -> DecoderRecipe:
    """`recipe` for images of another side: a decoder of features makes as many patches of another size."""
    augment = replace(recipe.augment, image_size=side)
    if recipe.reads == "latents":
        return replace(recipe, augment=augment)
    return replace(recipe, augment=augment, patch_size=max(1, side // recipe.grid))


def require_weights(recipe: DecoderRecipe) -> None:
    """Raises ValueError if LPIPS is a loss, and nobody said where its weights are."""
    require_source(recipe.perceptual, recipe.name)
