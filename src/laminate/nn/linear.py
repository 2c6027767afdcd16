"""The affine map."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from laminate.nn.init import Initializer, lecun_normal
from laminate.types import Float32Params, RandomKey, exact


class Linear(eqx.Module):
    """`weight @ x + bias` over the last axis.

    The parameters are float32 and are cast to `x.dtype` when used, so the input decides the compute dtype.
    """

    weight: Float[Array, "out_dim in_dim"]
    bias: Float[Array, " out_dim"] | None
    in_dim: int = eqx.field(static=True)
    out_dim: int = eqx.field(static=True)

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        bias: bool = True,
        init: Initializer = lecun_normal,
        key: RandomKey,
    ):
        self.weight = init(key, (out_dim, in_dim))
        self.bias = jnp.zeros(out_dim, jnp.float32) if bias else None
        self.in_dim = in_dim
        self.out_dim = out_dim

    def __call__(
        self, x: Float[Array, "*batch {self.in_dim}"], *, key: RandomKey | None = None
    ) -> Float[Array, "*batch {self.out_dim}"]:
        y = self.product(x)
        if self.bias is not None:
            y = y + jnp.broadcast_to(self.bias.astype(y.dtype), y.shape)
        return y.astype(x.dtype)

    @jax.named_scope("linear")
    def product(self, x: Float[Array, "*batch {self.in_dim}"]) -> Float[Array, "*batch {self.out_dim}"]:
        """`weight @ x` alone, for who adds `bias` where it costs less; in `x.dtype` or a wider one."""
        # Not `x @ weight.T`: a scan over layers would keep every transposed weight for the backward pass.
        return jax.lax.dot_general(x, self.weight.astype(x.dtype), (((x.ndim - 1,), (1,)), ((), ())))


class WideLinear(Linear, Float32Params):
    """A `Linear` that computes in float32 on every device, and is held so on every mesh."""

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        bias: bool = True,
        init: Initializer = lecun_normal,
        key: RandomKey,
    ):
        super().__init__(in_dim, out_dim, bias=bias, init=init, key=key)

    @exact
    def __call__(
        self, x: Float[Array, "*batch {self.in_dim}"], *, key: RandomKey | None = None
    ) -> Float[Array, "*batch {self.out_dim}"]:
        return super().__call__(x.astype(jnp.float32), key=key)

    @exact
    def product(self, x: Float[Array, "*batch {self.in_dim}"]) -> Float[Array, "*batch {self.out_dim}"]:
        return super().product(x.astype(jnp.float32))
