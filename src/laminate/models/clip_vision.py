"""The vision tower of CLIP (Radford et al. 2021): one vector of an image, in the space that it shares with text."""

import equinox as eqx
import jax
from jaxtyping import Array, Float

from laminate.models.vit import Trunk, Vit
from laminate.nn import LayerNorm, Linear, PatchEmbed
from laminate.types import Image, RandomKey


class ClipVision(eqx.Module):
    """`projection norm(stack(input_norm([cls | patches] + positions)))` of the class token.

    Patches are embedded without a bias, and what enters the first block is normed.
    """

    vit: Vit
    input_norm: LayerNorm
    projection: Linear
    image_size: int = eqx.field(static=True)
    out_dim: int = eqx.field(static=True)

    def __init__(self, trunk: Trunk, *, image_size: int, patch: int, out_dim: int, key: RandomKey):
        k_patch, k_vit, k_projection = jax.random.split(key, 3)
        embed = PatchEmbed(image_size, patch, trunk.dim, bias=False, key=k_patch)
        norm = LayerNorm(trunk.dim, eps=trunk.norm_eps)
        self.vit = Vit(trunk, patch=embed, cls_token=True, cls_position=True, norm=norm, key=k_vit)
        self.input_norm = LayerNorm(trunk.dim, eps=trunk.norm_eps)
        self.projection = Linear(trunk.dim, out_dim, bias=False, key=k_projection)
        self.image_size = image_size
        self.out_dim = out_dim

    @jax.named_scope("clip_vision")
    def __call__(self, image: Image, *, key: RandomKey | None = None) -> Float[Array, " {self.out_dim}"]:
        """The embedding of an image that is normalised, not brought to the length of one."""
        tokens = self.vit.stack(self.input_norm(self.vit.embed(image)), key=key)
        return self.projection(self.vit.norm(tokens[:1]))[0]
