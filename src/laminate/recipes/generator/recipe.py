"""The recipe of a generator: a diffusion transformer trained by flow matching on a tokenizer's latents."""

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from laminate.recipes.augment import CenterCropConfig, FramedConfig, ViewConfig
from laminate.recipes.checks import above, at_least, folder_name, one_of, rate
from laminate.recipes.generator.flow import (
    Guidance,
    PathConfig,
    SpherePath,
    StraightPath,
    usual_solver,
)
from laminate.recipes.latent import TokenizerId
from laminate.recipes.network import VitConfig
from laminate.recipes.serialization import FOUND, JSON, UNSAID, plain
from laminate.recipes.solvers import SolverName, UniPcConfig, require_solver
from laminate.recipes.training import Optimizer, Schedule

Prediction = Literal["velocity", "data"]
Times = Literal["uniform", "logit-normal"]


@dataclass(frozen=True)
class SharedModulation:
    """ViTok's diffusion transformer: one modulation for all layers, branches side by side, rotations by place.

    Its layers have RMS norms of queries and keys, SwiGLU and no biases; `network` says their sizes.
    """

    cls_token: bool = False
    """A token of its own stands in front."""
    registers: int = 0
    """Further such tokens."""
    layer_scale: float | None = 1e-4
    """Initial weight of what a layer adds; None for no such weights."""
    bound: float = 3.0
    """Scales and gates are this times a tanh."""
    theta: float = 10000.0
    """Longest wave of the rotations."""
    window: int | None = None
    """How far tokens see in every second layer; None sees all."""

    def __post_init__(self) -> None:
        at_least("shared.registers", self.registers, 0)
        above("shared.bound", self.bound, 0.0)
        above("shared.theta", self.theta, 1.0)
        if self.layer_scale is not None:
            above("shared.layer_scale", self.layer_scale, 0.0)
        if self.window is not None:
            at_least("shared.window", self.window, 1)

    @property
    def prefix(self) -> int:
        """Tokens in front."""
        return int(self.cls_token) + self.registers


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
    shared: SharedModulation | None = field(default=None, metadata={UNSAID: None})
    """ViTok's transformer in place of LightningDiT's; None for that."""
    tokens: int = 32
    """Latent tokens per image."""
    grid: tuple[int, int] | None = field(default=None, metadata={UNSAID: None, FOUND: "the tokenizer"})
    """Rows and columns on which the tokens stand, row by row; None for a sequence."""
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
    path: PathConfig = field(default_factory=StraightPath, metadata={UNSAID: plain(StraightPath())})
    """The way from noise to data."""
    steps: int = 50
    """Sampling steps."""
    solver: SolverName | None = field(default=None, metadata={UNSAID: None})
    """What takes them; None is the usual solver of the path: Euler's method, in flat space or along arcs."""
    unipc: UniPcConfig = field(default_factory=UniPcConfig, metadata={UNSAID: plain(UniPcConfig())})
    """Settings of the solver unipc."""
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
    augment: ViewConfig | FramedConfig = field(default_factory=lambda: CenterCropConfig(flip_rate=0.5))
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
        self._check_flow()
        self._check_network()
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

    def _check_flow(self) -> None:
        if self.solver is not None:
            one_of("solver", self.solver, get_args(SolverName))
            require_solver(self.path.KIND, self.solver)
        if self.radius is not None and self.latent_dim < 2:
            raise ValueError("path sphere: a token of one number has no direction; it needs two.")

    def _check_network(self) -> None:
        network = self.network
        if self.grid is not None and self.grid[0] * self.grid[1] != self.tokens:
            raise ValueError(
                f"grid must hold the {self.tokens} tokens, got {self.grid[0]} rows of {self.grid[1]}."
            )
        if self.shared is None:
            self._check_squares()
            return
        if self.head is not None:
            raise ValueError("shared and head are two kinds of networks: set one of them to none.")
        wanted = {"mlp": "swiglu", "norm": "rms", "qk_norm": True, "bias": False, "positions": "none"}
        wrong = [name for name, value in wanted.items() if getattr(network, name) != value]
        if wrong:
            said = ", ".join(f"network.{name}={str(wanted[name]).lower()}" for name in wrong)
            raise ValueError(f"shared: the layers of this transformer have {said}.")
        if (network.dim // network.heads) % 4:
            raise ValueError(
                f"network.heads must divide dim into widths that are multiples of 4, for rotations on a grid; got "
                f"{network.heads} heads for dim {network.dim}."
            )

    def _check_squares(self) -> None:
        if isinstance(self.augment, FramedConfig) and len(self.augment.ratios) > 1:
            raise ValueError(
                "augment.ratios: only ViTok's transformer (shared) knows where tokens of several shapes stand: leave 1 "
                "alone, or set shared."
            )

    def in_steps(self, steps: int) -> "GeneratorRecipe":
        """The same training squeezed or stretched to `steps`."""
        optimizer = self.optimizer.in_steps(steps, self.schedule)
        return replace(self, schedule=self.schedule.in_steps(steps), optimizer=optimizer)

    @property
    def radius(self) -> float | None:
        """That of the sphere on which the tokens lie; None in flat space."""
        if not isinstance(self.path, SpherePath):
            return None
        return self.path.radius or self.latent_dim**0.5

    @property
    def decode_radius(self) -> float | None:
        """The length of a token that is decoded; None where that is as it was drawn."""
        return self.path.decode_radius if isinstance(self.path, SpherePath) else None

    @property
    def radial_weight(self) -> float:
        """Weight of the part of the velocity that leaves the sphere; 0 in flat space."""
        return self.path.radial_weight if isinstance(self.path, SpherePath) else 0.0

    @property
    def resolved_solver(self) -> SolverName:
        """`solver`, or the usual one of the path."""
        return usual_solver(self.path) if self.solver is None else self.solver

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
