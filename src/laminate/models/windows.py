"""A backbone without weights: the pixels of an image, cut into windows several times over."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.models.discriminator import Backbone
from laminate.nn import patchify
from laminate.types import Image, RandomKey


class Windows(Backbone):
    """`taps` token maps of one image: the pixels of its windows of `window` by `window`.

    Every map is cut at another offset along both axes, evenly spread over a window, so that the windows of one lie
    across the seams of the others; what is cut off at the beginning follows at the end. Each is
    `[height * width / window^2, window^2 * channels]`.

    Raises ValueError for more taps than a window has offsets, and at the call for an image that is no whole number of
    windows.
    """

    window: int = eqx.field(static=True)
    taps: int = eqx.field(static=True)

    def __init__(self, window: int, taps: int):
        if not 1 <= taps <= window:
            raise ValueError(
                f"A window of {window} pixels has room for 1 to {window} offsets, got taps={taps}."
            )
        self.window = window
        self.taps = taps

    def dim(self, channels: int = 3) -> int:
        """The width of a token of an image with that many channels."""
        return self.window**2 * channels

    @jax.named_scope("windows")
    def __call__(
        self, image: Image, *, key: RandomKey | None = None
    ) -> tuple[Float[Array, "tokens dim"], ...]:
        height, width = image.shape[:2]
        if height % self.window or width % self.window:
            raise ValueError(
                f"An image of {height}x{width} is no whole number of windows of {self.window} pixels: choose a window "
                "that divides both sides."
            )
        offsets = [tap * self.window // self.taps for tap in range(self.taps)]
        return tuple(patchify(jnp.roll(image, (-o, -o), (0, 1)), self.window) for o in offsets)
