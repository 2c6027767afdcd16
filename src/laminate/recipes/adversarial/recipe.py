"""The losses that look at images as a whole: a perceptual distance, and a discriminator with its own training."""

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from laminate.recipes.checks import above, at_least, one_of, rate, within
from laminate.recipes.network import own_teacher
from laminate.recipes.serialization import ABSENT, FOUND
from laminate.recipes.training import Optimizer, Schedule, StepCounts, Unit

PerceptualKind = Literal["lpips", "embedded", "pyramid", "none"]
AdversaryKind = Literal["dino", "windows", "patchgan", "details", "none"]
DiscriminatorLoss = Literal["hinge", "vanilla"]
AdversarialLoss = Literal["mean", "non-saturating"]
PatchNorm = Literal["batch", "act", "spectral", "group", "none"]
HeadNorm = Literal["sample", "group"]


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
    """Of the adversarial loss, beside the balance of the gradients if there is one."""
    balanced: bool = field(default=True, metadata={ABSENT: True})
    """Bring the gradient of the adversarial loss at the last layer to the size of the others' (VQGAN), before the
    weight."""
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

    def starts(self, counts: StepCounts, unit: Unit) -> tuple[int, int]:
        """The steps at which the discriminator begins to train, and the other network to learn from it."""
        each = counts.per_epoch if unit == "epochs" else 1
        return self.discriminator_start * each, self.adversarial_start * each

    def rate(self, schedule: Schedule) -> float:
        """The learning rate of the discriminator over that of the other network, whose `schedule` is given."""
        return (self.peak or schedule.peak) / schedule.peak

    def in_steps(self, steps: int, schedule: Schedule) -> "Adversary":
        """The same in a training of `steps` in place of `schedule`."""
        share = lambda begin: begin * steps // schedule.length
        return replace(
            self,
            discriminator_start=share(self.discriminator_start),
            adversarial_start=share(self.adversarial_start),
            optimizer=self.optimizer.in_steps(steps, schedule),
        )

    def require_within(self, schedule: Schedule) -> None:
        """Raises ValueError if it would begin after the end of the training."""
        for name in ("discriminator_start", "adversarial_start"):
            begin = getattr(self, name)
            if self.kind != "none" and begin >= schedule.length:
                raise ValueError(
                    f"adversary.{name} is {begin}, and the training ends after {schedule.length} {schedule.unit}: "
                    "begin earlier, train longer, or take adversary.kind none."
                )


def require_source(perceptual: Perceptual, name: str) -> None:
    """Raises ValueError if LPIPS is a loss of the recipe `name`, and nobody said where its weights are."""
    if perceptual.kind == "lpips" and not perceptual.source:
        raise ValueError(
            f"{name} compares images by LPIPS, whose weights are not there: give --lpips FILE (VGG-16 and its heads), "
            "or --perceptual embedded or pyramid, which need none."
        )


def with_backbone(adversary: Adversary, source: str) -> Adversary:
    """`adversary` on another frozen network; of one that was trained here, its heads look at every layer."""
    own = own_teacher(source)
    taps = adversary.taps if own is None else tuple(range(own.depth - 1))
    return replace(adversary, source=source if own is None else own.name, taps=taps, weights="")
