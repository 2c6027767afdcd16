"""The recipe of a ViTok autoencoder: two transformers over the patches of images of any size, and their losses."""

import math
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from laminate.recipes.checks import above, at_least, folder_name, one_of, rate
from laminate.recipes.freezing import Frozen
from laminate.recipes.latent import LatentSpec
from laminate.recipes.network import TeacherConfig
from laminate.recipes.serialization import UNSAID
from laminate.recipes.training import Optimizer, Schedule
from laminate.recipes.vitok.view import TokenBudgetConfig
from laminate.recipes.vitok_names import MLP_FACTOR

WindowOn = Literal["grid", "raster"]


@dataclass(frozen=True)
class NaFlexConfig:
    """A transformer whose attention and MLP stand side by side behind one norm, with rotary positions on a grid."""

    dim: int
    """Width of the residual stream."""
    depth: int
    """Number of layers."""
    heads: int
    """Attention heads; they divide the width into multiples of 4."""
    mlp_factor: float = MLP_FACTOR
    """Width inside the SwiGLU MLP, in multiples of the stream's; it is brought to a multiple of 16."""
    layer_scale: float = 1e-4
    """Initial weight of what a layer adds to the stream."""
    drop_path_rate: float = 0.0
    """Chance that the last layer is skipped; grows linearly with depth."""

    def __post_init__(self) -> None:
        for name in ("dim", "depth", "heads"):
            at_least(f"transformer.{name}", getattr(self, name), 1)
        above("transformer.mlp_factor", self.mlp_factor, 0.0)
        above("transformer.layer_scale", self.layer_scale, 0.0)
        rate("transformer.drop_path_rate", self.drop_path_rate)
        if self.dim % self.heads or (self.dim // self.heads) % 4:
            raise ValueError(
                f"transformer.heads must divide dim into widths that are multiples of 4, for rotary positions on a "
                f"grid; got {self.heads} heads for dim {self.dim}."
            )
        at_least("transformer's hidden width", self.hidden, 1)

    @property
    def hidden(self) -> int:
        """Width inside the MLP."""
        return (int(self.dim * self.mlp_factor) + 8) // 16 * 16

    def parameters(self, in_dim: int, out_dim: int, prefix: int = 0) -> int:
        """Numbers in the layers, in the maps before and behind them, which have biases, and in `prefix` tokens."""
        layer = 4 * self.dim**2 + 3 * self.dim * self.hidden + 2 * self.dim + 2 * (self.dim // self.heads)
        return (in_dim + 1 + prefix) * self.dim + self.depth * layer + (self.dim + 1) * out_dim

    def flops(self, tokens: int) -> int:
        """Multiply-adds of the layers for one image."""
        matrices = 4 * self.dim**2 + 3 * self.dim * self.hidden
        return self.depth * (tokens * matrices + 2 * tokens**2 * self.dim)


@dataclass(frozen=True)
class Losses:
    """The weighted sum that is trained: per number, per window, per token of a frozen network."""

    charbonnier: float = 1.0
    """Weight of the Charbonnier loss of all pixels."""
    charbonnier_eps: float = 1e-3
    """Where that turns from a square into an absolute value."""
    ssim: float = 0.1
    """Weight of one minus the structural similarity of tiles."""
    perceptual: float = 500.0
    """Weight of the distance of tiles in all layers of the frozen network."""
    tile: int = 256
    """Side of the square tiles that are cut from an image and its reconstruction at the same place, in pixels."""
    tiles: int = 1
    """Tiles of an image."""

    def __post_init__(self) -> None:
        for name in ("charbonnier", "ssim", "perceptual"):
            at_least(f"losses.{name}", getattr(self, name), 0.0)
        if not self.charbonnier + self.ssim + self.perceptual:
            raise ValueError("losses: all weights are 0, and nothing would be trained.")
        above("losses.charbonnier_eps", self.charbonnier_eps, 0.0)
        at_least("losses.tile", self.tile, 1)
        at_least("losses.tiles", self.tiles, 1)
        if self.ssim and self.tile < 6:
            raise ValueError(f"losses.tile must be at least 6 for a window of SSIM, got {self.tile}.")


@dataclass(frozen=True)
class VitokRecipe:
    """An encoder of patches, a decoder of its latents, what they are compared by, and how both are trained."""

    name: str
    """Canonical name of the experiment."""
    encoder: NaFlexConfig
    """Reads patches."""
    decoder: NaFlexConfig
    """Makes patches of latents."""
    channels: int
    """Numbers of a latent token, one for each patch."""
    schedule: Schedule
    """Length of the training and its learning rate."""
    teacher: TeacherConfig | None
    """The frozen network of the perceptual loss; None where its weight is 0."""
    losses: Losses = field(default_factory=Losses)
    """Weights of the losses."""
    cls_token: bool = False
    """Both transformers have a token of their own in front."""
    registers: int = 0
    """Further such tokens."""
    window: int | None = None
    """How far a patch sees in every layer; None sees all."""
    window_on: WindowOn = "grid"
    """Whether that counts rows and columns of the grid, or patches along the sequence."""
    latent_noise: float = field(default=0.0, metadata={UNSAID: 0.0})
    """Largest deviation of the noise that latents have in training, so that what draws some may err a little."""
    freeze: Frozen = "nothing"
    """What stays as it is in training."""
    optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(betas=(0.9, 0.99), weight_decay=0.01, clip_norm=None)
    )
    """Kind, clipping, averaged weights."""
    augment: TokenBudgetConfig = field(default_factory=TokenBudgetConfig)
    """Patches of an image, cropped and flipped at times."""
    global_batch_size: int = 256
    """Images per optimiser step, over all devices."""

    def __post_init__(self) -> None:
        folder_name("name", self.name)
        at_least("channels", self.channels, 1)
        at_least("registers", self.registers, 0)
        at_least("global_batch_size", self.global_batch_size, 1)
        at_least("latent_noise", self.latent_noise, 0.0)
        if self.window is not None:
            at_least("window", self.window, 1)
        one_of("window_on", self.window_on, get_args(WindowOn))
        one_of("freeze", self.freeze, get_args(Frozen))
        if (self.teacher is None) != (self.losses.perceptual == 0.0):
            raise ValueError(
                "losses.perceptual must be above 0 with a teacher and 0 without one, got "
                f"{self.losses.perceptual:g} and {'no teacher' if self.teacher is None else self.teacher.name}: name "
                "one with --teacher, or --teacher none."
            )
        self._check_tile()

    def _check_tile(self) -> None:
        teacher, tile = self.teacher, self.losses.tile
        if teacher is None:
            return
        if teacher.name == "patches":
            raise ValueError(
                "teacher: `patches` has no layers to compare images in: take embedded, or dinov3-s."
            )
        if tile % teacher.patch_size:
            near = max(1, round(tile / teacher.patch_size)) * teacher.patch_size
            raise ValueError(
                f"losses.tile must be whole patches of {teacher.name}, {teacher.patch_size} pixels; got {tile}: "
                f"{near} is the nearest."
            )

    @property
    def patch(self) -> int:
        """Side of a patch, in pixels."""
        return self.augment.patch

    @property
    def patch_dim(self) -> int:
        """Numbers of a patch."""
        return 3 * self.patch**2

    @property
    def prefix(self) -> int:
        """Tokens in front of the patches."""
        return int(self.cls_token) + self.registers

    @property
    def latent(self) -> LatentSpec:
        """The latents of the square of `augment.image_size`, or of the largest that the budget has room for."""
        side = min(math.isqrt(self.augment.tokens), -(-self.augment.image_size // self.patch))
        return LatentSpec(
            side**2,
            self.channels,
            side * self.patch,
            normalised=False,
            patch=self.patch,
            grid=(side, side),
            token_norm=self.channels**0.5,  # each is normed to variance 1 over its channels
        )

    @property
    def parameters(self) -> tuple[int, int]:
        """Numbers of encoder and decoder."""
        return (
            self.encoder.parameters(self.patch_dim, self.channels, self.prefix),
            self.decoder.parameters(self.channels, self.patch_dim, self.prefix),
        )

    def in_steps(self, steps: int) -> "VitokRecipe":
        """The same training squeezed or stretched to `steps`."""
        optimizer = self.optimizer.in_steps(steps, self.schedule)
        return replace(self, schedule=self.schedule.in_steps(steps), optimizer=optimizer)


def at_image_size(recipe: VitokRecipe, side: int) -> VitokRecipe:
    """`recipe` for squares of another side: budgets change as their areas do, and tiles stay within them."""
    step = 1 if recipe.teacher is None else recipe.teacher.patch_size
    tile = max(step, round(recipe.losses.tile * side / recipe.augment.image_size / step) * step)
    losses = replace(recipe.losses, tile=tile)
    return replace(recipe, augment=recipe.augment.at(side), losses=losses)
