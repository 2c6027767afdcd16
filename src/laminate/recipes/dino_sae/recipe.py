"""The recipe of one stage of DINO-SAE's training (arXiv:2601.22904; HAE in its second version).

"Open" in a docstring says that neither paper nor code states the value.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from laminate.recipes.adversarial.recipe import Adversary, Perceptual, require_source
from laminate.recipes.augment import ResizeCropConfig, ViewConfig
from laminate.recipes.checks import at_least, folder_name, one_of
from laminate.recipes.latent import LatentSpec
from laminate.recipes.network import MASKED_AUTOENCODER, TeacherConfig
from laminate.recipes.serialization import FOUND, UNSAID
from laminate.recipes.training import Optimizer, Schedule

Trains = Literal["stem-and-decoder", "decoder"]
BlockKind = Literal["residual", "attention"]
Up = Literal["nearest", "shuffle"]
OutputRange = Literal["unit", "signed", "normalised"]
NoisePer = Literal["image", "batch"]
Judged = Literal["clean", "noisy"]

DECODED_AT = {"dinov3-l": 14.0}
"""The length that HAE brings drawn tokens of a frozen network to, the best of those that it tried."""


@dataclass(frozen=True)
class ConvDecoderConfig:
    """The convolutional decoder; lists run from the finest stage to the coarsest."""

    widths: tuple[int, ...] = (256, 512, 512, 1024, 1024)
    """Channels of each stage; every stage but the coarsest doubles the image."""
    depths: tuple[int, ...] = (5, 5, 3, 3, 3)
    """Blocks of each stage."""
    blocks: tuple[BlockKind, ...] = ("residual", "residual", "residual", "attention", "attention")
    """Kind of the blocks: two convolutions, or linear attention and a gated convolution."""
    head_dim: int = 32
    """Width of a head of linear attention."""
    up: Up = "nearest"
    """How an image is doubled: repeated places behind a convolution, or channels that become places."""
    output: OutputRange = "unit"
    """What its numbers are: pixels in [0, 1], in [-1, 1], or normalised as the teacher sees them. Open."""

    def __post_init__(self) -> None:
        if not len(self.widths) == len(self.depths) == len(self.blocks):
            raise ValueError(
                f"decoder.widths, depths and blocks have a value for each stage, got {len(self.widths)}, "
                f"{len(self.depths)} and {len(self.blocks)}."
            )
        for width in (*self.widths, self.head_dim):
            at_least("decoder.widths and head_dim", width, 1)
        for depth in self.depths:
            at_least("decoder.depths", depth, 1)
        for kind in self.blocks:
            one_of("decoder.blocks", kind, get_args(BlockKind))
        for width, kind in zip(self.widths, self.blocks, strict=True):
            if kind == "attention" and width % self.head_dim:
                raise ValueError(
                    f"decoder.head_dim must divide the widths of the stages with attention, got {self.head_dim} for "
                    f"{width} channels."
                )
        for fine, coarse in zip(self.widths, self.widths[1:], strict=False):
            if 4 * fine % coarse:
                raise ValueError(
                    f"decoder.widths has {fine} behind {coarse}: the {coarse} channels are repeated to four times "
                    f"{fine}, which has to be a multiple of them."
                )
        one_of("decoder.up", self.up, get_args(Up))
        one_of("decoder.output", self.output, get_args(OutputRange))

    @property
    def patch_size(self) -> int:
        """Pixels along a side for each latent."""
        return 2 ** (len(self.widths) - 1)


@dataclass(frozen=True)
class LatentNoise:
    """What is added to the latents in training: `tau u noise`, with `u` uniform in [0, 1)."""

    start: float = 0.0
    """`tau` of the first step; 0 with an `end` of 0 for no noise."""
    end: float = 0.0
    """`tau` after `ramp`, and from then on."""
    ramp: int = 0
    """While `tau` grows from `start` to `end`, in the unit of the schedule."""
    per: NoisePer = "image"
    """Whether every image draws its own `u` (the code that the authors built on) or a whole batch has one (their
    text)."""

    def __post_init__(self) -> None:
        for name in ("start", "end", "ramp"):
            at_least(f"noise.{name}", getattr(self, name), 0)
        one_of("noise.per", self.per, get_args(NoisePer))

    @property
    def acts(self) -> bool:
        return max(self.start, self.end) > 0

    def in_steps(self, steps: int, schedule: Schedule) -> "LatentNoise":
        """The same in a training of `steps` in place of `schedule`."""
        return replace(self, ramp=self.ramp * steps // schedule.length)


@dataclass(frozen=True)
class DinoSaeRecipe:
    """Frozen network, stem, decoder, what of them is trained in this stage, and by which losses."""

    name: str
    """Canonical name of the experiment."""
    former: str = field(kw_only=True)
    """The name of the stage whose weights this one begins with; empty for the first."""
    teacher: TeacherConfig
    """Frozen network: its blocks stand behind the stem, and the whole of it says what their tokens should be. That the
    stem sees pixels normalised as it does, and that patch tokens behind its last norm are compared, is open."""
    schedule: Schedule
    """Length of the stage and its learning rate; warm-up and decay are open."""
    stem: tuple[int, ...] = (64, 128, 256)
    """Channels of the stem's convolutions but for the last, which gives the tokens; each halves the image."""
    decoder: ConvDecoderConfig = field(default_factory=ConvDecoderConfig)
    """From tokens to pixels."""
    trains: Trains = "stem-and-decoder"
    """What this stage changes; all else stays bit for bit as it is."""
    alignment: float = 0.0
    """Weight of 1 - cos between student and teacher, mean over tokens (that it is the mean is open)."""
    pixels: float = 1.0
    """Weight of the mean absolute error of pixels (that it is the mean is open; in the first version its weight
    too)."""
    perceptual: Perceptual = field(default_factory=Perceptual)
    """Loss between what networks see (LPIPS; which backbone is open, VGG-16 here)."""
    adversary: Adversary = field(default_factory=lambda: Adversary("none"))
    """The discriminator."""
    judged: Judged = "clean"
    """Whether the discriminator is trained on images of latents without noise, or with it. Open."""
    noise: LatentNoise = field(default_factory=LatentNoise)
    """What makes the latents noisy in training."""
    augment: ViewConfig = field(default_factory=ResizeCropConfig)
    """What training sees of an image. Open."""
    optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(weight_decay=0.0, clip_norm=None, ema_decay=0.9999)
    )
    """Of stem and decoder; that gradients are not clipped is open."""
    global_batch_size: int = 512
    """Images per optimiser step, over all devices."""
    token_norm: float | None = field(default=None, metadata={UNSAID: None, FOUND: "the frozen network"})
    """Usual length of a token behind the frozen network's last norm; None before its weights are read."""

    def __post_init__(self) -> None:
        folder_name("name", self.name)
        at_least("global_batch_size", self.global_batch_size, 1)
        for name in ("alignment", "pixels"):
            at_least(name, getattr(self, name), 0.0)
        one_of("trains", self.trains, get_args(Trains))
        one_of("judged", self.judged, get_args(Judged))
        for width in self.stem:
            at_least("stem", width, 1)
        if self.alignment and self.trains == "decoder":
            raise ValueError(
                "alignment teaches the stem, and this stage trains the decoder alone: set it to 0, or trains to "
                "stem-and-decoder."
            )
        self.adversary.require_within(self.schedule)
        self._require_one_grid()

    def _require_one_grid(self) -> None:
        teacher, patch = self.teacher, self.teacher.patch_size
        if self.augment.image_size != teacher.image_size:
            raise ValueError(
                f"augment.image_size is {self.augment.image_size} and the teacher sees images of "
                f"{teacher.image_size}: give both the same, as --image-size does."
            )
        for what, size, number in (
            ("stem", 2 ** (len(self.stem) + 1), "widths of the stem"),
            ("decoder", self.decoder.patch_size, "stages of the decoder"),
        ):
            if size != patch:
                raise ValueError(
                    f"A token of the {what} stands for {size} pixels along a side, and one of the teacher for {patch}: "
                    f"change the number of {number}."
                )
        if self.decoder.widths[-1] % teacher.dim:
            raise ValueError(
                f"decoder.widths ends with {self.decoder.widths[-1]}, which is no multiple of the teacher's "
                f"{teacher.dim} numbers, that are repeated to it."
            )

    @property
    def image_size(self) -> int:
        return self.augment.image_size

    def tau_steps(self, per_epoch: int) -> int:
        """The steps in which the noise grows, where an epoch has so many."""
        return self.noise.ramp * (per_epoch if self.schedule.unit == "epochs" else 1)

    def in_steps(self, steps: int) -> "DinoSaeRecipe":
        """The same stage squeezed or stretched to `steps`, with the beginnings of its adversary and its noise."""
        return replace(
            self,
            schedule=self.schedule.in_steps(steps),
            optimizer=self.optimizer.in_steps(steps, self.schedule),
            adversary=self.adversary.in_steps(steps, self.schedule),
            noise=self.noise.in_steps(steps, self.schedule),
        )


