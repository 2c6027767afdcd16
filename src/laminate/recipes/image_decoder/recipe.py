"""The recipe of an image decoder: latents or patch features to pixels, by reconstruction and an adversary."""

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from laminate.recipes.augment import SquashCropConfig, ViewConfig
from laminate.recipes.checks import above, at_least, folder_name, one_of, rate, within
from laminate.recipes.latent import LatentSpec, TokenizerId, for_latents
from laminate.recipes.network import TeacherConfig, VitConfig
from laminate.recipes.serialization import ABSENT, FOUND, JSON
from laminate.recipes.training import Optimizer, Schedule, StepCounts

Reads = Literal["latents", "features"]
NoiseKind = Literal["none", "posterior", "uniform", "half-normal"]
Pixels = Literal["l1", "l2", "charbonnier"]
PerceptualKind = Literal["lpips", "embedded", "pyramid", "none"]
AdversaryKind = Literal["dino", "windows", "patchgan", "details", "none"]
DiscriminatorLoss = Literal["hinge", "vanilla"]
AdversarialLoss = Literal["mean", "non-saturating"]
PatchNorm = Literal["batch", "act", "spectral", "group", "none"]
HeadNorm = Literal["sample", "group"]


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
class Perceptual:
    """A loss between what networks see in two images."""

    kind: PerceptualKind = "lpips"
    """`lpips` needs weights of VGG-16 and of its heads; `embedded` looks through the network in the package
    (`models.vit_distance`, which is small: its weight is about 100); `pyramid` needs no weights
    (`losses.pyramid.pyramid_distance`)."""
    weight: float = 1.0
    """Beside the pixel loss."""
    source: str = ""
    """File or folder of the LPIPS weights."""
    weights: str = field(default="", metadata={FOUND: "the weights at perceptual.source"})
    """SHA-256 of the weights of the network; empty until they are read."""

    def __post_init__(self) -> None:
        one_of("perceptual.kind", self.kind, get_args(PerceptualKind))
        at_least("perceptual.weight", self.weight, 0.0)


