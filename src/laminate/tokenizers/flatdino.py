"""FlatDINO: patch features of a frozen network in a few latent tokens, and back (Calvo-González & Fleuret 2026)."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from laminate.bottlenecks.base import Bottleneck
from laminate.bottlenecks.nested_dropout import keep_mask, register_causal_mask
from laminate.models.vit import Vit
from laminate.nn import Initializer, Linear, trunc_normal
from laminate.tokenizers.normalization import Normalization
from laminate.types import Latents, RandomKey, Tokens


class FeatureReconstruction(NamedTuple):
    """What the decoder gives back: the final features, and those of an intermediate layer if it was trained to."""

    final: Tokens
    intermediate: Tokens | None


class NestedLatents(eqx.Module):
    """Latents brought to the decoder's width, where dropped tokens are replaced by one learned token."""

    projection: Linear
    mask_token: Float[Array, "1 dim"]

    def __init__(self, features: int, dim: int, *, init: Initializer = trunc_normal(0.02), key: RandomKey):
        k_projection, k_token = jax.random.split(key)
        self.projection = Linear(features, dim, bias=False, init=init, key=k_projection)
        self.mask_token = init(k_token, (1, dim))

    def __call__(
        self, z: Float[Array, "latents latent_dim"], keep: Int[Array, ""] | int | None
    ) -> Float[Array, "latents dim"]:
        tokens = self.projection(z)
        if keep is None:
            return tokens
        kept = jnp.broadcast_to(keep_mask(keep, z.shape[0])[:, None], tokens.shape)
        return jnp.where(kept, tokens, jnp.broadcast_to(self.mask_token.astype(tokens.dtype), tokens.shape))


