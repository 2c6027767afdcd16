"""The recipe of a generator: a diffusion transformer trained by flow matching on a tokenizer's latents."""

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from laminate.recipes.augment import CenterCropConfig, ViewConfig
from laminate.recipes.checks import above, at_least, folder_name, one_of, rate, within
from laminate.recipes.latent import TokenizerId
from laminate.recipes.network import VitConfig
from laminate.recipes.serialization import FOUND, JSON
from laminate.recipes.training import Optimizer, Schedule

Prediction = Literal["velocity", "data"]
Times = Literal["uniform", "logit-normal"]


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance that suits a trained generator: what it is sampled with unless told otherwise."""

    scale: float = 1.0
    """`v_null + scale (v_label - v_null)`; 1 is no guidance."""
    interval: tuple[float, float] = (0.0, 1.0)
    """The times between which it acts."""

    def __post_init__(self) -> None:
        at_least("guidance.scale", self.scale, 0.0)
        low, high = self.interval
        within("guidance.interval[0]", low, 0.0, 1.0)
        within("guidance.interval[1]", high, low, 1.0)


@dataclass(frozen=True)
class GeneratorRecipe:
    """The network, what it predicts at which times, and how it is trained.

    `tokens`, `latent_dim`, `classes` and `tokenizer` are those of the tokenizer and its data: `for_latents` sets them.
    """

    name: str
    """Canonical name of the experiment."""
    network: VitConfig
    """The diffusion transformer; with `head`, its encoder."""
    schedule: Schedule
    """Length of the training and its learning rate."""
    head: VitConfig | None = None
    """Wide, shallow transformer behind it (DiT^DH), conditioned on its tokens; None for a plain DiT."""
    tokens: int = 32
    """Latent tokens per image."""
    latent_dim: int = field(default=128, metadata={JSON: "features"})
    """Numbers per token."""
    classes: int = 1000
    """Classes to condition on; 0 for an unconditional generator."""
    class_names: tuple[str, ...] = ()
    """What the classes are called, in the order of their numbers; empty if nobody said."""
    class_dropout: float = 0.1
    """Chance that a label is replaced by the null class in training; 0 leaves no null class, and no guidance: images
    without a label then have a condition of time alone."""
    time_shift: float | None = field(default=None, metadata={JSON: "kappa"})
    """Time shift in training and sampling; None derives it from the latent's size."""
    time_shift_base: int | None = field(default=4096, metadata={JSON: "kappa_base"})
    """Numbers of a latent whose derived shift is 1; None derives none."""
    times: Times = "uniform"
    """How training times are drawn, before the shift."""
    prediction: Prediction = "velocity"
    """What the network returns."""
    cosine_weight: float = 0.0
    """Weight of the angle between predicted and true velocity, beside the squared error."""
    steps: int = 50
    """Sampling steps."""
    min_one_minus_t: float | None = field(default=None, metadata={JSON: "floor"})
    """The least 1 - t by which a difference of data is divided, in training and sampling; None is that of the released
    code, 1 / (steps * shift). A loss weighs an image by the square of its inverse."""
    normalize: bool = False
    """Latents are normalised by the statistics of the tokenizer."""
    sample_latents: bool = False
    """Latents are drawn from the posterior instead of being its mean."""
    rotary: bool = True
    """Queries and keys are rotated by their position, beside the position table."""
    guidance: Guidance = field(default_factory=Guidance)
    """How it is sampled unless told otherwise."""
    tokenizer: TokenizerId | None = field(default=None, metadata={FOUND: "the tokenizer that is read"})
    """The tokenizer whose latents it is trained on; None before one is chosen."""
    augment: ViewConfig = field(default_factory=lambda: CenterCropConfig(flip_rate=0.5))
    """Centre crop and flip, as RAE and the paper have it; the image size is that of the tokenizer's teacher."""
    optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(
            betas=(0.9, 0.95), weight_decay=1e-4, clip_norm=1.0, ema_decay=0.9995
        )
    )
    """Kind, clipping, averaged weights."""
    global_batch_size: int = 1024
    """Images per optimiser step, over all devices."""

    def __post_init__(self) -> None:
        folder_name("name", self.name)
        for name in ("tokens", "steps", "global_batch_size"):
            at_least(name, getattr(self, name), 1)
        at_least("features", self.latent_dim, 1)
        at_least("classes", self.classes, 0)
        if self.class_names and len(self.class_names) != self.classes:
            raise ValueError(f"class_names has {len(self.class_names)} names for {self.classes} classes.")
        rate("class_dropout", self.class_dropout)
        one_of("prediction", self.prediction, get_args(Prediction))
        one_of("times", self.times, get_args(Times))
        at_least("cosine_weight", self.cosine_weight, 0.0)
        if self.min_one_minus_t is not None:
            above("floor", self.min_one_minus_t, 0.0)
        if self.time_shift is not None:
            above("kappa", self.time_shift, 0.0)
        if self.time_shift_base is not None:
            at_least("kappa_base", self.time_shift_base, 1)
        if self.classes == 0 and self.class_dropout == 0:
            raise ValueError(
                "An unconditional generator (classes=0) needs the null class: class_dropout > 0."
            )

    def in_steps(self, steps: int) -> "GeneratorRecipe":
        """The same training squeezed or stretched to `steps`."""
        optimizer = self.optimizer.in_steps(steps, self.schedule)
        return replace(self, schedule=self.schedule.in_steps(steps), optimizer=optimizer)

    @property
    def resolved_time_shift(self) -> float:
        """`time_shift`, or `sqrt(tokens * latent_dim / time_shift_base)`, or 1."""
        if self.time_shift is not None:
            return self.time_shift
        return (
            1.0
            if self.time_shift_base is None
            else (self.tokens * self.latent_dim / self.time_shift_base) ** 0.5
        )

    @property
    def resolved_min_one_minus_t(self) -> float:
        """The least 1 - t that a difference of data is divided by."""
        return (
            1.0 / (self.steps * self.resolved_time_shift)
            if self.min_one_minus_t is None
            else self.min_one_minus_t
        )
