"""The recipe of FlatDINO: patch features of a frozen teacher to a few tokens and back.

The paper is "Laminating Representation Autoencoders for Efficient Diffusion". One recipe serves the β-VAE and
the FSQ tokenizer: only the bottleneck differs. A recipe says all that decides the result of a training; where
it runs is said by `laminate.recipes.flags`.
"""

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from laminate.recipes.augment import CenterCropConfig, RandomResizedCropConfig, ViewConfig
from laminate.recipes.bottleneck import Bottleneck, FsqBottleneck, GaussianBottleneck
from laminate.recipes.checks import at_least, folder_name, one_of
from laminate.recipes.network import TeacherConfig, VitConfig
from laminate.recipes.serialization import ABSENT
from laminate.recipes.training import Optimizer, Schedule

Reconstruction = Literal["mse", "huber"]
StatisticsView = Literal["augment", "center-crop"]
Variant = Literal["paper", "released"]


@dataclass(frozen=True)
class FlatDinoRecipe:
    """Teacher, encoder, bottleneck, decoder, and how they are trained."""

    name: str
    """Canonical name of the experiment."""
    teacher: TeacherConfig
    """Frozen network whose features are compressed."""
    tokens: int
    """Latent tokens per image."""
    encoder: VitConfig
    """Reads patch features and registers; the registers become the latent."""
    decoder: VitConfig
    """Reads the latent and one query per patch; the queries become the features."""
    bottleneck: Bottleneck
    """What happens to the latent between the two."""
    schedule: Schedule
    """Length of the training and its learning rate."""
    optimizer: Optimizer = field(default_factory=Optimizer)
    """Kind, clipping, averaged weights."""
    augment: ViewConfig = field(default_factory=RandomResizedCropConfig)
    """Random crop and flip."""
    statistics: StatisticsView = field(default="augment", metadata={ABSENT: "augment"})
    """The view in which the mean and variance of the latents are measured: `augment`, or the centre crop and flip that
    generators of the paper train on."""
    global_batch_size: int = 512
    """Images per optimiser step, over all devices."""
    encoder_disposable: int = 0
    """Extra encoder registers that are thrown away."""
    decoder_disposable: int = 0
    """Extra decoder queries that are thrown away."""
    intermediate_layer: int | None = None
    """Teacher layer (from 0) that is reconstructed as well; None for none."""
    intermediate_weight: float = 1.0
    """Weight of that reconstruction."""
    reconstruction: Reconstruction = "mse"
    """Loss between features: squared error (the paper) or Huber (the released code)."""

    def __post_init__(self) -> None:
        folder_name("name", self.name)
        for name in ("tokens", "global_batch_size"):
            at_least(name, getattr(self, name), 1)
        for name in ("encoder_disposable", "decoder_disposable", "intermediate_weight"):
            at_least(name, getattr(self, name), 0)
        one_of("statistics", self.statistics, get_args(StatisticsView))
        one_of("reconstruction", self.reconstruction, get_args(Reconstruction))
        if self.intermediate_layer is not None:
            _check_layer(self.intermediate_layer, self.teacher)
            if isinstance(self.bottleneck, FsqBottleneck):
                raise ValueError("intermediate_layer belongs to the Gaussian bottleneck, got an FSQ recipe.")

    def in_steps(self, steps: int) -> "FlatDinoRecipe":
        """The same training squeezed or stretched to `steps`."""
        optimizer = self.optimizer.in_steps(steps, self.schedule)
        return replace(self, schedule=self.schedule.in_steps(steps), optimizer=optimizer)

    @property
    def statistics_view(self) -> ViewConfig:
        """The view of `statistics`."""
        if self.statistics == "augment":
            return self.augment
        return CenterCropConfig(self.augment.image_size, flip_rate=0.5)

    @property
    def encoder_registers(self) -> int:
        return self.encoder_disposable + self.tokens

    @property
    def decoder_registers(self) -> int:
        return self.decoder_disposable + self.teacher.patches

    @property
    def encoder_out_dim(self) -> int:
        """Width of the encoder's output: twice the latent's if mean and log-variance are sampled."""
        width = self.bottleneck.width
        sampled = isinstance(self.bottleneck, GaussianBottleneck) and not self.bottleneck.deterministic
        return 2 * width if sampled else width

    @property
    def decoder_in_dim(self) -> int:
        """Width of what the decoder reads; nested dropout projects the codes itself."""
        nested = isinstance(self.bottleneck, FsqBottleneck) and self.bottleneck.nested_dropout
        return self.decoder.dim if nested else self.bottleneck.width

    @property
    def decoder_out_dim(self) -> int:
        """Width of the decoder's output: the teacher's features, and intermediate ones if asked for."""
        return self.teacher.dim * (1 if self.intermediate_layer is None else 2)

    @property
    def latent_numbers(self) -> int:
        return self.tokens * self.bottleneck.width

    @property
    def compression(self) -> float:
        """Teacher numbers per latent number."""
        return self.teacher.numbers / self.latent_numbers


def _check_layer(layer: int, teacher: TeacherConfig) -> None:
    if not 0 <= layer < teacher.depth:
        layers = f"layers 0 to {teacher.depth - 1}" if teacher.depth else "no layers"
        raise ValueError(f"intermediate_layer {layer} does not exist: teacher {teacher.name!r} has {layers}.")


def released(recipe: FlatDinoRecipe) -> FlatDinoRecipe:
    """`recipe` as the released code trains it, where that differs from the paper.

    Huber instead of squared error; linear instead of cosine decay; SwiGLU of the full width 4 dim instead of
    8 dim / 3; a KL weight of 0 still samples the posterior instead of using its mean.
    """
    bottleneck = recipe.bottleneck
    if isinstance(bottleneck, GaussianBottleneck) and bottleneck.kl_weight == 0:
        bottleneck = replace(bottleneck, deterministic=False)
    return replace(
        recipe,
        encoder=_full_width(recipe.encoder),
        decoder=_full_width(recipe.decoder),
        bottleneck=bottleneck,
        reconstruction="huber",
        schedule=replace(recipe.schedule, decay_shape="linear"),
    )


def _full_width(vit: VitConfig) -> VitConfig:
    return replace(vit, hidden=4 * vit.dim) if vit.mlp == "swiglu" else vit


def as_variant(recipe: FlatDinoRecipe, variant: Variant) -> FlatDinoRecipe:
    """`recipe`, which follows the paper, in the asked variant."""
    one_of("variant", variant, get_args(Variant))
    return released(recipe) if variant == "released" else recipe