class FlatDino(eqx.Module):
    """Encoder, bottleneck, decoder, and the statistics of the latents.

    The encoder's registers are `[disposable | latents]` and read the patch tokens; what comes out at the latent
    places goes through the bottleneck. The decoder's registers are `[disposable | patches]` and read the latents;
    what comes out at the patch places is the reconstruction. With `intermediate=True` it is twice as wide: the
    final features, then those of an intermediate layer. `nested` is for a bottleneck trained with nested dropout.

    `encode` and `decode` speak normalised latents (zero mean, unit variance over the training set once the
    statistics are set) and undo each other's normalisation; `encode_raw` and `decode_raw` are the same two networks
    on the raw latents, which training works with. Features are `[patches, width]` of any floating dtype, which is
    the compute dtype; latents are float32.

    Raises ValueError if the parts do not fit together.
    """

    encoder: Vit
    bottleneck: Bottleneck[Any]
    decoder: Vit
    nested: NestedLatents | None
    normalization: Normalization
    latents: int = eqx.field(static=True)
    patches: int = eqx.field(static=True)
    encoder_disposable: int = eqx.field(static=True)
    decoder_disposable: int = eqx.field(static=True)
    intermediate: bool = eqx.field(static=True)

    def __init__(
        self,
        encoder: Vit,
        bottleneck: Bottleneck[Any],
        decoder: Vit,
        *,
        encoder_disposable: int = 0,
        decoder_disposable: int = 0,
        intermediate: bool = False,
        nested: NestedLatents | None = None,
    ):
        self.latents = encoder.prefix - encoder_disposable
        self.patches = decoder.prefix - decoder_disposable
        _check_parts(self.latents, self.patches, encoder, bottleneck, decoder, nested)
        if intermediate and decoder.out_dim % 2:
            raise ValueError(
                f"A decoder of intermediate features too is twice as wide as the features, and "
                f"out_dim={decoder.out_dim} is odd."
            )
        self.encoder = encoder
        self.bottleneck = bottleneck
        self.decoder = decoder
        self.nested = nested
        self.normalization = Normalization(self.latents, bottleneck.out_features)
        self.encoder_disposable = encoder_disposable
        self.decoder_disposable = decoder_disposable
        self.intermediate = intermediate

    @jax.named_scope("flatdino_encode")
    def encode_raw(
        self, features: Float[Array, "patches width"], *, key: RandomKey | None = None
    ) -> tuple[Latents, Any]:
        """The raw latents, and the bottleneck's by-product (posterior, indices). `key=None` takes no sample.

        Raises ValueError for features of another shape than the ones that it was trained on.
        """
        _require_shape("features", features.shape, ("patches", self.patches), ("width", self.encoder.in_dim))
        mask = None
        if self.nested is not None:
            mask = jnp.asarray(
                register_causal_mask(self.encoder.prefix, self.encoder.prefix + features.shape[0])
            )
        tokens = self.encoder(features, mask)
        return self.bottleneck(tokens[self.encoder_disposable : self.encoder.prefix], key=key)

    @jax.named_scope("flatdino_decode")
    def decode_raw(
        self,
        z: Float[Array, "latents latent_dim"],
        *,
        keep: Int[Array, ""] | int | None = None,
        dtype: jnp.dtype | None = None,
    ) -> FeatureReconstruction:
        """The reconstruction from raw latents, computed in `dtype` (that of `z` if None).

        `keep` replaces all but the first so many latents by the mask token; only a tokenizer with nested dropout
        can. Raises ValueError otherwise, and for latents of another shape.
        """
        self._require_latents(z)
        x = z if dtype is None else z.astype(dtype)
        if self.nested is not None:
            x = self.nested(x, keep)
        elif keep is not None:
            raise ValueError(f"keep={keep} needs a tokenizer built with nested dropout; this one has none.")
        tokens = self.decoder(x)[self.decoder_disposable : self.decoder.prefix]
        if not self.intermediate:
            return FeatureReconstruction(tokens, None)
        final, intermediate = jnp.split(tokens, 2, axis=-1)
        return FeatureReconstruction(final, intermediate)

    def encode(self, features: Float[Array, "patches width"], *, key: RandomKey | None = None) -> Latents:
        """Normalised latents `[latents, features]`: the posterior's mean, or a sample of it with a key."""
        return self.normalization(self.encode_raw(features, key=key)[0])

    def decode(self, latents: Float[Array, "latents latent_dim"]) -> Tokens:
        """Features `[patches, width]` from normalised latents."""
        self._require_latents(latents)
        return self.decode_raw(self.normalization.inverse(latents)).final

    def _require_latents(self, latents: Array) -> None:
        sizes = (("latents", self.latents), ("numbers", self.bottleneck.out_features))
        _require_shape("latents", latents.shape, *sizes)


def _require_shape(what: str, got: tuple[int, ...], *wanted: tuple[str, int]) -> None:
    """Raises ValueError for an array of another shape than the sizes in `wanted`, each after what it counts."""
    if got != tuple(size for _, size in wanted):
        names, sizes = ", ".join(name for name, _ in wanted), ", ".join(str(size) for _, size in wanted)
        raise ValueError(
            f"Expected {what} of one image, [{names}] = [{sizes}], got {list(got)}: batches go through jax.vmap."
        )


def _check_parts(
    latents: int,
    patches: int,
    encoder: Vit,
    bottleneck: Bottleneck[Any],
    decoder: Vit,
    nested: NestedLatents | None,
) -> None:
    if latents < 1 or patches < 1:
        raise ValueError(
            f"FlatDino needs more registers than disposable ones: encoder has {encoder.prefix} registers and keeps "
            f"{latents} as latents, decoder has {decoder.prefix} and keeps {patches} as patches."
        )
    if encoder.out_dim != bottleneck.in_features:
        raise ValueError(
            f"The encoder gives {encoder.out_dim} numbers per latent token and the bottleneck takes "
            f"{bottleneck.in_features}: build the encoder with out_dim={bottleneck.in_features}."
        )
    width = bottleneck.out_features if nested is None else nested.projection.out_dim
    if decoder.in_dim != width:
        raise ValueError(
            f"The decoder takes {decoder.in_dim} numbers per latent and would get {width}: "
            f"build it with in_dim={width}."
        )
