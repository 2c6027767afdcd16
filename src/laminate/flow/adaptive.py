"""Adaptive steps in flat space, through diffrax."""

from typing import Any

import jax
import jax.numpy as jnp

from laminate.flow.path import State, Velocity


def solve_adaptive(
    velocity: Velocity,
    noise: State,
    *,
    last: float = 1.0,
    rtol: float = 1e-3,
    atol: float = 1e-6,
    max_steps: int = 4096,
) -> State:
    """`noise` carried along `velocity` from 0 to `last` by Dormand and Prince's method of order 5.

    The steps are chosen for this one example, so the result does not depend on the batch that it is part of.

    Raises:
        ImportError: diffrax is not installed.
        RuntimeError: more than `max_steps` steps are needed (when the result is used).
    """
    try:
        import diffrax  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise ImportError(
            "Adaptive steps need diffrax: install it with `pip install -e '.[ode]'`, or use a fixed grid "
            "with laminate.flow.solve."
        ) from error

    def slope(t: Any, x: State, args: Any) -> State:
        t = jnp.asarray(t, jnp.float32)
        return jax.tree.map(lambda v, a: v.astype(a.dtype), velocity(x, t), x)

    # diffrax mixes Python scalars and arrays of several ranks, which the strictest settings of JAX refuse.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(slope),
            diffrax.Dopri5(),
            t0=0.0,
            t1=last,
            dt0=None,
            y0=noise,
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
            max_steps=max_steps,
        )
    assert solution.ys is not None
    return jax.tree.map(lambda a: a[0], solution.ys)
