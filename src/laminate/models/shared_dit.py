"""ViTok-v2's diffusion transformer: one modulation for all layers, parallel branches, tokens at places of a grid."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from laminate.models.latent_shape import GridLatent
from laminate.models.naflex import Places, Window, whole_grid
from laminate.models.vit import Trunk
from laminate.nn import (
    Band,
    ConditionedOutput,
    Initializer,
    LabelEmbed,
    LayerNorm,
    Linear,
    Modulation,
    Padding,
    Rotary,
    Rotation,
    SharedBlock,
    Sight,
    SinusoidalFeatures,
    Stack,
    TimeEmbed,
    fan_in_uniform,
    place_angles,
    zeros,
)
from laminate.nn.init import trunc_normal
from laminate.types import RandomKey, Scalar

_WHOLE_TIME = 1000.0


class SharedDit(eqx.Module):
    """The velocity at noisy latent tokens `x`, a time `t` and a class `label`, for a grid of any size.

    One linear map of the condition, the sum of the embeddings of time and label, modulates all layers
    (`nn.SharedBlock`). `trunk` are the layers of `naflex_trunk`; their norms have no scale here. The tokens stand on
    the grid of `shape`, or at the `places` of a call, where padding is seen by nobody and gets no velocity. A cls token
    and registers stand in front, are not turned, and end with the layers. `window` limits what tokens see in every
    second layer.

    `t` is 0 at noise and 1 at data; with `time_backwards` the weights count it from 1000 at noise to 0 at data.
    """

    input: Linear
    cls: Float[Array, "1 dim"] | None
    registers: Float[Array, "registers dim"] | None
    time: TimeEmbed
    label: LabelEmbed
    modulation: Modulation
    stack: Stack
    output: ConditionedOutput
    shape: GridLatent = eqx.field(static=True)
    prefix: int = eqx.field(static=True)
    theta: float = eqx.field(static=True)
    window: Window | None = eqx.field(static=True)

    def __init__(
        self,
        trunk: Trunk,
        shape: GridLatent,
        *,
        classes: int = 1000,
        null_class: bool = True,
        cls_token: bool = False,
        registers: int = 0,
        theta: float = 10000.0,
        bound: float = 3.0,
        window: Window | None = None,
        time_backwards: bool = True,
        init: Initializer = fan_in_uniform,
        key: RandomKey,
    ):
        k_in, k_time, k_label, k_modulation, k_stack, k_out = jax.random.split(key, 6)
        dim = trunk.dim
        norm = LayerNorm(dim, eps=trunk.norm_eps, scale=False, bias=False)

        def layer(key: RandomKey) -> SharedBlock:
            attention, mlp = trunk.branches(key)
            return SharedBlock(
                norm, attention, mlp, jnp.zeros((4, dim), jnp.float32), trunk.scale(), bound=bound
            )

        self.input = Linear(shape.features, dim, bias=False, init=init, key=k_in)
        self.cls = zeros(key, (1, dim)) if cls_token else None
        self.registers = zeros(key, (registers, dim)) if registers else None
        self.time = TimeEmbed(
            SinusoidalFeatures(256), dim, backwards=time_backwards, scale=_WHOLE_TIME, init=init, key=k_time
        )
        self.label = LabelEmbed(classes, dim, null_class=null_class, init=trunc_normal(0.02), key=k_label)
        self.modulation = Modulation(dim, 4, bias=False, init=init, key=k_modulation)
        self.stack = trunk.stack(k_stack, layer)
        self.output = ConditionedOutput(norm, dim, shape.features, bound=bound, init=init, key=k_out)
        self.shape = shape
        self.prefix = int(cls_token) + registers
        self.theta = theta
        self.window = window

    def __call__(
        self,
        x: Float[Array, "tokens {self.shape.features}"],
        t: Scalar,
        label: Int[Array, ""] | None = None,
        *,
        places: Places | None = None,
        key: RandomKey | None = None,
    ) -> Float[Array, "tokens {self.shape.features}"]:
        """The velocity, in the shape and dtype of `x`. `label=None` is the null class."""
        return self._run(x, self.time(t), label, places, key=key)

    def at(
        self,
        x: Float[Array, "tokens {self.shape.features}"],
        own_time: Scalar,
        label: Int[Array, ""] | None = None,
        *,
        places: Places | None = None,
    ) -> Float[Array, "tokens {self.shape.features}"]:
        """The same at a time as the weights count it."""
        return self._run(x, self.time.at(own_time), label, places, key=None)

    def rotation(self, places: Places) -> Rotation:
        """What turns queries and keys."""
        head_dim = self.stack.layers.attention.head_dim
        return Rotary(place_angles(places.row, places.col, head_dim, theta=self.theta))

    @jax.named_scope("shared_dit")
    def _run(
        self,
        x: Float[Array, "tokens features"],
        time: Float[Array, " dim"],
        label: Int[Array, ""] | None,
        places: Places | None,
        *,
        key: RandomKey | None,
    ) -> Float[Array, "tokens features"]:
        places = self._places(x, places)
        condition = (time.astype(jnp.float32) + self.label(label).astype(jnp.float32)).astype(x.dtype)[None]
        shared = jnp.concatenate(self.modulation(condition))
        front = [table.astype(x.dtype) for table in (self.cls, self.registers) if table is not None]
        h = jnp.concatenate([*front, self.input(x)])
        h = self._layers(h, shared, self.rotation(places), places, key=key)
        return places.clear(self.output(h[self.prefix :], condition))

    def _layers(
        self,
        h: Float[Array, "all_tokens dim"],
        shared: Float[Array, "4 dim"],
        rotate: Rotation,
        places: Places,
        *,
        key: RandomKey | None,
    ) -> Float[Array, "all_tokens dim"]:
        padding = None if places.mask is None else Padding(places.mask, self.prefix)
        if self.window is None:
            return self.stack(h, shared, rotate, padding, key=key)
        # Half of the layers see everything, so an array of all pairs is there anyway.
        band = self.window.sight(places, self.prefix)
        assert isinstance(band, Band)
        near, far = band.pairs(), jnp.broadcast_to(band.keys()[None], (h.shape[0], h.shape[0]))

        def call(
            layer: SharedBlock,
            carry: tuple[Array, Array],
            rate: Scalar | None,
            k_layer: RandomKey | None,
        ) -> tuple[tuple[Array, Array], None]:
            x, number = carry
            seen: Sight = jnp.where(number % 2 == 1, near, far)
            return (layer(x, shared, rotate, seen, drop_rate=rate, key=k_layer), number + 1), None

        return self.stack.scan(call, (h, jnp.zeros((), jnp.int32)), key=key)[0][0]

    def _places(self, x: Float[Array, "tokens features"], places: Places | None) -> Places:
        if places is not None:
            return places
        if x.shape[0] != self.shape.tokens:
            raise ValueError(
                f"This network stands on a grid of {self.shape.rows} x {self.shape.columns} and was given "
                f"{x.shape[0]} tokens: say where they stand, by `places`."
            )
        return whole_grid(self.shape.rows, self.shape.columns)