def latent_of(recipe: DinoSaeRecipe) -> LatentSpec:
    """The latents of the autoencoder: the tokens of the frozen network as they leave it."""
    teacher = recipe.teacher
    return LatentSpec(
        teacher.patches,
        teacher.dim,
        recipe.image_size,
        normalised=False,
        grid=(teacher.grid, teacher.grid),
        token_norm=DECODED_AT.get(teacher.name, recipe.token_norm),
    )


def at_image_size(recipe: DinoSaeRecipe, side: int) -> DinoSaeRecipe:
    """`recipe` for images of another side, which its teacher sees as they are.

    Raises ValueError for no whole patches, and for a teacher that was trained here for one size.
    """
    patch = recipe.teacher.patch_size
    if recipe.teacher.family == MASKED_AUTOENCODER and side != recipe.teacher.image_size:
        raise ValueError(
            f"the teacher {recipe.teacher.name!r} sees images of {recipe.teacher.image_size} pixels, and of no other "
            "size: give another --teacher."
        )
    if side % patch:
        raise ValueError(
            f"the teacher has patches of {patch} pixels, and {side} is no multiple of that: "
            f"{max(1, round(side / patch)) * patch} is the nearest."
        )
    teacher = replace(recipe.teacher, image_size=side, patches=(side // patch) ** 2)
    return replace(recipe, teacher=teacher, augment=replace(recipe.augment, image_size=side))


def require_weights(recipe: DinoSaeRecipe) -> None:
    """Raises ValueError if LPIPS is a loss, and nobody said where its weights are."""
    require_source(recipe.perceptual, recipe.name)


def require_former(recipe: DinoSaeRecipe, former: Any, *, begins: object, alone: bool) -> None:
    """Raises ValueError for a later stage that `begins` with no weights and is not to stand `alone`, and for one that
    begins with those of another network. `former` is the recipe of what it begins with, None if it has none.
    """
    if recipe.former and begins is None and not alone:
        raise ValueError(
            f"{recipe.name} begins with the weights of {recipe.former}: give --init-from with a run of that, train all "
            "stages with --stages, or say --alone to begin without."
        )
    if former is None:
        return
    if not isinstance(former, DinoSaeRecipe):
        raise ValueError(
            f"--init-from: {former.name!r} is no stage of DINO-SAE, and {recipe.name} begins with one."
        )
    different = _different_network(former, recipe)
    if different:
        raise ValueError(
            f"--init-from: {former.name} and {recipe.name} have different networks, {different}: begin with weights of "
            "the same."
        )


def _different_network(one: DinoSaeRecipe, other: DinoSaeRecipe) -> str:
    """The first field in which the networks of two stages differ, and both values; empty if they are the same."""
    for name in ("stem", "decoder"):
        if getattr(one, name) != getattr(other, name):
            return f"{name} {getattr(one, name)} and {getattr(other, name)}"
    for name in ("dim", "depth", "weights"):
        a, b = getattr(one.teacher, name), getattr(other.teacher, name)
        if a != b and (name != "weights" or (a and b)):
            return f"teacher.{name} {a} and {b}"
    return ""