@dataclass(frozen=True)
class Adversary:
    """The discriminator, its losses, and when it acts."""

    kind: AdversaryKind = "dino"
    """`dino`: heads on the features of a frozen DINO; `windows`: the same heads on the pixels of windows, without
    weights; `patchgan`: convolutions; `details`: the same on what an image of half the size cannot hold; `none`: no
    adversary."""
    source: str = "dino-s8"
    """The frozen network: a known name, file or folder of a DINO, or `embedded`."""
    weights: str = field(default="", metadata={FOUND: "the weights at adversary.source"})
    """SHA-256 of its weights; empty until they are read, and for the other kinds."""
    antialias: bool = True
    """Images are resized to what DINO sees with a low-pass filter (FlatDINO), or without (RAE)."""
    taps: tuple[int, ...] = (2, 5, 8, 11)
    """Layers of DINO that a head looks at, beside the last."""
    kernel: int = 9
    """Tokens in a row that a head looks at; for `windows`, too."""
    norm: HeadNorm = "sample"
    """Norm inside the heads: over the tokens of an image, or of groups of channels."""
    window: int = 8
    """Side of the windows of `windows`, in pixels."""
    layers: int = 3
    """Strided convolutions of `patchgan` and `details`."""
    channels: int = 64
    """Channels of its first convolution."""
    patch_norm: PatchNorm = "spectral"
    """Norm of its convolutions."""
    discriminator_loss: DiscriminatorLoss = "hinge"
    """Loss of the discriminator."""
    adversarial_loss: AdversarialLoss = "mean"
    """Loss of the decoder: minus the mean logit, or softplus of minus the logit."""
    weight: float = 0.75
    """Of the adversarial loss, beside the adaptive balance of the gradients."""
    largest_balance: float = 1e4
    """Bound of that balance."""
    discriminator_start: int = 6
    """When the discriminator begins to train, in the unit of the schedule."""
    adversarial_start: int = 8
    """When the decoder begins to learn from it, in the unit of the schedule."""
    augment_rate: float = 1.0
    """Chance that an image is moved, and that its colours are changed, before it is looked at (DiffAug)."""
    cutout: float = 0.0
    """Side of the square that is cut out of it, as a share of the image's; 0 cuts none."""
    r1: float = 0.0
    """Weight of the squared gradient of the logits on real images (R1)."""
    consistency: float = 0.0
    """Weight of the squared change of the logits by the augmentation."""
    peak: float | None = None
    """Largest learning rate of the discriminator; None takes the decoder's."""
    optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(betas=(0.9, 0.95), weight_decay=0.0, clip_norm=None)
    )
    """Of the discriminator."""

    def __post_init__(self) -> None:
        one_of("adversary.kind", self.kind, get_args(AdversaryKind))
        one_of("adversary.norm", self.norm, get_args(HeadNorm))
        one_of("adversary.patch_norm", self.patch_norm, get_args(PatchNorm))
        one_of("adversary.discriminator_loss", self.discriminator_loss, get_args(DiscriminatorLoss))
        one_of("adversary.adversarial_loss", self.adversarial_loss, get_args(AdversarialLoss))
        for name in ("kernel", "window", "layers", "channels"):
            at_least(f"adversary.{name}", getattr(self, name), 1)
        for name in ("weight", "discriminator_start", "adversarial_start", "r1", "consistency"):
            at_least(f"adversary.{name}", getattr(self, name), 0)
        above("adversary.largest_balance", self.largest_balance, 0.0)
        within("adversary.augment_rate", self.augment_rate, 0.0, 1.0)
        rate("adversary.cutout", self.cutout)
        if self.peak is not None:
            above("adversary.peak", self.peak, 0.0)
        if self.optimizer.kind == "schedule-free":
            raise ValueError(
                "adversary.optimizer must be adamw or muon: the decoder learns from the weights as they are."
            )
        if self.adversarial_start < self.discriminator_start:
            raise ValueError(
                f"adversary.adversarial_start must not be before discriminator_start ({self.discriminator_start}), got "
                f"{self.adversarial_start}: an untrained discriminator would teach the decoder."
            )


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
    of which becomes a patch (RAE)."""
    teacher: TeacherConfig | None = None
    """The frozen network whose features are read; None where latents are."""
    tokens: int = 32
    """Tokens that are read."""
    latent_dim: int = field(default=128, metadata={JSON: "features"})
    """Numbers per token."""
    tokenizer: TokenizerId | None = field(default=None, metadata={FOUND: "the tokenizer that is read"})
    """The tokenizer whose latents are read; None before one is chosen, and for features."""
    noise: Noise = field(default_factory=Noise)
    """What makes the latents noisy in training."""
    pixels: Pixels = "l1"
    """Loss between pixels."""
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
        if self.reads == "features" and (self.teacher is None or self.teacher.grid != self.grid):
            grid = "none" if self.teacher is None else f"{self.teacher.grid} x {self.teacher.grid}"
            raise ValueError(
                f"A decoder of features makes one patch for each of them: the teacher's grid is {grid}, and images "
                f"of {self.image_size} pixels have {self.grid} x {self.grid} patches of {self.patch_size}."
            )
        for name in ("discriminator_start", "adversarial_start"):
            begin = getattr(self.adversary, name)
            if self.adversary.kind != "none" and begin >= self.schedule.length:
                raise ValueError(
                    f"adversary.{name} is {begin}, and the training ends after {self.schedule.length} "
                    f"{self.schedule.unit}: begin earlier, train longer, or take adversary.kind none."
                )

    @property
    def image_size(self) -> int:
        return self.augment.image_size

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size

    def starts(self, counts: StepCounts) -> tuple[int, int]:
        """The steps at which the discriminator begins to train, and the decoder to learn from it."""
        unit = counts.per_epoch if self.schedule.unit == "epochs" else 1
        return self.adversary.discriminator_start * unit, self.adversary.adversarial_start * unit

    def in_steps(self, steps: int) -> "DecoderRecipe":
        """The same training squeezed or stretched to `steps`, with the adversary's beginnings."""
        share = lambda begin: begin * steps // self.schedule.length
        adversary = replace(
            self.adversary,
            discriminator_start=share(self.adversary.discriminator_start),
            adversarial_start=share(self.adversary.adversarial_start),
            optimizer=self.adversary.optimizer.in_steps(steps, self.schedule),
        )
        optimizer = self.optimizer.in_steps(steps, self.schedule)
        return replace(self, schedule=self.schedule.in_steps(steps), optimizer=optimizer, adversary=adversary)


def for_tokenizer(recipe: DecoderRecipe, latent: LatentSpec, identity: TokenizerId) -> DecoderRecipe:
    """`recipe` for the latents of a tokenizer; of one without a posterior, no noise is made of it.

    Raises ValueError if it was trained on those of another one.
    """
    silent = recipe.noise.kind == "posterior" and not latent.posterior
    fitted = for_latents(recipe, latent, identity, what="decoder")
    return replace(fitted, noise=Noise("none", 0.0)) if silent else fitted


def for_features(recipe: DecoderRecipe, teacher: TeacherConfig) -> DecoderRecipe:
    """`recipe` for the features of another teacher, with patches that fill an image of the size that it is shown.

    How images are brought to the teacher's own size stays the recipe's.
    """
    if recipe.reads != "features":
        raise ValueError(
            f"The decoder {recipe.name!r} reads latents: give it a --tokenizer, not a --teacher."
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


def at_image_size(recipe: DecoderRecipe, side: int) -> DecoderRecipe:
    """`recipe` for images of another side: a decoder of features makes as many patches of another size."""
    augment = replace(recipe.augment, image_size=side)
    if recipe.reads == "latents":
        return replace(recipe, augment=augment)
    return replace(recipe, augment=augment, patch_size=max(1, side // recipe.grid))


def require_weights(recipe: DecoderRecipe) -> None:
    """Raises ValueError if LPIPS is a loss, and nobody said where its weights are."""
    if recipe.perceptual.kind == "lpips" and not recipe.perceptual.source:
        raise ValueError(
            f"{recipe.name} compares images by LPIPS, whose weights are not there: give --lpips FILE (VGG-16 and its "
            "heads), or --perceptual embedded or pyramid, which need none."
        )
