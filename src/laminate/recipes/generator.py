"""The recipe of a generator: a diffusion transformer trained by flow matching on a tokenizer's latents."""

import re
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from laminate.recipes.checks import above, at_least, one_of, rate
from laminate.recipes.generator_names import format, parse
from laminate.recipes.network import Vit
from laminate.recipes.training import Optimizer, Schedule

Prediction = Literal["velocity", "data"]


@dataclass(frozen=True)
class GeneratorRecipe:
    """The network, what it predicts at which times, and how it is trained.

    `tokens`, `features` and `classes` are those of the tokenizer and its data: `for_latents` sets them.
    """

    name: str
    """Canonical name of the experiment."""
    network: Vit
    """The diffusion transformer; with `head`, its encoder."""
    schedule: Schedule
    """Length of the training and its learning rate."""
    head: Vit | None = None
    """Wide, shallow transformer behind it (DiT^DH), conditioned on its tokens; None for a plain DiT."""
    tokens: int = 32
    """Latent tokens per image."""
    features: int = 128
    """Numbers per token."""
    classes: int = 1000
    """Classes to condition on; 0 for an unconditional generator."""
    class_dropout: float = 0.1
    """Chance that a label is replaced by the null class in training; 0 leaves no null class, and no guidance."""
    kappa: float | None = None
    """Time shift in training and sampling; None derives it from the latent's size."""
    kappa_base: int | None = 4096
    """Numbers of a latent whose derived shift is 1; None derives none."""
    prediction: Prediction = "velocity"
    """What the network returns."""
    steps: int = 50
    """Sampling steps; they bound the division by 1 - t when data are predicted."""
    normalize: bool = False
    """Latents are normalised by the statistics of the tokenizer."""
    sample_latents: bool = False
    """Latents are drawn from the posterior instead of being its mean."""
    rotary: bool = True
    """Queries and keys are rotated by their position, beside the position table."""
    optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(
            betas=(0.9, 0.95), weight_decay=1e-4, clip_norm=1.0, ema_decay=0.9995
        )
    )
    """Kind, clipping, averaged weights."""
    global_batch_size: int = 1024
    """Images per optimiser step, over all devices."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise ValueError(
                f"name must be letters, digits, '.', '_' and '-', to be a folder's name; got {self.name!r}."
            )
        for name in ("tokens", "features", "steps", "global_batch_size"):
            at_least(name, getattr(self, name), 1)
        at_least("classes", self.classes, 0)
        rate("class_dropout", self.class_dropout)
        one_of("prediction", self.prediction, get_args(Prediction))
        if self.kappa is not None:
            above("kappa", self.kappa, 0.0)
        if self.kappa_base is not None:
            at_least("kappa_base", self.kappa_base, 1)
        if self.classes == 0 and self.class_dropout == 0:
            raise ValueError(
                "An unconditional generator (classes=0) needs the null class: class_dropout > 0."
            )

    @property
    def shift(self) -> float:
        """The time shift: `kappa`, or `sqrt(tokens * features / kappa_base)`, or 1."""
        if self.kappa is not None:
            return self.kappa
        return 1.0 if self.kappa_base is None else (self.tokens * self.features / self.kappa_base) ** 0.5

    @property
    def data_floor(self) -> float:
        """The least 1 - t that a difference of data is divided by, `1 / (steps * shift)`."""
        return 1.0 / (self.steps * self.shift)


def generator(name: str) -> GeneratorRecipe:
    """The recipe of `name`, for latents of 32 tokens of 128 numbers. Raises `ValueError` with the nearest names."""
    spec = parse(name)
    dim, depth, hidden, heads = LIGHTNING[spec.size]
    network = Vit(dim, depth, heads, hidden, norm="rms", qk_norm=False, positions="sincos")
    head = None
    if spec.head:
        head = replace(network, dim=2048, depth=2, heads=16, hidden=2048 * hidden // dim, positions="none")
        network = replace(network, positions="learned")
    return GeneratorRecipe(
        name=format(spec),
        network=network,
        head=head,
        schedule=Schedule(
            length=800,
            warmup=0,
            decay=0,
            validate_every=5,
            kind="constant",
            start=2e-4,
            peak=2e-4,
            final=2e-4,
        ),
        kappa=spec.kappa,
        prediction="data" if spec.predict_data else "velocity",
        normalize=spec.normalize,
    )


def for_latents(
    recipe: GeneratorRecipe, *, tokens: int, features: int, classes: int | None = None
) -> GeneratorRecipe:
    """`recipe` for the latents of a tokenizer."""
    return replace(
        recipe, tokens=tokens, features=features, classes=recipe.classes if classes is None else classes
    )


LIGHTNING: dict[str, tuple[int, int, int, int]] = {
    "s": (384, 12, 1024, 6),
    "b": (768, 12, 2048, 12),
    "l": (1024, 24, 2731, 16),
    "xl": (1152, 28, 3072, 16),
}
"""Width, layers, width of the MLP and heads of LightningDiT's sizes."""
