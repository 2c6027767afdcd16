"""Images to patch tokens and back."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

from laminate.nn.init import Initializer, trunc_normal
from laminate.nn.linear import Linear
from laminate.types import RandomKey


def patchify(image: Float[Array, "height width channels"], patch: int) -> Float[Array, "patches patch_dim"]:
    """Row-major patches of `patch * patch` pixels, each flattened as (row, column, channel).

    Raises ValueError if the image is not a whole number of patches.
    """
    _require_whole_patches(image.shape[0], image.shape[1], patch)
    return rearrange(image, "(gh p) (gw q) c -> (gh gw) (p q c)", p=patch, q=patch)


def unpatchify(
    patches: Float[Array, "patches patch_dim"], patch: int, grid: tuple[int, int]
) -> Float[Array, "height width channels"]:
    """The inverse of `patchify` for a `grid` of (rows, columns)."""
    return rearrange(patches, "(gh gw) (p q c) -> (gh p) (gw q) c", p=patch, q=patch, gh=grid[0], gw=grid[1])


def overlap_add(
    windows: Float[Array, "patches window_dim"], patch: int, overlap: int, grid: tuple[int, int]
) -> Float[Array, "height width channels"]:
    """The image in which the square windows of `patch + 2 overlap` pixels, each on its patch, add up.

    `overlap=0` is `unpatchify`; what reaches beyond the image is dropped. This is a transposed convolution whose stride
    is the patch, so no seam lies between two patches that a smooth field of tokens became.

    Raises ValueError if a window reaches beyond the patches next to its own.
    """
    if not 0 <= overlap <= patch:
        raise ValueError(f"overlap={overlap} must lie between 0 and the patch of {patch} pixels.")
    side = patch + 2 * overlap
    rows = rearrange(windows, "(gh gw) (p q c) -> gh p gw q c", p=side, q=side, gh=grid[0], gw=grid[1])
    image = rearrange(_added(rows, patch, overlap), "gh p gw q c -> gw q (gh p) c")
    return rearrange(_added(image, patch, overlap), "gw q height c -> height (gw q) c")


def _added(windows: Float[Array, "grid window *rest"], patch: int, overlap: int) -> Float[Array, "..."]:
    """Windows of a row to patches of it: the ends of each are added to its neighbours."""
    before, own, after = jnp.split(windows, (overlap, overlap + patch), axis=1)
    rest = ((0, 0),) * (windows.ndim - 2)
    own = own + jnp.pad(before[1:], ((0, 1), (patch - overlap, 0), *rest))
    return own + jnp.pad(after[:-1], ((1, 0), (0, patch - overlap), *rest))


class ImageEmbed(eqx.Module):
    """An image to the tokens that a transformer begins with, row by row of a grid.

    A token stands for `patch` by `patch` pixels.
    """

    patch: eqx.AbstractVar[int]
    channels: eqx.AbstractVar[int]

    @abc.abstractmethod
    def grid_of(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the tokens of an image."""

    @abc.abstractmethod
    def __call__(
        self, image: Float[Array, "height width {self.channels}"], *, key: RandomKey | None = None
    ) -> Float[Array, "patches dim"]:
        raise NotImplementedError


class PatchEmbed(ImageEmbed):
    """A linear map of each patch, flattened channel-major `(channel, row, column)` (Dosovitskiy et al. 2021).

    With `crop=True` the rows and columns on the right and at the bottom that fill no patch are left out; otherwise
    an image with such is refused with a ValueError.
    """

    projection: Linear
    patch: int = eqx.field(static=True)
    channels: int = eqx.field(static=True)
    crop: bool = eqx.field(static=True)
    grid: tuple[int, int] = eqx.field(static=True)

    def __init__(
        self,
        image_size: int,
        patch: int,
        dim: int,
        *,
        channels: int = 3,
        crop: bool = False,
        bias: bool = True,
        init: Initializer = trunc_normal(0.02),
        key: RandomKey,
    ):
        if not crop:
            _require_whole_patches(image_size, image_size, patch)
        self.projection = Linear(patch * patch * channels, dim, bias=bias, init=init, key=key)
        self.patch = patch
        self.channels = channels
        self.crop = crop
        self.grid = (image_size // patch, image_size // patch)

    def grid_of(self, height: int, width: int) -> tuple[int, int]:
        return height // self.patch, width // self.patch

    @jax.named_scope("patch_embed")
    def __call__(
        self, image: Float[Array, "height width {self.channels}"], *, key: RandomKey | None = None
    ) -> Float[Array, "patches dim"]:
        if self.crop:
            rows, columns = (side // self.patch * self.patch for side in image.shape[:2])
            image = image[:rows, :columns]
        _require_whole_patches(image.shape[0], image.shape[1], self.patch)
        patches = rearrange(image, "(gh p) (gw q) c -> (gh gw) (c p q)", p=self.patch, q=self.patch)
        return self.projection(patches)


def _require_whole_patches(height: int, width: int, patch: int) -> None:
    if height % patch or width % patch:
        raise ValueError(
            f"An image of {height}x{width} is no whole number of {patch}x{patch} patches: "
            f"resize or crop it to multiples of {patch}."
        )
