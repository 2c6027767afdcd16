"""DINO-SAE as a tokenizer of images: the tokens of a frozen network behind a stem, and a decoder of them."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.models.dino_sae import DinoSae, OutputRange, StemAndDecoder, as_pixels
from laminate.pretrained.patches import IMAGENET_MEAN, IMAGENET_STD
from laminate.pretrained.teachers import VitTeacher
from laminate.tokenizers.base import Example, ImageTokenizer
from laminate.types import Image, Latents, RandomKey


class BesideDinoSae(NamedTuple):
    """The frozen networks beside what is trained; what a stage does not need is None."""

    teacher: VitTeacher
    perceptual: Any
    backbone: Any


class DinoSaeTokenizer(ImageTokenizer):
    """The trained parts around a frozen network; None in its place for one that only decodes.

    `grid` is that of the latents, which are the network's normed tokens, row by row.
    """

    teacher: VitTeacher | None
    model: StemAndDecoder
    grid: tuple[int, int] = eqx.field(static=True)
    output: OutputRange = eqx.field(static=True)

    def __init__(
        self,
        teacher: VitTeacher | None,
        model: StemAndDecoder,
        grid: tuple[int, int],
        *,
        output: OutputRange,
    ):
        self.teacher = teacher
        self.model = model
        self.grid = grid
        self.output = output

    def encode_raw(
        self, example: Example, *, dtype: jnp.dtype, key: RandomKey | None = None
    ) -> tuple[Latents, Any]:
        if self.teacher is None:
            raise ValueError("This tokenizer was made to decode only, and its frozen network is not there.")
        network = around(self.model, self.teacher, self.output)
        return network.encode(self.original(example), dtype=dtype).patch_tokens.astype(jnp.float32), None

    def image(self, latents: Float[Array, "latents latent_dim"], *, dtype: jnp.dtype) -> Image:
        numbers = self.model.decoder(latents.astype(dtype).reshape(*self.grid, -1))
        mean, std = (
            (IMAGENET_MEAN, IMAGENET_STD) if self.teacher is None else (self.teacher.mean, self.teacher.std)
        )
        return jnp.clip(as_pixels(numbers, self.output, mean, std), 0.0, 1.0)


def around(model: StemAndDecoder, teacher: VitTeacher, output: OutputRange) -> DinoSae:
    """The autoencoder of the trained parts and the frozen network between them."""
    return model.around(teacher.vit, mean=teacher.mean, std=teacher.std, output=output)
