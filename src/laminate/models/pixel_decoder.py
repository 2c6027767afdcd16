"""Decoders from tokens to pixels: all but the last linear map (`hidden`), and that map (`image`)."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.models.vit import Vit
from laminate.nn import Initializer, WideLinear, overlap_add, trunc_normal
from laminate.nn.position import square
from laminate.types import Image, RandomKey


class PixelDecoder(eqx.Module):
    """A transformer of whose output tokens `grid[0] * grid[1]` are the patches of an image.

    `decoder(latents) = image(hidden(latents))`. The image has `len(mean)` channels and is nominally in [0, 1]; it is
    not clipped. The network predicts pixels minus `mean`, over `std`, channel by channel.

    The two parts are apart because adversarial training compares gradients at the weight of `last`, the map that turns
    a token into the pixels of a patch, in the order (row, column, channel): with it in hand, nothing in front of it
    has to be differentiated. It is computed in float32 whatever the dtype of the latents.

    With an `overlap` that map gives the pixels of the patch and of so many around it, and where windows lie over each
    other they add up (`nn.overlap_add`): no seams.

    Raises ValueError if `mean` and `std` are not those of the same channels, or for an `overlap` wider than a patch.
    """

    vit: Vit
    last: WideLinear
    grid: tuple[int, int] = eqx.field(static=True)
    patch: int = eqx.field(static=True)
    overlap: int = eqx.field(static=True)
    mean: tuple[float, ...] = eqx.field(static=True)
    std: tuple[float, ...] = eqx.field(static=True)

    def __init__(
        self,
        vit: Vit,
        grid: tuple[int, int],
        *,
        patch: int,
        overlap: int = 0,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        init: Initializer = trunc_normal(0.02),
        key: RandomKey,
    ):
        if not 0 <= overlap <= patch:
            raise ValueError(f"overlap={overlap} must lie between 0 and the patch of {patch} pixels.")
        if len(mean) != len(std) or not mean:
            raise ValueError(f"mean={mean} and std={std} must have one number for each channel of the image.")
        self.vit = vit
        self.last = WideLinear(vit.out_dim, (patch + 2 * overlap) ** 2 * len(mean), init=init, key=key)
        self.grid = grid
        self.patch = patch
        self.overlap = overlap
        self.mean = mean
        self.std = std

    @abc.abstractmethod
    def hidden(
        self, latents: Float[Array, "latents {self.vit.in_dim}"], *, key: RandomKey | None = None
    ) -> Float[Array, "patches {self.last.in_dim}"]:
        """What enters the last map, row by row of the grid, in the dtype of `latents`."""

    def windows(
        self, hidden: Float[Array, "patches {self.last.in_dim}"]
    ) -> Float[Array, "patches {self.last.out_dim}"]:
        """The normalised pixels of each window (without overlap: of each patch), float32."""
        return self.last(hidden)

    def image(self, hidden: Float[Array, "patches {self.last.in_dim}"]) -> Image:
        """The float32 image of what `hidden` gave."""
        normalised = overlap_add(self.windows(hidden), self.patch, self.overlap, self.grid)
        mean, std = (
            jnp.broadcast_to(jnp.asarray(c, jnp.float32), normalised.shape) for c in (self.mean, self.std)
        )
        return normalised * std + mean

    @jax.named_scope("pixel_decoder")
    def __call__(
        self, latents: Float[Array, "latents {self.vit.in_dim}"], *, key: RandomKey | None = None
    ) -> Image:
        return self.image(self.hidden(latents, key=key))


class RegisterDecoder(PixelDecoder):
    """Registers read the latent tokens and become the image (FlatDINO's image decoder).

    The registers of `vit`, a square number, are the patches in row-major order; what comes out at the places of the
    latents is not used.

    Raises ValueError for a `vit` of images, one with a cls token, or one whose registers are no square.
    """

    def __init__(
        self,
        vit: Vit,
        *,
        patch: int = 16,
        overlap: int = 0,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        init: Initializer = trunc_normal(0.02),
        key: RandomKey,
    ):
        if vit.patch is not None or vit.cls is not None or vit.registers is None:
            raise ValueError(
                "A RegisterDecoder takes a Vit of tokens whose registers are the patches of the image: give it "
                "`tokens` and `registers`, and neither `patch` nor `cls_token`."
            )
        grid = square(vit.prefix)
        super().__init__(vit, grid, patch=patch, overlap=overlap, mean=mean, std=std, init=init, key=key)

    def hidden(
        self, latents: Float[Array, "latents {self.vit.in_dim}"], *, key: RandomKey | None = None
    ) -> Float[Array, "patches {self.last.in_dim}"]:
        return self.vit(latents, key=key)[: self.vit.prefix]
