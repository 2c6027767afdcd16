"""The vision tower of SigLIP2 (Tschannen et al. 2025) with a fixed resolution, and its attention pooling."""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from laminate.models.attention_pool import AttentionPool
from laminate.models.vit import Trunk, Vit
from laminate.nn import LayerNorm, PatchEmbed
from laminate.pretrained.keymaps.base import LEADING_ONE, SAME, Fixed, KeyMapError, Slot, load_new
from laminate.pretrained.keymaps.layers import TORCH
from laminate.pretrained.keymaps.vit import BlockNames, VitNames, vit_slots
from laminate.pretrained.layouts import looks_like
from laminate.pretrained.vit_reader import HALF, Facts, VitReader, activation_of, mlp_of
from laminate.types import Image, RandomKey


def _build(facts: Facts, affine: bool, key: RandomKey) -> Vit:
    k_patch, k_vit = jax.random.split(key)
    dim, eps = facts["hidden_size"], facts["layer_norm_eps"]
    trunk = Trunk(
        dim=dim,
        depth=facts["num_hidden_layers"],
        heads=facts["num_attention_heads"],
        hidden=facts["intermediate_size"],
        mlp=mlp_of(facts["hidden_act"]),
        norm_eps=eps,
        qk_norm=False,
    )
    patch = PatchEmbed(
        facts["image_size"],
        facts["patch_size"],
        dim,
        channels=facts["num_channels"],
        crop=True,
        key=k_patch,
    )
    norm = LayerNorm(dim, eps=eps, scale=affine, bias=affine)
    return Vit(trunk, patch=patch, resampling="bicubic", norm=norm, key=k_vit)


SIGLIP2 = VitReader(
    name="siglip2",
    title="SigLIP2 vision tower",
    names=VitNames(
        patch="embeddings.patch_embedding",
        positions="embeddings.position_embedding.weight",
        bare_positions=True,
        block="encoder.layers.{}",
        inside=BlockNames(
            attention_norm="layer_norm1",
            mlp_norm="layer_norm2",
            qkv=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            out="self_attn.out_proj",
            mlp=("mlp.fc1", "mlp.fc2"),
        ),
        norm="post_layernorm",
    ),
    defaults={
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "hidden_act": "gelu_pytorch_tanh",
        "layer_norm_eps": 1e-6,
        "image_size": 224,
        "patch_size": 16,
        "num_channels": 3,
    },
    build=_build,
    inert=("attention_dropout", "initializer_range"),
    prefix="vision_model.",
    ignored=("head.*",),
    beside=("text_model.*", "logit_scale", "logit_bias"),
    model_types=("siglip_vision_model",),
    section="vision_config",
    mean=HALF,
    std=HALF,
)


class PooledVision(eqx.Module):
    """The whole vision tower: all tokens, normed, and one vector pooled from them."""

    vit: Vit
    pool: AttentionPool

    def __call__(
        self, image: Image, *, key: RandomKey | None = None
    ) -> tuple[Float[Array, "tokens dim"], Float[Array, " dim"]]:
        tokens = self.vit(image, key=key)
        return tokens, self.pool(tokens)


def load_pooled(
    config: Facts,
    weights: Mapping[str, np.ndarray],
    *,
    prefix: str = SIGLIP2.prefix,
    dtype: jnp.dtype = jnp.dtype(jnp.float32),
) -> PooledVision:
    """The tower with its pooling head. Raises what `SIGLIP2.load` raises."""

    def make(key: RandomKey) -> PooledVision:
        return make_pooled(config, key=key)

    try:
        return load_new(
            make,
            lambda tower: pooled_slots(tower, prefix=prefix),
            weights,
            ignored=SIGLIP2.beside,
            dtype=dtype,
        )
    except KeyMapError as error:
        raise KeyMapError(f"{looks_like(weights, SIGLIP2.name, SIGLIP2.title)} {error}") from error


def pooled_slots(tower: PooledVision, *, prefix: str = SIGLIP2.prefix) -> list[Slot | Fixed]:
    """Which published name holds which leaf of the tower and its pooling head."""
    slots = vit_slots(tower.vit, SIGLIP2.names, prefix=prefix, pick=lambda m: m.vit)
    head, pool = f"{prefix}head.", tower.pool
    slots.append(Slot((f"{head}probe",), lambda m: m.pool.probe, LEADING_ONE))
    slots.append(Slot((f"{head}attention.in_proj_weight",), lambda m: m.pool.qkv.weight, SAME))
    slots.append(Slot((f"{head}attention.in_proj_bias",), lambda m: m.pool.qkv.bias, SAME))
    slots += TORCH.linear(pool.out, f"{head}attention.out_proj", lambda m: m.pool.out)
    slots += TORCH.norm(pool.norm, f"{head}layernorm", lambda m: m.pool.norm)
    slots += TORCH.linear(pool.mlp.up, f"{head}mlp.fc1", lambda m: m.pool.mlp.up)
    return slots + TORCH.linear(pool.mlp.down, f"{head}mlp.fc2", lambda m: m.pool.mlp.down)


def make_pooled(config: Facts, *, key: RandomKey) -> PooledVision:
    """The tower of a configuration with freshly drawn weights. Raises what `SIGLIP2.make` raises."""
    facts = SIGLIP2.facts(config)
    k_vit, k_pool = jax.random.split(key)
    pool = AttentionPool(
        facts["hidden_size"],
        facts["num_attention_heads"],
        facts["intermediate_size"],
        activation=activation_of(facts["hidden_act"]),
        eps=facts["layer_norm_eps"],
        key=k_pool,
    )
    return PooledVision(_build(facts, True, k_vit), pool)
