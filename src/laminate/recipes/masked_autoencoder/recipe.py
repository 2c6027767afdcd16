"""The recipe of a masked autoencoder: an encoder whose patch features others compress, and a decoder to pixels."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import get_args

from laminate.recipes.augment import RandomResizedCropConfig, ViewConfig
from laminate.recipes.checks import at_least, folder_name, one_of, within
from laminate.recipes.embedded import TEACHER_DECODER
from laminate.recipes.freezing import Frozen
from laminate.recipes.network import MASKED_AUTOENCODER, TeacherConfig, VitConfig
from laminate.recipes.serialization import FOUND, UNSAID
from laminate.recipes.training import Optimizer, Schedule


@dataclass(frozen=True)
class SeenThrough:
    """A trained tokenizer of features."""

    name: str
    """Folder or hub repository of it."""
    weights: str = field(default="", metadata={FOUND: "the weights of --tokenizer"})
    """SHA-256 of its numbers; empty until they are read."""


@dataclass(frozen=True)
class MaskedAutoencoderRecipe:
    """A vision transformer over patches of pixels, a decoder of its features, and how both are trained together.

    Half of the loss that MAE has (He et al. 2022) and half of an autoencoder's: of some images patches are hidden and
    have to be guessed, of the others none, so that features hold all that the decoder needs.
    """

    name: str
    """Canonical name of the experiment."""
    encoder: VitConfig
    """Reads patches; its normed output are the features."""
    decoder: VitConfig
    """Reads features and makes their patches."""
    schedule: Schedule
    """Length of the training and its learning rate."""
    patch_size: int = 8
    """Side of a patch, in pixels."""
    overlap: int = 4
    """Pixels around its patch that a feature has a say in when it is decoded: no seams."""
    masked_images: float = 0.5
    """Share of the images of which patches are hidden."""
    masked_patches: float = 0.5
    """Chance of a patch of such an image to be hidden."""
    feature_noise: float = field(default=0.0, metadata={UNSAID: 0.0})
    """Largest deviation of the noise that features have in training before they are decoded, one level for an image
    (RAE): a decoder that learned so shows errors with less grain, and true features with less detail. An encoder that
    learned beside it would have features that are hard to generate."""
    freeze: Frozen = field(default="nothing", metadata={UNSAID: "nothing"})
    """What stays as it is in training."""
    tokenizers: tuple[SeenThrough, ...] = field(default=(), metadata={UNSAID: []})
    """Tokenizers of the frozen encoder's features: what they give back the decoder learns to show, too, so that their
    errors show neither as seams nor as grain."""
    rebuilt_images: float = field(default=0.5, metadata={UNSAID: 0.5})
    """Share of the images whose features the decoder sees as one of them gives them back; of the others it sees the
    exact ones."""
    latent_noise: float = field(default=0.0, metadata={UNSAID: 0.0})
    """Largest deviation of the noise on a tokenizer's normalised latents then, one level for an image: the errors of
    drawn latents are like those."""
    features: str = field(default="", metadata={UNSAID: "", FOUND: "--init-from, beside --freeze encoder"})
    """Of a frozen encoder: the hash under which its features are known, that of the network which it was trained in.
    What was made of them stays true, whatever decoder shows them. Empty where the encoder is trained."""
    optimizer: Optimizer = field(default_factory=Optimizer)
    """Kind, clipping, averaged weights."""
    augment: ViewConfig = field(default_factory=RandomResizedCropConfig)
    """Random crop and flip."""
    global_batch_size: int = 512
    """Images per optimiser step, over all devices."""

    def __post_init__(self) -> None:
        folder_name("name", self.name)
        at_least("patch_size", self.patch_size, 1)
        at_least("global_batch_size", self.global_batch_size, 1)
        at_least("feature_noise", self.feature_noise, 0.0)
        at_least("latent_noise", self.latent_noise, 0.0)
        one_of("freeze", self.freeze, get_args(Frozen))
        within("overlap", self.overlap, 0, self.patch_size)
        for name in ("masked_images", "masked_patches", "rebuilt_images"):
            within(name, getattr(self, name), 0.0, 1.0)
        if self.tokenizers and self.freeze != "encoder":
            raise ValueError(
                f"tokenizers {', '.join(one.name for one in self.tokenizers)} compress the features of an encoder that "
                "stays as it is: add --freeze encoder."
            )
        if self.image_size % self.patch_size:
            raise ValueError(
                f"augment.image_size must be a multiple of patch_size {self.patch_size}, got {self.image_size}."
            )

    @property
    def image_size(self) -> int:
        return self.augment.image_size

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size

    def in_steps(self, steps: int) -> "MaskedAutoencoderRecipe":
        """The same training squeezed or stretched to `steps`."""
        optimizer = self.optimizer.in_steps(steps, self.schedule)
        return replace(self, schedule=self.schedule.in_steps(steps), optimizer=optimizer)


def as_teacher(recipe: MaskedAutoencoderRecipe, name: str) -> TeacherConfig:
    """The trained encoder, found at `name`, as the teacher of a tokenizer; with its hash where the recipe knows it."""
    return TeacherConfig(
        name,
        image_size=recipe.image_size,
        patches=recipe.grid**2,
        dim=recipe.encoder.dim,
        depth=recipe.encoder.depth,
        family=MASKED_AUTOENCODER,
        weights=recipe.features if recipe.freeze == "encoder" else "",
    )


def embedded_teacher() -> MaskedAutoencoderRecipe:
    """The network that ships in the package: 64 patches of 64 x 64 pixels, features of 192 numbers."""
    return MaskedAutoencoderRecipe(
        name="embedded-teacher",
        encoder=VitConfig(
            dim=192, depth=2, heads=4, hidden=384, mlp="gelu", positions="learned", table_std=0.5
        ),
        decoder=TEACHER_DECODER,
        schedule=Schedule(
            unit="steps",
            length=1500,
            warmup=50,
            decay=900,
            validate_every=250,
            start=1e-4,
            peak=1e-2,
            final=1e-5,
        ),
        optimizer=Optimizer(kind="muon", betas=(0.9, 0.95), clip_norm=1.0, ema_decay=0.99),
        augment=RandomResizedCropConfig(
            image_size=64, crop_area=(0.6, 1.0), crop_ratio=(0.9, 1.11), flip_rate=0.5, kernel="linear"
        ),
        global_batch_size=64,
    )


PRESETS: dict[str, Callable[[], MaskedAutoencoderRecipe]] = {"embedded-teacher": embedded_teacher}
