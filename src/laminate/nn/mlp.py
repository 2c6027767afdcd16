"""The token-wise networks of a transformer block."""

from collections.abc import Callable

import equinox as eqx
import jax
from jaxtyping import Array, Float

from laminate.nn.dropout import dropout
from laminate.nn.init import Initializer, trunc_normal
from laminate.nn.linear import Linear
from laminate.types import RandomKey


def gelu_tanh(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The tanh approximation of GELU (Hendrycks & Gimpel 2016)."""
    return jax.nn.gelu(x, approximate=True)


def gelu_exact(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """GELU through the error function (Hendrycks & Gimpel 2016)."""
    return jax.nn.gelu(x, approximate=False)


class Mlp(eqx.Module):
    """`down(activation(up(x)))`, token by token."""

    up: Linear
    down: Linear
    activation: Callable[[Float[Array, "..."]], Float[Array, "..."]] = eqx.field(static=True)
    dim: int = eqx.field(static=True)
    dropout_rate: float = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        hidden: int,
        *,
        bias: bool = True,
        activation: Callable[[Float[Array, "..."]], Float[Array, "..."]] = gelu_tanh,
        dropout_rate: float = 0.0,
        init: Initializer = trunc_normal(0.02),
        key: RandomKey,
    ):
        k_up, k_down = jax.random.split(key)
        self.up = Linear(dim, hidden, bias=bias, init=init, key=k_up)
        self.down = Linear(hidden, dim, bias=bias, init=init, key=k_down)
        self.activation = activation
        self.dim = dim
        self.dropout_rate = dropout_rate

    @jax.named_scope("mlp")
    def __call__(
        self, x: Float[Array, "tokens {self.dim}"], *, key: RandomKey | None = None
    ) -> Float[Array, "tokens {self.dim}"]:
        k_hidden, k_out = (None, None) if key is None else jax.random.split(key)
        hidden = dropout(self.activation(self.up(x)), self.dropout_rate, key=k_hidden)
        return dropout(self.down(hidden), self.dropout_rate, key=k_out)


def multiple_of_16(hidden: int) -> int:
    """The hidden width that ViTok's SwiGLU has for a wanted one: the nearest multiple of 16, upwards from a tie."""
    return (hidden + 8) // 16 * 16


class SwiGlu(eqx.Module):
    """`down(silu(gate(x)) * up(x))`, token by token (Shazeer 2020), or with another `activation` than silu.

    With `hidden = 8 * dim / 3` it has as many parameters as an `Mlp` with `hidden = 4 * dim`.
    """

    gate: Linear
    up: Linear
    down: Linear
    activation: Callable[[Float[Array, "..."]], Float[Array, "..."]] = eqx.field(static=True)
    dim: int = eqx.field(static=True)
    dropout_rate: float = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        hidden: int,
        *,
        bias: bool = True,
        activation: Callable[[Float[Array, "..."]], Float[Array, "..."]] = jax.nn.silu,
        dropout_rate: float = 0.0,
        init: Initializer = trunc_normal(0.02),
        key: RandomKey,
    ):
        k_gate, k_up, k_down = jax.random.split(key, 3)
        self.gate = Linear(dim, hidden, bias=bias, init=init, key=k_gate)
        self.up = Linear(dim, hidden, bias=bias, init=init, key=k_up)
        self.down = Linear(hidden, dim, bias=bias, init=init, key=k_down)
        self.activation = activation
        self.dim = dim
        self.dropout_rate = dropout_rate

    @jax.named_scope("swiglu")
    def __call__(
        self, x: Float[Array, "tokens {self.dim}"], *, key: RandomKey | None = None
    ) -> Float[Array, "tokens {self.dim}"]:
        k_hidden, k_out = (None, None) if key is None else jax.random.split(key)
        hidden = dropout(self.activation(self.gate(x)) * self.up(x), self.dropout_rate, key=k_hidden)
        return dropout(self.down(hidden), self.dropout_rate, key=k_out)
