"""The optimisers: clip by global norm, then AdamW, Muon or schedule-free AdamW; all decay matrices only."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib
from jax.tree_util import GetAttrKey

from laminate.types import Scalar, Scanned, is_lazy


def adamw(
    schedule: optax.Schedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.02,
    clip_norm: float | None = 10.0,
) -> optax.GradientTransformation:
    """AdamW (Loshchilov and Hutter 2019) behind a clip to the global norm `clip_norm` (None: no clip).

    Apply it to whole (global) arrays under `jit`, where the norm covers every shard. Gradients and parameters
    are trees of float32 arrays with None where nothing is trained; `decay_mask` says what decays.

    Raises:
        ValueError: a negative weight decay or a clip that is not positive.
    """
    rule = optax.chain(
        _clipped_adam(b1, b2, eps, clip_norm),
        optax.add_decayed_weights(weight_decay, decay_mask),
        optax.scale_by_learning_rate(schedule),
    )
    # The state is that of a clip and of optax's own AdamW, which checkpoints have.
    return _checked(optax.chain(optax.identity(), rule), weight_decay, clip_norm)


def muon(
    schedule: optax.Schedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    weight_decay: float = 0.02,
    clip_norm: float | None = 10.0,
) -> optax.GradientTransformation:
    """Muon (Jordan et al. 2024) for the matrices of `decay_mask`, Adam for everything else, behind the same clip.

    Muon makes the update of a matrix orthogonal, so that weak directions are learned as fast as strong ones; its
    scale is that of Adam (Liu et al. 2025), so both follow one schedule. `b1` and `b2` are Adam's. A stack of layers
    is a batch of matrices, and the kernel of a convolution one matrix, out x (in x kernel).

    Raises:
        ValueError: as `adamw`.
    """
    rule = optax.contrib.muon(
        schedule,
        adam_b1=b1,
        adam_b2=b2,
        weight_decay=weight_decay,
        weight_decay_mask=decay_mask,
        consistent_rms=0.2,
        muon_weight_dimension_numbers=_muon_axes,
    )
    return _clipped(rule, weight_decay, clip_norm)


def schedule_free(
    schedule: optax.Schedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    weight_decay: float = 0.02,
    clip_norm: float | None = 10.0,
) -> optax.GradientTransformation:
    """AdamW without momentum whose gradients are taken between its weights and their average, behind the same clip.

    Schedule-free learning (Defazio et al. 2024): `b1` is the share of the average. The average, weighted by the
    square of the rate, is what is validated and saved (`evaluation_params`), and replaces the decay of the rate.

    Raises:
        ValueError: as `adamw`.
    """
    rule = optax.adamw(schedule, b1=0.0, b2=b2, weight_decay=weight_decay, mask=decay_mask)
    return _clipped(optax.contrib.schedule_free(rule, schedule, b1=b1), weight_decay, clip_norm)


def evaluation_params(opt_state: Any, params: Any) -> Any:
    """The average that `schedule_free` keeps; None of any other optimiser."""

    def is_kept(node: Any) -> bool:
        return isinstance(node, optax.contrib.ScheduleFreeState)

    kept = [node for node in jax.tree.leaves(opt_state, is_leaf=is_kept) if is_kept(node)]
    return optax.contrib.schedule_free_eval_params(kept[0], params) if kept else None


def _muon_axes(params: Any) -> Any:
    def axes(array: Any, depth_axes: int) -> Any:
        if depth_axes < 0:
            return None
        inputs = tuple(range(depth_axes + 1, array.ndim))
        return optax.contrib.MuonDimensionNumbers(reduction_axis=inputs, output_axis=(depth_axes,))

    return jax.tree.map(axes, params, _matrices(params, None, 0))


def _clipped_adam(b1: float, b2: float, eps: float, clip_norm: float | None) -> optax.GradientTransformation:
    """`optax.clip_by_global_norm` and `optax.scale_by_adam`, to the last bit, in two passes over the gradients fewer.

    Each moment clips for itself: the compiler writes a quotient that two of them read to memory first.
    """
    adam = optax.scale_by_adam(b1, b2, eps)
    if clip_norm is None:
        return adam

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        norm = optax.tree.norm(updates)
        clipped = partial(_clip, updates, most=clip_norm)
        mu = optax.tree.update_moment(clipped(norm), state.mu, b1, 1)
        # Another norm to the compiler, which would make one quotient of the two again.
        apart = jax.lax.optimization_barrier(norm)
        nu = optax.tree.update_moment_per_elem_norm(clipped(apart), state.nu, b2, 2)
        count = optax.safe_increment(state.count)
        steps = jax.tree.map(
            lambda m, v: m / (jnp.sqrt(v) + eps),
            optax.tree.bias_correction(mu, b1, count),
            optax.tree.bias_correction(nu, b2, count),
        )
        return steps, optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(adam.init, update)


def _clip(tree: Any, norm: Scalar, *, most: float) -> Any:
    """`tree`, of the global norm `norm`, brought to `most` where that is less."""
    over = norm >= most
    divisor, factor = jnp.where(over, norm, 1.0), jnp.where(over, most, 1.0)
    return jax.tree.map(lambda x: x / divisor * factor, tree)


def _clipped(
    rule: optax.GradientTransformation, weight_decay: float, clip_norm: float | None
) -> optax.GradientTransformation:
    clip = optax.identity() if clip_norm is None else optax.clip_by_global_norm(clip_norm)
    return _checked(optax.chain(clip, rule), weight_decay, clip_norm)


def _checked(
    chain: optax.GradientTransformation, weight_decay: float, clip_norm: float | None
) -> optax.GradientTransformation:
    if weight_decay < 0.0:
        raise ValueError(f"weight_decay is {weight_decay}; it must be at least 0.")
    if clip_norm is not None and clip_norm <= 0.0:
        raise ValueError(f"clip_norm is {clip_norm}; it must be positive, or None for no clipping.")

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        # optax raises b1 to an integer count, which strict dtype promotion refuses.
        with jax.numpy_dtype_promotion("standard"):
            return chain.update(updates, state, params)

    return optax.GradientTransformation(chain.init, update)


def decay_mask(params: Any) -> Any:
    """A tree of bools shaped like `params`: True for the matrices of linear maps and convolutions, which are Muon's.

    Token tables (registers, positions, mask tokens) have two axes as well, and never decay: the paper's "2-D weights
    only", where those tables are (1, n, dim).
    """
    return jax.tree.map(lambda depth_axes: depth_axes >= 0, _matrices(params, None, 0))


def _matrices(node: Any, parent: Any, depth_axes: int) -> Any:
    """A tree shaped like `node`: of a matrix how many axes in front of it count layers, -1 of everything else.

    A layer says which of its arrays is a matrix by calling it `weight` and by its layout, outputs first: it is
    outputs x everything behind, so a kernel's is out_channels x (in_channels x rows x columns). A `weight` of one axis,
    as of a norm, is none. Layers inside a `Scanned` module carry a leading depth axis, which is not counted.
    """

    def is_leaf(child: Any) -> bool:
        return is_lazy(child) or (isinstance(child, Scanned) and child is not parent)

    def depth(path: tuple[Any, ...], leaf: Any) -> Any:
        if isinstance(leaf, Scanned):
            return _matrices(leaf, leaf, depth_axes + 1)
        named = bool(path) and path[-1] == GetAttrKey("weight")
        return jax.tree.map(lambda array: depth_axes if named and array.ndim - depth_axes >= 2 else -1, leaf)

    return jax.tree_util.tree_map_with_path(depth, node, is_leaf=is_leaf)
